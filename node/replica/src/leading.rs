//! What only a leader has: the writes that wait, the overlay, the proposals on their way, the reads to confirm.
//!
//! It lives for one term of one leader. When leadership is lost it is taken apart: what was proposed is open (`unsettled`),
//! everything else was surely not applied. Until the first entry of the term is applied, requests wait in the lobby, for one election
//! time-out at most: entries inherited from others may be committed and not yet applied while the overlay is empty.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use model::{PartitionDescriptor, ReplicaId, ReplicaKind};

use crate::apply::Fate;
use crate::batch::Batch;
use crate::evaluate::{Verdict, evaluate};
use crate::overlay::{Image, Overlay};
use crate::oversight::Oversight;
use crate::queue::{Old, Queue, Queued, Waiting, request_bytes};
use crate::raft_core::Core;
use crate::reads::{Reader, Rounds};
use crate::repair::Repair;
use crate::split::Dividing;
use crate::state::GroupState;
use crate::unsettled::Lost;
use crate::{Answer, Effects, Event, Mutant, Now, Options, Refusal, Token, WriteRequest};

/// Apart from its replica: most lead nothing.
pub(crate) struct Leading {
    pub term: u64,
    /// A log replica never serves.
    pub kind: ReplicaKind,
    /// The first entry of the term.
    first_index: u64,
    pub serving: bool,
    lobby: VecDeque<(u64, Guest)>,
    lobby_bytes: usize,
    queue: Queue,
    overlay: Overlay,
    rounds: Rounds,
    proposed: VecDeque<(u64, Token, Answer)>,
    admin: Vec<Admin>,
    last_commit_time_us: u64,
    pub oversight: Oversight,
    pub repair: Repair,
    /// To whom a log replica has tried to hand over.
    pub tried_heirs: BTreeSet<ReplicaId>,
    dividing: Dividing,
}

/// A request that came before the leader served.
enum Guest {
    Write { token: Token, epoch: u64, request: Box<WriteRequest> },
    Confirm { token: Token, epoch: u64 },
}

impl Guest {
    fn token(&self) -> Token {
        match self {
            Guest::Write { token, .. } | Guest::Confirm { token, .. } => *token,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Guest::Write { request, .. } => request_bytes(request),
            Guest::Confirm { .. } => 0,
        }
    }
}

/// An administrative entry on its way.
struct Admin {
    token: Token,
    index: u64,
    /// Done only when the joint configuration is left.
    joint: bool,
    fate: Option<Answer>,
}

/// Strong reads may wait in larger numbers than writes: they hold no bytes.
const READERS_PER_WRITE: usize = 8;

impl Leading {
    /// Just elected: the log's last entry is the first of the term.
    pub(crate) fn new(core: &Core, ticks: u64, kind: ReplicaKind) -> Leading {
        Leading {
            term: core.term(),
            kind,
            first_index: core.last_index(),
            serving: false,
            lobby: VecDeque::new(),
            lobby_bytes: 0,
            queue: Queue::default(),
            overlay: Overlay::default(),
            rounds: Rounds::default(),
            proposed: VecDeque::new(),
            admin: Vec::new(),
            last_commit_time_us: 0,
            oversight: Oversight::new(ticks),
            repair: Repair::default(),
            tried_heirs: BTreeSet::new(),
            dividing: Dividing::default(),
        }
    }

    pub(crate) fn write(&mut self, desk: &mut Desk<'_>, token: Token, epoch: u64, request: Box<WriteRequest>) {
        if let Some(refusal) = desk.refuse_write() {
            return desk.refuse(token, refusal);
        }
        if !self.serving && !desk.flawed(Mutant::EvaluatedEarly) {
            return self.wait_in_lobby(desk, Guest::Write { token, epoch, request });
        }
        if let Some(refusal) = desk.refuse_by_state(epoch, Some(&request.key)) {
            return desk.refuse(token, refusal);
        }
        if !self.queue.has_room(desk.clock.options.queued_requests, desk.clock.options.queued_bytes) {
            return desk.refuse(token, Refusal::Overloaded);
        }
        if let Some(held) = self.dividing.hold(&request.key) {
            return match held.len() < desk.clock.options.queued_requests {
                true => held.push(token),
                false => desk.refuse(token, Refusal::Overloaded),
            };
        }
        let overlaid = self.overlay.get(&request.key).is_some();
        let read = self.queue.push(Queued { token, request }, overlaid, &mut desk.clock.next_ticket);
        desk.effects.reads.extend(read);
    }

