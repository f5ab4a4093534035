//! Sleep: a group with nothing to do costs nothing. No tick is given to a sleeping replica, and nothing travels for it.
//!
//! What vouches for a sleeping leader is its node: a pair of nodes that share a group exchanges a frame at every heartbeat
//! interval, with the number of the sender's start. Nothing here is about safety: a sleeping leader serves a read only after
//! a read-index round, and a write needs its quorum, as ever. It is about never sleeping through the loss of a leader.
//!
//! **Falling asleep.** A leader that serves and for `sleep_ticks` saw nothing but heartbeats asks everybody with
//! [`MessageBody::SleepAsked`] (term, last index), if: all members are voters with items (a learner or a log replica is always
//! on its way to something), no change of membership and no joint configuration, no transfer, resignation or hand-over, no
//! request or proposal under way; the log is committed, applied and synced to its end here, and every voter has matched it.
//! A follower agrees ([`MessageBody::SleepAgreed`]) if the asker leads it in that very term and its own log ends, is committed,
//! applied and synced at that very index, outside a joint configuration, and it does not doubt its log's tail. **It falls asleep
//! at once; the leader only when all have agreed**: so nobody is awake under a sleeping leader but who was woken, and a leader
//! that waits in vain wakes the others again with its next heartbeat. While it asks (`ASK_TICKS` at most) its raft clock stands
//! still, since a heartbeat would wake who has just agreed.
//!
//! **Waking.** Any message of the group but those two, any request, and [`Input::Lost`]: the host says so when the node of another
//! replica is silent or has started anew, to a leader whoever it is, to a follower if it is the leader. A leader that wakes
//! sends heartbeats at once. A follower that wakes begins with its timer at the base election time-out: outside the lease in which
//! raft drops (pre-)votes, or woken followers would drop each other's. If its leader's node is lost, the preferred follower (the
//! same for all: drawn from term and replicas) campaigns with its next tick, the others leave it `HOLD_TICKS`. If not, it
//! asks its leader to wake ([`MessageBody::WakeAsked`]) and leaves it as long to be heard.
//!
//! **No two replicas disagree for ever**, whatever is lost:
//! - a sleeping follower under an awake leader: is woken by its next heartbeat;
//! - an awake follower under a sleeping leader: hears nothing, campaigns, and so wakes everybody its messages reach; it goes on
//!   until it has a leader. Only whom a leader has asked sleeps again;
//! - a leader that was deposed in its sleep: its node hears the others, or they are silent and it is woken; its heartbeats are
//!   answered with the newer term;
//! - a restart: a started replica is awake, and its node's new start number wakes whom it led and who led it;
//! - a cut in one direction: who hears nothing is woken by that silence. Where only the follower hears nothing it takes the
//!   leadership once, and the group stays awake, since not everybody can agree;
//! - a late `SleepAsked` of a leader that is gone: the host does not let a replica sleep whose leader's node is silent.

use std::collections::BTreeSet;

use model::{PartitionDescriptor, ReplicaDescriptor, ReplicaId, ReplicaKind, ReplicaRole};

use crate::election::mix;
use crate::eraftpb::MessageType;
use crate::raft_core::Core;
use crate::repair::COPIES;
use crate::{Envelope, Input, MessageBody, Mutant};

/// How long a leader asks: enough for a slow network, too short for anybody's election time-out.
const ASK_TICKS: u64 = 4;
/// How long a woken follower leaves it to others to be first.
const HOLD_TICKS: u64 = 3;

/// What an input is to one who sleeps, or wants to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stir {
    /// Nobody wakes of it.
    None,
    /// Wakes, but does not keep awake.
    Beat {
        from: ReplicaId,
    },
    Message {
        from: ReplicaId,
    },
    Request,
    /// The node of that replica.
    Lost(ReplicaId),
}

