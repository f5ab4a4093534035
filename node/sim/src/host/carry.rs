//! Carrying out what a step wants.

use std::collections::BTreeMap;
use std::rc::Rc;

use model::{NodeId, ReplicaId, ReplicaKind};
use replica::eraftpb::MessageType;
use replica::{
    Answer, Append, AppliedMark, ApplyBatch, Effects, Envelope, Event as Change, FetchRequest, GroupState, Input,
    MessageBody, ReadItem, Token,
};

use crate::core::Core;
use crate::disk::engine::Applied;
use crate::disk::log::Operation;
use crate::event::{Event, Frame, Group, Parcel, Place, Reply, Waiter};
use crate::faults;
use crate::host::{Asked, Node, Running};
use crate::invariant::checked::Checked;
use crate::invariant::truncation::Truncated;
use crate::invariant::{Broken, Verdict, routing, truncation};
use crate::mover;
use crate::mutant::Mutant;
use crate::oracle::{Outcome, Seen};
use crate::plan::SECOND;
use crate::splitter;
use crate::trace::At;

/// A commit index that rides on no append for so long is told by itself, as the node does.
const ANNOUNCE_COMMIT_US: u64 = 5_000;
/// However slow a disk, a batch is applied within this time.
const APPLY_BACKLOG_US: u64 = 2 * SECOND;

/// What leaves for other nodes in this turn.
pub type Frames = BTreeMap<(Place, NodeId), Vec<Parcel>>;

impl Node {
    pub(super) fn carry_out(
        &mut self,
        core: &mut Core,
        group: Group,
        running: &mut Running,
        effects: Effects,
        frames: &mut Frames,
    ) -> Verdict {
        let Effects {
            reads,
            append,
            send,
            apply,
            answers,
            confirmed,
            fetch,
            snapshot_wanted,
            place_wanted,
            install,
            truncate,
            commit_untold,
            events,
        } = effects;
        for read in reads {
            self.read(core, group, running, read);
        }
        if let Some(append) = append {
            self.append(core, group, running, append)?;
        }
        let status = running.replica.status();
        core.oracle.stepped(&Seen {
            now: core.now,
            group,
            place: self.place,
            before: &running.status,
            status: &status,
            descriptor_before: running.descriptor.as_ref(),
            descriptor: running.replica.descriptor(),
            log: &self.log.current[group],
            installing: install.is_some() || running.installing.is_some(),
        })?;
        running.now_is(status);
        for envelope in send {
            self.route(core, group, running, envelope, frames)?;
        }
        if let Some(batch) = apply {
            self.begin_apply(core, group, running, batch)?;
        }
        for (token, answer) in answers {
            answered(core, self.place, group, running, token, answer)?;
        }
        for token in confirmed {
            self.begin_look(core, group, running, token)?;
        }
        for request in fetch {
            self.fetch(core, group, running.id, request);
        }
        if let Some(to) = snapshot_wanted {
            let delay = core.around(core.plan.disk.read_us);
            core.after(delay, Event::BuildSnapshot { seat: self.seat(group, running.id), to });
        }
        if let Some(wanted) = place_wanted {
            self.place(core, group, running, wanted);
        }
        if let Some(install) = install {
            self.begin_install(core, group, running, install)?;
        }
        if let Some(index) = truncate {
            self.truncate(core, group, running, index)?;
        }
        if commit_untold {
            self.announce_later(core, group, running);
        }
        for change in events {
            self.changed(core, group, running, change);
        }
        Ok(())
    }

    fn announce_later(&self, core: &mut Core, group: Group, running: &mut Running) {
        if core.now >= running.announce_at {
            running.announce_at = core.now + ANNOUNCE_COMMIT_US;
            let told = Event::Done(self.seat(group, running.id), Box::new(Input::AnnounceCommit));
            core.after(ANNOUNCE_COMMIT_US, told);
        }
    }

