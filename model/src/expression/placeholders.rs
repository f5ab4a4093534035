//! `ExpressionAttributeNames` and `ExpressionAttributeValues`: what they must look like, and that each of them is used.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{ExpressionError, Placeholders};
use crate::limits::{PLACEHOLDER_BYTES, SUBSTITUTION_BYTES};
use crate::value::Value;

impl Placeholders {
    pub fn new(names: BTreeMap<String, String>, values: BTreeMap<String, Value>) -> Placeholders {
        Placeholders { names, values, used_names: BTreeSet::new(), used_values: BTreeMap::new() }
    }

    /// Refuses keys that no expression could use, empty names, and too much of it all, in DynamoDB's words. DynamoDB does
    /// this before it reads any expression. That neither map is present and empty is for the caller to see.
    pub fn check(&self) -> Result<(), ExpressionError> {
        for (key, name) in &self.names {
            check_key("ExpressionAttributeNames", '#', key)?;
            if name.is_empty() {
                let text =
                    format!("ExpressionAttributeNames contains invalid value: Empty attribute name for key {key}");
                return Err(ExpressionError(text));
            }
        }
        self.values.keys().try_for_each(|key| check_key("ExpressionAttributeValues", ':', key))?;
        let names = self.names.iter().map(|(key, name)| key.len() + name.len());
        let values = self.values.iter().map(|(key, value)| key.len() + value.size());
        if names.chain(values).sum::<usize>() > SUBSTITUTION_BYTES {
            let text = "ExpressionAttributeValues exceeds max size";
            return Err(ExpressionError(text.to_owned()));
        }
        Ok(())
    }

    /// Refuses placeholders that no expression used, in DynamoDB's words.
    pub fn check_all_used(&self) -> Result<(), ExpressionError> {
        check_used("ExpressionAttributeNames", self.names.keys(), |key| self.used_names.contains(key))?;
        check_used("ExpressionAttributeValues", self.values.keys(), |key| self.used_values.contains_key(key))
    }

    /// The name behind `#placeholder`, which is used now.
    pub(super) fn name(&mut self, placeholder: &str) -> Option<String> {
        let name = self.names.get(placeholder)?.clone();
        self.used_names.insert(placeholder.to_owned());
        Some(name)
    }

    /// The value behind `:placeholder`, which is used now. However often it is used, it is held once.
    pub(super) fn value(&mut self, placeholder: &str) -> Option<Arc<Value>> {
        if let Some(value) = self.used_values.get(placeholder) {
            return Some(Arc::clone(value));
        }
        let value = Arc::new(self.values.get(placeholder)?.clone());
        self.used_values.insert(placeholder.to_owned(), Arc::clone(&value));
        Some(value)
    }
}

fn check_key(parameter: &str, sign: char, key: &str) -> Result<(), ExpressionError> {
    let refuse = |complaint: String| Err(ExpressionError(format!("{parameter} contains invalid key: {complaint}")));
    if key.len() > PLACEHOLDER_BYTES {
        let size = key.len();
        return refuse(format!("The expression attribute map contains a key that is too long; size of key: {size}"));
    }
    let is_word =
        |rest: &str| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !key.strip_prefix(sign).is_some_and(is_word) {
        return refuse(format!("Syntax error; key: \"{key}\""));
    }
    Ok(())
}

fn check_used<'k>(
    parameter: &str,
    keys: impl Iterator<Item = &'k String>,
    is_used: impl Fn(&str) -> bool,
) -> Result<(), ExpressionError> {
    let unused: Vec<&str> = keys.map(String::as_str).filter(|key| !is_used(key)).collect();
    if unused.is_empty() {
        return Ok(());
    }
    let unused = unused.join(", ");
    Err(ExpressionError(format!("Value provided in {parameter} unused in expressions: keys: {{{unused}}}")))
}
