//! Encoded item keys: `hash(partition key) ‖ partition key ‖ sort key`, bytes that compare as DynamoDB orders items.
//!
//! ```text
//! key       := hash u64 (XXH3 of the encoded partition key, seeded per table) ‖ component ‖ component?
//! component := tag u8 (S=1, N=2, B=3) ‖ body      S, B: escaped (0x00 → 0x00 0xff), ended by 0x00 0x00
//!                                                 N: the number's ordered encoding
//! ```
//! The ordered encoding of a number ends itself, so nothing follows it. Among components of one type bytes compare as
//! values do; the types are the schema's and never mixed in one table.
//! A range boundary is any byte string. Query sees one collection (hash ‖ partition key) in sort order.

use std::borrow::Cow;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::codec::{DecodeError, take_u8, take_u64};
use crate::descriptor::{KeyAttribute, KeySchema, KeyType};
use crate::number::Number;
use crate::value::{Item, Value};

const TAG_S: u8 = 1;
const TAG_N: u8 = 2;
const TAG_B: u8 = 3;
/// What follows 0x00 in a body that goes on, and in one that ends.
const ESCAPED: u8 = 0xff;
const END: u8 = 0x00;
/// Length of the hash that a key begins with, in bytes.
const HASH_LEN: usize = 8;

/// An encoded item key.
pub type ItemKey = Bytes;

/// Half-open: `start ≤ key < end`; no end reaches to the last key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyRange {
    pub start: Bytes,
    pub end: Option<Bytes>,
}

impl KeyRange {
    pub const ALL: KeyRange = KeyRange { start: Bytes::new(), end: None };

    pub fn contains(&self, key: &[u8]) -> bool {
        *self.start <= *key && self.end.as_ref().is_none_or(|end| *key < **end)
    }

    pub fn covers(&self, other: &KeyRange) -> bool {
        self.start <= other.start
            && match (&self.end, &other.end) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(end), Some(other_end)) => other_end <= end,
            }
    }

    /// What both contain; none if that is nothing.
    pub fn intersect(&self, other: &KeyRange) -> Option<KeyRange> {
        let start = self.start.clone().max(other.start.clone());
        let end = match (&self.end, &other.end) {
            (None, end) | (end, None) => end.clone(),
            (Some(a), Some(b)) => Some(a.min(b).clone()),
        };
        let empty = end.as_ref().is_some_and(|end| *end <= start);
        (!empty).then_some(KeyRange { start, end })
    }

    /// The whole key space cut into `n` ranges of equal hash width; one for `n` = 0 too, since something must hold it.
    pub fn even(n: u32) -> Vec<KeyRange> {
        let n = u128::from(n.max(1));
        let cut = |i: u128| {
            let hash = u64::try_from((i << 64) / n).expect("below 2^64, as i is below n");
            Bytes::copy_from_slice(&hash.to_be_bytes())
        };
        (0..n)
            .map(|i| KeyRange {
                start: if i == 0 { Bytes::new() } else { cut(i) },
                end: (i + 1 < n).then(|| cut(i + 1)),
            })
            .collect()
    }
}

/// The values must be of the schema's types (the router has checked them); anything else is a bug.
pub fn encode_key(hash_seed: u64, partition: &Value, sort: Option<&Value>) -> ItemKey {
    let mut out = Vec::with_capacity(HASH_LEN + component_len(partition) + sort.map_or(0, component_len));
    encode_collection(hash_seed, partition, &mut out);
    if let Some(sort) = sort {
        encode_component(sort, &mut out);
    }
    out.into()
}

/// What all items of one collection begin with.
pub fn collection_prefix(hash_seed: u64, partition: &Value) -> Bytes {
    let mut out = Vec::with_capacity(HASH_LEN + component_len(partition));
    encode_collection(hash_seed, partition, &mut out);
    out.into()
}

fn encode_collection(hash_seed: u64, partition: &Value, out: &mut Vec<u8>) {
    out.extend_from_slice(&[0; HASH_LEN]);
    encode_component(partition, out);
    let hash = xxh3_64_with_seed(&out[HASH_LEN..], hash_seed);
    out[..HASH_LEN].copy_from_slice(&hash.to_be_bytes());
}

/// Enough room for an encoded component without escapes.
fn component_len(value: &Value) -> usize {
    const TAG_AND_END: usize = 3;
    TAG_AND_END + value.size()
}

