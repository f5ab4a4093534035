//! A process starts: what it finds on its disks, what it finishes first, the replicas it seats.

use std::collections::VecDeque;
use std::rc::Rc;

use replica::eraftpb::{Entry, HardState};
use replica::{Install, LogStart, Replica, Start};

use crate::core::Core;
use crate::disk::log::{GroupLog, Operation};
use crate::event::{Event, Group};
use crate::host::{Node, Running};
use crate::invariant::{Broken, Verdict};
use crate::mutant::Mutant;
use crate::trace::At;

impl Node {
    pub fn start(&mut self, core: &mut Core) -> Verdict {
        if self.up {
            return Ok(());
        }
        self.up = true;
        core.registry.down.remove(&self.place);
        core.note(
            At::place(self.place),
            "start (life uncertain)",
            [self.life.into(), self.log.uncertain.len() as u64, 0, 0],
        );
        for group in 0..self.running.len() {
            self.finish(group);
            let Some(start) = self.found(core, group) else { continue };
            core.oracle.restarted(group, &self.log.current[group], &self.engine.current[group])?;
            self.seat_replica(core, group, start)?;
        }
        let first = core.rng.range(1, core.plan.tick_us);
        core.after(first, Event::Tick(self.process()));
        self.tell_flushed(core);
        Ok(())
    }

    /// Finishes what a crash interrupted: an install, a birth, a retirement.
    fn finish(&mut self, group: Group) {
        if let Some(received) = self.log.current[group].receiving.clone() {
            self.engine.ingest(group, &received.contents);
            let Install { index, term, hard_state, .. } = &received.install;
            let operation = Operation::Installed { index: *index, term: *term, hard_state: hard_state.clone() };
            self.log.carry_out_durably(group, &operation);
        }
        self.finish_birth(group);
        let log = &self.log.current[group];
        let foreign =
            self.engine.current[group].state.as_ref().is_some_and(|state| Some(state.replica) != log.identity);
        if foreign {
            self.engine.clear(group);
        }
    }

    pub(super) fn found(&mut self, core: &mut Core, group: Group) -> Option<Start> {
        let replica = self.log.current[group].identity?;
        let lacks_records = self.engine.current[group].mark.is_none() && self.log.current[group].last_index() > 0;
        if lacks_records && core.plan.has(Mutant::ChildSetBack) {
            // A child waits for its parent then. Any other log without its records is an error.
            return None;
        }
        let contents = &self.engine.current[group];
        let (state, mark) = (contents.state.as_ref().map(|state| (**state).clone()), contents.mark);
        if let Some(mark) = mark
            && self.log.uncertain.contains(&group)
            && self.log.current[group].last_index() < mark.index
        {
            self.log.begin_at(group, mark.index, mark.term);
        }
        let log = &self.log.current[group];
        let mut log_start = log_start(log, mark.map_or(log.truncated_index, |mark| mark.index));
        log_start.tail_uncertain = self.log.uncertain.contains(&group);
        if core.plan.has(Mutant::TornTailVotes) {
            log_start.tail_uncertain = false;
        }
        if core.plan.has(Mutant::ForgetVotes) {
            log_start.hard_state.vote = 0;
        }
        let options = core.options(group);
        let partition = crate::birth::partition(group);
        Some(Start { partition, node: self.id, replica, options, log: log_start, state, mark })
    }

    pub(super) fn seat_replica(&mut self, core: &mut Core, group: Group, start: Start) -> Verdict {
        let id = start.replica;
        let (last, applied) = (start.log.last_index, start.mark.map_or(0, |mark| mark.index));
        core.note(At::seat(self.place, group), "seated (replica last applied)", [id.0, last, applied, 0]);
        core.oracle.seated(group, self.id, id)?;
        let replica = Replica::start(start)
            .map_err(|error| Broken::new("start", group, format!("replica {id} cannot start: {error}")))?;
        let status = replica.status();
        let descriptor = replica.descriptor().cloned();
        if let Some(descriptor) = &descriptor {
            core.registry.announce(group, descriptor);
        }
        self.seatings[group] += 1;
        self.running[group] = Some(Running {
            replica,
            id,
            inbox: Vec::new(),
            asked: std::collections::BTreeMap::new(),
            apply_at: core.now,
            announce_at: core.now,
            applying: VecDeque::new(),
            reading: 0,
            built: Vec::new(),
            received: Vec::new(),
            installing: None,
            expected: None,
            status,
            descriptor,
            removed: false,
        });
        Ok(())
    }
}

/// The log as a start finds it.
fn log_start(log: &GroupLog, applied: u64) -> LogStart {
    let mut terms: Vec<(u64, u64)> = Vec::new();
    for entry in &log.entries {
        if terms.last().is_none_or(|(_, term)| *term != entry.term) {
            terms.push((entry.index, entry.term));
        }
    }
    let entries: Vec<Entry> = log.entries.iter().filter(|entry| entry.index > applied).cloned().collect();
    LogStart {
        hard_state: log.hard_state.clone(),
        truncated_index: log.truncated_index,
        truncated_term: log.truncated_term,
        terms,
        last_index: log.last_index(),
        entries,
        tail_uncertain: false,
    }
}

/// The world's birth: a group stands on this node from the beginning.
pub fn born(node: &mut Node, group: Group, state: replica::GroupState) {
    let mark = replica::AppliedMark::birth();
    let replica = state.replica;
    let contents =
        crate::disk::engine::Contents { mark: Some(mark), state: Some(Rc::new(state)), ..Default::default() };
    node.engine.birth(group, &contents);
    let hard_state = HardState { term: mark.term, commit: mark.index, ..HardState::default() };
    let log = GroupLog {
        identity: Some(replica),
        lowest: replica.0,
        hard_state,
        truncated_index: mark.index,
        truncated_term: mark.term,
        ..GroupLog::default()
    };
    node.log.birth(group, log);
}
