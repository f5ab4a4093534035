//! Items as bytes: the attributes' compact encoding, and the record that stands on disk.
//!
//! ```text
//! attributes := count varint, then per attribute: name (length varint, UTF-8), value
//! value      := tag u8, body
//!   S=1, B=3          bytes with a length varint
//!   N=2               the number's ordered encoding
//!   SS=4, NS=5, BS=6  count varint, then the members' bodies, ascending
//!   M=7               as attributes
//!   L=8               count varint, then values
//!   false=9, true=10, NULL=11   nothing
//! record     := format u8 (1) ‖ flags u8 (0) ‖ version timestamp u64 ‖ log position u64 ‖ attributes
//! ```
//! Names and members ascend strictly, so that equal items are equal bytes.
//! The leader evaluates to `attributes`; each replica adds the header when it applies, since only then the log position
//! (the entry's index) is known.

use bytes::Bytes;

use crate::codec::{DecodeError, Reader, Writer, take_bytes, take_u8, take_varint};
use crate::limits::NESTING_LEVELS;
use crate::number::Number;
use crate::value::{CONTAINER_BYTES, ELEMENT_BYTES, Item, Value, item_size};

/// Length of a record's header, in bytes.
pub const HEADER_LEN: usize = 18;

const RECORD_FORMAT: u8 = 1;

const TAG_S: u8 = 1;
const TAG_N: u8 = 2;
const TAG_B: u8 = 3;
const TAG_SS: u8 = 4;
const TAG_NS: u8 = 5;
const TAG_BS: u8 = 6;
const TAG_M: u8 = 7;
const TAG_L: u8 = 8;
const TAG_FALSE: u8 = 9;
const TAG_TRUE: u8 = 10;
const TAG_NULL: u8 = 11;

/// How many elements are given room before the first is read; more room comes as they do.
const ROOM_AHEAD: usize = 16;

/// What a record says beside its attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    pub flags: u8,
    /// Transactions order by it (ATC'23): microseconds since the epoch, the leader's clock, never below the previous one.
    pub version_timestamp_us: u64,
    /// Index of the log entry that wrote it.
    pub log_position: u64,
}

/// Nesting is not checked here: what is deeper than `limits::NESTING_LEVELS` will not be read again.
pub fn encode_value(value: &Value, out: &mut Writer<'_>) {
    match value {
        Value::S(text) => {
            out.u8(TAG_S);
            out.str(text);
        }
        Value::N(number) => {
            out.u8(TAG_N);
            number.encode_ordered(out.0);
        }
        Value::B(bytes) => {
            out.u8(TAG_B);
            out.bytes(bytes);
        }
        Value::Ss(members) => encode_set(TAG_SS, members, out, |member, out| out.str(member)),
        Value::Ns(members) => encode_set(TAG_NS, members, out, |member, out| member.encode_ordered(out.0)),
        Value::Bs(members) => encode_set(TAG_BS, members, out, |member, out| out.bytes(member)),
        Value::M(entries) => {
            out.u8(TAG_M);
            encode_entries(entries, out);
        }
        Value::L(elements) => {
            out.u8(TAG_L);
            out.varint(elements.len() as u64);
            for element in elements {
                encode_value(element, out);
            }
        }
        Value::Bool(false) => out.u8(TAG_FALSE),
        Value::Bool(true) => out.u8(TAG_TRUE),
        Value::Null => out.u8(TAG_NULL),
    }
}

/// Writes the members in ascending order and each once, whatever order they are held in.
fn encode_set<T: Ord>(tag: u8, members: &[T], out: &mut Writer<'_>, encode: impl Fn(&T, &mut Writer<'_>)) {
    out.u8(tag);
    if members.is_sorted_by(|a, b| a < b) {
        out.varint(members.len() as u64);
        members.iter().for_each(|member| encode(member, out));
        return;
    }
    let mut sorted: Vec<&T> = members.iter().collect();
    sorted.sort_unstable();
    sorted.dedup();
    out.varint(sorted.len() as u64);
    sorted.into_iter().for_each(|member| encode(member, out));
}

