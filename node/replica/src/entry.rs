//! What a log entry says (format 1).
//!
//! ```text
//! entry  := format u8 (1) ‖ evaluation term u64 ‖ commit time µs u64 ‖ kind u8 ‖ body
//!           kind 1, writes: count varint, writes
//!           kind 2, table:  an encoded table descriptor
//!           kind 3, membership: an encoded partition descriptor (the entry is a configuration change; this is its context)
//!           kind 4, split: the left, then the right half's encoded partition descriptor
//! write  := space u8 ‖ kind u8 ‖ cause u8 ‖ flags u8 ‖ version timestamp µs u64 ‖ key ‖ request id ‖ after-image?
//!           ‖ old image? ‖ transaction id?          (byte strings are length-prefixed; flags say which are there)
//! ```
//! Replicas apply bytes: no expression is evaluated after the leader. An entry whose Raft term is not its evaluation term
//! is skipped. A log replica applies kinds 2 to 4 and nothing else.

use bytes::Bytes;
use model::codec::{DecodeError, Reader, Writer};

/// The space of items in a table's disk keys; local indexes, transaction locks and expiry follow.
pub const SPACE_ITEMS: u8 = 0;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    pub evaluation_term: u64,
    /// The leader's clock, never below the previous entry's.
    pub commit_time_us: u64,
    pub body: Body,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    Writes(Vec<Write>),
    /// Encoded.
    Table(Bytes),
    /// Encoded.
    Membership(Bytes),
    /// Both encoded.
    Split {
        left: Bytes,
        right: Bytes,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteKind {
    Put,
    Delete,
    /// Raises the version timestamp and leaves the item as it is.
    Touch,
}

/// Who caused a write; streams will tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    User,
    Expiry,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    pub space: u8,
    pub kind: WriteKind,
    pub cause: Cause,
    pub version_timestamp_us: u64,
    pub key: Bytes,
    pub request_id: Bytes,
    /// Encoded attributes.
    pub after: Option<Bytes>,
    pub old: Option<Bytes>,
    pub transaction: Option<Bytes>,
}

const FORMAT: u8 = 1;
const KIND_WRITES: u8 = 1;
const KIND_TABLE: u8 = 2;
const KIND_MEMBERSHIP: u8 = 3;
const KIND_SPLIT: u8 = 4;

const HAS_AFTER: u8 = 1;
const HAS_OLD: u8 = 2;
const HAS_TRANSACTION: u8 = 4;

/// A write takes at most this much beside its byte strings: four fixed bytes, the timestamp, five lengths.
pub(crate) const WRITE_OVERHEAD: usize = 4 + 8 + 5 * 10;
/// The length of a second byte string; the count's bytes hold the first.
const SECOND_LENGTH: usize = 10;
/// An entry takes at most this much beside its writes: format, term, time, kind, count.
pub(crate) const ENTRY_OVERHEAD: usize = 1 + 8 + 8 + 1 + 10;

impl LogEntry {
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.size_bound());
        let mut writer = Writer(&mut out);
        writer.u8(FORMAT);
        writer.u64(self.evaluation_term);
        writer.u64(self.commit_time_us);
        match &self.body {
            Body::Writes(writes) => {
                writer.u8(KIND_WRITES);
                writer.varint(writes.len() as u64);
                for write in writes {
                    write.encode(&mut writer);
                }
            }
            Body::Table(table) => {
                writer.u8(KIND_TABLE);
                writer.bytes(table);
            }
            Body::Membership(descriptor) => {
                writer.u8(KIND_MEMBERSHIP);
                writer.bytes(descriptor);
            }
            Body::Split { left, right } => {
                writer.u8(KIND_SPLIT);
                writer.bytes(left);
                writer.bytes(right);
            }
        }
        Bytes::from(out)
    }

    pub fn decode(bytes: Bytes) -> Result<LogEntry, DecodeError> {
        let mut reader = Reader::new(bytes);
        let format = reader.u8()?;
        if format != FORMAT {
            return Err(DecodeError::UnknownFormat(format));
        }
        let evaluation_term = reader.u64()?;
        let commit_time_us = reader.u64()?;
        let body = match reader.u8()? {
            KIND_WRITES => {
                let count = reader.varint()?;
                let mut writes = Vec::new();
                for _ in 0..count {
                    writes.push(Write::decode(&mut reader)?);
                }
                Body::Writes(writes)
            }
            KIND_TABLE => Body::Table(reader.bytes()?),
            KIND_MEMBERSHIP => Body::Membership(reader.bytes()?),
            KIND_SPLIT => Body::Split { left: reader.bytes()?, right: reader.bytes()? },
            tag => return Err(DecodeError::UnknownTag { what: "log entry", tag }),
        };
        reader.finish()?;
        Ok(LogEntry { evaluation_term, commit_time_us, body })
    }

    fn size_bound(&self) -> usize {
        ENTRY_OVERHEAD
            + match &self.body {
                Body::Writes(writes) => writes.iter().map(Write::size_bound).sum(),
                Body::Table(bytes) | Body::Membership(bytes) => bytes.len(),
                Body::Split { left, right } => left.len() + right.len() + SECOND_LENGTH,
            }
    }
}

