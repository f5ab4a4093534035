//! UpdateItem: parts of one item, which is created where it is missing.

use bytes::Bytes;
use model::TableDescriptor;
use model::expression::Update;
use model::item::encode_attributes;
use model::units::write_half_units;
use serde::Deserialize;

use super::capacity::Capacity;
use super::put_item::bytes;
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
    key: Option<Attributes>,
    update_expression: Option<Text>,
    condition_expression: Option<Text>,
    expression_attribute_names: Option<Map<Text>>,
    expression_attribute_values: Option<Attributes>,
    return_values: Option<Text>,
    return_values_on_condition_check_failure: Option<Text>,
    return_consumed_capacity: Option<Text>,
    return_item_collection_metrics: Option<Text>,
    attribute_updates: Option<Present>,
    expected: Option<Present>,
    conditional_operator: Option<Present>,
}

impl Request {
    fn check_shape(&self) -> Result<(), Error> {
        let mut violations = Violations::new();
        capacity::check(&mut violations, self.return_consumed_capacity.as_ref());
        table::check(&mut violations, self.table_name.as_ref());
        returning::check_metrics(&mut violations, self.return_item_collection_metrics.as_ref());
        returning::check(&mut violations, self.return_values.as_ref());
        violations.not_null("key", self.key.is_some());
        returning::check_on_failure(&mut violations, self.return_values_on_condition_check_failure.as_ref());
        violations.finish()
    }
}

pub async fn run<B: Backend>(call: &mut Call<'_, B>, body: &[u8]) -> Result<Vec<u8>, Error> {
    let request: Request = json::parse(body)?;
    request.check_shape()?;
    let texts = [
        ("UpdateExpression", request.update_expression.is_some()),
        ("ConditionExpression", request.condition_expression.is_some()),
    ];
    let legacy = [
        ("AttributeUpdates", request.attribute_updates),
        ("Expected", request.expected),
        ("ConditionalOperator", request.conditional_operator),
    ];
    expressions::refuse_legacy(&legacy, &texts)?;
    let names = request.expression_attribute_names;
    let mut placeholders = expressions::placeholders(names, request.expression_attribute_values, &texts)?;
    let key_item = request.key.map(Attributes::checked).transpose()?.unwrap_or_default();
    let update = request.update_expression.map(|Text(text)| Update::parse(&text, &mut placeholders)).transpose()?;
    let condition =
        expressions::condition("ConditionExpression", request.condition_expression.as_ref(), &mut placeholders)?;
    placeholders.check_all_used()?;

    let table = call.active_table(table::checked_name(request.table_name.as_ref())).await?;
    let key = keys::of_key(&table, &key_item)?;
    if let Some(update) = &update {
        check_targets(&table, update)?;
    }
    if let Some(condition) = &condition {
        keys::check_paths(&table.schema, condition.paths())?;
    }
    let returning = Returning::asked(request.return_values.as_ref());
    let write = WriteRequest {
        key,
        action: WriteAction::Update {
            key_attributes: Bytes::from(encode_attributes(&key_item)),
            update: update.as_ref().map(Update::encode),
        },
        condition: condition.map(|condition| condition.encode()),
        return_old: returning.wants_old(),
        return_new: returning.wants_new(),
        return_old_on_failure: returning::on_failure(request.return_values_on_condition_check_failure.as_ref()),
        request_id: call.request_id.clone(),
    };
    let (old, new, old_size, new_size) = match call.backend.write(&table, write, call.deadline).await? {
        WriteOutcome::Applied { old, new, old_size, new_size } => (old, new, old_size, new_size),
        WriteOutcome::ConditionFailed { old, old_size: _ } => return Err(Error::ConditionalCheckFailed { item: old }),
        WriteOutcome::Invalid(sentence) => return Err(Error::validation(sentence)),
    };

    let attributes = returning.image(old.as_ref(), new.as_ref(), update.as_ref())?;
    let mut json = Writer::new();
    json.object(|json| {
        returning::write_attributes(json, attributes.as_ref());
        let capacity = Capacity::asked(request.return_consumed_capacity.as_ref());
        capacity.write_field(json, &table.name, write_half_units(bytes(old_size), bytes(new_size)));
    });
    Ok(json.finish())
}

/// The key of an item never changes.
fn check_targets(table: &TableDescriptor, update: &Update) -> Result<(), Error> {
    for path in update.targets() {
        if keys::is_key(&table.schema, &path.root) {
            let name = &path.root;
            return Err(Error::invalid_parameter(&format!(
                "Cannot update attribute {name}. This attribute is part of the key"
            )));
        }
    }
    Ok(())
}
