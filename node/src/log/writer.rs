//! The writer thread: takes every job that waits, writes one batch, syncs once, tells each worker once.
//!
//! What need not be synced (a commit index, a truncation) waits in the batch for the next sync, or for a moment without
//! work. A write that fails ends the process: what is on the disk is unknown then. Where the disk has no room, it waits
//! (`files`); if there will be none, the writer ends: what it held was never told to anybody.

use std::collections::{BTreeMap, HashMap};
use std::mem;
use std::process;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use model::{PartitionId, ReplicaId};
use raft_engine::{Command, LogBatch, MessageExt};
use replica::state::{BIRTH_INDEX, BIRTH_TERM};
use replica::{Append, eraftpb};

use super::files::{WatchedFiles, is_no_room};
use super::format::{self, LOG_GROUP, Mark, MarkKey, Tail};
use super::purge::Purge;
use super::recovery::End;
use super::{Done, DoneWhat, Job, LogListener, Work};

pub type Engine = raft_engine::Engine<WatchedFiles>;

/// A batch above this is written before the rest of what waits, so that one sync never takes long.
const BATCH_BYTES: usize = 16 << 20;

/// How raft-engine finds an entry's index.
pub struct EntryExt;

impl MessageExt for EntryExt {
    type Entry = eraftpb::Entry;

    fn index(entry: &eraftpb::Entry) -> u64 {
        entry.index
    }
}

pub struct Queued {
    pub job: Job,
    /// Told instead of the listener.
    pub waiter: Option<SyncSender<()>>,
}

/// Jobs that wait for the writer.
#[derive(Default)]
pub struct Queue {
    waiting: Mutex<Waiting>,
    wake: Condvar,
    /// Of what waits, and of what was taken and is not written yet.
    unwritten_bytes: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    jobs: Vec<Queued>,
    /// Of the entries in them.
    bytes: u64,
    closed: bool,
}

enum Taken {
    Jobs { bytes: u64 },
    Idle,
    Closed,
}

impl Queue {
    /// `bytes` is what [`bytes_of`] says of the jobs.
    pub fn push(&self, jobs: impl IntoIterator<Item = Queued>, bytes: u64) {
        let mut waiting = self.lock();
        if waiting.closed {
            return;
        }
        let was_empty = waiting.jobs.is_empty();
        waiting.jobs.extend(jobs);
        waiting.bytes += bytes;
        self.unwritten_bytes.fetch_add(bytes, Ordering::Relaxed);
        if was_empty && !waiting.jobs.is_empty() {
            self.wake.notify_one();
        }
    }

    pub fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_all();
    }

    pub fn unwritten_bytes(&self) -> u64 {
        self.unwritten_bytes.load(Ordering::Relaxed)
    }

    fn written(&self, bytes: u64) {
        self.unwritten_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Nobody writes what waits: who waits for it is told by its being dropped.
    fn abandon(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        waiting.jobs.clear();
        waiting.bytes = 0;
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves everything that waits into `jobs`; with `idle` it gives up after that long.
    fn take(&self, jobs: &mut Vec<Queued>, idle: Option<Duration>) -> Taken {
        let mut waiting = self.lock();
        while waiting.jobs.is_empty() {
            if waiting.closed {
                return Taken::Closed;
            }
            let Some(idle) = idle else {
                waiting = self.wake.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let (back, timeout) = self.wake.wait_timeout(waiting, idle).unwrap_or_else(PoisonError::into_inner);
            waiting = back;
            if timeout.timed_out() && waiting.jobs.is_empty() && !waiting.closed {
                return Taken::Idle;
            }
        }
        mem::swap(jobs, &mut waiting.jobs);
        Taken::Jobs { bytes: mem::take(&mut waiting.bytes) }
    }
}

/// Only entries are worth counting.
pub fn bytes_of(jobs: &[Job]) -> u64 {
    let entries = jobs.iter().filter_map(|job| match &job.work {
        Work::Append(append) => Some(&append.entries),
        Work::Truncate { .. }
        | Work::Birth { .. }
        | Work::Receiving { .. }
        | Work::Received { .. }
        | Work::AcceptFrom { .. }
        | Work::Corrupt
        | Work::Remove => None,
    });
    let bytes = entries.flatten().map(|entry| entry.data.len() + entry.context.len()).sum::<usize>();
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// What others may ask while the writer runs.
#[derive(Default)]
pub struct Shared {
    pub accept_from: Mutex<BTreeMap<PartitionId, ReplicaId>>,
    pub batches: AtomicU64,
    pub jobs: AtomicU64,
    pub bytes: AtomicU64,
}

/// A thread that dies takes the process with it: nobody else would write the log.
pub struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            process::abort();
        }
    }
}

/// What a group's uncertain tail waits for: a vote in a later term, by a replica that has what it may have lost.
pub type Uncertain = HashMap<PartitionId, eraftpb::HardState>;

/// What the log held when it was opened.
pub struct Start {
    pub tails: HashMap<PartitionId, Tail>,
    pub uncertain: Uncertain,
    pub end: End,
    pub mark: Mark,
    pub key: MarkKey,
    pub lazy_after: Duration,
    /// The listener has said that there will be no room.
    pub gave_up: Arc<AtomicBool>,
}

