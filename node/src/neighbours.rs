//! The other nodes: whether they live, and what they told of themselves. The one owner of both.
//!
//! ```text
//!  every frame ─────► heard ─┐               ┌─► News, to every worker: silent, started anew, stopping, back
//!                            ├─► table ──────┼─► views, for placement
//!  worker 0's tick ─► tick ──┘               └─► whether a quorum has room for writes
//!  worker 0's tick ─► beat ──► links: heartbeats to the others
//! ```
//! Any frame is a sign of life; where nothing else travels, heartbeats do: every heartbeat interval to a node that shares a
//! group with this one, every second to the others. Time is counted in the worker's ticks: a process that was stopped for a
//! while blames nobody. Nothing here is about safety: who is wrongly thought silent costs elections and messages.

mod rhythm;
mod room;
mod table;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::{NodeId, PartitionDescriptor};
use placement::NodeView;
use tokio::sync::Notify;
use wire::raft::Heartbeat;

use crate::directory::Directory;
use crate::registry::Registry;
use crate::transport::Links;
use crate::worker::inbox::{Inboxes, Mail};

pub use rhythm::Rhythm;
use table::Table;
pub use table::{Heard, News, Told};

/// What it is made of.
pub struct NeighboursOptions {
    pub node: NodeId,
    pub directory: Arc<Directory>,
    pub inboxes: Inboxes,
    pub rhythm: Rhythm,
}

pub struct Neighbours {
    options: NeighboursOptions,
    table: Mutex<Table>,
    /// Somebody's disk is full: most of the time nobody's is, and nobody takes the lock then.
    any_full: AtomicBool,
    stopping: AtomicBool,
    /// Another node has heard that this one is stopping.
    stop_heard: Notify,
}

impl Neighbours {
    pub fn new(options: NeighboursOptions) -> Neighbours {
        let table = Mutex::new(Table::new(options.rhythm));
        let (any_full, stopping) = (AtomicBool::new(false), AtomicBool::new(false));
        Neighbours { options, table, any_full, stopping, stop_heard: Notify::new() }
    }

    /// A frame of that node has arrived. What it says of its node is known to the workers before what it brings.
    pub fn heard(&self, from: NodeId, heard: &Heard) {
        let mut table = self.lock();
        if let Some(news) = table.heard(from, heard) {
            self.tell(from, news);
        }
        self.any_full.store(table.any_full(), Ordering::Relaxed);
        drop(table);
        if heard.heartbeat.as_ref().is_some_and(|heartbeat| heartbeat.heard_stopping) {
            self.stop_heard.notify_waiters();
        }
    }

    /// One tick of the first worker: who has been silent for too long is.
    pub fn tick(&self, own: Told) {
        let mut table = self.lock();
        for (node, news) in table.tick(own) {
            self.tell(node, news);
        }
    }

    /// Heartbeats to whom they are due.
    pub fn beat(&self, links: &Links, registry: &Registry) {
        let others = self.options.directory.nodes().into_iter().filter(|node| *node != self.options.node);
        let mut table = self.lock();
        for node in others {
            let period = self.options.rhythm.period(registry.shares(node));
            if table.is_due(node, period) {
                links.beat(node, self.heartbeat(&table, node, period));
            }
        }
    }

    /// One heartbeat beside the rhythm.
    pub fn beat_now(&self, links: &Links, registry: &Registry, node: NodeId) {
        let period = self.options.rhythm.period(registry.shares(node));
        let heartbeat = self.heartbeat(&self.lock(), node, period);
        links.beat(node, heartbeat);
    }

    fn heartbeat(&self, table: &Table, node: NodeId, period: u64) -> Heartbeat {
        let Told { accepts_replicas, replicas, log_replicas, free_bytes } = table.own();
        Heartbeat {
            accepts_replicas,
            replicas,
            log_replicas,
            free_bytes,
            stopping: self.stopping.load(Ordering::Relaxed),
            next_within_ms: self.options.rhythm.within_ms(period),
            heard_stopping: table.is_stopping(node),
        }
    }

    /// Tells everybody that this node is about to stop, and waits until those who share a group with it, live and mean to go
    /// on have heard it; not for ever, since nobody's data depends on it.
    pub async fn stop(&self, links: &Links, registry: &Registry, patience: Duration) {
        self.stopping.store(true, Ordering::Relaxed);
        let nodes = self.options.directory.nodes().into_iter().filter(|node| *node != self.options.node);
        nodes.for_each(|node| self.beat_now(links, registry, node));
        let all_heard = async {
            loop {
                let mut heard = std::pin::pin!(self.stop_heard.notified());
                // Registered before the look, so that nothing falls between.
                heard.as_mut().enable();
                if !self.lock().awaits_word(|node| registry.shares(node)) {
                    return;
                }
                heard.await;
            }
        };
        if tokio::time::timeout(patience, all_heard).await.is_err() {
            tracing::info!("stops though not every other node has heard of it");
        }
    }

    /// Heard within the time it is given.
    pub fn is_alive(&self, node: NodeId) -> bool {
        self.lock().is_alive(node)
    }

    /// It has announced a planned stop and not started anew since.
    pub fn is_stopping(&self, node: NodeId) -> bool {
        self.lock().is_stopping(node)
    }

    /// All nodes as placement sees them, this one included.
    pub fn views(&self) -> Vec<NodeView> {
        let entries = self.options.directory.entries();
        let table = self.lock();
        let own = self.options.node;
        let stopping = self.stopping.load(Ordering::Relaxed);
        let view = |entry: crate::directory::DirectoryEntry| {
            let (told, fit) = match entry.node {
                node if node == own => (table.own(), !stopping),
                node => (table.told(node).unwrap_or_default(), table.is_alive(node) && !table.is_stopping(node)),
            };
            NodeView {
                id: entry.node,
                zone: entry.zone,
                accepts: fit && told.accepts_replicas,
                replicas: told.replicas,
                free_bytes: told.free_bytes,
            }
        };
        entries.into_iter().map(view).collect()
    }

    /// Whether a majority of the voters in two zones can take a write, as far as the others told of their disks.
    ///
    /// A leader proposes nothing that no quorum would take: what is refused before it is proposed is surely not applied, and
    /// told at once; what was proposed is unknown until there is room, and its client waits.
    pub fn leave_a_quorum(&self, descriptor: &PartitionDescriptor) -> bool {
        if !self.any_full.load(Ordering::Relaxed) {
            return true;
        }
        let table = self.lock();
        room::has_quorum(descriptor, |voter| !table.is_full(voter.node))
    }

    /// Under the table's lock, so that every worker hears the news in their order.
    fn tell(&self, node: NodeId, news: News) {
        tracing::info!(%node, ?news, "news of another node");
        for worker in self.options.inboxes.workers() {
            self.options.inboxes.push(worker, Mail::Neighbour { node, news });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
