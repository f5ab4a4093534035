//! Per-key linearizability, against the order that the log gives.
//!
//! The committed log orders the writes of a key: its versions. Every answer names a version (the one it wrote, or saw). A
//! history is linearizable in that order if and only if no operation names a version older than one that was named before
//! it began; a write must come after all of those. Operations without an answer are "maybe": they may have made a version, or
//! not, but no more than one.

use std::collections::BTreeMap;

use bytes::Bytes;
use model::Value;
use replica::Answer;
use replica::Refusal;
use replica::entry::{Body, LogEntry, SPACE_ITEMS, WriteKind};

use crate::event::Group;
use crate::invariant::{Broken, Verdict};
use crate::queue::Time;

/// What a client tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Put,
    Delete,
    /// Sets who wrote last and adds one to the counter.
    Update,
    Read,
}

/// The condition of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    Nothing,
    Absent,
    Present,
    /// Written last by that operation.
    By(u64),
}

#[derive(Clone, Debug)]
pub struct Operation {
    /// The group that had the key in the beginning.
    pub root: Group,
    /// The one that was asked last.
    pub group: Group,
    pub key: usize,
    pub kind: Kind,
    pub expect: Expect,
    pub return_old: bool,
    pub return_new: bool,
    pub put: Bytes,
    pub invoked: Time,
    pub returned: Time,
    pub outcome: Outcome,
}

/// What the replica told; the oracle hears it even where the answer is lost on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing: maybe.
    Open,
    Written {
        old: Option<Bytes>,
        new: Option<Bytes>,
    },
    ConditionFailed {
        old: Option<Bytes>,
    },
    /// Nothing was applied.
    Refused,
    Invalid(String),
    /// Log positions of two groups may be the same: what was there tells them apart, since no two writes write the same.
    Read {
        position: u64,
        found: Option<Bytes>,
    },
}

impl Outcome {
    pub fn of(answer: &Answer) -> Outcome {
        match answer {
            Answer::Written { old, new, .. } => Outcome::Written { old: old.clone(), new: new.clone() },
            Answer::ConditionFailed { old, .. } => Outcome::ConditionFailed { old: old.clone() },
            Answer::Invalid { message } => Outcome::Invalid(message.clone()),
            Answer::Done => Outcome::Invalid(String::from("a client's request was answered as an administrator's")),
            Answer::Refused(Refusal::Unknown) => Outcome::Open,
            Answer::Refused(
                Refusal::NotLeader { .. }
                | Refusal::StaleEpoch { .. }
                | Refusal::Overloaded
                | Refusal::TableGone
                | Refusal::NotReady
                | Refusal::Impossible { .. }
                | Refusal::ReadFailed,
            ) => Outcome::Refused,
        }
    }
}

/// A key's value between two writes.
#[derive(Clone, Debug)]
struct Version {
    /// None for the absence before the first write.
    operation: Option<u64>,
    index: u64,
    after: Option<Bytes>,
}

/// Everything that clients did, and every version that the log made of it.
#[derive(Default)]
pub struct History {
    operations: BTreeMap<u64, Operation>,
    /// By root and key.
    versions: BTreeMap<(Group, Bytes), Vec<Version>>,
    roots: Vec<Group>,
    made: BTreeMap<u64, usize>,
    keys: Vec<Vec<Bytes>>,
    healed_at: Option<Time>,
    served: BTreeMap<Group, (bool, bool)>,
    /// By group: the last acknowledged write, and the longest time between two of them.
    silence: BTreeMap<Group, (Time, Time)>,
    next: u64,
}

impl History {
    pub fn new(keys: Vec<Vec<Bytes>>, groups: usize) -> History {
        History { keys, roots: (0..groups).collect(), next: 1, ..History::default() }
    }

    /// The child goes on with a part of its parent's keys.
    pub fn divided(&mut self, parent: Group, child: Group) {
        self.roots[child] = self.roots[parent];
    }

    pub fn next_operation(&self) -> u64 {
        self.next
    }

    pub fn begin(&mut self, operation: Operation) -> u64 {
        let id = self.next;
        self.next += 1;
        self.operations.insert(id, operation);
        id
    }

    /// A refused operation is tried again: only the last try counts.
    pub fn again(&mut self, id: u64, now: Time) {
        if let Some(operation) = self.operations.get_mut(&id) {
            operation.outcome = Outcome::Open;
            operation.invoked = now;
        }
    }

