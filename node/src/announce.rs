//! What this node tells MemDS: its groups, their leaders, their tables, who is where.
//!
//! Changes leave as they happen, many in one frame; everything leaves after each connect and again every 30 seconds. The
//! work does not depend on what MemDS knows: a server that lost everything hears everything again. A name in DNS that stands for
//! several servers stands for all of them, and each is told; a session that works is never ended because of what DNS says.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use model::{PartitionId, TableDescriptor, TableId};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use wire::memds::mem_ds_client::MemDsClient;
use wire::memds::{Announcement, AnnouncementAnswer, PartitionReport};
use wire::seal::connect::Whom;

use crate::context::Context;
use crate::directory::DirectoryEntry;
use crate::names::{Name, Tasks, Wanted};
use crate::registry::{Listener, Summary};
use crate::transport::DECODE_LIMIT_BYTES;
use crate::transport::connector::line;
use wire::error::describe;

/// Everything is told again so often: what a lost frame or a restarted server may lack is bounded by it.
const FULL_EVERY: Duration = Duration::from_secs(30);
/// Groups in one frame of a full announcement.
const GROUPS_PER_FRAME: usize = 500;
/// How soon a server is heard of that DNS has only just learnt.
const LOOK_UP_EVERY: Duration = Duration::from_secs(5);
/// Pause after a failed attempt.
const PAUSE: Duration = Duration::from_millis(500);
/// Frames that wait for the network; with more waiting, changes gather in the registry.
const FRAMES_AHEAD: usize = 4;

/// Every server that a name stands for, for ever.
pub async fn announce_to(context: Arc<Context>, name: String) {
    let mut name = Name::new(name);
    let mut tasks = Tasks::default();
    loop {
        let addresses = name.look_up().await;
        tasks.follow(addresses, |address, wanted| tokio::spawn(announce(Arc::clone(&context), address, wanted)));
        sleep(LOOK_UP_EVERY).await;
    }
}

/// One server, until it has gone from DNS and does not answer any more.
async fn announce(context: Arc<Context>, address: SocketAddr, wanted: Wanted) {
    let listener = context.registry.listen();
    while wanted.still() {
        match session(&context, &address.to_string(), &listener).await {
            Ok(Ended::Loosened) => continue,
            Ok(Ended::ByServer) => (),
            Err(error) => tracing::debug!(%address, error = describe(&*error), "announcements interrupted"),
        }
        sleep(PAUSE).await;
    }
    context.registry.leave(&listener);
}

type SessionError = Box<dyn std::error::Error + Send + Sync>;

/// How a session ended in order.
enum Ended {
    ByServer,
    /// It is better to connect anew.
    Loosened,
}

async fn session(context: &Arc<Context>, address: &str, listener: &Listener) -> Result<Ended, SessionError> {
    let line = line(address, context.links.connector().seal(), Whom::MemDs).await?;
    let loosened = line.loosened();
    let mut client = MemDsClient::new(line.channel).max_decoding_message_size(DECODE_LIMIT_BYTES);
    let (frames, queue) = mpsc::channel(FRAMES_AHEAD);
    let answers = client.announce(ReceiverStream::new(queue)).await?.into_inner();
    tokio::select! {
        ended = listen(context, answers) => ended.map(|()| Ended::ByServer),
        ended = tell(context, &frames, listener) => ended.map(|()| Ended::ByServer),
        () = loosened => Ok(Ended::Loosened),
    }
}

/// Who is where, from the server.
async fn listen(context: &Context, mut answers: Streaming<AnnouncementAnswer>) -> Result<(), SessionError> {
    while let Some(answer) = answers.next().await {
        context.links.directory().learn(answer?.directory.into_iter().map(DirectoryEntry::from));
    }
    Ok(())
}

async fn tell(
    context: &Arc<Context>,
    frames: &mpsc::Sender<Announcement>,
    listener: &Listener,
) -> Result<(), SessionError> {
    let mut changes = listener.changes.clone();
    let mut directory = context.links.directory().watch();
    loop {
        // What changed before is in the full announcement.
        context.registry.changed(listener);
        for frame in full(context) {
            frames.send(frame).await?;
        }
        let again = Instant::now() + FULL_EVERY;
        loop {
            let changed = async {
                tokio::select! {
                    changed = changes.changed() => changed,
                    changed = directory.changed() => changed,
                }
            };
            match timeout_at(again, changed).await {
                Ok(changed) => changed?,
                Err(_elapsed) => break,
            }
            let groups = context.registry.changed(listener);
            frames.send(partial(context, groups)).await?;
        }
    }
}

fn base(context: &Context) -> Announcement {
    let directory = context.links.directory();
    let node = directory.entry(context.node).map(wire::memds::DirectoryEntry::from);
    Announcement { node, ..Default::default() }
}

fn everyone(context: &Context) -> Vec<wire::memds::DirectoryEntry> {
    context.links.directory().entries().into_iter().map(wire::memds::DirectoryEntry::from).collect()
}

fn full(context: &Context) -> Vec<Announcement> {
    let groups = context.registry.all();
    let mut frames: Vec<Announcement> = groups
        .chunks(GROUPS_PER_FRAME)
        .map(|groups| Announcement {
            partitions: groups.iter().filter_map(|(partition, summary)| report(context, *partition, summary)).collect(),
            tables: tables(groups.iter().map(|(_, summary)| summary)),
            ..base(context)
        })
        .collect();
    if frames.is_empty() {
        frames.push(base(context));
    }
    if let Some(first) = frames.first_mut() {
        first.full_begins = true;
        first.directory = everyone(context);
    }
    if let Some(last) = frames.last_mut() {
        last.full_ends = true;
    }
    frames
}

fn partial(context: &Context, groups: Vec<(PartitionId, Option<Summary>)>) -> Announcement {
    let gone = groups.iter().filter(|(_, summary)| summary.is_none()).map(|(partition, _)| partition.0).collect();
    let present = || groups.iter().filter_map(|(partition, summary)| Some((*partition, summary.as_ref()?)));
    Announcement {
        partitions: present().filter_map(|(partition, summary)| report(context, partition, summary)).collect(),
        tables: tables(present().map(|(_, summary)| summary)),
        gone,
        directory: everyone(context),
        ..base(context)
    }
}

/// None before the group has a descriptor.
fn report(context: &Context, partition: PartitionId, summary: &Summary) -> Option<PartitionReport> {
    let descriptor = summary.descriptor.as_ref()?.encode();
    let size = context.tally.size(partition).filter(|_| summary.leads());
    Some(PartitionReport {
        descriptor,
        leader: summary.leader_node().map_or(0, |node| node.0),
        term: summary.term,
        items: size.map(|size| size.items),
        bytes: size.map(|size| size.bytes),
    })
}

/// The newest of every table, once.
fn tables<'a>(summaries: impl Iterator<Item = &'a Summary>) -> Vec<Bytes> {
    let mut newest: BTreeMap<TableId, &Arc<TableDescriptor>> = BTreeMap::new();
    for table in summaries.filter_map(|summary| summary.table.as_ref()) {
        let known = newest.entry(table.id).or_insert(table);
        if known.version < table.version {
            *known = table;
        }
    }
    newest.into_values().map(|table| table.encode()).collect()
}
