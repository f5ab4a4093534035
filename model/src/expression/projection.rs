//! Projections: the parts of an item that some paths name, in the item's own shape.
//!
//! Of a list the named elements remain, in its order, closed up; a container of which nothing is found is left out.

use std::collections::BTreeMap;

use super::{Path, Step};
use crate::value::{Item, Value};

/// What is kept of one value.
enum Kept<'p> {
    Whole,
    Parts(BTreeMap<&'p Step, Kept<'p>>),
}

/// Paths that clash (which no parsed projection has) are as good as the shorter one.
pub(super) fn project(paths: &[Path], item: &Item) -> Item {
    let mut roots: BTreeMap<&str, Kept<'_>> = BTreeMap::new();
    for path in paths {
        keep(roots.entry(&path.root).or_insert_with(|| Kept::Parts(BTreeMap::new())), &path.steps);
    }
    let parts = roots.iter().filter_map(|(name, kept)| {
        let part = part(item.get(*name)?, kept)?;
        Some(((*name).to_owned(), part))
    });
    parts.collect()
}

fn keep<'p>(kept: &mut Kept<'p>, steps: &'p [Step]) {
    match (kept, steps) {
        (Kept::Whole, _) => {}
        (kept @ Kept::Parts(_), []) => *kept = Kept::Whole,
        (Kept::Parts(parts), [step, rest @ ..]) => {
            keep(parts.entry(step).or_insert_with(|| Kept::Parts(BTreeMap::new())), rest);
        }
    }
}

fn part(value: &Value, kept: &Kept<'_>) -> Option<Value> {
    let parts = match kept {
        Kept::Whole => return Some(value.clone()),
        Kept::Parts(parts) => parts,
    };
    match value {
        Value::M(fields) => {
            let found = parts.iter().filter_map(|(step, kept)| match step {
                Step::Field(name) => Some((name.clone(), part(fields.get(name)?, kept)?)),
                Step::Index(_) => None,
            });
            let found: BTreeMap<String, Value> = found.collect();
            (!found.is_empty()).then_some(Value::M(found))
        }
        Value::L(elements) => {
            let found = parts.iter().filter_map(|(step, kept)| match step {
                Step::Index(index) => part(elements.get(usize::try_from(*index).ok()?)?, kept),
                Step::Field(_) => None,
            });
            let found: Vec<Value> = found.collect();
            (!found.is_empty()).then_some(Value::L(found))
        }
        Value::S(_)
        | Value::N(_)
        | Value::B(_)
        | Value::Ss(_)
        | Value::Ns(_)
        | Value::Bs(_)
        | Value::Bool(_)
        | Value::Null => None,
    }
}
