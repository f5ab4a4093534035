//! `Raft.Exchange` and `Raft.SendSnapshot`: frames from other nodes into the workers' inboxes, snapshots onto the disk.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use model::{NodeId, PartitionId};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;
use tonic::{Request, Response, Status, Streaming};
use wire::raft::raft_server::Raft;
use wire::raft::snapshot_chunk::Part;
use wire::raft::{Frame, FrameAnswer, SnapshotAnswer, SnapshotChunk, SnapshotHeader};
use wire::seal::callers::Voice;

use crate::directory::{Directory, DirectoryEntry};
use crate::metrics::{Metrics, count};
use crate::neighbours::{Heard, Neighbours};
use crate::room::{Room, RoomState};
use crate::snapshot::{Budget, Incoming};
use crate::transport::convert;
use crate::worker::inbox::{Consent, Inboxes, Mail};
use wire::error::describe;

/// Snapshots received at once: each takes the disk's bandwidth from the others and from the foreground.
const RECEIVING_AT_ONCE: usize = 2;
/// A sender that is silent for so long is gone: others wait for its place.
const CHUNK_PATIENCE: Duration = Duration::from_secs(30);

/// What arrives on one stream.
pub type Received<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What the handlers need.
pub struct RaftOptions {
    pub node: NodeId,
    pub inboxes: Inboxes,
    pub directory: Arc<Directory>,
    pub metrics: Arc<Metrics>,
    /// Where snapshots are received.
    pub incoming: PathBuf,
    pub budget: Arc<Budget>,
    pub room: Arc<Room>,
    pub neighbours: Arc<Neighbours>,
}

#[derive(Clone)]
pub struct RaftService {
    options: Arc<RaftOptions>,
    receiving: Arc<Semaphore>,
    /// Partitions for which a snapshot is being received.
    under_way: Arc<Mutex<BTreeSet<u64>>>,
}

/// A snapshot that is being received: until it is dropped no other is begun for its partition.
struct Reception {
    partition: u64,
    under_way: Arc<Mutex<BTreeSet<u64>>>,
}

impl Drop for Reception {
    fn drop(&mut self) {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.partition);
    }
}

impl RaftService {
    pub fn new(options: RaftOptions) -> RaftService {
        let receiving = Arc::new(Semaphore::new(RECEIVING_AT_ONCE));
        RaftService { options: Arc::new(options), receiving, under_way: Arc::default() }
    }

    pub fn node(&self) -> NodeId {
        self.options.node
    }

    /// Until the sender's stream ends, or says something in another node's name.
    pub async fn receive(self, voice: Voice, mut frames: Received<Frame>) -> Result<(), Status> {
        while let Some(frame) = frames.next().await {
            let frame = frame?;
            voice.speaks_for(NodeId(frame.from_node))?;
            self.frame(frame)?;
        }
        Ok(())
    }

    fn frame(&self, frame: Frame) -> Result<(), Status> {
        let RaftOptions { node, inboxes, directory, metrics, neighbours, .. } = &*self.options;
        metrics.raft_frames_received.inc();
        let Frame { from_node, to_node, start_number, messages, directory: told, disk_full, heartbeat } = frame;
        if to_node != node.0 {
            metrics.garbage.inc();
            return Err(Status::failed_precondition(format!("this is node {node}, not {}", NodeId(to_node))));
        }
        let from = NodeId(from_node);
        if directory.entry(from).is_some_and(|known| known.start_number > start_number) {
            return Err(Status::failed_precondition(format!("node {from} has started anew since")));
        }
        directory.learn(told.into_iter().map(DirectoryEntry::from));
        neighbours.heard(from, &Heard { start_number, disk_full, heartbeat });
        let mut arrived = Vec::with_capacity(messages.len());
        for message in messages {
            let size = convert::wire_size(&message);
            match convert::from_wire(message) {
                Ok((partition, parcel)) => arrived.push((partition, parcel, size)),
                Err(garbage) => {
                    metrics.garbage.inc();
                    tracing::warn!(%from, %garbage, "dropped a message");
                }
            }
        }
        for (worker, messages) in inboxes.split(arrived, |(partition, ..)| *partition) {
            let bytes = messages.iter().map(|(.., size)| size).sum();
            let messages = messages.into_iter().map(|(partition, parcel, _)| (partition, parcel)).collect();
            if inboxes.has_room(worker, bytes) {
                inboxes.push_sized(worker, Mail::Messages { from, messages }, bytes);
            } else {
                metrics.raft_dropped.inc_by(count(messages.len()));
            }
        }
        Ok(())
    }

