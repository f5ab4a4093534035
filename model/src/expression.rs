//! The expression language: parsed once at the router to an AST that travels, evaluated purely at the leader.
//!
//! Texts are parsed against the request's `ExpressionAttributeNames` and `ExpressionAttributeValues`; the AST has
//! them resolved, so a leader needs nothing but the item.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::codec::DecodeError;
use crate::value::{Item, Value};

/// `ExpressionAttributeNames` and `ExpressionAttributeValues` of one request, and which of them were used by the texts
/// parsed so far.
pub struct Placeholders {
    pub names: BTreeMap<String, String>,
    pub values: BTreeMap<String, Value>,
    used_names: std::collections::BTreeSet<String>,
    used_values: std::collections::BTreeSet<String>,
}

/// Why an expression is refused: DynamoDB's own sentence, without the exception's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ExpressionError(pub String);

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
    _private: (),
}

/// An update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    _private: (),
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

impl Placeholders {
    pub fn new(names: BTreeMap<String, String>, values: BTreeMap<String, Value>) -> Placeholders {
        Placeholders { names, values, used_names: Default::default(), used_values: Default::default() }
    }

    /// Refuses placeholders that no expression used, in DynamoDB's words.
    pub fn check_all_used(&self) -> Result<(), ExpressionError> {
        unimplemented!()
    }
}

impl Condition {
    /// `kind` names the parameter in errors: `ConditionExpression`, `FilterExpression`.
    pub fn parse(
        _kind: &'static str,
        _text: &str,
        _placeholders: &mut Placeholders,
    ) -> Result<Condition, ExpressionError> {
        unimplemented!()
    }

    /// A missing item is an empty one.
    pub fn matches(&self, _item: &Item) -> bool {
        unimplemented!()
    }

    /// Every path that the condition names (a filter must not name key attributes).
    pub fn paths(&self) -> Vec<&Path> {
        unimplemented!()
    }

    pub fn encode(&self) -> Bytes {
        unimplemented!()
    }

    pub fn decode(_bytes: Bytes) -> Result<Condition, DecodeError> {
        unimplemented!()
    }
}

impl Update {
    pub fn parse(_text: &str, _placeholders: &mut Placeholders) -> Result<Update, ExpressionError> {
        unimplemented!()
    }

    /// The item after the update; all operands see the item as it was. Errors are DynamoDB's validation sentences.
    /// Does not check the item's size.
    pub fn apply(&self, _item: &Item) -> Result<Item, ExpressionError> {
        unimplemented!()
    }

    /// The paths that the update sets, removes, adds to or deletes from (`UPDATED_OLD`, `UPDATED_NEW`; and to refuse key
    /// attributes).
    pub fn targets(&self) -> Vec<&Path> {
        unimplemented!()
    }

    pub fn encode(&self) -> Bytes {
        unimplemented!()
    }

    pub fn decode(_bytes: Bytes) -> Result<Update, DecodeError> {
        unimplemented!()
    }
}

impl Projection {
    pub fn parse(_text: &str, _placeholders: &mut Placeholders) -> Result<Projection, ExpressionError> {
        unimplemented!()
    }

    /// The parts of `item` that the paths name, in DynamoDB's shape (list elements close up, in list order).
    pub fn project(&self, _item: &Item) -> Item {
        unimplemented!()
    }

    pub fn encode(&self) -> Bytes {
        unimplemented!()
    }

    pub fn decode(_bytes: Bytes) -> Result<Projection, DecodeError> {
        unimplemented!()
    }
}

impl KeyCondition {
    pub fn parse(_text: &str, _placeholders: &mut Placeholders) -> Result<KeyCondition, ExpressionError> {
        unimplemented!()
    }
}
