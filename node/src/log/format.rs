//! What stands in raft-engine beside the entries, and the checksum in each entry.
//!
//! | raft group | key | value | lifetime |
//! |---|---|---|---|
//! | 0 | `m` | the mark: the log's key, batch number, durable-through number, CRC-32C | every batch |
//! | 0 | `f` partition | lowest accepted replica id | as long as the group lives anywhere |
//! | 0 | `c` partition | nothing: the group's log is corrupt | until it is removed or begins anew |
//! | 0 | `u` partition | nothing: the tail is uncertain | until the replica has voted again, and has what it lost |
//! | partition | `g` | [`Tail`]: format, truncated index and term, runs of terms | the group's log |
//! | partition | `h` | Raft's hard state (protobuf) | the group's log |
//! | partition | `r` | index of the snapshot being installed; where that has no files, its manifest as well | while it is |
//!
//! No partition has the id 0. Integers are big-endian. An entry's context ends with the CRC-32C of everything in it.

use bytes::{Bytes, BytesMut};
use model::PartitionId;
use model::codec::{DecodeError, Reader, Writer};
use protobuf::ProtobufEnum;
use replica::eraftpb::Entry;

/// The raft group that belongs to the log itself.
pub const LOG_GROUP: u64 = 0;
pub const MARK: &[u8] = b"m";
pub const TAIL: &[u8] = b"g";
pub const HARD_STATE: &[u8] = b"h";
pub const RECEIVING: &[u8] = b"r";
const ACCEPT_FROM: u8 = b'f';
const CORRUPT: u8 = b'c';
const UNCERTAIN: u8 = b'u';
const FORMAT: u8 = 1;
const MARK_LEN: usize = 16 + 8 + 8 + 4;

/// What each mark of one log begins with: a mark is found by its looks in the bytes of a damaged file, where clients' data
/// stand, too. Random and kept from them, so that nobody but the log writes one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct MarkKey(pub [u8; 16]);

pub fn accept_from_key(partition: PartitionId) -> Vec<u8> {
    node_key(ACCEPT_FROM, partition)
}

pub fn corrupt_key(partition: PartitionId) -> Vec<u8> {
    node_key(CORRUPT, partition)
}

pub fn uncertain_key(partition: PartitionId) -> Vec<u8> {
    node_key(UNCERTAIN, partition)
}

fn node_key(kind: u8, partition: PartitionId) -> Vec<u8> {
    let mut key = vec![kind];
    key.extend_from_slice(&partition.0.to_be_bytes());
    key
}

/// Which record of group 0 this is, and whose.
pub enum NodeKey {
    AcceptFrom(PartitionId),
    Corrupt(PartitionId),
    Uncertain(PartitionId),
}

pub fn parse_node_key(key: &[u8]) -> Option<NodeKey> {
    let (kind, partition) = key.split_first()?;
    let partition = PartitionId(u64::from_be_bytes(partition.try_into().ok()?));
    match *kind {
        ACCEPT_FROM => Some(NodeKey::AcceptFrom(partition)),
        CORRUPT => Some(NodeKey::Corrupt(partition)),
        UNCERTAIN => Some(NodeKey::Uncertain(partition)),
        _ => None,
    }
}

pub fn encode_u64(value: u64) -> Vec<u8> {
    value.to_be_bytes().to_vec()
}

pub fn decode_u64(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

pub fn encode_receiving(index: u64, manifest: Option<&[u8]>) -> Vec<u8> {
    [&index.to_be_bytes(), manifest.unwrap_or_default()].concat()
}

/// The index and, where there is one, the manifest.
pub fn decode_receiving(bytes: &[u8]) -> Option<(u64, Option<&[u8]>)> {
    let (index, manifest) = bytes.split_first_chunk()?;
    Some((u64::from_be_bytes(*index), Some(manifest).filter(|manifest| !manifest.is_empty())))
}

/// The mark of one batch: its number, and up to which batch everything is synced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    pub number: u64,
    pub durable: u64,
}

