//! The node's log: one raft-engine for all groups, written by one thread that syncs for all.
//!
//! ```text
//! workers ── jobs ──► writer thread: takes all that wait, one batch, one sync ── one list of completions per worker ──►
//!                     purge thread: never on the writer
//! ```
//! Group commit clocks itself: whatever arrived while the last sync ran is the next batch. A write or sync that fails
//! ends the process; one for which the disk has no room waits for it. Must not know what an entry says.

mod files;
mod format;
#[cfg(test)]
mod fuzz;
mod purge;
mod read;
mod recovery;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use model::{PartitionId, ReplicaId};
use replica::{Append, FetchRequest, LogStart, eraftpb};

use files::Syncs;
use purge::Purge;
use writer::{Engine, Queue, Queued, Shared, Start, Writer};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    pub dir: PathBuf,
    /// A file is full above this.
    pub file_bytes: u64,
    /// Above this the purge rewrites what old files still hold.
    pub purge_bytes: u64,
    /// Batches above this are compressed (LZ4).
    pub compress_above_bytes: u64,
    /// After this long without work, what need not be synced is written: the durable-through mark above all.
    pub lazy_after: Duration,
    /// Another log was here that could not be opened: whoever this one does not know may have voted here all the same.
    pub replaces_another: bool,
    /// For tests of what happens then: the sync of this number (from 1) after the start fails.
    pub fail_sync: Option<u64>,
}

impl LogOptions {
    /// Smaller where the disk is: a sixteenth of it, since half a gigabyte of log would leave a small one nothing for items.
    pub fn for_disk(dir: PathBuf, disk_bytes: u64) -> LogOptions {
        let usual = LogOptions::new(dir);
        let purge_bytes = (disk_bytes / 16).clamp(LEAST_PURGE_BYTES.min(usual.purge_bytes), usual.purge_bytes);
        LogOptions { purge_bytes, file_bytes: purge_bytes / 8, ..usual }
    }

    /// Sizes for a node: files of 64 MiB, half a gigabyte of them, batches above 8 KiB compressed.
    pub fn new(dir: PathBuf) -> LogOptions {
        LogOptions {
            dir,
            file_bytes: 64 << 20,
            purge_bytes: 512 << 20,
            compress_above_bytes: 8 << 10,
            lazy_after: Duration::from_millis(100),
            replaces_another: false,
            fail_sync: None,
        }
    }
}

/// A log below this is rewritten too often to be worth its bytes.
const LEAST_PURGE_BYTES: u64 = 16 << 20;

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
    /// A snapshot at this index is about to replace the group's items: a start that finds this begins that again. What it is
    /// begun from is in files of its own, or here (`snapshot::records`).
    Receiving { index: u64, manifest: Option<Bytes> },
    /// The snapshot is in the engine: the log begins anew after (index, term), the mark is gone.
    Received { index: u64, term: u64, hard_state: eraftpb::HardState },
    /// No replica of this group below this id is ever accepted here again. Before data is deleted.
    AcceptFrom { replica: ReplicaId },
    /// What stands in the log of it cannot be trusted: the group stays out from now on, until it is removed or begins anew.
    Corrupt,
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
    Corrupt,
    Remove,
}

/// Whom the log tells. Called on the log's threads: hand over and return.
pub trait LogListener: Send + Sync + 'static {
    fn durable(&self, worker: usize, done: Vec<Done>);
    /// Old files are held by these groups: flush the items, then truncate them.
    fn holds_old_files(&self, groups: Vec<PartitionId>);
    /// The disk has no room for what must be written: makes some if it can, and waits a moment. False if there will be none:
    /// the writer gives up, and what waits for it is never durable.
    fn await_room(&self) -> bool;
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
    #[error("the log in {dir} has lost the key of its marks")]
    LostKey { dir: PathBuf },
    #[error("cannot read the log of partition {partition}")]
    Read {
        partition: PartitionId,
        #[source]
        source: raft_engine::Error,
    },
    #[error("entry {index} of partition {partition} does not have its checksum")]
    Checksum { partition: PartitionId, index: u64 },
    #[error("the log of partition {partition} contradicts itself at entry {index}")]
    Contradiction { partition: PartitionId, index: u64 },
    #[error("a record of partition {partition} in the log is malformed")]
    Record { partition: PartitionId },
    #[error("the record of partition {partition} in the log is malformed")]
    Decode {
        partition: PartitionId,
        #[source]
        source: model::codec::DecodeError,
    },
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

impl LogError {
    /// What stands there is not what was written: to read it again does not help. A disk that does not read now is something else.
    pub fn is_corrupt(&self) -> bool {
        match self {
            LogError::Open { source, .. } | LogError::Read { source, .. } => is_corrupt(source),
            LogError::Corrupt { .. }
            | LogError::LostKey { .. }
            | LogError::Checksum { .. }
            | LogError::Contradiction { .. }
            | LogError::Record { .. }
            | LogError::Decode { .. } => true,
            LogError::Missing { .. } | LogError::Io { .. } => false,
        }
    }
}

