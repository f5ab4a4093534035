//! The primitives of every byte format of this crate: varints, length-prefixed bytes, fixed integers.
//!
//! A reader never panics and never allocates more than what it was given to read.

use bytes::{Buf, Bytes};

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
    pub fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }
    /// Big-endian, eight bytes.
    pub fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }
    /// Length as a varint, then the bytes.
    pub fn bytes(&mut self, value: &[u8]) {
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
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
        self.read(take_u8)
    }
    pub fn varint(&mut self) -> Result<u64, DecodeError> {
        self.read(take_varint)
    }
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        self.read(take_u64)
    }
    pub fn bytes(&mut self) -> Result<Bytes, DecodeError> {
        let length = self.read(take_length)?;
        Ok(self.rest.split_to(length))
    }
    pub fn string(&mut self) -> Result<String, DecodeError> {
        self.read(|input| {
            let text = std::str::from_utf8(take_bytes(input)?).map_err(|_invalid| DecodeError::Malformed("text"))?;
            Ok(text.to_owned())
        })
    }
    /// Runs a reader of slices on what is left, and advances by what it took.
    pub(crate) fn read<T>(
        &mut self,
        take: impl FnOnce(&mut &[u8]) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        let mut input: &[u8] = &self.rest;
        let value = take(&mut input)?;
        let taken = self.rest.len() - input.len();
        self.rest.advance(taken);
        Ok(value)
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

pub(crate) fn take_u8(input: &mut &[u8]) -> Result<u8, DecodeError> {
    let (first, rest) = input.split_first().ok_or(DecodeError::Truncated)?;
    *input = rest;
    Ok(*first)
}

/// LEB128 of at most 64 bits, in its only shortest form.
pub(crate) fn take_varint(input: &mut &[u8]) -> Result<u64, DecodeError> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take_u8(input)?;
        if shift == 63 && byte > 1 {
            break;
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return if byte == 0 && shift > 0 { Err(DecodeError::Malformed("varint")) } else { Ok(value) };
        }
    }
    Err(DecodeError::Malformed("varint"))
}

pub(crate) fn take_u64(input: &mut &[u8]) -> Result<u64, DecodeError> {
    let (first, rest) = input.split_first_chunk().ok_or(DecodeError::Truncated)?;
    *input = rest;
    Ok(u64::from_be_bytes(*first))
}

/// A length that what follows can hold.
pub(crate) fn take_length(input: &mut &[u8]) -> Result<usize, DecodeError> {
    let length = take_varint(input)?;
    usize::try_from(length).ok().filter(|length| *length <= input.len()).ok_or(DecodeError::Truncated)
}

/// Length as a varint, then the bytes.
pub(crate) fn take_bytes<'a>(input: &mut &'a [u8]) -> Result<&'a [u8], DecodeError> {
    let length = take_length(input)?;
    let (first, rest) = input.split_at(length);
    *input = rest;
    Ok(first)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_varint_is_leb128() {
        let mut out = Vec::new();
        Writer(&mut out).varint(300);
        assert_eq!(out, [0xac, 0x02]);
    }

    #[test]
    fn a_varint_has_one_form_and_64_bits() {
        let read = |bytes: &'static [u8]| Reader::new(Bytes::from_static(bytes)).varint();
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]), Ok(u64::MAX));
        assert_eq!(
            read(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]),
            Err(DecodeError::Malformed("varint"))
        );
        assert_eq!(read(&[0x80, 0x00]), Err(DecodeError::Malformed("varint")));
        assert_eq!(read(&[0x80]), Err(DecodeError::Truncated));
    }

    #[test]
    fn a_length_beyond_the_input_is_refused_before_anything_is_allocated() {
        let mut out = Vec::new();
        Writer(&mut out).varint(u64::MAX);
        assert_eq!(Reader::new(out.clone().into()).bytes(), Err(DecodeError::Truncated));
        assert_eq!(Reader::new(out.into()).string(), Err(DecodeError::Truncated));
    }

    #[test]
    fn bytes_left_over_are_told() {
        let mut reader = Reader::new(Bytes::from_static(&[1, 2, 3]));
        assert_eq!(reader.u8(), Ok(1));
        assert_eq!(reader.left(), 2);
        assert_eq!(reader.finish(), Err(DecodeError::LeftOver(2)));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(byte: u8, small: u64, shift in 0..64u32, fixed: u64, text: String, raw: Vec<u8>) {
            let varint = small >> shift;
            let mut out = Vec::new();
            let mut writer = Writer(&mut out);
            writer.u8(byte);
            writer.varint(varint);
            writer.u64(fixed);
            writer.str(&text);
            writer.bytes(&raw);
            let mut reader = Reader::new(out.into());
            prop_assert_eq!(reader.u8(), Ok(byte));
            prop_assert_eq!(reader.varint(), Ok(varint));
            prop_assert_eq!(reader.u64(), Ok(fixed));
            prop_assert_eq!(reader.string(), Ok(text));
            prop_assert_eq!(reader.bytes(), Ok(Bytes::from(raw)));
            prop_assert_eq!(reader.finish(), Ok(()));
        }
    }
}
