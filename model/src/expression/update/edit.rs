//! Puts and removals at several places of one item at once. No two of the places overlap, and each one's parent exists.

use std::collections::BTreeMap;

use crate::expression::{Path, Step};
use crate::value::{Item, Value};

/// What becomes of one place.
#[derive(Debug)]
pub(super) enum Change {
    Put(Value),
    Remove,
    Nothing,
}

/// What becomes of one place and of all below it.
#[derive(Default)]
struct Edits<'p> {
    here: Option<Change>,
    below: Vec<(&'p [Step], Change)>,
}

impl<'p> Edits<'p> {
    fn push(&mut self, steps: &'p [Step], change: Change) {
        if steps.is_empty() {
            self.here = Some(change);
        } else {
            self.below.push((steps, change));
        }
    }
}

pub(super) fn edit<'p>(item: &mut Item, changes: impl IntoIterator<Item = (&'p Path, Change)>) {
    let mut roots: BTreeMap<&str, Edits<'p>> = BTreeMap::new();
    for (path, change) in changes {
        roots.entry(&path.root).or_default().push(&path.steps, change);
    }
    edit_fields(item, roots);
}

fn edit_fields(fields: &mut BTreeMap<String, Value>, edits: BTreeMap<&str, Edits<'_>>) {
    for (name, edits) in edits {
        match edits.here {
            Some(Change::Put(value)) => {
                fields.insert(name.to_owned(), value);
            }
            Some(Change::Remove) => {
                fields.remove(name);
            }
            Some(Change::Nothing) => {}
            None => {
                if let Some(value) = fields.get_mut(name) {
                    edit_value(value, edits.below);
                }
            }
        }
    }
}

fn edit_value(value: &mut Value, changes: Vec<(&[Step], Change)>) {
    let mut fields: BTreeMap<&str, Edits<'_>> = BTreeMap::new();
    let mut indexes: BTreeMap<u32, Edits<'_>> = BTreeMap::new();
    for (steps, change) in changes {
        match steps {
            [Step::Field(name), rest @ ..] => fields.entry(name).or_default().push(rest, change),
            [Step::Index(index), rest @ ..] => indexes.entry(*index).or_default().push(rest, change),
            [] => {}
        }
    }
    match value {
        Value::M(map) => edit_fields(map, fields),
        Value::L(list) => edit_elements(list, indexes),
        Value::S(_)
        | Value::N(_)
        | Value::B(_)
        | Value::Ss(_)
        | Value::Ns(_)
        | Value::Bs(_)
        | Value::Bool(_)
        | Value::Null => {}
    }
}

/// What is put past the end is appended, by rising index; then removed elements close up.
fn edit_elements(list: &mut Vec<Value>, edits: BTreeMap<u32, Edits<'_>>) {
    let mut edited: Vec<Option<Value>> = std::mem::take(list).into_iter().map(Some).collect();
    let old_length = edited.len();
    for (index, edits) in edits {
        let place = usize::try_from(index).ok().filter(|place| *place < old_length);
        match (place, edits.here) {
            (Some(place), Some(Change::Put(value))) => edited[place] = Some(value),
            (None, Some(Change::Put(value))) => edited.push(Some(value)),
            (Some(place), Some(Change::Remove)) => edited[place] = None,
            (Some(place), None) => {
                if let Some(value) = &mut edited[place] {
                    edit_value(value, edits.below);
                }
            }
            (None, Some(Change::Remove) | None) | (_, Some(Change::Nothing)) => {}
        }
    }
    *list = edited.into_iter().flatten().collect();
}
