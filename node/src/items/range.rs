//! Whole ranges: how much one holds, and clearing it.

use bytes::Bytes;
use model::item::{attributes_size, decode_record};
use model::{KeyRange, PartitionId, TableId};
use replica::entry::SPACE_ITEMS;
use rocksdb::{Range, WriteBatch};

use super::keys::{RecordKind, SPACES, bounds, record_key};
use super::{Estimate, Items, ItemsError, engine, failed, malformed_record};

/// Items counted exactly before the rest is extrapolated from the files' sizes.
const SAMPLE_ITEMS: u64 = 10_000;

/// The first and the last disk key of a range that is not empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ends {
    first: Vec<u8>,
    last: Vec<u8>,
}

impl Items {
    /// Exact up to ten thousand items; above, the counted beginning is scaled by the bytes that files hold of it and of the
    /// whole range. For pools.
    pub fn estimate(&self, table: TableId, range: &KeyRange) -> Result<Estimate, ItemsError> {
        let (start, end) = bounds(table, SPACE_ITEMS, range);
        let mut counted = Estimate::default();
        let mut at = self.inner.db.raw_iterator_opt(engine::iterate_options((start.clone(), end.clone())));
        at.seek_to_first();
        while let Some((key, record)) = at.item() {
            if counted.items == SAMPLE_ITEMS {
                let seen = self.file_bytes(&start, key);
                let all = self.file_bytes(&start, &end);
                return Ok(scale(counted, seen, all));
            }
            let (_, attributes) = decode_record(&Bytes::copy_from_slice(record)).map_err(malformed_record)?;
            let size = attributes_size(&attributes).map_err(malformed_record)?;
            counted.items += 1;
            counted.bytes += u64::try_from(size).unwrap_or(u64::MAX);
            at.next();
        }
        at.status().map_err(failed("count"))?;
        Ok(counted)
    }

    fn file_bytes(&self, start: &[u8], end: &[u8]) -> u64 {
        self.inner.db.get_approximate_sizes(&[Range::new(start, end)]).first().copied().unwrap_or_default()
    }

    /// Deletes a group's records, durably, then its range in every space. The log must say before that the replica is
    /// retired (`Work::AcceptFrom`): a crash halfway leaves items without records, which a snapshot or another clear removes.
    pub fn clear(&self, partition: PartitionId, table: TableId, range: &KeyRange) -> Result<(), ItemsError> {
        let mut batch = WriteBatch::default();
        batch.delete(record_key(partition, RecordKind::Mark));
        batch.delete(record_key(partition, RecordKind::State));
        self.inner.db.write_opt(batch, &self.inner.patient).map_err(failed("clear"))?;
        self.clear_range(table, range)
    }

    /// The same for items of which no group has the records.
    pub fn clear_range(&self, table: TableId, range: &KeyRange) -> Result<(), ItemsError> {
        // Files are deleted at once and for ever, memtables may still be lost: what is in them goes first.
        self.flush()?;
        for space in SPACES {
            let Some(Ends { first, last }) = self.ends(table, space, range)? else { continue };
            // The end of this call is inclusive: the last key that is ours.
            self.inner.db.delete_file_in_range(&first, &last).map_err(failed("clear"))?;
            let (start, end) = bounds(table, space, range);
            let mut batch = WriteBatch::default();
            batch.delete_range(start, end);
            self.inner.db.write_opt(batch, &self.inner.patient).map_err(failed("clear"))?;
        }
        self.flush()
    }

    pub(super) fn ends(&self, table: TableId, space: u8, range: &KeyRange) -> Result<Option<Ends>, ItemsError> {
        let mut at = self.inner.db.raw_iterator_opt(engine::iterate_options(bounds(table, space, range)));
        at.seek_to_first();
        let first = at.key().map(<[u8]>::to_vec);
        at.seek_to_last();
        let last = at.key().map(<[u8]>::to_vec);
        at.status().map_err(failed("seek in"))?;
        Ok(first.zip(last).map(|(first, last)| Ends { first, last }))
    }
}

fn scale(counted: Estimate, seen: u64, all: u64) -> Estimate {
    if seen == 0 || all <= seen {
        return counted;
    }
    let scaled = |n: u64| {
        let scaled = u128::from(n) * u128::from(all) / u128::from(seen);
        u64::try_from(scaled).unwrap_or(u64::MAX)
    };
    Estimate { items: scaled(counted.items), bytes: scaled(counted.bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counted_beginning_is_scaled_by_the_files() {
        let counted = Estimate { items: 100, bytes: 1000 };
        assert_eq!(scale(counted, 10, 55), Estimate { items: 550, bytes: 5500 });
        assert_eq!(scale(counted, 0, 55), counted);
        assert_eq!(scale(counted, 60, 55), counted);
    }
}
