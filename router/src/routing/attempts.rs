//! Whom to ask next, and whether to ask again: decided from what was asked and answered so far. Pure.

use std::time::Duration;

use model::{NodeId, ReplicaDescriptor, ReplicaKind, ReplicaRole, Zone};
use wire::data::refused::Reason;
use wire::data::{Refused, response};

use super::Failure;
use super::cache::CachedPartition;
use super::node::Outcome;

/// The first pause, doubled up to the longest; half of each is random.
const PAUSE_FIRST: Duration = Duration::from_millis(4);
const PAUSE_LONGEST: Duration = Duration::from_millis(200);
/// After so many doublings as many pauses stay as they are: leadership that is handed over as planned has arrived within 20 to 60 ms,
/// and a pause as long as all before it would be noticed.
const DOUBLED_FIRST: u32 = 2;
const NOT_DOUBLED: u32 = 5;

/// How often an overloaded node is asked again: more would feed the overload.
const OVERLOADED_TRIES: u32 = 3;

/// Leaders that point to each other, and descriptors that keep changing, are followed at once only so often.
const HOPS_AT_ONCE: u32 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Write,
    /// Strongly consistent.
    Read,
    /// Eventually consistent: any storage replica will do.
    NearRead,
}

#[derive(Debug)]
pub(super) struct Attempts {
    purpose: Purpose,
    /// Pauses so far.
    pub pauses: u32,
    hops: u32,
    overloaded: u32,
    /// How many replicas further down the list to ask.
    rotation: usize,
    /// Not asked as leader next time.
    avoided: Option<NodeId>,
    /// Why the last attempt did not answer.
    pub last: &'static str,
}

#[derive(Debug)]
pub(super) enum Verdict {
    Done(response::Result),
    Failed(Failure),
    /// The table is gone from that node.
    Gone,
    /// Ask again at once: something was learnt.
    AtOnce,
    /// Ask again after a pause: the map may know more by then.
    Paused,
    /// Ask again after a pause: the right node was asked, and has too much to do. The map is not asked again.
    PausedAlone,
    /// Take in what the node knows better, then ask again: at once if it was news.
    Stale(Refused),
}

impl Attempts {
    pub fn new(purpose: Purpose) -> Attempts {
        Attempts {
            purpose,
            pauses: 0,
            hops: 0,
            overloaded: 0,
            rotation: 0,
            avoided: None,
            last: "no replica of the partition is known",
        }
    }

    pub fn target(&self, partition: &CachedPartition, own_zone: &Zone) -> Option<NodeId> {
        let leader = partition.leader();
        let is_storage_voter =
            |replica: &&ReplicaDescriptor| replica.kind == ReplicaKind::Storage && replica.role == ReplicaRole::Voter;
        let voters = || partition.descriptor.replicas.iter().filter(is_storage_voter);
        match self.purpose {
            Purpose::NearRead => {
                let nearness = |replica: &&ReplicaDescriptor| (replica.zone != *own_zone, Some(replica.node) != leader);
                if self.rotation == 0 {
                    return voters().min_by_key(nearness).map(|replica| replica.node).or(leader);
                }
                let mut by_nearness: Vec<_> = voters().collect();
                by_nearness.sort_by_key(nearness);
                let at = self.rotation.checked_rem(by_nearness.len())?;
                Some(by_nearness[at].node)
            }
            Purpose::Read | Purpose::Write => {
                if leader.is_some() && leader != self.avoided {
                    return leader;
                }
                let others: Vec<NodeId> =
                    voters().map(|replica| replica.node).filter(|node| Some(*node) != self.avoided).collect();
                match self.rotation.checked_rem(others.len()) {
                    Some(at) => Some(others[at]),
                    None => leader,
                }
            }
        }
    }

    /// What to make of `node`'s outcome.
    pub fn judge(&mut self, node: NodeId, partition: &CachedPartition, outcome: Outcome) -> Verdict {
        match outcome {
            Outcome::Answered(response::Result::Refused(refused)) => self.refused(node, partition, refused),
            Outcome::Answered(
                result @ (response::Result::Got(_) | response::Result::Written(_) | response::Result::Scanned(_)),
            ) => Verdict::Done(result),
            Outcome::NotSent => self.elsewhere(node, "no connection to the node"),
            Outcome::Full => self.overloaded("too many requests wait for the node"),
            Outcome::Silent => self.unknown(node, "the node did not answer"),
        }
    }