impl Mark {
    pub fn encode(self, key: MarkKey) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(MARK_LEN);
        bytes.extend_from_slice(&key.0);
        bytes.extend_from_slice(&self.number.to_be_bytes());
        bytes.extend_from_slice(&self.durable.to_be_bytes());
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_be_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8], key: MarkKey) -> Option<Mark> {
        let (body, crc) = bytes.get(..MARK_LEN)?.split_at(MARK_LEN - 4);
        if !body.starts_with(&key.0) || crc32c::crc32c(body).to_be_bytes() != crc {
            return None;
        }
        Some(Mark { number: decode_u64(&body[16..24])?, durable: decode_u64(&body[24..32])? })
    }

    /// The highest durable-through number that anything in these bytes tells, whatever else is damaged.
    pub fn highest_durable(bytes: &[u8], key: MarkKey) -> u64 {
        let first = key.0[0];
        let mut highest = 0;
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|b| *b == first) {
            rest = &rest[at..];
            if let Some(mark) = Mark::decode(rest, key) {
                highest = highest.max(mark.durable);
            }
            rest = &rest[1..];
        }
        highest
    }
}

/// Where a group's log begins and ends, and the terms of what is between.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    pub truncated_index: u64,
    pub truncated_term: u64,
    /// (first index, term), ascending.
    pub runs: Vec<(u64, u64)>,
    pub last_index: u64,
}

impl Tail {
    pub fn new(index: u64, term: u64) -> Tail {
        Tail { truncated_index: index, truncated_term: term, runs: Vec::new(), last_index: index }
    }

    /// Takes entries over, dropping what they overwrite. Whether the stored record is out of date now. A hole or an
    /// overwritten beginning is a bug of the caller.
    pub fn append(&mut self, entries: &[Entry]) -> bool {
        let Some(first) = entries.first() else { return false };
        assert!(
            first.index > self.truncated_index && first.index <= self.last_index + 1,
            "entries from {} do not join a log of {}..={}",
            first.index,
            self.truncated_index + 1,
            self.last_index
        );
        let kept = self.runs.partition_point(|(start, _)| *start < first.index);
        let mut changed = kept < self.runs.len();
        self.runs.truncate(kept);
        for (entry, index) in entries.iter().zip(first.index..) {
            assert_eq!(entry.index, index, "entries of one append are not in sequence");
            if self.runs.last().is_none_or(|(_, term)| *term != entry.term) {
                self.runs.push((index, entry.term));
                changed = true;
            }
            self.last_index = index;
        }
        changed
    }

    /// Drops entries up to and including `upto`, at most all. False if there was nothing to drop.
    pub fn truncate(&mut self, upto: u64) -> bool {
        let upto = upto.min(self.last_index);
        if upto <= self.truncated_index {
            return false;
        }
        self.truncated_term = self.term_at(upto).expect("an index between the log's ends has a term");
        self.truncated_index = upto;
        let next = self.runs.partition_point(|(start, _)| *start <= upto + 1);
        self.runs.drain(..next.saturating_sub(1));
        if upto == self.last_index {
            self.runs.clear();
        } else if let Some(run) = self.runs.first_mut() {
            run.0 = upto + 1;
        }
        true
    }

    pub fn term_at(&self, index: u64) -> Option<u64> {
        if index == self.truncated_index {
            return Some(self.truncated_term);
        }
        if index < self.truncated_index || index > self.last_index {
            return None;
        }
        let next = self.runs.partition_point(|(start, _)| *start <= index);
        Some(self.runs.get(next.checked_sub(1)?)?.1)
    }

    /// Without the last index, which raft-engine knows.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut out = Writer(&mut bytes);
        out.u8(FORMAT);
        out.u64(self.truncated_index);
        out.u64(self.truncated_term);
        for (first, term) in &self.runs {
            out.u64(*first);
            out.u64(*term);
        }
        bytes
    }

    /// A record without runs says that there are no entries, and is right: whoever appends to an empty log writes another.
    pub fn decode(bytes: Vec<u8>, last_index: Option<u64>) -> Result<Tail, DecodeError> {
        let mut input = Reader::new(Bytes::from(bytes));
        let format = input.u8()?;
        if format != FORMAT {
            return Err(DecodeError::UnknownFormat(format));
        }
        let (truncated_index, truncated_term) = (input.u64()?, input.u64()?);
        let mut runs = Vec::new();
        while input.left() > 0 {
            runs.push((input.u64()?, input.u64()?));
        }
        let last_index = last_index.filter(|_| !runs.is_empty()).unwrap_or(truncated_index);
        Ok(Tail { truncated_index, truncated_term, runs, last_index })
    }
}

