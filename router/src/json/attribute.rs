//! Attribute values: `{"S": "text"}` and the like, read straight into `model`'s values.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use model::limits::NESTING_LEVELS;
use model::{Item, Number, Value};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::field::{Flag, Named, Text, wrong_list, wrong_map, wrong_member, wrong_scalar};
use super::shape::{Found, Nullable, Of, Shape, push_slowly, read};

/// Why a well-typed value is not valid: DynamoDB's sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid(pub Cow<'static, str>);

/// A value that may not be valid.
pub type Checked<T> = Result<T, Invalid>;

/// An item or a key; or the first of its attributes that is not valid, and its name.
///
/// What is wrong stands in a box: a hostile request has many empty keys, three bytes each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes(pub Result<Item, Box<(String, Invalid)>>);

impl Attributes {
    /// The item, or DynamoDB's refusal.
    pub fn checked(self) -> Result<Item, crate::error::Error> {
        self.0.map_err(|fault| {
            let (_, Invalid(sentence)) = *fault;
            crate::error::Error::Validation(sentence)
        })
    }
}

const EMPTY: &str = "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes";
const MORE_THAN_ONE: &str =
    "Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes";
const TOO_DEEP: &str =
    "Nesting Levels have exceeded supported limits: Attributes in the item have nested levels beyond supported limit";

fn invalid<T>(sentence: impl Into<Cow<'static, str>>) -> Checked<T> {
    Err(Invalid(sentence.into()))
}

fn invalid_parameter<T>(sentence: &str) -> Checked<T> {
    invalid(format!("One or more parameter values were invalid: {sentence}"))
}

/// The key of an attribute value: its type.
#[derive(Clone, Copy)]
enum Tag {
    S,
    N,
    B,
    Ss,
    Ns,
    Bs,
    M,
    L,
    Bool,
    Null,
    Unknown,
}

impl<'de> Deserialize<'de> for Tag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Tag, D::Error> {
        struct TagVisitor;
        impl Visitor<'_> for TagVisitor {
            type Value = Tag;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a type of attribute values")
            }

            fn visit_str<E: Error>(self, tag: &str) -> Result<Tag, E> {
                Ok(match tag {
                    "S" => Tag::S,
                    "N" => Tag::N,
                    "B" => Tag::B,
                    "SS" => Tag::Ss,
                    "NS" => Tag::Ns,
                    "BS" => Tag::Bs,
                    "M" => Tag::M,
                    "L" => Tag::L,
                    "BOOL" => Tag::Bool,
                    "NULL" => Tag::Null,
                    _ => Tag::Unknown,
                })
            }
        }
        deserializer.deserialize_identifier(TagVisitor)
    }
}

/// One attribute value, in which `levels` of lists and maps may still be opened.
#[derive(Clone, Copy)]
struct OneValue {
    levels: usize,
}

impl<'de> Shape<'de> for OneValue {
    type Value = Checked<Value>;

    fn wrong(&self, found: Found) -> Cow<'static, str> {
        wrong_member("AttributeValue", found)
    }

    fn null<E: Error>(self) -> Result<Checked<Value>, E> {
        Ok(invalid(EMPTY))
    }

    fn object<A: MapAccess<'de>>(self, mut entries: A) -> Result<Checked<Value>, A::Error> {
        let mut first = None;
        let mut more = false;
        while let Some(tag) = entries.next_key::<Tag>()? {
            if let Some(value) = self.typed(tag, &mut entries)? {
                more |= first.is_some();
                first.get_or_insert(value);
            }
        }
        Ok(match first {
            None => invalid(EMPTY),
            Some(Ok(_)) if more => invalid(MORE_THAN_ONE),
            Some(value) => value,
        })
    }
}

