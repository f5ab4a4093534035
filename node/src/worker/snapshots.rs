//! Snapshots of a group, both ways: built and installed on the background pool, sent file by file before their message.

use std::sync::Arc;

use futures::{FutureExt, StreamExt};
use model::{KeyRange, NodeId, PartitionId, ReplicaId};
use replica::{Envelope, GroupState, Input, Install, Replica, Welcome};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use wire::raft::snapshot_chunk::Part;
use wire::raft::{SnapshotAnswer, SnapshotChunk, SnapshotHeader};

use crate::context::Context;
use crate::room::RoomState;
use crate::snapshot::{Outgoing, Received, Route, SnapshotError};
use crate::worker::desk::{AfterWrite, Desk};
use crate::worker::effects::is_snapshot;
use crate::worker::group::{Group, Phase};
use crate::worker::inbox::{Built, Consent, Mail};
use crate::worker::{children, stand_ins};
use wire::error::describe;

/// Chunks read ahead of the network.
const CHUNKS_AHEAD: usize = 2;
/// Ticks that files wait for their message. It is sent as soon as they are here: after so long it was lost.
const MESSAGE_TICKS: u32 = 50;

pub fn build(desk: &Desk, group: &mut Group, to: ReplicaId) {
    let context = Arc::clone(&desk.context);
    let (worker, partition) = (desk.worker, group.partition);
    let route = Route { from_node: context.node, partition, from: group.summary.replica, to };
    if context.room.get() >= RoomState::Full {
        tracing::debug!(%partition, "no room to build a snapshot");
        group.inputs.push(Input::SnapshotFailed { to });
        return;
    }
    let build = move || {
        let built = match Outgoing::build(&context.items, &context.disk.outgoing_dir(), route, &context.budget) {
            Ok(outgoing) => {
                let content = outgoing.content().clone();
                Some(Box::new(Built { outgoing: Arc::new(outgoing), content }))
            }
            Err(error) => {
                tracing::warn!(%partition, error = describe(&error), "failed to build a snapshot");
                if error.is_corrupt() {
                    context.inboxes.push(worker, Mail::Corrupt(partition));
                }
                None
            }
        };
        context.inboxes.push(worker, Mail::SnapshotBuilt { partition, to, built });
    };
    if desk.context.background.submit(build).is_err() {
        group.inputs.push(Input::SnapshotFailed { to });
    }
}

/// The files first, then the message; the worker hears how it went.
pub fn send(desk: &Desk, group: &mut Group, node: NodeId, envelope: Envelope) {
    let (partition, to) = (group.partition, envelope.to);
    let at = envelope.body.raft().map(|message| message.get_snapshot().get_metadata());
    let wanted = at.map(|metadata| (metadata.index, metadata.term));
    let built = group.outgoing.get(&to).filter(|built| {
        let mark = built.content().mark;
        Some((mark.index, mark.term)) == wanted
    });
    let Some(outgoing) = built.map(Arc::clone) else {
        group.inputs.push(Input::SnapshotSent { to, delivered: false });
        return;
    };
    let context = Arc::clone(&desk.context);
    let worker = desk.worker;
    drop(tokio::spawn(async move {
        let delivered = match transfer(Arc::clone(&context), node, outgoing).await {
            Ok(Consent::Files) => {
                context.metrics.snapshots_sent.inc();
                true
            }
            Ok(Consent::MessageAlone) => true,
            Err(reason) => {
                tracing::warn!(%partition, %node, reason, "failed to send a snapshot");
                false
            }
        };
        let message = Box::new(envelope);
        context.inboxes.push(worker, Mail::SnapshotSent { partition, message, delivered });
    }));
}

/// A log replica's snapshot is its message alone.
pub fn has_files(envelope: &Envelope) -> bool {
    is_snapshot(envelope) && envelope.body.raft().is_some_and(replica::has_items)
}

