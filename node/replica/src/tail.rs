//! A replica that may have lost the end of its log does not vote as if it had not.
//!
//! It asks the other voters what they have. Once a quorum of others has told, nothing that it helped to commit lies beyond the
//! greatest of their last entries: from then on it votes for those who have at least that, and as soon as it has as much itself
//! (from them, or from the present leader alone) it is as good as any. The lost batch may also have held a vote: so it
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

    /// The greatest of what the others have becomes the floor when enough of them have told; true when that just happened.
    pub(crate) fn told(&mut self, from: ReplicaId, last: Last, configuration: &ConfState) -> bool {
        let known = self.told.entry(from.0).or_insert(last);
        *known = (*known).max(last);
        if !self.quorum_told(configuration) {
            return false;
        }
        let before = self.floor;
        self.floor = self.told.values().copied().max().max(self.floor);
        before.is_none()
    }

    fn quorum_told(&self, configuration: &ConfState) -> bool {
        let enough = |voters: &[u64]| {
            let told = voters.iter().filter(|id| self.told.contains_key(id)).count();
            voters.is_empty() || told >= raft::majority(voters.len())
        };
        !configuration.get_voters().is_empty()
            && enough(configuration.get_voters())
            && enough(configuration.get_voters_outgoing())
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
        assert!(!tail.told(ReplicaId(2), (6, 20), &three()));
        assert!(!tail.admits(&vote_request(9, 99)));
        assert!(tail.told(ReplicaId(3), (6, 18), &three()));
        assert!(!tail.admits(&vote_request(6, 19)));
        assert!(tail.admits(&vote_request(6, 20)));
        assert!(!tail.is_level((6, 19), None));
        assert!(tail.is_level((6, 20), None));
    }

    #[test]
    fn the_leader_alone_can_bring_it_level() {
        let mut tail = Tail::default();
        assert!(!tail.told(ReplicaId(2), (6, 20), &three()));
        assert!(!tail.is_level((6, 20), None));
        assert!(!tail.is_level((6, 19), Some(ReplicaId(2))));
        assert!(tail.is_level((6, 20), Some(ReplicaId(2))));
    }
}