    pub(crate) fn confirm(&mut self, desk: &mut Desk<'_>, token: Token, epoch: u64) {
        if !self.serving {
            return self.wait_in_lobby(desk, Guest::Confirm { token, epoch });
        }
        if let Some(refusal) = desk.refuse_by_state(epoch, None) {
            return desk.refuse(token, refusal);
        }
        if !self.rounds.has_room(desk.clock.options.queued_requests * READERS_PER_WRITE) {
            return desk.refuse(token, Refusal::Overloaded);
        }
        self.rounds.ask(Reader { token, answer: None, seen: 0 });
    }

    fn wait_in_lobby(&mut self, desk: &mut Desk<'_>, guest: Guest) {
        let options = &desk.clock.options;
        if self.lobby.len() >= options.queued_requests || self.lobby_bytes >= options.queued_bytes {
            return desk.refuse(guest.token(), Refusal::Overloaded);
        }
        self.lobby_bytes += guest.bytes();
        self.lobby.push_back((desk.clock.ticks, guest));
    }

    pub(crate) fn item_read(&mut self, ticket: u64, attributes: Option<Bytes>) {
        self.queue.item_read(ticket, attributes);
    }

    pub(crate) fn read_failed(&mut self, desk: &mut Desk<'_>, ticket: u64) {
        for token in self.queue.read_failed(ticket) {
            desk.refuse(token, Refusal::ReadFailed);
        }
    }

    /// Guests do not wait longer than an election takes.
    pub(crate) fn tick(&mut self, desk: &mut Desk<'_>) {
        let patience = desk.clock.patience();
        while self.lobby.front().is_some_and(|(since, _)| desk.clock.ticks - since >= patience) {
            let (_, guest) = self.lobby.pop_front().expect("there is a first one");
            self.lobby_bytes -= guest.bytes();
            desk.refuse(guest.token(), Refusal::NotReady);
        }
    }

    /// Evaluates every write whose old item is known and proposes what they change, all in one message.
    pub(crate) fn propose(&mut self, desk: &mut Desk<'_>, core: &mut Core, now: Now) {
        let Some(first) = self.queue.pop_ready() else { return };
        let time_us = self.commit_time(now);
        let batch = Batch::new(self.term, time_us, core.last_index() + 1, desk.clock.options.entry_bytes);
        let room = core.proposal_room(desk.clock.options.uncommitted_bytes);
        let mut turn = EvaluationTurn { batch, readers: Vec::new(), room, alone: core.nothing_uncommitted() };
        let mut next = Some(first);
        while let Some((key, waiting)) = next {
            self.evaluate_key(desk, &mut turn, key, waiting);
            next = self.queue.pop_ready();
        }
        self.propose_turn(desk, core, turn);
    }

    /// Never below an earlier one of this group.
    pub(crate) fn commit_time(&mut self, now: Now) -> u64 {
        self.last_commit_time_us = self.last_commit_time_us.max(now.0);
        self.last_commit_time_us
    }

