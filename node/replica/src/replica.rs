//! The replica itself: takes inputs in order, then proposes, confirms, and carries what raft wants into effects.
//!
//! It only distributes: raft is in `raft_core`, what a leader has in `leading`, what must be on the disk in `persistence`, what the
//! engine gets in `apply`. Choices the rules leave open:
//! - Requests that come before a new leader serves wait for it, for one election time-out at most, then `NotReady`.
//! - Several apply batches may be out; the host answers them in order.
//! - Writes that are proposed when leadership is lost keep their answers until it is known what became of them (`unsettled`).

mod repairs;
mod resigning;
mod rest;

use std::cmp::Reverse;

use model::{PartitionDescriptor, ReplicaId, ReplicaKind, TableDescriptor};
use raft::Ready;

use crate::apply::Applier;
use crate::eraftpb::{Message, Snapshot};
use crate::leading::{Clock, Desk, Leading};
use crate::membership::storage_voters;
use crate::mutant::{Leftovers, Mutant};
use crate::oversight::Watch;
use crate::persistence::Persistence;
use crate::raft_core::Core;
use crate::recovery::Quorum;
use crate::repair::Absences;
use crate::sleep::Sleep;
use crate::slowness::Slowness;
use crate::snapshot::Installing;
use crate::start::StartError;
use crate::tail::{Abstention, Tail, Told};
use crate::truncation::Truncation;
use crate::unsettled::Unsettled;
use crate::{Answer, Effects, Envelope, Event, Input, MessageBody, Now, Refusal, SnapshotContent, Start};
use crate::{administration, persistence, snapshot, start};

/// One replica of one partition.
pub struct Replica {
    pub(crate) clock: Clock,
    pub(crate) core: Core,
    persistence: Persistence,
    pub(crate) applier: Applier,
    /// What the engine has.
    pub(crate) applied: u64,
    truncation: Truncation,
    pub(crate) installing: Option<Installing>,
    pub(crate) leading: Option<Box<Leading>>,
    slowness: Slowness,
    absences: Absences,
    pub(crate) quorum: Quorum,
    pub(crate) tail: Option<Tail>,
    abstention: Option<Abstention>,
    /// Writes of a leadership that is over.
    unsettled: Unsettled,
    announced: (Option<ReplicaId>, u64),
    removed: bool,
    pub(crate) sleep: Sleep,
    call: Option<resigning::Call>,
    leftovers: Leftovers,
}

impl Replica {
    pub fn start(start: Start) -> Result<Replica, StartError> {
        let prepared = start::prepare(start)?;
        let mut core = Core::new(prepared.replica, prepared.mark.index, &prepared.options, prepared.log)
            .map_err(StartError::Raft)?;
        if let Some(state) = &prepared.state
            && !core.flaw().is(Mutant::GroupsForgotten)
        {
            core.assign_groups(&state.descriptor);
        }
        Ok(Replica {
            core,
            persistence: Persistence::default(),
            applied: prepared.mark.index,
            truncation: Truncation::default(),
            applier: Applier { state: prepared.state, mark: prepared.mark },
            installing: None,
            leading: None,
            slowness: Slowness::default(),
            absences: Absences::default(),
            quorum: Quorum::default(),
            tail: prepared.tail_uncertain.then(Tail::default),
            abstention: None,
            unsettled: Unsettled::default(),
            announced: (None, 0),
            removed: false,
            sleep: Sleep::default(),
            call: None,
            leftovers: Leftovers::default(),
            clock: Clock { options: prepared.options, ticks: 0, next_ticket: 1 },
        })
    }

    /// Takes everything that waits, in order; `inputs` is left empty.
    pub fn step(&mut self, now: Now, inputs: &mut Vec<Input>) -> Effects {
        let mut effects = Effects::default();
        let mut tick = false;
        for input in inputs.drain(..) {
            tick |= matches!(input, Input::Tick);
            self.take(now, input, &mut effects);
            self.settle_role(&mut effects);
            if self.core.has_snapshot() {
                self.pump(&mut effects);
            }
        }
        self.propose(now, &mut effects);
        self.go_on_resigning();
        self.pump(&mut effects);
        self.feed_log_replicas(&mut effects);
        self.persistence.finish(&mut self.core, &mut effects);
        if tick {
            self.persistence.write_commit(&mut effects);
        }
        self.conclude(tick, &mut effects);
        if let Some(append) = &mut effects.append {
            append.doubted = self.tail.is_some();
        }
        self.time_appends(now, &effects);
        effects
    }

