//! BatchWriteItem: up to 25 puts and deletes of several tables, each done by itself.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;
use model::item::encode_attributes;
use model::limits::BATCH_WRITE_REQUESTS;
use model::units::write_half_units;
use model::{Item, TableDescriptor, TableId};
use serde::Deserialize;

use super::batch_get_item::is_unprocessed;
use super::capacity::Capacity;
use super::put_item::bytes;
use super::violations::Violations;
use super::{Call, capacity, keys, returning, table};
use crate::backend::Backend;
use crate::error::Error;
use crate::json;
use crate::json::attribute::Attributes;
use crate::json::field::{Field, List, Map, Member, Named, Text};
use crate::json::write::Writer;
use crate::routing::{WriteAction, WriteOutcome, WriteRequest};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Request {
    request_items: Option<Map<List<Member<Write>>>>,
    return_consumed_capacity: Option<Text>,
    return_item_collection_metrics: Option<Text>,
}

/// In boxes: a hostile request has many empty ones, three bytes each.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Write {
    put_request: Option<Box<Field<PutRequest>>>,
    delete_request: Option<Box<Field<DeleteRequest>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutRequest {
    item: Option<Attributes>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DeleteRequest {
    key: Option<Attributes>,
}

impl Named for Write {
    const NAME: &'static str = "WriteRequest";
}
impl Named for List<Member<Write>> {
    const NAME: &'static str = "java.util.List<com.amazonaws.dynamodb.v20120810.WriteRequest>";
}
impl Named for PutRequest {
    const NAME: &'static str = "PutRequest";
}
impl Named for DeleteRequest {
    const NAME: &'static str = "DeleteRequest";
}

/// One put or delete, checked as far as it goes without the table.
enum Asked {
    Put(Item),
    Delete(Item),
}

/// One table with what is asked of it.
struct Planned {
    /// As the request named it.
    name: String,
    table: Arc<TableDescriptor>,
    asked: Vec<Asked>,
    /// In the order of `asked`.
    keys: Vec<Bytes>,
}

/// What became of one table's writes.
#[derive(Default)]
struct Done {
    half_units: u64,
    /// Positions in `asked`.
    unprocessed: Vec<usize>,
}

pub async fn run<B: Backend>(call: &mut Call<'_, B>, body: &[u8]) -> Result<Vec<u8>, Error> {
    let request: Request = json::parse(body)?;
    check_shape(&request)?;
    let capacity = Capacity::asked(request.return_consumed_capacity.as_ref());
    let mut asked = Vec::new();
    let mut count = 0;
    for (name, List(writes)) in request.request_items.map(|Map(tables)| tables).unwrap_or_default() {
        let writes = writes.into_iter().map(|Member(write)| check(write)).collect::<Result<Vec<_>, _>>()?;
        count += writes.len();
        asked.push((name, writes));
    }
    if count > BATCH_WRITE_REQUESTS {
        return Err(Error::validation("Too many items requested for the BatchWriteItem call"));
    }
    let mut planned = Vec::new();
    // By table, not by name: a batch may name a table twice, once by its ARN.
    let mut seen = BTreeSet::new();
    for (name, asked) in asked {
        planned.push(plan(call, name, asked, &mut seen).await?);
    }
    let done = write_all(call, &planned).await?;
    Ok(write(&planned, &done, capacity))
}

fn check_shape(request: &Request) -> Result<(), Error> {
    let mut violations = Violations::new();
    capacity::check(&mut violations, request.return_consumed_capacity.as_ref());
    returning::check_metrics(&mut violations, request.return_item_collection_metrics.as_ref());
    violations.not_null("requestItems", request.request_items.is_some());
    if let Some(Map(tables)) = &request.request_items {
        table::check_map_keys(&mut violations, tables.keys());
        if tables.values().any(|List(writes)| writes.is_empty() || writes.len() > BATCH_WRITE_REQUESTS) {
            let counts: Vec<String> =
                tables.iter().map(|(name, List(writes))| format!("{name}=[{} requests]", writes.len())).collect();
            violations.add(
                "requestItems",
                &format!("{{{}}}", counts.join(", ")),
                &format!(
                    "Map value must satisfy constraint: [Member must have length less than or equal to \
                     {BATCH_WRITE_REQUESTS}, Member must have length greater than or equal to 1]"
                ),
            );
        }
        for (name, List(writes)) in tables {
            for (number, Member(write)) in (1..).zip(writes) {
                let path = format!("requestItems.{name}.member.{number}.member");
                if let Some(Field(delete)) = write.delete_request.as_deref() {
                    violations.not_null(&format!("{path}.deleteRequest.key"), delete.key.is_some());
                }
                if let Some(Field(put)) = write.put_request.as_deref() {
                    violations.not_null(&format!("{path}.putRequest.item"), put.item.is_some());
                }
            }
        }
    }
    violations.finish()?;
    match &request.request_items {
        Some(Map(tables)) if tables.is_empty() => {
            Err(Error::validation("The requestItems parameter is required for BatchWriteItem"))
        }
        Some(_) | None => Ok(()),
    }
}

fn check(write: Write) -> Result<Asked, Error> {
    match (write.put_request, write.delete_request) {
        (Some(put), None) => {
            let Field(put) = *put;
            let item = put.item.map(Attributes::checked).transpose()?.unwrap_or_default();
            keys::check_item(&item)?;
            Ok(Asked::Put(item))
        }
        (None, Some(delete)) => {
            let Field(delete) = *delete;
            Ok(Asked::Delete(delete.key.map(Attributes::checked).transpose()?.unwrap_or_default()))
        }
        // DynamoDB's sentence for neither is the same.
        (Some(_), Some(_)) | (None, None) => Err(Error::validation(
            "Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes",
        )),
    }
}

async fn plan<B: Backend>(
    call: &mut Call<'_, B>,
    name: String,
    asked: Vec<Asked>,
    seen: &mut BTreeSet<(TableId, Bytes)>,
) -> Result<Planned, Error> {
    let table = call.active_table(table::name_of(&name)).await?;
    let mut keys = Vec::with_capacity(asked.len());
    for write in &asked {
        let key = match write {
            Asked::Put(item) => keys::of_batch_item(&table, item)?,
            Asked::Delete(key) => keys::of_key(&table, key)?,
        };
        if !seen.insert((table.id, key.clone())) {
            return Err(Error::validation("Provided list of item keys contains duplicates"));
        }
        keys.push(key);
    }
    Ok(Planned { name, table, asked, keys })
}

/// Writes everything at once. What surely was not written is handed back, unless nothing was written.
async fn write_all<B: Backend>(call: &Call<'_, B>, planned: &[Planned]) -> Result<Vec<Done>, Error> {
    let writes = planned.iter().flat_map(|planned| {
        planned.asked.iter().zip(&planned.keys).map(move |(asked, key)| {
            let write = WriteRequest {
                key: key.clone(),
                action: match asked {
                    Asked::Put(item) => WriteAction::Put(Bytes::from(encode_attributes(item))),
                    Asked::Delete(_) => WriteAction::Delete,
                },
                condition: None,
                return_old: false,
                return_new: false,
                return_old_on_failure: false,
                request_id: call.request_id.clone(),
            };
            call.backend.write(&planned.table, write, call.deadline)
        })
    });
    let mut answers = join_all(writes).await.into_iter();
    let mut failure = None;
    let mut any = false;
    let mut all_done = Vec::with_capacity(planned.len());
    for planned in planned {
        let mut done = Done::default();
        for position in 0..planned.keys.len() {
            match answers.next().expect("every write has an answer") {
                Ok(WriteOutcome::Applied { old: _, new: _, old_size, new_size }) => {
                    any = true;
                    done.half_units += write_half_units(bytes(old_size), bytes(new_size));
                }
                Ok(WriteOutcome::ConditionFailed { .. }) => {
                    return Err(Error::Internal(
                        "Internal server error: a write without a condition failed one".into(),
                    ));
                }
                Ok(WriteOutcome::Invalid(sentence)) => return Err(Error::validation(sentence)),
                Err(unprocessed) if is_unprocessed(&unprocessed) => {
                    failure.get_or_insert(unprocessed);
                    done.unprocessed.push(position);
                }
                Err(other) => return Err(other.into()),
            }
        }
        all_done.push(done);
    }
    match failure {
        Some(failure) if !any => Err(failure.into()),
        Some(_) | None => Ok(all_done),
    }
}

fn write(planned: &[Planned], done: &[Done], capacity: Capacity) -> Vec<u8> {
    let both = || planned.iter().zip(done);
    let mut json = Writer::new();
    json.object(|json| {
        json.key("UnprocessedItems");
        json.object(|json| {
            for (planned, done) in both().filter(|(_, done)| !done.unprocessed.is_empty()) {
                json.key(&planned.name);
                json.array(|json| {
                    done.unprocessed.iter().for_each(|&position| write_unprocessed(json, &planned.asked[position]));
                });
            }
        });
        if capacity != Capacity::None {
            json.key("ConsumedCapacity");
            json.array(|json| {
                both().for_each(|(planned, done)| capacity.write(json, &planned.table.name, done.half_units));
            });
        }
    });
    json.finish()
}

fn write_unprocessed(json: &mut Writer, asked: &Asked) {
    let (request, field, attributes) = match asked {
        Asked::Put(item) => ("PutRequest", "Item", item),
        Asked::Delete(key) => ("DeleteRequest", "Key", key),
    };
    json.object(|json| {
        json.key(request);
        json.object(|json| {
            json.key(field);
            json.item(attributes);
        });
    });
}
