//! A replica's part in its group's sleep: what it knows of itself, for the rules in `sleep`.

use model::ReplicaId;

use crate::mutant::Mutant;
use crate::replica::Replica;
use crate::sleep::{self, Turn, Woken};
use crate::{Effects, Envelope, Health, Input, MessageBody};

impl Replica {
    pub fn is_asleep(&self) -> bool {
        self.sleep.is_asleep()
    }

    /// Whoever sleeps and should not, wakes.
    pub(super) fn stir(&mut self, input: &Input, effects: &mut Effects) {
        let stir = sleep::stir_of(input);
        let ticks = self.clock.ticks;
        if self.sleep.stir(stir, &self.core, ticks) {
            let woken = Woken { stir, ticks, descriptor: self.applier.descriptor() };
            effects.send.extend(self.sleep.wake(&woken, &mut self.core));
        }
    }

    /// Whether raft's clock stands still in this tick.
    pub(super) fn keeps_still(&mut self, effects: &mut Effects) -> bool {
        let ticks = self.clock.ticks;
        if !self.core.leads() {
            return self.sleep.holds(ticks);
        }
        let may_sleep = self.sleep.is_due(ticks, self.clock.options.sleep_ticks) && self.is_idle();
        match self.sleep.turn(ticks, may_sleep, &self.core) {
            Turn::Awake => false,
            Turn::Asks(asks) => {
                effects.send.extend(asks);
                true
            }
        }
    }

    /// As far as this replica knows, nothing is under way.
    fn is_idle(&self) -> bool {
        let Some(state) = &self.applier.state else { return false };
        let (last, careless) = (self.core.last_index(), self.core.flaw().is(Mutant::SleepsInChange));
        let level = [self.core.committed(), self.applied, self.applier.mark.index].iter().all(|index| *index == last);
        let at_rest = level && self.persistence.is_quiet() && !self.core.change_pending() && !self.core.has_ready();
        let nobody_waits = self.tail.is_none() && self.installing.is_none() && self.unsettled.is_empty();
        let alone = match &self.leading {
            Some(leading) if self.core.flaw().sleeps_alone() => leading.is_idle(),
            Some(leading) => {
                // What it has said of its group last is what it says all night.
                let says_whole = leading.repair.health().is_none_or(|(health, _)| *health == Health::Whole);
                leading.is_idle() && says_whole && sleep::is_whole(&state.descriptor) && self.core.all_matched()
            }
            None => !self.removed,
        };
        (at_rest || careless) && nobody_waits && alone
    }

    pub(super) fn sleep_asked(&mut self, from: ReplicaId, term: u64, index: u64, effects: &mut Effects) {
        let is_led = self.core.leader() == Some(from) && !self.core.leads() && self.core.term() == term;
        let behind = self.core.flaw().is(Mutant::AgreesBehind);
        if is_led && (behind || self.is_idle() && self.core.last_index() == index) {
            self.sleep.fall_asleep();
            self.shrink();
            let body = MessageBody::SleepAgreed { term, index };
            effects.send.push(Envelope { from: self.core.id(), to: from, body });
        }
    }

    pub(super) fn sleep_agreed(&mut self, from: ReplicaId, term: u64, index: u64) {
        let may_sleep = self.is_idle();
        if self.core.leads() && self.sleep.agreed(from, (term, index), may_sleep, &self.core) {
            self.shrink();
        }
    }

    /// It sleeps: what it has set aside for traffic is given back.
    fn shrink(&mut self) {
        self.core.shrink();
        self.slowness.shrink();
        self.persistence.shrink();
        if let Some(leading) = &mut self.leading {
            leading.shrink();
        }
    }
}