fn encode_entries(entries: &Item, out: &mut Writer<'_>) {
    out.varint(entries.len() as u64);
    for (name, value) in entries {
        out.str(name);
        encode_value(value, out);
    }
}

/// Nesting is bounded by DynamoDB's limit, whatever the input.
pub fn decode_value(input: &mut Reader) -> Result<Value, DecodeError> {
    decode_nested(input, NESTING_LEVELS)
}

/// `levels` is how many lists and maps may still open.
fn decode_nested(input: &mut Reader, levels: usize) -> Result<Value, DecodeError> {
    Ok(match input.u8()? {
        TAG_S => Value::S(input.string()?),
        TAG_N => Value::N(input.read(Number::decode_ordered)?),
        TAG_B => Value::B(input.bytes()?),
        TAG_SS => Value::Ss(decode_set(input, Reader::string)?),
        TAG_NS => Value::Ns(decode_set(input, |input| input.read(Number::decode_ordered))?),
        TAG_BS => Value::Bs(decode_set(input, Reader::bytes)?),
        TAG_M => Value::M(decode_entries(input, levels.checked_sub(1).ok_or(DecodeError::TooDeep(NESTING_LEVELS))?)?),
        TAG_L => {
            let levels = levels.checked_sub(1).ok_or(DecodeError::TooDeep(NESTING_LEVELS))?;
            let count = input.varint()?;
            let mut elements = room(count);
            for _ in 0..count {
                elements.push(decode_nested(input, levels)?);
            }
            Value::L(elements)
        }
        TAG_FALSE => Value::Bool(false),
        TAG_TRUE => Value::Bool(true),
        TAG_NULL => Value::Null,
        tag => return Err(DecodeError::UnknownTag { what: "value", tag }),
    })
}

fn room<T>(count: u64) -> Vec<T> {
    Vec::with_capacity(usize::try_from(count).map_or(ROOM_AHEAD, |count| count.min(ROOM_AHEAD)))
}

fn decode_set<T: Ord>(
    input: &mut Reader,
    decode: impl Fn(&mut Reader) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let count = input.varint()?;
    let mut members = room(count);
    for _ in 0..count {
        let member = decode(input)?;
        if members.last().is_some_and(|last| *last >= member) {
            return Err(DecodeError::Malformed("set: members do not ascend"));
        }
        members.push(member);
    }
    Ok(members)
}

fn decode_entries(input: &mut Reader, levels: usize) -> Result<Item, DecodeError> {
    let count = input.varint()?;
    let mut entries: Vec<(String, Value)> = room(count);
    for _ in 0..count {
        let name = input.string()?;
        if entries.last().is_some_and(|(last, _)| *last >= name) {
            return Err(DecodeError::Malformed("map: names do not ascend"));
        }
        entries.push((name, decode_nested(input, levels)?));
    }
    // From a sorted vector the tree is built in one go.
    Ok(entries.into_iter().collect())
}

pub fn encode_attributes(item: &Item) -> Vec<u8> {
    // Beside what DynamoDB counts: a tag and two lengths an attribute, and the count.
    let mut out = Vec::with_capacity(item_size(item) + 5 * item.len() + 3);
    encode_entries(item, &mut Writer(&mut out));
    out
}

pub fn decode_attributes(bytes: &Bytes) -> Result<Item, DecodeError> {
    let mut input = Reader::new(bytes.clone());
    let item = decode_entries(&mut input, NESTING_LEVELS)?;
    input.finish()?;
    Ok(item)
}

/// DynamoDB's size of an encoded item, without decoding it to values.
pub fn attributes_size(bytes: &[u8]) -> Result<usize, DecodeError> {
    let mut input = bytes;
    let (_, size) = skip_entries(&mut input, NESTING_LEVELS)?;
    if input.is_empty() { Ok(size) } else { Err(DecodeError::LeftOver(input.len())) }
}

/// How many entries there are, and the size of their names and values.
fn skip_entries(input: &mut &[u8], levels: usize) -> Result<(usize, usize), DecodeError> {
    skip_counted(input, |input| Ok(take_bytes(input)?.len() + skip_value(input, levels)?))
}

