//! The rules of the house that no compiler checks: a rule is a test, or it decays.
#![expect(clippy::unwrap_used, reason = "a test says by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Longest file, in lines, without its tests.
const LONGEST_FILE: usize = 500;

/// What stands at the top of the house.
const TOP: [&str; 23] = [
    ".ci",
    ".dockerignore",
    ".gitignore",
    "ARCHITECTURE.md",
    "Cargo.lock",
    "Cargo.toml",
    "Dockerfile",
    "LICENSE",
    "Makefile",
    "README.md",
    "charts",
    "clippy.toml",
    "control",
    "crds",
    "deny.toml",
    "e2e",
    "model",
    "node",
    "operator",
    "router",
    "rustfmt.toml",
    "trivet",
    "wire",
];

/// Which of our crates each of our crates may name (ARCHITECTURE.md, code map).
const ARROWS: [(&str, &[&str]); 14] = [
    ("model", &[]),
    ("placement", &["model"]),
    ("wire", &["model"]),
    ("replica", &["model"]),
    ("sim", &["model", "placement", "replica"]),
    ("node", &["model", "placement", "replica", "wire"]),
    ("memds", &["model", "wire"]),
    ("router", &["memds", "model", "wire"]),
    ("control", &["model", "placement", "wire"]),
    ("operator", &["control", "model", "wire"]),
    ("trivet", &["control", "memds", "model", "node", "operator", "placement", "router", "wire"]),
    ("e2e", &["control", "memds", "model", "node", "router", "wire"]),
    ("fuzz", &[]),
    ("situations", &[]),
];

/// Libraries that belong to one room each.
const OWNED: [(&str, &[&str]); 9] = [
    ("rocksdb", &["node"]),
    ("raft-engine", &["node"]),
    ("raft", &["replica"]),
    ("axum", &["router"]),
    ("kube", &["operator"]),
    ("k8s-openapi", &["operator"]),
    ("sha2", &["router"]),
    ("rustls", &["wire"]),
    ("tokio-rustls", &["wire"]),
];

/// The pure rooms: no async, no I/O, no clock, no logging.
const PURE: [&str; 3] = ["model", "placement", "replica"];
const NOT_PURE: [&str; 6] = ["tokio", "tonic", "tracing", "prometheus", "rand", "futures"];

fn house() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("e2e stands in the house").to_owned()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            files.extend(rust_files(&path));
        } else if name.ends_with(".rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Crate name → names under `[dependencies]`.
fn crates() -> BTreeMap<String, BTreeSet<String>> {
    let mut found = BTreeMap::new();
    let manifest = fs::read_to_string(house().join("Cargo.toml")).unwrap();
    let members = manifest.split("members = [").nth(1).unwrap().split(']').next().unwrap();
    for member in members.split('"').skip(1).step_by(2) {
        let text = fs::read_to_string(house().join(member).join("Cargo.toml")).unwrap();
        let name = text.lines().find_map(|line| line.strip_prefix("name = ")).unwrap().trim_matches('"').to_owned();
        let section = text.split("[dependencies]").nth(1).unwrap_or("");
        let lines = section.lines().take_while(|line| !line.starts_with('['));
        let names = lines.filter_map(|line| line.split(['.', ' ', '=']).next()).filter(|name| !name.is_empty());
        found.insert(name, names.map(str::to_owned).collect());
    }
    found
}

#[test]
fn every_file_says_what_lives_in_it() {
    let opens = |path: &PathBuf| fs::read_to_string(path).unwrap().starts_with("//! ");
    let silent: Vec<PathBuf> = rust_files(&house()).into_iter().filter(|path| !opens(path)).collect();
    assert!(silent.is_empty(), "files that do not open with `//!`: {silent:#?}");
}

#[test]
fn no_file_is_too_long_to_read() {
    let mut long = Vec::new();
    for path in rust_files(&house()) {
        let text = fs::read_to_string(&path).unwrap();
        let is_test = path.components().any(|part| part.as_os_str() == "tests") || path.ends_with("tests.rs");
        let lines = text.lines().take_while(|line| !line.ends_with("mod tests {")).count();
        if !is_test && lines > LONGEST_FILE {
            long.push((path, lines));
        }
    }
    assert!(long.is_empty(), "files over {LONGEST_FILE} lines without their tests: {long:#?}");
}

#[test]
fn every_file_is_reachable_from_a_crate_root() {
    let reachable = |path: &PathBuf| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let parent = path.parent().unwrap();
        let is_root = ["lib", "main", "build"].contains(&name.as_str());
        if is_root || ["tests", "bin", "benches"].iter().any(|folder| parent.ends_with(folder)) {
            return true;
        }
        let above = parent.with_extension("rs");
        let siblings: Vec<PathBuf> = match fs::read_dir(parent) {
            Ok(entries) => entries.map(|entry| entry.unwrap().path()).filter(|other| other != path).collect(),
            Err(_) => Vec::new(),
        };
        let line = format!("mod {name};");
        std::iter::once(above)
            .chain(siblings.into_iter().filter(|other| other.extension().is_some_and(|ending| ending == "rs")))
            .filter_map(|owner| fs::read_to_string(owner).ok())
            .any(|text| text.lines().any(|found| found.trim_end().ends_with(&line)))
    };
    let lost: Vec<PathBuf> = rust_files(&house()).into_iter().filter(|path| !reachable(path)).collect();
    assert!(lost.is_empty(), "files no crate root reaches: {lost:#?}");
}