pub struct Writer {
    engine: Arc<Engine>,
    queue: Arc<Queue>,
    purge: Arc<Purge>,
    shared: Arc<Shared>,
    listener: Arc<dyn LogListener>,
    start: Start,
    batch: LogBatch,
    told: Told,
    /// The mark of the last sync is not in the log yet, or the batch holds what need not be synced.
    unwritten: bool,
}

#[derive(Default)]
struct Told {
    workers: Vec<Vec<Done>>,
    waiters: Vec<SyncSender<()>>,
    accept_from: Vec<(PartitionId, ReplicaId)>,
}

impl Writer {
    pub fn new(
        engine: Arc<Engine>,
        queue: Arc<Queue>,
        purge: Arc<Purge>,
        shared: Arc<Shared>,
        listener: Arc<dyn LogListener>,
        start: Start,
    ) -> Writer {
        let (batch, told) = (LogBatch::default(), Told::default());
        Writer { engine, queue, purge, shared, listener, start, batch, told, unwritten: false }
    }

    pub fn run(mut self) {
        let _abort = AbortOnPanic;
        if self.work().is_err() {
            tracing::warn!("the log ends without room for what it held last");
            self.queue.abandon();
        }
    }

    fn work(&mut self) -> Result<(), GaveUp> {
        let queue = Arc::clone(&self.queue);
        let mut jobs = Vec::new();
        loop {
            let idle = self.unwritten.then_some(self.start.lazy_after);
            match queue.take(&mut jobs, idle) {
                Taken::Jobs { bytes } => {
                    self.process(&mut jobs)?;
                    queue.written(bytes);
                }
                // Files may be deleted for what a batch overwrites or truncates: only a mark goes without a sync.
                Taken::Idle if self.batch.is_empty() => self.write(Sync::No)?,
                Taken::Idle => self.write(Sync::Yes)?,
                Taken::Closed if self.unwritten => return self.write(Sync::Yes),
                Taken::Closed => return Ok(()),
            }
        }
    }

