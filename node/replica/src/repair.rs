//! What a leader does about replicas that are silent: it has one stood in for, takes it back, or has it rebuilt.
//!
//! Values in, a step out: from the group's descriptor and what this leader has heard, the next change of membership, or the place
//! that it needs for one. No step is remembered as a plan, so that a new leader goes on where the last one was. What the descriptor
//! says is enough, since ids only rise:
//!
//! ```text
//!  three voters with items ── one is silent for `suspect_ticks` ──► a log replica votes, the silent one learns (one joint change)
//!        ▲                                                             │                          │
//!        ├── it is heard again and level: it votes, the log replica ◄──┘    silent for            ▼
//!        │   learns, then leaves                                            `replace_after_ticks`: a replica is rebuilt
//!        └── the rebuilt one is level: it votes, the log replica learns, the lost one is removed ◄┘  (a learner of its own)
//! ```
//! - A learner without items leaves. A learner with items whose zone has a newer voter with items was replaced, and leaves, too. A
//!   younger one is somebody's move, and is let alone.
//! - Where zones are short two voters may share one. When a learner of a free zone is level, it takes the place of one of them.
//! - Where a learner of the silent voter's zone is level already (a move was on its way), it takes its place at once.
//! - A log replica that is itself silent is replaced in one joint change. With a voter silent beside it nothing can be changed: two voters
//!   with items must stay.
//! - Where the only node for the rebuilt replica has the log replica on it, that one goes elsewhere, or at last nowhere: the group
//!   waits with two voters. The silent one counts for no quorum, so nothing is lost by it.
//! - Whoever was told that its replica is unfit (its disk lost what it had acknowledged) does not wait for time. Where nobody can stand in
//!   for it, as with one node a zone, it goes all the same: the group waits with two voters until it is rebuilt on that very node.
//!
//! How long a replica has been away is known from the messages of this leader's own term, and from what earlier leaders have said
//! ([`Absences`]): or each new leader would begin to wait anew.

mod absence;
mod memory;

use std::collections::BTreeSet;

use model::{NodeId, PartitionDescriptor, ReplicaDescriptor, ReplicaId, ReplicaKind, ReplicaRole, Zone};

use crate::leading::{Desk, Leading};
use crate::membership::{storage_voters, voters};
use crate::raft_core::Core;
use crate::{Add, Change, Mutant, Now, Options, administration};

pub(crate) use absence::{Absences, Hearing, absent};
pub(crate) use memory::Repair;

/// Replicas with items that a group is to have.
pub(crate) const COPIES: usize = 3;

/// A node that the leader needs for a new replica; answered by `Input::Placed`. Hosts choose it by `placement::repair`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub purpose: Purpose,
    /// The group that it is wanted for: as the answer will find it.
    pub epoch: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A log replica, in the zone of the lost one if there is a node to spare.
    StandIn { lost: Option<Zone> },
    /// A log replica in any other zone: its node is wanted for the rebuilt replica.
    StandInElsewhere { avoided: Zone },
    /// A replica with items.
    Rebuilt { lost: Option<Zone> },
}

/// Why there is no node now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoPlace {
    /// So many are being placed or rebuilt that this one waits.
    Busy,
    /// The only node that could take it has that replica of the group.
    InTheWay(ReplicaId),
    /// No node could; says why.
    Nowhere(String),
}

/// How whole a group is, as its leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Three voters with items, and all are heard.
    Whole,
    /// A voter is silent, and it is not yet time, or not possible, to do something about it.
    Missing { replica: ReplicaId, why: String },
    /// A log replica votes in the place of one that is away.
    StoodIn { log: ReplicaId, lost: Option<ReplicaId>, why: String },
    /// The same, in the zone of another voter: that zone's loss would be the loss of the quorum.
    ShortOfZone { log: ReplicaId, lost: Option<ReplicaId>, why: String },
    /// A replica with items is on its way: rebuilt, or back and not level yet.
    Rebuilding { replica: ReplicaId },
    /// Two voters, or one, and nothing stands in for the others.
    Short { why: String },
    /// A log replica leads, and no replica with items can get from it what it lacks: the gap is in the archive alone.
    NeedsArchive,
    /// Nobody leads for longer than elections take: the quorum is lost, or cut off from here.
    Leaderless,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Rest,
    Change(Change),
    /// A place first; then the new replica comes, and this voter learns in return.
    Place {
        purpose: Purpose,
        demote: Option<ReplicaId>,
    },
}

