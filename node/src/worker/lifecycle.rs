//! Replicas that begin empty, and replicas that end.
//!
//! A node keeps, synced, the lowest replica id it accepts of every group: the replica's own as long as it is here, the next
//! one when it is gone. So a delayed message never brings a removed replica back to vote twice.

use std::sync::Arc;

use model::{PartitionId, ReplicaId};
use replica::{Envelope, FetchRequest, Input, LogStart, Replica, Start};
use wire::data::refused::Reason;

use crate::context::Context;
use crate::log::Work;
use crate::room::RoomState;
use crate::service::data::Call;
use crate::worker::Worker;
use crate::worker::children::BIRTH_TICKS;
use crate::worker::command::CommandError;
use crate::worker::desk::{AfterWrite, Desk, Waiter};
use crate::worker::group::{Group, Phase};
use crate::worker::inbox::Mail;
use crate::worker::{counting, schedule, snapshots};
use wire::error::describe;

/// Reads that fail before a leader hands over. A fetch is tried with every tick: a second or two.
const READ_ATTEMPTS: u32 = 20;

/// What a replica without records starts from.
pub fn empty_start(context: &Context, partition: PartitionId, replica: ReplicaId, log: LogStart) -> Start {
    Start { partition, node: context.node, replica, options: options(context, partition), log, state: None, mark: None }
}

pub fn options(context: &Context, partition: PartitionId) -> replica::Options {
    replica::Options { seed: partition.0, ..context.replica_options.clone() }
}

impl Worker {
    /// An empty replica for a message that may create one. Its id is synced before anything it says: the log keeps the
    /// order of its jobs.
    pub fn create_empty(&mut self, partition: PartitionId, envelope: &Envelope) -> bool {
        let context = Arc::clone(&self.desk.context);
        let replica = envelope.to;
        let refused = !envelope.gives_life()
            || self.births.contains_key(&partition)
            || self.corrupt.contains(&partition)
            || replica < context.log.accept_from(partition)
            || replica == ReplicaId(0)
            || context.room.get() != RoomState::Enough;
        if refused {
            return false;
        }
        let start = empty_start(&context, partition, replica, context.log.empty_start(partition));
        let started = match Replica::start(start) {
            Ok(started) => started,
            Err(error) => {
                tracing::error!(%partition, error = describe(&error), "failed to start an empty replica");
                return false;
            }
        };
        tracing::info!(%partition, %replica, "empty replica");
        self.desk.log(partition, Work::AcceptFrom { replica });
        let mut group = Group::new(partition, started);
        group.awaits_birth = BIRTH_TICKS;
        context.registry.put(partition, group.summary.clone());
        self.groups.insert(partition, group);
        true
    }

    /// The replica is no longer a member, or its table is gone: its id, then its log, then its data.
    pub fn retire(&mut self, partition: PartitionId) {
        let Some(group) = self.groups.get_mut(&partition) else { return };
        match group.phase {
            Phase::Retiring => return,
            // The install would write what is cleared here; it is asked again when that is done.
            Phase::Installing => {
                self.desk.removed.push(partition);
                return;
            }
            Phase::Running => group.phase = Phase::Retiring,
        }
        // Reads on the pool look here when they are done: before anything is cleared.
        group.summary.readable = false;
        counting::forget(&self.desk, group);
        self.desk.context.registry.put(partition, group.summary.clone());
        let replica = group.summary.replica;
        tracing::info!(%partition, %replica, "retires");
        group.inputs.clear();
        group.outgoing.clear();
        group.forget_received();
        refuse_queue(&mut self.desk, group);
        refuse_waiters(&mut self.desk, partition);
        // Together in one batch: never a log without the replica that owns it.
        self.desk.log(partition, Work::AcceptFrom { replica: ReplicaId(replica.0 + 1) });
        self.desk.log(partition, Work::Remove);
    }

    /// The log of a retiring replica is gone: now its data, once nothing of it waits to be written.
    pub fn removed_from_log(&mut self, partition: PartitionId) {
        if self.groups.get(&partition).is_some_and(|group| group.phase == Phase::Retiring) {
            self.desk.after_write.push(AfterWrite::Clear { partition });
        }
    }

