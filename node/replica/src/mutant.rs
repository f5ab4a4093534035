//! Known mistakes, put back by hand: the proof that the simulator would find them.
//!
//! Only the feature `mutants` lets one be chosen, and only `sim` asks for it, in its tests. Without it a [`Flaw`] is empty and
//! every question to it the constant `false`: no binary of ours holds a mistake that could be chosen. Each is asked about at
//! the place where the rule is kept; what a mistake has to remember lives here.

use crate::Effects;
use crate::leading::{Desk, Leading};
use crate::raft_core::Core;

/// A rule that is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// What a deposed leader evaluates late is forwarded by raft, in the term that it has just heard of.
    ForwardedProposal,
    /// The same in the term in which it led; and replicas apply entries whatever term they were evaluated in.
    OtherTermApplied,
    /// A leader evaluates before it has applied the first entry of its term.
    EvaluatedEarly,
    /// A failed condition is answered without a read-index round.
    ConditionUnconfirmed,
    /// Strong reads trust raft's lease.
    LeaseReads,
    /// The log is truncated behind what is applied, flushed or not.
    TruncatedEarly,
    /// Commits do not count zones.
    OneZoneQuorum,
    /// Commit groups are not set again at a start.
    GroupsForgotten,
    /// The overlay outlives the leadership, and what others apply does not thin it; its own checks are off.
    OverlayKept,
    /// A write or a read of a router with another epoch is served.
    EpochIgnored,
    /// A replica does not stumble over what its leader believes it has (the host hides what was lost).
    EmptyDiskVotes,
    /// raft adds entries to a queued append without looking where that one ends.
    BatchedAppends,
    /// A leader goes on with writes to the right half between a split's proposal and its application.
    WritesAcrossSplit,
    /// It goes on with strong reads, too.
    ReadsAcrossSplit,
    /// The left half keeps its epoch.
    SplitKeepsEpoch,
    /// A leader sleeps as soon as one follower has agreed.
    SleepsUnagreed,
    /// The same, in the middle of a change of membership or a commit, too.
    SleepsInChange,
    /// A follower agrees to sleep whatever its log lacks.
    AgreesBehind,
    /// One copy is enough for a leader to truncate what others lack.
    KeepsTooLittle,
    /// A log replica serves as any leader does.
    LogReplicaServes,
    /// A second voter may be stood in for while a first one is, though one copy is left then.
    OneCopyEnough,
    /// A sleeping follower drops pre-votes, in the lease of a leader that is gone (and silence wakes only the preferred one).
    SleepersDropVotes,
    /// A log replica that leads does not hand over.
    LogReplicaClings,
}

/// The mistake built into a replica, if any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flaw {
    #[cfg(feature = "mutants")]
    mutant: Option<Mutant>,
}

#[cfg(feature = "mutants")]
impl Flaw {
    pub fn of(mutant: Mutant) -> Flaw {
        Flaw { mutant: Some(mutant) }
    }

    pub(crate) fn is(self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }
}

#[cfg(not(feature = "mutants"))]
impl Flaw {
    pub(crate) const fn is(self, _mutant: Mutant) -> bool {
        false
    }
}

impl Flaw {
    /// Raft may send a proposal to the leader that it knows.
    pub(crate) fn forwards(self) -> bool {
        self.is(Mutant::ForwardedProposal) || self.is(Mutant::OtherTermApplied)
    }

    /// A leader sleeps before its followers do.
    pub(crate) fn sleeps_alone(self) -> bool {
        self.is(Mutant::SleepsUnagreed) || self.is(Mutant::SleepsInChange)
    }

    /// A leader's own checks would find it first.
    pub(crate) fn unchecked(self) -> bool {
        self.is(Mutant::OverlayKept) || self.is(Mutant::EvaluatedEarly)
    }
}

/// What mistakes keep of a leadership that is over.
#[derive(Default)]
pub(crate) struct Leftovers {
    #[cfg(feature = "mutants")]
    overlay: Option<crate::overlay::Overlay>,
    /// It still takes writes, and since when.
    #[cfg(feature = "mutants")]
    deposed: Option<(Leading, u64)>,
}

#[cfg(not(feature = "mutants"))]
impl Leftovers {
    pub(crate) fn keep(&mut self, _flaw: Flaw, _leading: &mut Leading, _core: &Core, _ticks: u64) {}

    pub(crate) fn give_back(&mut self, _leading: &mut Leading) {}

    pub(crate) fn deposed(&mut self) -> Option<&mut Leading> {
        None
    }

    pub(crate) fn forward(&mut self, _desk: &mut Desk<'_>, _core: &mut Core, _now: crate::Now) {}

    pub(crate) fn end(&mut self, _effects: &mut Effects, _core: &Core, _ticks: u64) {}
}

#[cfg(feature = "mutants")]
impl Leftovers {
    /// Leadership is lost.
    pub(crate) fn keep(&mut self, flaw: Flaw, leading: &mut Leading, core: &Core, ticks: u64) {
        if flaw.is(Mutant::OverlayKept) {
            self.overlay = Some(leading.take_overlay());
        }
        if flaw.forwards() {
            let term = if flaw.is(Mutant::ForwardedProposal) { core.term() } else { leading.term };
            self.deposed = Some((leading.go_on_in(term, core, ticks), ticks));
        }
    }

    /// It is won again.
    pub(crate) fn give_back(&mut self, leading: &mut Leading) {
        if let Some(overlay) = self.overlay.take() {
            leading.put_overlay(overlay);
        }
    }

    pub(crate) fn deposed(&mut self) -> Option<&mut Leading> {
        self.deposed.as_mut().map(|(leading, _)| leading)
    }

    /// Evaluates what waits and lets raft forward it.
    pub(crate) fn forward(&mut self, desk: &mut Desk<'_>, core: &mut Core, now: crate::Now) {
        if let Some((leading, _)) = &mut self.deposed {
            leading.propose(desk, core, now);
            leading.forget_proposed(desk.effects);
        }
    }

    /// After one election time-out even this one knows, or as soon as it leads again.
    pub(crate) fn end(&mut self, effects: &mut Effects, core: &Core, ticks: u64) {
        if let Some((leading, _)) = self.deposed.take_if(|(_, since)| core.leads() || ticks >= *since + 10) {
            drop(leading.resign(effects, core));
        }
    }
}

#[cfg(all(test, not(feature = "mutants")))]
mod tests {
    use super::*;

    #[test]
    fn without_the_feature_there_is_no_room_for_a_mistake() {
        assert_eq!((size_of::<Flaw>(), size_of::<Leftovers>()), (0, 0));
    }
}