impl Write {
    /// No encoding of this write is longer.
    pub(crate) fn size_bound(&self) -> usize {
        let optional = [&self.after, &self.old, &self.transaction];
        let images: usize = optional.iter().map(|bytes| bytes.as_ref().map_or(0, Bytes::len)).sum();
        WRITE_OVERHEAD + self.key.len() + self.request_id.len() + images
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        let optional = [(&self.after, HAS_AFTER), (&self.old, HAS_OLD), (&self.transaction, HAS_TRANSACTION)];
        writer.u8(self.space);
        writer.u8(self.kind.tag());
        writer.u8(self.cause.tag());
        writer.u8(optional.iter().filter(|(bytes, _)| bytes.is_some()).map(|(_, flag)| flag).sum());
        writer.u64(self.version_timestamp_us);
        writer.bytes(&self.key);
        writer.bytes(&self.request_id);
        for bytes in optional.iter().filter_map(|(bytes, _)| bytes.as_ref()) {
            writer.bytes(bytes);
        }
    }

    fn decode(reader: &mut Reader) -> Result<Write, DecodeError> {
        let space = reader.u8()?;
        let kind = WriteKind::from_tag(reader.u8()?)?;
        let cause = Cause::from_tag(reader.u8()?)?;
        let flags = reader.u8()?;
        if flags & !(HAS_AFTER | HAS_OLD | HAS_TRANSACTION) != 0 {
            return Err(DecodeError::UnknownTag { what: "write flags", tag: flags });
        }
        let version_timestamp_us = reader.u64()?;
        let key = reader.bytes()?;
        let request_id = reader.bytes()?;
        let mut optional = |flag| if flags & flag == 0 { Ok(None) } else { reader.bytes().map(Some) };
        let after = optional(HAS_AFTER)?;
        let old = optional(HAS_OLD)?;
        let transaction = optional(HAS_TRANSACTION)?;
        Ok(Write { space, kind, cause, version_timestamp_us, key, request_id, after, old, transaction })
    }
}

impl WriteKind {
    fn tag(self) -> u8 {
        match self {
            WriteKind::Put => 1,
            WriteKind::Delete => 2,
            WriteKind::Touch => 3,
        }
    }

    fn from_tag(tag: u8) -> Result<WriteKind, DecodeError> {
        match tag {
            1 => Ok(WriteKind::Put),
            2 => Ok(WriteKind::Delete),
            3 => Ok(WriteKind::Touch),
            tag => Err(DecodeError::UnknownTag { what: "write kind", tag }),
        }
    }
}

impl Cause {
    fn tag(self) -> u8 {
        match self {
            Cause::User => 1,
            Cause::Expiry => 2,
        }
    }

    fn from_tag(tag: u8) -> Result<Cause, DecodeError> {
        match tag {
            1 => Ok(Cause::User),
            2 => Ok(Cause::Expiry),
            tag => Err(DecodeError::UnknownTag { what: "write cause", tag }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};

    use super::*;

    fn bytes() -> impl Strategy<Value = Bytes> {
        vec(any::<u8>(), 0..40).prop_map(Bytes::from)
    }

    fn write() -> impl Strategy<Value = Write> {
        let kind = prop_oneof![Just(WriteKind::Put), Just(WriteKind::Delete), Just(WriteKind::Touch)];
        let cause = prop_oneof![Just(Cause::User), Just(Cause::Expiry)];
        let fixed = (any::<u8>(), kind, cause, any::<u64>(), bytes(), bytes());
        let optional = (option::of(bytes()), option::of(bytes()), option::of(bytes()));
        (fixed, optional).prop_map(|((space, kind, cause, version_timestamp_us, key, request_id), images)| {
            let (after, old, transaction) = images;
            Write { space, kind, cause, version_timestamp_us, key, request_id, after, old, transaction }
        })
    }

    fn entry() -> impl Strategy<Value = LogEntry> {
        let body = prop_oneof![
            vec(write(), 0..8).prop_map(Body::Writes),
            bytes().prop_map(Body::Table),
            bytes().prop_map(Body::Membership),
            (bytes(), bytes()).prop_map(|(left, right)| Body::Split { left, right })
        ];
        (any::<u64>(), any::<u64>(), body).prop_map(|(evaluation_term, commit_time_us, body)| LogEntry {
            evaluation_term,
            commit_time_us,
            body,
        })
    }

    proptest! {
        #[test]
        fn an_entry_is_read_back_as_it_was_written(entry in entry()) {
            let encoded = entry.encode();
            assert!(encoded.len() <= entry.size_bound());
            assert_eq!(LogEntry::decode(encoded), Ok(entry));
        }

        #[test]
        fn an_entry_cut_short_is_an_error(entry in entry(), cut in any::<proptest::sample::Index>()) {
            let encoded = entry.encode();
            assert!(LogEntry::decode(encoded.slice(..cut.index(encoded.len()))).is_err());
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in vec(any::<u8>(), 0..200)) {
            drop(LogEntry::decode(Bytes::from(bytes)));
        }
    }
}
