//! What arrives at a node: frames, clients' requests, an administrator's, gossip.

use model::ReplicaId;
use replica::eraftpb::MessageType;
use replica::{Input, MessageBody, Start, Token};

use crate::core::Core;
use crate::disk::log::Operation;
use crate::event::{Ask, Command, Event, Frame, Group, Parcel, Reply, Request, Waiter};
use crate::host::carry::reply;
use crate::host::{Asked, Node};
use crate::invariant::Verdict;
use crate::invariant::routing::Epochs;
use crate::mutant::Mutant;
use crate::trace::At;

impl Node {
    pub fn receive(&mut self, core: &mut Core, frame: &Frame) -> Verdict {
        for parcel in &frame.parcels {
            if self.may_sleep_by(parcel) && self.admit(core, parcel)? && self.may_step(core, parcel) {
                self.give(core, parcel.group, Input::Message(parcel.envelope.clone()));
            }
        }
        Ok(())
    }

    /// Whether a message has its receiver here. One for a replica that was never here, at or above the lowest id that is
    /// still accepted, brings it to life, empty.
    pub(super) fn admit(&mut self, core: &mut Core, parcel: &Parcel) -> Result<bool, crate::invariant::Broken> {
        let Parcel { group, from, envelope } = parcel;
        let group = *group;
        self.addresses.insert((group, envelope.from), *from);
        note_message(core, self.place, parcel);
        let here = self.running[group].as_ref().map(|running| running.id);
        if here == Some(envelope.to) {
            return Ok(true);
        }
        if here.is_none() && self.log.current[group].identity == Some(envelope.to) {
            // It is being born, and is seated as soon as its log has begun.
            return Ok(false);
        }
        let newer = here.is_none_or(|id| id < envelope.to);
        if !newer || envelope.to.0 < self.log.current[group].lowest || !envelope.gives_life() {
            return Ok(false);
        }
        if here.is_some() {
            self.retire(core, group, Some(envelope.to));
        }
        core.note(At::seat(self.place, group), "born empty (replica)", [envelope.to.0, 0, 0, 0]);
        core.stats.count("empty replicas born");
        self.log.submit(group, Operation::Identity(envelope.to), false, None);
        self.seat_replica(core, group, self.empty_start(core, group, envelope.to))?;
        Ok(true)
    }

    fn empty_start(&self, core: &Core, group: Group, replica: ReplicaId) -> Start {
        Start {
            partition: crate::birth::partition(group),
            node: self.id,
            replica,
            options: core.options(group),
            log: replica::LogStart::default(),
            state: None,
            mark: None,
        }
    }

    /// The replica stops for good: first its id is durably refused, then its data goes.
    pub fn retire(&mut self, core: &mut Core, group: Group, newer: Option<ReplicaId>) {
        let Some(running) = self.running[group].take() else { return };
        core.stats.count("replicas retired");
        core.note(At::seat(self.place, group), "retired (replica)", [running.id.0, 0, 0, 0]);
        self.wake_others(core, group, &running);
        let mut lowest = newer.map_or(running.id.0 + 1, |replica| replica.0);
        if core.plan.has(Mutant::ForgetRetired) {
            lowest = 0;
        }
        self.log.submit(group, Operation::Retire { lowest }, true, Some(Waiter::Retired(group, running.id)));
        self.begin_sync(core);
    }

    pub fn request(&mut self, core: &mut Core, request: Request) {
        let Request { client, attempt, operation, place: _, group, epoch, ask } = request;
        let token = Token(self.next_token);
        self.next_token += 1;
        if !self.up || self.running[group].is_none() {
            reply(core, client, attempt, Reply::NotHere);
            return;
        }
        let seat_id = self.running[group].as_ref().map(|running| running.id).expect("just seen");
        let seat = self.seat(group, seat_id);
        core.oracle.arrived(operation, group, core.now);
        let (key, input) = match ask {
            Ask::Write(request) => (request.key.clone(), Some(Input::Write { token, epoch, request })),
            Ask::Read(key) if core.plan.has(Mutant::ReadUnconfirmed) => {
                core.after(1, Event::Look { seat, token });
                (key, None)
            }
            Ask::Read(key) => (key, Some(Input::Confirm { token, epoch })),
        };
        if let Some(running) = self.running[group].as_mut() {
            let at_arrival = running.epoch();
            // Nobody looks at the epoch of a read that nobody confirms: that is not what is to be found.
            let named = if core.plan.has(Mutant::ReadUnconfirmed) { at_arrival } else { epoch };
            let epochs = Epochs { named, at_arrival };
            running.asked.insert(token, Asked::Client { client, attempt, operation, key, epochs });
        }
        if let Some(input) = input {
            self.give(core, group, input);
        }
    }

