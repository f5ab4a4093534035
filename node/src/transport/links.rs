//! The other nodes: one outbox and one outgoing stream each, opened when there is first something to say and kept open.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::{FutureExt, Stream, StreamExt, stream};
use model::NodeId;
use tokio::runtime::Handle;
use tokio::sync::watch;
use wire::raft::{Frame, Message};

use crate::directory::{Directory, DirectoryEntry};
use crate::metrics::{Metrics, count};
use crate::room::{Room, RoomState};
use crate::transport::connector::{Connector, LinkError};
use crate::transport::outbox::{OUTBOX_BYTES, Outbox};

/// The first and the longest pause between attempts to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Whose streams these are.
#[derive(Clone, Copy, Debug)]
pub struct Sender {
    pub node: NodeId,
    pub start_number: u64,
}

/// Told when a stream to a node broke or could not be opened.
pub type OnUnreachable = Arc<dyn Fn(NodeId) + Send + Sync>;

/// What all streams share.
pub struct LinksOptions {
    pub sender: Sender,
    pub directory: Arc<Directory>,
    pub connector: Connector,
    pub metrics: Arc<Metrics>,
    /// Told to the others with every frame.
    pub room: Arc<Room>,
    /// Where streams run: each on one of these.
    pub runtimes: Vec<Handle>,
    pub on_unreachable: OnUnreachable,
}

/// A handle.
#[derive(Clone)]
pub struct Links {
    inner: Arc<Inner>,
}

struct Inner {
    options: LinksOptions,
    outboxes: Mutex<BTreeMap<NodeId, Arc<Outbox<Message>>>>,
}

impl Links {
    pub fn new(options: LinksOptions) -> Links {
        Links { inner: Arc::new(Inner { options, outboxes: Mutex::default() }) }
    }

    /// What waits to leave for that node; its stream is opened with the first call.
    pub fn outbox(&self, node: NodeId) -> Arc<Outbox<Message>> {
        let mut outboxes = self.inner.outboxes.lock().expect("no holder of this lock panics");
        if let Some(outbox) = outboxes.get(&node) {
            return Arc::clone(outbox);
        }
        let outbox = Outbox::new(OUTBOX_BYTES);
        let runtimes = &self.inner.options.runtimes;
        let runtime = &runtimes[outboxes.len() % runtimes.len()];
        outboxes.insert(node, Arc::clone(&outbox));
        drop(runtime.spawn(keep_connected(Arc::clone(&self.inner), node, Arc::clone(&outbox))));
        outbox
    }

    pub fn connector(&self) -> &Connector {
        &self.inner.options.connector
    }

    pub fn directory(&self) -> &Arc<Directory> {
        &self.inner.options.directory
    }
}

/// For ever: connects, carries frames until the stream ends, tells, waits.
async fn keep_connected(inner: Arc<Inner>, node: NodeId, outbox: Arc<Outbox<Message>>) {
    let options = &inner.options;
    let mut news = options.directory.watch();
    let mut pause = FIRST_PAUSE;
    while !outbox.is_closed() {
        let entry = options.directory.entry(node);
        match connect(Arc::clone(&inner), node, entry, Arc::clone(&outbox)).await {
            Ok(end) => {
                tracing::debug!(%node, "connected");
                let begun = Instant::now();
                let error = end.await;
                tracing::debug!(%node, %error, "connection lost");
                // One that is refused as soon as it stands is no better than none.
                pause = if begun.elapsed() > LONGEST_PAUSE { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
            }
            Err(error) => {
                tracing::debug!(%node, %error, "cannot connect");
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
        outbox.down();
        (options.on_unreachable)(node);
        tokio::select! {
            () = tokio::time::sleep(pause) => (),
            changed = news.changed() => if changed.is_err() { return },
        }
    }
}

async fn connect(
    inner: Arc<Inner>,
    node: NodeId,
    entry: Option<DirectoryEntry>,
    outbox: Arc<Outbox<Message>>,
) -> Result<futures::future::BoxFuture<'static, LinkError>, LinkError> {
    let entry = entry.ok_or_else(|| LinkError::Nobody(node.to_string()))?;
    let frames = Box::pin(frames(&inner.options, node, &outbox));
    inner.options.connector.clone().exchange(entry.address, frames).boxed().await
}

/// The directory first, and again whenever it changes; messages as they gather.
fn frames(options: &LinksOptions, node: NodeId, outbox: &Arc<Outbox<Message>>) -> impl Stream<Item = Frame> + use<> {
    let Sender { node: from_node, start_number } = options.sender;
    let directory = Arc::clone(&options.directory);
    let metrics = Arc::clone(&options.metrics);
    let room = Arc::clone(&options.room);
    let mut news = options.directory.watch();
    news.mark_changed();
    let empty = Frame { from_node: from_node.0, to_node: node.0, start_number, ..Default::default() };
    let told = stream::unfold(news, |mut news: watch::Receiver<u64>| async move {
        news.changed().await.ok()?;
        Some((None, news))
    });
    stream::select(outbox.stream().map(Some), told.boxed()).map(move |messages| {
        metrics.raft_frames_sent.inc();
        let empty = Frame { disk_full: room.get() >= RoomState::Full, ..empty.clone() };
        match messages {
            Some(messages) => {
                metrics.raft_messages.inc_by(count(messages.len()));
                Frame { messages, ..empty }
            }
            None => {
                let directory = directory.entries().into_iter().map(wire::raft::DirectoryEntry::from).collect();
                Frame { directory, ..empty }
            }
        }
    })
}