pub(crate) fn stir_of(input: &Input) -> Stir {
    match input {
        Input::Message(envelope) => stir_of_message(envelope),
        Input::Lost(replica) => Stir::Lost(*replica),
        Input::Write { .. }
        | Input::Confirm { .. }
        | Input::Change { .. }
        | Input::SetTable { .. }
        | Input::Transfer { .. }
        | Input::Split { .. }
        | Input::Campaign
        | Input::Resign => Stir::Request,
        Input::Tick
        | Input::Unreachable(_)
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
        | Input::AnnounceCommit => Stir::None,
    }
}

fn stir_of_message(envelope: &Envelope) -> Stir {
    let from = envelope.from;
    match &envelope.body {
        // Where the leader's log begins is news for the log alone.
        MessageBody::SleepAsked { .. }
        | MessageBody::SleepAgreed { .. }
        | MessageBody::Absent { .. }
        | MessageBody::Truncated { .. } => Stir::None,
        MessageBody::Raft(message) => match message.msg_type {
            MessageType::MsgHeartbeat | MessageType::MsgHeartbeatResponse => Stir::Beat { from },
            _ => Stir::Message { from },
        },
        MessageBody::TailAsked { .. } | MessageBody::TailTold { .. } | MessageBody::Unfit | MessageBody::WakeAsked => {
            Stir::Message { from }
        }
    }
}

#[derive(Default)]
pub(crate) struct Sleep {
    asleep: bool,
    /// The tick at which something other than a heartbeat happened last.
    stirred: u64,
    asking: Option<Asking>,
    /// Raft's clock stands still before this tick.
    holds_until: u64,
}

/// Question of a leader.
struct Asking {
    index: u64,
    since: u64,
    agreed: BTreeSet<ReplicaId>,
}

/// A leader's question, or what becomes of it, in one tick.
pub(crate) enum Turn {
    /// It goes on as ever.
    Awake,
    /// Raft's clock stands still; ask these.
    Asks(Vec<Envelope>),
}

impl Sleep {
    pub(crate) fn is_asleep(&self) -> bool {
        self.asleep
    }

    /// Something happened. True if it wakes; then [`wake`] follows.
    pub(crate) fn stir(&mut self, stir: Stir, core: &Core, ticks: u64) -> bool {
        let wakes = match stir {
            Stir::None => return false,
            Stir::Beat { .. } => true,
            Stir::Lost(lost) => core.leads() || core.leader().is_none_or(|leader| leader == lost),
            Stir::Message { .. } | Stir::Request => {
                self.stirred = ticks;
                self.asking = None;
                true
            }
        };
        let woken = wakes && std::mem::take(&mut self.asleep);
        if woken {
            self.stirred = ticks;
        }
        woken
    }

    /// True while raft's clock is not to move.
    pub(crate) fn holds(&self, ticks: u64) -> bool {
        ticks < self.holds_until
    }

    /// A leader has been left alone for so long that it may ask.
    pub(crate) fn is_due(&self, ticks: u64, patience: u64) -> bool {
        patience > 0 && ticks >= self.stirred + patience
    }

    /// A leader's tick: whether it may sleep, by all that it knows itself.
    pub(crate) fn turn(&mut self, ticks: u64, may_sleep: bool, core: &Core) -> Turn {
        if self.asking.as_ref().is_some_and(|asking| ticks >= asking.since + ASK_TICKS) {
            self.asking = None;
            self.stirred = ticks;
            return Turn::Awake;
        }
        if !may_sleep {
            self.asking = None;
            return Turn::Awake;
        }
        let index = core.last_index();
        let asking = self.asking.get_or_insert_with(|| Asking { index, since: ticks, agreed: BTreeSet::new() });
        let body = || MessageBody::SleepAsked { term: core.term(), index };
        let others = core.voters().into_iter().filter(|id| *id != core.id() && !asking.agreed.contains(id));
        Turn::Asks(others.map(|to| Envelope { from: core.id(), to, body: body() }).collect())
    }

