//! The YAML in `crds/` is what the types say.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

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
