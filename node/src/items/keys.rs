//! Every kind of key on disk.
//!
//! | key | value | lifetime |
//! |---|---|---|
//! | table u64 ‖ space u8 ‖ encoded item key | space 0: an item record (`model::item`) | the item |
//! | 0 u64 ‖ `f` | the format of this list, u8 | the folder |
//! | 0 u64 ‖ `g` ‖ partition u64 ‖ `m` | an encoded `replica::AppliedMark` | the replica |
//! | 0 u64 ‖ `g` ‖ partition u64 ‖ `s` | an encoded `replica::GroupState` | the replica |
//!
//! No table has the id 0. Integers are big-endian. A partition owns the same range of every space.

use std::ops::RangeInclusive;

use model::{KeyRange, PartitionId, TableId};

pub const FORMAT: u8 = 1;
/// The spaces that this format knows: items, then what is still to come (indexes, locks, expiry).
pub const SPACES: RangeInclusive<u8> = 0..=15;
/// Table id and space.
pub const PREFIX_LEN: usize = 9;
/// The table id of what belongs to the node.
const NODE_TABLE: u64 = 0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    Mark,
    State,
}

pub fn format_key() -> Vec<u8> {
    let mut key = NODE_TABLE.to_be_bytes().to_vec();
    key.push(b'f');
    key
}

pub fn record_key(partition: PartitionId, kind: RecordKind) -> Vec<u8> {
    let mut key = records_start();
    key.extend_from_slice(&partition.0.to_be_bytes());
    key.push(match kind {
        RecordKind::Mark => b'm',
        RecordKind::State => b's',
    });
    key
}

/// Where all groups' records begin.
pub fn records_start() -> Vec<u8> {
    let mut key = NODE_TABLE.to_be_bytes().to_vec();
    key.push(b'g');
    key
}

/// Where they end.
pub fn records_end() -> Vec<u8> {
    let mut key = NODE_TABLE.to_be_bytes().to_vec();
    key.push(b'g' + 1);
    key
}

pub fn parse_record_key(key: &[u8]) -> Option<(PartitionId, RecordKind)> {
    let rest = key.strip_prefix(records_start().as_slice())?;
    let (partition, kind) = rest.split_at_checked(8)?;
    let kind = match kind {
        b"m" => RecordKind::Mark,
        b"s" => RecordKind::State,
        _ => return None,
    };
    Some((PartitionId(u64::from_be_bytes(partition.try_into().ok()?)), kind))
}

/// Where the items of all tables begin.
pub fn items_start() -> Vec<u8> {
    (NODE_TABLE + 1).to_be_bytes().to_vec()
}

pub fn item_key(table: TableId, space: u8, key: &[u8]) -> Vec<u8> {
    let mut disk_key = Vec::with_capacity(PREFIX_LEN + key.len());
    write_item_key(table, space, key, &mut disk_key);
    disk_key
}

/// Replaces what is in `out`.
pub fn write_item_key(table: TableId, space: u8, key: &[u8], out: &mut Vec<u8>) {
    assert_ne!(table.0, NODE_TABLE, "no table has the id of the node's own records");
    assert!(SPACES.contains(&space), "space {space} is not of this format");
    out.clear();
    out.extend_from_slice(&table.0.to_be_bytes());
    out.push(space);
    out.extend_from_slice(key);
}

/// Half-open bounds of a range in one space.
pub fn bounds(table: TableId, space: u8, range: &KeyRange) -> (Vec<u8>, Vec<u8>) {
    let start = item_key(table, space, &range.start);
    let end = match &range.end {
        Some(end) => item_key(table, space, end),
        None => {
            let mut end = item_key(table, space, &[]);
            // Spaces end far below 255.
            *end.last_mut().expect("a disk key has a space") += 1;
            end
        }
    };
    (start, end)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn records_and_items_of_any_table_never_meet() {
        let partition = PartitionId(0x0102_0304_0506_0708);
        for kind in [RecordKind::Mark, RecordKind::State] {
            let key = record_key(partition, kind);
            assert_eq!(parse_record_key(&key), Some((partition, kind)));
            assert!(records_start() <= key && key < records_end());
            assert!(key < item_key(TableId(1), 0, &[]));
        }
        assert_eq!(parse_record_key(&format_key()), None);
    }

    #[test]
    fn a_range_without_an_end_reaches_to_the_end_of_its_space() {
        let (start, end) = bounds(TableId(7), 3, &KeyRange::ALL);
        let last = item_key(TableId(7), 3, &[0xff; 3000]);
        assert!(start <= last && last < end);
        assert!(end <= item_key(TableId(7), 4, &[]));
        let half = KeyRange { start: Bytes::from_static(b"b"), end: Some(Bytes::from_static(b"d")) };
        assert_eq!(bounds(TableId(7), 3, &half), (item_key(TableId(7), 3, b"b"), item_key(TableId(7), 3, b"d")));
    }
}
