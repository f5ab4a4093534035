//! Which definitions are newer: each carries a number, which rises whenever what they take changes.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt as _;

/// On each definition.
pub const REVISION: &str = "trivet.dev/revision";

/// A hash of what all definitions of a revision take, the first one first: where a test finds another, it is to be added here.
const REVISIONS: &[u64] = &[0x9ff9_17ac_78fd_e5ca, 0xe04e_1ff8_be8b_7f71];

/// Of this operator.
pub fn ours() -> usize {
    REVISIONS.len()
}

/// 0 for what was there before there were any, and for what somebody has spoiled.
pub fn of(definition: &CustomResourceDefinition) -> usize {
    definition.annotations().get(REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

pub fn marked(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    definition.annotations_mut().insert(REVISION.to_owned(), ours().to_string());
    definition
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};
    use xxhash_rust::xxh3::xxh3_64;

    use super::*;

    /// What is said for people makes no difference to objects.
    fn without_words(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|key, value| key != "description" || !value.is_string());
                fields.values_mut().for_each(without_words);
                // In one order, whichever kind of map it is.
                let sorted: BTreeMap<String, Value> = std::mem::take(fields).into_iter().collect();
                fields.extend(sorted);
            }
            Value::Array(members) => members.iter_mut().for_each(without_words),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    #[test]
    fn definitions_that_take_something_else_are_a_new_revision() {
        let mut specs: Vec<Value> = crate::crd::all().iter().map(|definition| json!(definition.spec)).collect();
        specs.iter_mut().for_each(without_words);
        let hash = xxh3_64(json!(specs).to_string().as_bytes());
        let newest = REVISIONS.last().copied();
        assert!(newest == Some(hash), "the definitions have changed: add {hash:#018x} to REVISIONS, then `make crds`");
    }

    #[test]
    fn a_definition_tells_its_revision_and_an_older_one_tells_none() {
        let [definition, ..] = &crate::crd::all()[..] else { panic!("there are definitions") };
        assert_eq!(of(definition), ours());
        let mut older = definition.clone();
        older.annotations_mut().clear();
        assert_eq!(of(&older), 0);
    }
}