    fn process(&mut self, jobs: &mut Vec<Queued>) -> Result<(), GaveUp> {
        self.shared.jobs.fetch_add(u64::try_from(jobs.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
        let mut must_sync = false;
        for Queued { job, waiter } in jobs.drain(..) {
            must_sync |= self.add(job, waiter);
            if self.batch.approximate_size() > BATCH_BYTES {
                self.write(Sync::Yes)?;
                self.tell();
                must_sync = false;
            }
        }
        if must_sync {
            self.write(Sync::Yes)?;
        }
        self.tell();
        Ok(())
    }

    /// Whether it must be synced before it is told.
    fn add(&mut self, job: Job, waiter: Option<SyncSender<()>>) -> bool {
        let Job { worker, partition, work } = job;
        assert_ne!(partition.0, LOG_GROUP, "no partition has the log's own group id");
        self.unwritten = true;
        let (what, must_sync) = match work {
            Work::Append(append) => self.add_append(partition, append),
            Work::Truncate { upto } => {
                self.add_truncate(partition, upto);
                (DoneWhat::Truncate { upto }, false)
            }
            Work::Birth { index, term, hard_state } => {
                self.begin_anew(partition, Tail::new(index, term), &hard_state);
                (DoneWhat::Birth, true)
            }
            Work::Receiving { index, manifest } => {
                let mark = format::encode_receiving(index, manifest.as_deref());
                self.put(partition.0, format::RECEIVING.to_vec(), mark);
                (DoneWhat::Receiving, true)
            }
            Work::Received { index, term, hard_state } => {
                self.begin_anew(partition, Tail::new(index, term), &hard_state);
                (DoneWhat::Received { index }, true)
            }
            Work::AcceptFrom { replica } => {
                self.put(LOG_GROUP, format::accept_from_key(partition), format::encode_u64(replica.0));
                self.told.accept_from.push((partition, replica));
                self.doubt_unknown(partition);
                (DoneWhat::AcceptFrom, true)
            }
            Work::Corrupt => {
                self.put(LOG_GROUP, format::corrupt_key(partition), vec![1]);
                (DoneWhat::Corrupt, true)
            }
            Work::Remove => {
                self.batch.add_command(partition.0, Command::Clean);
                self.batch.delete(LOG_GROUP, format::corrupt_key(partition));
                self.settle(partition);
                self.start.tails.remove(&partition);
                (DoneWhat::Remove, true)
            }
        };
        match waiter {
            Some(waiter) => self.told.waiters.push(waiter),
            None => self.told.add(worker, Done { partition, what }),
        }
        must_sync
    }

    fn add_append(&mut self, partition: PartitionId, append: Append) -> (DoneWhat, bool) {
        let Append { number, mut entries, hard_state, must_sync, doubted } = append;
        entries.iter_mut().for_each(format::seal);
        let tail = self.start.tails.entry(partition).or_default();
        if *tail == Tail::default() && !entries.is_empty() {
            // Records of a birth stand in the engine, and a crash came before `Work::Birth`.
            *tail = Tail::new(BIRTH_INDEX, BIRTH_TERM);
        }
        let record = tail.append(&entries).then(|| tail.encode());
        self.batch
            .add_entries::<EntryExt>(partition.0, &entries)
            .expect("a batch is written long before it holds 2 GiB");
        if let Some(record) = record {
            self.put(partition.0, format::TAIL.to_vec(), record);
        }
        if let Some(hard_state) = &hard_state {
            self.put_hard_state(partition, hard_state);
            let voted = |old: &eraftpb::HardState| hard_state.vote != 0 && hard_state.term > old.term;
            if !doubted && self.start.uncertain.get(&partition).is_some_and(voted) {
                self.settle(partition);
            }
        }
        (DoneWhat::Append { number }, must_sync || !entries.is_empty())
    }

    fn add_truncate(&mut self, partition: PartitionId, upto: u64) {
        let Some(tail) = self.start.tails.get_mut(&partition) else { return };
        if !tail.truncate(upto) {
            return;
        }
        let (index, record) = (tail.truncated_index + 1, tail.encode());
        self.batch.add_command(partition.0, Command::Compact { index });
        self.put(partition.0, format::TAIL.to_vec(), record);
    }

    /// Everything the group had in the log is gone, with the mark of a snapshot and what was wrong with it.
    fn begin_anew(&mut self, partition: PartitionId, tail: Tail, hard_state: &eraftpb::HardState) {
        self.batch.add_command(partition.0, Command::Clean);
        self.batch.delete(LOG_GROUP, format::corrupt_key(partition));
        self.put(partition.0, format::TAIL.to_vec(), tail.encode());
        self.put_hard_state(partition, hard_state);
        if let Some(voted) = self.start.uncertain.get_mut(&partition) {
            voted.clone_from(hard_state);
        }
        self.start.tails.insert(partition, tail);
    }

    /// A group without a log may have lost it with the log's end, and a vote with it.
    fn doubt_unknown(&mut self, partition: PartitionId) {
        let unknown = !self.start.tails.contains_key(&partition) && !self.start.uncertain.contains_key(&partition);
        if self.start.end == End::Uncertain && unknown {
            self.put(LOG_GROUP, format::uncertain_key(partition), vec![1]);
            self.start.uncertain.insert(partition, eraftpb::HardState::default());
        }
    }

    fn settle(&mut self, partition: PartitionId) {
        if self.start.uncertain.remove(&partition).is_some() {
            self.batch.delete(LOG_GROUP, format::uncertain_key(partition));
        }
    }

    fn put(&mut self, group: u64, key: Vec<u8>, value: Vec<u8>) {
        self.batch.put(group, key, value).expect("our keys do not begin as raft-engine's own do");
    }

    fn put_hard_state(&mut self, partition: PartitionId, hard_state: &eraftpb::HardState) {
        self.batch
            .put_message(partition.0, format::HARD_STATE.to_vec(), hard_state)
            .expect("a hard state of three integers encodes");
    }

    fn write(&mut self, sync: Sync) -> Result<(), GaveUp> {
        self.start.mark.number += 1;
        self.put(LOG_GROUP, format::MARK.to_vec(), self.start.mark.encode(self.start.key));
        let sync = sync == Sync::Yes;
        let bytes = match self.engine.write(&mut self.batch, sync) {
            Ok(bytes) => u64::try_from(bytes).unwrap_or(u64::MAX),
            Err(error) if lacks_room(&error) && self.start.gave_up.load(Ordering::Relaxed) => return Err(GaveUp),
            Err(error) => {
                tracing::error!(%error, "the log cannot be written");
                process::abort();
            }
        };
        if sync {
            self.start.mark.durable = self.start.mark.number;
        }
        // After a sync its mark waits for the next batch; after an unsynced write nothing waits.
        self.unwritten = sync;
        self.purge.written(bytes);
        self.shared.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.shared.batches.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn tell(&mut self) {
        for (partition, replica) in self.told.accept_from.drain(..) {
            let mut accept_from = self.shared.accept_from.lock().unwrap_or_else(PoisonError::into_inner);
            accept_from.insert(partition, replica);
        }
        for (worker, done) in self.told.workers.iter_mut().enumerate() {
            if !done.is_empty() {
                self.listener.durable(worker, mem::take(done));
            }
        }
        for waiter in self.told.waiters.drain(..) {
            // One who no longer waits need not be told.
            waiter.send(()).ok();
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sync {
    Yes,
    No,
}

/// The listener has said that there will be no room.
struct GaveUp;

/// raft-engine's word for a second attempt that failed for want of room is "try again".
fn lacks_room(error: &raft_engine::Error) -> bool {
    match error {
        raft_engine::Error::Io(error) => is_no_room(error),
        other => matches!(other, raft_engine::Error::TryAgain(_)),
    }
}

impl Told {
    fn add(&mut self, worker: usize, done: Done) {
        if self.workers.len() <= worker {
            self.workers.resize_with(worker + 1, Vec::new);
        }
        self.workers[worker].push(done);
    }
}
