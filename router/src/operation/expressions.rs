//! The expression parameters of a request: what may stand together, the placeholders, and what DynamoDB refuses.

use std::collections::BTreeMap;

use model::Item;
use model::expression::{Condition, Placeholders, Projection};

use crate::error::Error;
use crate::json::attribute::{Attributes, Invalid};
use crate::json::field::{Map, Present, Text};

/// A parameter of an operation, by its name, and whether the request has it.
pub type Parameter<'a> = (&'a str, bool);

/// Parameters of the years before expressions: refused, in DynamoDB's words where they stand beside expressions, else as
/// not supported.
pub fn refuse_legacy(legacy: &[(&str, Option<Present>)], expressions: &[Parameter<'_>]) -> Result<(), Error> {
    let given: Vec<&str> = legacy.iter().filter(|(_, present)| present.is_some()).map(|(name, _)| *name).collect();
    let Some(first) = given.first() else {
        return Ok(());
    };
    let beside: Vec<&str> = expressions.iter().filter(|(_, present)| *present).map(|(name, _)| *name).collect();
    if beside.is_empty() {
        return Err(Error::not_supported(&format!("The legacy parameter {first}")));
    }
    Err(Error::validation(format!(
        "Can not use both expression and non-expression parameters in the same request: Non-expression parameters: {{{}}} \
         Expression parameters: {{{}}}",
        given.join(", "),
        beside.join(", ")
    )))
}

/// Names and values for a request's expressions. `expressions` are the parameters that use them; those that take no
/// values (projections) are told by their name.
pub fn placeholders(
    names: Option<Map<Text>>,
    values: Option<Attributes>,
    expressions: &[Parameter<'_>],
) -> Result<Placeholders, Error> {
    if names.is_some() && expressions.iter().all(|(_, present)| !present) {
        return Err(Error::validation("ExpressionAttributeNames can only be specified when using expressions"));
    }
    let takers: Vec<Parameter<'_>> =
        expressions.iter().copied().filter(|(name, _)| *name != "ProjectionExpression").collect();
    if values.is_some() && takers.iter().all(|(_, present)| !present) {
        let texts: Vec<&str> = takers.iter().map(|(name, _)| *name).collect();
        let verb = if texts.len() > 1 { "are" } else { "is" };
        return Err(Error::validation(format!(
            "ExpressionAttributeValues can only be specified when using expressions: {} {verb} null",
            texts.join(" and ")
        )));
    }
    let placeholders = Placeholders::new(checked_names(names)?, checked_values(values)?);
    placeholders.check()?;
    Ok(placeholders)
}

fn checked_names(names: Option<Map<Text>>) -> Result<BTreeMap<String, String>, Error> {
    let Some(Map(names)) = names else {
        return Ok(BTreeMap::new());
    };
    if names.is_empty() {
        return Err(Error::validation("ExpressionAttributeNames must not be empty"));
    }
    Ok(names.into_iter().map(|(name, Text(text))| (name, text)).collect())
}

fn checked_values(values: Option<Attributes>) -> Result<Item, Error> {
    let Some(Attributes(values)) = values else {
        return Ok(Item::new());
    };
    let values = values.map_err(|fault| {
        let (name, Invalid(sentence)) = *fault;
        Error::validation(format!("ExpressionAttributeValues contains invalid value: {sentence} for key {name}"))
    })?;
    if values.is_empty() {
        return Err(Error::validation("ExpressionAttributeValues must not be empty"));
    }
    Ok(values)
}

/// Parses an optional condition or filter.
pub fn condition(
    kind: &'static str,
    text: Option<&Text>,
    placeholders: &mut Placeholders,
) -> Result<Option<Condition>, Error> {
    Ok(text.map(|Text(text)| Condition::parse(kind, text, placeholders)).transpose()?)
}

/// Parses an optional projection.
pub fn projection(text: Option<&Text>, placeholders: &mut Placeholders) -> Result<Option<Projection>, Error> {
    Ok(text.map(|Text(text)| Projection::parse(text, placeholders)).transpose()?)
}
