//! The other nodes: one outbox and one outgoing stream each, opened when there is first something to say and kept open.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::{FutureExt, Stream, StreamExt, stream};
use model::NodeId;
use tokio::runtime::Handle;
use tokio::sync::watch;
use wire::raft::{Frame, Heartbeat, Message};

use crate::directory::{Directory, DirectoryEntry};
use crate::metrics::{Metrics, count};
use crate::room::{Room, RoomState};
use crate::transport::connector::{Connector, Frames, LinkError, Standing};
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
    links: Mutex<BTreeMap<NodeId, Arc<Link>>>,
}

/// To one other node.
struct Link {
    outbox: Arc<Outbox<Message>>,
    /// The newest alone is sent; a new stream begins with it.
    heartbeat: watch::Sender<Option<Heartbeat>>,
}

/// What becomes one frame.
enum Piece {
    Messages(Vec<Message>),
    Directory,
    Heartbeat(Heartbeat),
}

impl Links {
    pub fn new(options: LinksOptions) -> Links {
        Links { inner: Arc::new(Inner { options, links: Mutex::default() }) }
    }

    /// What waits to leave for that node; its stream is opened with the first call.
    pub fn outbox(&self, node: NodeId) -> Arc<Outbox<Message>> {
        Arc::clone(&self.link(node).outbox)
    }

    /// Leaves with the next frame of its own; where there is no stream, with the next one if none follows before.
    pub fn beat(&self, node: NodeId, heartbeat: Heartbeat) {
        self.link(node).heartbeat.send_replace(Some(heartbeat));
    }

    fn link(&self, node: NodeId) -> Arc<Link> {
        let mut links = self.inner.links.lock().expect("no holder of this lock panics");
        if let Some(link) = links.get(&node) {
            return Arc::clone(link);
        }
        let link = Arc::new(Link { outbox: Outbox::new(OUTBOX_BYTES), heartbeat: watch::Sender::new(None) });
        let runtimes = &self.inner.options.runtimes;
        let runtime = &runtimes[links.len() % runtimes.len()];
        links.insert(node, Arc::clone(&link));
        drop(runtime.spawn(keep_connected(Arc::clone(&self.inner), node, Arc::clone(&link))));
        link
    }

    pub fn connector(&self) -> &Connector {
        &self.inner.options.connector
    }

    pub fn directory(&self) -> &Arc<Directory> {
        &self.inner.options.directory
    }
}

/// For ever: connects, carries frames until the stream ends, tells, waits.
async fn keep_connected(inner: Arc<Inner>, node: NodeId, link: Arc<Link>) {
    let options = &inner.options;
    let mut news = options.directory.watch();
    let mut pause = FIRST_PAUSE;
    while !link.outbox.is_closed() {
        let entry = options.directory.entry(node);
        match connect(Arc::clone(&inner), node, entry, Arc::clone(&link)).await {
            Ok(standing) => {
                tracing::debug!(%node, "connected");
                let begun = Instant::now();
                let error = carry(&inner, node, &link, standing).await;
                tracing::debug!(%node, %error, "connection lost");
                // One that is refused as soon as it stands is no better than none.
                pause = if begun.elapsed() > LONGEST_PAUSE { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
            }
            Err(error) => {
                tracing::debug!(%node, %error, "cannot connect");
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
        link.outbox.down();
        (options.on_unreachable)(node);
        tokio::select! {
            () = tokio::time::sleep(pause) => (),
            changed = news.changed() => if changed.is_err() { return },
        }
    }
}

/// Until the stream is lost. Where it is better to connect anew, a new stream takes over once it stands, and the old one ends when
/// what it has taken has arrived.
async fn carry(inner: &Arc<Inner>, node: NodeId, link: &Arc<Link>, mut standing: Standing) -> LinkError {
    loop {
        tokio::select! {
            error = &mut standing.end => return error,
            () = &mut standing.loosened => tracing::debug!(%node, "connects anew"),
        }
        let entry = inner.options.directory.entry(node);
        match connect(Arc::clone(inner), node, entry, Arc::clone(link)).await {
            Ok(new) => drop(tokio::spawn(std::mem::replace(&mut standing, new).end)),
            Err(error) => {
                tracing::debug!(%node, %error, "cannot connect anew");
                standing.loosened = tokio::time::sleep(LONGEST_PAUSE).boxed();
            }
        }
    }
}

async fn connect(
    inner: Arc<Inner>,
    node: NodeId,
    entry: Option<DirectoryEntry>,
    link: Arc<Link>,
) -> Result<Standing, LinkError> {
    let entry = entry.ok_or_else(|| LinkError::Nobody(node.to_string()))?;
    let connector = inner.options.connector.clone();
    let frames = move || -> Frames { Box::pin(frames(&inner.options, node, &link)) };
    connector.exchange(entry.address, node, frames).boxed().await
}

/// Directory and heartbeat first, and again whenever they change; messages as they gather.
fn frames(options: &LinksOptions, node: NodeId, link: &Link) -> impl Stream<Item = Frame> + use<> {
    let Sender { node: from_node, start_number } = options.sender;
    let directory = Arc::clone(&options.directory);
    let metrics = Arc::clone(&options.metrics);
    let room = Arc::clone(&options.room);
    let empty = Frame { from_node: from_node.0, to_node: node.0, start_number, ..Default::default() };
    let messages = link.outbox.stream().map(Piece::Messages);
    let told = news(options.directory.watch()).map(|_version| Piece::Directory);
    let beats = news(link.heartbeat.subscribe()).filter_map(|beat| std::future::ready(beat.map(Piece::Heartbeat)));
    stream::select(messages, stream::select(told.boxed(), beats.boxed())).map(move |piece| {
        metrics.raft_frames_sent.inc();
        let empty = Frame { disk_full: room.get() >= RoomState::Full, ..empty.clone() };
        match piece {
            Piece::Messages(messages) => {
                metrics.raft_messages.inc_by(count(messages.len()));
                Frame { messages, ..empty }
            }
            Piece::Directory => {
                let directory = directory.entries().into_iter().map(wire::raft::DirectoryEntry::from).collect();
                Frame { directory, ..empty }
            }
            Piece::Heartbeat(heartbeat) => Frame { heartbeat: Some(heartbeat), ..empty },
        }
    })
}

/// What is there now, then every change; the newest alone where several came.
fn news<T: Clone + Send + Sync>(mut watched: watch::Receiver<T>) -> impl Stream<Item = T> {
    watched.mark_changed();
    stream::unfold(watched, |mut watched| async move {
        watched.changed().await.ok()?;
        let value = watched.borrow_and_update().clone();
        Some((value, watched))
    })
}
