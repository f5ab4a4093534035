//! A second evaluator, written for plainness alone: everything is turned into canonical texts and looked at from there.

use crate::expression::condition::{Comparator, Measured, Node, Operand};
use crate::expression::update::{Action, Sum, Term};
use crate::expression::{Path, Step};
use crate::number::Number;
use crate::value::{Item, Value};

fn find(path: &Path, item: &Item) -> Option<Value> {
    let mut here = item.get(&path.root)?.clone();
    for step in &path.steps {
        here = match (here, step) {
            (Value::M(fields), Step::Field(name)) => fields.get(name)?.clone(),
            (Value::L(elements), Step::Index(index)) => elements.get(*index as usize)?.clone(),
            _ => return None,
        };
    }
    Some(here)
}

/// Equal for equal values only.
fn canonical(value: &Value) -> String {
    let members = |texts: Vec<String>| {
        let mut sorted = texts;
        sorted.sort();
        sorted.join(",")
    };
    let content = match value {
        Value::S(text) => format!("{text:?}"),
        Value::N(number) => number.to_string(),
        Value::B(bytes) => format!("{bytes:?}"),
        Value::Ss(texts) => members(texts.iter().map(|text| format!("{text:?}")).collect()),
        Value::Ns(numbers) => members(numbers.iter().map(ToString::to_string).collect()),
        Value::Bs(blobs) => members(blobs.iter().map(|bytes| format!("{bytes:?}")).collect()),
        Value::M(fields) => {
            members(fields.iter().map(|(name, value)| format!("{name:?}:{}", canonical(value))).collect())
        }
        Value::L(elements) => elements.iter().map(canonical).collect::<Vec<_>>().join(","),
        Value::Bool(truth) => truth.to_string(),
        Value::Null => String::new(),
    };
    format!("{}({content})", value.type_name())
}

fn operand(operand: &Operand, item: &Item) -> Option<Value> {
    let measured = match operand {
        Operand::Path(path) => return find(path, item),
        Operand::Value(value) => return Some(Value::clone(value)),
        Operand::Size(Measured::Path(path)) => find(path, item)?,
        Operand::Size(Measured::Value(value)) => Value::clone(value),
    };
    let size = match measured {
        Value::S(text) => text.chars().map(char::len_utf16).sum(),
        Value::B(bytes) => bytes.len(),
        Value::Ss(members) => members.len(),
        Value::Ns(members) => members.len(),
        Value::Bs(members) => members.len(),
        Value::M(fields) => fields.len(),
        Value::L(elements) => elements.len(),
        Value::N(_) | Value::Bool(_) | Value::Null => return None,
    };
    Some(Value::N(Number::parse(&size.to_string()).unwrap()))
}

/// What can be ordered, as bytes that order alike; small numbers only.
fn ordered(value: &Value) -> Option<Vec<u8>> {
    if let Value::S(text) = value {
        return Some(text.clone().into_bytes());
    }
    if let Value::B(bytes) = value {
        return Some(bytes.to_vec());
    }
    let Value::N(number) = value else {
        return None;
    };
    let text = number.to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let thousandths: i64 = format!("{whole}{fraction:0<3}").parse().unwrap();
    Some((thousandths + (1 << 40)).to_be_bytes().to_vec())
}

fn compare(comparator: Comparator, left: Option<&Value>, right: Option<&Value>) -> bool {
    let (Some(left), Some(right)) = (left, right) else {
        return comparator == Comparator::NotEqual;
    };
    let equal = canonical(left) == canonical(right);
    let less = left.type_name() == right.type_name()
        && ordered(left).zip(ordered(right)).is_some_and(|(left, right)| left < right);
    let greater = left.type_name() == right.type_name()
        && ordered(left).zip(ordered(right)).is_some_and(|(left, right)| left > right);
    let same = equal && ordered(left).is_some();
    match comparator {
        Comparator::Equal => equal,
        Comparator::NotEqual => !equal,
        Comparator::Less => less,
        Comparator::LessOrEqual => less || same,
        Comparator::Greater => greater,
        Comparator::GreaterOrEqual => greater || same,
    }
}

