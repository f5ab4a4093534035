//! A new group's replica: its records and its log are written on the pool, then it starts on its worker.

use std::sync::Arc;

use model::{PartitionDescriptor, ReplicaId, TableDescriptor};
use replica::eraftpb::HardState;
use replica::state::{BIRTH_INDEX, BIRTH_TERM};
use replica::{AppliedMark, GroupState, Replica, Start};

use crate::context::Context;
use crate::error::describe;
use crate::items::GroupRecords;
use crate::log::Work;
use crate::room::RoomState;
use crate::worker::Worker;
use crate::worker::command::{CommandError, Reply};
use crate::worker::group::{Group, Phase};
use crate::worker::inbox::Mail;
use crate::worker::lifecycle::options;

/// A birth whose records stand, or could not be written.
pub struct Birth {
    pub descriptor: PartitionDescriptor,
    pub start: Result<Start, CommandError>,
    pub reply: Reply,
}

impl Worker {
    pub fn create(&mut self, descriptor: PartitionDescriptor, table: TableDescriptor, reply: Reply) {
        let partition = descriptor.id;
        let replica = match self.may_create(&descriptor) {
            Ok(Some(replica)) => replica,
            Ok(None) => {
                drop(reply.send(Ok(())));
                return;
            }
            Err(error) => {
                drop(reply.send(Err(error)));
                return;
            }
        };
        // An empty replica that a message made stops here; what it has voted is kept below.
        self.groups.remove(&partition);
        self.births.insert(partition);
        let context = Arc::clone(&self.desk.context);
        let worker = self.desk.worker;
        self.desk.send_jobs();
        self.desk.context.background.submit_always(move || {
            let start = write(&context, &descriptor, table, replica);
            let birth = Birth { descriptor, start, reply };
            context.inboxes.push(worker, Mail::Born(Box::new(birth)));
        });
    }

    /// The id to be born with; none if it lives already.
    fn may_create(&self, descriptor: &PartitionDescriptor) -> Result<Option<ReplicaId>, CommandError> {
        let context = &self.desk.context;
        let partition = descriptor.id;
        let replica = descriptor.on_node(context.node).ok_or(CommandError::NotHere(context.node))?.id;
        if descriptor.replicas.iter().all(|other| other.zone == descriptor.replicas[0].zone) {
            return Err(CommandError::OneZone);
        }
        if self.births.contains(&partition) {
            return Err(CommandError::Busy("it is being born"));
        }
        if self.corrupt.contains(&partition) {
            return Err(CommandError::Busy("its log here is corrupt"));
        }
        if let Some(group) = self.groups.get(&partition) {
            if group.phase != Phase::Running {
                return Err(CommandError::Busy("its replica here is being replaced"));
            }
            if group.summary.replica != replica {
                return Err(CommandError::OtherReplica { found: group.summary.replica });
            }
            if group.summary.descriptor.is_some() {
                return Ok(None);
            }
        }
        let lowest = context.log.accept_from(partition);
        if replica < lowest {
            return Err(CommandError::Retired { replica, lowest });
        }
        if let Some(other) = context.registry.overlapping(partition, descriptor.table, &descriptor.range) {
            return Err(CommandError::Overlap { other });
        }
        if context.room.get() != RoomState::Enough {
            return Err(CommandError::DiskFull);
        }
        Ok(Some(replica))
    }

    pub fn born(&mut self, birth: Birth) {
        let Birth { descriptor, start, reply } = birth;
        let partition = descriptor.id;
        self.births.remove(&partition);
        let started =
            start.and_then(|start| Replica::start(start).map_err(|error| CommandError::Storage(describe(&error))));
        match started {
            Ok(replica) => {
                tracing::info!(%partition, replica = %replica.id(), "born");
                let group = Group::new(partition, replica);
                self.desk.context.registry.put(partition, group.summary.clone());
                self.groups.insert(partition, group);
                drop(reply.send(Ok(())));
            }
            Err(error) => {
                tracing::error!(%partition, %error, "failed to create a replica");
                self.desk.context.registry.remove(partition);
                drop(reply.send(Err(error)));
            }
        }
    }
}

/// Durable when it returns. The items' records first: a log without them would be an empty replica's.
fn write(
    context: &Context,
    descriptor: &PartitionDescriptor,
    table: TableDescriptor,
    replica: ReplicaId,
) -> Result<Start, CommandError> {
    let storage = |error: &dyn std::error::Error| CommandError::Storage(describe(error));
    let partition = descriptor.id;
    let summary =
        crate::registry::Summary { replica, descriptor: Some(Arc::new(descriptor.clone())), ..Default::default() };
    // From now on no other group is born over this range.
    context.registry.put(partition, summary);
    let run = |work| {
        let closed = || CommandError::Busy("the node is stopping");
        if context.log.run(partition, work) { Ok(()) } else { Err(closed()) }
    };
    run(Work::AcceptFrom { replica })?;
    let voted = context.log.start_of(partition, 0).map_err(|error| storage(&error))?.hard_state;
    let state = GroupState::birth(replica, descriptor.clone(), table);
    let mark = AppliedMark::birth();
    let records = GroupRecords { partition, mark: Some(mark.encode()), state: Some(state.encode()) };
    context.items.put_groups(&[records]).map_err(|error| storage(&error))?;
    let hard_state = HardState {
        term: voted.term.max(BIRTH_TERM),
        vote: if voted.term >= BIRTH_TERM { voted.vote } else { 0 },
        commit: BIRTH_INDEX,
        ..Default::default()
    };
    run(Work::Birth { index: BIRTH_INDEX, term: BIRTH_TERM, hard_state })?;
    let log = context.log.start_of(partition, BIRTH_INDEX).map_err(|error| storage(&error))?;
    Ok(Start {
        partition,
        node: context.node,
        replica,
        options: options(context, partition),
        log,
        state: Some(state),
        mark: Some(mark),
    })
}
