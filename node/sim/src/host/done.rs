//! What comes back from disks: synced, applied, flushed, read.

use std::rc::Rc;

use replica::{Input, Token};

use crate::core::Core;
use crate::disk::engine::{Applied, Record};
use crate::event::{Event, Group, Reply, Seat, Waiter};
use crate::faults::Fault;
use crate::host::carry::reply;
use crate::host::{Asked, Node};
use crate::invariant::checked::Checked;
use crate::invariant::{Broken, Verdict, routing};
use crate::mutant::Mutant;
use crate::oracle::Outcome;
use crate::plan::MILLISECOND;
use crate::trace::At;

impl Node {
    /// The running sync is done: whoever waited goes on, then the next one begins.
    pub fn synced(&mut self, core: &mut Core) -> Verdict {
        core.stats.count("syncs");
        for waiter in self.log.synced() {
            match waiter {
                Waiter::Persisted { seat, number } => {
                    if self.seated(seat).is_some() {
                        self.give(core, seat.group, Input::Persisted { number });
                    }
                }
                Waiter::Retired(group, replica) => {
                    core.oracle.retired(group, replica);
                    self.clear(core, group);
                }
                Waiter::Receiving(seat, received) => {
                    let delay = core.around(core.plan.disk.apply_us * self.disk_factor);
                    // What was to be applied before the snapshot is written before it.
                    let applied = self.seated(seat).map_or(0, |running| running.apply_at);
                    core.queue.at(applied.max(core.now) + delay, Event::Ingest(seat, received));
                }
                Waiter::Installed { seat, index } => self.installed(core, seat, index)?,
                Waiter::Born(group, replica) => self.born(core, group, replica)?,
            }
        }
        if core.plan.rots_anywhere() && self.log.may_rot() && self.log.last_voted() && core.rng.permille(40) {
            // The cruellest moment: what was promised a moment ago is forgotten.
            let soon = core.rng.range(0, 20 * MILLISECOND);
            core.after(soon, Event::Fault(Fault::Rot(self.place)));
        }
        self.begin_sync(core);
        Ok(())
    }

    /// The data of a replica that is durably retired goes, as volatile as any batch.
    pub(super) fn clear(&mut self, core: &mut Core, group: Group) {
        core.note(At::seat(self.place, group), "cleared", [0; 4]);
        self.engine.clear(group);
        self.schedule_flush(core);
    }

    pub fn applied(&mut self, core: &mut Core, seat: Seat, applied: Rc<Applied>) -> Verdict {
        let index = applied.batch.index;
        let Some(running) = self.seated(seat) else { return Ok(()) };
        running.applying.pop_front();
        let id = running.id;
        let group = seat.group;
        core.note(
            At::seat(self.place, group),
            "applied (index writes)",
            [index, applied.batch.writes.len() as u64, 0, 0],
        );
        if core.plan.has(Mutant::ApplySkips) && index % 37 == 5 {
            let mut batch = applied.batch.clone();
            batch.writes.pop();
            let skipped = Applied { batch, mark: applied.mark, state: applied.state.clone() };
            self.write_batch(core, group, Rc::new(skipped))?;
        } else {
            self.write_batch(core, group, applied)?;
        }
        core.oracle.contents(group, id, &self.engine.current[group])?;
        self.schedule_flush(core);
        self.give(core, group, Input::Applied { index });
        Ok(())
    }

    fn schedule_flush(&mut self, core: &mut Core) {
        if !self.flush_scheduled {
            self.flush_scheduled = true;
            let delay = core.around(core.plan.disk.flush_every_us);
            core.after(delay, Event::FlushBegins(self.process()));
        }
    }

    pub fn flush_begins(&mut self, core: &mut Core) {
        let batches = self.engine.unflushed();
        let delay = core.around(core.plan.disk.sync_us * 4 * self.disk_factor);
        core.after(delay, Event::FlushEnds { process: self.process(), batches });
    }

    pub fn flush_ends(&mut self, core: &mut Core, batches: usize) {
        self.flush_scheduled = false;
        self.engine.flush(batches.min(self.engine.unflushed()));
        core.stats.count("flushes");
        self.tell_flushed(core);
        if self.engine.unflushed() > 0 {
            self.schedule_flush(core);
        }
    }

    /// What splits have written is flushed at once.
    pub fn flush_now(&mut self, core: &mut Core, batches: usize) {
        self.engine.flush(batches.min(self.engine.unflushed()));
        core.stats.count("flushes");
        self.tell_flushed(core);
    }

    pub(super) fn tell_flushed(&mut self, core: &mut Core) {
        self.births_due(core);
        for group in 0..self.running.len() {
            let Some(running) = &self.running[group] else { continue };
            if running.installing.is_some() || self.engine.flushed_replica(group) != Some(running.id) {
                continue;
            }
            if let Some(index) = self.engine.flushed_index(group) {
                self.give(core, group, Input::Flushed { index });
            }
        }
    }

    /// An old item is read only now, at a later state.
    pub fn read_item(&mut self, core: &mut Core, seat: Seat, ticket: u64, key: &bytes::Bytes) {
        if self.seated(seat).is_none() {
            return;
        }
        let attributes = self.item(seat.group, key);
        self.done(core, seat, Input::ItemRead { ticket, attributes });
    }

    /// Something the host did is done.
    pub fn done(&mut self, core: &mut Core, seat: Seat, input: Input) {
        let Some(running) = self.seated(seat) else { return };
        if matches!(input, Input::ItemRead { .. } | Input::ItemReadFailed { .. }) {
            running.reading = running.reading.saturating_sub(1);
        }
        self.give(core, seat.group, input);
    }

    /// A strongly consistent read looks at the applied state.
    pub fn look(&mut self, core: &mut Core, seat: Seat, token: Token) -> Verdict {
        let Some(running) = self.seated(seat) else { return Ok(()) };
        let group = seat.group;
        let Some(asked) = running.asked.remove(&token) else {
            return Err(Broken::new("answers", group, format!("{token:?} confirmed twice or never asked")));
        };
        let epoch = running.epoch();
        // Items do not move in a split: a key that another group has now is found where it was.
        let Asked::Client { client, attempt, operation, key, epochs } = asked else {
            return Err(Broken::new("answers", group, format!("{token:?} was no read")));
        };
        let record = self.look_up(core, group, key);
        let position = record.as_ref().map_or(0, |record| record.log_position);
        let found = record.as_ref().map(|record| record.attributes.clone());
        let at = At { key: core.oracle.history.key_of(operation), ..At::seat(self.place, group) };
        core.note(at, "answers: read (op client position)", [operation, client as u64, position, 0]);
        core.oracle.checks.count(Checked::Routing);
        routing::served(group, operation, epochs, epoch)?;
        core.oracle.answered(operation, core.now, Outcome::Read { position, found });
        reply(core, client, attempt, Reply::Value(record));
        Ok(())
    }

    /// In whatever group of this node has the key now.
    fn look_up(&self, core: &Core, group: Group, key: bytes::Bytes) -> Option<Record> {
        let has = |group: Group| {
            self.engine.current[group].state.as_ref().is_some_and(|state| state.descriptor.range.contains(&key))
        };
        let siblings = || (0..self.running.len()).filter(|other| core.registry.are_siblings(group, *other));
        let holder = if has(group) { Some(group) } else { siblings().find(|other| has(*other)) };
        self.engine.current[holder?].items.get(&(replica::entry::SPACE_ITEMS, key.clone())).cloned()
    }
}