fn contains(whole: &Value, part: &Value) -> bool {
    let elements: Vec<Value> = match whole {
        Value::S(whole) => return matches!(part, Value::S(part) if whole.find(part.as_str()).is_some()),
        Value::B(whole) => {
            return matches!(part, Value::B(part)
                if (0..=whole.len()).any(|start| whole[start..].starts_with(part)));
        }
        Value::Ss(members) => members.iter().cloned().map(Value::S).collect(),
        Value::Ns(members) => members.iter().copied().map(Value::N).collect(),
        Value::Bs(members) => members.iter().cloned().map(Value::B).collect(),
        Value::L(elements) => elements.clone(),
        Value::N(_) | Value::M(_) | Value::Bool(_) | Value::Null => Vec::new(),
    };
    elements.iter().any(|element| canonical(element) == canonical(part))
}

pub(super) fn holds(node: &Node, item: &Item) -> bool {
    let value = |of: &Operand| operand(of, item);
    match node {
        Node::And(all) => all.iter().filter(|node| !holds(node, item)).count() == 0,
        Node::Or(any) => any.iter().filter(|node| holds(node, item)).count() > 0,
        Node::Not(node) => !holds(node, item),
        Node::Compare { comparator, left, right } => compare(*comparator, value(left).as_ref(), value(right).as_ref()),
        Node::Between { value: middle, low, high } => {
            compare(Comparator::GreaterOrEqual, value(middle).as_ref(), value(low).as_ref())
                && compare(Comparator::GreaterOrEqual, value(high).as_ref(), value(middle).as_ref())
        }
        Node::In { value: one, list } => {
            list.iter().any(|other| compare(Comparator::Equal, value(other).as_ref(), value(one).as_ref()))
        }
        Node::Exists(path) => find(path, item).is_some(),
        Node::NotExists(path) => find(path, item).is_none(),
        Node::HasType(of, name) => value(of).is_some_and(|value| canonical(&value).starts_with(&format!("{name}("))),
        Node::BeginsWith(whole, start) => match (value(whole), value(start)) {
            (Some(Value::S(whole)), Some(Value::S(start))) => whole.find(&start) == Some(0),
            (Some(Value::B(whole)), Some(Value::B(start))) => whole.iter().take(start.len()).eq(start.iter()),
            _ => false,
        },
        Node::Contains(whole, part) => match (value(whole), value(part)) {
            (Some(whole), Some(part)) => contains(&whole, &part),
            _ => false,
        },
    }
}

fn term(of: &Term, item: &Item) -> Option<Value> {
    match of {
        Term::Path(path) => find(path, item),
        Term::Value(value) => Some(Value::clone(value)),
        Term::IfNotExists(path, otherwise) => find(path, item).or_else(|| term(otherwise, item)),
        Term::ListAppend(front, back) => match (term(front, item)?, term(back, item)?) {
            (Value::L(front), Value::L(back)) => Some(Value::L([front, back].concat())),
            _ => None,
        },
    }
}

fn number(of: &Term, item: &Item) -> Option<Number> {
    if let Value::N(number) = term(of, item)? { Some(number) } else { None }
}

/// The members of a set that are (not) among those of another.
fn members(of: &Value, others: &Value, among: bool) -> Option<Value> {
    let kept = |member: Value| contains(others, &member) == among;
    Some(match (of, others) {
        (Value::Ss(all), Value::Ss(_)) => {
            Value::Ss(all.iter().filter(|one| kept(Value::S((*one).clone()))).cloned().collect())
        }
        (Value::Ns(all), Value::Ns(_)) => Value::Ns(all.iter().filter(|one| kept(Value::N(**one))).copied().collect()),
        (Value::Bs(all), Value::Bs(_)) => {
            Value::Bs(all.iter().filter(|one| kept(Value::B((*one).clone()))).cloned().collect())
        }
        _ => return None,
    })
}

fn union(old: &Value, more: &Value) -> Option<Value> {
    Some(match (old, members(more, old, false)?) {
        (Value::Ss(old), Value::Ss(more)) => Value::string_set([old.clone(), more].concat())?,
        (Value::Ns(old), Value::Ns(more)) => Value::number_set([old.clone(), more].concat())?,
        (Value::Bs(old), Value::Bs(more)) => Value::binary_set([old.clone(), more].concat())?,
        _ => return None,
    })
}