    fn begin_look(&self, core: &mut Core, group: Group, running: &Running, token: Token) -> Verdict {
        if let Some(Asked::Client { operation, key, .. }) = running.asked.get(&token) {
            routing::confirmed(group, *operation, key, running.descriptor.as_ref())?;
        }
        let delay = core.around(core.plan.disk.read_us);
        core.after(delay, Event::Look { seat: self.seat(group, running.id), token });
        Ok(())
    }

    fn read(&mut self, core: &mut Core, group: Group, running: &mut Running, read: ReadItem) {
        let ReadItem { ticket, key } = read;
        running.reading += 1;
        let seat = self.seat(group, running.id);
        let delay = core.around(core.plan.disk.read_us * self.disk_factor);
        if core.rng.permille(core.plan.disk.read_failure_permille) {
            core.after(delay, Event::Done(seat, Box::new(Input::ItemReadFailed { ticket })));
        } else if core.rng.permille(500) {
            let attributes = self.item(group, &key);
            core.after(delay, Event::Done(seat, Box::new(Input::ItemRead { ticket, attributes })));
        } else {
            core.after(delay, Event::ReadItem { seat, ticket, key });
        }
    }

    pub(super) fn item(&self, group: Group, key: &bytes::Bytes) -> Option<bytes::Bytes> {
        let items = &self.engine.current[group].items;
        items.get(&(replica::entry::SPACE_ITEMS, key.clone())).map(|record| record.attributes.clone())
    }

    fn append(&mut self, core: &mut Core, group: Group, running: &mut Running, append: Append) -> Verdict {
        if running.installing.is_some() {
            return Err(Broken::new(
                "host order",
                group,
                String::from("an append while a snapshot is being installed"),
            ));
        }
        let log = &self.log.current[group];
        let first = append.entries.first().map_or(0, |entry| entry.index);
        let last = append.entries.last().map_or(0, |entry| entry.index);
        let term = append.hard_state.as_ref().map_or(0, |hard| hard.term);
        core.note(
            At::seat(self.place, group),
            "append (first last term sync)",
            [first, last, term, append.must_sync.into()],
        );
        if first > log.last_index() + 1 || (first != 0 && first <= log.truncated_index) {
            let what = format!(
                "an append from {first} to a log of {}..{} of replica {}",
                log.truncated_index,
                log.last_index(),
                running.id
            );
            return Err(Broken::new("host order", group, what));
        }
        core.oracle.appended(group, running.id, &append.entries)?;
        let number = append.number;
        let must_sync = append.must_sync;
        let waiter = Waiter::Persisted { seat: self.seat(group, running.id), number };
        let at_once = !must_sync && append_is_bare(&append) && self.log.waiting() == 0 && !self.log.is_syncing();
        if core.plan.has(Mutant::AckUnsynced) || at_once && core.rng.permille(500) {
            core.after(1, Event::Done(self.seat(group, running.id), Box::new(Input::Persisted { number })));
            self.log.submit(group, Operation::Append(Rc::new(append)), must_sync, None);
        } else {
            self.log.submit(group, Operation::Append(Rc::new(append)), must_sync, Some(waiter));
        }
        Ok(())
    }

    fn route(
        &mut self,
        core: &mut Core,
        group: Group,
        running: &mut Running,
        envelope: Envelope,
        frames: &mut Frames,
    ) -> Verdict {
        let to = envelope.to;
        core.oracle.sleepers.says(group, running, &envelope)?;
        if let MessageBody::Raft(message) = &envelope.body {
            core.oracle.sent(group, self.place, running.id, message)?;
        }
        let described = running.descriptor.as_ref().and_then(|descriptor| descriptor.replica(to)).map(|r| r.node);
        let heard = self.addresses.get(&(group, to)).copied();
        let address = match described {
            Some(node) => core.registry.places.get(&node).map(|place| (*place, node)),
            None => heard,
        };
        let parcel = Parcel { group, from: (self.place, self.id), envelope };
        let files = matches!(&parcel.envelope.body, MessageBody::Raft(m) if m.msg_type == MessageType::MsgSnapshot && replica::has_items(m));
        if files {
            return self.send_snapshot(core, group, running, parcel, address);
        }
        match address {
            Some(address) => frames.entry(address).or_default().push(parcel),
            None => self.unreachable(core, group, running.id, to),
        }
        Ok(())
    }

