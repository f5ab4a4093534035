//! GetItem: one item by its key.

use model::item::{attributes_size, decode_attributes};
use model::units::read_half_units;
use serde::Deserialize;

use super::capacity::Capacity;
use super::violations::Violations;
use super::{Call, capacity, expressions, keys, table};
use crate::backend::Backend;
use crate::error::Error;
use crate::json;
use crate::json::attribute::Attributes;
use crate::json::field::{Flag, Map, Present, Text};
use crate::json::write::Writer;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Request {
    table_name: Option<Text>,
    key: Option<Attributes>,
    consistent_read: Option<Flag>,
    projection_expression: Option<Text>,
    expression_attribute_names: Option<Map<Text>>,
    return_consumed_capacity: Option<Text>,
    attributes_to_get: Option<Present>,
}

impl Request {
    fn check_shape(&self) -> Result<(), Error> {
        let mut violations = Violations::new();
        capacity::check(&mut violations, self.return_consumed_capacity.as_ref());
        table::check(&mut violations, self.table_name.as_ref());
        violations.not_null("key", self.key.is_some());
        violations.finish()
    }
}

pub async fn run<B: Backend>(call: &mut Call<'_, B>, body: &[u8]) -> Result<Vec<u8>, Error> {
    let request: Request = json::parse(body)?;
    request.check_shape()?;
    let texts = [("ProjectionExpression", request.projection_expression.is_some())];
    expressions::refuse_legacy(&[("AttributesToGet", request.attributes_to_get)], &texts)?;
    let mut placeholders = expressions::placeholders(request.expression_attribute_names, None, &texts)?;
    let key = request.key.map(Attributes::checked).transpose()?.unwrap_or_default();
    let projection = expressions::projection(request.projection_expression.as_ref(), &mut placeholders)?;
    placeholders.check_all_used()?;

    let table = call.active_table(table::checked_name(request.table_name.as_ref())).await?;
    let key = keys::of_key(&table, &key)?;
    if let Some(projection) = &projection {
        keys::check_paths(&table.schema, &projection.paths)?;
    }
    let consistent = request.consistent_read.is_some_and(|flag| flag.0);
    let found = call.backend.get(&table, key, consistent, call.deadline).await?;

    let size = found.as_ref().map(|bytes| attributes_size(bytes)).transpose()?.unwrap_or(0);
    let item = found.as_ref().map(decode_attributes).transpose()?;
    let mut json = Writer::new();
    json.object(|json| {
        if let Some(item) = &item {
            json.key("Item");
            match &projection {
                None => json.item(item),
                Some(projection) => json.item(&projection.project(item)),
            }
        }
        let capacity = Capacity::asked(request.return_consumed_capacity.as_ref());
        capacity.write_field(json, &table.name, read_half_units(size, consistent));
    });
    Ok(json.finish())
}