fn is_corrupt(error: &raft_engine::Error) -> bool {
    match error {
        raft_engine::Error::Corruption(_) | raft_engine::Error::Codec(_) | raft_engine::Error::Protobuf(_) => true,
        // A file that ends before what was synced into it.
        raft_engine::Error::Io(error) => error.kind() == std::io::ErrorKind::UnexpectedEof,
        raft_engine::Error::InvalidArgument(_)
        | raft_engine::Error::TryAgain(_)
        | raft_engine::Error::EntryCompacted
        | raft_engine::Error::EntryNotFound
        | raft_engine::Error::Full
        | raft_engine::Error::Other(_) => false,
    }
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
    /// What stands in the log of it cannot be trusted: it stays out.
    pub corrupt: bool,
}

impl LogGroup {
    /// A group that the log does not know.
    pub fn unknown(partition: PartitionId) -> LogGroup {
        LogGroup { partition, accept_from: ReplicaId(0), exists: false, receiving: None, corrupt: false }
    }
}

/// The open log; cloned for every room that hands it jobs.
#[derive(Clone)]
pub struct Log {
    inner: Arc<Inner>,
}

struct Inner {
    /// Of all logs that this process has opened.
    number: u64,
    engine: Arc<Engine>,
    queue: Arc<Queue>,
    purge: Arc<Purge>,
    shared: Arc<Shared>,
    syncs: Arc<Syncs>,
    /// Groups whose tail was uncertain when the log was opened.
    uncertain: BTreeSet<PartitionId>,
    /// What was cut off may have been all there was of a group.
    end: recovery::End,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogCounters {
    pub batches: u64,
    pub syncs: u64,
    pub jobs: u64,
    pub bytes: u64,
}

impl Log {
    /// Opens or creates it and starts its threads. A bad tail at or below the durable mark is an error; beyond it, every
    /// group is told that its tail is uncertain.
    pub fn open(options: LogOptions, listener: Arc<dyn LogListener>) -> Result<Log, LogError> {
        let syncs = Arc::new(Syncs::default());
        let gave_up = Arc::new(AtomicBool::new(false));
        let (told, closing) = (Arc::clone(&listener), Arc::clone(&gave_up));
        let await_room: files::AwaitRoom = Arc::new(move || {
            let again = told.await_room();
            closing.fetch_or(!again, Ordering::Relaxed);
            again
        });
        let recovery::Opened { engine, end, key } = recovery::open(&options, &syncs, &await_room)?;
        let end = if options.replaces_another { recovery::End::Uncertain } else { end };
        let engine = Arc::new(engine);
        let node = read::node_records(&engine);
        let tails = read::tails(&engine);
        let known = recovery::Known { tails: &tails, records: &node };
        let uncertain = recovery::settle(&engine, &options, end, &known)?;
        let shared = Arc::new(Shared::default());
        *shared.accept_from.lock().unwrap_or_else(PoisonError::into_inner) = node.accept_from;
        if let Some(number) = options.fail_sync {
            syncs.fail_at(number);
        }
        let mark = recovery::read_mark(&engine, key);
        let start = Start { tails, end, mark, key, lazy_after: options.lazy_after, uncertain, gave_up };
        let inner = Inner {
            number: read::next_number(),
            queue: Arc::default(),
            end,
            purge: Arc::new(Purge::new(options.file_bytes / 2)),
            uncertain: start.uncertain.keys().copied().collect(),
            threads: Mutex::default(),
            engine,
            shared,
            syncs,
        };
        inner.start(listener, start)?;
        Ok(Log { inner: Arc::new(inner) })
    }

    /// The groups that can be made out in a log that does not open, which stays as it is.
    pub fn made_out(options: &LogOptions) -> Result<Vec<LogGroup>, LogError> {
        recovery::made_out(options)
    }

    /// Every group with a log or an id to keep, by id. Before the groups have jobs.
    pub fn groups(&self) -> Vec<LogGroup> {
        let accept_from = self.inner.shared.accept_from.lock().unwrap_or_else(PoisonError::into_inner);
        read::groups(&self.inner.engine, &accept_from)
    }

    /// What a replica starts from; `applied` is the engine's mark. An empty log for a group that has none.
    pub fn start_of(&self, partition: PartitionId, applied: u64) -> Result<LogStart, LogError> {
        let Inner { engine, purge, .. } = self.inner.as_ref();
        let mut start = read::apart(self.inner.number, || read::start_of(engine, purge, partition, applied))?;
        start.tail_uncertain = self.doubts(partition);
        Ok(start)
    }

    /// What a replica starts from that nobody here knows of. It may have voted all the same, if the log has lost its end:
    /// `Work::AcceptFrom` keeps that for later starts.
    pub fn empty_start(&self, partition: PartitionId) -> LogStart {
        LogStart { tail_uncertain: self.doubts(partition), ..LogStart::default() }
    }

