//! Situations of a cluster's nodes, one YAML file each, and the steps that are planned for them (`form` tells how they are written).
#![expect(clippy::unwrap_used, reason = "a test says by panicking")]

mod form;
mod told;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use form::Situation;

fn situations() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/node_plan/situations");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// What is in one of the two alone, in its place.
fn difference(wanted: &[String], found: &[String]) -> String {
    let only = |sign: char, one: &[String], other: &[String]| {
        let lines = one.iter().filter(|line| !other.contains(line));
        lines.fold(String::new(), |text, line| format!("{text}  {sign} {line}\n"))
    };
    let text = only('-', wanted, found) + &only('+', found, wanted);
    if text.is_empty() { format!("  in another order, or as often: {found:#?}\n") } else { text }
}

#[test]
fn every_situation_has_its_steps() {
    let (mut troubles, files) = (String::new(), situations());
    assert!(files.len() >= 20, "{files:?}");
    for file in files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let situation: Situation = serde_saphyr::from_str(&fs::read_to_string(&file).unwrap())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(situation.about.ends_with('.'), "{name}: what it is about is a sentence");
        let (steps, said) = told::planned(&situation);
        if steps != situation.steps {
            write!(troubles, "{name}: {}\n{}", situation.about, difference(&situation.steps, &steps)).unwrap();
        }
        for part in situation.says.iter().filter(|part| !said.contains(part.as_str())) {
            writeln!(troubles, "{name}: nobody says {part:?}, but:\n{said}").unwrap();
        }
    }
    assert!(troubles.is_empty(), "- is wanted, + is planned\n{troubles}");
}