    fn refused(&mut self, node: NodeId, partition: &CachedPartition, refused: Refused) -> Verdict {
        // A reason of a newer version may mean anything.
        let reason = Reason::try_from(refused.reason).unwrap_or(Reason::Unspecified);
        match reason {
            Reason::NotLeader => self.not_leader(node, partition, NodeId(refused.leader)),
            Reason::StaleEpoch => {
                self.last = "the partition's descriptor keeps changing";
                Verdict::Stale(refused)
            }
            Reason::UnknownPartition => self.elsewhere(node, "the node has no replica of the partition"),
            Reason::NotReady => {
                self.last = "the replica is not ready";
                self.next_replica()
            }
            Reason::Overloaded => self.overloaded("the node has too much to do"),
            Reason::DiskFull => Verdict::Failed(Failure::Overloaded("the node's disk is nearly full".to_owned())),
            Reason::Unknown => self.unknown(node, "leadership was lost"),
            Reason::Unspecified => self.unknown(node, "refused for an unknown reason"),
            Reason::TableGone => Verdict::Gone,
            Reason::Expired => self.expired(node),
            Reason::Malformed => {
                Verdict::Failed(Failure::Unavailable("the node could not decode the request".to_owned()))
            }
        }
    }

    fn not_leader(&mut self, node: NodeId, partition: &CachedPartition, hint: NodeId) -> Verdict {
        self.last = "the partition has no leader";
        self.rotation += 1;
        if hint != NodeId(0) && hint != node && Some(hint) != self.avoided {
            self.avoided = None;
            partition.hint_leader(hint);
            return self.hop();
        }
        // Who was avoided and is still said to lead gets its next chance.
        self.avoided = if self.avoided == Some(hint) { None } else { Some(node) };
        Verdict::Paused
    }

    /// Something was learnt: no pause, unless it happens again and again.
    pub fn hop(&mut self) -> Verdict {
        self.hops += 1;
        if self.hops <= HOPS_AT_ONCE { Verdict::AtOnce } else { Verdict::Paused }
    }

    /// The next in the list, where it is not the leader that is wanted.
    pub fn next_replica(&mut self) -> Verdict {
        self.rotation += 1;
        Verdict::Paused
    }

    /// A read is given less time than its request has.
    fn expired(&mut self, node: NodeId) -> Verdict {
        const WHY: &str = "the deadline has passed";
        match self.purpose {
            Purpose::Write => Verdict::Failed(Failure::Unavailable(WHY.to_owned())),
            Purpose::Read | Purpose::NearRead => self.elsewhere(node, WHY),
        }
    }

    fn elsewhere(&mut self, node: NodeId, why: &'static str) -> Verdict {
        self.last = why;
        self.rotation += 1;
        self.avoided = Some(node);
        Verdict::Paused
    }

    fn overloaded(&mut self, why: &'static str) -> Verdict {
        self.last = why;
        self.overloaded += 1;
        self.rotation += 1;
        if self.overloaded > OVERLOADED_TRIES {
            return Verdict::Failed(Failure::Overloaded(why.to_owned()));
        }
        Verdict::PausedAlone
    }

    /// A write that may have been applied is never sent again; a read may always be.
    fn unknown(&mut self, node: NodeId, why: &'static str) -> Verdict {
        match self.purpose {
            Purpose::Write => Verdict::Failed(Failure::Unknown),
            Purpose::Read | Purpose::NearRead => self.elsewhere(node, why),
        }
    }
}

/// The pause after so many, half of it random.
pub(super) fn pause(before: u32, random: u64) -> Duration {
    let doubled = before.min(DOUBLED_FIRST).max(before.saturating_sub(NOT_DOUBLED));
    let longest = PAUSE_FIRST.saturating_mul(1 << doubled.min(10)).min(PAUSE_LONGEST);
    let half = longest / 2;
    let half_us = u64::try_from(half.as_micros()).unwrap_or(u64::MAX).max(1);
    half + Duration::from_micros(random % half_us)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_stay_short_while_a_hand_over_may_take_and_grow_after_it() {
        let shortest: Vec<u128> = (0..14).map(|before| pause(before, 0).as_millis()).collect();
        assert_eq!(shortest, [2, 4, 8, 8, 8, 8, 8, 8, 16, 32, 64, 100, 100, 100]);
    }
}
