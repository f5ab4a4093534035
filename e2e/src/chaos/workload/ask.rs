//! One operation as a request of the SDK, and its answer as an outcome.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};

use crate::chaos::record::{Action, Item, Outcome};
use crate::random::Random;

/// What a put wrote; never used twice.
pub const VALUE: &str = "v";
/// How often it was added to.
const COUNT: &str = "c";
/// Bytes that only take room, so that logs are truncated and items are flushed.
const FILLER: &str = "f";
const MOST_FILLER: u64 = 4_000;
/// How the router says that a write was surely not carried out.
const SURELY_NOT: &str = "the partition is not available now";

pub type Attributes = HashMap<String, AttributeValue>;

/// Of whom, and about what.
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    pub client: &'a Client,
    pub table: &'a str,
    pub key: &'a str,
}

impl Ask<'_> {
    pub async fn carry_out(self, action: Action, random: &mut Random) -> Outcome {
        match action {
            Action::Put { value } => self.put(value, random).await,
            Action::PutIf { expect, value } => self.put_if(expect, value, random).await,
            Action::Add => self.add().await,
            Action::Delete => self.delete().await,
            Action::Get => self.get().await,
        }
    }

    async fn put(self, value: u64, random: &mut Random) -> Outcome {
        let put = self.client.put_item().table_name(self.table).set_item(Some(self.item(value, random)));
        match put.return_values(ReturnValue::AllOld).send().await {
            Ok(answer) => Outcome::Done(read(answer.attributes())),
            Err(error) => failed(&error),
        }
    }

    async fn put_if(self, expect: Option<u64>, value: u64, random: &mut Random) -> Outcome {
        let put = self.client.put_item().table_name(self.table).set_item(Some(self.item(value, random)));
        let put = match expect {
            Some(expect) => put
                .condition_expression("v = :v")
                .expression_attribute_values(":v", AttributeValue::N(expect.to_string())),
            None => put.condition_expression("attribute_not_exists(#key)").expression_attribute_names("#key", "key"),
        };
        let put = put.return_values(ReturnValue::AllOld);
        match put.return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld).send().await {
            Ok(answer) => Outcome::Done(read(answer.attributes())),
            Err(error) => match error.as_service_error() {
                Some(aws_sdk_dynamodb::operation::put_item::PutItemError::ConditionalCheckFailedException(refused)) => {
                    Outcome::ConditionFailed(read(refused.item()))
                }
                _ => failed(&error),
            },
        }
    }

    async fn add(self) -> Outcome {
        let update = self.client.update_item().table_name(self.table).key("key", self.key_value());
        let update = update.update_expression("ADD c :one").return_values(ReturnValue::AllNew);
        match update.expression_attribute_values(":one", AttributeValue::N("1".to_owned())).send().await {
            Ok(answer) => Outcome::Done(read(answer.attributes())),
            Err(error) => failed(&error),
        }
    }

    async fn delete(self) -> Outcome {
        let delete = self.client.delete_item().table_name(self.table).key("key", self.key_value());
        match delete.return_values(ReturnValue::AllOld).send().await {
            Ok(answer) => Outcome::Done(read(answer.attributes())),
            Err(error) => failed(&error),
        }
    }

    async fn get(self) -> Outcome {
        let get = self.client.get_item().table_name(self.table).consistent_read(true);
        match get.key("key", self.key_value()).send().await {
            Ok(answer) => Outcome::Done(read(answer.item())),
            Err(_) => Outcome::Unknown,
        }
    }

    fn key_value(self) -> AttributeValue {
        AttributeValue::S(self.key.to_owned())
    }

    fn item(self, value: u64, random: &mut Random) -> Attributes {
        let filler = usize::try_from(random.below(MOST_FILLER)).expect("it is small");
        Attributes::from([
            ("key".to_owned(), self.key_value()),
            (VALUE.to_owned(), AttributeValue::N(value.to_string())),
            (FILLER.to_owned(), AttributeValue::B(Blob::new(vec![1; filler]))),
        ])
    }
}

/// A put leaves no count: that is none added yet.
fn read(attributes: Option<&Attributes>) -> Option<Item> {
    let attributes = attributes.filter(|attributes| !attributes.is_empty())?;
    let number = |name| attributes.get(name).and_then(|value| value.as_n().ok()).and_then(|text| text.parse().ok());
    Some(Item { value: number(VALUE), count: number(COUNT).unwrap_or(0) })
}

/// Refused before it was tried (400, 503, and one of the 500s), or unknown.
fn failed<E: ProvideErrorMetadata>(error: &SdkError<E>) -> Outcome {
    let SdkError::ServiceError(refused) = error else { return Outcome::Unknown };
    let status = refused.raw().status().as_u16();
    let surely_not = refused.err().message().is_some_and(|message| message.contains(SURELY_NOT));
    if status < 500 || status == 503 || surely_not { Outcome::Failed } else { Outcome::Unknown }
}