    fn time_appends(&mut self, now: Now, effects: &Effects) {
        if self.leading.is_none() {
            return;
        }
        let appended = effects.append.as_ref().and_then(|append| Some((append.number, append.entries.last()?.index)));
        if let Some((number, last_index)) = appended {
            self.slowness.appended(number, last_index, now);
        }
        self.slowness.committed(self.core.committed(), now);
    }

    fn take(&mut self, now: Now, input: Input, effects: &mut Effects) {
        self.stir(&input, effects);
        match input {
            Input::Tick => self.tick(now, effects),
            Input::Message(envelope) => self.message(envelope, effects),
            Input::Unreachable(id) => self.core.unreachable(id),
            Input::Campaign if self.installing.is_none() && self.tail.is_none() => self.core.campaign(),
            Input::Campaign => {}
            Input::Lost(_) => {}
            Input::Stopping(id) => {
                self.absences.excuse(id, self.clock.ticks + self.clock.options.planned_stop_ticks);
            }
            Input::Placed { wanted, place } => self.placed(now, &wanted, place, effects),
            Input::Write { .. }
            | Input::Confirm { .. }
            | Input::ItemRead { .. }
            | Input::ItemReadFailed { .. }
            | Input::Change { .. }
            | Input::Split { .. }
            | Input::SetTable { .. }
            | Input::Transfer { .. }
            | Input::AnnounceCommit
            | Input::Resign => self.request(now, input, effects),
            Input::Persisted { number } => {
                self.slowness.persisted(number, now);
                self.persistence.persisted(number, &mut self.core, effects);
            }
            Input::Applied { index } => self.applied(index, effects),
            Input::Flushed { index } => self.truncation.flushed(index),
            Input::Fetched { request, entries } => self.core.fetched(&request, entries),
            Input::SnapshotBuilt { to, content } => {
                self.core.snapshot_built(to, snapshot::to_send(to, &content));
            }
            Input::SnapshotFailed { to } => self.core.snapshot_built(to, None),
            Input::SnapshotSent { to, delivered } => self.core.snapshot_sent(to, delivered),
            Input::Installed { index } => self.installed(index, effects),
        }
    }

    /// What only a leader can do something about.
    fn request(&mut self, now: Now, input: Input, effects: &mut Effects) {
        let deposed = if administration::is_write(&input) { self.leftovers.deposed() } else { None };
        let Some(leading) = self.leading.as_deref_mut().or(deposed) else {
            let leader = self.core.leader();
            let refused = Answer::Refused(Refusal::NotLeader { leader });
            effects.answers.extend(administration::token_of(&input).map(|token| (token, refused)));
            return;
        };
        let mut desk = desk(&mut self.clock, &self.applier, &self.core, effects);
        match input {
            Input::Write { token, epoch, request } => leading.write(&mut desk, token, epoch, request),
            Input::Confirm { token, epoch } => leading.confirm(&mut desk, token, epoch),
            Input::ItemRead { ticket, attributes } => leading.item_read(ticket, attributes),
            Input::ItemReadFailed { ticket } => leading.read_failed(&mut desk, ticket),
            other => administration::take(leading, &mut desk, &mut self.core, now, other),
        }
    }

