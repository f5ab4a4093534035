//! BatchGetItem: up to 100 items of several tables, each got by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;
use model::expression::Projection;
use model::item::{attributes_size, decode_attributes};
use model::limits::{BATCH_GET_BYTES, BATCH_GET_KEYS};
use model::units::read_half_units;
use model::{Item, TableDescriptor};
use serde::Deserialize;

use super::capacity::Capacity;
use super::violations::Violations;
use super::{Call, capacity, expressions, keys, table};
use crate::backend::Backend;
use crate::error::Error;
use crate::json;
use crate::json::attribute::Attributes;
use crate::json::field::{Flag, List, Map, Member, Named, Present, Text};
use crate::json::write::Writer;
use crate::routing::Failure;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Request {
    request_items: Option<Map<Member<KeysAndAttributes>>>,
    return_consumed_capacity: Option<Text>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct KeysAndAttributes {
    keys: Option<List<Attributes>>,
    consistent_read: Option<Flag>,
    projection_expression: Option<Text>,
    expression_attribute_names: Option<Map<Text>>,
    attributes_to_get: Option<Present>,
}

impl Named for KeysAndAttributes {
    const NAME: &'static str = "KeysAndAttributes";
}

/// What is asked of one table, checked as far as it goes without the table.
struct Asked {
    name: String,
    keys: Vec<Item>,
    consistent: bool,
    projection: Option<Projection>,
    /// As they came, for `UnprocessedKeys`.
    projection_text: Option<String>,
    names: BTreeMap<String, String>,
}

/// One table with what is asked of it.
struct Planned {
    table: Arc<TableDescriptor>,
    asked: Asked,
    /// In the order of `asked.keys`.
    keys: Vec<Bytes>,
}

/// What became of one table's keys.
#[derive(Default)]
struct Found {
    items: Vec<Item>,
    half_units: u64,
    /// Positions in `asked.keys`.
    unprocessed: Vec<usize>,
}

pub async fn run<B: Backend>(call: &mut Call<'_, B>, body: &[u8]) -> Result<Vec<u8>, Error> {
    let request: Request = json::parse(body)?;
    check_shape(&request)?;
    let capacity = Capacity::asked(request.return_consumed_capacity.as_ref());
    let mut asked = Vec::new();
    let mut count = 0;
    for (name, Member(of_table)) in request.request_items.map(|Map(tables)| tables).unwrap_or_default() {
        let of_table = check(name, of_table)?;
        count += of_table.keys.len();
        asked.push(of_table);
    }
    if count > BATCH_GET_KEYS {
        return Err(Error::validation("Too many items requested for the BatchGetItem call"));
    }
    let mut planned = Vec::new();
    for asked in asked {
        planned.push(plan(call, asked).await?);
    }
    let found = get(call, &planned).await?;
    Ok(write(&planned, &found, capacity))
}

fn check_shape(request: &Request) -> Result<(), Error> {
    let mut violations = Violations::new();
    capacity::check(&mut violations, request.return_consumed_capacity.as_ref());
    violations.not_null("requestItems", request.request_items.is_some());
    if let Some(Map(tables)) = &request.request_items {
        table::check_map_keys(&mut violations, tables.keys());
        for (name, Member(of_table)) in tables {
            let path = format!("requestItems.{name}.member.keys");
            violations.not_null(&path, of_table.keys.is_some());
            if let Some(List(keys)) = &of_table.keys {
                let value = if keys.is_empty() { "[]".to_owned() } else { format!("[{} keys]", keys.len()) };
                violations.length(&path, &value, keys.len(), 1, BATCH_GET_KEYS);
            }
        }
    }
    violations.finish()?;
    match &request.request_items {
        Some(Map(tables)) if tables.is_empty() => {
            Err(Error::validation("The requestItems parameter is required for BatchGetItem"))
        }
        Some(_) | None => Ok(()),
    }
}

fn check(name: String, of_table: KeysAndAttributes) -> Result<Asked, Error> {
    let KeysAndAttributes {
        keys,
        consistent_read,
        projection_expression,
        expression_attribute_names,
        attributes_to_get,
    } = of_table;
    let texts = [("ProjectionExpression", projection_expression.is_some())];
    expressions::refuse_legacy(&[("AttributesToGet", attributes_to_get)], &texts)?;
    let mut placeholders = expressions::placeholders(expression_attribute_names, None, &texts)?;
    let projection = expressions::projection(projection_expression.as_ref(), &mut placeholders)?;
    placeholders.check_all_used()?;
    let keys = keys.map(|List(keys)| keys).unwrap_or_default();
    Ok(Asked {
        name,
        keys: keys.into_iter().map(Attributes::checked).collect::<Result<_, _>>()?,
        consistent: consistent_read == Some(Flag(true)),
        projection,
        projection_text: projection_expression.map(|Text(text)| text),
        names: placeholders.names,
    })
}

async fn plan<B: Backend>(call: &mut Call<'_, B>, asked: Asked) -> Result<Planned, Error> {
    let table = call.active_table(table::name_of(&asked.name)).await?;
    let mut keys = Vec::with_capacity(asked.keys.len());
    let mut seen = BTreeSet::new();
    for key in &asked.keys {
        let key = keys::of_key(&table, key)?;
        if !seen.insert(key.clone()) {
            return Err(Error::validation("Provided list of item keys contains duplicates"));
        }
        keys.push(key);
    }
    if let Some(projection) = &asked.projection {
        keys::check_paths(&table.schema, &projection.paths)?;
    }
    Ok(Planned { table, asked, keys })
}

/// Whether a part of a batch that failed so is handed back to be asked again.
pub fn is_unprocessed(failure: &Failure) -> bool {
    match failure {
        Failure::Unavailable(_) | Failure::Overloaded(_) => true,
        Failure::TableNotFound | Failure::TableNotActive | Failure::Unknown | Failure::Control { .. } => false,
    }
}

/// Gets everything at once. What could not be got is handed back, unless nothing could.
async fn get<B: Backend>(call: &Call<'_, B>, planned: &[Planned]) -> Result<Vec<Found>, Error> {
    let gets = planned.iter().flat_map(|planned| {
        let consistent = planned.asked.consistent;
        planned.keys.iter().map(move |key| call.backend.get(&planned.table, key.clone(), consistent, call.deadline))
    });
    let mut answers = join_all(gets).await.into_iter();
    let mut bytes = 0;
    let mut failure = None;
    let mut any = false;
    let mut all_found = Vec::with_capacity(planned.len());
    for planned in planned {
        let mut found = Found::default();
        for position in 0..planned.keys.len() {
            let item = match answers.next().expect("every key has an answer") {
                Ok(item) => item,
                Err(unprocessed) if is_unprocessed(&unprocessed) => {
                    failure.get_or_insert(unprocessed);
                    found.unprocessed.push(position);
                    continue;
                }
                Err(other) => return Err(other.into()),
            };
            any = true;
            let size = item.as_ref().map(|bytes| attributes_size(bytes)).transpose()?.unwrap_or(0);
            if bytes + size > BATCH_GET_BYTES {
                found.unprocessed.push(position);
                continue;
            }
            bytes += size;
            found.half_units += read_half_units(size, planned.asked.consistent);
            if let Some(item) = item {
                let item = decode_attributes(&item)?;
                found.items.push(planned.asked.projection.as_ref().map_or(item.clone(), |kept| kept.project(&item)));
            }
        }
        all_found.push(found);
    }
    match failure {
        Some(failure) if !any => Err(failure.into()),
        Some(_) | None => Ok(all_found),
    }
}

fn write(planned: &[Planned], found: &[Found], capacity: Capacity) -> Vec<u8> {
    let both = || planned.iter().zip(found);
    let mut json = Writer::new();
    json.object(|json| {
        json.key("Responses");
        json.object(|json| {
            for (planned, found) in both() {
                json.key(&planned.asked.name);
                json.array(|json| found.items.iter().for_each(|item| json.item(item)));
            }
        });
        json.key("UnprocessedKeys");
        json.object(|json| {
            for (planned, found) in both().filter(|(_, found)| !found.unprocessed.is_empty()) {
                json.key(&planned.asked.name);
                write_unprocessed(json, &planned.asked, &found.unprocessed);
            }
        });
        if capacity != Capacity::None {
            json.key("ConsumedCapacity");
            json.array(|json| {
                both().for_each(|(planned, found)| capacity.write(json, &planned.table.name, found.half_units));
            });
        }
    });
    json.finish()
}

fn write_unprocessed(json: &mut Writer, asked: &Asked, unprocessed: &[usize]) {
    json.object(|json| {
        json.key("Keys");
        json.array(|json| unprocessed.iter().for_each(|&position| json.item(&asked.keys[position])));
        if let Some(text) = &asked.projection_text {
            json.key("ProjectionExpression");
            json.text(text);
        }
        if !asked.names.is_empty() {
            json.key("ExpressionAttributeNames");
            json.object(|json| {
                for (placeholder, name) in &asked.names {
                    json.key(placeholder);
                    json.text(name);
                }
            });
        }
        if asked.consistent {
            json.key("ConsistentRead");
            json.boolean(true);
        }
    });
}