/// The outer option: whether it can be done at all; the inner: what stands there then.
fn result(action: &Action, item: &Item) -> Option<Option<Value>> {
    match action {
        Action::Set(_, Sum::One(of)) => term(of, item).map(Some),
        Action::Set(_, Sum::Plus(left, right)) => {
            let sum = number(left, item)?.checked_add(&number(right, item)?).ok()?;
            Some(Some(Value::N(sum)))
        }
        Action::Set(_, Sum::Minus(left, right)) => {
            let difference = number(left, item)?.checked_sub(&number(right, item)?).ok()?;
            Some(Some(Value::N(difference)))
        }
        Action::Remove(_) => Some(None),
        Action::Add(path, more) => match (find(path, item), &**more) {
            (None, more) => Some(Some(more.clone())),
            (Some(Value::N(old)), Value::N(more)) => Some(Some(Value::N(old.checked_add(more).ok()?))),
            (Some(old), more) => union(&old, more).map(Some),
        },
        Action::Delete(path, less) => match find(path, item) {
            None => Some(None),
            Some(old) => {
                members(&old, less, false).map(|rest| Some(rest).filter(|rest| !canonical(rest).ends_with("()")))
            }
        },
    }
}

fn at<'i>(path: &Path, item: &'i mut Item) -> &'i mut Value {
    let mut here = item.get_mut(&path.root).unwrap();
    for step in &path.steps {
        here = match (here, step) {
            (Value::M(fields), Step::Field(name)) => fields.get_mut(name).unwrap(),
            (Value::L(elements), Step::Index(index)) => &mut elements[*index as usize],
            _ => unreachable!("the parent was looked at"),
        };
    }
    here
}

fn parent(path: &Path) -> Option<(Path, Step)> {
    let (last, before) = path.steps.split_last()?;
    Some((Path { root: path.root.clone(), steps: before.to_vec() }, last.clone()))
}

fn elements<'i>(path: &Path, item: &'i mut Item) -> &'i mut Vec<Value> {
    let Value::L(elements) = at(path, item) else { panic!("{path} was a list") };
    elements
}

fn fields<'i>(path: &Path, item: &'i mut Item) -> &'i mut Item {
    let Value::M(fields) = at(path, item) else { panic!("{path} was a map") };
    fields
}

fn put(path: &Path, value: Value, item: &mut Item) {
    match parent(path) {
        None => drop(item.insert(path.root.clone(), value)),
        Some((parent, Step::Index(index))) => elements(&parent, item)[index as usize] = value,
        Some((parent, Step::Field(name))) => drop(fields(&parent, item).insert(name, value)),
    }
}

fn remove(path: &Path, item: &mut Item) {
    match parent(path) {
        None => drop(item.remove(&path.root)),
        Some((parent, Step::Index(index))) => drop(elements(&parent, item).remove(index as usize)),
        Some((parent, Step::Field(name))) => drop(fields(&parent, item).remove(&name)),
    }
}

/// One edit at a time: first what is replaced, then what is appended, then removals from the last place to the first.
pub(super) fn apply(actions: &[Action], item: &Item) -> Option<Item> {
    let mut puts = Vec::new();
    let mut appended = Vec::new();
    let mut removed = Vec::new();
    for action in actions {
        let path = action.target();
        if let Some((parent, last)) = parent(path) {
            match (find(&parent, item)?, last) {
                (Value::M(_), Step::Field(_)) | (Value::L(_), Step::Index(_)) => {}
                _ => return None,
            }
        }
        let is_element = matches!(path.steps.last(), Some(Step::Index(_)));
        match (result(action, item)?, find(path, item)) {
            (Some(value), None) if is_element => appended.push((path, value)),
            (Some(value), _) => puts.push((path, value)),
            (None, Some(_)) => removed.push(path),
            (None, None) => {}
        }
    }
    let mut new = item.clone();
    puts.into_iter().for_each(|(path, value)| put(path, value, &mut new));
    appended.sort_by(|one, two| one.0.cmp(two.0));
    for (path, value) in appended {
        elements(&parent(path).unwrap().0, &mut new).push(value);
    }
    removed.sort();
    removed.into_iter().rev().for_each(|path| remove(path, &mut new));
    Some(new)
}
