//! What a log entry says (format 1).
//!
//! ```text
//! entry  := format u8 (1) ‖ evaluation term u64 ‖ commit time µs u64 ‖ kind u8 ‖ body
//!           kind 1, writes: count varint, writes
//!           kind 2, table:  an encoded table descriptor
//!           kind 3, membership: an encoded partition descriptor (the entry is a configuration change; this is its context)
//! write  := space u8 ‖ kind u8 ‖ cause u8 ‖ flags u8 ‖ version timestamp µs u64 ‖ key ‖ request id ‖ after-image?
//!           ‖ old image? ‖ transaction id?          (byte strings are length-prefixed; flags say which are there)
//! ```
//! Replicas apply bytes: no expression is evaluated after the leader. An entry whose Raft term is not its evaluation term
//! is skipped. A log replica applies kinds 2 and 3 and nothing else.

use bytes::Bytes;
use model::codec::DecodeError;

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

impl LogEntry {
    pub fn encode(&self) -> Bytes {
        unimplemented!()
    }

    pub fn decode(_bytes: Bytes) -> Result<LogEntry, DecodeError> {
        unimplemented!()
    }
}
