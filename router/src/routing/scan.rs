//! One page over a range that may cross partitions.
//!
//! The page goes on from partition to partition until a limit ends it. Each partition is asked for its part of the range
//! alone, by the descriptor that is known when it is asked: a split in between only means that the next part begins earlier.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use model::{KeyRange, TableDescriptor};
use wire::data::request::Operation;
use wire::data::{self, Scanned, response};

use super::attempts::Purpose;
use super::cache::{CachedPartition, Spot};
use super::inner::Inner;
use super::{Failure, ScanPage, ScanRequest};

impl Inner {
    pub async fn scan(
        &self,
        table: &Arc<TableDescriptor>,
        request: ScanRequest,
        deadline: Instant,
    ) -> Result<ScanPage, Failure> {
        let mut page = ScanPage::default();
        let mut last_key = None;
        let mut left = request.range.clone();
        while left.end.as_ref().is_none_or(|end| left.start < *end) {
            let (scanned, part) = match self.scan_part(table, &request, &left, &page, deadline).await {
                Ok(scanned) => scanned,
                // What was evaluated before is a page of its own.
                Err(Failure::Unavailable(_) | Failure::Overloaded(_)) if last_key.is_some() => {
                    page.last_key = last_key;
                    return Ok(page);
                }
                Err(failure) => return Err(failure),
            };
            let finished = scanned.finished;
            last_key = add(&mut page, scanned).or(last_key);
            if !finished {
                if last_key.is_none() {
                    return Err(Failure::Unavailable("a node ended a page without a key".to_owned()));
                }
                page.last_key = last_key;
                return Ok(page);
            }
            if request.backward {
                left.end = Some(part.start.clone());
                if part.start <= left.start {
                    break;
                }
            } else {
                let Some(end) = part.end.clone() else { break };
                left.start = end;
            }
            let is_exhausted = left.end.as_ref().is_some_and(|end| left.start >= *end);
            if !is_exhausted && last_key.is_some() && limits_left(&request, &page).is_none() {
                page.last_key = last_key;
                return Ok(page);
            }
        }
        Ok(page)
    }

    /// The next partition's part of the range, and what was found in it.
    async fn scan_part(
        &self,
        table: &Arc<TableDescriptor>,
        request: &ScanRequest,
        left: &KeyRange,
        page: &ScanPage,
        deadline: Instant,
    ) -> Result<(Scanned, KeyRange), Failure> {
        let spot = if request.backward { Spot::Before(left.end.as_ref()) } else { Spot::At(&left.start) };
        let purpose = if request.consistent { Purpose::Read } else { Purpose::NearRead };
        let Limits { items, bytes } = limits_left(request, page).unwrap_or(Limits { items: 1, bytes: 1 });
        let part_of = |partition: &CachedPartition| {
            left.intersect(&partition.descriptor.range).expect("the partition was found by a key of the range")
        };
        let operation = |partition: &CachedPartition| {
            let KeyRange { start, end } = part_of(partition);
            Operation::Scan(data::Scan {
                start,
                end,
                backward: request.backward,
                limit: items,
                limit_bytes: bytes,
                consistent: request.consistent,
                filter: request.filter.clone(),
                projection: request.projection.clone(),
                count_only: request.count_only,
            })
        };
        let (result, partition) = self.call(table, spot, purpose, deadline, operation).await?;
        match result {
            response::Result::Scanned(scanned) => Ok((scanned, part_of(&partition))),
            response::Result::Got(_) | response::Result::Written(_) | response::Result::Refused(_) => {
                Err(Failure::Unavailable("a node answered a scan with something else".to_owned()))
            }
        }
    }
}

struct Limits {
    /// 0 for no limit.
    items: u32,
    bytes: u32,
}

/// What the page may still evaluate; none if a limit is reached.
fn limits_left(request: &ScanRequest, page: &ScanPage) -> Option<Limits> {
    let evaluated_bytes = u32::try_from(page.scanned_bytes).unwrap_or(u32::MAX);
    let bytes = request.limit_bytes.checked_sub(evaluated_bytes).filter(|bytes| *bytes > 0)?;
    let items = match request.limit {
        0 => 0,
        limit => limit.checked_sub(page.scanned_count).filter(|items| *items > 0)?,
    };
    Some(Limits { items, bytes })
}

/// Adds a partition's part to the page; answers the key of the last item evaluated in it.
fn add(page: &mut ScanPage, scanned: Scanned) -> Option<Bytes> {
    let Scanned { items, count, scanned_count, scanned_bytes, last_key, finished: _ } = scanned;
    if page.items.is_empty() {
        page.items = items;
    } else {
        page.items.extend(items);
    }
    page.count += count;
    page.scanned_count += scanned_count;
    page.scanned_bytes += scanned_bytes;
    last_key
}