/// What the next step follows from.
pub(crate) struct Scene<'a, F> {
    pub descriptor: &'a PartitionDescriptor,
    pub own: ReplicaId,
    pub ticks: u64,
    pub options: &'a Options,
    pub hearing: &'a Hearing,
    pub absences: &'a Absences,
    /// The only node for a rebuilt replica has this one on it.
    pub in_the_way: Option<ReplicaId>,
    pub caught_up: F,
}

impl<F: Fn(ReplicaId) -> bool> Scene<'_, F> {
    pub(crate) fn next(&self) -> Step {
        if self.options.suspect_ticks == 0 {
            return Step::Rest;
        }
        let leaving = self.retired_log().or_else(|| self.replaced()).or_else(|| self.unfit_learner());
        if let Some(replica) = leaving {
            return Step::Change(Change::remove(replica));
        }
        if let Some(change) = self.promotion().or_else(|| self.spread()) {
            return Step::Change(change);
        }
        self.stand_in().or_else(|| self.rebuild()).unwrap_or(Step::Rest)
    }

    fn learners(&self) -> impl Iterator<Item = &ReplicaDescriptor> {
        self.descriptor.replicas.iter().filter(|replica| replica.role == ReplicaRole::Learner)
    }

    fn storage_learners(&self) -> impl Iterator<Item = &ReplicaDescriptor> {
        self.learners().filter(|learner| learner.kind == ReplicaKind::Storage)
    }

    fn log_voter(&self) -> Option<&ReplicaDescriptor> {
        voters(self.descriptor).find(|voter| voter.kind == ReplicaKind::Log)
    }

    fn lacks_copies(&self) -> bool {
        storage_voters(self.descriptor).count() < COPIES
    }

    fn retired_log(&self) -> Option<ReplicaId> {
        self.learners().find(|learner| learner.kind == ReplicaKind::Log).map(|log| log.id)
    }

    /// A learner whose place a newer voter has taken.
    fn replaced(&self) -> Option<ReplicaId> {
        let by_newer = |learner: &&ReplicaDescriptor| {
            storage_voters(self.descriptor).any(|voter| voter.zone == learner.zone && voter.id > learner.id)
        };
        self.storage_learners().find(by_newer).map(|learner| learner.id)
    }

    fn unfit_learner(&self) -> Option<ReplicaId> {
        self.storage_learners().map(|learner| learner.id).find(|&id| self.absences.is_unfit(id))
    }

    /// Learners that may become the copy that is missing. One beside a voter of its zone is somebody's move, unless there is no
    /// other: then two share a zone, as they did before.
    fn expected(&self) -> impl Iterator<Item = &ReplicaDescriptor> {
        let apart = |learner: &ReplicaDescriptor| !self.is_covered(&learner.zone);
        let none_apart = !self.storage_learners().any(apart);
        self.storage_learners().filter(move |learner| none_apart || apart(learner))
    }

    /// A learner that has come (back), where a copy is missing.
    fn promotion(&self) -> Option<Change> {
        if !self.lacks_copies() {
            return None;
        }
        let promoted = self.expected().find(|learner| self.is_level(learner.id))?;
        let beside = self.storage_learners().find(|other| other.id != promoted.id && other.zone == promoted.zone);
        Some(Change {
            add: None,
            promote: Some(promoted.id),
            demote: self.log_voter().map(|log| log.id),
            remove: beside.map(|other| other.id),
        })
    }

    /// Three zones again, where two voters had to share one: a learner of a free zone takes the place of one of them.
    fn spread(&self) -> Option<Change> {
        let doubled = |voter: &&ReplicaDescriptor| {
            let shares = |other: &ReplicaDescriptor| other.id != voter.id && other.zone == voter.zone;
            voter.id != self.own && storage_voters(self.descriptor).any(shares)
        };
        let comes =
            self.storage_learners().find(|learner| !self.is_covered(&learner.zone) && self.is_level(learner.id))?;
        let goes = storage_voters(self.descriptor).filter(doubled).max_by_key(|voter| voter.id)?;
        (!self.lacks_copies()).then(|| Change::swap(comes.id, goes.id))
    }

    fn is_covered(&self, zone: &Zone) -> bool {
        storage_voters(self.descriptor).any(|voter| voter.zone == *zone)
    }

    /// It has been heard for a while, and has almost everything.
    fn is_level(&self, id: ReplicaId) -> bool {
        self.hearing.is_steady(id, self.ticks, self.options) && (self.caught_up)(id)
    }

    /// Where a voter is away and the others can decide it.
    fn stand_in(&self) -> Option<Step> {
        let log = self.log_voter();
        let lost = self.lost_voter()?;
        let enough = self.options.flaw.is(Mutant::OneCopyEnough);
        if !self.can_decide() || log.is_some_and(|log| log.id != lost.id && !enough) {
            return None;
        }
        if let Some(heir) = self.heir(lost) {
            return Some(Step::Change(Change::swap(heir, lost.id)));
        }
        let stood_in_for = self.storage_learners().next().filter(|_| lost.kind == ReplicaKind::Log);
        let zone = stood_in_for.unwrap_or(lost).zone.clone();
        Some(Step::Place { purpose: Purpose::StandIn { lost: Some(zone) }, demote: Some(lost.id) })
    }

    /// A learner that was to move into the lost voter's zone is better than any stand-in.
    fn heir(&self, lost: &ReplicaDescriptor) -> Option<ReplicaId> {
        let with_items = lost.kind == ReplicaKind::Storage;
        let heirs = self.storage_learners().filter(|learner| with_items && learner.zone == lost.zone);
        heirs.map(|learner| learner.id).find(|&id| self.is_level(id))
    }

    fn lost_voter(&self) -> Option<&ReplicaDescriptor> {
        let lost = voters(self.descriptor).filter(|voter| self.is_away(voter.id));
        // Of two that are lost the log replica can be replaced.
        lost.max_by_key(|voter| (voter.kind, voter.id))
    }

    fn is_away(&self, id: ReplicaId) -> bool {
        let excused = self.absences.is_excused(id, self.ticks);
        let silent = self.hearing.silence(id, self.ticks) >= self.options.suspect_ticks && !excused;
        id != self.own && (silent || self.absences.is_unfit(id))
    }

    /// Most voters are heard, in two zones; or this leader is the only one (`recovery`).
    fn can_decide(&self) -> bool {
        let all = voters(self.descriptor).count();
        let heard = || voters(self.descriptor).filter(|voter| !self.is_away(voter.id));
        let zones: BTreeSet<&Zone> = heard().map(|voter| &voter.zone).collect();
        all == 1 || (zones.len() > 1 && heard().count() * 2 > all)
    }

    /// A replica with items instead of one that does not come back.
    fn rebuild(&self) -> Option<Step> {
        if !self.lacks_copies() || !self.can_decide() {
            return None;
        }
        let (gone, others): (Vec<_>, Vec<_>) = self.expected().partition(|learner| self.is_gone(learner.id));
        if !others.is_empty() {
            return None;
        }
        // What was to take the lost one's place is lost as well.
        if let [_, again, ..] = gone[..] {
            return Some(Step::Change(Change::remove(again.id)));
        }
        let lost = gone.first().copied().or_else(|| self.log_voter()).map(|lost| lost.zone.clone());
        let log = self.log_voter().filter(|log| self.in_the_way == Some(log.id));
        match (self.in_the_way, log) {
            (None, _) => Some(Step::Place { purpose: Purpose::Rebuilt { lost }, demote: None }),
            (Some(_), Some(log)) => {
                let purpose = Purpose::StandInElsewhere { avoided: log.zone.clone() };
                Some(Step::Place { purpose, demote: Some(log.id) })
            }
            (Some(replica), None) => {
                let known = gone.iter().any(|gone| gone.id == replica);
                known.then(|| Step::Change(Change::remove(replica)))
            }
        }
    }

    fn is_gone(&self, id: ReplicaId) -> bool {
        let silence = self.absences.silence(id, self.ticks).max(self.hearing.silence(id, self.ticks));
        let silent_here = self.hearing.silence(id, self.ticks) >= self.options.suspect_ticks;
        silent_here && silence >= self.options.replace_after_ticks
    }

    fn shares_zone(&self, one: &ReplicaDescriptor) -> bool {
        voters(self.descriptor).any(|voter| voter.id != one.id && voter.zone == one.zone)
    }

    pub(crate) fn health(&self, why: &str) -> Health {
        let why = why.to_owned();
        let lost = self.storage_learners().find(|learner| self.hearing.is_silent(learner.id, self.ticks, self.options));
        let comes = self.storage_learners().find(|learner| lost.is_none_or(|lost| lost.id != learner.id));
        let missing = voters(self.descriptor)
            .find(|voter| voter.id != self.own && self.hearing.is_silent(voter.id, self.ticks, self.options));
        match (missing, self.log_voter(), self.lacks_copies()) {
            (Some(voter), _, _) => Health::Missing { replica: voter.id, why },
            (None, _, false) => Health::Whole,
            (None, _, true) if let Some(replica) = comes => Health::Rebuilding { replica: replica.id },
            (None, Some(log), true) => {
                let (log, lost, shared) = (log.id, lost.map(|lost| lost.id), self.shares_zone(log));
                if shared { Health::ShortOfZone { log, lost, why } } else { Health::StoodIn { log, lost, why } }
            }
            (None, None, true) => Health::Short { why },
        }
    }
}

