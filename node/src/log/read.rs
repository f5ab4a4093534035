//! Reading the log back: what a replica starts from, and entries for a follower that lags.
//!
//! Every entry's checksum is verified; what is read must be in sequence and of the terms that the group's record tells.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use bytes::Bytes;
use model::{PartitionId, ReplicaId};
use replica::LogStart;
use replica::eraftpb::{Entry, HardState};
use replica::state::BIRTH_INDEX;

use super::format::{self, HARD_STATE, LOG_GROUP, NodeKey, RECEIVING, TAIL, Tail};
use super::purge::Purge;
use super::writer::{Engine, EntryExt};
use super::{LogError, LogGroup};

/// Logs are numbered as they are opened.
static OPENED: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// The number of the log that this thread has read last.
    static READ_LAST: Cell<u64> = const { Cell::new(0) };
}

pub fn next_number() -> u64 {
    OPENED.fetch_add(1, Ordering::Relaxed) + 1
}

/// Reads that see no other log. raft-engine keeps the last block of entries that a thread has read, by file number and
/// place and nothing else: on a thread that has read another log it would take that one's block for its own.
pub fn apart<T: Send>(log: u64, read: impl FnOnce() -> T + Send) -> T {
    let last = READ_LAST.get();
    if last == 0 || last == log {
        READ_LAST.set(log);
        return read();
    }
    let read = thread::scope(|scope| scope.spawn(read).join());
    read.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Read at once while a replica starts.
const CHUNK_BYTES: u64 = 4 << 20;

/// The log's own records.
#[derive(Default)]
pub struct NodeRecords {
    pub accept_from: BTreeMap<PartitionId, ReplicaId>,
    pub uncertain: Vec<PartitionId>,
    pub corrupt: BTreeSet<PartitionId>,
}

pub fn node_records(engine: &Engine) -> NodeRecords {
    let mut records = NodeRecords::default();
    let each = |key: &[u8], value: &[u8]| {
        match format::parse_node_key(key) {
            Some(NodeKey::AcceptFrom(partition)) => {
                let lowest = format::decode_u64(value).expect("the log's own records have checksums");
                records.accept_from.insert(partition, ReplicaId(lowest));
            }
            Some(NodeKey::Corrupt(partition)) => {
                records.corrupt.insert(partition);
            }
            Some(NodeKey::Uncertain(partition)) => records.uncertain.push(partition),
            None => {}
        }
        true
    };
    engine.scan_raw_messages(LOG_GROUP, None, None, false, each).expect("a scan of memory cannot fail");
    records
}

/// Of the groups whose records can be read; the others stay out.
pub fn tails(engine: &Engine) -> HashMap<PartitionId, Tail> {
    let mut tails = HashMap::new();
    for id in engine.raft_groups().into_iter().filter(|id| *id != LOG_GROUP) {
        let partition = PartitionId(id);
        match sound_tail(engine, partition) {
            Ok(tail) => {
                tails.insert(partition, tail);
            }
            Err(error) => tracing::error!(%partition, %error, "the group's log is corrupt; it stays out"),
        }
    }
    tails
}

/// If every record of the group can be read, and none is missing.
fn sound_tail(engine: &Engine, partition: PartitionId) -> Result<Tail, LogError> {
    let commit = hard_state(engine, partition)?.commit;
    receiving(engine, partition)?;
    let tail = tail(engine, partition)?;
    // A batch that was synced may rot, and what it had replaced is purged by then: its record of where the log begins, and the
    // entries that it truncated. An empty replica knows of no commits, and one whose birth was cut short of none but that.
    if tail == Tail::default() && commit > BIRTH_INDEX {
        return Err(LogError::Contradiction { partition, index: commit });
    }
    Ok(tail)
}

fn receiving(engine: &Engine, partition: PartitionId) -> Result<Option<u64>, LogError> {
    let Some(index) = engine.get(partition.0, RECEIVING) else { return Ok(None) };
    format::decode_receiving(&index).map(|(index, _)| Some(index)).ok_or(LogError::Record { partition })
}

pub fn receiving_manifest(engine: &Engine, partition: PartitionId) -> Option<Bytes> {
    let mark = engine.get(partition.0, RECEIVING)?;
    format::decode_receiving(&mark)?.1.map(Bytes::copy_from_slice)
}

/// While no group has jobs.
pub fn groups(engine: &Engine, accept_from: &BTreeMap<PartitionId, ReplicaId>) -> Vec<LogGroup> {
    let group =
        |partition, exists| LogGroup { partition, accept_from: ReplicaId(0), exists, receiving: None, corrupt: false };
    let mut groups: BTreeMap<_, _> =
        accept_from.keys().map(|partition| (*partition, group(*partition, false))).collect();
    for id in engine.raft_groups().into_iter().filter(|id| *id != LOG_GROUP) {
        let partition = PartitionId(id);
        let mut found = group(partition, engine.get(id, HARD_STATE).is_some() || engine.get(id, TAIL).is_some());
        found.corrupt = sound_tail(engine, partition).is_err();
        found.receiving = receiving(engine, partition).unwrap_or_default();
        found.exists |= found.corrupt || found.receiving.is_some();
        groups.insert(partition, found);
    }
    for partition in node_records(engine).corrupt {
        let found = groups.entry(partition).or_insert_with(|| group(partition, true));
        (found.exists, found.corrupt) = (true, true);
    }
    for (partition, lowest) in accept_from {
        groups.entry(*partition).and_modify(|group| group.accept_from = *lowest);
    }
    groups.into_values().filter(|group| group.exists || group.accept_from.0 > 0).collect()
}

pub fn hard_state(engine: &Engine, partition: PartitionId) -> Result<HardState, LogError> {
    let stored = engine.get_message(partition.0, HARD_STATE).map_err(|source| LogError::Read { partition, source })?;
    Ok(stored.unwrap_or_default())
}

fn tail(engine: &Engine, partition: PartitionId) -> Result<Tail, LogError> {
    let last = engine.last_index(partition.0);
    let tail = match engine.get(partition.0, TAIL) {
        Some(bytes) => Tail::decode(bytes, last).map_err(|source| LogError::Decode { partition, source })?,
        None => Tail { last_index: last.unwrap_or(0), ..Tail::default() },
    };
    // raft-engine brings back what a shorter append had overwritten, if all of that was truncated in the file of the append.
    let brought_back = |first: u64| tail.runs.is_empty() && first > tail.truncated_index;
    let first = engine.first_index(partition.0).filter(|first| !brought_back(*first));
    if first.is_some_and(|first| first != tail.truncated_index + 1)
        || tail.runs.first().map(|(index, _)| *index) != first
        || tail.runs.last().is_some_and(|(index, _)| *index > tail.last_index)
    {
        return Err(LogError::Contradiction { partition, index: first.unwrap_or(tail.truncated_index) });
    }
    Ok(tail)
}

/// Before the writer starts, or while the group has no jobs: what the records tell must agree with the entries.
pub fn start_of(engine: &Engine, purge: &Purge, partition: PartitionId, applied: u64) -> Result<LogStart, LogError> {
    let tail = tail(engine, partition)?;
    let mut entries: Vec<Entry> = Vec::new();
    let mut next = applied.max(tail.truncated_index) + 1;
    while next <= tail.last_index {
        let chunk = fetch(engine, purge, partition, next..tail.last_index + 1, CHUNK_BYTES)?;
        if let Some(wrong) = chunk.iter().find(|entry| tail.term_at(entry.index) != Some(entry.term)) {
            return Err(LogError::Contradiction { partition, index: wrong.index });
        }
        next += u64::try_from(chunk.len()).expect("a chunk's length fits 64 bits");
        entries.extend(chunk);
    }
    let Tail { truncated_index, truncated_term, runs, last_index } = tail;
    Ok(LogStart {
        hard_state: hard_state(engine, partition)?,
        truncated_index,
        truncated_term,
        terms: runs,
        last_index,
        entries,
        tail_uncertain: false,
    })
}

/// At least one, as many as fit. Writer and purge may be at work: nothing but the entries is looked at, and they are looked up
/// again if their files went meanwhile.
pub fn fetch(
    engine: &Engine,
    purge: &Purge,
    partition: PartitionId,
    range: Range<u64>,
    max_bytes: u64,
) -> Result<Vec<Entry>, LogError> {
    let mut attempts = purge.attempts();
    let mut entries = loop {
        match look_up(engine, partition, &range, max_bytes) {
            Ok(entries) => break entries,
            Err(_) if attempts.are_explained() => {}
            Err(source) => return Err(LogError::Read { partition, source }),
        }
    };
    if entries.is_empty() {
        return Err(LogError::Missing { partition, low: range.start, high: range.end });
    }
    for (entry, index) in entries.iter_mut().zip(range) {
        if !format::unseal(entry) {
            return Err(LogError::Checksum { partition, index });
        }
        if entry.index != index {
            return Err(LogError::Contradiction { partition, index });
        }
    }
    Ok(entries)
}

/// Without their checksums verified; none where they are not all there.
fn look_up(
    engine: &Engine,
    partition: PartitionId,
    range: &Range<u64>,
    max_bytes: u64,
) -> raft_engine::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let max = usize::try_from(max_bytes).unwrap_or(usize::MAX);
    match engine.fetch_entries_to::<EntryExt>(partition.0, range.start, range.end, Some(max), &mut entries) {
        Ok(_) => Ok(entries),
        Err(raft_engine::Error::EntryCompacted | raft_engine::Error::EntryNotFound) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
