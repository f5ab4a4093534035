//! Administrative commands to the leader: membership, the table's descriptor, leadership itself.

use bytes::Bytes;
use model::{PartitionId, ReplicaId, TableDescriptor, TableStatus};

use crate::batch::raft_entry;
use crate::entry::{Body, LogEntry};
use crate::leading::{Desk, Leading, boxed};
use crate::membership::{Planned, Situation, plan};
use crate::oversight::Watch;
use crate::raft_core::Core;
use crate::split::{self, Halves};
use crate::state::GroupState;
use crate::{Answer, Change, Input, Now, Refusal, Token};

/// Whom to answer.
pub(crate) fn token_of(input: &Input) -> Option<Token> {
    match input {
        Input::Write { token, .. }
        | Input::Confirm { token, .. }
        | Input::Change { token, .. }
        | Input::SetTable { token, .. }
        | Input::Split { token, .. }
        | Input::Transfer { token, .. } => Some(*token),
        Input::Tick
        | Input::Message(_)
        | Input::Unreachable(_)
        | Input::Lost(_)
        | Input::Stopping(_)
        | Input::ItemRead { .. }
        | Input::ItemReadFailed { .. }
        | Input::Persisted { .. }
        | Input::Applied { .. }
        | Input::Flushed { .. }
        | Input::Fetched { .. }
        | Input::SnapshotBuilt { .. }
        | Input::SnapshotFailed { .. }
        | Input::SnapshotSent { .. }
        | Input::Installed { .. }
        | Input::Placed { .. }
        | Input::AnnounceCommit
        | Input::Campaign
        | Input::Resign => None,
    }
}

/// A write, or what one waits for.
pub(crate) fn is_write(input: &Input) -> bool {
    matches!(input, Input::Write { .. } | Input::ItemRead { .. } | Input::ItemReadFailed { .. })
}

pub(crate) fn take(leading: &mut Leading, desk: &mut Desk<'_>, core: &mut Core, now: Now, input: Input) {
    let Some(state) = desk.state else { return };
    let watch = Watch { descriptor: &state.descriptor, ticks: desk.clock.ticks, patience: desk.clock.patience() };
    match input {
        Input::Resign => leading.oversight.resign(&watch, core),
        Input::AnnounceCommit => leading.oversight.announce_commit(core),
        Input::Transfer { token, to } => {
            let answer = leading.oversight.transfer(&watch, core, token, to);
            desk.effects.answers.extend(answer.map(|answer| (token, answer)));
        }
        Input::Change { token, epoch, change } => {
            let command = Command { leading, core, now };
            if let Err(refusal) = command.change(desk, token, epoch, &change) {
                desk.refuse(token, refusal);
            }
        }
        Input::Split { token, epoch, at, child } => {
            let context = Command { leading, core, now };
            if let Err(refusal) = context.split(desk, Cut { token, epoch, at, child }) {
                desk.refuse(token, refusal);
            }
        }
        Input::SetTable { token, table } => {
            let context = Command { leading, core, now };
            match context.set_table(desk, token, &table) {
                Ok(None) => {}
                Ok(Some(answer)) => desk.effects.answers.push((token, answer)),
                Err(refusal) => desk.refuse(token, refusal),
            }
        }
        Input::Tick
        | Input::Campaign
        | Input::Message(_)
        | Input::Unreachable(_)
        | Input::Lost(_)
        | Input::Stopping(_)
        | Input::Write { .. }
        | Input::Confirm { .. }
        | Input::ItemRead { .. }
        | Input::ItemReadFailed { .. }
        | Input::Persisted { .. }
        | Input::Applied { .. }
        | Input::Flushed { .. }
        | Input::Fetched { .. }
        | Input::SnapshotBuilt { .. }
        | Input::SnapshotFailed { .. }
        | Input::SnapshotSent { .. }
        | Input::Placed { .. }
        | Input::Installed { .. } => {}
    }
}

/// A change that a leader proposes, whoever wants it.
pub(crate) struct Command<'a> {
    pub leading: &'a mut Leading,
    pub core: &'a mut Core,
    pub now: Now,
}

/// Where it stands in the log.
pub(crate) struct Begun {
    index: u64,
    joint: bool,
}

/// A split that is asked for.
struct Cut {
    token: Token,
    epoch: u64,
    at: Bytes,
    child: PartitionId,
}

