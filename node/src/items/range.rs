//! Whole ranges: where one begins and ends, and clearing it.

use model::{KeyRange, PartitionId, TableId};
use rocksdb::WriteBatch;

use super::keys::{RecordKind, SPACES, bounds, record_key};
use super::{Items, ItemsError, engine, failed};

/// The first and the last disk key of a range that is not empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ends {
    first: Vec<u8>,
    last: Vec<u8>,
}

impl Items {
    /// Deletes a group's range in every space, then its records. The log must say before that the replica is retired
    /// (`Work::AcceptFrom`), and that it was born durably: a crash brings back what memtables held, the next start finds the records and
    /// clears again. So nothing is flushed: on a full disk a flush may wait for the very room that is given back here.
    pub fn clear(&self, partition: PartitionId, table: TableId, range: &KeyRange) -> Result<(), ItemsError> {
        let mut batch = WriteBatch::default();
        batch.delete(record_key(partition, RecordKind::Mark));
        batch.delete(record_key(partition, RecordKind::State));
        self.empty(batch, table, range)
    }

    /// For items of which no group has the records; durable when it returns.
    pub fn clear_range(&self, table: TableId, range: &KeyRange) -> Result<(), ItemsError> {
        // Files are deleted at once and for ever, memtables may still be lost: what is in them, a split perhaps that makes the range
        // nobody's, goes first.
        self.flush()?;
        self.empty(WriteBatch::default(), table, range)?;
        self.flush()
    }

    /// Files first: where nothing can be written they are given back all the same, and another attempt finds what is left.
    fn empty(&self, mut batch: WriteBatch, table: TableId, range: &KeyRange) -> Result<(), ItemsError> {
        for space in SPACES {
            let Some(Ends { first, last }) = self.ends(table, space, range)? else { continue };
            // The end of this call is inclusive: the last key that is ours.
            self.inner.db.delete_file_in_range(&first, &last).map_err(failed("clear"))?;
            let (start, end) = bounds(table, space, range);
            batch.delete_range(start, end);
        }
        self.inner.db.write_opt(batch, &self.inner.patient).map_err(failed("clear"))
    }

    /// Where the range cannot be read its bounds, as if it were full.
    pub(super) fn ends(&self, table: TableId, space: u8, range: &KeyRange) -> Result<Option<Ends>, ItemsError> {
        let bounds = bounds(table, space, range);
        match self.look_for_ends(bounds.clone()) {
            Err(error) if error.is_corrupt() => Ok(Some(Ends { first: bounds.0, last: below(bounds.1) })),
            found => found,
        }
    }

    fn look_for_ends(&self, bounds: (Vec<u8>, Vec<u8>)) -> Result<Option<Ends>, ItemsError> {
        let mut at = self.inner.db.raw_iterator_opt(engine::iterate_options(bounds));
        at.seek_to_first();
        let first = at.key().map(<[u8]>::to_vec);
        at.status().map_err(failed("seek in"))?;
        at.seek_to_last();
        let last = at.key().map(<[u8]>::to_vec);
        at.status().map_err(failed("seek in"))?;
        Ok(first.zip(last).map(|(first, last)| Ends { first, last }))
    }
}

/// A key below that end, and above all but a few that are.
fn below(mut end: Vec<u8>) -> Vec<u8> {
    if let Some(last) = end.pop().filter(|last| *last > 0) {
        end.push(last - 1);
        end.extend([0xff; 64]);
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_an_end_belongs_to_no_neighbour() {
        for end in [&b"b"[..], b"b\0", b"b\x01", b"\xff\xff"] {
            let last = below(end.to_vec());
            assert!(last.as_slice() < end && last.as_slice() >= &end[..end.len() - 1], "{end:?}: {last:?}");
        }
        assert!(below(b"b".to_vec()).as_slice() > &b"a-key-of-the-range"[..]);
        assert_eq!(below(b"b\0".to_vec()), b"b");
    }
}
