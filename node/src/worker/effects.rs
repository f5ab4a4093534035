//! What a replica wants, carried out: in the order that `replica::Effects` asks for.

use std::sync::Arc;

use model::ReplicaId;
use replica::eraftpb::MessageType;
use replica::{Effects, Envelope, Event, FetchRequest};

use crate::log::{LogError, Work};
use crate::worker::desk::Desk;
use crate::worker::group::{Group, Phase};
use crate::worker::inbox::Mail;
use crate::worker::{clients, counting, reads, snapshots};
use wire::error::describe;

pub fn carry_out(desk: &mut Desk, group: &mut Group, effects: Effects) {
    let Effects {
        reads,
        append,
        send,
        apply,
        answers,
        confirmed,
        fetch,
        snapshot_wanted,
        place_wanted,
        install,
        truncate,
        commit_untold,
        events,
    } = effects;
    for child in apply.iter().flat_map(|apply| &apply.children) {
        // Before the parent is told to have shrunk: at no time may another group begin to have the right half.
        let claim = desk.context.registry.claim_for_child(&child.descriptor);
        desk.claims.insert(child.descriptor.id, claim);
    }
    if !events.is_empty() {
        note(desk, group, events);
    }
    if let Some(append) = append {
        desk.log(group.partition, Work::Append(append));
    }
    for envelope in send {
        self::send(desk, group, envelope);
    }
    if let Some(apply) = apply {
        let table = group.table_id().expect("a replica without a descriptor applies nothing");
        counting::applies(group, &apply);
        desk.apply(group.partition, table, apply);
    }
    for (token, answer) in answers {
        clients::answered(desk, group, token, answer);
    }
    for token in confirmed {
        clients::confirmed(desk, group, token);
    }
    for request in fetch {
        self::fetch(desk, group, request);
    }
    if let Some(to) = snapshot_wanted {
        snapshots::build(desk, group, to);
    }
    if let Some(wanted) = place_wanted {
        desk.places.ask(group.partition, wanted);
    }
    if let Some(install) = install {
        snapshots::prepare_install(desk, group, install);
    }
    if let Some(upto) = truncate {
        desk.log(group.partition, Work::Truncate { upto });
    }
    group.commit_untold = commit_untold;
    if commit_untold {
        desk.untold.insert(group.partition);
    }
    if !reads.is_empty() {
        reads::old_items(desk, group, reads);
    }
}

fn send(desk: &mut Desk, group: &mut Group, envelope: Envelope) {
    let Some(node) = group.node_of(envelope.to) else {
        group.unreachable.insert(envelope.to);
        return;
    };
    if snapshots::has_files(&envelope) {
        snapshots::send(desk, group, node, envelope);
    } else {
        desk.post(node, group.partition, envelope);
    }
}

pub fn is_snapshot(envelope: &Envelope) -> bool {
    envelope.body.raft().is_some_and(|message| message.msg_type == MessageType::MsgSnapshot)
}

/// Reads the log back on the pool; tried again with the next tick if the pool is full, or the disk did not read.
pub fn fetch(desk: &Desk, group: &mut Group, request: FetchRequest) {
    let context = Arc::clone(&desk.context);
    let (worker, partition) = (desk.worker, group.partition);
    let again = request.clone();
    let read = move || match context.log.fetch(partition, &request) {
        Ok(entries) => context.inboxes.push(worker, Mail::Fetched { partition, request, entries }),
        // Truncated meanwhile: raft finds out and sends a snapshot.
        Err(LogError::Missing { .. }) => {
            context.inboxes.push(worker, Mail::Fetched { partition, request, entries: Vec::new() });
        }
        Err(error) if error.is_corrupt() => {
            tracing::error!(%partition, error = describe(&error), "the log is not what was written");
            context.inboxes.push(worker, Mail::Corrupt(partition));
        }
        Err(error) => {
            tracing::error!(%partition, error = describe(&error), "failed to read the log; tries again");
            context.metrics.read_failures.inc();
            context.inboxes.push(worker, Mail::ReadFailed { partition, again: Some(request) });
        }
    };
    if desk.context.reads.submit(read).is_err() {
        group.fetches.push(again);
    }
}

fn note(desk: &mut Desk, group: &mut Group, events: Vec<Event>) {
    let partition = group.partition;
    for event in events {
        let summary = &mut group.summary;
        match event {
            Event::Leader { leader, term } => {
                tracing::debug!(%partition, leader = leader.map_or(0, |ReplicaId(id)| id), term, "leader");
                (summary.leader, summary.term, summary.serving) = (leader, term, false);
                group.failed_reads = 0;
                // Only a leader sends snapshots.
                if leader != Some(summary.replica) {
                    group.outgoing.clear();
                    counting::forget(desk, group);
                }
            }
            Event::Serving { term } => {
                tracing::info!(%partition, term, "leads");
                desk.context.metrics.leaderships.inc();
                (summary.leader, summary.term, summary.serving) = (Some(summary.replica), term, true);
            }
            Event::Descriptor(descriptor) => {
                tracing::info!(%partition, epoch = descriptor.epoch, "descriptor applied");
                let before = summary.descriptor.replace(Arc::new(*descriptor));
                group.uncounted |= counting::has_other_range(before.as_deref(), summary.descriptor.as_deref());
            }
            Event::Table(table) => summary.table = Some(Arc::new(*table)),
            Event::Removed => desk.removed.push(partition),
        }
    }
    desk.context.registry.put(partition, group.summary.clone());
    if group.phase == Phase::Running && group.received.is_none() {
        // What was installed is told by now.
        group.claim = None;
    }
}
