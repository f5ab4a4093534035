//! One step of counting a range: so many bytes of records, and the key from which to go on.
//!
//! The iterator lives as long as the step: no view of the engine is kept from one to the next, so that nothing which was
//! overwritten meanwhile has to be kept either. What is read does not enter the block cache: nobody reads it again soon.

use bytes::Bytes;
use model::item::{attributes_size, decode_record};
use model::{KeyRange, Size, TableId};
use replica::entry::SPACE_ITEMS;

use super::keys::bounds;
use super::scan::item_part;
use super::{Items, ItemsError, engine, failed, malformed_record};

/// What one step has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    pub size: Size,
    /// Of keys and records, as they were read.
    pub read_bytes: u64,
    /// The first key that was not counted; none at the range's end.
    pub next: Option<Bytes>,
}

impl Items {
    /// From the range's start until so many bytes are read, one item at least. May wait for the disk.
    pub fn count(&self, table: TableId, range: &KeyRange, most_bytes: u64) -> Result<Counted, ItemsError> {
        let mut counted = Counted { size: Size::default(), read_bytes: 0, next: None };
        let options = engine::passing_options(bounds(table, SPACE_ITEMS, range));
        let mut at = self.inner.db.raw_iterator_opt(options);
        at.seek_to_first();
        while let Some((key, record)) = at.item() {
            if counted.read_bytes >= most_bytes && counted.size.items > 0 {
                counted.next = Some(item_part(key)?);
                return Ok(counted);
            }
            let (_, attributes) = decode_record(&Bytes::copy_from_slice(record)).map_err(malformed_record)?;
            counted.size = counted.size + Size::of_item(attributes_size(&attributes).map_err(malformed_record)?);
            counted.read_bytes += u64::try_from(key.len() + record.len()).unwrap_or(u64::MAX);
            at.next();
        }
        at.status().map_err(failed("count"))?;
        Ok(counted)
    }
}
