//! A replica's host in memory: what its disk and engine hold, and what is on its way there.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use model::{NodeId, PartitionId, ReplicaId};

use crate::entry::WriteKind;
use crate::eraftpb::{Entry, HardState};
use crate::{
    Append, AppliedMark, ApplyBatch, Child, Event, FetchRequest, GroupState, Input, Install, LogStart, Options,
    Replica, Start,
};

/// What a node's disk and engine hold of one replica.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    pub hard_state: HardState,
    pub truncated: (u64, u64),
    pub entries: BTreeMap<u64, Entry>,
    pub items: BTreeMap<Bytes, Bytes>,
    pub state: Option<Bytes>,
    pub mark: Option<Bytes>,
    /// What the engine falls back to in a crash: items, state, mark. None where the scenario does not care.
    pub flushed: Option<Flushed>,
    /// What splits have cut off here, with its items, newest last.
    pub children: Vec<(Child, BTreeMap<Bytes, Bytes>)>,
}

type Flushed = (BTreeMap<Bytes, Bytes>, Option<Bytes>, Option<Bytes>);

impl Disk {
    pub(crate) fn flush(&mut self) -> u64 {
        self.flushed = Some((self.items.clone(), self.state.clone(), self.mark.clone()));
        self.mark.clone().map_or(0, |mark| AppliedMark::decode(mark).unwrap().index)
    }

    fn last_index(&self) -> u64 {
        self.entries.last_key_value().map_or(self.truncated.0, |(&index, _)| index)
    }

    pub(crate) fn start(&self, replica: ReplicaId, options: &Options, tail_uncertain: bool) -> Start {
        let mark = self.mark.clone().map(|bytes| AppliedMark::decode(bytes).unwrap());
        let applied = mark.map_or(0, |mark| mark.index);
        let mut terms: Vec<(u64, u64)> = Vec::new();
        for (&index, entry) in &self.entries {
            if terms.last().is_none_or(|&(_, term)| term != entry.term) {
                terms.push((index, entry.term));
            }
        }
        let log = LogStart {
            hard_state: self.hard_state.clone(),
            truncated_index: self.truncated.0,
            truncated_term: self.truncated.1,
            terms,
            last_index: self.last_index(),
            entries: self.entries.range(applied + 1..).map(|(_, entry)| entry.clone()).collect(),
            tail_uncertain,
        };
        let state = self.state.clone().map(|bytes| GroupState::decode(bytes).unwrap());
        let partition = state.as_ref().map_or(PartitionId(77), |state: &GroupState| state.descriptor.id);
        Start { partition, node: NodeId(100 + replica.0), replica, options: options.clone(), log, state, mark }
    }

    fn append(&mut self, entries: Vec<Entry>, hard_state: Option<HardState>) {
        if let Some(first) = entries.first() {
            drop(self.entries.split_off(&first.index));
        }
        self.entries.extend(entries.into_iter().map(|entry| (entry.index, entry)));
        if let Some(hard_state) = hard_state {
            self.hard_state = hard_state;
        }
    }

    fn apply(&mut self, batch: ApplyBatch) {
        for write in batch.writes {
            match write.kind {
                WriteKind::Put => drop(self.items.insert(write.key, write.attributes)),
                WriteKind::Delete => drop(self.items.remove(&write.key)),
                WriteKind::Touch => {}
            }
        }
        for child in batch.children {
            let items = self.items.split_off(&child.descriptor.range.start);
            self.children.push((child, items));
        }
        self.mark = Some(batch.mark);
        self.state = batch.state.or(self.state.take());
    }

    pub(crate) fn fetch(&self, request: &FetchRequest) -> Vec<Entry> {
        self.entries.range(request.low..request.high).map(|(_, entry)| entry.clone()).collect()
    }
}

/// One replica with its host.
#[derive(Default)]
pub(crate) struct Host {
    pub replica: Option<Replica>,
    pub disk: Disk,
    pub inputs: Vec<Input>,
    pub events: Vec<Event>,
    pub hold: Hold,
    pub appends: VecDeque<Append>,
    pub applies: VecDeque<ApplyBatch>,
    pub reads: VecDeque<(u64, Option<Bytes>)>,
    pub install: Option<(Install, BTreeMap<Bytes, Bytes>)>,
    /// What the last step said of the commit index.
    pub commit_untold: bool,
}

/// What a scenario keeps from happening.
#[derive(Clone, Copy, Default)]
pub(crate) struct Hold {
    pub appends: bool,
    pub applies: bool,
    pub reads: bool,
}

impl Host {
    /// Whatever the scenario does not hold back is done by the next turn.
    pub(crate) fn finish_io(&mut self) {
        if !self.hold.appends {
            self.finish_appends();
        }
        if !self.hold.applies {
            self.finish_applies();
        }
        if !self.hold.reads {
            self.finish_reads();
        }
        if let Some((install, items)) = self.install.take() {
            self.finish_appends();
            self.finish_applies();
            self.disk.entries.clear();
            self.disk.truncated = (install.index, install.term);
            self.disk.hard_state = install.hard_state;
            self.disk.items = items;
            self.disk.state = Some(install.state);
            self.disk.mark = Some(install.mark);
            if self.disk.flushed.is_some() {
                self.disk.flush();
            }
            self.inputs.push(Input::Installed { index: install.index });
        }
    }

    pub(crate) fn finish_appends(&mut self) {
        while let Some(append) = self.appends.pop_front() {
            self.disk.append(append.entries, append.hard_state);
            self.inputs.push(Input::Persisted { number: append.number });
        }
    }

    pub(crate) fn finish_applies(&mut self) {
        while let Some(batch) = self.applies.pop_front() {
            let index = batch.index;
            self.disk.apply(batch);
            self.inputs.push(Input::Applied { index });
        }
    }

    pub(crate) fn finish_reads(&mut self) {
        while let Some((ticket, attributes)) = self.reads.pop_front() {
            self.inputs.push(Input::ItemRead { ticket, attributes });
        }
    }
}