/// What the receiver has taken.
async fn transfer(context: Arc<Context>, node: NodeId, outgoing: Arc<Outgoing>) -> Result<Consent, String> {
    let _place = context.sending.acquire().await.map_err(|closed| closed.to_string())?;
    let entry = context.links.directory().entry(node).ok_or("its address is not known")?;
    let header = SnapshotChunk { part: Some(Part::Header(outgoing.header())) };
    let (chunks, ahead) = mpsc::channel(CHUNKS_AHEAD);
    // Reading waits for the disk and, through the channel, for the network.
    let reader = tokio::task::spawn_blocking(move || {
        if chunks.blocking_send(header).is_err() {
            return Ok(());
        }
        for data in outgoing.chunks() {
            let chunk = SnapshotChunk { part: Some(Part::Data(data?)) };
            if chunks.blocking_send(chunk).is_err() {
                break;
            }
        }
        Ok::<(), crate::snapshot::SnapshotError>(())
    });
    let stream = ReceiverStream::new(ahead).boxed();
    let connector = context.links.connector().clone();
    let answer = connector.send_snapshot(entry.address, entry.node, stream).boxed().await;
    let read = reader.await.map_err(|error| error.to_string())?;
    read.map_err(|error| describe(&error))?;
    let answer = answer.map_err(|error| describe(&error))?;
    match answer {
        SnapshotAnswer { complete: true, .. } => Ok(Consent::Files),
        SnapshotAnswer { not_needed: true, .. } => Ok(Consent::MessageAlone),
        SnapshotAnswer { reason, .. } => Err(reason),
    }
}

/// Whether that snapshot is welcome.
pub fn consent(context: &Context, group: &Group, header: &SnapshotHeader) -> Result<Consent, String> {
    if header.to != group.summary.replica.0 {
        return Err(format!("replica {} is not here", header.to));
    }
    match group.replica.welcome(header.index, header.term) {
        Welcome::Files if group.phase == Phase::Running => (),
        Welcome::Message if group.phase == Phase::Running => return Ok(Consent::MessageAlone),
        Welcome::Files | Welcome::Message | Welcome::Nothing => {
            return Err("the replica takes no snapshot now".to_owned());
        }
    }
    if context.room.get() != RoomState::Enough {
        return Err("the disk is nearly full".to_owned());
    }
    if group.received.is_some() {
        return Err("the files of another snapshot wait for their message".to_owned());
    }
    let state = GroupState::decode(header.record.clone()).map_err(|error| error.to_string())?;
    let descriptor = &state.descriptor;
    match context.registry.overlapping(group.partition, descriptor.table, &descriptor.range) {
        Some(other) => Err(format!("partition {other} covers a part of its range here")),
        None => Ok(Consent::Files),
    }
}

/// The files have arrived: they wait for their message, and no others take their place meanwhile.
pub fn received(context: &Context, group: &mut Group, received: Received, taken: oneshot::Sender<()>) {
    if received.header().to == group.summary.replica.0 && group.phase == Phase::Running && group.received.is_none() {
        let partition = group.partition;
        let Ok(state) = GroupState::decode(received.header().record.clone()) else { return };
        // Since the consent was given, another group may have begun to have a part of the range.
        match context.registry.claim(&state.descriptor) {
            Ok(claim) => group.claim = Some(claim),
            Err(other) => {
                tracing::warn!(%partition, %other, "dropped a snapshot: another group has a part of its range by now");
                return;
            }
        }
        group.received = Some(received);
        group.received_ticks = 0;
        // The sender may have gone meanwhile; its message then never comes.
        taken.send(()).ok();
    }
}

/// A snapshot's message may be stepped only if its files are here, or not needed.
pub fn may_step(group: &Group, envelope: &Envelope) -> bool {
    is_complete(&group.replica, group.received.as_ref(), envelope)
}

fn is_complete(replica: &Replica, received: Option<&Received>, envelope: &Envelope) -> bool {
    let Some(message) = envelope.body.raft() else { return false };
    let metadata = message.get_snapshot().get_metadata();
    match replica.welcomes(message) {
        Welcome::Files => received.is_some_and(|received| {
            let header = received.header();
            (header.index, header.term) == (metadata.index, metadata.term)
        }),
        Welcome::Message => true,
        Welcome::Nothing => false,
    }
}

fn is_message_of_snapshot(input: &Input) -> bool {
    matches!(input, Input::Message(envelope) if is_snapshot(envelope))
}

