//! Snapshots: built from the applied state, carried with their message, installed as one ingest.

use std::rc::Rc;

use model::{NodeId, ReplicaId};
use replica::eraftpb::MessageType;
use replica::{AppliedMark, GroupState, Input, Install, MessageBody, SnapshotContent, Welcome};

use crate::core::Core;
use crate::disk::engine::Contents;
use crate::disk::log::{Operation, Received};
use crate::event::{Event, Frame, Group, Parcel, Place, Seat, Waiter};
use crate::faults::Fault;
use crate::host::{Node, Running};
use crate::invariant::{Broken, Verdict};
use crate::mutant::Mutant;
use crate::plan::{MILLISECOND, SECOND};
use crate::trace::At;

/// A transfer that stands still so long is given up.
const TRANSFER_TIMEOUT_US: u64 = 3 * SECOND;
/// Snapshots kept for sending, per group.
const KEPT: usize = 4;

impl Node {
    pub fn build_snapshot(&mut self, core: &mut Core, seat: Seat, to: ReplicaId) {
        let mut contents = self.engine.current[seat.group].clone();
        if core.plan.has(Mutant::SnapshotLosesItem) {
            Rc::make_mut(&mut contents.items).pop_first();
        }
        let Some(running) = self.seated(seat) else { return };
        let built = match (&contents.state, contents.mark) {
            (Some(state), Some(mark)) if !core.rng.permille(50) || core.healed => {
                let content = SnapshotContent { state: (**state).clone(), mark };
                running.built.push((to, mark.index, contents));
                if running.built.len() > KEPT {
                    running.built.remove(0);
                }
                core.stats.count("snapshots built");
                Input::SnapshotBuilt { to, content }
            }
            _ => Input::SnapshotFailed { to },
        };
        self.give(core, seat.group, built);
    }

    pub(super) fn send_snapshot(
        &mut self,
        core: &mut Core,
        group: Group,
        running: &mut Running,
        parcel: Parcel,
        address: Option<(Place, NodeId)>,
    ) -> Verdict {
        let MessageBody::Raft(message) = &parcel.envelope.body else { return Ok(()) };
        let index = message.get_snapshot().get_metadata().index;
        let to = parcel.envelope.to;
        core.note(At::seat(self.place, group), "snapshot sent (index to)", [index, to.0, 0, 0]);
        let built = running.built.iter().rev().find(|(of, at, _)| *of == to && *at == index);
        let Some((_, _, contents)) = built else {
            let what = format!("a snapshot message at {index} to replica {to} without its files");
            return Err(Broken::new("host order", group, what));
        };
        let sender = self.seat(group, running.id);
        let mut delays = address.map(|address| core.network.delays(&mut core.rng, self.place, address.0));
        if let Some(delays) = &mut delays {
            delays.retain(|delay| *delay < TRANSFER_TIMEOUT_US);
        }
        let transfer = core.rng.range(MILLISECOND, 300 * MILLISECOND);
        match (address, delays) {
            (Some(address), Some(delays)) if !delays.is_empty() => {
                for delay in delays {
                    let parcel = Box::new(parcel.clone());
                    let contents = contents.clone();
                    core.after(delay + transfer, Event::Snapshot { sender, parcel, to: address, contents });
                }
            }
            _ => report(core, sender, to, false),
        }
        Ok(())
    }

    /// Files and message are here; they are kept only if the replica has a use for them, and the message goes to it.
    pub fn snapshot_arrived(&mut self, core: &mut Core, sender: Seat, parcel: &Parcel, contents: Contents) -> Verdict {
        let MessageBody::Raft(message) = &parcel.envelope.body else { return Ok(()) };
        let metadata = message.get_snapshot().get_metadata();
        let (index, term) = (metadata.index, metadata.term);
        let range = contents.state.as_ref().map(|state| state.descriptor.range.clone());
        let covered = range.is_some_and(|range| self.is_covered(core, parcel.group, &range));
        if covered {
            core.stats.count("snapshots refused: range covered");
        }
        let admitted = self.admit(core, parcel)? && !covered;
        let running = self.running[parcel.group].as_mut().filter(|_| admitted);
        let welcome = running.as_ref().map_or(Welcome::Nothing, |running| running.replica.welcome(index, term));
        if let (Welcome::Files, Some(running)) = (welcome, running) {
            running.received.retain(|(at, of, _)| (*at, *of) != (index, term));
            running.received.push((index, term, contents));
        }
        let delivered = welcome != Welcome::Nothing;
        report(core, sender, parcel.envelope.to, delivered);
        if delivered {
            // The message follows the files, and may be lost, late or doubled like any other.
            let delays = core.network.delays(&mut core.rng, sender.process.place, self.place);
            let frame = Frame { from: parcel.from, to: (self.place, self.id), parcels: vec![parcel.clone()] };
            let frame = Rc::new(frame);
            for delay in delays {
                core.after(delay, Event::Frame(Rc::clone(&frame)));
            }
        }
        Ok(())
    }

