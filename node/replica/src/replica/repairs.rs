//! A replica's part in its group's repair: what it knows of itself, for the rules in `repair`.

use model::{NodeId, Zone};

use super::desk;
use crate::repair::{Workshop, absent};
use crate::replica::Replica;
use crate::{Effects, Health, NoPlace, Now, Wanted};

impl Replica {
    /// Every tick of a leader: it tells the others who is away, and looks for what to do about it.
    pub(super) fn mend(&mut self, now: Now, effects: &mut Effects) {
        let (Some(leading), Some(state)) = (&mut self.leading, &self.applier.state) else { return };
        let hearing = &leading.oversight.hearing;
        let told = absent(&state.descriptor, self.core.id(), self.clock.ticks, hearing, &self.absences);
        effects.send.extend(told);
        let mut desk = desk(&mut self.clock, &self.applier, &self.core, effects);
        leading.mend(&mut Workshop { desk: &mut desk, core: &mut self.core, absences: &self.absences, now });
    }

    /// The host's answer to a leader, if it still is one.
    pub(super) fn placed(
        &mut self,
        now: Now,
        wanted: &Wanted,
        place: Result<(NodeId, Zone), NoPlace>,
        effects: &mut Effects,
    ) {
        let Some(leading) = &mut self.leading else { return };
        let mut desk = desk(&mut self.clock, &self.applier, &self.core, effects);
        let mut shop = Workshop { desk: &mut desk, core: &mut self.core, absences: &self.absences, now };
        leading.placed(&mut shop, wanted, place);
    }

    /// How the group is and for how many ticks: as its leader sees it, or since a majority follows nobody.
    pub fn health(&self) -> Option<(Health, u64)> {
        let seen = self.leading.as_ref().and_then(|leading| leading.repair.health());
        match seen {
            Some((health, since)) => Some((health.clone(), self.clock.ticks - since)),
            None => self.quorum.lost_for(&self.clock).map(|ticks| (Health::Leaderless, ticks)),
        }
    }
}