impl OneValue {
    /// The value of type `tag`; none where it is `null` or the type is not known.
    fn typed<'de, A: MapAccess<'de>>(&self, tag: Tag, entries: &mut A) -> Result<Option<Checked<Value>>, A::Error> {
        Ok(match tag {
            Tag::S => entries.next_value::<Option<Text>>()?.map(|text| Ok(Value::S(text.0))),
            Tag::N => entries.next_value_seed(Nullable(NumberText))?.map(|number| number.map(Value::N)),
            Tag::B => entries.next_value_seed(Nullable(Blob))?.map(|bytes| Ok(Value::B(bytes))),
            Tag::Bool => entries.next_value::<Option<Flag>>()?.map(|flag| Ok(Value::Bool(flag.0))),
            Tag::Null => entries.next_value::<Option<Flag>>()?.map(|flag| match flag {
                Flag(true) => Ok(Value::Null),
                Flag(false) => invalid_parameter("Null attribute value types must have the value of true"),
            }),
            Tag::Ss => entries.next_value_seed(Nullable(Members(|| Of::<Text>::NEW, string_member)))?.map(string_set),
            Tag::Ns => entries.next_value_seed(Nullable(Members(|| NumberText, number_member)))?.map(number_set),
            Tag::Bs => entries.next_value_seed(Nullable(Members(|| Blob, binary_member)))?.map(binary_set),
            Tag::M | Tag::L => match self.levels.checked_sub(1) {
                None => {
                    entries.next_value::<IgnoredAny>()?;
                    Some(invalid(TOO_DEEP))
                }
                Some(levels) if matches!(tag, Tag::M) => {
                    let inner = entries.next_value_seed(Nullable(Entries { levels }))?;
                    inner.map(|map| map.map(Value::M).map_err(|fault| fault.1))
                }
                Some(levels) => entries.next_value_seed(Nullable(Elements { levels }))?.map(|list| list.map(Value::L)),
            },
            Tag::Unknown => {
                entries.next_value::<IgnoredAny>()?;
                None
            }
        })
    }
}

/// The text of a number.
#[derive(Clone, Copy)]
struct NumberText;

impl<'de> Shape<'de> for NumberText {
    type Value = Checked<Number>;

    fn wrong(&self, found: Found) -> Cow<'static, str> {
        wrong_scalar("String", found)
    }

    fn text<E: Error>(self, text: &str) -> Result<Checked<Number>, E> {
        Ok(Number::parse(text).map_err(|error| Invalid(error.message(text).into())))
    }
}

/// Bytes as base64.
#[derive(Clone, Copy)]
struct Blob;

impl<'de> Shape<'de> for Blob {
    type Value = Bytes;

    fn wrong(&self, found: Found) -> Cow<'static, str> {
        match found {
            Found::Array => "Unrecognized collection type class java.nio.ByteBuffer".into(),
            Found::Object => wrong_scalar("ByteBuffer", found),
            Found::Null | Found::True | Found::False | Found::Integer | Found::Decimal | Found::Text => {
                "only base-64-encoded strings are convertible to bytes".into()
            }
        }
    }

    fn text<E: Error>(self, text: &str) -> Result<Bytes, E> {
        if !text.len().is_multiple_of(4) {
            let found = text.len();
            return Err(E::custom(format_args!(
                "Base64 encoded length is expected a multiple of 4 bytes but found: {found}"
            )));
        }
        STANDARD.decode(text).map(Bytes::from).map_err(|error| match error {
            base64::DecodeError::InvalidByte(_, byte) => {
                E::custom(format_args!("Invalid base 64 character: '{}'", char::from(byte)))
            }
            base64::DecodeError::InvalidLength(_)
            | base64::DecodeError::InvalidLastSymbol(..)
            | base64::DecodeError::InvalidPadding => E::custom("Invalid last non-pad Base64 character dectected"),
        })
    }
}

/// A set's members. The first function makes the shape of each, the second says whether it may be one.
#[derive(Clone, Copy)]
struct Members<F, C>(F, C);

impl<'de, S: Shape<'de>, T, F: Fn() -> S, C: Fn(Option<S::Value>) -> Checked<T>> Shape<'de> for Members<F, C> {
    type Value = Checked<Vec<T>>;

    fn wrong(&self, found: Found) -> Cow<'static, str> {
        wrong_list(found)
    }

    fn array<A: SeqAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut set = Vec::new();
        let mut fault = None;
        while let Some(member) = members.next_element_seed(Nullable((self.0)()))? {
            match (self.1)(member) {
                Ok(member) if fault.is_none() => push_slowly(&mut set, member),
                Ok(_) => {}
                Err(invalid) => drop(fault.get_or_insert(invalid)),
            }
        }
        Ok(fault.map_or(Ok(set), Err))
    }
}

fn string_member(member: Option<Text>) -> Checked<String> {
    match member {
        Some(Text(text)) => Ok(text),
        None => invalid_parameter("An string set may not have a null string as a member"),
    }
}

fn number_member(member: Option<Checked<Number>>) -> Checked<Number> {
    member.unwrap_or_else(|| invalid("The parameter cannot be converted to a numeric value"))
}