/// Puts the checksum at the end of the entry's context.
pub fn seal(entry: &mut Entry) {
    let crc = entry_crc(entry, &entry.context);
    let mut context = BytesMut::with_capacity(entry.context.len() + 4);
    context.extend_from_slice(&entry.context);
    context.extend_from_slice(&crc.to_be_bytes());
    entry.context = context.freeze();
}

/// Takes the checksum off again; false if it is not the entry's.
pub fn unseal(entry: &mut Entry) -> bool {
    let Some(at) = entry.context.len().checked_sub(4) else { return false };
    let crc = entry.context.split_off(at);
    crc[..] == entry_crc(entry, &entry.context).to_be_bytes()
}

fn entry_crc(entry: &Entry, context: &[u8]) -> u32 {
    let mut head = [0; 20];
    head[..8].copy_from_slice(&entry.index.to_be_bytes());
    head[8..16].copy_from_slice(&entry.term.to_be_bytes());
    head[16..].copy_from_slice(&entry.entry_type.value().to_be_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&head), &entry.data);
    crc32c::crc32c_append(crc, context)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(from: u64, terms: &[u64]) -> Vec<Entry> {
        let entry = |(index, term): (u64, &u64)| Entry { index, term: *term, ..Default::default() };
        (from..).zip(terms).map(entry).collect()
    }

    #[test]
    fn a_tail_keeps_runs_of_terms_through_overwriting_and_truncation() {
        let mut tail = Tail::new(10, 5);
        assert!(tail.append(&entries(11, &[5, 5, 6, 6, 6, 8])));
        assert_eq!(tail.runs, [(11, 5), (13, 6), (16, 8)]);
        assert!(tail.append(&entries(15, &[9])));
        assert_eq!((tail.runs.as_slice(), tail.last_index), ([(11, 5), (13, 6), (15, 9)].as_slice(), 15));
        assert!(!tail.append(&entries(16, &[9, 9])));
        assert!(tail.truncate(13));
        assert_eq!((tail.truncated_index, tail.truncated_term), (13, 6));
        assert_eq!(tail.runs, [(14, 6), (15, 9)]);
        assert!(!tail.truncate(12));
        assert!(tail.truncate(14));
        assert_eq!(tail.runs, [(15, 9)]);
        assert_eq!(Tail::decode(tail.encode(), Some(17)), Ok(tail.clone()));
        assert!(tail.truncate(99));
        assert_eq!(tail, Tail::new(17, 9));
        assert_eq!((tail.term_at(17), tail.term_at(18), tail.term_at(3)), (Some(9), None, None));
    }

    #[test]
    fn a_sealed_entry_tells_any_changed_bit() {
        let entry = Entry { index: 7, term: 3, data: Bytes::from_static(b"data"), ..Default::default() };
        let mut sealed = entry.clone();
        seal(&mut sealed);
        for bit in 0..sealed.data.len() * 8 {
            let mut broken = sealed.clone();
            let mut data = broken.data.to_vec();
            data[bit / 8] ^= 1 << (bit % 8);
            broken.data = data.into();
            assert!(!unseal(&mut broken));
        }
        let mut elsewhere = sealed.clone();
        elsewhere.index = 8;
        assert!(!unseal(&mut elsewhere));
        assert!(unseal(&mut sealed));
        assert_eq!(sealed, entry);
    }

    #[test]
    fn the_highest_durable_mark_is_found_in_any_bytes() {
        let key = MarkKey(*b"trivet-log-mark\x01");
        let mut bytes = b"ttrtrivet-log".to_vec();
        bytes.extend(Mark { number: 8, durable: 7 }.encode(key));
        bytes.extend(b"t");
        bytes.extend(Mark { number: 10, durable: 9 }.encode(key));
        let mut broken = Mark { number: 99, durable: 98 }.encode(key);
        broken[20] ^= 1;
        bytes.extend(broken);
        bytes.extend(Mark { number: 99, durable: 98 }.encode(MarkKey(*b"of another's log")));
        assert_eq!(Mark::highest_durable(&bytes, key), 9);
        assert_eq!(Mark::highest_durable(b"", key), 0);
    }
}
