//! What a leader remembers of its repair between two ticks: a question, a hindrance, since when the group is as it is.

use model::ReplicaId;

use super::{Health, NoPlace, Purpose, Wanted};
use crate::Change;

/// Between two questions for a place, or two attempts at a change.
const RETRY_TICKS: u64 = 10;

/// What a leader remembers between its ticks.
#[derive(Default)]
pub(crate) struct Repair {
    /// Nothing is asked or tried before this tick.
    rests_until: u64,
    /// Asked of the host: as the answer must be.
    asked: Option<Wanted>,
    in_the_way: Option<ReplicaId>,
    /// For whom nobody could stand in when it was asked last.
    alone: Option<ReplicaId>,
    /// Why the last step was not possible.
    hindrance: String,
    health: Option<(Health, u64)>,
}

impl Repair {
    pub(crate) fn is_resting(&self, ticks: u64) -> bool {
        ticks < self.rests_until
    }

    pub(crate) fn rest(&mut self, ticks: u64) {
        self.rests_until = ticks + RETRY_TICKS;
    }

    pub(crate) fn in_the_way(&self) -> Option<ReplicaId> {
        self.in_the_way
    }

    pub(crate) fn hindrance(&self) -> &str {
        &self.hindrance
    }

    pub(crate) fn hindered(&mut self, why: String) {
        self.hindrance = why;
    }

    pub(crate) fn ask(&mut self, wanted: Wanted, ticks: u64) {
        self.asked = Some(wanted);
        self.rest(ticks);
    }

    /// The answer to what was asked last, if it is.
    pub(crate) fn answered(&mut self, wanted: &Wanted) -> bool {
        self.asked.take_if(|asked| asked == wanted).is_some()
    }

    /// There was no node. With the log replica in the rebuilt one's way and no place elsewhere, it goes without; so does a replica that is
    /// `unfit`, for which nobody can stand in twice in a row: it counts for no quorum either way, and its node may be the only one for the
    /// next.
    pub(crate) fn refused(&mut self, wanted: &Wanted, why: NoPlace, unfit: Option<ReplicaId>) -> Option<Change> {
        match (why, &wanted.purpose) {
            (NoPlace::InTheWay(replica), Purpose::Rebuilt { .. }) => {
                self.in_the_way = Some(replica);
                self.rests_until = 0;
                None
            }
            (NoPlace::Nowhere(why), Purpose::StandInElsewhere { .. }) => {
                self.hindrance = why;
                self.in_the_way.take().map(without)
            }
            (NoPlace::Nowhere(why), Purpose::StandIn { .. }) => {
                self.hindrance = why;
                let again = unfit.filter(|unfit| self.alone == Some(*unfit));
                self.alone = unfit;
                again.map(without)
            }
            (NoPlace::Nowhere(why), Purpose::Rebuilt { .. }) => {
                self.hindrance = why;
                None
            }
            (NoPlace::Busy, _) => {
                // It is its turn soon, and nobody need do anything.
                self.hindrance.clear();
                None
            }
            (NoPlace::InTheWay(replica), Purpose::StandIn { .. } | Purpose::StandInElsewhere { .. }) => {
                self.hindrance = format!("replica {replica} is in the way");
                None
            }
        }
    }

    /// A change was proposed.
    pub(crate) fn went_on(&mut self, ticks: u64) {
        self.hindrance.clear();
        self.in_the_way = None;
        self.alone = None;
        self.asked = None;
        self.rest(ticks);
    }

    pub(crate) fn looks(&mut self, health: Health, ticks: u64) {
        match &mut self.health {
            Some((known, _)) if std::mem::discriminant(known) == std::mem::discriminant(&health) => *known = health,
            known => *known = Some((health, ticks)),
        }
    }

    /// How the group is, and since which tick.
    pub(crate) fn health(&self) -> Option<&(Health, u64)> {
        self.health.as_ref()
    }
}

fn without(voter: ReplicaId) -> Change {
    Change { demote: Some(voter), ..Change::default() }
}