    /// Receives one snapshot: a place, a worker's consent, the files, then the worker is given them.
    pub async fn receive_snapshot(
        self,
        voice: Voice,
        mut chunks: Received<SnapshotChunk>,
    ) -> Result<SnapshotAnswer, Status> {
        let Some(SnapshotChunk { part: Some(Part::Header(header)) }) = chunks.next().await.transpose()? else {
            return Err(Status::invalid_argument("a snapshot begins with its header"));
        };
        voice.speaks_for(NodeId(header.from_node))?;
        let Ok(_place) = self.receiving.try_acquire() else {
            return Ok(refused("this node receives as many snapshots as it can"));
        };
        let Some(_reception) = self.begin_reception(header.partition) else {
            return Ok(refused("another snapshot of the group is under way"));
        };
        match self.consent(&header).await? {
            Ok(Consent::Files) => (),
            Ok(Consent::MessageAlone) => return Ok(SnapshotAnswer { not_needed: true, ..refused("it has as much") }),
            Err(reason) => return Ok(refused(&reason)),
        }
        let folder = self.options.incoming.clone();
        let budget = Arc::clone(&self.options.budget);
        let mut incoming = blocking(move || Incoming::begin(&folder, header, &budget)).await?;
        let silent = |_elapsed| Status::deadline_exceeded("the sender of the snapshot is silent");
        while let Some(chunk) = timeout(CHUNK_PATIENCE, chunks.next()).await.map_err(silent)? {
            let Some(Part::Data(data)) = chunk?.part else {
                return Err(Status::invalid_argument("a snapshot has one header"));
            };
            self.options.room.spend(count(data.bytes.len()));
            if self.options.room.get() >= RoomState::Full {
                return Ok(refused("the disk is nearly full"));
            }
            incoming = blocking(move || incoming.write(&data).map(|()| incoming)).await?;
        }
        let received = blocking(move || incoming.finish()).await?;
        let partition = PartitionId(received.header().partition);
        let (taken, is_taken) = oneshot::channel();
        let mail = Mail::SnapshotReceived { received: Box::new(received), taken };
        self.options.inboxes.push(self.options.inboxes.of(partition), mail);
        if is_taken.await.is_err() {
            return Ok(refused("the replica does not want it any more"));
        }
        self.options.metrics.snapshots_received.inc();
        Ok(SnapshotAnswer { complete: true, ..SnapshotAnswer::default() })
    }

    fn begin_reception(&self, partition: u64) -> Option<Reception> {
        let is_first = self.under_way.lock().unwrap_or_else(PoisonError::into_inner).insert(partition);
        is_first.then(|| Reception { partition, under_way: Arc::clone(&self.under_way) })
    }

    async fn consent(&self, header: &SnapshotHeader) -> Result<Result<Consent, String>, Status> {
        let worker = self.options.inboxes.of(PartitionId(header.partition));
        let (reply, replied) = oneshot::channel();
        self.options.inboxes.push(worker, Mail::SnapshotOffered { header: Box::new(header.clone()), reply });
        replied.await.map_err(|_gone| Status::unavailable("the node is stopping"))
    }
}

fn refused(reason: &str) -> SnapshotAnswer {
    SnapshotAnswer { reason: reason.to_owned(), ..SnapshotAnswer::default() }
}

/// A snapshot's file work off the worker's thread; bounded by the number of snapshots received at once.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, crate::snapshot::SnapshotError> + Send + 'static,
) -> Result<T, Status> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| Status::data_loss(describe(&error))),
        Err(_) => Err(Status::internal("receiving the snapshot failed")),
    }
}

#[tonic::async_trait]
impl Raft for RaftService {
    type ExchangeStream = Pin<Box<dyn Stream<Item = Result<FrameAnswer, Status>> + Send>>;

    async fn exchange(&self, request: Request<Streaming<Frame>>) -> Result<Response<Self::ExchangeStream>, Status> {
        let (service, voice) = (self.clone(), Voice::of(&request));
        let frames = request.into_inner().boxed();
        let end = tokio::spawn(service.receive(voice, frames));
        let answers = stream::once(end).filter_map(|end| async move {
            match end {
                Ok(Err(status)) => Some(Err(status)),
                Ok(Ok(())) | Err(_) => None,
            }
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn send_snapshot(
        &self,
        request: Request<Streaming<SnapshotChunk>>,
    ) -> Result<Response<SnapshotAnswer>, Status> {
        let voice = Voice::of(&request);
        self.clone().receive_snapshot(voice, request.into_inner().boxed()).await.map(Response::new)
    }
}
