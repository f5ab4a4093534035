//! What raft sees of the log: its bounds, the runs of its terms, and the newest entries in memory.
//!
//! The host's disk holds the log itself. Entries that are not yet applied are always in memory; applied ones stay while they
//! fit, and what a lagging follower needs beyond them is asked of the host ([`FetchRequest`]) and handed to raft when it comes.
//! raft asks through `&self`, so what it wants is collected in a cell and taken by the replica afterwards.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use model::ReplicaId;
use raft::storage::{GetEntriesContext, RaftState, Storage};
use raft::{Error, Result, StorageError};

use crate::FetchRequest;
use crate::eraftpb::{ConfState, Entry, HardState, Snapshot};
use crate::state::LogStart;

/// What an entry takes in memory beside its bytes, roughly.
const ENTRY_OVERHEAD_BYTES: usize = 64;

pub(crate) struct LogView {
    truncated_index: u64,
    truncated_term: u64,
    /// (first index, term), ascending; the first run begins after the truncated index.
    terms: VecDeque<(u64, u64)>,
    last_index: u64,
    /// The newest entries, without a gap up to the last.
    cache: VecDeque<Entry>,
    cache_bytes: usize,
    /// (last index, bytes appended up to it since the start): how long the log's tail is.
    sizes: VecDeque<(u64, u64)>,
    appended_bytes: u64,
    start: RaftState,
    wants: RefCell<Wants>,
}

#[derive(Default)]
struct Wants {
    fetches: Vec<u64>,
    /// By first index: what raft waits for, and for which of its questions (by their text: raft keeps their content to
    /// itself, and a follower may ask again).
    fetching: BTreeMap<u64, (FetchRequest, BTreeMap<String, GetEntriesContext>)>,
    /// What has just come from the log, while raft asks for it again.
    fetched: Vec<Entry>,
    snapshots: BTreeSet<u64>,
    /// Asked of the host and not answered, with the index that the log is needed from.
    building: BTreeMap<u64, u64>,
    built: BTreeMap<u64, Snapshot>,
}

impl LogView {
    pub(crate) fn new(log: LogStart, hard_state: HardState, conf_state: ConfState) -> LogView {
        let cache_bytes = log.entries.iter().map(entry_bytes).sum();
        LogView {
            truncated_index: log.truncated_index,
            truncated_term: log.truncated_term,
            terms: log.terms.into(),
            last_index: log.last_index,
            cache: log.entries.into(),
            cache_bytes,
            sizes: VecDeque::new(),
            appended_bytes: 0,
            start: RaftState::new(hard_state, conf_state),
            wants: RefCell::default(),
        }
    }

    pub(crate) fn truncated_index(&self) -> u64 {
        self.truncated_index
    }

    fn cache_first(&self) -> u64 {
        self.cache.front().map_or(self.last_index + 1, |entry| entry.index)
    }

    fn term_of(&self, index: u64) -> Option<u64> {
        if index == self.truncated_index {
            return Some(self.truncated_term);
        }
        if index < self.truncated_index || index > self.last_index {
            return None;
        }
        let after = self.terms.partition_point(|&(first, _)| first <= index);
        after.checked_sub(1).map(|run| self.terms[run].1)
    }

