//! A log replica: a voter with a log and no items, which stands in for a replica that is silent.
//!
//! It is up to date in seconds, whatever the partition's size. Its snapshot carries no items and no entries: raft's metadata is
//! where the leader's log begins (T), the state is the leader's newest (A), and the log from T on comes by ordinary appends.
//! What the entries up to A say of membership, range and table is in that state already, so they are skipped when they are
//! applied (`settled`): replaying a change of membership on today's configuration would be wrong, and raft refuses a snapshot
//! whose configuration lacks its receiver.
//!
//! It votes and acknowledges as any voter, but stands for election only after those with items had time to. It leads only to
//! hand on entries that none of them has: it proposes nothing, serves nobody, builds no snapshot.

use model::{ReplicaId, ReplicaKind};

use crate::apply::Applier;
use crate::eraftpb::{Message, MessageType};
use crate::leading::{Desk, Leading};
use crate::membership::storage_voters;
use crate::raft_core::Core;
use crate::state::{AppliedMark, GroupState};
use crate::{Effects, Health, Mutant, Replica, SnapshotContent, snapshot};

impl Replica {
    /// Log replicas that raft wants to send a snapshot to get it at once: the host has nothing to add.
    pub(crate) fn feed_log_replicas(&mut self, effects: &mut Effects) {
        if self.leading.as_ref().is_none_or(|leading| leading.kind == ReplicaKind::Log) {
            return;
        }
        while let Some((to, content)) = self.next_fed() {
            self.core.snapshot_built(to, snapshot::to_send(to, &content));
            self.pump(effects);
        }
    }

    fn next_fed(&mut self) -> Option<(ReplicaId, SnapshotContent)> {
        let state = self.applier.state.as_ref()?;
        let mark = self.applier.mark;
        let index = self.core.log().truncated_index();
        let term = self.core.term_at(index)?;
        let applier = &self.applier;
        let to = self.core.log_mut().take_snapshot_wanted(index, |id| applier.kind_of(id) == ReplicaKind::Log)?;
        let state = GroupState { settled: mark.index, ..state.clone() };
        let mark = AppliedMark { index, term, commit_time_us: mark.commit_time_us };
        Some((to, SnapshotContent { state, mark }))
    }

    /// Log replicas whose snapshot is among these messages: nobody will report what became of it.
    pub(crate) fn fed(&self, messages: &[Message]) -> Vec<ReplicaId> {
        let snapshots = messages.iter().filter(|message| message.get_msg_type() == MessageType::MsgSnapshot);
        let receivers = snapshots.map(|message| ReplicaId(message.to));
        receivers.filter(|&id| self.applier.kind_of(id) == ReplicaKind::Log).collect()
    }
}

impl Leading {
    /// Every step of a log replica that leads. Whoever has not taken over before raft gave the transfer up may not vote in this
    /// term (its log lost its tail, and perhaps a vote): after the last one that could, an election brings a newer term.
    pub(crate) fn hand_over(&mut self, desk: &Desk<'_>, core: &mut Core) {
        let Some(state) = desk.state else { return };
        let clings = core.flaw().is(Mutant::LogReplicaClings);
        if clings || core.change_pending() || core.transferring_to().is_some() {
            return;
        }
        let (last, ticks, patience) = (core.last_index(), desk.clock.ticks, desk.clock.patience());
        let mut heirs = storage_voters(&state.descriptor)
            .map(|voter| voter.id)
            .filter(|&id| core.is_voter(id) && core.matched(id) >= last)
            .filter(|&id| !self.oversight.is_silent(id, ticks, patience))
            .peekable();
        let any = heirs.peek().is_some();
        match heirs.find(|id| !self.tried_heirs.contains(id)) {
            Some(heir) => {
                self.tried_heirs.insert(heir);
                core.transfer(heir);
            }
            None if any => core.step_down(None),
            None => {}
        }
        // Nobody can get from here what comes before this log.
        let starves = storage_voters(&state.descriptor).all(|voter| core.log().wants_snapshot(voter.id));
        let why = String::from("a log replica leads until a replica with items is level");
        self.repair.looks(if starves { Health::NeedsArchive } else { Health::Short { why } }, ticks);
    }

    /// A replica with items that the host is to build a snapshot for. A log replica has none to give.
    pub(crate) fn snapshot_wanted(&self, applier: &Applier, core: &mut Core, applied: u64) -> Option<ReplicaId> {
        if self.kind == ReplicaKind::Log {
            return None;
        }
        core.log_mut().take_snapshot_wanted(applied, |id| applier.kind_of(id) == ReplicaKind::Storage)
    }
}