/// The ordered encoding of a sort key alone, to be appended to a collection's prefix.
///
/// # Panics
///
/// Where the value is of no key type: the router checks every key against the schema before it encodes it.
pub fn encode_component(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::S(text) => {
            out.push(TAG_S);
            escape(text.as_bytes(), out);
        }
        Value::N(number) => {
            out.push(TAG_N);
            number.encode_ordered(out);
        }
        Value::B(bytes) => {
            out.push(TAG_B);
            escape(bytes, out);
        }
        Value::Ss(_) | Value::Ns(_) | Value::Bs(_) | Value::M(_) | Value::L(_) | Value::Bool(_) | Value::Null => {
            unreachable!("a key of type {} passed the router's check", value.type_name())
        }
    }
}

/// What the encodings of all strings or binaries that begin with `value` begin with: its component without the end
/// (`begins_with`). A number has no beginning: none.
pub fn component_prefix(value: &Value) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(component_len(value));
    encode_component(value, &mut out);
    if matches!(value, Value::N(_)) {
        return None;
    }
    out.truncate(out.len() - 2);
    Some(out)
}

fn escape(body: &[u8], out: &mut Vec<u8>) {
    if body.contains(&0) {
        for byte in body {
            out.push(*byte);
            if *byte == 0 {
                out.push(ESCAPED);
            }
        }
    } else {
        out.extend_from_slice(body);
    }
    out.extend_from_slice(&[0, END]);
}

/// Reads an escaped body from the front of `input`, past its end.
fn unescape<'a>(input: &mut &'a [u8]) -> Result<Cow<'a, [u8]>, DecodeError> {
    let mut body = Cow::Borrowed(&[][..]);
    loop {
        let zero = input.iter().position(|byte| *byte == 0).ok_or(DecodeError::Truncated)?;
        let (part, rest) = input.split_at(zero);
        let next = *rest.get(1).ok_or(DecodeError::Truncated)?;
        *input = &rest[2..];
        if body.is_empty() {
            body = Cow::Borrowed(part);
        } else {
            body.to_mut().extend_from_slice(part);
        }
        match next {
            END => return Ok(body),
            ESCAPED => body.to_mut().push(0),
            _ => return Err(DecodeError::Malformed("escape")),
        }
    }
}

fn decode_component(input: &mut &[u8]) -> Result<Value, DecodeError> {
    match take_u8(input)? {
        TAG_S => {
            let text = String::from_utf8(unescape(input)?.into_owned());
            text.map(Value::S).map_err(|_invalid| DecodeError::Malformed("text"))
        }
        TAG_N => Number::decode_ordered(input).map(Value::N),
        TAG_B => Ok(Value::B(unescape(input)?.into_owned().into())),
        tag => Err(DecodeError::UnknownTag { what: "key component", tag }),
    }
}

/// The partition key and sort key of an encoded key. The hash is not held against the partition key: the seed is the
/// table's.
pub fn decode_key(key: &Bytes) -> Result<(Value, Option<Value>), DecodeError> {
    let mut input: &[u8] = key;
    take_u64(&mut input)?;
    let partition = decode_component(&mut input)?;
    if input.is_empty() {
        return Ok((partition, None));
    }
    let sort = decode_component(&mut input)?;
    if input.is_empty() { Ok((partition, Some(sort))) } else { Err(DecodeError::LeftOver(input.len())) }
}

/// An encoded key as the item of its key attributes (`LastEvaluatedKey`).
pub fn key_attributes(schema: &KeySchema, key: &Bytes) -> Result<Item, DecodeError> {
    let (partition, sort) = decode_key(key)?;
    let mut item = Item::new();
    let mut insert = |attribute: &KeyAttribute, value: Value| {
        let fits = match attribute.key_type {
            KeyType::S => matches!(value, Value::S(_)),
            KeyType::N => matches!(value, Value::N(_)),
            KeyType::B => matches!(value, Value::B(_)),
        };
        item.insert(attribute.name.clone(), value);
        if fits { Ok(()) } else { Err(DecodeError::Malformed("key: not of the schema's type")) }
    };
    insert(&schema.partition, partition)?;
    match (&schema.sort, sort) {
        (Some(attribute), Some(value)) => insert(attribute, value)?,
        (None, None) => {}
        (Some(_), None) | (None, Some(_)) => return Err(DecodeError::Malformed("key: not of the schema's length")),
    }
    Ok(item)
}

