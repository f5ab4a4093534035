//! The primitives of every byte format of this crate: varints, length-prefixed bytes, fixed integers.
//!
//! A reader never panics and never allocates more than what it was given to read.

use bytes::Bytes;

/// Why bytes could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("bytes end early")]
    Truncated,
    #[error("unknown format {0}")]
    UnknownFormat(u8),
    #[error("unknown tag {tag} of {what}")]
    UnknownTag { what: &'static str, tag: u8 },
    #[error("malformed {0}")]
    Malformed(&'static str),
    #[error("nested deeper than {0} levels")]
    TooDeep(usize),
    #[error("{0} bytes left over")]
    LeftOver(usize),
}

/// Appends primitives to a buffer.
pub struct Writer<'a>(pub &'a mut Vec<u8>);

impl Writer<'_> {
    pub fn u8(&mut self, value: u8) {
        self.0.push(value);
    }
    /// LEB128.
    pub fn varint(&mut self, _value: u64) {
        unimplemented!()
    }
    /// Big-endian, eight bytes.
    pub fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }
    /// Length as a varint, then the bytes.
    pub fn bytes(&mut self, _value: &[u8]) {
        unimplemented!()
    }
    pub fn str(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }
}

/// Reads primitives from the front of shared bytes; slices are views, not copies.
pub struct Reader {
    rest: Bytes,
}

impl Reader {
    pub fn new(bytes: Bytes) -> Reader {
        Reader { rest: bytes }
    }
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        unimplemented!()
    }
    pub fn varint(&mut self) -> Result<u64, DecodeError> {
        unimplemented!()
    }
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        unimplemented!()
    }
    pub fn bytes(&mut self) -> Result<Bytes, DecodeError> {
        unimplemented!()
    }
    pub fn string(&mut self) -> Result<String, DecodeError> {
        unimplemented!()
    }
    /// How many bytes are left; the bound for every count read from the input.
    pub fn left(&self) -> usize {
        self.rest.len()
    }
    /// Everything that is left.
    pub fn rest(self) -> Bytes {
        self.rest
    }
    /// Fails if anything is left.
    pub fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::LeftOver(self.rest.len())) }
    }
}