/// The change that the place makes possible.
fn placed(purpose: &Purpose, demote: Option<ReplicaId>, (node, zone): (NodeId, Zone)) -> Change {
    let kind = match purpose {
        Purpose::StandIn { .. } | Purpose::StandInElsewhere { .. } => ReplicaKind::Log,
        Purpose::Rebuilt { .. } => ReplicaKind::Storage,
    };
    Change { add: Some(Add { node, zone, kind }), demote, ..Change::default() }
}

/// What a leader's repair works with.
pub(crate) struct Workshop<'a, 'b> {
    pub desk: &'a mut Desk<'b>,
    pub core: &'a mut Core,
    pub absences: &'a Absences,
    pub now: Now,
}

impl Leading {
    fn next_repair(&self, shop: &Workshop<'_, '_>, descriptor: &PartitionDescriptor) -> (Step, Health) {
        let core = &*shop.core;
        let scene = Scene {
            descriptor,
            own: core.id(),
            ticks: shop.desk.clock.ticks,
            options: &shop.desk.clock.options,
            hearing: &self.oversight.hearing,
            absences: shop.absences,
            in_the_way: self.repair.in_the_way(),
            caught_up: |id| core.caught_up(id),
        };
        (scene.next(), scene.health(self.repair.hindrance()))
    }