    pub fn admin(&mut self, core: &mut Core, group: Group, epoch: u64, command: Command) {
        let token = Token(self.next_token);
        self.next_token += 1;
        let Some(running) = self.running[group].as_mut() else { return };
        let input = match command {
            Command::Change(change) => Input::Change { token, epoch, change },
            Command::Transfer(to) => Input::Transfer { token, to },
            Command::SetTable(table) => Input::SetTable { token, table },
            Command::Split { at, child } => Input::Split { token, epoch, at, child: crate::birth::partition(child) },
            Command::Resign => {
                self.give(core, group, Input::Resign);
                return;
            }
        };
        let asked = if matches!(input, Input::Transfer { .. }) { Asked::Transfer } else { Asked::Admin };
        running.asked.insert(token, asked);
        self.give(core, group, input);
    }

    /// The newest descriptor says that this replica was removed, though nobody of its group told it.
    pub fn gossip(&mut self, core: &mut Core, group: Group) {
        let Some(running) = &self.running[group] else { return };
        let newest = &core.registry.descriptors[group];
        if running.id < newest.next_replica && newest.replica(running.id).is_none() {
            core.stats.count("retired by gossip");
            self.retire(core, group, None);
        }
    }
}

fn note_message(core: &mut Core, place: usize, parcel: &Parcel) {
    let Parcel { group, from: _, envelope } = parcel;
    let at = At::seat(place, *group);
    let from = envelope.from.0;
    match &envelope.body {
        MessageBody::Raft(message) => {
            let detail = match message.msg_type {
                MessageType::MsgAppend => message.entries.len() as u64,
                MessageType::MsgAppendResponse
                | MessageType::MsgRequestVoteResponse
                | MessageType::MsgRequestPreVoteResponse => message.reject.into(),
                _ => message.commit,
            };
            core.note(at, message_name(message.msg_type), [from, message.term, message.index, detail]);
        }
        MessageBody::TailAsked { question } => {
            core.note(at, "hears TailAsked (from question)", [from, *question, 0, 0]);
        }
        MessageBody::Truncated { index } => {
            core.note(at, "hears Truncated (from index)", [from, *index, 0, 0]);
        }
        MessageBody::TailTold { question: _, term: _, last_index, last_term, commit } => {
            core.note(at, "hears TailTold (from last last_term commit)", [from, *last_index, *last_term, *commit]);
        }
        MessageBody::SleepAsked { term, index } => {
            core.note(at, "hears SleepAsked (from term index)", [from, *term, *index, 0]);
        }
        MessageBody::SleepAgreed { term, index } => {
            core.note(at, "hears SleepAgreed (from term index)", [from, *term, *index, 0]);
        }
        MessageBody::Absent { replica, ticks } => {
            core.note(at, "hears Absent (from replica ticks)", [from, replica.0, *ticks, 0]);
        }
        MessageBody::Unfit => core.note(at, "hears Unfit (from)", [from, 0, 0, 0]),
        MessageBody::WakeAsked => core.note(at, "hears WakeAsked (from)", [from, 0, 0, 0]),
    }
}

fn message_name(kind: MessageType) -> &'static str {
    match kind {
        MessageType::MsgHup => "hears Hup (from)",
        MessageType::MsgBeat => "hears Beat (from)",
        MessageType::MsgPropose => "hears Propose (from)",
        MessageType::MsgAppend => "hears Append (from term after entries)",
        MessageType::MsgAppendResponse => "hears AppendResponse (from term index rejects)",
        MessageType::MsgRequestVote => "hears RequestVote (from term last)",
        MessageType::MsgRequestVoteResponse => "hears VoteResponse (from term _ rejects)",
        MessageType::MsgSnapshot => "hears Snapshot (from term)",
        MessageType::MsgHeartbeat => "hears Heartbeat (from term _ commit)",
        MessageType::MsgHeartbeatResponse => "hears HeartbeatResponse (from term)",
        MessageType::MsgUnreachable => "hears Unreachable (from)",
        MessageType::MsgSnapStatus => "hears SnapStatus (from)",
        MessageType::MsgCheckQuorum => "hears CheckQuorum (from)",
        MessageType::MsgTransferLeader => "hears TransferLeader (from)",
        MessageType::MsgTimeoutNow => "hears TimeoutNow (from term)",
        MessageType::MsgReadIndex => "hears ReadIndex (from)",
        MessageType::MsgReadIndexResp => "hears ReadIndexResp (from)",
        MessageType::MsgRequestPreVote => "hears RequestPreVote (from term last)",
        MessageType::MsgRequestPreVoteResponse => "hears PreVoteResponse (from term _ rejects)",
    }
}
