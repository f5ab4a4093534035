//! The model of a node's engine: RocksDB without its WAL. What a crash leaves is a prefix of what was written, at least up
//! to the last flush; an ingest flushes first and is durable itself.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use bytes::Bytes;
use model::ReplicaId;
use replica::entry::WriteKind;
use replica::{AppliedMark, AppliedWrite, ApplyBatch, GroupState};

use crate::rng::{bytes_hash, mix, roll};

/// One item as it rests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub version_timestamp_us: u64,
    pub log_position: u64,
    pub attributes: Bytes,
}

/// What the engine holds of one group.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    pub items: Rc<BTreeMap<(u8, Bytes), Record>>,
    /// Of all items, whatever their order of arrival: equal contents have equal hashes.
    pub hash: u64,
    pub mark: Option<AppliedMark>,
    pub state: Option<Rc<GroupState>>,
}

impl Contents {
    /// Writes one item and keeps the hash.
    pub fn write(&mut self, write: &AppliedWrite) {
        let items = Rc::make_mut(&mut self.items);
        let key = (write.space, write.key.clone());
        let old = items.get(&key).map(|record| record_hash(&key, record));
        match write.kind {
            WriteKind::Put => {
                let record = Record {
                    version_timestamp_us: write.version_timestamp_us,
                    log_position: write.index,
                    attributes: write.attributes.clone(),
                };
                self.hash ^= old.unwrap_or(0) ^ record_hash(&key, &record);
                items.insert(key, record);
            }
            WriteKind::Delete => {
                self.hash ^= old.unwrap_or(0);
                items.remove(&key);
            }
            WriteKind::Touch => {
                if let Some(record) = items.get_mut(&key) {
                    record.version_timestamp_us = record.version_timestamp_us.max(write.version_timestamp_us);
                    self.hash ^= old.unwrap_or(0) ^ record_hash(&key, record);
                }
            }
        }
    }
}

impl Contents {
    fn apply(&mut self, applied: &Applied) {
        for write in &applied.batch.writes {
            self.write(write);
        }
        self.mark = Some(applied.mark);
        if let Some(state) = &applied.state {
            self.state = Some(Rc::clone(state));
        }
    }

    /// Takes the items from that key on, in every space.
    pub fn cut(&mut self, start: &Bytes) -> Contents {
        let items = Rc::make_mut(&mut self.items);
        let right: BTreeMap<_, _> = items.extract_if(.., |(_, key), _| *key >= *start).collect();
        let hash = right.iter().fold(0, |hash, (key, record)| hash ^ record_hash(key, record));
        self.hash ^= hash;
        Contents { items: Rc::new(right), hash, mark: None, state: None }
    }
}

fn record_hash(key: &(u8, Bytes), record: &Record) -> u64 {
    let mut hash = roll(u64::from(key.0), bytes_hash(&key.1));
    hash = roll(hash, record.version_timestamp_us);
    hash = roll(hash, record.log_position);
    mix(roll(hash, bytes_hash(&record.attributes)))
}

#[derive(Clone, Debug)]
enum Operation {
    Apply(Rc<Applied>),
    /// The same, and what splits among the entries cut off, in their order.
    Divide(Rc<Applied>, Vec<Newborn>),
    Clear,
}

/// One apply batch, its records decoded once.
#[derive(Debug)]
pub struct Applied {
    pub batch: ApplyBatch,
    pub mark: AppliedMark,
    pub state: Option<Rc<GroupState>>,
}

/// The right half of a split.
#[derive(Clone, Debug)]
pub struct Newborn {
    pub group: usize,
    /// Where it begins.
    pub start: Bytes,
    /// What the new group begins with; none where the node no longer accepts its replica, and what is cut off goes.
    pub records: Option<(Rc<GroupState>, AppliedMark)>,
}