/// Half as large as [`Bytes`] until it is known that no two are equal: an empty one is three bytes of a request.
fn binary_member(member: Option<Bytes>) -> Checked<Box<[u8]>> {
    match member {
        Some(bytes) => Ok(Vec::from(bytes).into_boxed_slice()),
        None => invalid_parameter("Binary sets may not contain null"),
    }
}

/// Sorts what are indexes of `members`; false if two members are equal.
fn sorted_indexes<T: Ord>(members: &[T]) -> Option<Vec<u32>> {
    let mut indexes: Vec<u32> = (0..).zip(members).map(|(index, _)| index).collect();
    let member = |index: &u32| usize::try_from(*index).ok().and_then(|index| members.get(index));
    indexes.sort_unstable_by(|a, b| member(a).cmp(&member(b)));
    let distinct = indexes.windows(2).all(|pair| member(&pair[0]) != member(&pair[1]));
    distinct.then_some(indexes)
}

/// The members in the order of `indexes`, each of which is there once.
fn in_order<T: Default>(mut members: Vec<T>, indexes: Vec<u32>) -> Vec<T> {
    let take = |index: u32| members.get_mut(usize::try_from(index).ok()?).map(std::mem::take);
    indexes.into_iter().filter_map(take).collect()
}

fn string_set(members: Checked<Vec<String>>) -> Checked<Value> {
    let members = members?;
    if members.is_empty() {
        return invalid_parameter("An string set  may not be empty");
    }
    match sorted_indexes(&members) {
        Some(indexes) => Ok(Value::Ss(in_order(members, indexes))),
        None => invalid_parameter(&format!("Input collection [{}] contains duplicates.", members.join(", "))),
    }
}

fn number_set(members: Checked<Vec<Number>>) -> Checked<Value> {
    let mut members = members?;
    if members.is_empty() {
        return invalid_parameter("An number set  may not be empty");
    }
    members.sort_unstable();
    if members.windows(2).any(|pair| pair[0] == pair[1]) {
        return invalid("Input collection contains duplicates");
    }
    Ok(Value::Ns(members))
}

fn binary_set(members: Checked<Vec<Box<[u8]>>>) -> Checked<Value> {
    let members = members?;
    if members.is_empty() {
        return invalid_parameter("Binary sets should not be empty");
    }
    match sorted_indexes(&members) {
        Some(indexes) => Ok(Value::Bs(in_order(members, indexes).into_iter().map(Bytes::from).collect())),
        None => {
            let texts: Vec<String> = members.iter().map(|bytes| STANDARD.encode(bytes)).collect();
            invalid_parameter(&format!("Input collection [{}]of type BS contains duplicates.", texts.join(", ")))
        }
    }
}

/// A map of attribute values.
#[derive(Clone, Copy)]
struct Entries {
    levels: usize,
}

impl<'de> Shape<'de> for Entries {
    type Value = Result<BTreeMap<String, Value>, Box<(String, Invalid)>>;

    fn wrong(&self, found: Found) -> Cow<'static, str> {
        wrong_map("AttributeValue", found)
    }

    fn object<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut map = BTreeMap::new();
        let mut fault = None;
        while let Some(name) = entries.next_key::<String>()? {
            match entries.next_value_seed(OneValue { levels: self.levels })? {
                Ok(value) => drop(map.insert(name, value)),
                Err(invalid) => drop(fault.get_or_insert_with(|| Box::new((name, invalid)))),
            }
        }
        Ok(fault.map_or(Ok(map), Err))
    }
}

/// A list of attribute values.
#[derive(Clone, Copy)]
struct Elements {
    levels: usize,
}

impl<'de> Shape<'de> for Elements {
    type Value = Checked<Vec<Value>>;

    fn wrong(&self, found: Found) -> Cow<'static, str> {
        wrong_list(found)
    }

    fn array<A: SeqAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        let mut fault = None;
        while let Some(member) = members.next_element_seed(OneValue { levels: self.levels })? {
            match member {
                Ok(value) => push_slowly(&mut list, value),
                Err(invalid) => drop(fault.get_or_insert(invalid)),
            }
        }
        Ok(fault.map_or(Ok(list), Err))
    }
}

impl<'de> DeserializeSeed<'de> for OneValue {
    type Value = Checked<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Checked<Value>, D::Error> {
        read(self, deserializer)
    }
}

impl Named for Attributes {
    const NAME: &'static str = "AttributeValue";
}

impl<'de> Deserialize<'de> for Attributes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Attributes, D::Error> {
        read(Entries { levels: NESTING_LEVELS }, deserializer).map(Attributes)
    }
}
