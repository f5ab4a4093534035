//! The fields of requests that hold no attribute values: texts, flags, numbers, lists, maps and structures.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error, MapAccess, SeqAccess};

use super::shape::{Found, Of, Shape, push_slowly, read};

/// What DynamoDB (that is, the Java beneath it) calls a type in its errors.
pub trait Named {
    const NAME: &'static str;
    /// How many of them a map keeps.
    const KEPT: usize = KEPT;
}

/// How many members of a list, or structures of a map, are kept. What has more is refused for it by every operation, and is
/// still long enough for that; the others are read, and dropped, so that small JSON does not become large memory.
const KEPT: usize = 128;

const STRUCTURE_NOT_EXPECTED: &str = "Start of structure or map found where not expected";
const UNEXPECTED_FIELD: &str = "Unexpected field type";
const UNEXPECTED_MEMBER: &str = "Unexpected value type in payload";

/// How a scalar's errors read; `name` is Java's.
pub fn wrong_scalar(name: &'static str, found: Found) -> Cow<'static, str> {
    let what = match found {
        Found::Null => "NULL_VALUE",
        Found::True => "TRUE_VALUE",
        Found::False => "FALSE_VALUE",
        Found::Integer => "NUMBER_VALUE",
        Found::Decimal => "DECIMAL_VALUE",
        Found::Text => "STRING_VALUE",
        Found::Array => return format!("Unrecognized collection type class java.lang.{name}").into(),
        Found::Object => return STRUCTURE_NOT_EXPECTED.into(),
    };
    format!("{what} cannot be converted to {name}").into()
}

/// How a list's errors read.
pub fn wrong_list(found: Found) -> Cow<'static, str> {
    match found {
        Found::Object => STRUCTURE_NOT_EXPECTED.into(),
        Found::Null | Found::True | Found::False | Found::Integer | Found::Decimal | Found::Text | Found::Array => {
            UNEXPECTED_FIELD.into()
        }
    }
}

/// How a map's errors read; `name` is that of its values' type.
pub fn wrong_map(name: &'static str, found: Found) -> Cow<'static, str> {
    match found {
        Found::Array => {
            let package = if name.contains('.') { "" } else { "com.amazonaws.dynamodb.v20120810." };
            format!("Unrecognized collection type java.util.Map<java.lang.String, {package}{name}>").into()
        }
        Found::Null | Found::True | Found::False | Found::Integer | Found::Decimal | Found::Text | Found::Object => {
            UNEXPECTED_FIELD.into()
        }
    }
}

/// How a structure's errors read; a scalar's word depends on where the structure stands.
pub fn wrong_structure(name: &'static str, scalar: &'static str, found: Found) -> Cow<'static, str> {
    match found {
        Found::Array => format!("Unrecognized collection type class com.amazonaws.dynamodb.v20120810.{name}").into(),
        Found::Null | Found::True | Found::False | Found::Integer | Found::Decimal | Found::Text | Found::Object => {
            scalar.into()
        }
    }
}

/// As [`wrong_structure`], for a member of a list or map.
pub fn wrong_member(name: &'static str, found: Found) -> Cow<'static, str> {
    wrong_structure(name, UNEXPECTED_MEMBER, found)
}

impl Named for String {
    const NAME: &'static str = "java.lang.String";
}

/// A text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(pub String);

impl Named for Text {
    const NAME: &'static str = "java.lang.String";
    const KEPT: usize = usize::MAX;
}

impl<'de> Shape<'de> for Of<Text> {
    type Value = Text;

    fn wrong(&self, found: Found) -> Cow<'static, str> {
        wrong_scalar("String", found)
    }

    fn text<E: Error>(self, value: &str) -> Result<Text, E> {
        Ok(Text(value.to_owned()))
    }

    fn built_text<E: Error>(self, value: String) -> Result<Text, E> {
        Ok(Text(value))
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
        read(Of::<Text>::NEW, deserializer)
    }
}

/// A Boolean; some texts pass for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flag(pub bool);

impl<'de> Shape<'de> for Of<Flag> {
    type Value = Flag;

    fn wrong(&self, found: Found) -> Cow<'static, str> {
        wrong_scalar("Boolean", found)
    }

    fn boolean<E: Error>(self, value: bool) -> Result<Flag, E> {
        Ok(Flag(value))
    }

    fn text<E: Error>(self, value: &str) -> Result<Flag, E> {
        if ["true", "1", "yes"].iter().any(|word| value.eq_ignore_ascii_case(word)) {
            Ok(Flag(true))
        } else if ["false", "0", "no"].iter().any(|word| value.eq_ignore_ascii_case(word)) {
            Ok(Flag(false))
        } else {
            Err(E::custom("Unexpected token received from parser"))
        }
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Flag, D::Error> {
        read(Of::<Flag>::NEW, deserializer)
    }
}