    fn evaluate_key(&mut self, desk: &mut Desk<'_>, turn: &mut EvaluationTurn, key: Bytes, waiting: Waiting) {
        if waiting.old == Old::Overlaid && self.overlay.get(&key).is_none() {
            let read = self.queue.read_again(key, waiting, &mut desk.clock.next_ticket);
            desk.effects.reads.push(read);
            return;
        }
        let known = match waiting.old {
            Old::Item(item) => item,
            Old::Overlaid | Old::Reading => None,
        };
        for Queued { token, request } in waiting.writes {
            let (old, seen) = match self.overlay.get(&key) {
                Some(image) => (image.attributes.clone(), image.index),
                None => (known.clone(), 0),
            };
            match evaluate(&request, old.as_ref()) {
                Verdict::Read(answer) if desk.flawed(Mutant::ConditionUnconfirmed) => {
                    desk.effects.answers.push((token, answer));
                }
                Verdict::Read(answer) => turn.readers.push(Reader { token, answer: Some(answer), seen }),
                Verdict::Write { after, .. } if !turn.has_room(&request, after.as_ref()) => {
                    desk.refuse(token, Refusal::Overloaded);
                }
                Verdict::Write { kind, after, answer } => {
                    let index = turn.batch.push(*request, kind, after.clone(), token, answer);
                    self.overlay.put(key.clone(), Image { attributes: after, index });
                }
            }
        }
    }

    /// Refused as a whole or not at all; with it goes every answer that has seen something of it.
    fn propose_turn(&mut self, desk: &mut Desk<'_>, core: &mut Core, turn: EvaluationTurn) {
        let EvaluationTurn { batch, mut readers, .. } = turn;
        let first_index = batch.first_index();
        let (entries, answers) = batch.into_entries();
        if entries.is_empty() {
            readers.into_iter().for_each(|reader| self.rounds.ask(reader));
            return;
        }
        match core.propose(entries) {
            Ok(first) => {
                assert_eq!(first, first_index, "raft gave the entries another index");
                self.overlay.keep_turn();
                self.proposed.extend(answers);
                readers.into_iter().for_each(|reader| self.rounds.ask(reader));
            }
            Err(_refused) => {
                self.overlay.take_turn_back();
                let seers = readers.extract_if(.., |reader| reader.seen >= first_index).map(|reader| reader.token);
                let refused: Vec<Token> = answers.iter().map(|&(_, token, _)| token).chain(seers).collect();
                refused.into_iter().for_each(|token| desk.refuse_proposal(token));
                readers.into_iter().for_each(|reader| self.rounds.ask(reader));
            }
        }
    }

    pub(crate) fn begin_round(&mut self, desk: &mut Desk<'_>, core: &mut Core) {
        for reader in self.rounds.begin(core) {
            desk.refuse(reader.token, Refusal::NotLeader { leader: None });
        }
    }

    pub(crate) fn round_confirmed(&mut self, round: u64, index: u64) {
        self.rounds.confirm(round, index);
    }

    pub(crate) fn await_admin(&mut self, token: Token, index: u64, joint: bool) {
        self.admin.push(Admin { token, index, joint, fate: None });
    }

    pub(crate) fn divides(&self) -> bool {
        self.dividing.is_under_way()
    }

    /// Proposed: nothing of the right half follows in this log.
    pub(crate) fn divide(&mut self, desk: &Desk<'_>, index: u64, at: Bytes) {
        let held = if desk.flawed(Mutant::WritesAcrossSplit) { Vec::new() } else { self.queue.withdraw(&at) };
        let at = if desk.flawed(Mutant::WritesAcrossSplit) { Bytes::from_static(&[0xff; 64]) } else { at };
        self.dividing.begin(index, at, held);
    }