impl Command<'_> {
    fn change(mut self, desk: &Desk<'_>, token: Token, epoch: u64, change: &Change) -> Result<(), Refusal> {
        let Begun { index, joint } = self.begin_change(desk, epoch, change)?;
        self.leading.await_admin(token, index, joint);
        Ok(())
    }

    /// Planned against the epoch that this leader has applied, and checked again when it is applied.
    pub(crate) fn begin_change(&mut self, desk: &Desk<'_>, epoch: u64, change: &Change) -> Result<Begun, Refusal> {
        let state = self.ready_to_change(desk, epoch)?;
        // A replica that came now would be there when the group is gone, and would ask nobody.
        if change.add.is_some() && state.table.status == TableStatus::Deleting {
            return Err(Refusal::TableGone);
        }
        let core = &*self.core;
        let situation =
            Situation { flaw: core.flaw(), leader: core.id(), caught_up: |id: ReplicaId| core.caught_up(id) };
        let Planned { descriptor, change } =
            plan(change, &state.descriptor, &situation).map_err(|reason| Refusal::Impossible { reason })?;
        let body = Body::Membership(descriptor.encode());
        let commit_time_us = self.leading.commit_time(self.now);
        let context = LogEntry { evaluation_term: self.leading.term, commit_time_us, body }.encode();
        let index = self.core.propose_change(&change, context).map_err(|_refused| Refusal::Overloaded)?;
        Ok(Begun { index, joint: change.enter_joint().is_some() })
    }

    /// Every leader, replica and node agrees that this is the group's next descriptor, whatever it will be.
    fn ready_to_change<'a>(&self, desk: &Desk<'a>, epoch: u64) -> Result<&'a GroupState, Refusal> {
        let Some(state) = desk.state.filter(|_| self.leading.serving) else { return Err(Refusal::NotReady) };
        if epoch != state.descriptor.epoch {
            return Err(Refusal::StaleEpoch { descriptor: boxed(&state.descriptor) });
        }
        if self.core.change_pending() {
            return Err(Refusal::Impossible { reason: "another change of membership is under way".to_owned() });
        }
        if self.leading.divides() {
            return Err(Refusal::Impossible { reason: "a split is under way".to_owned() });
        }
        if self.core.transferring_to().is_some() {
            return Err(Refusal::Impossible { reason: "leadership is being handed on".to_owned() });
        }
        Ok(state)
    }

    fn split(self, desk: &Desk<'_>, cut: Cut) -> Result<(), Refusal> {
        let Cut { token, epoch, at, child } = cut;
        let state = self.ready_to_change(desk, epoch)?;
        if state.table.status.is_out_of_service() {
            return Err(Refusal::TableGone);
        }
        let Halves { left, right } = split::plan(&state.descriptor, &at, child, self.core.flaw())
            .map_err(|reason| Refusal::Impossible { reason })?;
        let body = Body::Split { left: left.encode(), right: right.encode() };
        let commit_time_us = self.leading.commit_time(self.now);
        let entry = LogEntry { evaluation_term: self.leading.term, commit_time_us, body };
        let index = self.core.propose(vec![raft_entry(&entry)]).map_err(|_refused| Refusal::Overloaded)?;
        self.leading.await_admin(token, index, false);
        self.leading.divide(desk, index, at);
        Ok(())
    }

    /// An answer where there is nothing to do.
    fn set_table(self, desk: &Desk<'_>, token: Token, table: &TableDescriptor) -> Result<Option<Answer>, Refusal> {
        let Some(state) = desk.state.filter(|_| self.leading.serving) else { return Err(Refusal::NotReady) };
        if table.id != state.table.id {
            return Err(Refusal::Impossible { reason: format!("this is a partition of table {}", state.table.id) });
        }
        if table.version <= state.table.version {
            return Ok(Some(Answer::Done));
        }
        if let Some(leader) = self.core.transferring_to() {
            return Err(Refusal::NotLeader { leader: Some(leader) });
        }
        let body = Body::Table(table.encode());
        let commit_time_us = self.leading.commit_time(self.now);
        let entry = LogEntry { evaluation_term: self.leading.term, commit_time_us, body };
        let index = self.core.propose(vec![raft_entry(&entry)]).map_err(|_refused| Refusal::Overloaded)?;
        self.leading.await_admin(token, index, false);
        Ok(None)
    }
}