    fn tick(&mut self, now: Now, effects: &mut Effects) {
        if self.sleep.is_asleep() {
            return;
        }
        self.clock.ticks += 1;
        self.unsettled.tick(self.clock.ticks, self.core.leader(), effects);
        if self.installing.is_some() {
            return;
        }
        if let Some(state) = &self.applier.state {
            assert_eq!(state.configuration, self.core.configuration(), "raft has another configuration");
            self.absences.keep_members(&state.descriptor);
        }
        if let Some(tail) = &mut self.tail
            && !self.core.leads()
        {
            effects.send.extend(tail.questions(&self.core, &self.clock, now));
            self.core.tick_without_campaign();
            return;
        }
        if self.keeps_still(effects) {
            return;
        }
        self.core.tick();
        self.settle_role(effects);
        self.quorum.look(&self.core, self.clock.ticks);
        if let (Some(leading), Some(state)) = (&mut self.leading, &self.applier.state) {
            let watch =
                Watch { descriptor: &state.descriptor, ticks: self.clock.ticks, patience: self.clock.patience() };
            leading.oversight.tick(&watch, &mut self.core, effects);
            let (last, applied) = (self.core.last_index(), self.applied);
            if self.slowness.tick(self.clock.ticks, last, applied, now) {
                self.slowness.handed_over(self.clock.ticks);
                leading.oversight.resign(&watch, &mut self.core);
            }
            let mut desk = desk(&mut self.clock, &self.applier, &self.core, effects);
            leading.tick(&mut desk);
        }
        self.mend(now, effects);
    }

    fn message(&mut self, Envelope { from, to, body }: Envelope, effects: &mut Effects) {
        if to != self.core.id() || self.installing.is_some() {
            return;
        }
        match body {
            MessageBody::Raft(message) => self.raft_message(from, message),
            MessageBody::TailAsked { question } => self.tail_asked(from, question, effects),
            MessageBody::Truncated { index } => self.truncation.told(index),
            MessageBody::TailTold { question, term, last_index, last_term, commit: _ } => {
                let told = Told { question, term, last_term, last_index };
                if let Some(tail) = &mut self.tail
                    && tail.told(self.core.id(), from, &told, &self.core.configuration())
                {
                    self.abstention.get_or_insert(Abstention::after(tail.newest_term.max(self.core.term())));
                }
            }
            MessageBody::Absent { replica, ticks } => self.absences.told(replica, ticks, self.clock.ticks),
            MessageBody::Unfit => self.absences.unfit(from),
            MessageBody::SleepAsked { term, index } => self.sleep_asked(from, term, index, effects),
            MessageBody::SleepAgreed { term, index } => self.sleep_agreed(from, term, index),
            // It has woken already.
            MessageBody::WakeAsked => {}
        }
    }

    fn raft_message(&mut self, from: ReplicaId, mut message: Message) {
        let sound = persistence::is_sound(&message, self.core.flaw()) && snapshot::is_readable(&message);
        if message.from != from.0 || !sound {
            return;
        }
        if let Some(tail) = &mut self.tail {
            if !tail.admits(&message) {
                return;
            }
            // The leader may believe that this replica has what it has lost.
            message.commit = crate::tail::believable_commit(&message, self.core.last_index());
        }
        if self.core.flaw().is(Mutant::EmptyDiskVotes) {
            message.commit = crate::tail::believable_commit(&message, self.core.last_index());
        }
        if self.abstention.is_some_and(|abstention| !abstention.admits(&message, self.core.term())) {
            return;
        }
        if let Some(leading) = &mut self.leading
            && message.term == leading.term
        {
            let (ticks, patience) = (self.clock.ticks, self.clock.patience());
            let returns = leading.oversight.hearing.heard(from, ticks, patience);
            self.absences.heard(from, returns);
        }
        self.core.learn_commit(&message);
        self.follow(message);
    }

    /// Leadership is won and lost inside raft; here its consequences follow at once.
    fn settle_role(&mut self, effects: &mut Effects) {
        let lost = self.leading.as_ref().is_some_and(|leading| !self.core.leads() || leading.term != self.core.term());
        if lost && let Some(mut leading) = self.leading.take() {
            self.leftovers.keep(self.core.flaw(), &mut leading, &self.core, self.clock.ticks);
            let until = self.clock.ticks + self.clock.patience();
            self.unsettled.lose(leading.resign(effects, &self.core), until, &self.core, effects);
            self.core.log_mut().forget_followers();
            self.sleep.role_changed(self.clock.ticks);
            self.slowness.forget();
        }
        if self.core.leads() && self.leading.is_none() {
            let kind = self.applier.own_kind();
            let leading = self.leading.insert(Box::new(Leading::new(&self.core, self.clock.ticks, kind)));
            self.sleep.role_changed(self.clock.ticks);
            self.leftovers.give_back(leading);
        }
        self.leftovers.end(effects, &self.core, self.clock.ticks);
        if let Some(tail) = &self.tail
            && tail.is_level(self.core.last(), self.core.leader())
        {
            self.abstention.get_or_insert(Abstention::after(tail.newest_term.max(self.core.term())));
            self.tail = None;
        }
        if let Some(abstention) = self.abstention {
            abstention.keep(&mut self.core);
        }
    }