/// The engine of one node.
#[derive(Clone, Debug, Default)]
pub struct Engine {
    pub current: Vec<Contents>,
    flushed: Vec<Contents>,
    unflushed: VecDeque<(usize, Operation)>,
    /// A broken engine, for the test of the tests: marks are durable before the items they speak of.
    pub marks_first: bool,
    /// Another: an ingest does not wait for what was written before it.
    pub ingests_unflushed: bool,
}

impl Engine {
    pub fn new(groups: usize) -> Engine {
        Engine {
            current: vec![Contents::default(); groups],
            flushed: vec![Contents::default(); groups],
            ..Engine::default()
        }
    }

    /// What a group is born with, flushed at once.
    pub fn birth(&mut self, group: usize, contents: &Contents) {
        self.replace(group, contents);
    }

    pub fn apply(&mut self, group: usize, applied: Rc<Applied>) {
        if self.marks_first {
            self.flushed[group].mark = Some(applied.mark);
        }
        self.write(group, Operation::Apply(applied));
    }

    /// The batch with which groups are born: all of it or nothing survives a crash.
    pub fn divide(&mut self, group: usize, applied: Rc<Applied>, newborns: Vec<Newborn>) {
        self.write(group, Operation::Divide(applied, newborns));
    }

    fn write(&mut self, group: usize, operation: Operation) {
        carry_out(&mut self.current, group, &operation);
        self.unflushed.push_back((group, operation));
    }

    /// Removes a group: as volatile as any batch.
    pub fn clear(&mut self, group: usize) {
        self.write(group, Operation::Clear);
    }

    /// Batches that a flush would make durable.
    pub fn unflushed(&self) -> usize {
        self.unflushed.len()
    }

    /// The first so many unflushed batches are durable from now on.
    pub fn flush(&mut self, batches: usize) {
        for _ in 0..batches {
            let Some((group, operation)) = self.unflushed.pop_front() else { return };
            carry_out(&mut self.flushed, group, &operation);
        }
    }

    /// The applied index of a group that a crash cannot take back.
    pub fn flushed_index(&self, group: usize) -> Option<u64> {
        self.flushed[group].mark.map(|mark| mark.index)
    }

    /// Whose it is: after a replica is cleared its mark stays until the next flush, and another may be in its place.
    pub fn flushed_replica(&self, group: usize) -> Option<ReplicaId> {
        self.flushed[group].state.as_ref().map(|state| state.replica)
    }

    /// Replaces a group by a snapshot: everything before it is flushed, then it is durable itself.
    pub fn ingest(&mut self, group: usize, contents: &Contents) {
        if !self.ingests_unflushed {
            self.flush(self.unflushed.len());
        }
        self.replace(group, contents);
    }

    fn replace(&mut self, group: usize, contents: &Contents) {
        // The maps are not shared, so that later writes do not copy them.
        self.current[group] = Contents { items: Rc::new((*contents.items).clone()), ..contents.clone() };
        self.flushed[group] = Contents { items: Rc::new((*contents.items).clone()), ..contents.clone() };
    }

    /// The process is gone; so many of the unflushed batches had reached the disk.
    pub fn crash(&mut self, kept: usize) {
        self.flush(kept);
        self.unflushed.clear();
        self.current = self
            .flushed
            .iter()
            .map(|contents| Contents { items: Rc::new((*contents.items).clone()), ..contents.clone() })
            .collect();
    }
}

fn carry_out(all: &mut [Contents], group: usize, operation: &Operation) {
    match operation {
        Operation::Apply(applied) => all[group].apply(applied),
        Operation::Divide(applied, newborns) => {
            all[group].apply(applied);
            for newborn in newborns {
                let right = all[group].cut(&newborn.start);
                if let Some((state, mark)) = &newborn.records {
                    all[newborn.group] = Contents { mark: Some(*mark), state: Some(Rc::clone(state)), ..right };
                }
            }
        }
        Operation::Clear => all[group] = Contents::default(),
    }
}
