//! The YAML in `crds/` is what the types say.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{JSONSchemaProps, JSONSchemaPropsOrArray};

#[test]
fn the_committed_definitions_are_those_of_the_types() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds");
    let mut names = BTreeSet::new();
    for (name, text) in operator::crd::files() {
        let committed = fs::read_to_string(folder.join(&name)).unwrap_or_default();
        assert!(committed == text, "crds/{name} is stale: run `make crds`");
        names.insert(name);
    }
    let found: BTreeSet<String> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(found, names, "crds/ holds a file for each definition and no other");
}

/// `kubectl explain` shows nothing else.
#[test]
fn every_field_of_the_definitions_is_explained() {
    let mut silent = Vec::new();
    for definition in operator::crd::all() {
        let name = &definition.spec.names.kind;
        for version in &definition.spec.versions {
            let schema = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref()).unwrap();
            unexplained(name, schema, &mut silent);
        }
    }
    assert!(silent.is_empty(), "these say nothing of themselves: {silent:#?}");
}

fn unexplained(path: &str, schema: &JSONSchemaProps, silent: &mut Vec<String>) {
    for (name, field) in schema.properties.iter().flatten() {
        let path = format!("{path}.{name}");
        if field.description.as_ref().is_none_or(|text| text.trim().is_empty()) {
            silent.push(path.clone());
        }
        unexplained(&path, field, silent);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
        unexplained(&format!("{path}[]"), items, silent);
    }
}
