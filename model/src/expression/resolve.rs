//! Syntax to trees: placeholders are looked up, operands counted and their types held against what they are given to.
//!
//! A value's type is known here; a path's only where there is an item.

use std::sync::Arc;

use super::condition::{Comparator, Measured, Node, Operand, order};
use super::function::Function;
use super::surface::{list_index, misused};
use super::syntax::{CallText, ConditionText, NameText, OperandText, PathText, StepText};
use super::{Path, Placeholders, Refusal, Step};
use crate::limits::{IN_OPERANDS, PATH_ELEMENTS, SUBSTITUTION_BYTES};
use crate::value::Value;

type Resolved<T> = Result<T, Refusal>;

const TYPE_NAMES: [&str; 10] = ["B", "NULL", "SS", "BOOL", "L", "BS", "N", "NS", "S", "M"];

/// Looks placeholders up, and so marks them as used.
pub(super) struct Resolver<'p> {
    placeholders: &'p mut Placeholders,
    /// What all names together came to.
    name_bytes: usize,
}

impl<'p> Resolver<'p> {
    pub(super) fn new(placeholders: &'p mut Placeholders) -> Resolver<'p> {
        Resolver { placeholders, name_bytes: 0 }
    }

    pub(super) fn value(&mut self, placeholder: &str) -> Resolved<Arc<Value>> {
        self.placeholders.value(placeholder).ok_or_else(|| {
            Refusal(format!(
                "An expression attribute value used in expression is not defined; attribute value: {placeholder}"
            ))
        })
    }

    fn name(&mut self, name: &NameText<'_>) -> Resolved<String> {
        if !name.is_placeholder {
            return Ok(name.text.to_owned());
        }
        let found = self.placeholders.name(name.text).ok_or_else(|| {
            Refusal(format!(
                "An expression attribute name used in the document path is not defined; attribute name: {}",
                name.text
            ))
        })?;
        // A long name behind a short placeholder must not multiply. Names of sane length never come to so much.
        self.name_bytes += found.len();
        if self.name_bytes > SUBSTITUTION_BYTES {
            let size = self.name_bytes;
            return Err(Refusal(format!(
                "Expression size has exceeded the maximum allowed size; expression size: {size}"
            )));
        }
        Ok(found)
    }

    pub(super) fn path(&mut self, path: &PathText<'_>) -> Resolved<Path> {
        let root = self.name(&path.root)?;
        let steps = path.steps.iter().map(|step| match step {
            StepText::Field(name) => Ok(Step::Field(self.name(name)?)),
            StepText::Index(digits) => Ok(Step::Index(list_index(digits)?)),
        });
        let steps = steps.collect::<Resolved<Vec<Step>>>()?;
        let elements = 1 + steps.len();
        if elements > PATH_ELEMENTS {
            let text = format!("The document path has too many nesting levels; nesting levels: {elements}");
            return Err(Refusal(text));
        }
        Ok(Path { root, steps })
    }

    pub(super) fn condition(&mut self, text: &ConditionText<'_>) -> Resolved<Node> {
        Ok(match text {
            ConditionText::And(all) => Node::And(self.conditions(all)?),
            ConditionText::Or(any) => Node::Or(self.conditions(any)?),
            ConditionText::Not(negated) => Node::Not(Box::new(self.condition(negated)?)),
            ConditionText::Compare { comparator, left, right } => {
                let (left, right) = (self.operand(left)?, self.operand(right)?);
                refuse_same(comparator.symbol(), &left, [&right])?;
                if !matches!(comparator, Comparator::Equal | Comparator::NotEqual) {
                    refuse_unordered(comparator.symbol(), [&left, &right])?;
                }
                Node::Compare { comparator: *comparator, left, right }
            }
            ConditionText::Between { value, low, high } => {
                let (value, low, high) = (self.operand(value)?, self.operand(low)?, self.operand(high)?);
                refuse_same("BETWEEN", &value, [&low, &high])?;
                refuse_unordered("BETWEEN", [&value, &low, &high])?;
                refuse_bounds(&low, &high)?;
                Node::Between { value, low, high }
            }
            ConditionText::In { value, list } => {
                let (value, list) = (self.operand(value)?, self.operands(list)?);
                if list.len() > IN_OPERANDS {
                    let count = list.len();
                    return Err(Refusal(format!(
                        "The IN operator is provided with too many operands; number of operands: {count}"
                    )));
                }
                refuse_same("IN", &value, &list)?;
                Node::In { value, list }
            }
            ConditionText::Call(call) => self.call(call)?,
        })
    }

    fn conditions(&mut self, texts: &[ConditionText<'_>]) -> Resolved<Vec<Node>> {
        texts.iter().map(|text| self.condition(text)).collect()
    }

    fn operands(&mut self, texts: &[OperandText<'_>]) -> Resolved<Vec<Operand>> {
        texts.iter().map(|text| self.operand(text)).collect()
    }

    fn operand(&mut self, text: &OperandText<'_>) -> Resolved<Operand> {
        Ok(match text {
            OperandText::Path(path) => Operand::Path(self.path(path)?),
            OperandText::Value(placeholder) => Operand::Value(self.value(placeholder)?),
            OperandText::Call(call) => Operand::Size(self.measured(call)?),
        })
    }

    fn measured(&mut self, call: &CallText<'_>) -> Resolved<Measured> {
        let [operand] = exactly(call.name, self.operands(&call.arguments)?)?;
        match operand {
            Operand::Path(path) => Ok(Measured::Path(path)),
            Operand::Value(value) if super::condition::size(&value).is_none() => {
                Err(wrong_type(call.name, value.type_name()))
            }
            Operand::Value(value) => Ok(Measured::Value(value)),
            Operand::Size(_) => Err(wrong_type(call.name, "N")),
        }
    }

    fn call(&mut self, call: &CallText<'_>) -> Resolved<Node> {
        let arguments = self.operands(&call.arguments)?;
        match Function::named(call.name) {
            Some(Function::AttributeExists) => Ok(Node::Exists(only_path(call.name, arguments)?)),
            Some(Function::AttributeNotExists) => Ok(Node::NotExists(only_path(call.name, arguments)?)),
            Some(Function::AttributeType) => {
                let [value, of] = exactly(call.name, arguments)?;
                refuse_same(call.name, &value, [&of])?;
                Ok(Node::HasType(value, type_named(call.name, &of)?))
            }
            Some(Function::BeginsWith) => {
                let [whole, start] = exactly(call.name, arguments)?;
                refuse_same(call.name, &whole, [&start])?;
                for known in [&whole, &start].into_iter().filter_map(known_type) {
                    if !matches!(known, "S" | "B") {
                        return Err(wrong_type(call.name, known));
                    }
                }
                Ok(Node::BeginsWith(whole, start))
            }
            Some(Function::Contains) => {
                let [whole, part] = exactly(call.name, arguments)?;
                refuse_same(call.name, &whole, [&part])?;
                Ok(Node::Contains(whole, part))
            }
            Some(Function::Size | Function::IfNotExists | Function::ListAppend) | None => Err(misused(call.name)),
        }
    }
}

/// `N` operands, or DynamoDB's complaint about their number.
pub(super) fn exactly<T, const N: usize>(function: &str, operands: Vec<T>) -> Resolved<[T; N]> {
    let count = operands.len();
    operands.try_into().map_err(|_operands: Vec<T>| {
        Refusal(format!(
            "Incorrect number of operands for operator or function; operator or function: {function}, \
             number of operands: {count}"
        ))
    })
}

/// The refusal of an operand of a type that the function never takes.
pub(super) fn wrong_type(function: &str, found: &str) -> Refusal {
    Refusal(format!(
        "Incorrect operand type for operator or function; operator or function: {function}, operand type: {found}"
    ))
}

pub(super) fn needs_path(function: &str) -> Refusal {
    Refusal(format!("Operator or function requires a document path; operator or function: {function}"))
}

fn only_path(function: &str, arguments: Vec<Operand>) -> Resolved<Path> {
    let [operand] = exactly(function, arguments)?;
    match operand {
        Operand::Path(path) => Ok(path),
        Operand::Value(_) | Operand::Size(_) => Err(needs_path(function)),
    }
}

fn known_type(operand: &Operand) -> Option<&'static str> {
    match operand {
        Operand::Path(_) => None,
        Operand::Value(value) => Some(value.type_name()),
        Operand::Size(_) => Some("N"),
    }
}

fn type_named(function: &str, operand: &Operand) -> Resolved<String> {
    let constant = if let Operand::Value(value) = operand { Some(&**value) } else { None };
    let Some(Value::S(name)) = constant else {
        return Err(wrong_type(function, known_type(operand).unwrap_or("{NS,SS,L,BS,N,M,B,BOOL,NULL,S}")));
    };
    if !TYPE_NAMES.contains(&name.as_str()) {
        let valid = TYPE_NAMES.join(",");
        return Err(Refusal(format!("Invalid attribute type name found; type: {name}, valid types: {{{valid}}}")));
    }
    Ok(name.clone())
}

fn refuse_same<'o>(operator: &str, first: &Operand, others: impl IntoIterator<Item = &'o Operand>) -> Resolved<()> {
    let Operand::Path(path) = first else {
        return Ok(());
    };
    if others.into_iter().any(|other| other == first) {
        return Err(Refusal(format!(
            "The first operand must be distinct from the remaining operands for this operator or function; \
             operator: {operator}, first operand: {path}"
        )));
    }
    Ok(())
}

fn refuse_unordered<'o>(operator: &str, operands: impl IntoIterator<Item = &'o Operand>) -> Resolved<()> {
    let known = operands.into_iter().filter_map(known_type).find(|known| !matches!(*known, "S" | "N" | "B"));
    known.map_or(Ok(()), |known| Err(wrong_type(operator, known)))
}

fn refuse_bounds(low: &Operand, high: &Operand) -> Resolved<()> {
    let (Operand::Value(low), Operand::Value(high)) = (low, high) else {
        return Ok(());
    };
    let complaint = match order(low, high) {
        None => "same data type for lower and upper bounds",
        Some(std::cmp::Ordering::Greater) => "upper bound to be greater than or equal to lower bound",
        Some(_) => return Ok(()),
    };
    let (low, high) = (shown(low), shown(high));
    Err(Refusal(format!(
        "The BETWEEN operator requires {complaint}; lower bound operand: {low}, upper bound operand: {high}"
    )))
}

/// A bound as DynamoDB shows it, bytes as a Java buffer.
fn shown(value: &Value) -> String {
    let content = match value {
        Value::S(text) => text.clone(),
        Value::N(number) => number.to_string(),
        Value::B(bytes) => format!("java.nio.HeapByteBuffer[pos=0 lim={0} cap={0}]", bytes.len()),
        // Refused before, for having no order.
        Value::Ss(_) | Value::Ns(_) | Value::Bs(_) | Value::M(_) | Value::L(_) | Value::Bool(_) | Value::Null => {
            String::new()
        }
    };
    format!("AttributeValue: {{{}:{content}}}", value.type_name())
}
