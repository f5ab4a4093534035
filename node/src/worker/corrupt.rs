//! Replicas whose log or items here cannot be trusted: they say so and nothing else, and make room once their group goes on
//! without them.
//!
//! The host knows such a replica by the lowest id that the log accepts of its group: it is that one as long as it is here.

use std::sync::Arc;

use model::{KeyRange, NodeId, PartitionId, ReplicaId};
use replica::{Envelope, GroupState, MessageBody};

use crate::context::Context;
use crate::items::ItemsError;
use crate::log::Work;
use crate::transport::convert;
use crate::worker::Worker;
use crate::worker::inbox::{Inboxes, Mail};
use wire::error::describe;

/// What a group has here could not be read. Where it is not what was written the replica ends; its group rebuilds it. A disk that
/// does not read now costs leadership at most.
pub fn note_unreadable(inboxes: &Inboxes, partition: PartitionId, error: &ItemsError) {
    let corrupt = error.is_corrupt();
    let mail = if corrupt { Mail::Corrupt(partition) } else { Mail::ReadFailed { partition, again: None } };
    inboxes.push(inboxes.of(partition), mail);
}

impl Worker {
    /// Something arrives for a replica here that is corrupt, or for one that is to take its place.
    pub fn message_for_corrupt(&mut self, from: NodeId, partition: PartitionId, envelope: &Envelope) {
        if !envelope.gives_life() {
            return;
        }
        let own = self.desk.context.log.accept_from(partition);
        if envelope.to == own {
            let unfit = Envelope { from: own, to: envelope.from, body: MessageBody::Unfit };
            self.desk.post(from, partition, unfit);
        } else if envelope.to > own {
            self.discard(partition, envelope.to);
        }
    }

    /// The others say that it is no member any more.
    pub fn corrupt_is_gone(&mut self, partition: PartitionId, replica: ReplicaId) {
        if self.desk.context.log.accept_from(partition) == replica {
            self.discard(partition, ReplicaId(replica.0 + 1));
        }
    }

    /// Whether they are still members: nobody tells them.
    pub fn ask_for_corrupt(&mut self) {
        for partition in self.corrupt.clone() {
            let own = self.desk.context.log.accept_from(partition);
            let Some(state) = state_of(&self.desk.context, partition) else { continue };
            for other in state.descriptor.replicas.iter().filter(|other| other.id != own) {
                self.desk.post_wire(other.node, convert::member_asked(partition, own, other.id));
            }
        }
    }

    /// What is left of it goes: first its id, then its log, then its data.
    fn discard(&mut self, partition: PartitionId, lowest: ReplicaId) {
        if !self.discarding.insert(partition) {
            return;
        }
        tracing::info!(%partition, %lowest, "discards a corrupt replica");
        let context = Arc::clone(&self.desk.context);
        let worker = self.desk.worker;
        self.desk.context.background.submit_always(move || {
            let discarded = discard(&context, partition, lowest);
            context.inboxes.push(worker, Mail::Discarded { partition, discarded });
        });
    }

    pub fn discarded(&mut self, partition: PartitionId, discarded: bool) {
        self.discarding.remove(&partition);
        if discarded {
            self.corrupt.remove(&partition);
        }
    }
}

fn state_of(context: &Context, partition: PartitionId) -> Option<GroupState> {
    let records = context.items.group(partition).ok()?;
    GroupState::decode(records.state?).ok()
}

/// False where it has to be tried again: the disk is full, or the node stops.
fn discard(context: &Context, partition: PartitionId, lowest: ReplicaId) -> bool {
    let state = state_of(context, partition);
    let run = |work| context.log.run(partition, work);
    if !run(Work::AcceptFrom { replica: lowest }) || !run(Work::Remove) {
        return false;
    }
    let Some(GroupState { descriptor, .. }) = state else { return true };
    // It had perhaps not applied a split: where the child is here by now, what is left of its parent is read by nobody.
    let claim = context.registry.claim(&descriptor);
    let nothing = KeyRange { start: descriptor.range.start.clone(), end: Some(descriptor.range.start.clone()) };
    let range = if claim.is_ok() { &descriptor.range } else { &nothing };
    // Its birth may stand in a memtable still, with the split that made its range another's.
    match context.items.flush().and_then(|()| context.items.clear(partition, descriptor.table, range)) {
        Ok(()) => true,
        Err(error) if error.is_no_room() => {
            tracing::warn!(%partition, error = describe(&error), "no room to clear a corrupt replica; tries again");
            context.room.refused();
            false
        }
        Err(error) => context.give_up("clear a corrupt replica", &error),
    }
}
