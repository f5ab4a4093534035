//! What Query and Scan share: the parameters of a page, and the page as an answer.

use bytes::Bytes;
use model::expression::{Condition, Path, Projection};
use model::item::decode_attributes;
use model::key::key_attributes;
use model::limits::{PAGE_BYTES, PAGE_LIMIT_MIN};
use model::units::read_half_units;
use model::{Item, KeyRange, TableDescriptor};

use super::capacity::Capacity;
use super::violations::Violations;
use super::{Call, capacity, keys, table};
use crate::backend::Backend;
use crate::error::Error;
use crate::json::attribute::{Attributes, Invalid};
use crate::json::field::{Int, Text};
use crate::json::write::Writer;
use crate::routing::{ScanPage, ScanRequest};

/// Checks the shape of the parameters that both have.
pub fn check(
    violations: &mut Violations,
    select: Option<&Text>,
    index_name: Option<&Text>,
    return_consumed_capacity: Option<&Text>,
    table_name: Option<&Text>,
    limit: Option<Int>,
) {
    let selects = ["SPECIFIC_ATTRIBUTES", "COUNT", "ALL_ATTRIBUTES", "ALL_PROJECTED_ATTRIBUTES"];
    violations.one_of("select", select, &selects);
    if let Some(Text(name)) = index_name {
        violations.name_pattern("indexName", name);
        violations.length("indexName", name, name.chars().count(), 3, 255);
    }
    capacity::check(violations, return_consumed_capacity);
    table::check(violations, table_name);
    violations.at_least("limit", limit.map(|Int(limit)| limit), PAGE_LIMIT_MIN);
}

/// Whether only counts are wanted; refuses what does not go together.
pub fn count_only(select: Option<&Text>, projects: bool) -> Result<bool, Error> {
    match select.map(|Text(select)| select.as_str()) {
        Some("COUNT") if projects => {
            Err(Error::validation("Cannot specify the ProjectionExpression when choosing to get only the Count"))
        }
        Some("COUNT") => Ok(true),
        Some("ALL_ATTRIBUTES") if projects => {
            Err(Error::validation("Cannot specify the ProjectionExpression when choosing to get ALL_ATTRIBUTES"))
        }
        Some("ALL_PROJECTED_ATTRIBUTES") => {
            Err(Error::validation("ALL_PROJECTED_ATTRIBUTES can be used only when Querying using an IndexName"))
        }
        Some("SPECIFIC_ATTRIBUTES") if !projects => Err(Error::validation(
            "Must specify the AttributesToGet or ProjectionExpression when choosing to get SPECIFIC_ATTRIBUTES",
        )),
        Some(_) | None => Ok(false),
    }
}

/// No table has an index yet.
pub fn refuse_index(index_name: Option<&Text>) -> Result<(), Error> {
    match index_name {
        Some(Text(name)) => Err(Error::validation(format!("The table does not have the specified index: {name}"))),
        None => Ok(()),
    }
}

/// The values of an `ExclusiveStartKey`, not yet held against a schema.
pub fn start_key(key: Option<Attributes>) -> Result<Option<Item>, Error> {
    let Some(Attributes(key)) = key else {
        return Ok(None);
    };
    // Errors of numbers and sets come without the first words.
    let bare = |sentence: &str| {
        ["contains duplicates", "number set", "numeric value", "significant digits", "number with magnitude"]
            .iter()
            .any(|part| sentence.contains(part))
    };
    key.map(Some).map_err(|fault| {
        let (_, Invalid(sentence)) = *fault;
        let prefix = if bare(&sentence) { "" } else { STARTING_KEY_INVALID_COLON };
        Error::validation(format!("{prefix}{sentence}"))
    })
}

pub const STARTING_KEY_INVALID: &str = "The provided starting key is invalid";
pub const STARTING_KEY_INVALID_COLON: &str = "The provided starting key is invalid: ";

/// Puts DynamoDB's first words before a refusal of a starting key.
pub fn starting_key_error(error: Error) -> Error {
    match error {
        Error::Validation(sentence) => Error::validation(format!("{STARTING_KEY_INVALID_COLON}{sentence}")),
        other => other,
    }
}

/// The smallest key after `key`.
pub fn after(key: &Bytes) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    Bytes::from(next)
}

/// What a page is asked for with, beside its range.
pub struct Asked<'a> {
    pub backward: bool,
    pub limit: Option<Int>,
    pub consistent: bool,
    pub filter: Option<&'a Condition>,
    pub projection: Option<&'a Projection>,
    pub count_only: bool,
    pub capacity: Capacity,
}

impl Asked<'_> {
    /// Paths into key attributes are refused in every expression.
    pub fn check_paths(&self, table: &TableDescriptor) -> Result<(), Error> {
        let projected = self.projection.iter().flat_map(|projection| projection.paths.iter());
        let filtered: Vec<&Path> = self.filter.map(Condition::paths).unwrap_or_default();
        keys::check_paths(&table.schema, projected)?;
        keys::check_paths(&table.schema, filtered)
    }
}

/// Asks for a page and writes the answer.
pub async fn answer<B: Backend>(
    call: &Call<'_, B>,
    table: &std::sync::Arc<TableDescriptor>,
    range: KeyRange,
    asked: &Asked<'_>,
) -> Result<Vec<u8>, Error> {
    let empty = range.end.as_ref().is_some_and(|end| *end <= range.start);
    let page = if empty {
        ScanPage::default()
    } else {
        let request = ScanRequest {
            range,
            backward: asked.backward,
            limit: asked.limit.and_then(|Int(limit)| u32::try_from(limit).ok()).unwrap_or(0),
            limit_bytes: u32::try_from(PAGE_BYTES).expect("a page is a megabyte"),
            consistent: asked.consistent,
            filter: asked.filter.map(Condition::encode),
            projection: asked.projection.map(Projection::encode),
            count_only: asked.count_only,
        };
        call.backend.scan(table, request, call.deadline).await?
    };
    write(table, &page, asked)
}

fn write(table: &TableDescriptor, page: &ScanPage, asked: &Asked<'_>) -> Result<Vec<u8>, Error> {
    let items = page.items.iter().map(decode_attributes).collect::<Result<Vec<Item>, _>>()?;
    let last = page.last_key.as_ref().map(|key| key_attributes(&table.schema, key)).transpose()?;
    let scanned_bytes = usize::try_from(page.scanned_bytes).unwrap_or(usize::MAX);
    let mut json = Writer::new();
    json.object(|json| {
        if !asked.count_only {
            json.key("Items");
            json.array(|json| items.iter().for_each(|item| json.item(item)));
        }
        json.key("Count");
        json.raw(page.count);
        json.key("ScannedCount");
        json.raw(page.scanned_count);
        if let Some(last) = &last {
            json.key("LastEvaluatedKey");
            json.item(last);
        }
        asked.capacity.write_field(json, &table.name, read_half_units(scanned_bytes, asked.consistent));
    });
    Ok(json.finish())
}
