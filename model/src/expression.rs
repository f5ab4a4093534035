//! The expression language: parsed once at the router to a tree that travels, evaluated purely at the leader.
//!
//! Texts are parsed against the request's `ExpressionAttributeNames` and `ExpressionAttributeValues`; the tree has
//! them resolved, so a leader needs nothing but the item.
//!
//! ```text
//! text ──lexer──► tokens ──parser──► syntax ──surface, resolve──► tree ──encoding──► bytes
//!                                                                  └─► matches, apply, project
//! ```
//! Errors are DynamoDB's own sentences, and where several things are wrong, the one that DynamoDB finds first. What
//! depends on a table's key schema is the router's, except [`KeyConditions::for_schema`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::codec::DecodeError;
use crate::limits::EXPRESSION_BYTES;
use crate::value::{Item, Value};

mod condition;
mod encoding;
mod function;
mod key_condition;
mod lexer;
mod parser;
mod path;
mod placeholders;
mod projection;
mod reserved;
mod resolve;
mod surface;
mod syntax;
#[cfg(test)]
mod tests;
mod update;

use encoding::{Decoder, Encoder};
use resolve::Resolver;

/// `ExpressionAttributeNames` and `ExpressionAttributeValues` of one request, and which of them were used by the texts
/// parsed so far.
#[derive(Clone, Debug, Default)]
pub struct Placeholders {
    pub names: BTreeMap<String, String>,
    pub values: BTreeMap<String, Value>,
    used_names: BTreeSet<String>,
    used_values: BTreeMap<String, Arc<Value>>,
}

/// Why an expression is refused: DynamoDB's own sentence, without the exception's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ExpressionError(pub String);

/// Why a text is refused: the sentence without the parameter that it stood in.
#[derive(Debug)]
struct Refusal(String);

/// A path into an item, names resolved.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path {
    pub root: String,
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    Field(String),
    Index(u32),
}

/// A condition or filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    root: condition::Node,
}

/// An update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    actions: Vec<update::Action>,
}

/// What a projection keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Projection {
    pub paths: Vec<Path>,
}

/// A key condition, not yet held against a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyCondition {
    pub partition_name: String,
    pub partition: Value,
    pub sort: Option<(String, SortCondition)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SortCondition {
    Equal(Value),
    Less(Value),
    LessOrEqual(Value),
    Greater(Value),
    GreaterOrEqual(Value),
    Between(Value, Value),
    BeginsWith(Value),
}

/// A parsed `KeyConditionExpression` of whatever shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyExpression {
    root: condition::Node,
}

/// One or two attributes of a `KeyConditionExpression` with what is asked of each, in the order they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyConditions {
    conditions: Vec<(String, SortCondition)>,
}

impl Condition {
    /// `kind` names the parameter in errors: `ConditionExpression`, `FilterExpression`.
    pub fn parse(
        kind: &'static str,
        text: &str,
        placeholders: &mut Placeholders,
    ) -> Result<Condition, ExpressionError> {
        let root = parse_with(kind, text, || {
            let syntax = parser::condition(text)?;
            surface::condition(&syntax)?;
            Resolver::new(placeholders).condition(&syntax)
        })?;
        Ok(Condition { root })
    }

    /// A missing item is an empty one.
    pub fn matches(&self, item: &Item) -> bool {
        self.root.holds(item)
    }

    /// Every path that the condition names (a filter must not name key attributes).
    pub fn paths(&self) -> Vec<&Path> {
        let mut paths = Vec::new();
        self.root.each_path(&mut |path| paths.push(path));
        paths
    }

    pub fn encode(&self) -> Bytes {
        encoding::encode(|out| out.node(&self.root))
    }

    pub fn decode(bytes: Bytes) -> Result<Condition, DecodeError> {
        Ok(Condition { root: encoding::decode(bytes, Decoder::node)? })
    }
}

impl Update {
    pub fn parse(text: &str, placeholders: &mut Placeholders) -> Result<Update, ExpressionError> {
        let actions = parse_with("UpdateExpression", text, || {
            let syntax = parser::update(text)?;
            surface::update(&syntax)?;
            update::resolve(&syntax, &mut Resolver::new(placeholders))
        })?;
        Ok(Update { actions })
    }

    /// The item after the update; all operands see the item as it was. Errors are DynamoDB's validation sentences.
    /// Does not check the item's size.
    pub fn apply(&self, item: &Item) -> Result<Item, ExpressionError> {
        update::apply(&self.actions, item)
    }

    /// The paths that the update sets, removes, adds to or deletes from (`UPDATED_OLD`, `UPDATED_NEW`; and to refuse key
    /// attributes).
    pub fn targets(&self) -> Vec<&Path> {
        self.actions.iter().map(update::Action::target).collect()
    }

    pub fn encode(&self) -> Bytes {
        encoding::encode(|out| out.all(&self.actions, Encoder::action))
    }

    pub fn decode(bytes: Bytes) -> Result<Update, DecodeError> {
        let actions = encoding::decode(bytes, |input| input.all(Decoder::action))?;
        Ok(Update { actions })
    }
}

impl Projection {
    pub fn parse(text: &str, placeholders: &mut Placeholders) -> Result<Projection, ExpressionError> {
        let paths = parse_with("ProjectionExpression", text, || {
            let syntax = parser::projection(text)?;
            surface::projection(&syntax)?;
            let mut resolver = Resolver::new(placeholders);
            let paths = syntax.iter().map(|path| resolver.path(path)).collect::<Result<Vec<Path>, Refusal>>()?;
            path::refuse_clashes(&paths.iter().collect::<Vec<_>>())?;
            Ok(paths)
        })?;
        Ok(Projection { paths })
    }

    /// The parts of `item` that the paths name, in DynamoDB's shape (list elements close up, in list order).
    pub fn project(&self, item: &Item) -> Item {
        projection::project(&self.paths, item)
    }

    pub fn encode(&self) -> Bytes {
        encoding::encode(|out| out.all(&self.paths, Encoder::path))
    }

    pub fn decode(bytes: Bytes) -> Result<Projection, DecodeError> {
        let paths = encoding::decode(bytes, |input| input.all(Decoder::path))?;
        Ok(Projection { paths })
    }
}

impl KeyCondition {
    /// All that can be said without a schema; an attribute that must equal a value is taken for the partition key. A
    /// query rather takes the steps of [`KeyExpression`], which have DynamoDB's order of errors.
    pub fn parse(text: &str, placeholders: &mut Placeholders) -> Result<KeyCondition, ExpressionError> {
        KeyExpression::parse(text, placeholders)?.conditions()?.guess()
    }
}

/// Runs `parse` on a text of an acceptable length; `kind` names the parameter.
fn parse_with<T>(kind: &str, text: &str, parse: impl FnOnce() -> Result<T, Refusal>) -> Result<T, ExpressionError> {
    let size = text.len();
    let outcome = if text.trim().is_empty() {
        Err(Refusal("The expression can not be empty;".to_owned()))
    } else if size > EXPRESSION_BYTES {
        let text = format!("Expression size has exceeded the maximum allowed size; expression size: {size}");
        Err(Refusal(text))
    } else {
        parse()
    };
    outcome.map_err(|Refusal(text)| ExpressionError(format!("Invalid {kind}: {text}")))
}