/// How many elements there are, and the sum of what `skip` says of each.
fn skip_counted(
    input: &mut &[u8],
    skip: impl Fn(&mut &[u8]) -> Result<usize, DecodeError>,
) -> Result<(usize, usize), DecodeError> {
    // Every element takes at least a byte, so a count that lies ends at the input's end.
    let count = usize::try_from(take_varint(input)?).map_err(|_too_many| DecodeError::Truncated)?;
    let mut size = 0;
    for _ in 0..count {
        size += skip(input)?;
    }
    Ok((count, size))
}

fn skip_value(input: &mut &[u8], levels: usize) -> Result<usize, DecodeError> {
    let deeper = || levels.checked_sub(1).ok_or(DecodeError::TooDeep(NESTING_LEVELS));
    let container = |(count, contents)| CONTAINER_BYTES + count * ELEMENT_BYTES + contents;
    Ok(match take_u8(input)? {
        TAG_S | TAG_B => take_bytes(input)?.len(),
        TAG_N => Number::decode_ordered(input)?.size(),
        TAG_SS | TAG_BS => skip_counted(input, |input| Ok(take_bytes(input)?.len()))?.1,
        TAG_NS => skip_counted(input, |input| Ok(Number::decode_ordered(input)?.size()))?.1,
        TAG_M => container(skip_entries(input, deeper()?)?),
        TAG_L => {
            let levels = deeper()?;
            container(skip_counted(input, |input| skip_value(input, levels))?)
        }
        TAG_FALSE | TAG_TRUE | TAG_NULL => 1,
        tag => return Err(DecodeError::UnknownTag { what: "value", tag }),
    })
}

pub fn encode_record(header: RecordHeader, attributes: &[u8]) -> Vec<u8> {
    let RecordHeader { flags, version_timestamp_us, log_position } = header;
    let mut bytes = Vec::with_capacity(HEADER_LEN + attributes.len());
    let mut out = Writer(&mut bytes);
    out.u8(RECORD_FORMAT);
    out.u8(flags);
    out.u64(version_timestamp_us);
    out.u64(log_position);
    bytes.extend_from_slice(attributes);
    bytes
}

