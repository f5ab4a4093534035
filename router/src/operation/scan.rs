//! Scan: a page of the whole table, or of one of its segments.
//!
//! A segment is an even part of the space of hashes: it needs nobody to know where partitions begin.

use bytes::Bytes;
use model::limits::SCAN_SEGMENTS;
use model::{Item, KeyRange, TableDescriptor};
use serde::Deserialize;

use super::capacity::Capacity;
use super::page::{self, Asked};
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
    segment: Option<Int>,
    total_segments: Option<Int>,
    consistent_read: Option<Flag>,
    exclusive_start_key: Option<Attributes>,
    filter_expression: Option<Text>,
    projection_expression: Option<Text>,
    expression_attribute_names: Option<Map<Text>>,
    expression_attribute_values: Option<Attributes>,
    return_consumed_capacity: Option<Text>,
    attributes_to_get: Option<Present>,
    scan_filter: Option<Present>,
    conditional_operator: Option<Present>,
}

impl Request {
    fn check_shape(&self) -> Result<(), Error> {
        let mut violations = Violations::new();
        let total = self.total_segments.map(|Int(total)| total);
        violations.at_least("totalSegments", total, 1);
        violations.at_most("totalSegments", total, SCAN_SEGMENTS);
        page::check(
            &mut violations,
            self.select.as_ref(),
            self.index_name.as_ref(),
            self.return_consumed_capacity.as_ref(),
            self.table_name.as_ref(),
            self.limit,
        );
        let segment = self.segment.map(|Int(segment)| segment);
        violations.at_least("segment", segment, 0);
        violations.at_most("segment", segment, SCAN_SEGMENTS - 1);
        violations.finish()
    }
}

/// One of the even parts of a table.
#[derive(Clone, Copy)]
struct Segment {
    number: u32,
    total: u32,
}

impl Segment {
    fn of(segment: Option<Int>, total: Option<Int>) -> Result<Segment, Error> {
        let (number, total) = match (segment, total) {
            (None, None) => return Ok(Segment { number: 0, total: 1 }),
            (Some(_), None) => {
                return Err(Error::validation(
                    "The TotalSegments parameter is required but was not present in the request when Segment parameter \
                     is present",
                ));
            }
            (None, Some(_)) => {
                return Err(Error::validation(
                    "The Segment parameter is required but was not present in the request when parameter TotalSegments \
                     is present",
                ));
            }
            (Some(Int(number)), Some(Int(total))) => (number, total),
        };
        if number >= total {
            return Err(Error::validation(format!(
                "The Segment parameter is zero-based and must be less than parameter TotalSegments: Segment: {number} is \
                 not less than TotalSegments: {total}"
            )));
        }
        let narrow = |value| u32::try_from(value).expect("the shape's limits are below a million");
        Ok(Segment { number: narrow(number), total: narrow(total) })
    }

    /// Where segment `number` begins among the hashes, which are the first eight bytes of a key.
    fn boundary(self, number: u32) -> Option<Bytes> {
        let at = (u128::from(number) << 64) / u128::from(self.total);
        u64::try_from(at).ok().map(|at| Bytes::copy_from_slice(&at.to_be_bytes()))
    }

    fn range(self) -> KeyRange {
        let start = if self.number == 0 { Bytes::new() } else { self.boundary(self.number).unwrap_or_default() };
        KeyRange { start, end: self.boundary(self.number + 1) }
    }
}

pub async fn run<B: Backend>(call: &mut Call<'_, B>, body: &[u8]) -> Result<Vec<u8>, Error> {
    let request: Request = json::parse(body)?;
    request.check_shape()?;
    let texts = [
        ("ProjectionExpression", request.projection_expression.is_some()),
        ("FilterExpression", request.filter_expression.is_some()),
    ];
    let legacy = [
        ("AttributesToGet", request.attributes_to_get),
        ("ScanFilter", request.scan_filter),
        ("ConditionalOperator", request.conditional_operator),
    ];
    expressions::refuse_legacy(&legacy, &texts)?;
    let start = page::start_key(request.exclusive_start_key)?;
    let segment = Segment::of(request.segment, request.total_segments)?;
    let names = request.expression_attribute_names;
    let mut placeholders = expressions::placeholders(names, request.expression_attribute_values, &texts)?;
    let filter = expressions::condition("FilterExpression", request.filter_expression.as_ref(), &mut placeholders)?;
    let projection = expressions::projection(request.projection_expression.as_ref(), &mut placeholders)?;
    placeholders.check_all_used()?;
    let count_only = page::count_only(request.select.as_ref(), projection.is_some())?;

    let table = call.active_table(table::checked_name(request.table_name.as_ref())).await?;
    page::refuse_index(request.index_name.as_ref())?;
    let range = start_at(&table, segment, start.as_ref())?;
    let asked = Asked {
        backward: false,
        limit: request.limit,
        consistent: request.consistent_read == Some(Flag(true)),
        filter: filter.as_ref(),
        projection: projection.as_ref(),
        count_only,
        capacity: Capacity::asked(request.return_consumed_capacity.as_ref()),
    };
    asked.check_paths(&table)?;
    page::answer(call, &table, range, &asked).await
}

/// The segment's range that is left after the starting key.
fn start_at(table: &TableDescriptor, segment: Segment, start: Option<&Item>) -> Result<KeyRange, Error> {
    let range = segment.range();
    let Some(start) = start else {
        return Ok(range);
    };
    let key = keys::of_key(table, start).map_err(page::starting_key_error)?;
    if !range.contains(&key) {
        let Segment { number, total } = segment;
        return Err(Error::validation(format!(
            "The provided starting key is invalid: Invalid ExclusiveStartKey. Please use ExclusiveStartKey with correct \
             Segment. TotalSegments: {total} Segment: {number}"
        )));
    }
    Ok(KeyRange { start: page::after(&key), end: range.end })
}