    /// What was handed to the engine besides writes.
    pub(crate) fn fates(&mut self, desk: &mut Desk<'_>, fates: &[(u64, Fate)]) {
        for &(index, fate) in fates {
            let held = self.dividing.end(index);
            held.into_iter().flatten().for_each(|token| desk.refuse_stale(token));
            if fate == Fate::Divided && !desk.flawed(Mutant::ReadsAcrossSplit) {
                self.rounds.withdraw_reads().into_iter().for_each(|token| desk.refuse_stale(token));
            }
            for admin in &mut self.admin {
                let own = admin.index == index;
                match fate {
                    Fate::Taken | Fate::Divided if own && !admin.joint => admin.fate = Some(Answer::Done),
                    Fate::LeftJoint if admin.joint && admin.fate.is_none() && admin.index < index => {
                        admin.index = index;
                        admin.fate = Some(Answer::Done);
                    }
                    Fate::Skipped | Fate::Empty if own => {
                        let reason = "the group changed before it was applied".to_owned();
                        admin.fate = Some(Answer::Refused(Refusal::Impossible { reason }));
                    }
                    Fate::Taken | Fate::Divided | Fate::LeftJoint | Fate::Skipped | Fate::Empty => {}
                }
            }
        }
    }

    /// The engine has everything up to `applied`: answers are due.
    pub(crate) fn applied(&mut self, desk: &mut Desk<'_>, applied: u64, commit_time_us: u64) {
        self.overlay.applied(applied);
        while self.proposed.front().is_some_and(|&(index, ..)| index <= applied) {
            let (_, token, answer) = self.proposed.pop_front().expect("there is a first one");
            desk.effects.answers.push((token, answer));
        }
        for admin in self.admin.extract_if(.., |admin| admin.fate.is_some() && admin.index <= applied) {
            desk.effects.answers.extend(admin.fate.map(|answer| (admin.token, answer)));
        }
        let may_serve = self.kind == ReplicaKind::Storage || desk.flawed(Mutant::LogReplicaServes);
        if !self.serving && may_serve && applied >= self.first_index {
            self.serving = true;
            self.last_commit_time_us = commit_time_us;
            desk.effects.events.push(Event::Serving { term: self.term });
            self.lobby_bytes = 0;
            for (_, guest) in std::mem::take(&mut self.lobby) {
                match guest {
                    Guest::Write { token, epoch, request } => self.write(desk, token, epoch, request),
                    Guest::Confirm { token, epoch } => self.confirm(desk, token, epoch),
                }
            }
        }
    }

    pub(crate) fn readers_due(&mut self, effects: &mut Effects, applied: u64) {
        for Reader { token, answer, .. } in self.rounds.take_due(applied) {
            match answer {
                Some(answer) => effects.answers.push((token, answer)),
                None => effects.confirmed.push(token),
            }
        }
    }

    /// Leadership is lost. What was proposed may still be committed: its answers are for whoever sees what is applied.
    pub(crate) fn resign(self, effects: &mut Effects, core: &Core) -> Lost {
        let unknown = self.admin.iter().map(|admin| (admin.token, Answer::Refused(Refusal::Unknown)));
        effects.answers.extend(unknown);
        effects.answers.extend(self.oversight.transferred().map(|token| (token, Answer::Done)));
        let leader = core.leader();
        let guests = self.lobby.into_iter().map(|(_, guest)| guest.token());
        let held = self.dividing.tokens();
        for token in guests.chain(self.queue.tokens()).chain(self.rounds.tokens()).chain(held) {
            effects.answers.push((token, Answer::Refused(Refusal::NotLeader { leader })));
        }
        Lost { term: self.term, writes: self.proposed }
    }

    /// It serves, and nobody waits for anything.
    pub(crate) fn is_idle(&self) -> bool {
        let nobody_waits = self.lobby.is_empty() && self.queue.is_empty() && self.rounds.is_empty();
        self.serving && nobody_waits && self.proposed.is_empty() && self.admin.is_empty() && self.oversight.is_idle()
    }

    /// Nobody waits: so does nothing in any queue.
    pub(crate) fn shrink(&mut self) {
        self.lobby.shrink_to_fit();
        self.proposed.shrink_to_fit();
        self.admin.shrink_to_fit();
        self.queue.shrink();
        self.overlay.shrink();
        self.rounds.shrink();
    }

    pub(crate) fn check(&self, applied: u64, last_index: u64) {
        self.overlay.check(applied, last_index);
        assert!(self.serving || self.proposed.is_empty(), "proposed before the first entry of the term was applied");
    }
}