/// The header, and a view of the attributes.
pub fn decode_record(bytes: &Bytes) -> Result<(RecordHeader, Bytes), DecodeError> {
    let mut input = Reader::new(bytes.clone());
    match input.u8()? {
        RECORD_FORMAT => {}
        format => return Err(DecodeError::UnknownFormat(format)),
    }
    let header = RecordHeader { flags: input.u8()?, version_timestamp_us: input.u64()?, log_position: input.u64()? };
    Ok((header, input.rest()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::value::tests::{any_item, any_value, nested};

    fn encoded(value: &Value) -> Bytes {
        let mut out = Vec::new();
        encode_value(value, &mut Writer(&mut out));
        out.into()
    }

    fn decoded(bytes: Bytes) -> Result<Value, DecodeError> {
        decode_value(&mut Reader::new(bytes))
    }

    #[test]
    fn attributes_are_compact() {
        let item = Item::from([
            ("id".to_owned(), Value::S("abc".to_owned())),
            ("n".to_owned(), Value::N(Number::from(7))),
            ("on".to_owned(), Value::Bool(true)),
        ]);
        let bytes = encode_attributes(&item);
        assert_eq!(bytes, b"\x03\x02id\x01\x03abc\x01n\x02\xc1\x0e\x02on\x0a");
        assert_eq!(attributes_size(&bytes), Ok(2 + 3 + 1 + 2 + 2 + 1));
    }

    #[test]
    fn a_record_is_a_header_and_attributes() {
        let header = RecordHeader { flags: 0, version_timestamp_us: 5, log_position: 0x0102 };
        let bytes = Bytes::from(encode_record(header, b"attributes"));
        assert_eq!(bytes.len(), HEADER_LEN + 10);
        assert_eq!(bytes[..HEADER_LEN], [1, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(decode_record(&bytes), Ok((header, Bytes::from_static(b"attributes"))));
        assert_eq!(decode_record(&bytes.slice(..17)), Err(DecodeError::Truncated));
        assert_eq!(decode_record(&Bytes::from_static(&[9; 20])), Err(DecodeError::UnknownFormat(9)));
    }

    #[test]
    fn thirty_two_levels_are_read_and_thirty_three_refused() {
        let deepest = nested(NESTING_LEVELS);
        assert_eq!(decoded(encoded(&deepest)), Ok(deepest.clone()));
        let item = Item::from([("a".to_owned(), deepest)]);
        let bytes = encode_attributes(&item);
        assert_eq!(attributes_size(&bytes), Ok(item_size(&item)));
        assert_eq!(decode_attributes(&bytes.into()), Ok(item));

        let too_deep = nested(NESTING_LEVELS + 1);
        assert_eq!(decoded(encoded(&too_deep)), Err(DecodeError::TooDeep(NESTING_LEVELS)));
        let bytes = encode_attributes(&Item::from([("a".to_owned(), too_deep)]));
        assert_eq!(attributes_size(&bytes), Err(DecodeError::TooDeep(NESTING_LEVELS)));
        assert_eq!(decoded([TAG_L, 1].repeat(1 << 20).into()), Err(DecodeError::TooDeep(NESTING_LEVELS)));
    }

    #[test]
    fn a_set_is_stored_sorted_whatever_order_it_was_held_in() {
        let texts = |members: &[&str]| Value::Ss(members.iter().map(|member| (*member).to_owned()).collect());
        assert_eq!(decoded(encoded(&texts(&["b", "a", "b"]))), Ok(texts(&["a", "b"])));
    }

    #[test]
    fn disorder_and_lies_are_refused() {
        let set = DecodeError::Malformed("set: members do not ascend");
        assert_eq!(decoded(Bytes::from_static(b"\x04\x02\x01b\x01a")), Err(set.clone()));
        assert_eq!(decoded(Bytes::from_static(b"\x04\x02\x01a\x01a")), Err(set));
        let map = DecodeError::Malformed("map: names do not ascend");
        assert_eq!(decoded(Bytes::from_static(b"\x07\x02\x01a\x0b\x01a\x0b")), Err(map));
        assert_eq!(decoded(Bytes::from_static(b"\x01\x01\xff")), Err(DecodeError::Malformed("text")));
        assert_eq!(decoded(Bytes::from_static(b"\x0c")), Err(DecodeError::UnknownTag { what: "value", tag: 12 }));
        let mut lie = vec![TAG_L];
        Writer(&mut lie).varint(u64::MAX);
        assert_eq!(decoded(lie.into()), Err(DecodeError::Truncated));
        assert_eq!(attributes_size(&[0, 0]), Err(DecodeError::LeftOver(1)));
        assert_eq!(decode_attributes(&Bytes::from_static(&[0, 0])), Err(DecodeError::LeftOver(1)));
    }

    proptest! {
        #[test]
        fn a_value_is_read_back(value in any_value()) {
            let mut input = Reader::new(encoded(&value));
            prop_assert_eq!(decode_value(&mut input), Ok(value));
            prop_assert_eq!(input.left(), 0);
        }

        #[test]
        fn an_item_is_read_back_and_its_size_is_one_thing(item in any_item()) {
            let bytes = encode_attributes(&item);
            prop_assert_eq!(attributes_size(&bytes), Ok(item_size(&item)));
            prop_assert_eq!(decode_attributes(&bytes.into()), Ok(item));
        }

        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(prop_oneof![0..12u8, any::<u8>()], 0..200)) {
            let bytes = Bytes::from(bytes);
            if let Ok(item) = decode_attributes(&bytes) {
                prop_assert_eq!(attributes_size(&bytes), Ok(item_size(&item)));
                prop_assert_eq!(encode_attributes(&item), bytes.clone());
            }
            let _sized_or_refused = attributes_size(&bytes).is_ok();
            let _read_or_refused = decode_record(&bytes).is_ok();
        }

        #[test]
        fn an_item_with_a_changed_byte_never_panics(item in any_item(), at: prop::sample::Index, byte: u8) {
            let mut bytes = encode_attributes(&item);
            *at.get_mut(&mut bytes[..]) = byte;
            let _sized_or_refused = attributes_size(&bytes).is_ok();
            let _read_or_refused = decode_attributes(&bytes.into()).is_ok();
        }
    }
}
