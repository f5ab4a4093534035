//! What an update makes of an item: first every new value, from the item as it was, then the edits.
//!
//! Where several things are wrong, DynamoDB complains of a target whose parent is no container of its kind, then of
//! types, and then, section by section from the last, of targets without a parent and of missing operands.

use std::collections::BTreeSet;

use super::edit::{Change, edit};
use super::{Action, Sum, Term};
use crate::expression::path::follow;
use crate::expression::{ExpressionError, Path, Step};
use crate::limits::{ITEM_BYTES, NESTING_LEVELS};
use crate::number::{Number, NumberError};
use crate::value::{Item, Value};

const WRONG_PATH: &str = "The document path provided in the update expression is invalid for update";
const WRONG_TYPE: &str = "An operand in the update expression has an incorrect data type";
const MISSING: &str = "The provided expression refers to an attribute that does not exist in the item";
const TOO_LARGE: &str = "Item size to update has exceeded the maximum allowed size";
const TOO_DEEP: &str =
    "Nesting Levels have exceeded supported limits: Attributes in the item have nested levels beyond supported limit";

/// Why a new value cannot be computed.
enum Failure {
    Type,
    Missing,
    Number(NumberError),
}

impl From<Failure> for ExpressionError {
    fn from(failure: Failure) -> ExpressionError {
        let text = match failure {
            Failure::Type => WRONG_TYPE,
            Failure::Missing => MISSING,
            Failure::Number(error) => return ExpressionError(error.to_string()),
        };
        ExpressionError(text.to_owned())
    }
}

pub(in crate::expression) fn apply(actions: &[Action], item: &Item) -> Result<Item, ExpressionError> {
    if actions.iter().any(|action| parent(action.target(), item) == Parent::OtherKind) {
        return Err(ExpressionError(WRONG_PATH.to_owned()));
    }
    let mut changes = Vec::with_capacity(actions.len());
    let mut put_bytes = 0;
    for action in actions {
        let outcome = change(action, item);
        if let Ok(Change::Put(value)) = &outcome {
            put_bytes += value.size();
        }
        // Before one value that is put everywhere fills the memory.
        if put_bytes > ITEM_BYTES {
            return Err(ExpressionError(TOO_LARGE.to_owned()));
        }
        match outcome {
            Err(Failure::Type) => return Err(Failure::Type.into()),
            outcome => changes.push(outcome),
        }
    }
    let changes = first_failure(actions, item, changes)?;
    let mut new = item.clone();
    edit(&mut new, actions.iter().map(Action::target).zip(changes));
    let touched = actions.iter().filter_map(|action| new.get(&action.target().root));
    if touched.into_iter().any(|value| value.nesting() > NESTING_LEVELS) {
        return Err(ExpressionError(TOO_DEEP.to_owned()));
    }
    Ok(new)
}

/// Sections from the last to the first: each has its paths looked at before its values.
fn first_failure(
    actions: &[Action],
    item: &Item,
    changes: Vec<Result<Change, Failure>>,
) -> Result<Vec<Change>, ExpressionError> {
    let mut good = Vec::with_capacity(changes.len());
    let mut changes = changes.into_iter().rev();
    for section in actions.chunk_by(|a, b| std::mem::discriminant(a) == std::mem::discriminant(b)).rev() {
        if section.iter().any(|action| parent(action.target(), item) != Parent::Fits) {
            return Err(ExpressionError(WRONG_PATH.to_owned()));
        }
        for change in changes.by_ref().take(section.len()) {
            good.push(change?);
        }
    }
    good.reverse();
    Ok(good)
}

/// What holds a target.
#[derive(PartialEq, Eq)]
enum Parent {
    /// The item itself, a map for a name, a list for an index.
    Fits,
    Missing,
    OtherKind,
}

fn parent(target: &Path, item: &Item) -> Parent {
    let Some((last, before)) = target.steps.split_last() else {
        return Parent::Fits;
    };
    match (item.get(&target.root).and_then(|root| follow(root, before)), last) {
        (None, _) => Parent::Missing,
        (Some(Value::M(_)), Step::Field(_)) | (Some(Value::L(_)), Step::Index(_)) => Parent::Fits,
        (Some(_), Step::Field(_) | Step::Index(_)) => Parent::OtherKind,
    }
}

