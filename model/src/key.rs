//! Encoded item keys: `hash(partition key) ‖ partition key ‖ sort key`, bytes that compare as DynamoDB orders items.
//!
//! ```text
//! key       := hash u64 (XXH3 of the encoded partition key, seeded per table) ‖ component ‖ component?
//! component := tag u8 (S=1, N=2, B=3) ‖ body      S, B: escaped (0x00 → 0x00 0xff), ended by 0x00 0x00
//!                                                 N: the number's ordered encoding
//! ```
//! A range boundary is any byte string. Query sees one collection (hash ‖ partition key) in sort order.

use bytes::Bytes;

use crate::codec::DecodeError;
use crate::descriptor::KeySchema;
use crate::value::{Item, Value};

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

    pub fn contains(&self, _key: &[u8]) -> bool {
        unimplemented!()
    }

    pub fn covers(&self, _other: &KeyRange) -> bool {
        unimplemented!()
    }

    pub fn intersect(&self, _other: &KeyRange) -> Option<KeyRange> {
        unimplemented!()
    }

    /// The whole key space cut into `n` ranges of equal hash width.
    pub fn even(_n: u32) -> Vec<KeyRange> {
        unimplemented!()
    }
}

/// The values must be of the schema's types (the router has checked them); anything else is a bug.
pub fn encode_key(_hash_seed: u64, _partition: &Value, _sort: Option<&Value>) -> ItemKey {
    unimplemented!()
}

/// What all items of one collection begin with.
pub fn collection_prefix(_hash_seed: u64, _partition: &Value) -> Bytes {
    unimplemented!()
}

/// The ordered encoding of a sort key alone, to be appended to a collection's prefix.
pub fn encode_component(_value: &Value, _out: &mut Vec<u8>) {
    unimplemented!()
}

/// The partition key and sort key of an encoded key.
pub fn decode_key(_key: &Bytes) -> Result<(Value, Option<Value>), DecodeError> {
    unimplemented!()
}

/// An encoded key as the item of its key attributes (`LastEvaluatedKey`).
pub fn key_attributes(_schema: &KeySchema, _key: &Bytes) -> Result<Item, DecodeError> {
    unimplemented!()
}

/// The smallest byte string greater than every one that begins with `prefix`; none if there is none.
pub fn prefix_end(_prefix: &[u8]) -> Option<Bytes> {
    unimplemented!()
}