    /// A voter has agreed. True if all have: the leader sleeps from now on.
    pub(crate) fn agreed(&mut self, from: ReplicaId, told: (u64, u64), may_sleep: bool, core: &Core) -> bool {
        let Some(asking) = &mut self.asking else { return false };
        if told != (core.term(), asking.index) {
            return false;
        }
        asking.agreed.insert(from);
        let all = core.voters().into_iter().all(|id| id == core.id() || asking.agreed.contains(&id));
        if (all || core.flaw().sleeps_alone()) && may_sleep {
            self.fall_asleep();
        }
        self.asleep
    }

    pub(crate) fn fall_asleep(&mut self) {
        self.asleep = true;
        self.asking = None;
    }

    /// Leadership changed: whatever was asked is asked no more.
    pub(crate) fn role_changed(&mut self, ticks: u64) {
        self.asking = None;
        self.holds_until = 0;
        self.stirred = ticks;
    }

    /// What a replica does first that has just woken; perhaps a message to its leader.
    pub(crate) fn wake(&mut self, woken: &Woken<'_>, core: &mut Core) -> Option<Envelope> {
        if core.leads() {
            core.lead_on();
            return None;
        }
        let in_lease = core.flaw().is(Mutant::SleepersDropVotes);
        let lost = match woken.stir {
            Stir::Lost(_) => true,
            Stir::None | Stir::Beat { .. } | Stir::Message { .. } | Stir::Request => false,
        };
        if lost && preferred(woken.descriptor, core) == Some(core.id()) {
            core.campaign_next();
            return None;
        }
        if !in_lease {
            core.leave_lease();
        }
        self.holds_until = woken.ticks + 1 + HOLD_TICKS;
        let from = match woken.stir {
            Stir::Beat { from } | Stir::Message { from } => Some(from),
            Stir::None | Stir::Request | Stir::Lost(_) => None,
        };
        let leader = core.leader().filter(|leader| !lost && Some(*leader) != from);
        leader.map(|to| Envelope { from: core.id(), to, body: MessageBody::WakeAsked })
    }
}

/// Why, when and where a replica woke.
pub(crate) struct Woken<'a> {
    pub stir: Stir,
    pub ticks: u64,
    pub descriptor: Option<&'a PartitionDescriptor>,
}

/// Who campaigns first when the leader is lost: the same for all, another one in each term.
fn preferred(descriptor: Option<&PartitionDescriptor>, core: &Core) -> Option<ReplicaId> {
    let fit = |id: &ReplicaId| {
        let described = descriptor?.replica(*id)?;
        (described.kind == ReplicaKind::Storage && Some(*id) != core.leader()).then_some(())
    };
    core.voters().into_iter().filter(|id| fit(id).is_some()).min_by_key(|id| mix(mix(core.term()) ^ id.0))
}

/// All members vote and have items, and none is missing: a group that is short has its repair before it.
pub(crate) fn is_whole(descriptor: &PartitionDescriptor) -> bool {
    let votes =
        |replica: &ReplicaDescriptor| (replica.role, replica.kind) == (ReplicaRole::Voter, ReplicaKind::Storage);
    descriptor.replicas.len() >= COPIES && descriptor.replicas.iter().all(votes)
}

#[cfg(test)]
mod tests {
    use model::{KeyRange, NodeId, PartitionId, TableId, Zone};

    use super::*;

    #[test]
    fn a_group_that_is_short_is_not_whole() {
        let places = [(1, "a"), (2, "b"), (3, "c")].map(|(node, zone)| (NodeId(node), Zone(zone.to_owned())));
        let mut group = PartitionDescriptor::birth(PartitionId(1), TableId(1), KeyRange::ALL, places);
        assert!(is_whole(&group));
        group.replicas[2].role = ReplicaRole::Learner;
        assert!(!is_whole(&group));
        group.replicas.pop();
        assert!(!is_whole(&group), "its repair is still to come");
    }
}