/// A 32-bit integer (AWS: Integer): decimals are cut, what is too large is clipped as Java does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Int(pub i64);

/// A 64-bit integer (AWS: Long).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Long(pub i64);

#[expect(clippy::cast_possible_truncation, reason = "a float's conversion saturates, which is what is wanted")]
fn cut(value: f64) -> i64 {
    value.floor() as i64
}

impl<'de> Shape<'de> for Of<Int> {
    type Value = Int;

    fn wrong(&self, found: Found) -> Cow<'static, str> {
        wrong_scalar("Integer", found)
    }

    fn integer<E: Error>(self, value: i64) -> Result<Int, E> {
        Ok(Int(value.clamp(i64::from(i32::MIN), i64::from(i32::MAX))))
    }

    fn decimal<E: Error>(self, value: f64) -> Result<Int, E> {
        self.integer(cut(value))
    }
}

impl<'de> Deserialize<'de> for Int {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Int, D::Error> {
        read(Of::<Int>::NEW, deserializer)
    }
}

impl<'de> Shape<'de> for Of<Long> {
    type Value = Long;

    fn wrong(&self, found: Found) -> Cow<'static, str> {
        wrong_scalar("Long", found)
    }

    fn integer<E: Error>(self, value: i64) -> Result<Long, E> {
        Ok(Long(value))
    }

    fn decimal<E: Error>(self, value: f64) -> Result<Long, E> {
        Ok(Long(cut(value)))
    }
}

impl<'de> Deserialize<'de> for Long {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Long, D::Error> {
        read(Of::<Long>::NEW, deserializer)
    }
}

/// A list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List<T>(pub Vec<T>);

impl<'de, T: Deserialize<'de>> Shape<'de> for Of<List<T>> {
    type Value = List<T>;

    fn wrong(&self, found: Found) -> Cow<'static, str> {
        wrong_list(found)
    }

    fn array<A: SeqAccess<'de>>(self, mut members: A) -> Result<List<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(member) = members.next_element()? {
            if list.len() < KEPT {
                push_slowly(&mut list, member);
            }
        }
        Ok(List(list))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<List<T>, D::Error> {
        read(Of::<List<T>>::NEW, deserializer)
    }
}

/// A map with values of one type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map<T>(pub BTreeMap<String, T>);

impl<'de, T: Deserialize<'de> + Named> Shape<'de> for Of<Map<T>> {
    type Value = Map<T>;

    fn wrong(&self, found: Found) -> Cow<'static, str> {
        wrong_map(T::NAME, found)
    }

    fn object<A: MapAccess<'de>>(self, mut entries: A) -> Result<Map<T>, A::Error> {
        let mut map = BTreeMap::new();
        while let Some((key, value)) = entries.next_entry::<String, T>()? {
            if map.len() < T::KEPT || map.contains_key(&key) {
                map.insert(key, value);
            }
        }
        Ok(Map(map))
    }
}

impl<'de, T: Deserialize<'de> + Named> Deserialize<'de> for Map<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Map<T>, D::Error> {
        read(Of::<Map<T>>::NEW, deserializer)
    }
}

/// A structure that is a field of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field<T>(pub T);

impl<'de, T: DeserializeOwned + Named> Shape<'de> for Of<Field<T>> {
    type Value = Field<T>;

    fn wrong(&self, found: Found) -> Cow<'static, str> {
        wrong_structure(T::NAME, UNEXPECTED_FIELD, found)
    }

    fn object<A: MapAccess<'de>>(self, entries: A) -> Result<Field<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(entries)).map(Field)
    }
}

impl<'de, T: DeserializeOwned + Named> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Field<T>, D::Error> {
        read(Of::<Field<T>>::NEW, deserializer)
    }
}

/// A structure that is a member of a list or map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member<T>(pub T);

impl<T: Named> Named for Member<T> {
    const NAME: &'static str = T::NAME;
}

impl<'de, T: DeserializeOwned + Named> Shape<'de> for Of<Member<T>> {
    type Value = Member<T>;

    fn wrong(&self, found: Found) -> Cow<'static, str> {
        wrong_member(T::NAME, found)
    }

    fn object<A: MapAccess<'de>>(self, entries: A) -> Result<Member<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(entries)).map(Member)
    }
}

impl<'de, T: DeserializeOwned + Named> Deserialize<'de> for Member<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Member<T>, D::Error> {
        read(Of::<Member<T>>::NEW, deserializer)
    }
}

/// A field of which only the presence matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Present;

impl<'de> Deserialize<'de> for Present {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Present, D::Error> {
        serde::de::IgnoredAny::deserialize(deserializer).map(|_| Present)
    }
}