    /// Every tick of a leader that serves.
    pub(crate) fn mend(&mut self, shop: &mut Workshop<'_, '_>) {
        let Some(state) = shop.desk.state.filter(|_| self.serving) else { return };
        let ticks = shop.desk.clock.ticks;
        let (step, health) = self.next_repair(shop, &state.descriptor);
        self.repair.looks(health, ticks);
        if step == Step::Rest {
            self.repair.hindered(String::new());
        }
        if self.repair.is_resting(ticks) || shop.core.change_pending() {
            return;
        }
        match step {
            Step::Rest => {}
            Step::Change(change) => self.mend_by(shop, &change),
            Step::Place { purpose, demote: _ } => {
                let wanted = Wanted { purpose, epoch: state.descriptor.epoch };
                self.repair.ask(wanted.clone(), ticks);
                shop.desk.effects.place_wanted = Some(wanted);
            }
        }
    }

    /// The host's answer. What is to be done is found out anew: the group may have gone on.
    pub(crate) fn placed(
        &mut self,
        shop: &mut Workshop<'_, '_>,
        wanted: &Wanted,
        place: Result<(NodeId, Zone), NoPlace>,
    ) {
        let Some(state) = shop.desk.state.filter(|_| self.serving) else { return };
        if !self.repair.answered(wanted) || wanted.epoch != state.descriptor.epoch {
            return;
        }
        let place = match place {
            Ok(place) => place,
            Err(why) => {
                let (step, _) = self.next_repair(shop, &state.descriptor);
                let lost = if let Step::Place { demote, .. } = step { demote } else { None };
                let unfit = lost.filter(|lost| shop.absences.is_unfit(*lost));
                if let Some(change) = self.repair.refused(wanted, why, unfit) {
                    self.mend_by(shop, &change);
                }
                return;
            }
        };
        let (step, _) = self.next_repair(shop, &state.descriptor);
        if let Step::Place { purpose, demote } = step
            && purpose == wanted.purpose
        {
            self.mend_by(shop, &placed(&purpose, demote, place));
        }
    }

    fn mend_by(&mut self, shop: &mut Workshop<'_, '_>, change: &Change) {
        let Some(state) = shop.desk.state else { return };
        let ticks = shop.desk.clock.ticks;
        let mut command = administration::Command { leading: self, core: shop.core, now: shop.now };
        match command.begin_change(shop.desk, state.descriptor.epoch, change) {
            Ok(_) => self.repair.went_on(ticks),
            Err(refusal) => {
                self.repair.hindered(format!("{refusal:?}"));
                self.repair.rest(ticks);
            }
        }
    }
}
