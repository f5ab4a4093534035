//! Mail becomes inputs: what every kind of mail means for its group.

use std::sync::Arc;
use std::time::Instant;

use model::{NodeId, PartitionId, ReplicaId};
use replica::entry::{Body, LogEntry};
use replica::eraftpb::{Entry, EntryType, Message, MessageType};
use replica::{Envelope, FetchRequest, Input, MessageBody, Replica};
use wire::data::Request;
use wire::data::refused::Reason;

use crate::log::{Done, DoneWhat};
use crate::metrics::count;
use crate::room::{Room, RoomState};
use crate::service::data::{Call, Connection, request_size};
use crate::transport::convert::{self, Parcel};
use crate::worker::group::{Group, Phase, Queued};
use crate::worker::inbox::{Built, Mail};
use crate::worker::{Worker, children, effects, schedule, snapshots, tick};

impl Worker {
    pub fn receive(&mut self, mail: Mail) {
        match mail {
            Mail::Requests { connection, received, requests } => self.requests(&connection, received, requests),
            Mail::Messages { from, messages } => {
                for (partition, parcel) in messages {
                    self.parcel(from, partition, parcel);
                }
            }
            Mail::Unreachable(node) => self.unreachable(node),
            Mail::Neighbour { node, news } => self.neighbour(node, news),
            Mail::Durable(done) => self.durable(done),
            Mail::ItemRead { partition, ticket, attributes } => {
                let input = match attributes {
                    Ok(attributes) => Input::ItemRead { ticket, attributes },
                    Err(_) => Input::ItemReadFailed { ticket },
                };
                self.input(partition, input);
            }
            Mail::Fetched { partition, request, entries } => self.fetched(partition, request, entries),
            Mail::ReadFailed { partition, again } => self.read_failed(partition, again),
            Mail::Corrupt(partition) => self.stop_corrupt(partition),
            Mail::Flushed(groups) => {
                for (partition, replica, index) in groups {
                    self.flushed(partition, replica, index);
                }
            }
            Mail::FlushWanted => tick::flush(&self.desk.context),
            Mail::SnapshotBuilt { partition, to, built } => {
                let Some(group) = self.groups.get_mut(&partition) else { return };
                let input = match built {
                    Some(built) => {
                        let Built { outgoing, content } = *built;
                        group.outgoing.insert(to, outgoing);
                        Input::SnapshotBuilt { to, content }
                    }
                    None => Input::SnapshotFailed { to },
                };
                self.input(partition, input);
            }
            Mail::SnapshotSent { partition, message, delivered } => {
                let Some(group) = self.groups.get_mut(&partition) else { return };
                snapshots::sent(&mut self.desk, group, *message, delivered);
                schedule(&mut self.active, group);
            }
            Mail::SnapshotOffered { header, reply } => {
                let (partition, _) = snapshots::addressed(&header);
                let consent = match self.groups.get(&partition) {
                    Some(group) => snapshots::consent(&self.desk.context, group, &header),
                    None => Err("the replica is not here".to_owned()),
                };
                // The sender may have gone meanwhile.
                drop(reply.send(consent));
            }
            Mail::SnapshotReceived { received, taken } => {
                let (partition, _) = snapshots::addressed(received.header());
                if let Some(group) = self.groups.get_mut(&partition) {
                    snapshots::received(&self.desk.context, group, *received, taken);
                    schedule(&mut self.active, group);
                }
            }
            Mail::Installed { partition, index } => self.installed(partition, index),
            Mail::Cleared(partition) => self.cleared(partition),
            Mail::NotCleared(partition) => self.uncleared.push(partition),
            Mail::Discarded { partition, discarded } => self.discarded(partition, discarded),
            Mail::Born(birth) => self.born(*birth),
            Mail::Child(delivery) => self.deliver(*delivery),
            Mail::Recovered(recovery) => self.recovered(*recovery),
            Mail::Command(command) => self.command(command),
        }
    }

    fn fetched(&mut self, partition: PartitionId, request: FetchRequest, entries: Vec<Entry>) {
        if let Some(group) = self.groups.get_mut(&partition) {
            group.failed_reads = 0;
        }
        self.input(partition, Input::Fetched { request, entries });
    }

    fn installed(&mut self, partition: PartitionId, index: u64) {
        if let Some(group) = self.groups.get_mut(&partition)
            && group.phase == Phase::Installing
        {
            group.phase = Phase::Running;
            group.summary.readable = true;
            self.desk.context.registry.put(partition, group.summary.clone());
            (group.applied, group.flushed) = (index, index);
        }
        self.input(partition, Input::Installed { index });
    }

    /// One input for a group, if it is still here.
    pub fn input(&mut self, partition: PartitionId, input: Input) {
        if let Some(group) = self.groups.get_mut(&partition) {
            group.inputs.push(input);
            schedule(&mut self.active, group);
        }
    }

    fn requests(&mut self, connection: &Arc<Connection>, received: Instant, requests: Vec<Request>) {
        for request in requests {
            let Some(group) = self.groups.get_mut(&PartitionId(request.partition)) else {
                self.desk.refuse(connection, Call::of(&request), Reason::UnknownPartition);
                continue;
            };
            let bytes = request_size(&request);
            if group.has_room(bytes) {
                group.enqueue(Queued { connection: Arc::clone(connection), received, request, bytes });
                schedule(&mut self.active, group);
            } else {
                self.desk.context.metrics.shed.inc();
                self.desk.refuse(connection, Call::of(&request), Reason::Overloaded);
            }
        }
    }

