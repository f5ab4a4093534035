//! Items and keys of requests, held against a table's schema.

use bytes::Bytes;
use model::expression::Path;
use model::key::encode_key;
use model::limits::{ATTRIBUTE_NAME_BYTES, ITEM_BYTES, PARTITION_KEY_BYTES, SORT_KEY_BYTES};
use model::value::item_size;
use model::{Item, KeyAttribute, KeySchema, TableDescriptor, Value};

use super::table::key_type_name;
use crate::error::Error;

const MISMATCH: &str = "The provided key element does not match the schema";

/// The schema's key attributes; true for the partition key.
pub fn attributes(schema: &KeySchema) -> impl Iterator<Item = (&KeyAttribute, bool)> {
    std::iter::once((&schema.partition, true)).chain(schema.sort.as_ref().map(|sort| (sort, false)))
}

pub fn is_key(schema: &KeySchema, name: &str) -> bool {
    attributes(schema).any(|(key, _)| key.name == name)
}

/// The encoded key of a `Key` parameter, which has the schema's attributes and no others.
pub fn of_key(table: &TableDescriptor, key: &Item) -> Result<Bytes, Error> {
    if key.len() != attributes(&table.schema).count() {
        return Err(Error::validation(MISMATCH));
    }
    for (attribute, is_partition) in attributes(&table.schema) {
        let value = key.get(&attribute.name).filter(|value| has_type(value, attribute));
        let value = value.ok_or_else(|| Error::validation(MISMATCH))?;
        check_not_empty(value, attribute)?;
        check_size(value, is_partition)?;
    }
    Ok(encode(table, key))
}

/// The encoded key of a whole item.
pub fn of_item(table: &TableDescriptor, item: &Item) -> Result<Bytes, Error> {
    for (attribute, is_partition) in attributes(&table.schema) {
        let name = &attribute.name;
        let Some(value) = item.get(name) else {
            return Err(Error::invalid_parameter(&format!("Missing the key {name} in the item")));
        };
        if !has_type(value, attribute) {
            let (expected, actual) = (key_type_name(attribute.key_type), value.type_name());
            return Err(Error::invalid_parameter(&format!(
                "Type mismatch for key {name} expected: {expected} actual: {actual}"
            )));
        }
        check_not_empty(value, attribute)?;
        check_size(value, is_partition)?;
    }
    Ok(encode(table, item))
}

/// A value that a key condition holds against a key attribute.
pub fn check_value(value: &Value, attribute: &KeyAttribute, is_partition: bool) -> Result<(), Error> {
    if !has_type(value, attribute) {
        return Err(Error::invalid_parameter("Condition parameter type does not match schema type"));
    }
    check_not_empty(value, attribute)?;
    check_size(value, is_partition)
}

/// As [`of_item`], where DynamoDB tells a missing or mistyped key with another sentence.
pub fn of_batch_item(table: &TableDescriptor, item: &Item) -> Result<Bytes, Error> {
    let fits = |(attribute, _): (&KeyAttribute, bool)| {
        item.get(&attribute.name).is_some_and(|value| has_type(value, attribute))
    };
    if !attributes(&table.schema).all(fits) {
        return Err(Error::validation(MISMATCH));
    }
    of_item(table, item)
}

/// DynamoDB checks an item's names and size before it looks at the table.
pub fn check_item(item: &Item) -> Result<(), Error> {
    if item.contains_key("") {
        return Err(Error::invalid_parameter("Attribute names must not be empty"));
    }
    if item.keys().any(|name| name.len() > ATTRIBUTE_NAME_BYTES) {
        return Err(Error::invalid_parameter("Attribute name is too large, must be less than 65536 bytes"));
    }
    if item_size(item) > ITEM_BYTES {
        return Err(Error::validation("Item size has exceeded the maximum allowed size"));
    }
    Ok(())
}

/// Paths into key attributes, which are scalars, are refused.
pub fn check_paths<'a>(schema: &KeySchema, paths: impl IntoIterator<Item = &'a Path>) -> Result<(), Error> {
    for path in paths {
        if !path.steps.is_empty() && is_key(schema, &path.root) {
            let key = &path.root;
            return Err(Error::validation(format!(
                "Key attributes must be scalars; list random access '[]' and map lookup '.' are not allowed: Key: {key}"
            )));
        }
    }
    Ok(())
}

fn has_type(value: &Value, attribute: &KeyAttribute) -> bool {
    value.type_name() == key_type_name(attribute.key_type)
}

fn encode(table: &TableDescriptor, item: &Item) -> Bytes {
    let sort = table.schema.sort.as_ref().and_then(|sort| item.get(&sort.name));
    let partition = item.get(&table.schema.partition.name).expect("the key's attributes were checked to be there");
    encode_key(table.hash_seed, partition, sort)
}

/// What an empty value is called, if it is one.
fn empty_name(value: &Value) -> Option<&'static str> {
    match value {
        Value::S(text) if text.is_empty() => Some("string"),
        Value::B(bytes) if bytes.is_empty() => Some("binary"),
        Value::S(_)
        | Value::B(_)
        | Value::N(_)
        | Value::Ss(_)
        | Value::Ns(_)
        | Value::Bs(_)
        | Value::M(_)
        | Value::L(_)
        | Value::Bool(_)
        | Value::Null => None,
    }
}

fn check_not_empty(value: &Value, attribute: &KeyAttribute) -> Result<(), Error> {
    let Some(empty) = empty_name(value) else {
        return Ok(());
    };
    let name = &attribute.name;
    Err(Error::validation(format!(
        "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty {empty} \
         value. Key: {name}"
    )))
}

fn check_size(value: &Value, is_partition: bool) -> Result<(), Error> {
    let length = match value {
        Value::S(text) => text.len(),
        Value::B(bytes) => bytes.len(),
        Value::N(_)
        | Value::Ss(_)
        | Value::Ns(_)
        | Value::Bs(_)
        | Value::M(_)
        | Value::L(_)
        | Value::Bool(_)
        | Value::Null => 0,
    };
    // The missing space is DynamoDB's.
    if is_partition && length > PARTITION_KEY_BYTES {
        return Err(Error::invalid_parameter("Size of hashkey has exceeded the maximum size limit of2048 bytes"));
    }
    if !is_partition && length > SORT_KEY_BYTES {
        return Err(Error::invalid_parameter(
            "Aggregated size of all range keys has exceeded the size limit of 1024 bytes",
        ));
    }
    Ok(())
}
