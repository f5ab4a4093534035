//! What a JSON value may look like at one place of a request, and what DynamoDB says where it looks otherwise.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// A JSON value's type, where it is not the one expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    Null,
    True,
    False,
    Integer,
    Decimal,
    Text,
    Array,
    Object,
}

/// One place of a request: takes the JSON types that fit, and words the refusal of the others.
pub trait Shape<'de>: Sized {
    type Value;

    fn wrong(&self, found: Found) -> Cow<'static, str>;

    fn null<E: Error>(self) -> Result<Self::Value, E> {
        Err(E::custom(self.wrong(Found::Null)))
    }

    fn boolean<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Err(E::custom(self.wrong(if value { Found::True } else { Found::False })))
    }

    fn integer<E: Error>(self, _value: i64) -> Result<Self::Value, E> {
        Err(E::custom(self.wrong(Found::Integer)))
    }

    fn decimal<E: Error>(self, _value: f64) -> Result<Self::Value, E> {
        Err(E::custom(self.wrong(Found::Decimal)))
    }

    fn text<E: Error>(self, _value: &str) -> Result<Self::Value, E> {
        Err(E::custom(self.wrong(Found::Text)))
    }

    /// A text that the parser had to build (it has escapes): taken over without another copy where that matters.
    fn built_text<E: Error>(self, value: String) -> Result<Self::Value, E> {
        self.text(&value)
    }

    fn array<A: SeqAccess<'de>>(self, _members: A) -> Result<Self::Value, A::Error> {
        Err(A::Error::custom(self.wrong(Found::Array)))
    }

    fn object<A: MapAccess<'de>>(self, _entries: A) -> Result<Self::Value, A::Error> {
        Err(A::Error::custom(self.wrong(Found::Object)))
    }
}

/// Lets `serde` read a [`Shape`].
pub struct Read<S>(pub S);

impl<'de, S: Shape<'de>> DeserializeSeed<'de> for Read<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, S: Shape<'de>> Visitor<'de> for Read<S> {
    type Value = S::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("another JSON type")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<S::Value, E> {
        self.0.boolean(value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<S::Value, E> {
        self.0.integer(value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<S::Value, E> {
        self.0.integer(i64::try_from(value).unwrap_or(i64::MAX))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<S::Value, E> {
        self.0.decimal(value)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<S::Value, E> {
        self.0.text(value)
    }

    fn visit_string<E: Error>(self, value: String) -> Result<S::Value, E> {
        self.0.built_text(value)
    }

    fn visit_unit<E: Error>(self) -> Result<S::Value, E> {
        self.0.null()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, members: A) -> Result<S::Value, A::Error> {
        self.0.array(members)
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<S::Value, A::Error> {
        self.0.object(entries)
    }
}

/// The same, where `null` means that there is nothing.
pub struct Nullable<S>(pub S);

impl<'de, S: Shape<'de>> DeserializeSeed<'de> for Nullable<S> {
    type Value = Option<S::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<S::Value>, D::Error> {
        deserializer.deserialize_any(Read(self))
    }
}

impl<'de, S: Shape<'de>> Shape<'de> for Nullable<S> {
    type Value = Option<S::Value>;

    fn wrong(&self, found: Found) -> Cow<'static, str> {
        self.0.wrong(found)
    }

    fn null<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn boolean<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        self.0.boolean(value).map(Some)
    }

    fn integer<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        self.0.integer(value).map(Some)
    }

    fn decimal<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        self.0.decimal(value).map(Some)
    }

    fn text<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        self.0.text(value).map(Some)
    }

    fn built_text<E: Error>(self, value: String) -> Result<Self::Value, E> {
        self.0.built_text(value).map(Some)
    }

    fn array<A: SeqAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
        self.0.array(members).map(Some)
    }

    fn object<A: MapAccess<'de>>(self, entries: A) -> Result<Self::Value, A::Error> {
        self.0.object(entries).map(Some)
    }
}

/// Hands `S` to `serde` where the type that is to be built names no seed.
pub fn read<'de, S: Shape<'de>, D: Deserializer<'de>>(shape: S, deserializer: D) -> Result<S::Value, D::Error> {
    Read(shape).deserialize(deserializer)
}

/// For shapes that carry nothing but the type they build.
pub struct Of<T>(pub PhantomData<T>);

impl<T> Of<T> {
    pub const NEW: Of<T> = Of(PhantomData);
}

/// Appends; the vector grows by a quarter, not to twice its length, since what stands in three bytes of a request takes ten
/// times as many in memory.
pub fn push_slowly<T>(list: &mut Vec<T>, member: T) {
    if list.len() == list.capacity() {
        list.reserve_exact(list.len() / 4 + 4);
    }
    list.push(member);
}