    /// The sender hears, or does not, that a frame was lost.
    pub(super) fn unreachable(&mut self, core: &mut Core, group: Group, from: ReplicaId, to: ReplicaId) {
        if core.rng.permille(300) {
            let seat = self.seat(group, from);
            core.after(1_000, Event::Done(seat, Box::new(Input::Unreachable(to))));
        }
    }

    pub(super) fn send(&mut self, core: &mut Core, to: (Place, NodeId), parcels: Vec<Parcel>) {
        let from = (self.place, self.id);
        let shuffled = core.network.plan.shuffled;
        let split: Vec<Vec<Parcel>> =
            if shuffled { parcels.into_iter().map(|parcel| vec![parcel]).collect() } else { vec![parcels] };
        for parcels in split {
            let delays = core.network.delays(&mut core.rng, self.place, to.0);
            core.stats.count("frames");
            if delays.is_empty() {
                core.stats.count("frames lost");
                for parcel in &parcels {
                    self.unreachable(core, parcel.group, parcel.envelope.from, parcel.envelope.to);
                }
            }
            let frame = Rc::new(Frame { from, to, parcels });
            for delay in delays {
                core.after(delay, Event::Frame(Rc::clone(&frame)));
            }
        }
    }

    fn begin_apply(&mut self, core: &mut Core, group: Group, running: &mut Running, batch: ApplyBatch) -> Verdict {
        if running.installing.is_some() {
            return Err(Broken::new("host order", group, String::from("an apply while a snapshot is being installed")));
        }
        let mark = AppliedMark::decode(batch.mark.clone())
            .map_err(|error| Broken::new("formats", group, format!("the applied mark: {error}")))?;
        let state = match &batch.state {
            None => None,
            Some(bytes) => {
                let state = GroupState::decode(bytes.clone());
                let state = state.map_err(|error| Broken::new("formats", group, format!("the state: {error}")))?;
                Some(Rc::new(state))
            }
        };
        if mark.index != batch.index {
            let what = format!("a batch up to {} with the mark {}", batch.index, mark.index);
            return Err(Broken::new("host order", group, what));
        }
        let delay = core.around(core.plan.disk.apply_us * self.disk_factor);
        let due = (running.apply_at.max(core.now) + delay).min(core.now + APPLY_BACKLOG_US);
        running.apply_at = due.max(running.apply_at + 1);
        running.applying.push_back(batch.index);
        let applied = Rc::new(Applied { batch, mark, state });
        core.queue.at(running.apply_at, Event::Apply(self.seat(group, running.id), applied));
        Ok(())
    }

    fn fetch(&mut self, core: &mut Core, group: Group, replica: ReplicaId, request: FetchRequest) {
        let entries = self.log.current[group].read(request.low, request.high, request.max_bytes);
        let delay = core.around(core.plan.disk.read_us * self.disk_factor);
        core.note(At::seat(self.place, group), "fetch (low high to)", [request.low, request.high, request.to.0, 0]);
        core.after(delay, Event::Done(self.seat(group, replica), Box::new(Input::Fetched { request, entries })));
    }

