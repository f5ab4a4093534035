//! What happens by time: the groups' ticks, and the node's chores.

use std::sync::Arc;

use model::{NodeId, PartitionId, ReplicaId};
use replica::Input;

use crate::context::Context;
use crate::metrics::count;
use crate::room::RoomState;
use crate::transport::convert;
use crate::worker::desk::Desk;
use crate::worker::group::{Group, Phase};
use crate::worker::inbox::Mail;
use crate::worker::{Worker, children, corrupt, counting, effects, neighbour, schedule, snapshots};
use wire::error::describe;

/// Ticks between attempts to make room on a full disk: old log files, retired groups.
const TIDY_TICKS: u64 = 10;
/// Ticks between attempts to hand leaders on while the disk is scarce: where all disks of a group are, leadership would
/// otherwise go in a circle.
const RESIGN_TICKS: u64 = 600;
/// The same where what is committed cannot be applied: such a leader serves nothing, and a node that can apply would.
const STUCK_TICKS: u64 = 20;
/// Ticks between looks at what a crash cannot take back.
const FLUSHED_TICKS: u64 = 50;
/// Ticks after which everything is flushed, so that the logs of idle groups can be truncated too.
const FLUSH_TICKS: u64 = 1200;
/// Ticks of silence after which a replica asks whether it is still a member: the entry that removes a learner never
/// reaches it.
const SILENT_TICKS: u32 = 50;

impl Worker {
    pub fn tick(&mut self) {
        self.ticks += 1;
        if self.desk.worker == 0 {
            self.desk.context.room.measure();
            neighbour::tick(&self.desk.context);
        }
        if self.look_at_room() {
            self.resign();
        }
        self.wake_some();
        let Worker { desk, groups, active, .. } = self;
        let ticked = groups.for_ticked(|group| {
            for replica in std::mem::take(&mut group.unreachable) {
                group.inputs.push(Input::Unreachable(replica));
            }
            snapshots::tick(group);
            children::tick(group);
            counting::tick(desk, group);
            if !std::mem::replace(&mut group.tick_waits, true) {
                group.inputs.push(Input::Tick);
            }
            for request in std::mem::take(&mut group.fetches) {
                effects::fetch(desk, group, request);
            }
            ask_membership(desk, group);
            schedule(active, group);
        });
        self.desk.context.metrics.group_ticks.inc_by(count(ticked));
        if self.ticks.is_multiple_of(SILENT_TICKS.into()) {
            self.ask_for_corrupt();
        }
        self.count_groups();
        self.count_health();
        if self.ticks.is_multiple_of(FLUSHED_TICKS) {
            self.look_at_flushed();
        }
        if self.desk.worker == 0 && self.ticks.is_multiple_of(FLUSH_TICKS) {
            flush(&self.desk.context);
        }
    }

    /// Whether leaders are to be handed on.
    fn look_at_room(&mut self) -> bool {
        let room = self.desk.context.room.get();
        let before = std::mem::replace(&mut self.room, room);
        if room >= RoomState::Full && self.desk.worker == 0 {
            if before < RoomState::Full {
                // While there is still room for it; behind what is flushed the log may go.
                flush(&self.desk.context);
            }
            if self.ticks.is_multiple_of(TIDY_TICKS) {
                self.desk.context.log.purge();
            }
        }
        if self.ticks.is_multiple_of(TIDY_TICKS) {
            for partition in std::mem::take(&mut self.uncleared) {
                self.clear(partition);
            }
        }
        let stuck = self.desk.lacks_room() && self.ticks.is_multiple_of(STUCK_TICKS);
        let again = before == RoomState::Enough || self.ticks.is_multiple_of(RESIGN_TICKS);
        stuck || (room != RoomState::Enough && again)
    }

    /// The disk has little room: others are to lead.
    fn resign(&mut self) {
        for group in self.groups.values_mut().filter(|group| group.leads()) {
            group.inputs.push(Input::Resign);
            schedule(&mut self.active, group);
        }
    }

    fn look_at_flushed(&mut self) {
        // Read before the look: what is flushed meanwhile is seen by the next one.
        let version = self.desk.context.items.version();
        if version.is_some() && version == self.items_seen {
            return;
        }
        let behind = |group: &&Group| group.phase == Phase::Running && group.applied > group.flushed;
        let asked = |group: &Group| (group.partition, group.replica.id());
        let groups: Vec<(PartitionId, ReplicaId)> = self.groups.values().filter(behind).map(asked).collect();
        if groups.is_empty() {
            self.items_seen = version;
            return;
        }
        let context = Arc::clone(&self.desk.context);
        let worker = self.desk.worker;
        let look = move || {
            let persisted =
                |(partition, replica): (PartitionId, ReplicaId)| match context.items.persisted_index(partition) {
                    Ok(index) => index.map(|index| (partition, replica, index)),
                    Err(error) => {
                        tracing::error!(%partition, error = describe(&error), "failed to read what is flushed");
                        corrupt::note_unreadable(&context.inboxes, partition, &error);
                        None
                    }
                };
            let flushed = groups.into_iter().filter_map(persisted).collect();
            context.inboxes.push(worker, Mail::Flushed(flushed));
        };
        // A busy pool is asked again later.
        if self.desk.context.reads.submit(look).is_ok() {
            self.items_seen = version;
        }
    }
}

/// Asks the others whether the replica is still a member, where it has heard nothing for long. Who sleeps has agreed to hear
/// nothing.
fn ask_membership(desk: &mut Desk, group: &mut Group) {
    if group.leads() || group.phase != Phase::Running {
        group.silent_ticks = 0;
        return;
    }
    group.silent_ticks += 1;
    if group.silent_ticks < SILENT_TICKS {
        return;
    }
    group.silent_ticks = 0;
    let own = group.summary.replica;
    let others: Vec<(ReplicaId, NodeId)> = match &group.summary.descriptor {
        Some(descriptor) => descriptor.replicas.iter().map(|other| (other.id, other.node)).collect(),
        // A message that came late may have made it when it had been removed: who sent that knows.
        None => group.routes.iter().map(|(other, node)| (*other, *node)).collect(),
    };
    for (other, node) in others.into_iter().filter(|(other, _)| *other != own) {
        desk.post_wire(node, convert::member_asked(group.partition, own, other));
    }
}

/// Everything applied becomes durable, on the pool.
pub fn flush(context: &Arc<Context>) {
    let pool = context.background.clone();
    let context = Arc::clone(context);
    let work = move || {
        let Ok(_turn) = context.flushing.try_acquire() else { return };
        match context.items.flush() {
            Ok(()) => (),
            // RocksDB tries it again by itself.
            Err(error) if error.is_no_room() => {
                tracing::warn!(error = describe(&error), "no room to flush the items");
                context.room.refused();
            }
            Err(error) => context.give_up("flush the items", &error),
        }
    };
    // A full pool is busy with work that flushes.
    pool.submit_unless_busy(work);
}
