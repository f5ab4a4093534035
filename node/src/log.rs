//! The node's log: one raft-engine for all groups, written by one thread that syncs for all.
//!
//! ```text
//! workers ── jobs ──► writer thread: takes all that wait, one batch, one sync ── one list of completions per worker ──►
//!                     purge thread: never on the writer
//! ```
//! Group commit clocks itself: whatever arrived while the last sync ran is the next batch. A write or sync that fails
//! ends the process. Must not know what an entry says.

use std::path::PathBuf;
use std::sync::Arc;

use model::{PartitionId, ReplicaId};
use replica::{Append, FetchRequest, LogStart, eraftpb};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    pub dir: PathBuf,
    pub file_bytes: u64,
    /// Above this the purge rewrites what old files still hold.
    pub purge_bytes: u64,
    /// Batches above this are compressed (LZ4).
    pub compress_above_bytes: u64,
    /// For tests of what happens then: the sync of this number (from 1) after the start fails.
    pub fail_sync: Option<u64>,
}

/// One thing to do for one group.
#[derive(Debug)]
pub struct Job {
    /// Who is told when it is durable.
    pub worker: usize,
    pub partition: PartitionId,
    pub work: Work,
}

#[derive(Debug)]
pub enum Work {
    /// Not synced by itself unless it must be; told in order with the others either way.
    Append(Append),
    /// Entries up to and including this index are no longer needed. Rides along with the next batch.
    Truncate { upto: u64 },
    /// A new group: its log begins after (index, term).
    Birth { index: u64, term: u64, hard_state: eraftpb::HardState },
    /// A snapshot at this index is about to replace the group's items: a start that finds this begins that again.
    Receiving { index: u64 },
    /// The snapshot is in the engine: the log begins anew after (index, term), the mark is gone.
    Received { index: u64, term: u64, hard_state: eraftpb::HardState },
    /// No replica of this group below this id is ever accepted here again. Before data is deleted.
    AcceptFrom { replica: ReplicaId },
    /// The group's log is gone; the lowest accepted replica id stays.
    Remove,
}

/// What has become durable. Completions of one group come in the order of its jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    pub partition: PartitionId,
    pub what: DoneWhat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoneWhat {
    /// `Input::Persisted`.
    Append {
        number: u64,
    },
    Truncate {
        upto: u64,
    },
    Birth,
    Receiving,
    Received {
        index: u64,
    },
    AcceptFrom,
    Remove,
}

/// Whom the log tells. Called on the log's threads: hand over and return.
pub trait LogListener: Send + Sync + 'static {
    fn durable(&self, worker: usize, done: Vec<Done>);
    /// Old files are held by these groups: flush the items, then truncate them.
    fn holds_old_files(&self, groups: Vec<PartitionId>);
}

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("cannot open the log in {dir}")]
    Open {
        dir: PathBuf,
        #[source]
        source: raft_engine::Error,
    },
    #[error(
        "the log in {dir} lost what was durable: batch {durable} was synced, batch {readable} is the last readable one"
    )]
    Corrupt { dir: PathBuf, durable: u64, readable: u64 },
    #[error("cannot read the log of partition {partition}")]
    Read {
        partition: PartitionId,
        #[source]
        source: raft_engine::Error,
    },
    #[error("entry {index} of partition {partition} does not have its checksum")]
    Checksum { partition: PartitionId, index: u64 },
    #[error("entries {low}..{high} of partition {partition} are not in the log")]
    Missing { partition: PartitionId, low: u64, high: u64 },
    #[error("cannot {verb} {path}")]
    Io {
        verb: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// What the log knows of a group when it is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogGroup {
    pub partition: PartitionId,
    /// The lowest replica id accepted here; 0 if any.
    pub accept_from: ReplicaId,
    /// Whether there is a log, beside that id.
    pub exists: bool,
    /// A snapshot at this index was being installed: the group's items are nothing to start from.
    pub receiving: Option<u64>,
}

/// The open log; cloned for every room that hands it jobs.
#[derive(Clone)]
pub struct Log {
    _inner: Arc<()>,
}

impl Log {
    /// Opens or creates it and starts its threads. A bad tail at or below the durable mark is an error; beyond it, every
    /// group is told that its tail is uncertain.
    pub fn open(_options: LogOptions, _listener: Arc<dyn LogListener>) -> Result<Log, LogError> {
        unimplemented!()
    }

    /// Every group with a log or an id to keep, by id.
    pub fn groups(&self) -> Vec<LogGroup> {
        unimplemented!()
    }

    /// What a replica starts from; `applied` is the engine's mark. An empty log for a group that has none.
    pub fn start_of(&self, _partition: PartitionId, _applied: u64) -> Result<LogStart, LogError> {
        unimplemented!()
    }

    /// Entries read back, at least one, up to the request's bytes. Reads the disk: for a pool, not a worker.
    pub fn fetch(&self, _partition: PartitionId, _request: &FetchRequest) -> Result<Vec<eraftpb::Entry>, LogError> {
        unimplemented!()
    }

    /// Hands jobs over, in order; they are told to the listener when durable.
    pub fn submit(&self, _jobs: Vec<Job>) {
        unimplemented!()
    }

    /// Does one thing and waits until it is durable; the listener hears nothing of it.
    pub fn run(&self, _partition: PartitionId, _work: Work) {
        unimplemented!()
    }

    /// The lowest replica id accepted of this group; 0 if any.
    pub fn accept_from(&self, _partition: PartitionId) -> ReplicaId {
        unimplemented!()
    }

    /// Counters since the start.
    pub fn counters(&self) -> LogCounters {
        unimplemented!()
    }

    /// Writes what waits, syncs, and ends the threads. Jobs after that are dropped.
    pub fn close(&self) {
        unimplemented!()
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogCounters {
    pub batches: u64,
    pub syncs: u64,
    pub jobs: u64,
    pub bytes: u64,
}
