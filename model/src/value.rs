//! Attribute values and items, and their sizes as DynamoDB counts them.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::number::Number;

/// An item: attributes by name. Ordered, so that everything computed from it is deterministic.
pub type Item = BTreeMap<String, Value>;

/// One attribute value (AWS: `AttributeValue`). Sets hold no duplicates and keep no order: they are stored sorted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    S(String),
    N(Number),
    B(Bytes),
    Ss(Vec<String>),
    Ns(Vec<Number>),
    Bs(Vec<Bytes>),
    M(BTreeMap<String, Value>),
    L(Vec<Value>),
    Bool(bool),
    Null,
}

impl Value {
    /// DynamoDB's short name of the type: `S`, `N`, `B`, `SS`, `NS`, `BS`, `M`, `L`, `BOOL`, `NULL`.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::S(_) => "S",
            Value::N(_) => "N",
            Value::B(_) => "B",
            Value::Ss(_) => "SS",
            Value::Ns(_) => "NS",
            Value::Bs(_) => "BS",
            Value::M(_) => "M",
            Value::L(_) => "L",
            Value::Bool(_) => "BOOL",
            Value::Null => "NULL",
        }
    }

    /// Bytes as DynamoDB counts them (without the attribute's name).
    pub fn size(&self) -> usize {
        match self {
            Value::S(text) => text.len(),
            Value::N(number) => number.size(),
            Value::B(bytes) => bytes.len(),
            Value::Ss(members) => members.iter().map(String::len).sum(),
            Value::Ns(members) => members.iter().map(Number::size).sum(),
            Value::Bs(members) => members.iter().map(Bytes::len).sum(),
            Value::M(entries) => {
                let contents: usize = entries.iter().map(|(name, value)| name.len() + value.size()).sum();
                CONTAINER_BYTES + entries.len() * ELEMENT_BYTES + contents
            }
            Value::L(elements) => {
                let contents: usize = elements.iter().map(Value::size).sum();
                CONTAINER_BYTES + elements.len() * ELEMENT_BYTES + contents
            }
            Value::Bool(_) | Value::Null => 1,
        }
    }

    /// Levels of lists and maps: 0 for a scalar or a set, to be held against `limits::NESTING_LEVELS` before encoding.
    pub fn nesting(&self) -> usize {
        match self {
            Value::M(entries) => 1 + entries.values().map(Value::nesting).max().unwrap_or(0),
            Value::L(elements) => 1 + elements.iter().map(Value::nesting).max().unwrap_or(0),
            Value::S(_) | Value::N(_) | Value::B(_) | Value::Ss(_) | Value::Ns(_) | Value::Bs(_) => 0,
            Value::Bool(_) | Value::Null => 0,
        }
    }

    /// A set of these members, sorted; none if two are equal or there are none.
    pub fn string_set(members: Vec<String>) -> Option<Value> {
        sorted_set(members).map(Value::Ss)
    }

    /// A set of these members, sorted; none if two are equal or there are none.
    pub fn number_set(members: Vec<Number>) -> Option<Value> {
        sorted_set(members).map(Value::Ns)
    }

    /// A set of these members, sorted; none if two are equal or there are none.
    pub fn binary_set(members: Vec<Bytes>) -> Option<Value> {
        sorted_set(members).map(Value::Bs)
    }
}

/// What a list or map costs beside its elements, in bytes (Developer Guide, "DynamoDB item sizes and formats").
pub(crate) const CONTAINER_BYTES: usize = 3;
/// What each element of a list or map costs beside its contents, in bytes (the same page).
pub(crate) const ELEMENT_BYTES: usize = 1;

fn sorted_set<T: Ord>(mut members: Vec<T>) -> Option<Vec<T>> {
    members.sort_unstable();
    let distinct = members.is_sorted_by(|a, b| a < b);
    (distinct && !members.is_empty()).then_some(members)
}

/// Bytes of an item as DynamoDB counts them: names and values.
pub fn item_size(item: &Item) -> usize {
    item.iter().map(|(name, value)| name.len() + value.size()).sum()
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::number::tests::any_number;

    pub(crate) fn any_scalar() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<String>().prop_map(Value::S),
            any_number().prop_map(Value::N),
            any::<Vec<u8>>().prop_map(|bytes| Value::B(bytes.into())),
            any::<bool>().prop_map(Value::Bool),
            Just(Value::Null),
            prop::collection::vec(any::<String>(), 1..4).prop_filter_map("a set", Value::string_set),
            prop::collection::vec(any_number(), 1..4).prop_filter_map("a set", Value::number_set),
            prop::collection::vec(any::<Vec<u8>>().prop_map(Bytes::from), 1..4)
                .prop_filter_map("a set", Value::binary_set),
        ]
    }

    pub(crate) fn any_value() -> impl Strategy<Value = Value> {
        any_scalar().prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::L),
                prop::collection::btree_map(any::<String>(), inner, 0..6).prop_map(Value::M),
            ]
        })
    }

    pub(crate) fn any_item() -> impl Strategy<Value = Item> {
        prop::collection::btree_map(any::<String>(), any_value(), 0..8)
    }

    /// `levels` lists, one in another.
    pub(crate) fn nested(levels: usize) -> Value {
        (0..levels).fold(Value::Null, |inner, _| Value::L(vec![inner]))
    }

    #[test]
    fn values_cost_what_the_developer_guide_says() {
        let number = |text| Value::N(Number::parse(text).unwrap());
        let map = |entries: Vec<(&str, Value)>| Value::M(entries.into_iter().map(|(k, v)| (k.to_owned(), v)).collect());
        for (value, size) in [
            (Value::S(String::new()), 0),
            (Value::S("zoë".to_owned()), 4),
            (Value::B(Bytes::from_static(&[0, 1, 2])), 3),
            (number("27"), 2),
            (number("-27"), 3),
            (Value::Bool(false), 1),
            (Value::Null, 1),
            (Value::string_set(vec!["ab".to_owned(), "c".to_owned()]).unwrap(), 3),
            (Value::binary_set(vec![Bytes::from_static(b"ab")]).unwrap(), 2),
            (Value::number_set(vec![Number::from(1), Number::from(271)]).unwrap(), 5),
            (Value::L(vec![]), 3),
            (map(vec![]), 3),
            (Value::L(vec![Value::Null, number("5")]), 3 + 2 + 1 + 2),
            (map(vec![("ab", Value::S("xyz".to_owned()))]), 3 + 1 + 2 + 3),
        ] {
            assert_eq!(value.size(), size, "{value:?}");
        }
    }

    #[test]
    fn an_item_costs_its_names_and_values() {
        let item = Item::from([("id".to_owned(), Value::S("abc".to_owned())), ("n".to_owned(), Value::Null)]);
        assert_eq!(item_size(&item), 2 + 3 + 1 + 1);
    }

    #[test]
    fn sets_are_sorted_and_refuse_duplicates_and_emptiness() {
        let two = Value::string_set(vec!["b".to_owned(), "a".to_owned()]);
        assert_eq!(two, Some(Value::Ss(vec!["a".to_owned(), "b".to_owned()])));
        assert_eq!(Value::number_set(vec![Number::parse("1").unwrap(), Number::parse("1.0").unwrap()]), None);
        assert_eq!(Value::binary_set(vec![]), None);
    }

    #[test]
    fn nesting_counts_lists_and_maps() {
        assert_eq!(Value::Null.nesting(), 0);
        assert_eq!(nested(7).nesting(), 7);
    }
}