    /// A snapshot's message may be stepped only if its files are here, or not needed; any other always.
    pub(super) fn may_step(&mut self, core: &Core, parcel: &Parcel) -> bool {
        let MessageBody::Raft(message) = &parcel.envelope.body else { return true };
        let metadata = message.get_snapshot().get_metadata();
        if message.msg_type != MessageType::MsgSnapshot {
            return true;
        }
        let Some(running) = &self.running[parcel.group] else { return false };
        match running.replica.welcomes(message) {
            Welcome::Files => self.may_install(core, parcel.group, (metadata.index, metadata.term)),
            Welcome::Message => true,
            Welcome::Nothing => false,
        }
    }

    /// Its files are here, and nobody else has its range; nor will anybody before it is stepped.
    fn may_install(&mut self, core: &Core, group: Group, at: (u64, u64)) -> bool {
        let Some(running) = &self.running[group] else { return false };
        let found = running.received.iter().find(|(index, term, _)| (*index, *term) == at);
        let state = found.and_then(|(_, _, contents)| contents.state.clone());
        let Some(range) = state.map(|state| state.descriptor.range.clone()) else { return false };
        if self.is_covered(core, group, &range) {
            return false;
        }
        if let Some(running) = &mut self.running[group] {
            running.expected = Some(range);
        }
        true
    }

    pub(super) fn begin_install(
        &mut self,
        core: &mut Core,
        group: Group,
        running: &mut Running,
        install: Install,
    ) -> Verdict {
        let at = At::seat(self.place, group);
        core.note(at, "install (index term replica)", [install.index, install.term, running.id.0, 0]);
        let found = running.received.iter().find(|(index, term, _)| (*index, *term) == (install.index, install.term));
        let empty = Contents::default();
        let found = found.map(|(_, _, contents)| contents).or((!install.has_items).then_some(&empty));
        let Some(contents) = found else {
            let what = format!("a snapshot at {} is to be installed that never arrived", install.index);
            return Err(Broken::new("host order", group, what));
        };
        let state = GroupState::decode(install.state.clone());
        let state = state.map_err(|error| Broken::new("formats", group, format!("the snapshot's state: {error}")))?;
        let mark = AppliedMark::decode(install.mark.clone());
        let mark = mark.map_err(|error| Broken::new("formats", group, format!("the snapshot's mark: {error}")))?;
        if state.replica != running.id || mark.index != install.index || running.installing.is_some() {
            let what = format!("replica {} installs {mark:?} of replica {}", running.id, state.replica);
            return Err(Broken::new("host order", group, what));
        }
        let contents = Contents { state: Some(Rc::new(state)), mark: Some(mark), ..contents.clone() };
        let received = Rc::new(Received { install, contents });
        running.installing = Some(Rc::clone(&received));
        running.received.clear();
        if core.plan.has(Mutant::IngestUnmarked) {
            let due = running.apply_at.max(core.now) + 1;
            core.queue.at(due, Event::Ingest(self.seat(group, running.id), received));
            return Ok(());
        }
        let waiter = Waiter::Receiving(self.seat(group, running.id), Rc::clone(&received));
        self.log.submit(group, Operation::Receiving(received), true, Some(waiter));
        Ok(())
    }

    /// The intent is durable: flush, ingest, then the log's new beginning.
    pub fn ingest(&mut self, core: &mut Core, seat: Seat, received: &Received) {
        if self.seated(seat).is_none() {
            return;
        }
        core.stats.count("snapshots installed");
        if !core.healed && !core.plan.judges_times() && core.rng.permille(100) {
            // The cruellest moment: what was received is in the engine, and the log does not say so yet.
            core.stats.count("crashes after an ingest");
            let soon = core.rng.range(0, 2 * core.plan.disk.sync_us);
            core.after(soon, Event::Fault(Fault::Stop(self.place)));
        }
        self.engine.ingest(seat.group, &received.contents);
        let Install { index, term, hard_state, .. } = &received.install;
        let operation = Operation::Installed { index: *index, term: *term, hard_state: hard_state.clone() };
        let waiter = Waiter::Installed { seat, index: *index };
        self.log.submit(seat.group, operation, true, Some(waiter));
        self.tell_flushed(core);
        self.begin_sync(core);
    }

    pub(super) fn installed(&mut self, core: &mut Core, seat: Seat, index: u64) -> Verdict {
        let Some(running) = self.seated(seat) else { return Ok(()) };
        running.installing = None;
        core.note(At::seat(seat.process.place, seat.group), "installed (index)", [index, 0, 0, 0]);
        core.oracle.contents(seat.group, seat.replica, &self.engine.current[seat.group])?;
        self.give(core, seat.group, Input::Installed { index });
        Ok(())
    }
}

/// The sender hears what became of a transfer; if it still lives.
fn report(core: &mut Core, sender: Seat, to: ReplicaId, delivered: bool) {
    let delay = core.rng.range(MILLISECOND, if delivered { 20 * MILLISECOND } else { 1_000 * MILLISECOND });
    core.after(delay, Event::Done(sender, Box::new(Input::SnapshotSent { to, delivered })));
}
