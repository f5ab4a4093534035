//! A replica that may have lost the end of its log does not vote as if it had not.
//!
//! It asks the other voters what they have. Once enough of them have told, it knows beyond which entry nothing can have been
//! committed with its help, the floor: from then on it votes for those who have at least that, and as soon as it has as much
//! itself (from them, or from the present leader alone) it is as good as any. The lost batch may also have held a vote, in a
//! term that it has forgotten: so it abstains up to the term after the newest that it has heard of ([`Abstention`]).

use std::collections::BTreeMap;

use model::ReplicaId;

use crate::eraftpb::{ConfState, Message, MessageType};
use crate::leading::Clock;
use crate::raft_core::Core;
use crate::{Envelope, MessageBody, Now};

/// (term, index) of a last entry, in the order in which elections compare them.
type Last = (u64, u64);

/// No vote, for others or for itself, up to this term: it may have voted there before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Abstention {
    until: u64,
}

impl Abstention {
    /// Candidates stand in the term after the one they know.
    pub(crate) fn after(newest_term: u64) -> Abstention {
        Abstention { until: newest_term + 1 }
    }

    /// Whether this message may be stepped.
    pub(crate) fn admits(self, message: &Message, own_term: u64) -> bool {
        match message.get_msg_type() {
            MessageType::MsgRequestVote => message.term > self.until,
            MessageType::MsgTimeoutNow => own_term >= self.until,
            _ => true,
        }
    }

    /// A leader of an older term is followed; without one, the term is passed at once, before anybody stands in it.
    pub(crate) fn keep(self, core: &mut Core) {
        if core.leader().is_none() && core.term() <= self.until {
            core.abstain(self.until);
        }
    }
}

/// An answer.
pub(crate) struct Told {
    pub question: u64,
    pub term: u64,
    pub last_term: u64,
    pub last_index: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Tail {
    /// The host's clock when it first asked: answers to an earlier start's question, which may come late, are not counted.
    question: Option<u64>,
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
    pub(crate) fn told(&mut self, own: ReplicaId, from: ReplicaId, told: &Told, configuration: &ConfState) -> bool {
        if self.question != Some(told.question) {
            return false;
        }
        self.newest_term = self.newest_term.max(told.term);
        let last = (told.last_term, told.last_index);
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
    pub(crate) fn questions(&mut self, core: &Core, clock: &Clock, now: Now) -> Vec<Envelope> {
        let Clock { options, ticks, .. } = clock;
        let question = *self.question.get_or_insert(now.0);
        if !ticks.is_multiple_of(options.heartbeat_ticks.max(1) as u64) {
            return Vec::new();
        }
        let configuration = core.configuration();
        let mut voters = [configuration.get_voters(), configuration.get_voters_outgoing()].concat();
        voters.sort_unstable();
        voters.dedup();
        let others = voters.into_iter().map(ReplicaId).filter(|&id| id != core.id());
        others.map(|to| Envelope { from: core.id(), to, body: MessageBody::TailAsked { question } }).collect()
    }

    /// It has everything that it can have had.
    pub(crate) fn is_level(&self, own: Last, leader: Option<ReplicaId>) -> bool {
        let with_leader = leader.and_then(|leader| self.told.get(&leader.0)).is_some_and(|&told| own >= told);
        with_leader || self.floor.is_some_and(|floor| own >= floor)
    }
}

/// What this replica has, as it knows it; one that is not sure of its own tail answers, too, or nobody would after all lost
/// power at once.
pub(crate) fn answer(core: &Core, to: ReplicaId, question: u64) -> Envelope {
    let (last_term, last_index) = core.last();
    let (term, commit) = (core.term(), core.committed());
    let body = MessageBody::TailTold { question, term, last_index, last_term, commit };
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

    fn told(last_term: u64, last_index: u64) -> Told {
        Told { question: 1, term: 6, last_term, last_index }
    }

    #[test]
    fn nobody_gets_its_vote_in_a_term_in_which_it_may_have_voted() {
        let abstention = Abstention::after(7);
        let mut request = vote_request(6, 20);
        for (term, admitted) in [(7, false), (8, false), (9, true)] {
            request.term = term;
            assert_eq!(abstention.admits(&request, 7), admitted);
        }
        request.set_msg_type(MessageType::MsgTimeoutNow);
        assert!(!abstention.admits(&request, 7) && abstention.admits(&request, 8));
    }

    #[test]
    fn an_answer_to_an_earlier_starts_question_does_not_count() {
        let mut tail = Tail { question: Some(1), ..Tail::default() };
        for from in [2, 3] {
            let late = Told { question: 0, ..told(6, 10) };
            assert!(!tail.told(ReplicaId(1), ReplicaId(from), &late, &three()));
        }
        assert!(!tail.is_level((6, 20), Some(ReplicaId(2))));
    }

    #[test]
    fn terms_that_others_are_in_are_known_from_their_answers() {
        let mut tail = Tail { question: Some(1), ..Tail::default() };
        tail.told(ReplicaId(1), ReplicaId(2), &Told { term: 9, ..told(6, 10) }, &three());
        assert_eq!(tail.newest_term, 9);
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
        let mut tail = Tail { question: Some(1), ..Tail::default() };
        assert!(!tail.told(ReplicaId(1), ReplicaId(2), &told(6, 20), &three()));
        assert!(!tail.admits(&vote_request(9, 99)));
        assert!(tail.told(ReplicaId(1), ReplicaId(3), &told(6, 18), &three()));
        assert!(!tail.admits(&vote_request(6, 19)));
        assert!(tail.admits(&vote_request(6, 20)));
        assert!(!tail.is_level((6, 19), None));
        assert!(tail.is_level((6, 20), None));
    }

    #[test]
    fn what_another_lost_before_it_was_synced_is_not_waited_for() {
        let mut tail = Tail { question: Some(1), ..Tail::default() };
        tail.told(ReplicaId(1), ReplicaId(2), &told(6, 28), &three());
        tail.told(ReplicaId(1), ReplicaId(3), &told(6, 20), &three());
        assert!(!tail.is_level((6, 22), None));
        tail.told(ReplicaId(1), ReplicaId(2), &told(6, 20), &three());
        assert!(tail.is_level((6, 22), None));
    }

    #[test]
    fn a_learner_or_the_other_half_does_not_raise_the_floor() {
        let mut joint = three();
        joint.set_voters_outgoing(vec![1, 2, 4]);
        let mut tail = Tail { question: Some(1), ..Tail::default() };
        assert!(!tail.told(ReplicaId(1), ReplicaId(2), &told(6, 11), &joint));
        assert!(!tail.told(ReplicaId(1), ReplicaId(4), &told(6, 41), &joint));
        assert!(tail.told(ReplicaId(1), ReplicaId(3), &told(6, 23), &joint));
        assert!(tail.is_level((6, 23), None));
    }

    #[test]
    fn the_leader_alone_can_bring_it_level() {
        let mut tail = Tail { question: Some(1), ..Tail::default() };
        assert!(!tail.told(ReplicaId(1), ReplicaId(2), &told(6, 20), &three()));
        assert!(!tail.is_level((6, 20), None));
        assert!(!tail.is_level((6, 19), Some(ReplicaId(2))));
        assert!(tail.is_level((6, 20), Some(ReplicaId(2))));
    }
}
