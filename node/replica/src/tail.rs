//! A replica that may have lost the end of its log does not vote as if it had not.
//!
//! It asks the other voters what they have. Once enough of them have told, it knows beyond which entry nothing can have been
//! committed with its help, the floor: from then on it votes for those who have at least that, and as soon as it has as much
//! itself (from them, or from the present leader alone) it is as good as any. The lost batch may also have held a vote: so it
//! abstains in every term it has heard of meanwhile.

use std::collections::BTreeMap;

use model::ReplicaId;

use crate::eraftpb::{ConfState, Message, MessageType};
use crate::raft_core::Core;
use crate::{Envelope, MessageBody, Options};

/// (term, index) of a last entry, in the order in which elections compare them.
type Last = (u64, u64);

#[derive(Debug, Default)]
pub(crate) struct Tail {
    told: BTreeMap<u64, Last>,
    /// Known once a quorum has told.
    floor: Option<Last>,
    /// The newest term in any message.
    pub newest_term: u64,
}

impl Tail {
    /// Whether this message may be stepped.
    pub(crate) fn admits(&mut self, message: &Message) -> bool {
        let kind = message.get_msg_type();
        if !matches!(kind, MessageType::MsgRequestPreVote | MessageType::MsgRequestPreVoteResponse) {
            // Pre-votes name a term that may never begin.
            self.newest_term = self.newest_term.max(message.term);
        }
        match kind {
            MessageType::MsgRequestVote | MessageType::MsgRequestPreVote => {
                self.floor.is_some_and(|floor| (message.log_term, message.index) >= floor)
            }
            MessageType::MsgTimeoutNow => false,
            _ => true,
        }
    }

    /// What one says last counts: it may have lost what it had not synced. True when the floor is known for the first time.
    pub(crate) fn told(&mut self, own: ReplicaId, from: ReplicaId, last: Last, configuration: &ConfState) -> bool {
        self.told.insert(from.0, last);
        let first = self.floor.is_none();
        let halves = [configuration.get_voters(), configuration.get_voters_outgoing()];
        let floors = halves.into_iter().filter(|voters| !voters.is_empty()).map(|voters| self.floor_of(own, voters));
        // What is committed in a joint configuration is committed by both halves: the lower floor will do.
        let floor = floors.collect::<Option<Vec<Last>>>().and_then(|floors| floors.into_iter().min());
        self.floor = floor.or(self.floor);
        first && self.floor.is_some()
    }

    /// Beyond it too few of the others have anything to make a majority with this replica's help. None where one that has not
    /// told could be missing.
    fn floor_of(&self, own: ReplicaId, voters: &[u64]) -> Option<Last> {
        let others = voters.iter().filter(|&&id| id != own.0);
        let mut lasts: Vec<Option<Last>> = others.map(|id| self.told.get(id).copied()).collect();
        // Those that have not told may have anything: they come first.
        lasts.sort_unstable_by_key(|last| std::cmp::Reverse(last.map_or((1, (0, 0)), |last| (0, last))));
        let helpers = raft::majority(voters.len()) - 1;
        match helpers.checked_sub(1) {
            Some(weakest) => lasts.get(weakest).copied().flatten(),
            None => Some((0, 0)),
        }
    }

    /// To every other voter, once per heartbeat.
    pub(crate) fn questions(&self, core: &Core, ticks: u64, options: &Options) -> Vec<Envelope> {
        if !ticks.is_multiple_of(options.heartbeat_ticks.max(1) as u64) {
            return Vec::new();
        }
        let configuration = core.configuration();
        let mut voters = [configuration.get_voters(), configuration.get_voters_outgoing()].concat();
        voters.sort_unstable();
        voters.dedup();
        let others = voters.into_iter().map(ReplicaId).filter(|&id| id != core.id());
        others.map(|to| Envelope { from: core.id(), to, body: MessageBody::TailAsked }).collect()
    }

    /// It has everything that it can have had.
    pub(crate) fn is_level(&self, own: Last, leader: Option<ReplicaId>) -> bool {
        let with_leader = leader.and_then(|leader| self.told.get(&leader.0)).is_some_and(|&told| own >= told);
        with_leader || self.floor.is_some_and(|floor| own >= floor)
    }
}

/// What this replica has, as it knows it; one that is not sure of its own tail answers, too, or nobody would after all lost
/// power at once.
pub(crate) fn answer(core: &Core, to: ReplicaId) -> Envelope {
    let (last_term, last_index) = core.last();
    let body = MessageBody::TailTold { last_index, last_term, commit: core.committed() };
    Envelope { from: core.id(), to, body }
}

/// A leader counts what this replica once acknowledged; it cannot commit here what is no longer in the log.
pub(crate) fn believable_commit(message: &Message, last_index: u64) -> u64 {
    match message.get_msg_type() {
        MessageType::MsgHeartbeat => message.commit.min(last_index),
        _ => message.commit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> ConfState {
        let mut configuration = ConfState::default();
        configuration.set_voters(vec![1, 2, 3]);
        configuration
    }

    fn vote_request(log_term: u64, index: u64) -> Message {
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgRequestVote);
        message.log_term = log_term;
        message.index = index;
        message
    }

    #[test]
    fn it_votes_for_nobody_until_both_others_have_told_and_then_for_those_who_have_as_much() {
        let mut tail = Tail::default();
        assert!(!tail.told(ReplicaId(1), ReplicaId(2), (6, 20), &three()));
        assert!(!tail.admits(&vote_request(9, 99)));
        assert!(tail.told(ReplicaId(1), ReplicaId(3), (6, 18), &three()));
        assert!(!tail.admits(&vote_request(6, 19)));
        assert!(tail.admits(&vote_request(6, 20)));
        assert!(!tail.is_level((6, 19), None));
        assert!(tail.is_level((6, 20), None));
    }

    #[test]
    fn what_another_lost_before_it_was_synced_is_not_waited_for() {
        let mut tail = Tail::default();
        tail.told(ReplicaId(1), ReplicaId(2), (6, 28), &three());
        tail.told(ReplicaId(1), ReplicaId(3), (6, 20), &three());
        assert!(!tail.is_level((6, 22), None));
        tail.told(ReplicaId(1), ReplicaId(2), (6, 20), &three());
        assert!(tail.is_level((6, 22), None));
    }

    #[test]
    fn a_learner_or_the_other_half_does_not_raise_the_floor() {
        let mut joint = three();
        joint.set_voters_outgoing(vec![1, 2, 4]);
        let mut tail = Tail::default();
        assert!(!tail.told(ReplicaId(1), ReplicaId(2), (6, 11), &joint));
        assert!(!tail.told(ReplicaId(1), ReplicaId(4), (6, 41), &joint));
        assert!(tail.told(ReplicaId(1), ReplicaId(3), (6, 23), &joint));
        assert!(tail.is_level((6, 23), None));
    }

    #[test]
    fn the_leader_alone_can_bring_it_level() {
        let mut tail = Tail::default();
        assert!(!tail.told(ReplicaId(1), ReplicaId(2), (6, 20), &three()));
        assert!(!tail.is_level((6, 20), None));
        assert!(!tail.is_level((6, 19), Some(ReplicaId(2))));
        assert!(tail.is_level((6, 20), Some(ReplicaId(2))));
    }
}
