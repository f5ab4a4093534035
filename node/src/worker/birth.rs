//! A new group's replica: its records and its log are written on the pool, then it starts on its worker.
//!
//! ```text
//! records durable ─► log: its id accepted from now on ─► log begins at the birth mark ─► the replica starts
//! ```
//! A log that begins without its records would be an empty replica's, which forgets what it has acknowledged: so they are flushed
//! before the log knows of the group at all. A start that finds records at the birth mark and no log goes on from there.

use std::sync::Arc;

use model::{PartitionDescriptor, PartitionId, ReplicaId, TableDescriptor};
use replica::eraftpb::HardState;
use replica::state::{BIRTH_INDEX, BIRTH_TERM};
use replica::{AppliedMark, GroupState, Replica, Start};

use crate::context::Context;
use crate::items::GroupRecords;
use crate::log::Work;
use crate::registry::Summary;
use crate::room::RoomState;
use crate::worker::Worker;
use crate::worker::command::{CommandError, Reply};
use crate::worker::group::{Group, Phase};
use crate::worker::inbox::Mail;
use crate::worker::lifecycle::options;
use wire::error::describe;

/// A birth whose records stand, or could not be written.
pub struct Birth {
    pub partition: PartitionId,
    pub start: Result<Start, CommandError>,
    pub parents: Parents,
}

/// Who wanted it.
pub enum Parents {
    Command(Reply),
    /// A split. Whether the parent is led from here: then the child stands for election first.
    Split {
        stands: bool,
    },
}

impl Worker {
    pub fn create(&mut self, descriptor: PartitionDescriptor, table: TableDescriptor, reply: Reply) {
        let partition = descriptor.id;
        let may = self.may_create(&descriptor).and_then(|replica| {
            let claim = replica.map(|_| self.desk.context.registry.claim(&descriptor)).transpose();
            Ok(replica.zip(claim.map_err(|other| CommandError::Overlap { other })?))
        });
        let (replica, claim) = match may {
            Ok(Some(found)) => found,
            Ok(None) => {
                drop(reply.send(Ok(())));
                return;
            }
            Err(error) => {
                drop(reply.send(Err(error)));
                return;
            }
        };
        self.conceive(replica, &descriptor, &table);
        drop(claim);
        let context = Arc::clone(&self.desk.context);
        let worker = self.desk.worker;
        self.desk.context.background.submit_always(move || {
            let start = write(&context, descriptor, table, replica);
            let birth = Birth { partition, start, parents: Parents::Command(reply) };
            context.inboxes.push(worker, Mail::Born(Box::new(birth)));
        });
    }

    /// From now on no other group is born over this range, and nothing else is made of this one.
    pub fn conceive(&mut self, replica: ReplicaId, descriptor: &PartitionDescriptor, table: &TableDescriptor) {
        let partition = descriptor.id;
        // An empty replica that a message made stops here; what it has voted is in the log, and is kept.
        self.groups.remove(&partition);
        self.desk.send_jobs();
        let (descriptor, table) = (Some(Arc::new(descriptor.clone())), Some(Arc::new(table.clone())));
        let summary = Summary { replica, descriptor, table, ..Summary::default() };
        self.desk.context.registry.put(partition, summary.clone());
        self.births.insert(partition, summary);
    }

    /// The id to be born with; none if it lives already.
    fn may_create(&self, descriptor: &PartitionDescriptor) -> Result<Option<ReplicaId>, CommandError> {
        let context = &self.desk.context;
        let partition = descriptor.id;
        let replica = descriptor.on_node(context.node).ok_or(CommandError::NotHere(context.node))?.id;
        if descriptor.replicas.iter().all(|other| other.zone == descriptor.replicas[0].zone) {
            return Err(CommandError::OneZone);
        }
        if self.births.contains_key(&partition) {
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
        if context.room.get() != RoomState::Enough {
            return Err(CommandError::DiskFull);
        }
        Ok(Some(replica))
    }

    pub fn born(&mut self, birth: Birth) {
        let Birth { partition, start, parents } = birth;
        self.births.remove(&partition);
        let started =
            start.and_then(|start| Replica::start(start).map_err(|error| CommandError::Storage(describe(&error))));
        let result = match started {
            Ok(replica) => {
                tracing::info!(%partition, replica = %replica.id(), "born");
                let mut group = Group::new(partition, replica);
                group.stands = matches!(parents, Parents::Split { stands: true }).then_some(0);
                self.desk.context.registry.put(partition, group.summary.clone());
                self.groups.insert(partition, group);
                Ok(())
            }
            Err(error) => {
                tracing::error!(%partition, %error, "failed to create a replica");
                self.desk.context.registry.remove(partition);
                Err(error)
            }
        };
        if let Parents::Command(reply) = parents {
            drop(reply.send(result));
        }
    }
}

/// Durable when it returns.
fn write(
    context: &Context,
    descriptor: PartitionDescriptor,
    table: TableDescriptor,
    replica: ReplicaId,
) -> Result<Start, CommandError> {
    let partition = descriptor.id;
    let state = GroupState::birth(replica, descriptor, table);
    let records = GroupRecords { partition, mark: Some(AppliedMark::birth().encode()), state: Some(state.encode()) };
    context.items.put_groups(&[records]).map_err(|error| storage(&error))?;
    begin(context, partition)
}

/// The log's part, once the records are durable. Its log begins only where it has none, and a vote that an empty replica gave
/// stays.
pub fn begin(context: &Context, partition: PartitionId) -> Result<Start, CommandError> {
    let run = |work| {
        let closed = || CommandError::Busy("the node is stopping");
        if context.log.run(partition, work) { Ok(()) } else { Err(closed()) }
    };
    let records = context.items.group(partition).map_err(|error| storage(&error))?;
    let (Some(state), Some(mark)) = (records.state, records.mark) else {
        return Err(CommandError::Storage("the records are gone".to_owned()));
    };
    let state = GroupState::decode(state).map_err(|error| storage(&error))?;
    let mark = AppliedMark::decode(mark).map_err(|error| storage(&error))?;
    let replica = state.replica;
    run(Work::AcceptFrom { replica })?;
    let known = context.log.start_of(partition, mark.index).map_err(|error| storage(&error))?;
    if known.last_index == 0 {
        let voted = known.hard_state;
        let hard_state = HardState {
            term: voted.term.max(BIRTH_TERM),
            vote: if voted.term >= BIRTH_TERM { voted.vote } else { 0 },
            commit: BIRTH_INDEX,
            ..Default::default()
        };
        run(Work::Birth { index: BIRTH_INDEX, term: BIRTH_TERM, hard_state })?;
    }
    let log = context.log.start_of(partition, mark.index).map_err(|error| storage(&error))?;
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

fn storage(error: &dyn std::error::Error) -> CommandError {
    CommandError::Storage(describe(error))
}