#[cfg(feature = "mutants")]
impl Leading {
    pub(crate) fn take_overlay(&mut self) -> Overlay {
        let mut overlay = std::mem::take(&mut self.overlay);
        overlay.never_applied();
        overlay
    }

    pub(crate) fn put_overlay(&mut self, overlay: Overlay) {
        self.overlay = overlay;
    }

    /// What waits and what is overlaid, in a leader that does not know that it is none.
    pub(crate) fn go_on_in(&mut self, term: u64, core: &Core, ticks: u64) -> Leading {
        let (queue, overlay) = (std::mem::take(&mut self.queue), std::mem::take(&mut self.overlay));
        Leading { term, queue, overlay, serving: true, ..Leading::new(core, ticks, self.kind) }
    }

    pub(crate) fn forget_proposed(&mut self, effects: &mut Effects) {
        let unknown = self.proposed.drain(..).map(|(_, token, _)| (token, Answer::Refused(Refusal::Unknown)));
        effects.answers.extend(unknown);
    }
}

struct EvaluationTurn {
    batch: Batch,
    readers: Vec<Reader>,
    /// Bytes that raft will take.
    room: usize,
    /// Nothing is on its way: raft takes one write of any size.
    alone: bool,
}

impl EvaluationTurn {
    fn has_room(&self, request: &WriteRequest, after: Option<&Bytes>) -> bool {
        let bytes = Batch::bytes_of(request, after);
        (self.alone && self.batch.bytes() == 0) || self.batch.bytes() + bytes <= self.room
    }
}

/// What a leader's request handling works with.
pub(crate) struct Desk<'a> {
    pub clock: &'a mut Clock,
    pub state: Option<&'a GroupState>,
    /// Leadership is on its way there: nothing is proposed.
    pub transferring_to: Option<ReplicaId>,
    pub effects: &'a mut Effects,
}

/// A replica's settings, its ticks, and its next ticket for an old item.
pub(crate) struct Clock {
    pub options: Options,
    pub ticks: u64,
    pub next_ticket: u64,
}

impl Clock {
    /// One election time-out, in ticks.
    pub(crate) fn patience(&self) -> u64 {
        self.options.election_ticks as u64
    }
}

impl Desk<'_> {
    pub(crate) fn refuse(&mut self, token: Token, refusal: Refusal) {
        self.effects.answers.push((token, Answer::Refused(refusal)));
    }

    /// Planned on what is no more.
    fn refuse_stale(&mut self, token: Token) {
        let stale = self.state.map(|state| Refusal::StaleEpoch { descriptor: boxed(&state.descriptor) });
        self.refuse(token, stale.unwrap_or(Refusal::NotReady));
    }

    /// Raft did not take it.
    fn refuse_proposal(&mut self, token: Token) {
        self.refuse(token, self.refuse_write().unwrap_or(Refusal::Overloaded));
    }

    fn flawed(&self, mutant: Mutant) -> bool {
        self.clock.options.flaw.is(mutant)
    }

    fn refuse_write(&self) -> Option<Refusal> {
        self.transferring_to.map(|leader| Refusal::NotLeader { leader: Some(leader) })
    }

    /// The epoch and the table as this leader has applied them.
    fn refuse_by_state(&self, epoch: u64, key: Option<&[u8]>) -> Option<Refusal> {
        let Some(state) = self.state else { return Some(Refusal::NotReady) };
        if state.table.status.is_out_of_service() {
            return Some(Refusal::TableGone);
        }
        let current = epoch == state.descriptor.epoch || self.flawed(Mutant::EpochIgnored);
        let stale = !current || key.is_some_and(|key| !state.descriptor.range.contains(key));
        stale.then(|| Refusal::StaleEpoch { descriptor: boxed(&state.descriptor) })
    }
}

pub(crate) fn boxed(descriptor: &PartitionDescriptor) -> Box<PartitionDescriptor> {
    Box::new(descriptor.clone())
}
