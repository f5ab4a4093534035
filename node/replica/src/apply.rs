//! From committed entries to one batch for the engine: writes by their bytes, membership and tables by their versions.
//!
//! Everything here is decided by the entries and the state before them, so every replica decides alike. Membership takes
//! effect in raft when its entry is handed to the engine; a crash takes both back.

use bytes::Bytes;
use model::{PartitionDescriptor, ReplicaId, ReplicaKind, TableDescriptor};
use protobuf::Message as _;

use crate::entry::{Body, LogEntry, Write};
use crate::eraftpb::{ConfChangeV2, Entry, EntryType};
use crate::raft_core::Core;
use crate::split::{self, Halves};
use crate::state::{AppliedMark, GroupState};
use crate::{AppliedWrite, ApplyBatch, Effects, Event, Mutant};

/// The group as of the last entry handed to the engine.
pub(crate) struct Applier {
    pub state: Option<GroupState>,
    pub mark: AppliedMark,
}

/// What became of an entry without writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Taken,
    /// A split.
    Divided,
    LeftJoint,
    /// Planned against another state of the group, evaluated in another term, or not newer.
    Skipped,
    /// A term's first entry, or one that raft emptied.
    Empty,
}

/// The entries' effect so far on state and batch.
struct Taking<'a> {
    applier: &'a mut Applier,
    core: &'a mut Core,
    batch: &'a mut ApplyBatch,
    events: &'a mut Vec<Event>,
    state_changed: bool,
    fates: Vec<(u64, Fate)>,
}

impl Applier {
    /// Adds the entries to the step's batch; returns what became of those without writes, in log order.
    pub(crate) fn take(&mut self, core: &mut Core, entries: Vec<Entry>, effects: &mut Effects) -> Vec<(u64, Fate)> {
        let Some(last) = entries.last() else { return Vec::new() };
        let (index, term) = (last.index, last.term);
        let Effects { apply, events, .. } = effects;
        let batch = apply.get_or_insert_with(|| ApplyBatch {
            index,
            writes: Vec::new(),
            mark: Bytes::new(),
            state: None,
            children: Vec::new(),
        });
        let mut taking = Taking { applier: self, core, batch, events, state_changed: false, fates: Vec::new() };
        for entry in entries {
            taking.entry(entry);
        }
        let Taking { state_changed, fates, .. } = taking;
        let batch = apply.as_mut().expect("just there");
        self.mark.index = index;
        self.mark.term = term;
        batch.index = index;
        batch.mark = self.mark.encode();
        if state_changed {
            batch.state = Some(self.state().encode());
        }
        fates
    }

    fn state(&self) -> &GroupState {
        self.state.as_ref().expect("a replica without a state has no entries to apply")
    }

    fn state_mut(&mut self) -> &mut GroupState {
        self.state.as_mut().expect("a replica without a state has no entries to apply")
    }

    pub(crate) fn kind_of(&self, id: ReplicaId) -> ReplicaKind {
        let replica = self.descriptor().and_then(|descriptor| descriptor.replica(id));
        replica.map_or(ReplicaKind::Storage, |replica| replica.kind)
    }

    pub(crate) fn own_kind(&self) -> ReplicaKind {
        self.state.as_ref().map_or(ReplicaKind::Storage, |state| self.kind_of(state.replica))
    }

    /// Who is no member any more may have been a log replica, and needs nothing.
    fn keeps_items(&self) -> bool {
        let own = self.state.as_ref().and_then(|state| state.descriptor.replica(state.replica));
        own.is_some_and(|own| own.kind == ReplicaKind::Storage)
    }

    pub(crate) fn descriptor(&self) -> Option<&PartitionDescriptor> {
        self.state.as_ref().map(|state| &state.descriptor)
    }
}