/// Raft installs whatever it steps: a message whose files are not here any more is dropped before. Whether one is left.
pub fn before_step(group: &mut Group) -> bool {
    let (partition, replica, received) = (group.partition, &group.replica, group.received.as_ref());
    let mut found = false;
    group.inputs.retain(|input| {
        let Input::Message(envelope) = input else { return true };
        if !is_snapshot(envelope) {
            return true;
        }
        let is_complete = is_complete(replica, received, envelope);
        found |= is_complete;
        if !is_complete {
            tracing::error!(%partition, "dropped a snapshot's message: its files are gone");
        }
        is_complete
    });
    found
}

/// Files whose message raft did not want are of no use.
pub fn after_step(group: &mut Group) {
    if group.phase == Phase::Running {
        group.forget_received();
    }
}

/// Files whose message does not come make room for others.
pub fn tick(group: &mut Group) {
    if group.received.is_none() || group.phase != Phase::Running || group.inputs.iter().any(is_message_of_snapshot) {
        return;
    }
    group.received_ticks += 1;
    if group.received_ticks >= MESSAGE_TICKS {
        tracing::warn!(partition = %group.partition, "gave up a snapshot: its message did not come");
        group.forget_received();
    }
}

/// Nothing reads the group from now on; the files replace its items once what it has applied before is written.
pub fn prepare_install(desk: &mut Desk, group: &mut Group, install: Install) {
    group.phase = Phase::Installing;
    group.summary.readable = false;
    desk.context.registry.put(group.partition, group.summary.clone());
    let install = Box::new(install);
    desk.after_write.push(AfterWrite::Install { partition: group.partition, install });
}

pub fn install(desk: &Desk, group: &mut Group, install: Install) {
    if !install.has_items {
        return stand_ins::install(desk, group.partition, install);
    }
    let fits = |received: &Received| {
        let header = received.header();
        (header.index, header.term) == (install.index, install.term)
    };
    let context = Arc::clone(&desk.context);
    let (worker, partition) = (desk.worker, group.partition);
    let Some(received) = group.received.take().filter(fits) else {
        // Its raft has restored what this disk does not have: the replica stays out.
        tracing::error!(%partition, index = install.index, "the files of a snapshot to be installed are gone");
        context.inboxes.push(worker, Mail::Corrupt(partition));
        return;
    };
    let lost = group.summary.descriptor.as_ref().and_then(|before| cut_off(&before.range, &install.descriptor.range));
    let work = move || {
        let index = install.index;
        let again = |error: &SnapshotError| {
            tracing::warn!(%partition, error = describe(error), "no room to install a snapshot; tries again");
            context.room.refused();
            context.room.pause()
        };
        match received.install(&context.items, &context.log, &install, again) {
            Ok(()) => {
                let clear = |lost| {
                    children::until_room(&context, CLEAR, || context.items.clear_range(install.descriptor.table, lost))
                };
                if lost.as_ref().is_none_or(clear) {
                    context.inboxes.push(worker, Mail::Installed { partition, index });
                }
            }
            // The node stops: its next start goes on with it.
            Err(error) if error.is_no_room() => (),
            // The group's old items are gone and the new ones not there: the start begins this again.
            Err(SnapshotError::Items(error)) => context.give_up("install a snapshot", &error),
            Err(error) => panic!("cannot install a snapshot of partition {partition}: {}", describe(&error)),
        }
    };
    // The pool takes installs beyond its bound: their number is bounded by the snapshots received at once.
    desk.context.background.submit_always(work);
}

const CLEAR: &str = "clear what a split has cut off";

/// What the group had before splits that it learns of by the snapshot. Nobody else has any of it here: the group is told with its
/// old range until it is installed. A crash before it is cleared leaves items that nobody reads, until a snapshot replaces them.
fn cut_off(before: &KeyRange, after: &KeyRange) -> Option<KeyRange> {
    let start = after.end.clone().filter(|end| before.contains(end))?;
    Some(KeyRange { start, end: before.end.clone() })
}

/// The worker's part after [`send`].
pub fn sent(desk: &mut Desk, group: &mut Group, envelope: Envelope, delivered: bool) {
    let to = envelope.to;
    group.outgoing.remove(&to);
    if delivered && let Some(node) = group.node_of(to) {
        desk.post(node, group.partition, envelope);
    }
    group.inputs.push(Input::SnapshotSent { to, delivered });
}

/// The partition and receiver of an offered snapshot.
pub fn addressed(header: &SnapshotHeader) -> (PartitionId, ReplicaId) {
    (PartitionId(header.partition), ReplicaId(header.to))
}