    fn propose(&mut self, now: Now, effects: &mut Effects) {
        let mut desk = desk(&mut self.clock, &self.applier, &self.core, effects);
        self.leftovers.forward(&mut desk, &mut self.core, now);
        let Some(leading) = &mut self.leading else { return };
        if leading.kind == ReplicaKind::Log {
            leading.hand_over(&desk, &mut self.core);
            return self.settle_role(effects);
        }
        leading.propose(&mut desk, &mut self.core, now);
        leading.begin_round(&mut desk, &mut self.core);
    }

    /// Carries everything raft has ready into effects. A snapshot ends it until it is installed.
    pub(crate) fn pump(&mut self, effects: &mut Effects) {
        while self.installing.is_none() && self.core.has_ready() {
            let mut ready = self.core.ready();
            let messages = ready.take_messages();
            if let Some(leading) = &mut self.leading {
                messages.iter().for_each(|message| leading.oversight.tells(ReplicaId(message.to), message.commit));
            }
            let fed = self.fed(&messages);
            effects.send.extend(messages.into_iter().map(persistence::envelope));
            for state in ready.take_read_states() {
                let round = self.core.round_of(&state.request_ctx);
                if let (Some(leading), Some(round)) = (&mut self.leading, round) {
                    leading.round_confirmed(round, state.index);
                }
            }
            self.core.log_mut().append(ready.entries());
            self.persistence.take(&mut ready);
            let committed = ready.take_committed_entries();
            let snapshot = ready.snapshot().clone();
            if snapshot.is_empty() {
                self.core.handed_out(ready);
                self.unsettled.handed_out(&committed, self.core.leader(), effects);
                let fates = self.applier.take(&mut self.core, committed, effects);
                if let Some(leading) = &mut self.leading {
                    leading.fates(&mut desk(&mut self.clock, &self.applier, &self.core, effects), &fates);
                }
            } else {
                self.begin_install(ready, snapshot, effects);
            }
            fed.into_iter().for_each(|id| self.core.snapshot_sent(id, true));
            self.next_round(effects);
        }
    }

    fn next_round(&mut self, effects: &mut Effects) {
        let Some(leading) = &mut self.leading else { return };
        let mut desk = desk(&mut self.clock, &self.applier, &self.core, effects);
        leading.begin_round(&mut desk, &mut self.core);
    }

    fn begin_install(&mut self, ready: Ready, snapshot: Snapshot, effects: &mut Effects) {
        let hard_state = self.core.hard_state();
        let (installing, install) = snapshot::begin(self.core.id(), snapshot, hard_state);
        self.core.log_mut().restore(install.index, install.term);
        self.core.handed_out(ready);
        self.core.assign_groups(&install.descriptor);
        self.persistence.hold_for_install();
        self.installing = Some(installing);
        effects.install = Some(install);
    }

    fn installed(&mut self, index: u64, effects: &mut Effects) {
        let Some(installing) = self.installing.take_if(|installing| installing.content.mark.index == index) else {
            return;
        };
        self.persistence.installed(&mut self.core, effects);
        self.core.applied_to(index);
        self.applied = index;
        self.unsettled.installed(index, self.core.leader(), effects);
        let SnapshotContent { state, mark } = installing.content;
        effects.events.push(Event::Descriptor(Box::new(state.descriptor.clone())));
        effects.events.push(Event::Table(Box::new(state.table.clone())));
        self.applier = Applier { state: Some(state), mark };
    }