impl Taking<'_> {
    fn entry(&mut self, entry: Entry) {
        let (index, term) = (entry.index, entry.term);
        let settled = self.applier.state().settled;
        if index <= settled {
            self.fates.push((index, Fate::Skipped));
            return;
        }
        let fate = match entry.get_entry_type() {
            EntryType::EntryNormal if entry.data.is_empty() => Some(Fate::Empty),
            EntryType::EntryNormal => self.normal(index, term, entry.data),
            EntryType::EntryConfChangeV2 if entry.context.is_empty() => Some(self.leave_joint()),
            EntryType::EntryConfChangeV2 => Some(self.membership(term, &entry.data, entry.context)),
            EntryType::EntryConfChange => panic!("entry {index} is a change of the old form"),
        };
        self.fates.extend(fate.map(|fate| (index, fate)));
    }

    fn normal(&mut self, index: u64, term: u64, data: Bytes) -> Option<Fate> {
        let entry = decoded(index, data);
        if entry.evaluation_term != term && !self.core.flaw().is(Mutant::OtherTermApplied) {
            return Some(Fate::Skipped);
        }
        self.note_time(&entry);
        match entry.body {
            Body::Writes(writes) => {
                self.writes(index, writes);
                None
            }
            Body::Table(table) => Some(self.table(&table)),
            Body::Split { left, right } => Some(self.split(left, right)),
            Body::Membership(_) => panic!("entry {index} changes membership without raft"),
        }
    }

    fn note_time(&mut self, entry: &LogEntry) {
        let mark = &mut self.applier.mark;
        mark.commit_time_us = mark.commit_time_us.max(entry.commit_time_us);
    }

    fn writes(&mut self, index: u64, writes: Vec<Write>) {
        if !self.applier.keeps_items() {
            return;
        }
        self.batch.writes.extend(writes.into_iter().map(|write| AppliedWrite {
            index,
            space: write.space,
            key: write.key,
            kind: write.kind,
            attributes: write.after.unwrap_or_default(),
            version_timestamp_us: write.version_timestamp_us,
        }));
    }

    fn table(&mut self, table: &Bytes) -> Fate {
        let table = TableDescriptor::decode(table.clone()).expect("a committed table descriptor can be read");
        let state = self.applier.state_mut();
        if table.version <= state.table.version || table.id != state.table.id {
            return Fate::Skipped;
        }
        state.table = table.clone();
        self.state_changed = true;
        self.events.push(Event::Table(Box::new(table)));
        Fate::Taken
    }

    fn split(&mut self, left: Bytes, right: Bytes) -> Fate {
        let decode = |half| PartitionDescriptor::decode(half).expect("a committed descriptor can be read");
        let halves = Halves { left: decode(left), right: decode(right) };
        let Applier { state, mark } = &mut *self.applier;
        let state = state.as_mut().expect("a replica without a state has no entries to apply");
        let next = state.descriptor.epoch + u64::from(!self.core.flaw().is(Mutant::SplitKeepsEpoch));
        if halves.left.epoch != next {
            return Fate::Skipped;
        }
        self.batch.children.extend(split::child(&halves, state.replica, mark, &state.table));
        state.descriptor = halves.left;
        self.state_changed = true;
        self.events.push(Event::Descriptor(Box::new(state.descriptor.clone())));
        Fate::Divided
    }

    fn membership(&mut self, term: u64, change: &[u8], context: Bytes) -> Fate {
        let change = ConfChangeV2::parse_from_bytes(change).expect("a committed change can be read");
        let entry = decoded(0, context);
        self.note_time(&entry);
        let Body::Membership(descriptor) = entry.body else { panic!("a change of membership without a descriptor") };
        let descriptor = PartitionDescriptor::decode(descriptor).expect("a committed descriptor can be read");
        let state = self.applier.state();
        if entry.evaluation_term != term || descriptor.epoch != state.descriptor.epoch + 1 {
            return Fate::Skipped;
        }
        if state.descriptor.replicas.len() > descriptor.replicas.len() {
            // The last thing the removed one hears is that its removal is committed.
            self.core.ping();
        }
        let Some(configuration) = self.core.apply_change(&change, &descriptor) else { return Fate::Skipped };
        let state = self.applier.state_mut();
        state.configuration = configuration;
        state.descriptor = descriptor.clone();
        self.state_changed = true;
        self.events.push(Event::Descriptor(Box::new(descriptor)));
        Fate::Taken
    }

    /// Two leaders in a row may both have logged it; the second finds nothing to leave.
    fn leave_joint(&mut self) -> Fate {
        if !self.core.is_joint() {
            return Fate::Skipped;
        }
        let descriptor = self.applier.state().descriptor.clone();
        let configuration = self.core.apply_change(&ConfChangeV2::default(), &descriptor);
        self.applier.state_mut().configuration = configuration.expect("a joint configuration can be left");
        self.state_changed = true;
        Fate::LeftJoint
    }
}

