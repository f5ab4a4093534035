//! One page of one range: Query and Scan alike.
//!
//! An iterator sees one state of the engine, however long it lives. Bounds keep it inside the range. Limits count what was
//! evaluated, before the filter; the page ends with the item that reaches one.

use bytes::Bytes;
use model::item::{attributes_size, decode_attributes, decode_record, encode_attributes};
use model::limits::PAGE_BYTES;
use replica::entry::SPACE_ITEMS;
use wire::data::Scanned;

use super::keys::{PREFIX_LEN, bounds};
use super::{Items, ItemsError, ScanRequest, engine, failed, malformed_record};

impl Items {
    /// May wait for the disk: for pools.
    pub fn scan(&self, request: &ScanRequest) -> Result<Scanned, ItemsError> {
        let mut page = Scanned { finished: true, ..Scanned::default() };
        if request.range.end.as_ref().is_some_and(|end| *end <= request.range.start) {
            return Ok(page);
        }
        let bounds = bounds(request.table, SPACE_ITEMS, &request.range);
        let mut at = self.inner.db.raw_iterator_opt(engine::iterate_options(bounds));
        if request.backward {
            at.seek_to_last();
        } else {
            at.seek_to_first();
        }
        let limit_bytes = match usize::try_from(request.limit_bytes) {
            Ok(bytes) if bytes > 0 => bytes.min(PAGE_BYTES),
            Ok(_) | Err(_) => PAGE_BYTES,
        };
        let limit_bytes = u64::try_from(limit_bytes).unwrap_or(u64::MAX);
        while let Some((key, record)) = at.item() {
            evaluate(request, record, &mut page)?;
            if page.scanned_count == request.limit || page.scanned_bytes >= limit_bytes {
                page.last_key = Some(item_part(key)?);
                page.finished = false;
                return Ok(page);
            }
            if request.backward {
                at.prev();
            } else {
                at.next();
            }
        }
        at.status().map_err(failed("scan"))?;
        Ok(page)
    }
}

/// The encoded item key in a disk key.
pub(super) fn item_part(key: &[u8]) -> Result<Bytes, ItemsError> {
    key.get(PREFIX_LEN..).map(Bytes::copy_from_slice).ok_or(ItemsError::MalformedKey)
}

fn evaluate(request: &ScanRequest, record: &[u8], page: &mut Scanned) -> Result<(), ItemsError> {
    let (_, attributes) = decode_record(&Bytes::copy_from_slice(record)).map_err(malformed_record)?;
    page.scanned_count += 1;
    let size = attributes_size(&attributes).map_err(malformed_record)?;
    page.scanned_bytes += u64::try_from(size).unwrap_or(u64::MAX);
    let keeps_all = request.filter.is_none() && (request.projection.is_none() || request.count_only);
    if keeps_all {
        page.count += 1;
        if !request.count_only {
            page.items.push(attributes);
        }
        return Ok(());
    }
    let item = decode_attributes(&attributes).map_err(malformed_record)?;
    if request.filter.as_ref().is_some_and(|filter| !filter.matches(&item)) {
        return Ok(());
    }
    page.count += 1;
    if !request.count_only {
        page.items.push(match &request.projection {
            Some(projection) => Bytes::from(encode_attributes(&projection.project(&item))),
            None => attributes,
        });
    }
    Ok(())
}
