//! Query: a page of one item collection, in the order of its sort key.

use bytes::Bytes;
use model::expression::{Condition, KeyCondition, KeyExpression, SortCondition};
use model::key::{collection_prefix, encode_component, prefix_end};
use model::{Item, KeyAttribute, KeyRange, TableDescriptor, Value};
use serde::Deserialize;

use super::capacity::Capacity;
use super::page::{self, Asked, STARTING_KEY_INVALID};
use super::violations::Violations;
use super::{Call, expressions, keys, table};
use crate::backend::Backend;
use crate::error::Error;
use crate::json;
use crate::json::attribute::Attributes;
use crate::json::field::{Flag, Int, Map, Present, Text};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Request {
    table_name: Option<Text>,
    index_name: Option<Text>,
    select: Option<Text>,
    limit: Option<Int>,
    consistent_read: Option<Flag>,
    scan_index_forward: Option<Flag>,
    exclusive_start_key: Option<Attributes>,
    key_condition_expression: Option<Text>,
    filter_expression: Option<Text>,
    projection_expression: Option<Text>,
    expression_attribute_names: Option<Map<Text>>,
    expression_attribute_values: Option<Attributes>,
    return_consumed_capacity: Option<Text>,
    attributes_to_get: Option<Present>,
    query_filter: Option<Present>,
    conditional_operator: Option<Present>,
    key_conditions: Option<Present>,
}

impl Request {
    fn check_shape(&self) -> Result<(), Error> {
        let mut violations = Violations::new();
        page::check(
            &mut violations,
            self.select.as_ref(),
            self.index_name.as_ref(),
            self.return_consumed_capacity.as_ref(),
            self.table_name.as_ref(),
            self.limit,
        );
        violations.finish()
    }
}

pub async fn run<B: Backend>(call: &mut Call<'_, B>, body: &[u8]) -> Result<Vec<u8>, Error> {
    let request: Request = json::parse(body)?;
    request.check_shape()?;
    let texts = [
        ("ProjectionExpression", request.projection_expression.is_some()),
        ("FilterExpression", request.filter_expression.is_some()),
        ("KeyConditionExpression", request.key_condition_expression.is_some()),
    ];
    let legacy = [
        ("AttributesToGet", request.attributes_to_get),
        ("QueryFilter", request.query_filter),
        ("ConditionalOperator", request.conditional_operator),
        ("KeyConditions", request.key_conditions),
    ];
    expressions::refuse_legacy(&legacy, &texts)?;
    let start = page::start_key(request.exclusive_start_key)?;
    let Some(Text(key_text)) = &request.key_condition_expression else {
        return Err(Error::validation(
            "Either the KeyConditions or KeyConditionExpression parameter must be specified in the request.",
        ));
    };
    let names = request.expression_attribute_names;
    let mut placeholders = expressions::placeholders(names, request.expression_attribute_values, &texts)?;
    let key_expression = KeyExpression::parse(key_text, &mut placeholders)?;
    let filter = expressions::condition("FilterExpression", request.filter_expression.as_ref(), &mut placeholders)?;
    let projection = expressions::projection(request.projection_expression.as_ref(), &mut placeholders)?;
    placeholders.check_all_used()?;
    let conditions = key_expression.conditions()?;
    let count_only = page::count_only(request.select.as_ref(), projection.is_some())?;

    let table = call.active_table(table::checked_name(request.table_name.as_ref())).await?;
    page::refuse_index(request.index_name.as_ref())?;
    check_start_shape(&table, start.as_ref())?;
    let sort_name = table.schema.sort.as_ref().map(|sort| sort.name.as_str());
    let condition = conditions.for_schema(&table.schema.partition.name, sort_name)?;
    check_types(&table, &condition)?;
    let asked = Asked {
        backward: request.scan_index_forward == Some(Flag(false)),
        limit: request.limit,
        consistent: request.consistent_read == Some(Flag(true)),
        filter: filter.as_ref(),
        projection: projection.as_ref(),
        count_only,
        capacity: Capacity::asked(request.return_consumed_capacity.as_ref()),
    };
    let range = start_at(&table, &condition, start.as_ref(), asked.backward)?;
    check_filter(&table, filter.as_ref())?;
    asked.check_paths(&table)?;
    page::answer(call, &table, range, &asked).await
}