    /// Entries that raft hands out to be persisted: they are the log's tail from now on.
    pub(crate) fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        assert!(
            first.index > self.truncated_index && first.index <= self.last_index + 1,
            "append at {} to a log of {}..={}",
            first.index,
            self.truncated_index,
            self.last_index
        );
        if first.index <= self.last_index {
            self.cut_tail(first.index);
        }
        for entry in entries {
            if self.terms.back().is_none_or(|&(_, term)| term != entry.term) {
                self.terms.push_back((entry.index, entry.term));
            }
            self.cache_bytes += entry_bytes(entry);
            self.appended_bytes += entry_bytes(entry) as u64;
            self.cache.push_back(entry.clone());
            self.last_index = entry.index;
        }
        self.sizes.push_back((self.last_index, self.appended_bytes));
    }

    fn cut_tail(&mut self, from: u64) {
        while self.cache.back().is_some_and(|entry| entry.index >= from) {
            let entry = self.cache.pop_back().expect("there is a last one");
            self.cache_bytes -= entry_bytes(&entry);
        }
        while self.terms.back().is_some_and(|&(first, _)| first >= from) {
            self.terms.pop_back();
        }
        while self.sizes.back().is_some_and(|&(last, _)| last >= from) {
            self.sizes.pop_back();
        }
        self.last_index = from - 1;
    }

    /// Everything up to here is replaced by a snapshot, and nothing is above it.
    pub(crate) fn restore(&mut self, index: u64, term: u64) {
        self.truncated_index = index;
        self.truncated_term = term;
        self.last_index = index;
        self.terms.clear();
        self.cache.clear();
        self.cache_bytes = 0;
        self.sizes.clear();
        self.forget_followers();
    }

    /// Removes the log's beginning, this entry included.
    pub(crate) fn truncate(&mut self, index: u64) {
        let term = self.term_of(index).expect("only what the log holds is truncated");
        while self.terms.get(1).is_some_and(|&(first, _)| first <= index + 1) {
            self.terms.pop_front();
        }
        if index == self.last_index {
            self.terms.clear();
        } else if let Some(run) = self.terms.front_mut() {
            run.0 = index + 1;
        }
        while self.cache.front().is_some_and(|entry| entry.index <= index) {
            self.pop_front();
        }
        while self.sizes.front().is_some_and(|&(last, _)| last <= index) {
            self.sizes.pop_front();
        }
        self.truncated_index = index;
        self.truncated_term = term;
    }

    /// Drops applied entries from memory until the rest fits.
    pub(crate) fn evict(&mut self, applied: u64, budget_bytes: usize) {
        while self.cache_bytes > budget_bytes && self.cache.front().is_some_and(|entry| entry.index <= applied) {
            self.pop_front();
        }
    }

    /// Gives back what the queues have set aside.
    pub(crate) fn shrink(&mut self) {
        self.cache.shrink_to_fit();
        self.terms.shrink_to_fit();
        self.sizes.shrink_to_fit();
    }

    fn pop_front(&mut self) {
        if let Some(entry) = self.cache.pop_front() {
            self.cache_bytes -= entry_bytes(&entry);
        }
    }

    /// The lowest index above which the log holds at most `bytes`, as far as this replica has seen them appended.
    pub(crate) fn index_within(&self, bytes: u64) -> u64 {
        let floor = self.appended_bytes.saturating_sub(bytes);
        let outside = self.sizes.partition_point(|&(_, upto)| upto <= floor);
        match outside.checked_sub(1) {
            Some(last_outside) => self.sizes[last_outside].0,
            None => self.truncated_index,
        }
    }

    pub(crate) fn has_fetches(&mut self) -> bool {
        !self.wants.get_mut().fetches.is_empty()
    }

    /// What raft asked for since the last time; `receiver` tells who waits for the entry with that index.
    pub(crate) fn take_fetches(&mut self, receiver: impl Fn(u64) -> ReplicaId) -> Vec<FetchRequest> {
        let wants = self.wants.get_mut();
        let lows = std::mem::take(&mut wants.fetches);
        let asked = lows.into_iter().filter_map(|low| {
            let (request, _) = wants.fetching.get_mut(&low)?;
            request.to = receiver(low);
            Some(request.clone())
        });
        asked.collect()
    }

    /// The host has read what was asked. Returns what raft is to be told, if it still waits for it and something came; the
    /// entries serve its questions until [`LogView::drop_fetched`].
    pub(crate) fn fetched(&mut self, request: &FetchRequest, entries: Vec<Entry>) -> Vec<GetEntriesContext> {
        let wants = self.wants.get_mut();
        if wants.fetching.get(&request.low).is_none_or(|(asked, _)| asked != request) {
            return Vec::new();
        }
        let Some((_, contexts)) = wants.fetching.remove(&request.low) else { return Vec::new() };
        let true_to_log = !entries.is_empty()
            && entries.iter().zip(request.low..).all(|(entry, index)| {
                entry.index == index && self.term_of(index) == Some(entry.term) && index > self.truncated_index
            });
        if !true_to_log {
            return Vec::new();
        }
        self.wants.get_mut().fetched = entries;
        contexts.into_values().collect()
    }

    pub(crate) fn drop_fetched(&mut self) {
        self.wants.get_mut().fetched = Vec::new();
    }

    /// One replica that raft wants to send a snapshot to and that the host does not build one for yet.
    pub(crate) fn take_snapshot_wanted(
        &mut self,
        floor: u64,
        is_built_here: impl Fn(ReplicaId) -> bool,
    ) -> Option<ReplicaId> {
        let wants = self.wants.get_mut();
        let to = wants.snapshots.iter().copied().find(|&to| is_built_here(ReplicaId(to)))?;
        wants.snapshots.remove(&to);
        wants.building.insert(to, floor);
        Some(ReplicaId(to))
    }

    /// Raft would send a snapshot there, and nobody has taken that up.
    pub(crate) fn wants_snapshot(&self, to: ReplicaId) -> bool {
        self.wants.borrow().snapshots.contains(&to.0)
    }

    pub(crate) fn snapshot_built(&mut self, to: ReplicaId, snapshot: Option<Snapshot>) {
        let truncated_index = self.truncated_index;
        let wants = self.wants.get_mut();
        if wants.building.remove(&to.0).is_none() {
            return;
        }
        if let Some(snapshot) = snapshot.filter(|snapshot| snapshot.get_metadata().index >= truncated_index) {
            wants.built.insert(to.0, snapshot);
        }
    }

    /// The lowest index that a snapshot which is being built, or waits to be sent, will need the log from.
    pub(crate) fn snapshot_floor(&self) -> Option<u64> {
        let wants = self.wants.borrow();
        let built = wants.built.values().map(|snapshot| snapshot.get_metadata().index);
        wants.building.values().copied().chain(built).min()
    }

    /// Leadership is lost: nobody waits for entries or snapshots any more.
    pub(crate) fn forget_followers(&mut self) {
        *self.wants.get_mut() = Wants::default();
    }

    pub(crate) fn check(&self) {
        assert!(self.truncated_index <= self.last_index, "the log ends before it begins");
        assert!(self.cache_first() > self.truncated_index, "truncated entries are still in memory");
        if let Some(last) = self.cache.back() {
            assert_eq!(last.index, self.last_index, "the newest entry is not in memory");
            assert_eq!(last.index + 1 - self.cache_first(), self.cache.len() as u64, "a gap in memory");
        }
        assert_eq!(self.terms.is_empty(), self.truncated_index == self.last_index, "runs of terms without entries");
    }
}

