//! Children of splits: their records, their log, their first seat, and who may have their range meanwhile.
//!
//! ```text
//! the split's batch (mark, left half, the child's records) ─► flushed ─► the child's log begins, synced ─► its replica is seated
//! ```
//! In this order a log never speaks of a child whose records a crash may take back. A message of a sibling may come at any time
//! before: an empty replica votes then, and keeps term and vote when it is born.

use std::rc::Rc;

use model::{KeyRange, ReplicaId};
use replica::state::{BIRTH_INDEX, BIRTH_TERM};
use replica::{AppliedMark, Child, GroupState, Input};

use crate::birth;
use crate::core::Core;
use crate::disk::engine::{Applied, Newborn};
use crate::disk::log::Operation;
use crate::event::{Event, Group, Waiter};
use crate::faults::Fault;
use crate::host::{Node, Running};
use crate::invariant::{Broken, Verdict};
use crate::mutant::Mutant;
use crate::trace::At;

impl Node {
    /// A batch goes to the engine, with whatever it gives birth to.
    pub(super) fn write_batch(&mut self, core: &mut Core, group: Group, applied: Rc<Applied>) -> Verdict {
        if applied.batch.children.is_empty() {
            self.engine.apply(group, applied);
            return Ok(());
        }
        let mut newborns = Vec::new();
        for child in &applied.batch.children {
            core.oracle.born(group, &child.descriptor)?;
            newborns.push(self.newborn(core, child)?);
        }
        self.engine.divide(group, applied, newborns.clone());
        core.stats.count("splits applied");
        for newborn in newborns {
            self.await_flush(core, &newborn)?;
        }
        let soon = core.around(core.plan.disk.sync_us * 2 * self.disk_factor);
        core.after(soon, Event::FlushForced { process: self.process(), batches: self.engine.unflushed() });
        self.die_soon(core);
        Ok(())
    }

    fn newborn(&self, core: &mut Core, child: &Child) -> Result<Newborn, Broken> {
        let Child { descriptor, replica, state, mark } = child;
        let group = birth::group(descriptor.id);
        let unreadable = |what: &str| Broken::new("formats", group, format!("the child's {what}"));
        let state = GroupState::decode(state.clone()).map_err(|_malformed| unreadable("state"))?;
        let mark = AppliedMark::decode(mark.clone()).map_err(|_malformed| unreadable("mark"))?;
        let accepted = replica.0 >= self.log.current[group].lowest;
        if !accepted {
            core.stats.count("right halves cleared");
        }
        let records = accepted.then(|| (Rc::new(state), mark));
        Ok(Newborn { group, start: descriptor.range.start.clone(), records })
    }

    fn await_flush(&mut self, core: &mut Core, newborn: &Newborn) -> Verdict {
        let Newborn { group, start: _, records: Some((state, _)) } = newborn else { return Ok(()) };
        let (group, replica) = (*group, state.replica);
        core.note(At::seat(self.place, group), "is to be born (replica)", [replica.0, 0, 0, 0]);
        core.oracle.contents(group, replica, &self.engine.current[group])?;
        self.births.insert(group, replica);
        if core.plan.has(Mutant::ChildSetBack) {
            self.births_due(core);
        }
        Ok(())
    }

    /// Logs begin for children whose records no crash takes back any more.
    pub(super) fn births_due(&mut self, core: &mut Core) {
        let early = core.plan.has(Mutant::ChildSetBack);
        let due = |group: Group| early || self.engine.flushed_index(group).is_some();
        let births = self.births.iter().map(|(group, replica)| (*group, *replica));
        let ready: Vec<_> = births.filter(|(group, _)| due(*group)).collect();
        for (group, replica) in ready {
            self.births.remove(&group);
            self.begin_log(core, group, replica);
        }
    }

    fn begin_log(&mut self, core: &mut Core, group: Group, replica: ReplicaId) {
        if self.log.current[group].lowest > replica.0 {
            // A newer replica of the child was here first.
            return self.forget_newborn(core, group, replica);
        }
        if let Some(empty) = self.running[group].take() {
            core.stats.count("empty replicas born at last");
            core.note(At::seat(self.place, group), "stops to be born (replica)", [empty.id.0, 0, 0, 0]);
        }
        if core.plan.has(Mutant::ChildSetBack) || core.plan.has(Mutant::BirthForgetsVote) {
            self.log.submit(group, Operation::Identity(replica), true, None);
        }
        let birth = Operation::Birth { replica, index: BIRTH_INDEX, term: BIRTH_TERM };
        self.log.submit(group, birth, true, Some(Waiter::Born(group, replica)));
        self.die_soon(core);
        self.begin_sync(core);
    }

    /// The child's log has begun.
    pub(super) fn born(&mut self, core: &mut Core, group: Group, replica: ReplicaId) -> Verdict {
        if self.log.current[group].identity != Some(replica) {
            self.forget_newborn(core, group, replica);
            return Ok(());
        }
        if self.running[group].is_some() {
            return Ok(());
        }
        core.stats.count("children born");
        let Some(start) = self.found(core, group) else { return Ok(()) };
        self.seat_replica(core, group, start)?;
        if core.rng.permille(500) {
            self.give(core, group, Input::Campaign);
        }
        self.die_soon(core);
        Ok(())
    }

    /// Its records go, if nobody else's have replaced them.
    fn forget_newborn(&mut self, core: &mut Core, group: Group, replica: ReplicaId) {
        let state = self.engine.current[group].state.as_ref();
        if state.is_some_and(|state| state.replica == replica) {
            self.clear(core, group);
        }
    }

    /// What a crash has left of a birth is finished before anything else.
    pub(super) fn finish_birth(&mut self, group: Group) {
        let Some(state) = &self.engine.current[group].state else { return };
        let log = &self.log.current[group];
        let here = log.identity.is_none() || log.identity == Some(state.replica);
        if here && state.replica.0 >= log.lowest && log.last_index() == 0 {
            let birth = Operation::Birth { replica: state.replica, index: BIRTH_INDEX, term: BIRTH_TERM };
            self.log.carry_out_durably(group, &birth);
        }
    }

    /// Whether another replica of this node has a part of that range, or is about to: nothing may be installed over it.
    pub(super) fn is_covered(&self, core: &Core, group: Group, range: &KeyRange) -> bool {
        let meets = |other: &KeyRange| other.intersect(range).is_some();
        (0..self.running.len()).filter(|other| core.registry.are_siblings(group, *other)).any(|other| {
            let stands = self.engine.current[other].state.as_ref().is_some_and(|state| meets(&state.descriptor.range));
            let running = self.running[other].as_ref();
            stands || running.and_then(Running::range_to_come).is_some_and(|range| meets(&range))
        })
    }

    /// The cruellest moments are between two of these steps.
    fn die_soon(&mut self, core: &mut Core) {
        if !core.healed && core.rng.permille(70) {
            core.stats.count("crashes during a birth");
            let soon = core.rng.range(0, 3 * core.plan.disk.sync_us);
            core.after(soon, Event::Fault(Fault::Stop(self.place)));
        }
    }
}