    fn truncate(&mut self, core: &mut Core, group: Group, running: &Running, index: u64) -> Verdict {
        let flushed = self.engine.flushed_index(group).unwrap_or(0);
        truncation::check(group, index, flushed)?;
        core.note(At::seat(self.place, group), "truncate (index)", [index, 0, 0, 0]);
        core.stats.count("log truncations");
        let term = self.log.current[group].term(index);
        let own = running.descriptor.as_ref().and_then(|descriptor| descriptor.replica(running.id));
        let alone = own.is_some_and(|own| own.kind == ReplicaKind::Log)
            && running.descriptor.as_ref() == Some(&core.registry.descriptors[group]);
        let leads = running.status.leader == Some(running.id);
        if let (Some(term), Some(descriptor), true) = (term, &running.descriptor, leads || alone) {
            core.oracle.truncated(Truncated { group, index, term, descriptor: descriptor.clone() });
        }
        self.log.submit(group, Operation::Truncate(index), false, None);
        Ok(())
    }

    fn changed(&mut self, core: &mut Core, group: Group, running: &mut Running, change: Change) {
        let at = At::seat(self.place, group);
        match change {
            Change::Leader { leader, term } => {
                core.note(at, "leader (replica term me)", [leader.map_or(0, |l| l.0), term, running.id.0, 0]);
                if leader == Some(running.id) {
                    core.stats.count("elections won");
                }
            }
            Change::Serving { term } => {
                core.note(at, "serving (term replica)", [term, running.id.0, 0, 0]);
                core.registry.lead(group, term, self.place, running.id);
                mover::swing_back(core, group, self.place);
                splitter::perhaps(core, group, 60);
            }
            Change::Descriptor(descriptor) => {
                core.note(at, "descriptor (epoch me)", [descriptor.epoch, running.id.0, 0, 0]);
                core.registry.announce(group, &descriptor);
                if running.status.leader == Some(running.id) {
                    faults::strike_beside_a_log_replica(core, self.place, &descriptor);
                }
            }
            Change::Table(table) => core.note(at, "table (version)", [table.version, 0, 0, 0]),
            Change::Removed => {
                core.note(at, "removed (replica)", [running.id.0, 0, 0, 0]);
                running.removed = true;
            }
        }
    }
}

/// Only the commit index moved.
fn append_is_bare(append: &Append) -> bool {
    append.entries.is_empty()
}

/// A request ends.
fn answered(
    core: &mut Core,
    place: Place,
    group: Group,
    running: &mut Running,
    token: Token,
    answer: Answer,
) -> Verdict {
    let Some(asked) = running.asked.remove(&token) else {
        return Err(Broken::new("answers", group, format!("{token:?} answered twice or never asked: {answer:?}")));
    };
    match asked {
        Asked::Client { client, attempt, operation, epochs, .. } => {
            let at = At { key: core.oracle.history.key_of(operation), ..At::seat(place, group) };
            core.note(at, answer_name(&answer), [operation, client as u64, 0, 0]);
            if !matches!(answer, Answer::Refused(_)) {
                core.oracle.checks.count(Checked::Routing);
                routing::served(group, operation, epochs, running.epoch())?;
            }
            core.oracle.answered(operation, core.now, Outcome::of(&answer));
            reply(core, client, attempt, Reply::Answer(answer));
        }
        Asked::Admin | Asked::Transfer => {
            core.note(At::seat(place, group), answer_name(&answer), [0; 4]);
            core.stats.count(if answer == Answer::Done { "admin done" } else { "admin refused" });
            splitter::perhaps(core, group, 100);
        }
    }
    Ok(())
}

/// An answer on its way back; it may be lost.
pub(super) fn reply(core: &mut Core, client: usize, attempt: u64, reply: Reply) {
    if core.rng.permille(core.network.plan.loss_permille / 3) {
        return;
    }
    let delay = core.network.plan.least_us + core.rng.range(0, core.network.plan.spread_us);
    core.after(delay, Event::Reply { client, attempt, reply: Box::new(reply) });
}

fn answer_name(answer: &Answer) -> &'static str {
    match answer {
        Answer::Written { .. } => "answers: written (op client)",
        Answer::ConditionFailed { .. } => "answers: condition failed (op client)",
        Answer::Invalid { .. } => "answers: invalid (op client)",
        Answer::Done => "answers: done",
        Answer::Refused(_) => "answers: refused (op client)",
    }
}