fn decoded(index: u64, data: Bytes) -> LogEntry {
    LogEntry::decode(data).unwrap_or_else(|error| panic!("committed entry {index} cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use raft::prelude::ConfChangeType;

    use super::*;
    use crate::entry::{Cause, SPACE_ITEMS, WriteKind};
    use crate::fixture::{descriptor, table};
    use crate::log_view::LogView;
    use crate::state::LogStart;
    use crate::{Options, start};

    const TERM: u64 = 7;

    struct Bench {
        core: Core,
        applier: Applier,
    }

    impl Bench {
        fn new() -> Bench {
            let state = GroupState::birth(ReplicaId(1), descriptor(&["a", "b", "c"]), table());
            let log = LogStart { truncated_index: 10, truncated_term: 5, last_index: 10, ..LogStart::default() };
            let hard_state = start::hard_state_at(10, 5);
            let log = LogView::new(log, hard_state, state.configuration.clone());
            let core = Core::new(ReplicaId(1), 10, &Options::default(), log).unwrap();
            Bench { core, applier: Applier { state: Some(state), mark: AppliedMark::birth() } }
        }

        fn take(&mut self, entry: Entry) -> (ApplyBatch, Vec<(u64, Fate)>) {
            let mut effects = Effects::default();
            let fates = self.applier.take(&mut self.core, vec![entry], &mut effects);
            (effects.apply.unwrap(), fates)
        }
    }

    fn entry(index: u64, evaluation_term: u64, body: Body) -> Entry {
        let data = LogEntry { evaluation_term, commit_time_us: 1_000, body }.encode();
        Entry { index, term: TERM, data, ..Entry::default() }
    }

    fn writes() -> Body {
        Body::Writes(vec![Write {
            space: SPACE_ITEMS,
            kind: WriteKind::Put,
            cause: Cause::User,
            version_timestamp_us: 999,
            key: Bytes::from_static(b"k"),
            request_id: Bytes::new(),
            after: Some(Bytes::from_static(b"image")),
            old: None,
            transaction: None,
        }])
    }

    fn membership(index: u64, epoch: u64, evaluation_term: u64) -> Entry {
        let mut next = descriptor(&["a", "b", "c"]);
        next.epoch = epoch;
        next.replicas.retain(|replica| replica.id != ReplicaId(3));
        let mut change = ConfChangeV2::default();
        let mut single = raft::prelude::ConfChangeSingle { node_id: 3, ..Default::default() };
        single.set_change_type(ConfChangeType::RemoveNode);
        change.set_changes(vec![single].into());
        let context = entry(index, evaluation_term, Body::Membership(next.encode())).data;
        let data = change.write_to_bytes().unwrap().into();
        let mut entry = Entry { index, term: TERM, data, context, ..Entry::default() };
        entry.set_entry_type(EntryType::EntryConfChangeV2);
        entry
    }

    #[test]
    fn writes_reach_the_engine_as_they_stand_in_the_entry() {
        let (batch, fates) = Bench::new().take(entry(11, TERM, writes()));
        assert_eq!((batch.index, fates.len()), (11, 0));
        let mark = AppliedMark { index: 11, term: TERM, commit_time_us: 1_000 };
        assert_eq!(AppliedMark::decode(batch.mark), Ok(mark));
        let AppliedWrite { index, key, attributes, version_timestamp_us, .. } = &batch.writes[0];
        assert_eq!((*index, key.as_ref(), attributes.as_ref()), (11, &b"k"[..], &b"image"[..]));
        assert_eq!(*version_timestamp_us, 999);
    }

    #[test]
    fn an_entry_that_was_evaluated_in_another_term_moves_only_the_mark() {
        let (batch, fates) = Bench::new().take(entry(11, TERM - 1, writes()));
        assert_eq!(batch.writes, []);
        assert_eq!(fates, [(11, Fate::Skipped)]);
        let mark = AppliedMark { index: 11, term: TERM, commit_time_us: 0 };
        assert_eq!(AppliedMark::decode(batch.mark), Ok(mark));
    }

    #[test]
    fn a_change_planned_on_another_epoch_or_term_leaves_the_configuration_alone() {
        let epoch = descriptor(&["a"]).epoch;
        for skipped in [membership(11, epoch, TERM), membership(11, epoch + 2, TERM), membership(11, epoch + 1, 6)] {
            let mut bench = Bench::new();
            let before = bench.core.configuration();
            let (batch, fates) = bench.take(skipped);
            assert_eq!((fates, batch.state), (vec![(11, Fate::Skipped)], None));
            assert_eq!(bench.core.configuration(), before);
        }
        let mut bench = Bench::new();
        let (batch, fates) = bench.take(membership(11, epoch + 1, TERM));
        assert_eq!(fates, [(11, Fate::Taken)]);
        assert_eq!(GroupState::decode(batch.state.unwrap()).unwrap().configuration.get_voters(), [1, 2]);
    }

    #[test]
    fn a_joint_configuration_is_not_left_twice() {
        let mut leave = Entry { index: 11, term: TERM, ..Entry::default() };
        leave.set_entry_type(EntryType::EntryConfChangeV2);
        let (_, fates) = Bench::new().take(leave);
        assert_eq!(fates, [(11, Fate::Skipped)]);
    }

    #[test]
    fn a_log_replica_applies_membership_and_tables_and_no_items() {
        let mut bench = Bench::new();
        let state = bench.applier.state.as_mut().unwrap();
        state.descriptor.replicas[0].kind = ReplicaKind::Log;
        assert_eq!(bench.take(entry(11, TERM, writes())).0.writes, []);
        let mut newer = table();
        newer.version += 1;
        let (_, fates) = bench.take(entry(12, TERM, Body::Table(newer.encode())));
        assert_eq!(fates, [(12, Fate::Taken)]);
    }

    #[test]
    fn a_replica_that_is_no_member_any_more_applies_no_items() {
        let mut bench = Bench::new();
        bench.applier.state.as_mut().unwrap().descriptor.replicas.remove(0);
        assert_eq!(bench.take(entry(11, TERM, writes())).0.writes, []);
    }
}