    /// It has reached a replica: it cannot have happened before.
    pub fn arrived(&mut self, id: u64, group: Group, now: Time) {
        if let Some(operation) = self.operations.get_mut(&id) {
            operation.invoked = now;
            operation.group = group;
        }
    }

    pub fn answered(&mut self, id: u64, now: Time, outcome: Outcome) {
        let healed = self.healed_at;
        let Some(operation) = self.operations.get_mut(&id) else { return };
        if matches!(outcome, Outcome::Written { .. }) {
            let (last, longest) = self.silence.entry(operation.group).or_insert((now, 0));
            *longest = (now - *last).max(*longest);
            *last = now;
        }
        if healed.is_some_and(|healed| healed <= operation.invoked) {
            let served = self.served.entry(operation.group).or_default();
            match &outcome {
                Outcome::Written { .. } => served.0 = true,
                Outcome::Read { .. } => served.1 = true,
                Outcome::Open | Outcome::ConditionFailed { .. } | Outcome::Refused | Outcome::Invalid(_) => {}
            }
        }
        operation.returned = now;
        operation.outcome = outcome;
    }

    /// The longest time in which no write of some group was acknowledged, after its first one.
    pub fn longest_silence(&self) -> Time {
        self.silence.values().map(|(_, longest)| *longest).max().unwrap_or(0)
    }

    pub fn heal(&mut self, now: Time) {
        self.healed_at = Some(now);
        self.served.clear();
    }

    /// Whether a write and a strong read that began after the healing were answered.
    pub fn served_since_heal(&self, group: Group) -> Option<()> {
        matches!(self.served.get(&group), Some((true, true))).then_some(())
    }

    /// The key that an operation is about.
    pub fn key_of(&self, id: u64) -> Option<usize> {
        self.operations.get(&id).map(|operation| operation.key)
    }

    pub fn len(&self) -> usize {
        self.operations.len()
    }

    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    pub fn outcomes(&self) -> impl Iterator<Item = &Outcome> {
        self.operations.values().map(|operation| &operation.outcome)
    }

    /// The next committed entry.
    pub fn committed(&mut self, group: Group, index: u64, term: u64, entry: &LogEntry) -> Verdict {
        let Body::Writes(writes) = &entry.body else { return Ok(()) };
        if entry.evaluation_term != term {
            return Ok(());
        }
        for write in writes {
            if write.space != SPACE_ITEMS || write.kind == WriteKind::Touch {
                continue;
            }
            let id = write.request_id.as_ref().try_into().map(u64::from_be_bytes);
            let Ok(id) = id else {
                return Err(Broken::new("formats", group, format!("entry {index}: a request id that no client sent")));
            };
            let versions = self.versions.entry((self.roots[group], write.key.clone())).or_default();
            if versions.is_empty() {
                versions.push(Version { operation: None, index: 0, after: None });
            }
            if self.made.insert(id, versions.len()).is_some() {
                return Err(Broken::new(
                    "at most once",
                    group,
                    format!("operation {id} was applied twice, at {index}"),
                ));
            }
            let after = if write.kind == WriteKind::Put { write.after.clone() } else { None };
            versions.push(Version { operation: Some(id), index, after });
        }
        Ok(())
    }

    /// Judges everything at the end.
    pub fn check(&self) -> Verdict {
        let mut by_key: BTreeMap<(Group, usize), Vec<u64>> = BTreeMap::new();
        for (id, operation) in &self.operations {
            by_key.entry((operation.root, operation.key)).or_default().push(*id);
        }
        for ((group, key), ids) in by_key {
            let name = (group, self.keys[group][key].clone());
            let none = vec![Version { operation: None, index: 0, after: None }];
            let versions = self.versions.get(&name).unwrap_or(&none);
            self.check_versions(group, versions)?;
            self.check_order(group, versions, &ids)?;
        }
        Ok(())
    }

