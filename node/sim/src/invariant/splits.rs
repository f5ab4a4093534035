//! Splits: the log says what each group's range is; two halves are the whole, a child is born once and as the log says, and
//! no entry writes beyond its group's range.

use std::collections::BTreeMap;

use bytes::Bytes;
use model::{KeyRange, PartitionDescriptor};
use replica::entry::{Body, LogEntry};

use crate::birth;
use crate::event::Group;
use crate::invariant::{Broken, Verdict};

/// Every group's descriptor as of its last committed entry.
pub struct Ranges {
    now: Vec<Option<PartitionDescriptor>>,
    children: BTreeMap<Group, Child>,
}

struct Child {
    parent: Group,
    descriptor: PartitionDescriptor,
}

/// A split that was committed and takes effect.
pub struct Cut {
    pub child: Group,
    pub at: Bytes,
}

impl Ranges {
    pub fn new(groups: usize) -> Ranges {
        Ranges { now: vec![None; groups], children: BTreeMap::new() }
    }

    pub fn begin(&mut self, group: Group, descriptor: PartitionDescriptor) {
        self.now[group] = Some(descriptor);
    }

    /// A group that a committed split has made, and that is not among these.
    pub fn unborn(&self, born: &[Group]) -> Option<Group> {
        self.children.keys().find(|child| !born.contains(child)).copied()
    }

    /// The next committed entry of the group.
    pub fn committed(&mut self, group: Group, index: u64, term: u64, entry: &LogEntry) -> Result<Option<Cut>, Broken> {
        if entry.evaluation_term != term {
            return Ok(None);
        }
        let Some(now) = &mut self.now[group] else {
            return Err(Broken::new("splits", group, format!("entry {index} of a group that no split has made")));
        };
        match &entry.body {
            Body::Writes(writes) => {
                let beyond = writes.iter().find(|write| !now.range.contains(&write.key));
                let beyond = beyond.map(|write| format!("entry {index} writes {:?} beyond {:?}", write.key, now.range));
                beyond.map_or(Ok(None), |what| Err(Broken::new("splits", group, what)))
            }
            Body::Membership(descriptor) => {
                let descriptor = decoded(group, descriptor)?;
                if descriptor.epoch == now.epoch + 1 {
                    *now = descriptor;
                }
                Ok(None)
            }
            Body::Split { left, right } => {
                let (left, right) = (decoded(group, left)?, decoded(group, right)?);
                self.split(group, index, left, right)
            }
            Body::Table(_) => Ok(None),
        }
    }

    fn split(
        &mut self,
        group: Group,
        index: u64,
        left: PartitionDescriptor,
        right: PartitionDescriptor,
    ) -> Result<Option<Cut>, Broken> {
        let Some(now) = self.now[group].take() else { return Ok(None) };
        if left.epoch != now.epoch + 1 {
            self.now[group] = Some(now);
            return Ok(None);
        }
        let (child, at) = (birth::group(right.id), right.range.start.clone());
        let whole = KeyRange { start: left.range.start.clone(), end: right.range.end.clone() };
        if left.range.end.as_ref() != Some(&at) || whole != now.range {
            let what = format!("entry {index} cuts {:?} into {:?} and {:?}", now.range, left.range, right.range);
            return Err(Broken::new("splits", group, what));
        }
        if self.now[child].is_some() {
            return Err(Broken::new("splits", child, format!("it is born a second time, by group {group} at {index}")));
        }
        self.now[group] = Some(left);
        self.now[child] = Some(right.clone());
        self.children.insert(child, Child { parent: group, descriptor: right });
        Ok(Some(Cut { child, at }))
    }

    /// A replica of `parent` has handed such a child to its engine.
    pub fn born(&self, parent: Group, descriptor: &PartitionDescriptor) -> Verdict {
        let child = birth::group(descriptor.id);
        let known = self.children.get(&child);
        if known.is_some_and(|known| known.parent == parent && known.descriptor == *descriptor) {
            return Ok(());
        }
        Err(Broken::new("splits", child, format!("born of group {parent} as {descriptor:?}, which no log says")))
    }
}

fn decoded(group: Group, descriptor: &Bytes) -> Result<PartitionDescriptor, Broken> {
    let decoded = PartitionDescriptor::decode(descriptor.clone());
    decoded.map_err(|error| Broken::new("formats", group, format!("a descriptor: {error}")))
}