fn check_start_shape(table: &TableDescriptor, start: Option<&Item>) -> Result<(), Error> {
    let Some(start) = start else {
        return Ok(());
    };
    let names = keys::attributes(&table.schema).all(|(key, _)| start.contains_key(&key.name));
    if !names || start.len() != keys::attributes(&table.schema).count() {
        return Err(Error::validation(STARTING_KEY_INVALID));
    }
    keys::of_key(table, start).map(|_| ())
}

/// The conditions' values must be what the key's attributes can be.
fn check_types(table: &TableDescriptor, condition: &KeyCondition) -> Result<(), Error> {
    keys::check_value(&condition.partition, &table.schema.partition, true)?;
    let (Some((_, sort)), Some(attribute)) = (&condition.sort, &table.schema.sort) else {
        return Ok(());
    };
    let check = |value: &Value, attribute: &KeyAttribute| keys::check_value(value, attribute, false);
    match sort {
        SortCondition::Equal(value)
        | SortCondition::Less(value)
        | SortCondition::LessOrEqual(value)
        | SortCondition::Greater(value)
        | SortCondition::GreaterOrEqual(value)
        | SortCondition::BeginsWith(value) => check(value, attribute),
        SortCondition::Between(low, high) => check(low, attribute).and_then(|()| check(high, attribute)),
    }
}

/// A filter sees what the key conditions left, so it may not name the key.
fn check_filter(table: &TableDescriptor, filter: Option<&Condition>) -> Result<(), Error> {
    for path in filter.map(Condition::paths).unwrap_or_default() {
        if keys::is_key(&table.schema, &path.root) {
            let key = &path.root;
            return Err(Error::validation(format!(
                "Filter Expression can only contain non-primary key attributes: Primary key attribute: {key}"
            )));
        }
    }
    Ok(())
}

/// The keys that the condition asks for.
fn range_of(table: &TableDescriptor, condition: &KeyCondition) -> KeyRange {
    let prefix = collection_prefix(table.hash_seed, &condition.partition);
    let key = |value: &Value| {
        let mut key = prefix.to_vec();
        encode_component(value, &mut key);
        Bytes::from(key)
    };
    let end = || prefix_end(&prefix);
    let range = |start: Bytes, end: Option<Bytes>| KeyRange { start, end };
    let Some((_, sort)) = &condition.sort else {
        return range(prefix.clone(), end());
    };
    match sort {
        SortCondition::Equal(value) => range(key(value), Some(page::after(&key(value)))),
        SortCondition::Less(value) => range(prefix.clone(), Some(key(value))),
        SortCondition::LessOrEqual(value) => range(prefix.clone(), Some(page::after(&key(value)))),
        SortCondition::Greater(value) => range(page::after(&key(value)), end()),
        SortCondition::GreaterOrEqual(value) => range(key(value), end()),
        SortCondition::Between(low, high) => range(key(low), Some(page::after(&key(high)))),
        SortCondition::BeginsWith(value) => {
            // A text's encoding ends with two zero bytes; without them it is the beginning of all texts that begin so.
            let whole = key(value);
            let beginning = whole.slice(..whole.len().saturating_sub(2));
            let end = prefix_end(&beginning);
            range(beginning, end)
        }
    }
}

/// The range that is left after the starting key.
fn start_at(
    table: &TableDescriptor,
    condition: &KeyCondition,
    start: Option<&Item>,
    backward: bool,
) -> Result<KeyRange, Error> {
    let range = range_of(table, condition);
    let Some(start) = start else {
        return Ok(range);
    };
    let key = keys::of_key(table, start).map_err(page::starting_key_error)?;
    let same_collection = start.get(&table.schema.partition.name) == Some(&condition.partition);
    if condition.sort.is_none() {
        if !same_collection {
            return Err(Error::validation(
                "The provided starting key is outside query boundaries based on provided conditions",
            ));
        }
    } else if !same_collection {
        return Err(Error::validation("The query can return at most one row and cannot be restarted"));
    } else if !range.contains(&key) {
        return Err(Error::validation("The provided starting key does not match the range key predicate"));
    }
    Ok(if backward {
        KeyRange { start: range.start, end: Some(key) }
    } else {
        KeyRange { start: page::after(&key), end: range.end }
    })
}