/// As many of the front entries as fit, at least one.
fn limited<'a>(entries: impl Iterator<Item = &'a Entry>, max_bytes: Option<u64>) -> Vec<Entry> {
    let mut left = max_bytes.unwrap_or(u64::MAX);
    let mut taken: Vec<Entry> = Vec::new();
    for entry in entries {
        let bytes = entry_bytes(entry) as u64;
        if bytes > left && !taken.is_empty() {
            break;
        }
        left = left.saturating_sub(bytes);
        taken.push(entry.clone());
    }
    taken
}

fn entry_bytes(entry: &Entry) -> usize {
    entry.data.len() + entry.context.len() + ENTRY_OVERHEAD_BYTES
}

impl Storage for LogView {
    fn initial_state(&self) -> Result<RaftState> {
        Ok(self.start.clone())
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        context: GetEntriesContext,
    ) -> Result<Vec<Entry>> {
        let max_bytes = max_size.into();
        if low <= self.truncated_index {
            return Err(Error::Store(StorageError::Compacted));
        }
        let first = self.cache_first();
        if low >= first {
            let skip = usize::try_from(low - first).expect("the cache is in memory");
            let count = usize::try_from(high - low).expect("the cache is in memory");
            return Ok(limited(self.cache.iter().skip(skip).take(count), max_bytes));
        }
        assert!(context.can_async(), "entries {low}..{high} are not applied and not in memory");
        let mut wants = self.wants.borrow_mut();
        let fetched = &wants.fetched;
        if fetched.first().is_some_and(|entry| entry.index <= low) && fetched.last().is_some_and(|e| e.index >= low) {
            let wanted = fetched.iter().filter(|entry| (low..high).contains(&entry.index));
            return Ok(limited(wanted, max_bytes));
        }
        if !wants.fetching.contains_key(&low) {
            let max_bytes = max_bytes.unwrap_or(u64::MAX);
            let request = FetchRequest { low, high: high.min(first), max_bytes, to: ReplicaId(0) };
            wants.fetches.push(low);
            wants.fetching.insert(low, (request, BTreeMap::new()));
        }
        if let Some((_, contexts)) = wants.fetching.get_mut(&low) {
            contexts.insert(format!("{context:?}"), context);
        }
        Err(Error::Store(StorageError::LogTemporarilyUnavailable))
    }

    fn term(&self, index: u64) -> Result<u64> {
        self.term_of(index).ok_or(Error::Store(if index < self.truncated_index {
            StorageError::Compacted
        } else {
            StorageError::Unavailable
        }))
    }

    fn first_index(&self) -> Result<u64> {
        Ok(self.truncated_index + 1)
    }

    fn last_index(&self) -> Result<u64> {
        Ok(self.last_index)
    }