/// The smallest byte string greater than every one that begins with `prefix`; none if there is none.
pub fn prefix_end(prefix: &[u8]) -> Option<Bytes> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::number::tests::any_number;

    fn text(text: &str) -> Value {
        Value::S(text.to_owned())
    }

    fn component(value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        encode_component(value, &mut out);
        out
    }

    fn range(start: &'static [u8], end: Option<&'static [u8]>) -> KeyRange {
        KeyRange { start: Bytes::from_static(start), end: end.map(Bytes::from_static) }
    }

    /// Many zero bytes, many shared beginnings.
    fn any_binary() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop_oneof![Just(0), Just(1), Just(0xff), any::<u8>()], 0..12)
    }

    fn any_key_value() -> impl Strategy<Value = Value> {
        prop_oneof![
            any_binary().prop_map(|bytes| Value::B(bytes.into())),
            "[\\x00a\u{10ffff}]{0,6}".prop_map(Value::S),
            any_number().prop_map(Value::N),
        ]
    }

    fn compare(a: &Value, b: &Value) -> Option<std::cmp::Ordering> {
        match (a, b) {
            (Value::S(a), Value::S(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
            (Value::N(a), Value::N(b)) => Some(a.cmp(b)),
            (Value::B(a), Value::B(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }

    #[test]
    fn a_key_is_hash_and_components() {
        let key = encode_key(7, &text("p"), Some(&Value::B(Bytes::from_static(b"a\0b"))));
        let hash = xxh3_64_with_seed(b"\x01p\0\0", 7);
        assert_eq!(key[..HASH_LEN], hash.to_be_bytes());
        assert_eq!(key[HASH_LEN..], *b"\x01p\0\0\x03a\0\xffb\0\0");
        assert_eq!(collection_prefix(7, &text("p")), key[..HASH_LEN + 4]);
        assert_ne!(collection_prefix(8, &text("p")), key[..HASH_LEN + 4]);
    }

    /// The hash stands on disk: another version of its crate must not change it.
    #[test]
    fn the_hash_never_changes() {
        assert_eq!(xxh3_64_with_seed(b"\x01p\0\0", 0).to_be_bytes(), [0x3a, 0x06, 0xdc, 0x0f, 0x12, 0xc8, 0x92, 0x8f]);
    }

    #[test]
    fn a_key_becomes_its_attributes() {
        let attribute = |name: &str, key_type| KeyAttribute { name: name.to_owned(), key_type };
        let schema = KeySchema { partition: attribute("user", KeyType::S), sort: Some(attribute("at", KeyType::N)) };
        let at = Value::N(Number::from(1999));
        let key = encode_key(1, &text("zoë"), Some(&at));
        let item = Item::from([("user".to_owned(), text("zoë")), ("at".to_owned(), at.clone())]);
        assert_eq!(key_attributes(&schema, &key), Ok(item));
        assert!(key_attributes(&schema, &encode_key(1, &text("zoë"), None)).is_err());
        assert!(key_attributes(&schema, &encode_key(1, &at, Some(&at))).is_err());
        let simple = KeySchema { sort: None, ..schema };
        assert!(key_attributes(&simple, &key).is_err());
    }

    #[test]
    fn a_range_contains_its_start_and_not_its_end() {
        let middle = range(b"b", Some(b"d"));
        assert!(middle.contains(b"b") && middle.contains(b"c\xff") && !middle.contains(b"d") && !middle.contains(b"a"));
        assert!(KeyRange::ALL.contains(b"") && KeyRange::ALL.contains(&[0xff; 9]));
        assert!(KeyRange::ALL.covers(&middle) && middle.covers(&middle) && !middle.covers(&KeyRange::ALL));
        assert!(!middle.covers(&range(b"c", Some(b"e"))) && !middle.covers(&range(b"a", Some(b"c"))));
        assert!(!middle.covers(&range(b"c", None)));
        assert_eq!(KeyRange::ALL.intersect(&middle), Some(middle.clone()));
        assert_eq!(middle.intersect(&range(b"c", None)), Some(range(b"c", Some(b"d"))));
        assert_eq!(middle.intersect(&range(b"a", Some(b"c"))), Some(range(b"b", Some(b"c"))));
        assert_eq!(middle.intersect(&range(b"d", None)), None);
    }

    #[test]
    fn even_cuts_follow_one_another_and_cover_everything() {
        assert_eq!(KeyRange::even(0), [KeyRange::ALL]);
        assert_eq!(KeyRange::even(1), [KeyRange::ALL]);
        let quarter = |byte| Bytes::copy_from_slice(&[byte, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(
            KeyRange::even(4).iter().map(|range| range.end.clone()).collect::<Vec<_>>(),
            [Some(quarter(0x40)), Some(quarter(0x80)), Some(quarter(0xc0)), None]
        );
        let ranges = KeyRange::even(1000);
        assert_eq!((ranges.len(), ranges[0].start.len()), (1000, 0));
        assert!(ranges.windows(2).all(|pair| pair[0].end.as_ref() == Some(&pair[1].start)));
        assert!(ranges.iter().all(|range| range.end.as_ref().is_none_or(|end| range.start < *end)));
        assert_eq!(ranges[999].end, None);
    }

    #[test]
    fn a_prefix_ends_where_its_last_byte_can_rise() {
        assert_eq!(prefix_end(b"ab"), Some(Bytes::from_static(b"ac")));
        assert_eq!(prefix_end(b"a\xff\xff"), Some(Bytes::from_static(b"b")));
        assert_eq!(prefix_end(b"\xff\xff"), None);
        assert_eq!(prefix_end(b""), None);
    }

    #[test]
    fn malformed_keys_are_refused() {
        for key in [
            &b""[..],
            b"1234567",
            b"12345678",
            b"12345678\x01a",
            b"12345678\x01a\0",
            b"12345678\x01a\0\x07",
            b"12345678\x01\xff\0\0",
            b"12345678\x05",
            b"12345678\x01a\0\0\x01b\0\0\x01c\0\0",
        ] {
            assert!(decode_key(&Bytes::from_static(key)).is_err(), "{key:?}");
        }
    }

    proptest! {
        #[test]
        fn a_key_is_read_back(seed: u64, partition in any_key_value(), sort in prop::option::of(any_key_value())) {
            let key = encode_key(seed, &partition, sort.as_ref());
            prop_assert!(key.starts_with(&collection_prefix(seed, &partition)));
            prop_assert_eq!(decode_key(&key), Ok((partition, sort)));
        }

        #[test]
        fn components_compare_as_values_do(a in any_key_value(), b in any_key_value()) {
            if let Some(order) = compare(&a, &b) {
                prop_assert_eq!(component(&a).cmp(&component(&b)), order);
            }
            prop_assert!(a == b || !component(&a).starts_with(&component(&b)));
        }

        #[test]
        fn what_begins_with_a_value_begins_with_its_prefix(start in any_binary(), other in any_binary()) {
            let binary = |bytes: &[u8]| Value::B(Bytes::copy_from_slice(bytes));
            let prefix = component_prefix(&binary(&start)).unwrap();
            prop_assert_eq!(component(&binary(&other)).starts_with(&prefix), other.starts_with(&start));
            let longer = [&start[..], &other].concat();
            prop_assert!(component(&binary(&longer)).starts_with(&prefix));
        }

        #[test]
        fn nothing_is_between_a_prefix_and_its_end(prefix in any_binary(), other in any_binary()) {
            let within = *prefix <= *other && prefix_end(&prefix).is_none_or(|end| *other < *end);
            prop_assert_eq!(within, other.starts_with(&prefix));
        }

        #[test]
        fn an_intersection_contains_what_both_contain(
            a in any_binary(), b in any_binary(), c in any_binary(), d in any_binary(), key in any_binary(),
        ) {
            let first = KeyRange { start: a.clone().min(b.clone()).into(), end: Some(a.max(b).into()) };
            let second = KeyRange { start: c.into(), end: Some(d.into()) };
            let both = first.intersect(&second).is_some_and(|range| range.contains(&key));
            prop_assert_eq!(both, first.contains(&key) && second.contains(&key));
        }

        #[test]
        fn random_bytes_are_one_key_or_refused(bytes in prop::collection::vec(prop_oneof![0..4u8, any::<u8>()], 0..40)) {
            let key = Bytes::from(bytes);
            if let Ok((partition, sort)) = decode_key(&key) {
                prop_assert_eq!(&encode_key(0, &partition, sort.as_ref())[HASH_LEN..], &key[HASH_LEN..]);
            }
        }
    }
}