fn change(action: &Action, item: &Item) -> Result<Change, Failure> {
    match action {
        Action::Set(_, sum) => Ok(Change::Put(evaluate_sum(sum, item)?)),
        Action::Remove(_) => Ok(Change::Remove),
        Action::Add(path, value) => match path.get(item) {
            None => Ok(Change::Put(Value::clone(value))),
            Some(old) => Ok(Change::Put(add(old, value)?)),
        },
        Action::Delete(path, value) => match path.get(item) {
            None => Ok(Change::Nothing),
            Some(old) => delete(old, value),
        },
    }
}

fn evaluate_sum(sum: &Sum, item: &Item) -> Result<Value, Failure> {
    match sum {
        Sum::One(term) => evaluate(term, item),
        Sum::Plus(left, right) => arithmetic(left, right, item, Number::checked_add),
        Sum::Minus(left, right) => arithmetic(left, right, item, Number::checked_sub),
    }
}

fn arithmetic(
    left: &Term,
    right: &Term,
    item: &Item,
    compute: fn(&Number, &Number) -> Result<Number, NumberError>,
) -> Result<Value, Failure> {
    match both(evaluate(left, item), evaluate(right, item), |value| matches!(value, Value::N(_)))? {
        (Value::N(left), Value::N(right)) => compute(&left, &right).map(Value::N).map_err(Failure::Number),
        (_, _) => Err(Failure::Type),
    }
}

fn evaluate(term: &Term, item: &Item) -> Result<Value, Failure> {
    match term {
        Term::Path(path) => path.get(item).cloned().ok_or(Failure::Missing),
        Term::Value(value) => Ok(Value::clone(value)),
        Term::IfNotExists(path, otherwise) => match path.get(item) {
            Some(value) => Ok(value.clone()),
            None => evaluate(otherwise, item),
        },
        Term::ListAppend(front, back) => {
            match both(evaluate(front, item), evaluate(back, item), |value| matches!(value, Value::L(_)))? {
                (Value::L(mut front), Value::L(back)) => {
                    front.extend(back);
                    Ok(Value::L(front))
                }
                (_, _) => Err(Failure::Type),
            }
        }
    }
}

/// Both operands; a wrong type comes before what is missing.
fn both(
    left: Result<Value, Failure>,
    right: Result<Value, Failure>,
    fits: fn(&Value) -> bool,
) -> Result<(Value, Value), Failure> {
    let is_wrong = |operand: &Result<Value, Failure>| match operand {
        Ok(value) => !fits(value),
        Err(Failure::Type) => true,
        Err(Failure::Missing | Failure::Number(_)) => false,
    };
    if is_wrong(&left) || is_wrong(&right) { Err(Failure::Type) } else { Ok((left?, right?)) }
}

fn add(old: &Value, more: &Value) -> Result<Value, Failure> {
    match (old, more) {
        (Value::N(old), Value::N(more)) => old.checked_add(more).map(Value::N).map_err(Failure::Number),
        (Value::Ss(old), Value::Ss(more)) => Ok(Value::Ss(union(old, more))),
        (Value::Ns(old), Value::Ns(more)) => Ok(Value::Ns(union(old, more))),
        (Value::Bs(old), Value::Bs(more)) => Ok(Value::Bs(union(old, more))),
        (_, _) => Err(Failure::Type),
    }
}

fn delete(old: &Value, less: &Value) -> Result<Change, Failure> {
    match (old, less) {
        (Value::Ss(old), Value::Ss(less)) => Ok(remaining(old, less, Value::Ss)),
        (Value::Ns(old), Value::Ns(less)) => Ok(remaining(old, less, Value::Ns)),
        (Value::Bs(old), Value::Bs(less)) => Ok(remaining(old, less, Value::Bs)),
        (_, _) => Err(Failure::Type),
    }
}

/// Sorted, as sets are stored.
fn union<T: Ord + Clone>(one: &[T], two: &[T]) -> Vec<T> {
    one.iter().chain(two).cloned().collect::<BTreeSet<T>>().into_iter().collect()
}

/// A set that loses its last member goes away.
fn remaining<T: Ord + Clone>(old: &[T], less: &[T], value: fn(Vec<T>) -> Value) -> Change {
    let less: BTreeSet<&T> = less.iter().collect();
    let rest: Vec<T> = old.iter().filter(|member| !less.contains(member)).cloned().collect();
    if rest.is_empty() { Change::Remove } else { Change::Put(value(rest)) }
}