#[test]
fn nothing_is_left_undone_in_a_comment() {
    // In two parts, so that this file does not find itself.
    let words = [["TO", "DO"].concat(), ["FIX", "ME"].concat()];
    let unfinished = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        words.iter().any(|word| text.contains(word.as_str()))
    };
    let left: Vec<PathBuf> = rust_files(&house()).into_iter().filter(unfinished).collect();
    assert!(left.is_empty(), "{left:#?}");
}

#[test]
fn things_are_called_by_their_words() {
    // The glossary has one word for each; `region` is AWS's and stays where AWS's is meant.
    let banned = ["shard", "peer", "tablet"].map(|word| {
        let capital = word[..1].to_uppercase() + &word[1..];
        (word, [format!("{word}s"), format!("{word}_"), format!("{capital}s"), format!(" {word} ")])
    });
    let mut found = Vec::new();
    for path in rust_files(&house()).into_iter().filter(|path| !path.ends_with("tidy.rs")) {
        let text = fs::read_to_string(&path).unwrap();
        // Reserved words of expressions are DynamoDB's.
        if path.ends_with("reserved.rs") {
            continue;
        }
        // What a library calls its own cannot be called by another name.
        let text = text.replace("peer_certificates()", "");
        for (word, forms) in &banned {
            if forms.iter().any(|form| text.contains(form.as_str())) {
                found.push((path.clone(), *word));
            }
        }
    }
    assert!(found.is_empty(), "words the glossary does not have: {found:#?}");
}

#[test]
fn arrows_between_crates_are_those_of_the_drawing() {
    let crates = crates();
    let ours: BTreeSet<&str> = crates.keys().map(String::as_str).collect();
    assert_eq!(ours, ARROWS.iter().map(|(name, _)| *name).collect());
    for (name, allowed) in ARROWS {
        for other in crates[name].iter().map(String::as_str).filter(|other| ours.contains(other)) {
            assert!(allowed.contains(&other), "{name} must not depend on {other}");
        }
    }
}

#[test]
fn each_outside_thing_has_one_owner() {
    let crates = crates();
    for (library, owners) in OWNED {
        for (name, dependencies) in &crates {
            let may = owners.contains(&name.as_str());
            assert!(may || !dependencies.contains(library), "{name} must not name {library}");
        }
    }
    for name in PURE {
        for library in NOT_PURE {
            assert!(!crates[name].contains(library), "{name} is pure and must not name {library}");
        }
    }
}

#[test]
fn no_known_mistake_can_be_chosen_outside_the_simulator() {
    let manifest = fs::read_to_string(house().join("Cargo.toml")).unwrap();
    let members = manifest.split("members = [").nth(1).unwrap().split(']').next().unwrap();
    let folders = members.split('"').skip(1).step_by(2).chain(["."]);
    let asks = |folder: &&str| fs::read_to_string(house().join(folder).join("Cargo.toml")).unwrap().contains("mutants");
    assert_eq!(folders.filter(asks).collect::<Vec<_>>(), ["node/replica", "node/sim"]);
    for folder in ["node/replica", "node/sim"] {
        let text = fs::read_to_string(house().join(folder).join("Cargo.toml")).unwrap();
        assert!(!text.lines().any(|line| line.starts_with("default = ")), "{folder} has default features");
    }
}

#[test]
fn the_top_of_the_house_is_as_agreed() {
    let ignored = [".git", "profile", "target", "trivet-data"];
    let names = fs::read_dir(house()).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    let found: BTreeSet<String> = names.filter(|name| !ignored.contains(&name.as_str())).collect();
    assert_eq!(found, TOP.iter().map(|name| (*name).to_owned()).collect());
}
