//! The model of a node's log: one for all its groups, one sync for everything that waits (group commit).
//!
//! ```text
//! submit ─► open batch (memory) ─► batch being written and synced ─► last synced batch ─► settled
//!                 lost in a crash     lost, kept or torn                 kept (torn only by bit rot)
//! ```
//! The durable-through mark of a batch travels in the next one: only the last batch can be ambiguous, and a batch that
//! cannot be read makes the tails of the node's replicas uncertain.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use model::ReplicaId;
use replica::eraftpb::{Entry, HardState};
use replica::{Append, Install};

use crate::disk::engine::Contents;
use crate::event::Waiter;

/// A snapshot that has arrived whole: its files are durable before anything points at them.
#[derive(Debug)]
pub struct Received {
    pub install: Install,
    pub contents: Contents,
}

/// What the log holds of one group.
#[derive(Clone, Debug, Default)]
pub struct GroupLog {
    /// The replica that lives here.
    pub identity: Option<ReplicaId>,
    /// The lowest replica id this node still accepts for the group.
    pub lowest: u64,
    pub hard_state: HardState,
    pub truncated_index: u64,
    pub truncated_term: u64,
    pub entries: Vec<Entry>,
    /// "Receiving a snapshot": the install is to be done again by a start that finds it.
    pub receiving: Option<Rc<Received>>,
}

impl GroupLog {
    pub fn last_index(&self) -> u64 {
        self.truncated_index + self.entries.len() as u64
    }

    /// The term at that index, where the log still knows it.
    pub fn term(&self, index: u64) -> Option<u64> {
        if index == self.truncated_index {
            return Some(self.truncated_term);
        }
        self.entry(index).map(|entry| entry.term)
    }

    pub fn entry(&self, index: u64) -> Option<&Entry> {
        let offset = index.checked_sub(self.truncated_index + 1)?;
        self.entries.get(usize::try_from(offset).ok()?)
    }

    /// Entries `low..high`, up to so many bytes, at least one.
    pub fn read(&self, low: u64, high: u64, max_bytes: u64) -> Vec<Entry> {
        let mut bytes = 0;
        let mut found = Vec::new();
        for index in low..high {
            let Some(entry) = self.entry(index) else { break };
            bytes += entry.data.len() as u64 + 32;
            if !found.is_empty() && bytes > max_bytes {
                break;
            }
            found.push(entry.clone());
        }
        found
    }

    fn carry_out(&mut self, operation: &Operation) {
        match operation {
            Operation::Append(append) => self.append(append),
            Operation::Truncate(index) => self.truncate(*index),
            Operation::Identity(replica) => {
                *self = GroupLog { identity: Some(*replica), lowest: replica.0, ..GroupLog::default() };
            }
            Operation::Retire { lowest } => {
                *self = GroupLog { lowest: self.lowest.max(*lowest), ..GroupLog::default() };
            }
            Operation::Receiving(received) => self.receiving = Some(Rc::clone(received)),
            Operation::Birth { replica, index, term } => self.begin(*replica, *index, *term),
            Operation::Installed { index, term, hard_state } => {
                self.receiving = None;
                self.entries.clear();
                self.truncated_index = *index;
                self.truncated_term = *term;
                self.hard_state = hard_state.clone();
            }
        }
    }

    /// Only where there is no log yet. A vote that an empty replica has given stays; a snapshot that it was receiving is not wanted
    /// any more, and would set the log back at the next start.
    fn begin(&mut self, replica: ReplicaId, index: u64, term: u64) {
        if self.identity.is_none() {
            *self = GroupLog { identity: Some(replica), lowest: replica.0, ..GroupLog::default() };
        }
        if self.last_index() > 0 {
            return;
        }
        self.receiving = None;
        (self.truncated_index, self.truncated_term) = (index, term);
        self.hard_state.commit = index;
        if self.hard_state.term < term {
            (self.hard_state.term, self.hard_state.vote) = (term, 0);
        }
    }

    fn append(&mut self, append: &Append) {
        if let Some(first) = append.entries.first() {
            let keep = first.index.saturating_sub(self.truncated_index + 1);
            self.entries.truncate(usize::try_from(keep).expect("a log's length fits a usize"));
            self.entries.extend(append.entries.iter().cloned());
        }
        if let Some(hard_state) = &append.hard_state {
            self.hard_state = hard_state.clone();
        }
    }

    fn truncate(&mut self, index: u64) {
        let Some(term) = self.term(index) else { return };
        let gone = index - self.truncated_index;
        self.entries.drain(..usize::try_from(gone).expect("a log's length fits a usize"));
        self.truncated_index = index;
        self.truncated_term = term;
    }
}

/// One change of one group's part of the log.
#[derive(Clone, Debug)]
pub enum Operation {
    Append(Rc<Append>),
    Truncate(u64),
    /// An empty replica is born of a message: everything older goes.
    Identity(ReplicaId),
    Retire {
        lowest: u64,
    },
    /// The group begins after (index, term), its records are in the engine: a child of a split.
    Birth {
        replica: ReplicaId,
        index: u64,
        term: u64,
    },
    Receiving(Rc<Received>),
    Installed {
        index: u64,
        term: u64,
        hard_state: HardState,
    },
}