    /// Each version is what its operation makes of the one before, and its condition held there.
    fn check_versions(&self, group: Group, versions: &[Version]) -> Verdict {
        for (before, version) in versions.iter().zip(versions.iter().skip(1)) {
            let Some(id) = version.operation else { continue };
            let known = self.operations.get(&id);
            let fail = |what: String| {
                let broken = Broken::new("conditional writes", group, format!("operation {id}: {what}"));
                Err(broken.of(known))
            };
            let Some(operation) = known else {
                return fail(String::from("nobody asked for it"));
            };
            if !holds(operation.expect, before.after.as_ref()) {
                return fail(format!("{:?} did not hold at index {}", operation.expect, version.index));
            }
            let (by, count) = read(version.after.as_ref());
            let (_, count_before) = read(before.after.as_ref());
            let right = match operation.kind {
                Kind::Put => version.after.as_ref() == Some(&operation.put),
                Kind::Delete => version.after.is_none(),
                Kind::Update => by == Some(id) && count == Some(count_before.unwrap_or(0) + 1),
                Kind::Read => false,
            };
            if !right {
                return fail(format!("it made {:?} of {count_before:?} at index {}", (by, count), version.index));
            }
            let Outcome::Written { old, new } = &operation.outcome else {
                if operation.outcome == Outcome::Open {
                    continue;
                }
                return fail(format!("applied at {} and answered {:?}", version.index, operation.outcome));
            };
            let old_right = !operation.return_old || *old == before.after;
            if !old_right || operation.return_new && *new != version.after {
                return fail(format!("its images at {} are not what the log says", version.index));
            }
        }
        Ok(())
    }

    /// No operation names a version older than one that was named before it began.
    fn check_order(&self, group: Group, versions: &[Version], ids: &[u64]) -> Verdict {
        let mut moments: Vec<(Time, bool, u64)> = Vec::new();
        for id in ids {
            let operation = &self.operations[id];
            let returned = operation.outcome != Outcome::Open;
            if returned || self.made.contains_key(id) {
                moments.push((operation.invoked, false, *id));
            }
            if returned {
                moments.push((operation.returned, true, *id));
            }
        }
        moments.sort_unstable();
        let mut named: BTreeMap<u64, usize> = BTreeMap::new();
        let mut newest = 0;
        for (_, ends, id) in moments {
            if ends {
                newest = newest.max(named.get(&id).copied().unwrap_or(0));
            } else if let Some(version) = self.name(group, versions, id, newest)? {
                named.insert(id, version);
            }
        }
        Ok(())
    }

    /// The version that an operation made or saw, not before `newest`.
    fn name(&self, group: Group, versions: &[Version], id: u64, newest: usize) -> Result<Option<usize>, Broken> {
        let operation = &self.operations[&id];
        let fail = |what: String| {
            let broken = Broken::new("linearizability", group, format!("operation {id} {operation:?}: {what}"));
            broken.of(Some(operation))
        };
        if let Some(made) = self.made.get(&id) {
            if *made <= newest {
                return Err(fail(format!("made version {made}, though {newest} was named before it began")));
            }
            return Ok(Some(*made));
        }
        let sees = |test: &dyn Fn(&Version) -> bool| {
            let found = versions.iter().enumerate().skip(newest).find(|(_, version)| test(version));
            found
                .map(|(at, _)| Some(at))
                .ok_or_else(|| fail(format!("saw nothing that was there since version {newest}")))
        };
        match &operation.outcome {
            Outcome::Open | Outcome::Refused => Ok(None),
            Outcome::Invalid(message) => Err(fail(format!("answered as invalid: {message}"))),
            Outcome::Written { .. } if operation.kind == Kind::Delete => sees(&|version| version.after.is_none()),
            Outcome::Written { .. } => Err(fail(String::from("acknowledged and not in the log"))),
            Outcome::ConditionFailed { old } => {
                sees(&|version| version.after == *old && !holds(operation.expect, old.as_ref()))
            }
            Outcome::Read { found: None, .. } => sees(&|version| version.after.is_none()),
            Outcome::Read { position, found } => sees(&|version| version.index == *position && version.after == *found),
        }
    }
}

impl Broken {
    /// It is about this operation.
    fn of(self, operation: Option<&Operation>) -> Broken {
        let Some(operation) = operation else { return self };
        Broken { key: Some(operation.key), at: Some(operation.returned.max(operation.invoked)), ..self }
    }
}

fn holds(expect: Expect, item: Option<&Bytes>) -> bool {
    match expect {
        Expect::Nothing => true,
        Expect::Absent => item.is_none(),
        Expect::Present => item.is_some(),
        Expect::By(id) => read(item).0 == Some(id),
    }
}

/// Who wrote an item last, and its counter.
fn read(item: Option<&Bytes>) -> (Option<u64>, Option<u64>) {
    let Some(item) = item.and_then(|bytes| model::item::decode_attributes(bytes).ok()) else { return (None, None) };
    let number = |name: &str| match item.get(name) {
        Some(Value::N(number)) => number.to_string().parse().ok(),
        Some(_) | None => None,
    };
    (number("by"), number("n"))
}