    fn applied(&mut self, index: u64, effects: &mut Effects) {
        if index <= self.applied || self.installing.is_some() {
            return;
        }
        self.applied = index;
        self.core.applied_to(index);
        self.follow_call();
        self.settle_role(effects);
        self.unsettled.applied(index, self.core.leader(), effects);
        let commit_time_us = self.applier.mark.commit_time_us;
        if let Some(leading) = &mut self.leading {
            let mut desk = desk(&mut self.clock, &self.applier, &self.core, effects);
            leading.applied(&mut desk, index, commit_time_us);
        }
    }

    /// The end of every step.
    fn conclude(&mut self, tick: bool, effects: &mut Effects) {
        self.leave_if_demoted(effects);
        if let Some(leading) = &mut self.leading {
            leading.readers_due(effects, self.applied);
            effects.commit_untold = leading.oversight.commit_untold(&self.core);
            effects.fetch = self.core.take_fetches();
            effects.snapshot_wanted = leading.snapshot_wanted(&self.applier, &mut self.core, self.applied);
        }
        if self.installing.is_none() {
            let descriptor = self.applier.descriptor();
            effects.truncate = self.truncation.due(tick, &mut self.core, descriptor, &self.clock.options);
            effects.send.extend(self.truncation.tell(tick, &self.core, descriptor));
            let applied = self.core.applied();
            self.core.log_mut().evict(applied, self.clock.options.cache_bytes);
        }
        effects.send.sort_by_key(|envelope| envelope.to);
        effects.send.iter().for_each(|envelope| persistence::check(envelope, self.core.flaw()));
        let leader = (self.core.leader(), self.core.term());
        if leader != self.announced {
            self.announced = leader;
            effects.events.push(Event::Leader { leader: leader.0, term: leader.1 });
        }
        self.announce_removal(effects);
    }

    /// It led while others' change made it a learner: raft would let it go on.
    fn leave_if_demoted(&mut self, effects: &mut Effects) {
        if !self.core.leads() || self.core.is_voter(self.core.id()) || self.core.is_joint() {
            return;
        }
        if self.applied < self.applier.mark.index {
            return;
        }
        let Some(descriptor) = self.applier.descriptor() else { return };
        let heir =
            storage_voters(descriptor).map(|voter| voter.id).max_by_key(|&id| (self.core.matched(id), Reverse(id)));
        self.core.step_down(heir);
        self.settle_role(effects);
        self.pump(effects);
        self.persistence.finish(&mut self.core, effects);
    }

    /// Once the engine knows it, too.
    fn announce_removal(&mut self, effects: &mut Effects) {
        let Some(descriptor) = self.applier.descriptor() else { return };
        let gone = descriptor.replica(self.core.id()).is_none();
        if gone && !self.removed && self.applied >= self.applier.mark.index {
            self.removed = true;
            effects.events.push(Event::Removed);
        }
    }

    pub fn id(&self) -> ReplicaId {
        self.core.id()
    }

    /// Empty before the first snapshot.
    pub fn descriptor(&self) -> Option<&PartitionDescriptor> {
        self.applier.descriptor()
    }

    pub fn table(&self) -> Option<&TableDescriptor> {
        self.applier.state.as_ref().map(|state| &state.table)
    }

    /// Aborts on a broken invariant: truncated ≤ applied ≤ committed ≤ last. Called after every step.
    pub fn check(&self) {
        assert_eq!(self.leading.is_some(), self.core.leads(), "what a leader has is with others");
        if self.installing.is_some() {
            return;
        }
        self.core.check();
        assert!(self.applied == self.core.applied(), "raft and the replica disagree about what is applied");
        assert!(self.applied <= self.applier.mark.index, "applied what was not handed out");
        assert!(self.applier.mark.index <= self.core.committed(), "handed out what is not committed");
        if let Some(leading) = &self.leading
            && !self.core.flaw().unchecked()
        {
            leading.check(self.applied, self.core.last_index());
        }
        if let Some(state) = &self.applier.state {
            assert!(self.core.has_members(&state.configuration), "raft has other members");
        }
    }
}

fn desk<'a>(clock: &'a mut Clock, applier: &'a Applier, core: &Core, effects: &'a mut Effects) -> Desk<'a> {
    Desk { clock, state: applier.state.as_ref(), transferring_to: core.transferring_to(), effects }
}