/// What a log that does not sync leaves to the operating system.
const LAZY_BATCHES: usize = 3;

/// Changes that are written and synced together.
#[derive(Debug, Default)]
pub struct Batch {
    operations: Vec<(usize, Operation)>,
    pub waiters: Vec<Waiter>,
    must_sync: bool,
}

/// What became of the last batch in a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastBatch {
    Lost,
    Kept,
    /// It cannot be read, and whether it had been synced is unknown.
    Torn,
    /// Even the batch before, which was synced, cannot be read.
    Rotten,
}

/// The log of one node.
#[derive(Debug, Default)]
pub struct Log {
    /// Everything, as the running process sees it.
    pub current: Vec<GroupLog>,
    settled: Vec<GroupLog>,
    last: Batch,
    syncing: Option<Batch>,
    open: Batch,
    /// Groups whose tail was cut and whose replica has not voted in a newer term since, having what it lost; kept durably.
    pub uncertain: BTreeSet<usize>,
    /// The term of each of them at the last start.
    uncertain_since: BTreeMap<usize, u64>,
    /// A broken log, for the test of the tests: a sync does nothing, and batches reach the disk by and by.
    pub lazy: bool,
    unwritten: VecDeque<Batch>,
    /// Another: any vote ends the doubt of a tail.
    pub votes_end_doubt: bool,
    /// A synced batch was once unreadable here.
    pub rotted: bool,
}

impl Log {
    pub fn new(groups: usize) -> Log {
        Log { current: vec![GroupLog::default(); groups], settled: vec![GroupLog::default(); groups], ..Log::default() }
    }

    /// What a node is born with, durable at once.
    pub fn birth(&mut self, group: usize, log: GroupLog) {
        self.current[group] = log.clone();
        self.settled[group] = log;
    }

    pub fn submit(&mut self, group: usize, operation: Operation, must_sync: bool, waiter: Option<Waiter>) {
        self.current[group].carry_out(&operation);
        self.open.operations.push((group, operation));
        self.open.must_sync |= must_sync;
        self.open.waiters.extend(waiter);
    }

    /// Begins the next sync where one is needed and none runs.
    pub fn begin_sync(&mut self) -> bool {
        if self.syncing.is_some() || !self.open.must_sync {
            return false;
        }
        self.syncing = Some(std::mem::take(&mut self.open));
        true
    }

    /// The running sync is done; answers who waited for it.
    pub fn synced(&mut self) -> Vec<Waiter> {
        let Some(mut batch) = self.syncing.take() else { return Vec::new() };
        let waiters = std::mem::take(&mut batch.waiters);
        if self.lazy {
            self.unwritten.push_back(batch);
            if self.unwritten.len() <= LAZY_BATCHES {
                return waiters;
            }
            batch = self.unwritten.pop_front().unwrap_or_default();
        }
        self.settle_last();
        self.last = batch;
        waiters
    }

    fn settle_last(&mut self) {
        for (group, operation) in std::mem::take(&mut self.last).operations {
            if self.ends_doubt(group, &operation) {
                self.uncertain.remove(&group);
            }
            self.settled[group].carry_out(&operation);
            if let Operation::Installed { hard_state, .. } = &operation {
                self.uncertain_since.insert(group, hard_state.term);
            }
        }
    }

    /// A vote in a later term than it started with; or its end: nobody asks what a retired replica voted.
    fn ends_doubt(&self, group: usize, operation: &Operation) -> bool {
        match operation {
            Operation::Append(append) => {
                let since = self.uncertain_since.get(&group).copied().unwrap_or_default();
                let voted = append.hard_state.as_ref().is_some_and(|hard| hard.vote != 0 && hard.term > since);
                voted && (!append.doubted || self.votes_end_doubt)
            }
            Operation::Retire { .. } => true,
            Operation::Truncate(_)
            | Operation::Identity(_)
            | Operation::Birth { .. }
            | Operation::Receiving(_)
            | Operation::Installed { .. } => false,
        }
    }

    /// Whether a crash now would still leave that entry (or a snapshot above it).
    pub fn holds_durably(&self, group: usize, index: u64, term: u64) -> bool {
        for (of, operation) in self.last.operations.iter().rev() {
            if *of != group {
                continue;
            }
            match operation {
                Operation::Append(append) => {
                    let Some(first) = append.entries.first() else { continue };
                    if index >= first.index {
                        let offset = usize::try_from(index - first.index).expect("a log's length fits a usize");
                        return append.entries.get(offset).is_some_and(|entry| entry.term == term);
                    }
                }
                Operation::Installed { index: installed, .. } => return index <= *installed,
                Operation::Identity(_) | Operation::Retire { .. } => return false,
                Operation::Truncate(_) | Operation::Birth { .. } | Operation::Receiving(_) => {}
            }
        }
        let log = &self.settled[group];
        index < log.truncated_index && log.identity.is_some() || log.term(index) == Some(term)
    }