    /// What waited for the groups' writes goes on.
    pub fn after_write(&mut self) {
        for work in self.desk.written() {
            match work {
                AfterWrite::Clear { partition } => self.clear(partition),
                AfterWrite::Install { partition, install } => {
                    if let Some(group) = self.groups.get_mut(&partition) {
                        snapshots::install(&self.desk, group, *install);
                    }
                }
            }
        }
    }

    pub fn clear(&mut self, partition: PartitionId) {
        let Some(group) = self.groups.get(&partition) else { return };
        let Some(descriptor) = group.summary.descriptor.clone() else {
            self.cleared(partition);
            return;
        };
        let context = Arc::clone(&self.desk.context);
        let worker = self.desk.worker;
        self.desk.context.background.submit_always(move || {
            match context.items.clear(partition, descriptor.table, &descriptor.range) {
                Ok(()) => context.inboxes.push(worker, Mail::Cleared(partition)),
                Err(error) if error.is_no_room() => {
                    tracing::warn!(%partition, error = describe(&error), "no room to clear a group; tries again");
                    context.room.refused();
                    context.inboxes.push(worker, Mail::NotCleared(partition));
                }
                Err(error) => context.give_up("clear a group", &error),
            }
        });
    }

    pub fn cleared(&mut self, partition: PartitionId) {
        let Some(group) = self.groups.remove(&partition) else { return };
        self.desk.context.registry.remove(partition);
        // What the log held of it can go, too.
        self.desk.context.log.purge();
        tracing::info!(%partition, replica = %group.summary.replica, "gone");
        for reply in group.when_gone {
            drop(reply.send(Ok(())));
        }
    }

    /// The disk did not read. It may have read before and read again: nothing of the replica is lost, but others are to lead where
    /// it does not for long.
    pub fn read_failed(&mut self, partition: PartitionId, again: Option<FetchRequest>) {
        let Some(group) = self.groups.get_mut(&partition) else { return };
        group.failed_reads += 1;
        if group.leads() && group.failed_reads.is_multiple_of(READ_ATTEMPTS) {
            tracing::error!(%partition, failed = group.failed_reads, "the disk does not read: another is to lead");
            group.inputs.push(Input::Resign);
        }
        match again {
            Some(request) if group.leads() => group.fetches.push(request),
            // Only a leader needs it: raft forgets what it had asked for.
            Some(request) => group.inputs.push(Input::Fetched { request, entries: Vec::new() }),
            None => (),
        }
        schedule(&mut self.active, group);
    }

    /// What log or items hold of this group cannot be trusted: nothing of it is said any more, after a restart neither.
    pub fn stop_corrupt(&mut self, partition: PartitionId) {
        if let Some(mut group) = self.groups.remove(&partition) {
            tracing::error!(%partition, replica = %group.summary.replica, "a corrupt replica stays out; its group is to rebuild it");
            self.desk.context.metrics.corrupted.inc();
            self.desk.leave_out(partition);
            counting::forget(&self.desk, &mut group);
            refuse_queue(&mut self.desk, &mut group);
            refuse_waiters(&mut self.desk, partition);
            self.corrupt.insert(partition);
            // The log of one that retires is gone already.
            if group.phase != Phase::Retiring {
                self.desk.log(partition, Work::Corrupt);
            }
            self.desk.context.registry.remove(partition);
        }
    }
}

/// Whoever waits for a replica that answers no more.
pub fn refuse_waiters(desk: &mut Desk, partition: PartitionId) {
    for waiter in desk.waiters_of(partition) {
        match waiter {
            // A write on its way may have been applied by the others.
            Waiter::Client { connection, call, .. } => desk.refuse(&connection, call, Reason::Unknown),
            Waiter::Command(reply) => drop(reply.send(Err(CommandError::UnknownPartition(partition)))),
        }
    }
}

/// Nothing of the queue has been proposed.
pub fn refuse_queue(desk: &mut Desk, group: &mut Group) {
    while let Some(queued) = group.dequeue() {
        desk.refuse(&queued.connection, Call::of(&queued.request), Reason::UnknownPartition);
    }
}
