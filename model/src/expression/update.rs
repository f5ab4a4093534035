//! Updates: their tree, from syntax to tree, and the new item.
//!
//! Every operand sees the item as it was, and so do indexes of lists: what an update removes closes up after all is set.

use super::function::Function;
use super::path::refuse_clashes;
use std::sync::Arc;

use super::resolve::{Resolver, exactly, needs_path, wrong_type};
use super::surface::misused;
use super::syntax::{ActionText, ChangeText, OperandText, SectionText, SumText};
use super::{Path, Refusal};
use crate::value::Value;

mod apply;
mod edit;

pub(super) use apply::apply;

/// One action, names and values resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Set(Path, Sum),
    Remove(Path),
    /// A number or a set.
    Add(Path, Arc<Value>),
    /// A set.
    Delete(Path, Arc<Value>),
}

/// The right side of a `SET`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sum {
    One(Term),
    Plus(Term, Term),
    Minus(Term, Term),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Term {
    Path(Path),
    Value(Arc<Value>),
    IfNotExists(Path, Box<Term>),
    ListAppend(Box<Term>, Box<Term>),
}

impl Action {
    pub(super) fn target(&self) -> &Path {
        match self {
            Action::Set(path, _) | Action::Remove(path) | Action::Add(path, _) | Action::Delete(path, _) => path,
        }
    }
}

/// The actions of a parsed update. DynamoDB looks at the targets first, then at all names, then at values and types from
/// the last action to the first; so does this, since a client sees which complaint comes first.
pub(super) fn resolve(sections: &[SectionText<'_>], resolver: &mut Resolver<'_>) -> Result<Vec<Action>, Refusal> {
    let texts: Vec<&ActionText<'_>> = sections.iter().flat_map(|section| &section.actions).collect();
    let targets = texts.iter().map(|text| resolver.path(&text.path)).collect::<Result<Vec<Path>, Refusal>>()?;
    refuse_clashes(&targets.iter().collect::<Vec<_>>())?;
    for text in texts.iter().rev() {
        names(&text.change, resolver)?;
    }
    let backwards = texts.iter().zip(targets).rev();
    let mut actions =
        backwards.map(|(text, target)| action(text, target, resolver)).collect::<Result<Vec<Action>, Refusal>>()?;
    actions.reverse();
    Ok(actions)
}

/// Looks up all names of a change, for those that are not defined.
fn names(change: &ChangeText<'_>, resolver: &mut Resolver<'_>) -> Result<(), Refusal> {
    match change {
        ChangeText::Set(SumText::One(operand)) => operand_names(operand, resolver),
        ChangeText::Set(SumText::Plus(left, right) | SumText::Minus(left, right)) => {
            operand_names(left, resolver)?;
            operand_names(right, resolver)
        }
        ChangeText::Remove | ChangeText::Add(_) | ChangeText::Delete(_) => Ok(()),
    }
}

fn operand_names(operand: &OperandText<'_>, resolver: &mut Resolver<'_>) -> Result<(), Refusal> {
    match operand {
        OperandText::Path(path) => resolver.path(path).map(|_| ()),
        OperandText::Value(_) => Ok(()),
        OperandText::Call(call) => call.arguments.iter().try_for_each(|argument| operand_names(argument, resolver)),
    }
}

fn action(text: &ActionText<'_>, target: Path, resolver: &mut Resolver<'_>) -> Result<Action, Refusal> {
    Ok(match &text.change {
        ChangeText::Set(sum) => Action::Set(target, self::sum(sum, resolver)?),
        ChangeText::Remove => Action::Remove(target),
        ChangeText::Add(placeholder) => {
            let value = resolver.value(placeholder)?;
            if !matches!(*value, Value::N(_) | Value::Ss(_) | Value::Ns(_) | Value::Bs(_)) {
                return Err(wrong_section_type("ADD", &value));
            }
            Action::Add(target, value)
        }
        ChangeText::Delete(placeholder) => {
            let value = resolver.value(placeholder)?;
            if !matches!(*value, Value::Ss(_) | Value::Ns(_) | Value::Bs(_)) {
                return Err(wrong_section_type("DELETE", &value));
            }
            Action::Delete(target, value)
        }
    })
}

fn sum(text: &SumText<'_>, resolver: &mut Resolver<'_>) -> Result<Sum, Refusal> {
    Ok(match text {
        SumText::One(operand) => Sum::One(term(operand, resolver)?),
        SumText::Plus(left, right) => {
            let [left, right] = numbers("+", left, right, resolver)?;
            Sum::Plus(left, right)
        }
        SumText::Minus(left, right) => {
            let [left, right] = numbers("-", left, right, resolver)?;
            Sum::Minus(left, right)
        }
    })
}

fn numbers(
    operator: &str,
    left: &OperandText<'_>,
    right: &OperandText<'_>,
    resolver: &mut Resolver<'_>,
) -> Result<[Term; 2], Refusal> {
    let terms = [term(left, resolver)?, term(right, resolver)?];
    refuse_other_than("N", operator, &terms)?;
    Ok(terms)
}

fn term(text: &OperandText<'_>, resolver: &mut Resolver<'_>) -> Result<Term, Refusal> {
    let call = match text {
        OperandText::Path(path) => return Ok(Term::Path(resolver.path(path)?)),
        OperandText::Value(placeholder) => return Ok(Term::Value(resolver.value(placeholder)?)),
        OperandText::Call(call) => call,
    };
    let terms =
        call.arguments.iter().map(|argument| term(argument, resolver)).collect::<Result<Vec<Term>, Refusal>>()?;
    let function = Function::named(call.name);
    if function == Some(Function::IfNotExists) {
        let [path, otherwise] = exactly(call.name, terms)?;
        let Term::Path(path) = path else {
            return Err(needs_path(call.name));
        };
        return Ok(Term::IfNotExists(path, Box::new(otherwise)));
    }
    if function == Some(Function::ListAppend) {
        let lists = exactly(call.name, terms)?;
        refuse_other_than("L", call.name, &lists)?;
        let [front, back] = lists;
        return Ok(Term::ListAppend(Box::new(front), Box::new(back)));
    }
    Err(misused(call.name))
}

/// Only of values is the type known before there is an item.
fn refuse_other_than(wanted: &str, operator: &str, terms: &[Term]) -> Result<(), Refusal> {
    for term in terms {
        if let Term::Value(value) = term
            && value.type_name() != wanted
        {
            return Err(wrong_type(operator, value.type_name()));
        }
    }
    Ok(())
}

/// Sections name types in their own way.
fn wrong_section_type(section: &str, value: &Value) -> Refusal {
    let found = match value {
        Value::S(_) => "STRING",
        Value::N(_) => "NUMBER",
        Value::B(_) => "BINARY",
        Value::Ss(_) => "STRING_SET",
        Value::Ns(_) => "NUMBER_SET",
        Value::Bs(_) => "BINARY_SET",
        Value::M(_) => "MAP",
        Value::L(_) => "LIST",
        Value::Bool(_) => "BOOLEAN",
        Value::Null => "NULL",
    };
    Refusal(format!(
        "Incorrect operand type for operator or function; operator: {section}, operand type: {found}, \
         typeSet: ALLOWED_FOR_{section}_OPERAND"
    ))
}
