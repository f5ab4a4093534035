//! Paths into an item: following them, showing them as DynamoDB does, and telling those that clash.

use std::fmt;

use super::{Path, Refusal, Step};
use crate::value::{Item, Value};

impl Path {
    /// A path of one attribute.
    pub fn top(name: impl Into<String>) -> Path {
        Path { root: name.into(), steps: Vec::new() }
    }

    /// What stands at the path.
    pub fn get<'i>(&self, item: &'i Item) -> Option<&'i Value> {
        follow(item.get(&self.root)?, &self.steps)
    }
}

/// What `steps` lead to from `value`.
pub(super) fn follow<'v>(value: &'v Value, steps: &[Step]) -> Option<&'v Value> {
    steps.iter().try_fold(value, |value, step| match (value, step) {
        (Value::M(fields), Step::Field(name)) => fields.get(name),
        (Value::L(elements), Step::Index(index)) => elements.get(usize::try_from(*index).ok()?),
        (_, Step::Field(_) | Step::Index(_)) => None,
    })
}

/// `[a, b, [1]]`
impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}", self.root)?;
        for step in &self.steps {
            match step {
                Step::Field(name) => write!(f, ", {name}")?,
                Step::Index(index) => write!(f, ", [{index}]")?,
            }
        }
        f.write_str("]")
    }
}

/// How two paths stand in each other's way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Clash {
    /// They are equal, or one leads into the other.
    Overlap,
    /// One takes for a list what the other takes for a map.
    Conflict,
}

fn clash(one: &Path, two: &Path) -> Option<Clash> {
    if one.root != two.root {
        return None;
    }
    for (a, b) in one.steps.iter().zip(&two.steps) {
        match (a, b) {
            (Step::Field(a), Step::Field(b)) if a == b => {}
            (Step::Index(a), Step::Index(b)) if a == b => {}
            (Step::Field(_), Step::Index(_)) | (Step::Index(_), Step::Field(_)) => return Some(Clash::Conflict),
            (Step::Field(_), Step::Field(_)) | (Step::Index(_), Step::Index(_)) => return None,
        }
    }
    Some(Clash::Overlap)
}

/// Refuses paths of which two clash; names them in the order they were written.
pub(super) fn refuse_clashes(paths: &[&Path]) -> Result<(), Refusal> {
    // Sorted, a path stands right before those that lead into it, and fields right before indexes.
    let mut sorted = paths.to_vec();
    sorted.sort();
    if sorted.windows(2).all(|pair| clash(pair[0], pair[1]).is_none()) {
        return Ok(());
    }
    for wanted in [Clash::Overlap, Clash::Conflict] {
        for (later, two) in paths.iter().enumerate() {
            if let Some(one) = paths[..later].iter().find(|one| clash(one, two) == Some(wanted)) {
                let verb = match wanted {
                    Clash::Overlap => "overlap",
                    Clash::Conflict => "conflict",
                };
                return Err(Refusal(format!(
                    "Two document paths {verb} with each other; must remove or rewrite one of these paths; \
                     path one: {one}, path two: {two}"
                )));
            }
        }
    }
    Ok(())
}
