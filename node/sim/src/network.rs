//! The network between nodes: delay, loss, duplication, reordering, blocked directions.

use std::collections::BTreeSet;

use crate::event::Place;
use crate::plan::{NetworkPlan, SECOND};
use crate::queue::Time;
use crate::rng::Rng;

pub struct Network {
    pub plan: NetworkPlan,
    /// Directions that carry nothing.
    pub blocked: BTreeSet<(Place, Place)>,
    /// A node that loses so much of what it sends and hears, in thousandths.
    pub lossy: Option<(Place, u64)>,
}

impl Network {
    pub fn new(plan: NetworkPlan) -> Network {
        Network { plan, blocked: BTreeSet::new(), lossy: None }
    }

    /// How long each copy of a frame takes; none where it is lost.
    pub fn delays(&self, rng: &mut Rng, from: Place, to: Place) -> Vec<Time> {
        if self.blocked.contains(&(from, to)) || rng.permille(self.plan.loss_permille) {
            return Vec::new();
        }
        if let Some((ailing, permille)) = self.lossy
            && (from == ailing || to == ailing)
            && rng.permille(permille)
        {
            return Vec::new();
        }
        let copies = if rng.permille(self.plan.twice_permille) { 2 } else { 1 };
        (0..copies).map(|_| self.delay(rng)).collect()
    }

    pub fn delay(&self, rng: &mut Rng) -> Time {
        if rng.permille(self.plan.late_permille) {
            return rng.range(SECOND / 10, 60 * SECOND);
        }
        self.plan.least_us + rng.range(0, self.plan.spread_us)
    }

    /// Everything arrives from now on.
    pub fn heal(&mut self) {
        self.blocked.clear();
        self.lossy = None;
        self.plan.loss_permille = 0;
        self.plan.late_permille = 0;
        self.plan.spread_us = self.plan.spread_us.min(2_000);
    }
}
