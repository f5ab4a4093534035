//! Conditions: their tree, and whether an item satisfies one.
//!
//! An operand that is missing satisfies no comparison but `<>`; values of different types are unequal and have no order.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::sync::Arc;

use super::Path;
use crate::number::Number;
use crate::value::{Item, Value};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// One condition, names and values resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
    Compare {
        comparator: Comparator,
        left: Operand,
        right: Operand,
    },
    Between {
        value: Operand,
        low: Operand,
        high: Operand,
    },
    In {
        value: Operand,
        list: Vec<Operand>,
    },
    Exists(Path),
    NotExists(Path),
    /// The second is the type's short name, one of DynamoDB's.
    HasType(Operand, String),
    BeginsWith(Operand, Operand),
    Contains(Operand, Operand),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operand {
    Path(Path),
    Value(Arc<Value>),
    Size(Measured),
}

/// What `size` measures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Measured {
    Path(Path),
    Value(Arc<Value>),
}

impl Comparator {
    pub(super) fn symbol(self) -> &'static str {
        match self {
            Comparator::Equal => "=",
            Comparator::NotEqual => "<>",
            Comparator::Less => "<",
            Comparator::LessOrEqual => "<=",
            Comparator::Greater => ">",
            Comparator::GreaterOrEqual => ">=",
        }
    }

    fn holds(self, left: Option<&Value>, right: Option<&Value>) -> bool {
        let equal = || left.zip(right).is_some_and(|(left, right)| left == right);
        let order = || order(left?, right?);
        match self {
            Comparator::Equal => equal(),
            Comparator::NotEqual => !equal(),
            Comparator::Less => order().is_some_and(Ordering::is_lt),
            Comparator::LessOrEqual => order().is_some_and(Ordering::is_le),
            Comparator::Greater => order().is_some_and(Ordering::is_gt),
            Comparator::GreaterOrEqual => order().is_some_and(Ordering::is_ge),
        }
    }
}

/// The order of two strings (by their UTF-8 bytes), numbers or binaries; nothing else has one.
pub(super) fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::S(left), Value::S(right)) => Some(left.as_bytes().cmp(right.as_bytes())),
        (Value::N(left), Value::N(right)) => Some(left.cmp(right)),
        (Value::B(left), Value::B(right)) => Some(left.cmp(right)),
        (_, _) => None,
    }
}

/// What `size` tells of a value; numbers, booleans and null have no size. A string's is in UTF-16 units, as DynamoDB's.
pub(super) fn size(value: &Value) -> Option<usize> {
    match value {
        Value::S(text) => Some(text.encode_utf16().count()),
        Value::B(bytes) => Some(bytes.len()),
        Value::Ss(members) => Some(members.len()),
        Value::Ns(members) => Some(members.len()),
        Value::Bs(members) => Some(members.len()),
        Value::M(fields) => Some(fields.len()),
        Value::L(elements) => Some(elements.len()),
        Value::N(_) | Value::Bool(_) | Value::Null => None,
    }
}

impl Operand {
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Operand::Path(path) | Operand::Size(Measured::Path(path)) => Some(path),
            Operand::Value(_) | Operand::Size(Measured::Value(_)) => None,
        }
    }

    fn evaluate<'a>(&'a self, item: &'a Item) -> Option<Cow<'a, Value>> {
        let sized = match self {
            Operand::Path(path) => return path.get(item).map(Cow::Borrowed),
            Operand::Value(value) => return Some(Cow::Borrowed(value)),
            Operand::Size(Measured::Path(path)) => path.get(item)?,
            Operand::Size(Measured::Value(value)) => value,
        };
        let size = u64::try_from(size(sized)?).ok()?;
        Some(Cow::Owned(Value::N(Number::from(size))))
    }
}

impl Node {
    pub(super) fn holds(&self, item: &Item) -> bool {
        match self {
            Node::And(all) => all.iter().all(|node| node.holds(item)),
            Node::Or(any) => any.iter().any(|node| node.holds(item)),
            Node::Not(node) => !node.holds(item),
            Node::Compare { comparator, left, right } => {
                comparator.holds(left.evaluate(item).as_deref(), right.evaluate(item).as_deref())
            }
            Node::Between { value, low, high } => {
                let value = value.evaluate(item);
                Comparator::LessOrEqual.holds(low.evaluate(item).as_deref(), value.as_deref())
                    && Comparator::LessOrEqual.holds(value.as_deref(), high.evaluate(item).as_deref())
            }
            Node::In { value, list } => {
                let value = value.evaluate(item);
                list.iter().any(|one| Comparator::Equal.holds(value.as_deref(), one.evaluate(item).as_deref()))
            }
            Node::Exists(path) => path.get(item).is_some(),
            Node::NotExists(path) => path.get(item).is_none(),
            Node::HasType(operand, name) => operand.evaluate(item).is_some_and(|value| value.type_name() == name),
            Node::BeginsWith(whole, start) => both(whole, start, item, begins_with),
            Node::Contains(whole, part) => both(whole, part, item, contains),
        }
    }

    /// Calls `found` for every path of the condition, in the order they were written.
    pub(super) fn each_path<'n>(&'n self, found: &mut impl FnMut(&'n Path)) {
        let mut operand = |operand: &'n Operand| operand.path().into_iter().for_each(&mut *found);
        match self {
            Node::And(nodes) | Node::Or(nodes) => nodes.iter().for_each(|node| node.each_path(found)),
            Node::Not(node) => node.each_path(found),
            Node::Compare { comparator: _, left, right } => [left, right].into_iter().for_each(operand),
            Node::Between { value, low, high } => [value, low, high].into_iter().for_each(operand),
            Node::In { value, list } => [value].into_iter().chain(list).for_each(operand),
            Node::Exists(path) | Node::NotExists(path) => found(path),
            Node::HasType(value, _) => operand(value),
            Node::BeginsWith(whole, part) | Node::Contains(whole, part) => [whole, part].into_iter().for_each(operand),
        }
    }
}

fn both(left: &Operand, right: &Operand, item: &Item, test: fn(&Value, &Value) -> bool) -> bool {
    let (left, right) = (left.evaluate(item), right.evaluate(item));
    left.zip(right).is_some_and(|(left, right)| test(&left, &right))
}

fn begins_with(whole: &Value, start: &Value) -> bool {
    match (whole, start) {
        (Value::S(whole), Value::S(start)) => whole.starts_with(start.as_str()),
        (Value::B(whole), Value::B(start)) => whole.starts_with(start),
        (_, _) => false,
    }
}

/// A part of a string or binary, a member of a set, an element of a list.
fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::S(whole), Value::S(part)) => whole.contains(part.as_str()),
        (Value::B(whole), Value::B(part)) => as_text(whole).contains(as_text(part).as_str()),
        (Value::Ss(members), Value::S(member)) => members.contains(member),
        (Value::Ns(members), Value::N(member)) => members.contains(member),
        (Value::Bs(members), Value::B(member)) => members.contains(member),
        (Value::L(elements), element) => elements.contains(element),
        (_, _) => false,
    }
}

/// Bytes as the characters of the same numbers: the search in strings is linear, whatever they hold.
fn as_text(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}
