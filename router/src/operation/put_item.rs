//! PutItem: one whole item, under a condition if the client says so.

use bytes::Bytes;
use model::item::encode_attributes;
use model::units::write_half_units;
use serde::Deserialize;

use super::capacity::Capacity;
use super::returning::{self, Returning};
use super::violations::Violations;
use super::{Call, capacity, expressions, keys, table};
use crate::backend::Backend;
use crate::error::Error;
use crate::json;
use crate::json::attribute::Attributes;
use crate::json::field::{Map, Present, Text};
use crate::json::write::Writer;
use crate::routing::{WriteAction, WriteOutcome, WriteRequest};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Request {
    table_name: Option<Text>,
    item: Option<Attributes>,
    condition_expression: Option<Text>,
    expression_attribute_names: Option<Map<Text>>,
    expression_attribute_values: Option<Attributes>,
    return_values: Option<Text>,
    return_values_on_condition_check_failure: Option<Text>,
    return_consumed_capacity: Option<Text>,
    return_item_collection_metrics: Option<Text>,
    expected: Option<Present>,
    conditional_operator: Option<Present>,
}

impl Request {
    fn check_shape(&self) -> Result<(), Error> {
        let mut violations = Violations::new();
        capacity::check(&mut violations, self.return_consumed_capacity.as_ref());
        table::check(&mut violations, self.table_name.as_ref());
        violations.not_null("item", self.item.is_some());
        returning::check(&mut violations, self.return_values.as_ref());
        returning::check_metrics(&mut violations, self.return_item_collection_metrics.as_ref());
        returning::check_on_failure(&mut violations, self.return_values_on_condition_check_failure.as_ref());
        violations.finish()
    }
}

pub async fn run<B: Backend>(call: &mut Call<'_, B>, body: &[u8]) -> Result<Vec<u8>, Error> {
    let request: Request = json::parse(body)?;
    request.check_shape()?;
    let texts = [("ConditionExpression", request.condition_expression.is_some())];
    let legacy = [("Expected", request.expected), ("ConditionalOperator", request.conditional_operator)];
    expressions::refuse_legacy(&legacy, &texts)?;
    let names = request.expression_attribute_names;
    let mut placeholders = expressions::placeholders(names, request.expression_attribute_values, &texts)?;
    let item = request.item.map(Attributes::checked).transpose()?.unwrap_or_default();
    let returning = Returning::asked_of_whole(request.return_values.as_ref())?;
    keys::check_item(&item)?;
    let condition =
        expressions::condition("ConditionExpression", request.condition_expression.as_ref(), &mut placeholders)?;
    placeholders.check_all_used()?;

    let table = call.active_table(table::checked_name(request.table_name.as_ref())).await?;
    let key = keys::of_item(&table, &item)?;
    if let Some(condition) = &condition {
        keys::check_paths(&table.schema, condition.paths())?;
    }
    let write = WriteRequest {
        key,
        action: WriteAction::Put(Bytes::from(encode_attributes(&item))),
        condition: condition.map(|condition| condition.encode()),
        return_old: returning.wants_old(),
        return_new: false,
        return_old_on_failure: returning::on_failure(request.return_values_on_condition_check_failure.as_ref()),
        request_id: call.request_id.clone(),
    };
    let (old, old_size, new_size) = match call.backend.write(&table, write, call.deadline).await? {
        WriteOutcome::Applied { old, new: _, old_size, new_size } => (old, old_size, new_size),
        WriteOutcome::ConditionFailed { old, old_size: _ } => return Err(Error::ConditionalCheckFailed { item: old }),
        WriteOutcome::Invalid(sentence) => return Err(Error::validation(sentence)),
    };

    let attributes = returning.image(old.as_ref(), None, None)?;
    let mut json = Writer::new();
    json.object(|json| {
        returning::write_attributes(json, attributes.as_ref());
        let capacity = Capacity::asked(request.return_consumed_capacity.as_ref());
        capacity.write_field(json, &table.name, write_half_units(bytes(old_size), bytes(new_size)));
    });
    Ok(json.finish())
}

/// An item's size, which never needs more than 32 bits.
pub fn bytes(size: u32) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX)
}
