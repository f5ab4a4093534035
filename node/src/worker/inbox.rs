//! What reaches a worker from other threads and from its own connections: a locked vector and a waker. Only the push that
//! finds it empty wakes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use model::{NodeId, PartitionId, ReplicaId};
use replica::{Envelope, FetchRequest, SnapshotContent, eraftpb};
use tokio::sync::{Notify, oneshot};
use wire::data::Request;
use wire::raft::SnapshotHeader;

use crate::log::Done;
use crate::metrics::Metrics;
use crate::neighbours::News;
use crate::service::data::Connection;
use crate::snapshot::{Outgoing, Received};
use crate::transport::convert::Parcel;
use crate::worker::command::Command;

/// Most bytes of requests and messages that wait for one worker.
pub const INBOX_BYTES: usize = 64 << 20;

/// One thing for a worker.
pub enum Mail {
    Requests {
        connection: Arc<Connection>,
        received: Instant,
        requests: Vec<Request>,
    },
    Messages {
        from: NodeId,
        messages: Vec<(PartitionId, Parcel)>,
    },
    /// A stream to that node broke or could not be opened.
    Unreachable(NodeId),
    /// What is new of another node.
    Neighbour {
        node: NodeId,
        news: News,
    },
    Durable(Vec<Done>),
    /// Encoded attributes; an error if the disk failed to read or the pool is full.
    ItemRead {
        partition: PartitionId,
        ticket: u64,
        attributes: Result<Option<bytes::Bytes>, ReadFailed>,
    },
    Fetched {
        partition: PartitionId,
        request: FetchRequest,
        entries: Vec<eraftpb::Entry>,
    },
    /// The disk did not read what this group's log or items hold: a fetch of the log is tried again.
    ReadFailed {
        partition: PartitionId,
        again: Option<FetchRequest>,
    },
    /// What log or items hold of this group is not what was written: its replica goes on no more.
    Corrupt(PartitionId),
    /// What a crash cannot take back, by group, of the replica that was asked about: by now another may be in its place.
    Flushed(Vec<(PartitionId, ReplicaId, u64)>),
    /// The log wants to drop old files.
    FlushWanted,
    SnapshotBuilt {
        partition: PartitionId,
        to: ReplicaId,
        built: Option<Box<Built>>,
    },
    SnapshotSent {
        partition: PartitionId,
        /// The message that follows the files, if they arrived.
        message: Box<Envelope>,
        delivered: bool,
    },
    SnapshotOffered {
        header: Box<SnapshotHeader>,
        reply: oneshot::Sender<Result<Consent, String>>,
    },
    SnapshotReceived {
        received: Box<Received>,
        taken: oneshot::Sender<()>,
    },
    Installed {
        partition: PartitionId,
        index: u64,
    },
    /// The data of a retired replica is gone.
    Cleared(PartitionId),
    /// The disk had no room for that.
    NotCleared(PartitionId),
    /// What was left of a corrupt replica is gone; or it has to be tried again.
    Discarded {
        partition: PartitionId,
        discarded: bool,
    },
    /// The records of a new group stand.
    Born(Box<crate::worker::birth::Birth>),
    /// A split has been written, with the child's records.
    Child(Box<crate::worker::children::Delivery>),
    /// A replica was to go on alone.
    Recovered(Box<crate::worker::recovery::Recovery>),
    Command(Command),
}

/// What of an offered snapshot is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent {
    /// Its files, then its message.
    Files,
    /// The replica has as much already: the message tells its leader so.
    MessageAlone,
}

/// A built snapshot.
pub struct Built {
    pub outgoing: Arc<Outgoing>,
    pub content: SnapshotContent,
}

/// The read failed or could not be queued.
#[derive(Clone, Copy, Debug)]
pub struct ReadFailed;

/// One worker's inbox.
pub struct Inbox {
    state: Mutex<State>,
    notify: Notify,
    exit: AtomicBool,
}

#[derive(Default)]
struct State {
    mail: Vec<Mail>,
    bytes: usize,
}

impl Inbox {
    /// Everything that waits.
    pub fn take(&self) -> Vec<Mail> {
        let mut state = self.lock();
        state.bytes = 0;
        std::mem::take(&mut state.mail)
    }

    /// Returns when something was pushed since the last take; perhaps earlier.
    pub async fn wait(&self) {
        self.notify.notified().await;
    }

    /// The worker is to end now.
    pub fn exits(&self) -> bool {
        self.exit.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of an inbox's lock panics")
    }
}

/// The inboxes of all workers, and which group is whose.
#[derive(Clone)]
pub struct Inboxes {
    inboxes: Arc<[Inbox]>,
    metrics: Arc<Metrics>,
}

impl Inboxes {
    pub fn new(workers: usize, metrics: Arc<Metrics>) -> Inboxes {
        let inbox = || Inbox { state: Mutex::default(), notify: Notify::new(), exit: AtomicBool::new(false) };
        Inboxes { inboxes: (0..workers).map(|_| inbox()).collect(), metrics }
    }

    pub fn get(&self, worker: usize) -> &Inbox {
        &self.inboxes[worker]
    }

    pub fn workers(&self) -> std::ops::Range<usize> {
        0..self.inboxes.len()
    }

    /// The worker that owns a group: ids are random, so this is fair.
    pub fn of(&self, partition: PartitionId) -> usize {
        let workers = u64::try_from(self.inboxes.len()).expect("a count of threads fits");
        usize::try_from(partition.0 % workers).expect("less than a count of threads")
    }

    /// Things by the worker they are for.
    pub fn split<T>(&self, things: Vec<T>, partition: impl Fn(&T) -> PartitionId) -> Vec<(usize, Vec<T>)> {
        if things.is_empty() {
            return Vec::new();
        }
        if self.inboxes.len() == 1 {
            return vec![(0, things)];
        }
        let mut split: Vec<(usize, Vec<T>)> = self.workers().map(|worker| (worker, Vec::new())).collect();
        for thing in things {
            split[self.of(partition(&thing))].1.push(thing);
        }
        split.retain(|(_, things)| !things.is_empty());
        split
    }

    /// Pushes what must arrive.
    pub fn push(&self, worker: usize, mail: Mail) {
        self.push_sized(worker, mail, 0);
    }

    /// Whether the worker takes so many bytes more.
    pub fn has_room(&self, worker: usize, bytes: usize) -> bool {
        self.inboxes[worker].lock().bytes.saturating_add(bytes) <= INBOX_BYTES
    }

    /// Pushes what counts against the bound.
    pub fn push_sized(&self, worker: usize, mail: Mail, bytes: usize) {
        let inbox = &self.inboxes[worker];
        let was_empty = {
            let mut state = inbox.lock();
            state.bytes += bytes;
            state.mail.push(mail);
            state.mail.len() == 1
        };
        if was_empty {
            self.metrics.wakes.inc();
            inbox.notify.notify_one();
        }
    }

    /// All workers end now, whatever waits.
    pub fn exit(&self) {
        for inbox in self.inboxes.iter() {
            inbox.exit.store(true, Ordering::Release);
            inbox.notify.notify_one();
        }
    }
}