    fn snapshot(&self, request_index: u64, to: u64) -> Result<Snapshot> {
        let mut wants = self.wants.borrow_mut();
        let lowest = request_index.max(self.truncated_index);
        if let Some(snapshot) = wants.built.remove(&to)
            && snapshot.get_metadata().index >= lowest
        {
            return Ok(snapshot);
        }
        if !wants.building.contains_key(&to) {
            wants.snapshots.insert(to);
        }
        Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    fn entry(index: u64, term: u64) -> Entry {
        Entry { index, term, data: vec![0; 100].into(), ..Entry::default() }
    }

    fn view(last_index: u64) -> LogView {
        let entries: Vec<Entry> = (11..=last_index).map(|index| entry(index, 6)).collect();
        let terms = if entries.is_empty() { Vec::new() } else { vec![(11, 6)] };
        let log =
            LogStart { truncated_index: 10, truncated_term: 5, terms, last_index, entries, ..LogStart::default() };
        LogView::new(log, HardState::default(), ConfState::default())
    }

    #[test]
    fn an_append_over_the_tail_replaces_it_with_its_terms() {
        let mut log = view(20);
        log.append(&[entry(15, 7), entry(16, 8)]);
        log.check();
        let terms: Vec<Option<u64>> = (9..=17).map(|index| log.term_of(index)).collect();
        assert_eq!(terms, [None, Some(5), Some(6), Some(6), Some(6), Some(6), Some(7), Some(8), None]);
    }

    #[test]
    fn the_entry_before_the_first_keeps_its_term_after_a_truncation() {
        let mut log = view(20);
        log.append(&[entry(21, 7)]);
        log.truncate(20);
        log.check();
        assert_eq!((log.term_of(20), log.term_of(21), log.term_of(19)), (Some(6), Some(7), None));
        log.truncate(21);
        log.check();
        assert_eq!(log.term_of(21), Some(7));
    }

    #[test]
    fn the_budget_counts_from_the_newest_entry_back() {
        let mut log = view(10);
        for index in 11..=30 {
            log.append(&[entry(index, 6)]);
        }
        let bytes = entry_bytes(&entry(11, 6)) as u64;
        assert_eq!(log.index_within(5 * bytes), 25);
        assert_eq!(log.index_within(u64::MAX), 10);
    }

    #[test]
    fn what_is_fetched_must_be_what_the_log_holds() {
        let mut log = view(20);
        log.evict(20, 0);
        assert!(log.entries(12, 15, None, GetEntriesContext::empty(true)).is_err());
        let asked = log.take_fetches(|_| ReplicaId(3));
        assert_eq!((asked[0].low, asked[0].high, asked[0].to), (12, 15, ReplicaId(3)));
        assert!(log.fetched(&asked[0], vec![entry(12, 9)]).is_empty());
        assert!(log.entries(12, 15, None, GetEntriesContext::empty(true)).is_err());
        let asked = log.take_fetches(|_| ReplicaId(3));
        assert_eq!(log.fetched(&asked[0], vec![entry(12, 6), entry(13, 6)]).len(), 1);
        let got = log.entries(12, 15, None, GetEntriesContext::empty(true)).unwrap();
        assert_eq!(got.iter().map(|entry| entry.index).collect::<Vec<_>>(), [12, 13]);
    }

    #[test]
    fn a_snapshot_is_asked_for_once_until_it_is_built_or_has_failed() {
        let mut log = view(20);
        assert!(log.snapshot(0, 3).is_err() && log.snapshot(0, 3).is_err());
        assert_eq!(log.take_snapshot_wanted(15, |_| true), Some(ReplicaId(3)));
        assert!(log.snapshot(0, 3).is_err());
        assert_eq!((log.take_snapshot_wanted(15, |_| true), log.snapshot_floor()), (None, Some(15)));
        log.snapshot_built(ReplicaId(3), None);
        assert!(log.snapshot(0, 3).is_err());
        assert_eq!(log.take_snapshot_wanted(16, |_| true), Some(ReplicaId(3)));
        let mut snapshot = Snapshot::default();
        snapshot.mut_metadata().index = 16;
        log.snapshot_built(ReplicaId(3), Some(snapshot));
        assert_eq!(log.snapshot(0, 3).unwrap().get_metadata().index, 16);
    }

    proptest! {
        /// Against a plain list of terms by index.
        #[test]
        fn terms_are_those_of_the_entries_whatever_is_appended_and_truncated(
            steps in proptest::collection::vec((any::<u8>(), 1..6_u64, any::<bool>()), 1..60),
        ) {
            let mut log = view(10);
            let mut model: Vec<(u64, u64)> = vec![(10, 5)];
            let mut term = 6;
            for (at, count, truncate) in steps {
                let (first, last) = (model[0].0, model[model.len() - 1].0);
                if truncate && last > first {
                    let index = first + 1 + u64::from(at) % (last - first);
                    log.truncate(index);
                    model.retain(|&(i, _)| i >= index);
                } else {
                    term += u64::from(at % 3);
                    let from = (first + 1).max(last + 1 - u64::from(at) % 4);
                    model.retain(|&(i, _)| i < from);
                    let entries: Vec<Entry> = (from..from + count).map(|index| entry(index, term)).collect();
                    model.extend(entries.iter().map(|entry| (entry.index, entry.term)));
                    log.append(&entries);
                }
                log.check();
                assert!(model.iter().all(|&(index, term)| log.term_of(index) == Some(term)));
                assert_eq!(log.last_index().unwrap(), model[model.len() - 1].0);
            }
        }
    }
}