    fn doubts(&self, partition: PartitionId) -> bool {
        self.inner.end == recovery::End::Uncertain || self.inner.uncertain.contains(&partition)
    }

    /// Entries read back, at least one, up to the request's bytes. Reads the disk: for a pool, not a worker.
    pub fn fetch(&self, partition: PartitionId, request: &FetchRequest) -> Result<Vec<eraftpb::Entry>, LogError> {
        let FetchRequest { low, high, max_bytes, to: _ } = request;
        let Inner { engine, purge, .. } = self.inner.as_ref();
        read::apart(self.inner.number, || read::fetch(engine, purge, partition, *low..*high, *max_bytes))
    }

    /// Hands jobs over, in order; they are told to the listener when durable. Answers the bytes of their entries.
    pub fn submit(&self, jobs: Vec<Job>) -> u64 {
        let bytes = writer::bytes_of(&jobs);
        self.inner.queue.push(jobs.into_iter().map(|job| Queued { job, waiter: None }), bytes);
        bytes
    }

    /// Does one thing and waits until it is durable; the listener hears nothing of it. False if the log is closed.
    pub fn run(&self, partition: PartitionId, work: Work) -> bool {
        let (done, wait) = mpsc::sync_channel(1);
        let job = Job { worker: 0, partition, work };
        let bytes = writer::bytes_of(std::slice::from_ref(&job));
        self.inner.queue.push([Queued { job, waiter: Some(done) }], bytes);
        wait.recv().is_ok()
    }

    /// Does all of it, with one sync where it fits one batch, and waits until it is durable. False if the log is closed.
    pub fn run_all(&self, works: Vec<(PartitionId, Work)>) -> bool {
        let (done, wait) = mpsc::sync_channel(works.len());
        let count = works.len();
        let jobs: Vec<Job> = works.into_iter().map(|(partition, work)| Job { worker: 0, partition, work }).collect();
        let bytes = writer::bytes_of(&jobs);
        let queued = |job| Queued { job, waiter: Some(done.clone()) };
        self.inner.queue.push(jobs.into_iter().map(queued), bytes);
        drop(done);
        wait.iter().take(count).count() == count
    }

    /// What the log keeps of the snapshot that was being installed, where that is in no files. Before the groups have jobs.
    pub fn receiving_manifest(&self, partition: PartitionId) -> Option<Bytes> {
        read::receiving_manifest(&self.inner.engine, partition)
    }

    /// The lowest replica id accepted of this group; 0 if any.
    pub fn accept_from(&self, partition: PartitionId) -> ReplicaId {
        let accept_from = self.inner.shared.accept_from.lock().unwrap_or_else(PoisonError::into_inner);
        accept_from.get(&partition).copied().unwrap_or_default()
    }

    /// As if the disk did not read, so many times from now on.
    #[cfg(test)]
    pub fn fail_reads(&self, number: u64) {
        self.inner.syncs.fail_reads(number);
    }

    /// Counters since the start.
    pub fn counters(&self) -> LogCounters {
        let Shared { accept_from: _, batches, jobs, bytes } = self.inner.shared.as_ref();
        LogCounters {
            batches: batches.load(Ordering::Relaxed),
            syncs: self.inner.syncs.count(),
            jobs: jobs.load(Ordering::Relaxed),
            bytes: bytes.load(Ordering::Relaxed),
        }
    }

    /// Bytes of entries that wait for the writer, or that it is writing.
    pub fn unwritten_bytes(&self) -> u64 {
        self.inner.queue.unwritten_bytes()
    }

    /// Removes old files now if there are more than the log is to have.
    pub fn purge(&self) {
        self.inner.purge.wake();
    }

    /// Bytes of the log's files.
    pub fn disk_bytes(&self) -> u64 {
        u64::try_from(self.inner.engine.get_used_size()).unwrap_or(u64::MAX)
    }

    /// Writes what waits, syncs, and ends the threads. Jobs after that are dropped.
    pub fn close(&self) {
        self.inner.close();
    }
}

impl Inner {
    fn start(&self, listener: Arc<dyn LogListener>, start: Start) -> Result<(), LogError> {
        let writer = Writer::new(
            Arc::clone(&self.engine),
            Arc::clone(&self.queue),
            Arc::clone(&self.purge),
            Arc::clone(&self.shared),
            Arc::clone(&listener),
            start,
        );
        let (purge, engine) = (Arc::clone(&self.purge), Arc::clone(&self.engine));
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.push(self.spawn("log-writer", move || writer.run())?);
        threads.push(self.spawn("log-purge", move || purge.run(&engine, listener.as_ref()))?);
        Ok(())
    }

    fn spawn(&self, name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, LogError> {
        let spawned = thread::Builder::new().name(name.to_owned()).spawn(body);
        spawned.map_err(|source| LogError::Io { verb: "start a thread for", path: self.engine.path().into(), source })
    }

    fn close(&self) {
        self.queue.close();
        self.purge.close();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A thread that panicked has aborted the process.
            thread.join().ok();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}
