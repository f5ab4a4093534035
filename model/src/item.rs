//! Items as bytes: the attributes' compact encoding, and the record that stands on disk.
//!
//! ```text
//! attributes := count varint, then per attribute: name (length varint, UTF-8), value
//! value      := tag u8, body          (numbers in their ordered encoding, containers with a count varint)
//! record     := format u8 (1) ‖ flags u8 (0) ‖ version timestamp u64 ‖ log position u64 ‖ attributes
//! ```
//! The leader evaluates to `attributes`; each replica adds the header when it applies, since only then the log position
//! (the entry's index) is known.

use bytes::Bytes;

use crate::codec::{DecodeError, Reader, Writer};
use crate::value::{Item, Value};

/// Length of a record's header, in bytes.
pub const HEADER_LEN: usize = 18;

/// What a record says beside its attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    pub flags: u8,
    /// Transactions order by it (ATC'23): microseconds since the epoch, the leader's clock, never below the previous one.
    pub version_timestamp_us: u64,
    /// Index of the log entry that wrote it.
    pub log_position: u64,
}

pub fn encode_value(_value: &Value, _out: &mut Writer<'_>) {
    unimplemented!()
}

/// Nesting is bounded by DynamoDB's limit, whatever the input.
pub fn decode_value(_input: &mut Reader) -> Result<Value, DecodeError> {
    unimplemented!()
}

pub fn encode_attributes(_item: &Item) -> Vec<u8> {
    unimplemented!()
}

pub fn decode_attributes(_bytes: &Bytes) -> Result<Item, DecodeError> {
    unimplemented!()
}

/// DynamoDB's size of an encoded item, without decoding it to values.
pub fn attributes_size(_bytes: &[u8]) -> Result<usize, DecodeError> {
    unimplemented!()
}

pub fn encode_record(_header: RecordHeader, _attributes: &[u8]) -> Vec<u8> {
    unimplemented!()
}

/// The header, and a view of the attributes.
pub fn decode_record(_bytes: &Bytes) -> Result<(RecordHeader, Bytes), DecodeError> {
    unimplemented!()
}
