//! The language as a client meets it: DynamoDB's sentences and results, literally, and properties over random trees.

use std::collections::BTreeMap;

use super::{Condition, KeyCondition, KeyExpression, Placeholders, Projection, Update};
use crate::number::Number;
use crate::value::{Item, Value};

mod conditions;
mod key_conditions;
mod messages;
mod naive;
mod properties;
mod updates;

fn n(text: &str) -> Value {
    Value::N(Number::parse(text).unwrap())
}

fn s(text: &str) -> Value {
    Value::S(text.to_owned())
}

fn b(bytes: &'static [u8]) -> Value {
    Value::B(bytes::Bytes::from_static(bytes))
}

fn l(elements: impl IntoIterator<Item = Value>) -> Value {
    Value::L(elements.into_iter().collect())
}

fn m<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::M(item(fields))
}

fn ss<const N: usize>(members: [&str; N]) -> Value {
    Value::string_set(members.map(str::to_owned).to_vec()).unwrap()
}

fn ns<const N: usize>(members: [&str; N]) -> Value {
    Value::number_set(members.map(|member| Number::parse(member).unwrap()).to_vec()).unwrap()
}

fn bs<const N: usize>(members: [&'static [u8]; N]) -> Value {
    Value::binary_set(members.map(bytes::Bytes::from_static).to_vec()).unwrap()
}

fn item<const N: usize>(attributes: [(&str, Value); N]) -> Item {
    attributes.map(|(name, value)| (name.to_owned(), value)).into()
}

/// `names` and `values` as a request gives them.
fn placeholders<const N: usize, const V: usize>(names: [(&str, &str); N], values: [(&str, Value); V]) -> Placeholders {
    let names: BTreeMap<String, String> = names.map(|(key, name)| (key.to_owned(), name.to_owned())).into();
    Placeholders::new(names, item(values))
}
