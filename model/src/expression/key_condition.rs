//! Key conditions: the shapes of condition that a query takes, and which key attribute each part is about.
//!
//! DynamoDB checks in three steps, between which it looks at other parameters: the syntax (with the request's other
//! expressions), the shape, and the table's key schema.

use super::condition::{Comparator, Node, Operand};
use super::resolve::Resolver;
use super::{
    ExpressionError, KeyCondition, KeyConditions, KeyExpression, Path, Placeholders, SortCondition, parse_with,
};
use super::{parser, surface};
use crate::value::Value;

const KIND: &str = "KeyConditionExpression";
const UNSUPPORTED: &str = "Query key condition not supported";

impl KeyExpression {
    /// The first step: everything that is wrong with any condition.
    pub fn parse(text: &str, placeholders: &mut Placeholders) -> Result<KeyExpression, ExpressionError> {
        let root = parse_with(KIND, text, || {
            let syntax = parser::condition(text)?;
            surface::condition(&syntax)?;
            Resolver::new(placeholders).condition(&syntax)
        })?;
        Ok(KeyExpression { root })
    }

    /// The second step: conditions on one or two attributes, joined by `AND`.
    pub fn conditions(&self) -> Result<KeyConditions, ExpressionError> {
        let mut conditions = Vec::new();
        collect(&self.root, &mut conditions)?;
        if conditions.len() > 2 {
            return Err(error("Conditions can be of length 1 or 2 only"));
        }
        Ok(KeyConditions { conditions })
    }
}

impl KeyConditions {
    /// The third step: the partition key must equal a value, nothing but the sort key may be conditioned beside it. Types
    /// are not looked at.
    pub fn for_schema(self, partition: &str, sort: Option<&str>) -> Result<KeyCondition, ExpressionError> {
        let missed = |name: &str| error(&format!("Query condition missed key schema element: {name}"));
        let mut conditions = self.conditions;
        let Some(index) = conditions.iter().position(|(name, _)| name == partition) else {
            return Err(missed(partition));
        };
        let (partition_name, condition) = conditions.remove(index);
        let other = conditions.pop();
        if let Some((name, _)) = &other
            && Some(name.as_str()) != sort
        {
            return Err(sort.map_or_else(|| error(UNSUPPORTED), missed));
        }
        match condition {
            SortCondition::Equal(value) => Ok(KeyCondition { partition_name, partition: value, sort: other }),
            SortCondition::Less(_)
            | SortCondition::LessOrEqual(_)
            | SortCondition::Greater(_)
            | SortCondition::GreaterOrEqual(_)
            | SortCondition::Between(_, _)
            | SortCondition::BeginsWith(_) => Err(error(UNSUPPORTED)),
        }
    }

    /// Without a schema: the first attribute that must equal a value is taken for the partition key.
    pub(super) fn guess(self) -> Result<KeyCondition, ExpressionError> {
        let equal = self.conditions.iter().find(|(_, condition)| matches!(condition, SortCondition::Equal(_)));
        let partition = equal.map(|(name, _)| name.clone()).ok_or_else(|| error(UNSUPPORTED))?;
        let sort = self.conditions.iter().find(|(name, _)| *name != partition).map(|(name, _)| name.clone());
        self.for_schema(&partition, sort.as_deref())
    }
}

fn error(text: &str) -> ExpressionError {
    ExpressionError(text.to_owned())
}

fn collect(node: &Node, conditions: &mut Vec<(String, SortCondition)>) -> Result<(), ExpressionError> {
    let invalid = |operator: &str| Err(error(&format!("Invalid operator used in KeyConditionExpression: {operator}")));
    let (operands, operator): (Vec<&Operand>, Operator) = match node {
        Node::And(all) => return all.iter().try_for_each(|node| collect(node, conditions)),
        Node::Or(_) => return invalid("OR"),
        Node::Not(_) => return invalid("NOT"),
        Node::In { .. } => return invalid("IN"),
        Node::Exists(_) => return invalid("attribute_exists"),
        Node::NotExists(_) => return invalid("attribute_not_exists"),
        Node::HasType(_, _) => return invalid("attribute_type"),
        Node::Contains(_, _) => return invalid("contains"),
        Node::Compare { comparator: Comparator::NotEqual, .. } => return invalid("<>"),
        Node::Compare { comparator, left, right } => (vec![left, right], Operator::Compare(*comparator)),
        Node::Between { value, low, high } => {
            refuse_without_path_first("BETWEEN", value)?;
            (vec![value, low, high], Operator::Between)
        }
        Node::BeginsWith(whole, start) => {
            refuse_without_path_first("begins_with", whole)?;
            (vec![whole, start], Operator::BeginsWith)
        }
    };
    let (name, values, is_mirrored) = attribute_and_values(&operands)?;
    if conditions.iter().any(|(other, _)| *other == name) {
        return Err(error("KeyConditionExpressions must only contain one condition per key"));
    }
    let condition = sort_condition(operator, values, is_mirrored).ok_or_else(|| error(UNSUPPORTED))?;
    conditions.push((name, condition));
    Ok(())
}

enum Operator {
    Compare(Comparator),
    Between,
    BeginsWith,
}

fn refuse_without_path_first(operator: &str, first: &Operand) -> Result<(), ExpressionError> {
    match first {
        Operand::Path(_) => Ok(()),
        Operand::Value(_) | Operand::Size(_) => Err(error(&format!(
            "Invalid condition in KeyConditionExpression: {operator} operator must have the key attribute as its first operand"
        ))),
    }
}

/// The one attribute, the values, and whether the attribute stood on the right.
fn attribute_and_values(operands: &[&Operand]) -> Result<(String, Vec<Value>, bool), ExpressionError> {
    let mut attribute: Option<(&Path, usize)> = None;
    let mut values = Vec::new();
    for (index, operand) in operands.iter().enumerate() {
        match operand {
            Operand::Path(_) if attribute.is_some() => {
                let text =
                    "Invalid condition in KeyConditionExpression: Multiple attribute names used in one condition";
                return Err(error(text));
            }
            Operand::Path(path) if !path.steps.is_empty() => {
                return Err(error("KeyConditionExpressions cannot have conditions on nested attributes"));
            }
            Operand::Path(path) => attribute = Some((path, index)),
            Operand::Value(value) => values.push(Value::clone(value)),
            Operand::Size(_) => return Err(error("KeyConditionExpressions cannot contain nested operations")),
        }
    }
    match attribute {
        Some((path, index)) => Ok((path.root.clone(), values, index > 0)),
        None => Err(error("Invalid condition in KeyConditionExpression: No key attribute specified")),
    }
}

fn sort_condition(operator: Operator, values: Vec<Value>, is_mirrored: bool) -> Option<SortCondition> {
    let mut values = values.into_iter();
    let first = values.next()?;
    Some(match operator {
        Operator::Between => SortCondition::Between(first, values.next()?),
        Operator::BeginsWith => SortCondition::BeginsWith(first),
        Operator::Compare(comparator) => match (comparator, is_mirrored) {
            (Comparator::Equal, _) => SortCondition::Equal(first),
            (Comparator::Less, false) | (Comparator::Greater, true) => SortCondition::Less(first),
            (Comparator::LessOrEqual, false) | (Comparator::GreaterOrEqual, true) => SortCondition::LessOrEqual(first),
            (Comparator::Greater, false) | (Comparator::Less, true) => SortCondition::Greater(first),
            (Comparator::GreaterOrEqual, false) | (Comparator::LessOrEqual, true) => {
                SortCondition::GreaterOrEqual(first)
            }
            (Comparator::NotEqual, _) => return None,
        },
    })
}