    /// The process is gone; what is left is what the next start finds.
    pub fn crash(&mut self, last: LastBatch) {
        let syncing = self.syncing.take();
        self.unwritten.clear();
        self.open = Batch::default();
        match (last, syncing) {
            (LastBatch::Rotten, _) => self.last = Batch::default(),
            (LastBatch::Kept, Some(batch)) => {
                self.settle_last();
                self.last = batch;
            }
            (LastBatch::Kept | LastBatch::Lost | LastBatch::Torn, _) => {}
        }
        // A start writes its own first batch, with the mark: what was kept is now below it.
        self.settle_last();
        self.current.clone_from(&self.settled);
        if matches!(last, LastBatch::Torn | LastBatch::Rotten) {
            self.rotted |= last == LastBatch::Rotten;
            let here = (0..self.settled.len()).filter(|group| self.settled[*group].identity.is_some());
            self.uncertain.extend(here);
        }
        let term = |group: &usize| (*group, self.settled[*group].hard_state.term);
        self.uncertain_since = self.uncertain.iter().map(term).collect();
    }

    /// Whether a batch is being written.
    pub fn is_syncing(&self) -> bool {
        self.syncing.is_some()
    }

    /// Whether the last synced batch holds nothing but entries and hard states.
    pub fn may_rot(&self) -> bool {
        let plain = |operation: &Operation| matches!(operation, Operation::Append(_) | Operation::Truncate(_));
        self.last.operations.iter().all(|(_, operation)| plain(operation))
    }

    /// Whether the last synced batch holds entries of the group.
    pub fn last_appends_to(&self, group: usize) -> bool {
        let appends =
            |operation: &Operation| matches!(operation, Operation::Append(append) if !append.entries.is_empty());
        self.last.operations.iter().any(|(of, operation)| *of == group && appends(operation))
    }

    /// Whether the last synced batch holds a vote.
    pub fn last_voted(&self) -> bool {
        let votes = |operation: &Operation| match operation {
            Operation::Append(append) => append.hard_state.as_ref().is_some_and(|hard| hard.vote != 0),
            Operation::Truncate(_)
            | Operation::Identity(_)
            | Operation::Retire { .. }
            | Operation::Birth { .. }
            | Operation::Receiving(_)
            | Operation::Installed { .. } => false,
        };
        self.last.operations.iter().any(|(_, operation)| votes(operation))
    }

    /// Operations that wait for the disk.
    pub fn waiting(&self) -> usize {
        self.open.operations.len()
    }

    /// A start carries this out and syncs it before anything else.
    pub fn carry_out_durably(&mut self, group: usize, operation: &Operation) {
        self.current[group].carry_out(operation);
        self.settled[group].carry_out(operation);
    }

    /// A start gives up a log that rot has cut below what the engine holds: it begins again there.
    pub fn begin_at(&mut self, group: usize, index: u64, term: u64) {
        for log in [&mut self.current[group], &mut self.settled[group]] {
            log.entries.clear();
            log.truncated_index = index;
            log.truncated_term = term;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{KeyRange, PartitionDescriptor, PartitionId, TableId};

    fn receiving(index: u64) -> Operation {
        let descriptor = PartitionDescriptor::birth(PartitionId(1), TableId(1), KeyRange::ALL, []);
        let install = Install {
            index,
            term: 5,
            state: bytes::Bytes::new(),
            mark: bytes::Bytes::new(),
            hard_state: HardState::default(),
            descriptor,
            has_items: true,
        };
        Operation::Receiving(Rc::new(Received { install, contents: Contents::default() }))
    }

    fn log(operations: &[Operation]) -> GroupLog {
        let mut log = GroupLog::default();
        operations.iter().for_each(|operation| log.carry_out(operation));
        log
    }

    const BIRTH: Operation = Operation::Birth { replica: ReplicaId(2), index: 10, term: 5 };

    /// Seed 1140: the next start finished it, and the log lost what it had acknowledged since.
    #[test]
    fn a_birth_ends_the_receiving_of_a_snapshot_and_keeps_the_vote() {
        let voted = HardState { term: 7, vote: 3, ..HardState::default() };
        let append = Append { number: 1, entries: vec![], hard_state: Some(voted), must_sync: true, doubted: false };
        let born = log(&[Operation::Identity(ReplicaId(2)), Operation::Append(Rc::new(append)), receiving(12), BIRTH]);
        assert!(born.receiving.is_none());
        assert_eq!((born.last_index(), born.hard_state.term, born.hard_state.vote), (10, 7, 3));
    }

    #[test]
    fn a_birth_does_not_touch_a_log_that_is_there() {
        let hard_state = HardState { term: 7, commit: 12, ..HardState::default() };
        let installed = Operation::Installed { index: 12, term: 6, hard_state };
        let there = log(&[Operation::Identity(ReplicaId(2)), receiving(12), installed, BIRTH]);
        assert_eq!((there.last_index(), there.truncated_term), (12, 6));
    }
}