    fn parcel(&mut self, from: NodeId, partition: PartitionId, parcel: Parcel) {
        match parcel {
            Parcel::ForReplica(envelope) => self.message(from, partition, envelope),
            Parcel::MemberAsked { from: asker, to } => {
                let Some(group) = self.groups.get(&partition) else { return };
                if is_removed(group, asker) {
                    self.desk.post_wire(from, convert::member_gone(partition, to, asker));
                }
            }
            Parcel::MemberGone { to } if self.corrupt.contains(&partition) => self.corrupt_is_gone(partition, to),
            Parcel::MemberGone { to } => {
                if self.groups.get(&partition).is_some_and(|group| group.summary.replica == to) {
                    tracing::info!(%partition, replica = %to, "told to be removed");
                    self.retire(partition);
                }
            }
        }
    }

    fn message(&mut self, from: NodeId, partition: PartitionId, envelope: Envelope) {
        if self.corrupt.contains(&partition) {
            return self.message_for_corrupt(from, partition, &envelope);
        }
        if !self.groups.contains_key(&partition) && !self.create_empty(partition, &envelope) {
            return;
        }
        let Some(group) = self.groups.get_mut(&partition) else { return };
        if envelope.to > group.summary.replica && envelope.gives_life() {
            // Ids are never used again, and a node has one replica of a group: this one has been removed.
            self.retire(partition);
            return;
        }
        if envelope.to != group.summary.replica || group.phase == Phase::Retiring {
            return;
        }
        if matches!(envelope.body, MessageBody::SleepAsked { .. }) && !self.desk.context.neighbours.is_alive(from) {
            // Nobody would tell it that its leader is gone: that was told before.
            return;
        }
        group.silent_ticks = 0;
        if group.node_of(envelope.from) != Some(from) {
            group.routes.insert(envelope.from, from);
        }
        if children::comes_before_birth(group, &envelope) {
            return;
        }
        let room = &self.desk.context.room;
        let exhausted = room.get() == RoomState::Exhausted && !has_room_for(room, &group.replica, &envelope);
        if exhausted || (self.desk.lacks_room() && is_call(&envelope)) {
            // Not answered: raft sends it again, and the group goes on without this replica where it can.
            self.desk.context.metrics.disk_full_dropped.inc();
            return;
        }
        if effects::is_snapshot(&envelope) && !snapshots::may_step(group, &envelope) {
            tracing::warn!(%partition, "a snapshot's message came without its files");
            return;
        }
        group.inputs.push(Input::Message(envelope));
        schedule(&mut self.active, group);
    }

    /// Who sleeps sends nothing that could be lost.
    fn unreachable(&mut self, node: NodeId) {
        self.groups.for_ticked(|group| {
            let Some(descriptor) = &group.summary.descriptor else { return };
            if let Some(replica) = descriptor.on_node(node) {
                group.unreachable.insert(replica.id);
            }
        });
    }

    fn durable(&mut self, done: Vec<Done>) {
        for Done { partition, what } in done {
            match what {
                DoneWhat::Append { number } => self.persisted(partition, number),
                DoneWhat::Remove => self.removed_from_log(partition),
                DoneWhat::Truncate { .. }
                | DoneWhat::Birth
                | DoneWhat::Receiving
                | DoneWhat::Received { .. }
                | DoneWhat::AcceptFrom
                | DoneWhat::Corrupt => (),
            }
        }
    }

    /// Only the last number counts: it stands for every one before it.
    fn persisted(&mut self, partition: PartitionId, number: u64) {
        let Some(group) = self.groups.get_mut(&partition) else { return };
        if let Some(Input::Persisted { number: last }) = group.inputs.last_mut() {
            *last = number;
        } else {
            group.inputs.push(Input::Persisted { number });
        }
        schedule(&mut self.active, group);
    }

    fn flushed(&mut self, partition: PartitionId, replica: ReplicaId, index: u64) {
        let Some(group) = self.groups.get_mut(&partition) else { return };
        if group.phase == Phase::Running && group.replica.id() == replica && index > group.flushed {
            group.flushed = index;
            group.inputs.push(Input::Flushed { index });
            schedule(&mut self.active, group);
        }
    }
}

/// A leader wants this replica to lead. It would serve nothing before it has applied its first entry.
fn is_call(envelope: &Envelope) -> bool {
    envelope.body.raft().is_some_and(|message| message.msg_type == MessageType::MsgTimeoutNow)
}

/// On an exhausted disk.
fn has_room_for(room: &Room, replica: &Replica, envelope: &Envelope) -> bool {
    match envelope.body.raft() {
        Some(message) if message.msg_type == MessageType::MsgSnapshot => false,
        Some(message) => room.takes_exhausted(grows_by(replica, message)),
        None => true,
    }
}

/// What the log and the items would grow by, for clients: not by what the log has already, which comes again and again while
/// it waits for room. Heartbeats, votes, commit indices do not count, nor a new leader's first entry, which is empty and
/// without which nobody could read, nor what administration wants: a table that goes, a change of membership that leads away
/// from here.
fn grows_by(replica: &Replica, message: &Message) -> u64 {
    let of_clients = |entry: &&Entry| {
        entry.entry_type == EntryType::EntryNormal
            && !entry.data.is_empty()
            && !replica.has_entry(entry.index, entry.term)
            && !matches!(LogEntry::decode(entry.data.clone()), Ok(LogEntry { body: Body::Table(_), .. }))
    };
    message.entries.iter().filter(of_clients).map(|entry| count(entry.data.len())).sum()
}

/// Ids below the descriptor's next one have been given: one that is not among the replicas has been removed for good.
fn is_removed(group: &Group, replica: ReplicaId) -> bool {
    group.summary.descriptor.as_ref().is_some_and(|d| replica < d.next_replica && d.replica(replica).is_none())
}
