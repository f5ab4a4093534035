//! Unsafe recovery: a group whose majority is gone for good goes on from one of its replicas.
//!
//! What the others had acknowledged beyond it nobody can know, so people alone decide it, never a program. The host carries it
//! out between two lives of the replica: it writes [`recovered`] over the state that rests beside the items, and starts the
//! replica again on the log that it had. All of that log is committed by its first election, in which it votes alone.
//!
//! The group begins anew in all that the others may still hold against it:
//! - Its **epoch** rises by [`STRIDE`], above whatever the lost ones may have agreed on without this replica: maps and routers take
//!   it for the newest, and changes of membership that stand in its log were planned on another epoch and are skipped.
//! - **Replica ids** rise likewise, this replica's own among them. Ids that the lost ones may have given are not given again, whoever
//!   returns is known to be no member, and what an old leader sends to this replica's old id reaches nobody.

use model::{PartitionDescriptor, ReplicaDescriptor, ReplicaId, ReplicaKind, ReplicaRole};

use crate::leading::Clock;
use crate::raft_core::Core;
use crate::{GroupState, Replica};

/// More changes of a group than one of its replicas can have missed and still be its best.
pub const STRIDE: u64 = 1 << 20;
/// Elections usually end within so many time-outs: a group that has no leader for longer has lost its quorum.
const LEADERLESS_TIMEOUTS: u64 = 4;

/// Why a replica is not to be recovered from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRecoverable {
    #[error("it has no items")]
    NoItems,
    #[error("it is no member of its group any more")]
    NoMember,
    #[error("a snapshot is replacing its items")]
    Installing,
    #[error("it leads, and serves")]
    Leads,
    #[error("a majority follows a leader, or did a moment ago")]
    Led,
    #[error("it has committed up to entry {committed} and applied up to entry {applied}: try again")]
    Applying { applied: u64, committed: u64 },
}

/// The state from which a replica goes on as the only voter.
pub fn recovered(state: &GroupState) -> Result<GroupState, NotRecoverable> {
    let before = &state.descriptor;
    let own = before.replica(state.replica).ok_or(NotRecoverable::NoMember)?;
    if own.kind == ReplicaKind::Log {
        return Err(NotRecoverable::NoItems);
    }
    let id = ReplicaId(before.next_replica.0 + STRIDE);
    let descriptor = PartitionDescriptor {
        epoch: before.epoch + STRIDE,
        replicas: vec![ReplicaDescriptor { id, role: ReplicaRole::Voter, ..own.clone() }],
        next_replica: ReplicaId(id.0 + 1),
        ..before.clone()
    };
    Ok(GroupState::birth(id, descriptor, state.table.clone()))
}

/// What people must know of a replica before they give the others up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Of its last entry.
    pub last_term: u64,
    /// It may have lost the end of its log (`tail`).
    pub tail_doubted: bool,
    /// Raft's voters; of a joint configuration both halves.
    pub voters: Vec<ReplicaId>,
    pub voters_outgoing: Vec<ReplicaId>,
}

impl Replica {
    pub fn standing(&self) -> Standing {
        let configuration = self.core.configuration();
        let ids = |ids: &[u64]| ids.iter().copied().map(ReplicaId).collect();
        Standing {
            last_term: self.core.last().0,
            tail_doubted: self.tail.is_some(),
            voters: ids(configuration.get_voters()),
            voters_outgoing: ids(configuration.get_voters_outgoing()),
        }
    }

    /// Whether this replica itself sees nothing that speaks against it.
    pub fn may_be_recovered(&self) -> Result<(), NotRecoverable> {
        let Some(state) = &self.applier.state else { return Err(NotRecoverable::NoItems) };
        if self.installing.is_some() {
            return Err(NotRecoverable::Installing);
        }
        if self.leading.as_ref().is_some_and(|leading| leading.serving) {
            return Err(NotRecoverable::Leads);
        }
        if self.quorum.lost_for(&self.clock).is_none() {
            return Err(NotRecoverable::Led);
        }
        let (applied, committed) = (self.applied, self.core.committed());
        if applied != committed {
            return Err(NotRecoverable::Applying { applied, committed });
        }
        recovered(state).map(drop)
    }
}

/// When a majority was last seen to follow a leader.
#[derive(Debug, Default)]
pub(crate) struct Quorum {
    /// The tick.
    seen_at: u64,
    committed: u64,
}

impl Quorum {
    /// Every tick. That somebody leads is not enough: a leader that reaches one zone alone commits nothing, and gives up after a
    /// while, for the next one to try. A replica that has nothing yet cannot tell.
    pub(crate) fn look(&mut self, core: &Core, ticks: u64) {
        let committed = core.committed();
        let commits = committed > self.committed || core.term_at(committed) == Some(core.term());
        if core.leader().is_some() && (commits || committed == 0) {
            self.seen_at = ticks;
        }
        self.committed = committed;
    }

    /// Ticks since then, where they are more than elections take.
    pub(crate) fn lost_for(&self, clock: &Clock) -> Option<u64> {
        let silence = clock.ticks.saturating_sub(self.seen_at);
        (silence >= LEADERLESS_TIMEOUTS * clock.patience()).then_some(silence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{descriptor, table};

    fn state() -> GroupState {
        let mut state = GroupState::birth(ReplicaId(3), descriptor(&["a", "b", "c"]), table());
        // As it stands in the middle of a change.
        state.configuration.set_voters(vec![1, 2, 4]);
        state.configuration.set_voters_outgoing(vec![1, 2, 3]);
        state.configuration.auto_leave = true;
        state.descriptor.next_replica = ReplicaId(5);
        state
    }

    #[test]
    fn one_replica_is_the_group_under_an_id_and_an_epoch_that_nobody_has_given() {
        let before = state();
        let after = recovered(&before).unwrap();
        let GroupState { replica, descriptor, table, configuration, settled } = after;
        assert_eq!((replica, descriptor.epoch), (ReplicaId(5 + STRIDE), before.descriptor.epoch + STRIDE));
        assert_eq!((descriptor.next_replica, settled), (ReplicaId(6 + STRIDE), 0));
        assert_eq!((&descriptor.range, &table), (&before.descriptor.range, &before.table));
        let old = before.descriptor.replica(ReplicaId(3)).unwrap();
        let [own] = &descriptor.replicas[..] else { panic!("it is alone") };
        assert_eq!((own.id, own.node, &own.zone, own.role), (replica, old.node, &old.zone, ReplicaRole::Voter));
        assert_eq!((configuration.get_voters(), configuration.get_voters_outgoing()), (&[replica.0][..], &[][..]));
        assert!(configuration.get_learners().is_empty() && !configuration.auto_leave);
    }

    #[test]
    fn a_log_alone_and_a_stranger_are_nothing_to_go_on_from() {
        let mut log = state();
        log.descriptor.replicas[2].kind = ReplicaKind::Log;
        assert_eq!(recovered(&log), Err(NotRecoverable::NoItems));
        let stranger = GroupState { replica: ReplicaId(9), ..state() };
        assert_eq!(recovered(&stranger), Err(NotRecoverable::NoMember));
    }
}
