//! What a node's disk work costs: one batch of the log with its sync, one batch of applied writes.
//!
//! The syncs are real ones, in the folder for temporary files: where that is memory, they cost nothing.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher};
use model::{PartitionId, TableId};
use node::items::{Items, ItemsOptions, TurnBatch};
use node::log::{Done, Log, LogListener, LogOptions, Work};
use replica::entry::{SPACE_ITEMS, WriteKind};
use replica::eraftpb::{Entry, HardState};
use replica::state::{BIRTH_INDEX, BIRTH_TERM};
use replica::{Append, AppliedMark, AppliedWrite, ApplyBatch};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

const PARTITION: PartitionId = PartitionId(7);

fn main() {
    divan::main();
}

struct Nobody;

impl LogListener for Nobody {
    fn durable(&self, _worker: usize, _done: Vec<Done>) {}

    fn holds_old_files(&self, _groups: Vec<PartitionId>) {}

    fn await_room(&self) -> bool {
        false
    }
}

/// A payload that does not compress.
fn noise(len: usize) -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..len).map(|_| next()).collect()
}

/// So many entries of 1 KB in one batch, until it is synced.
#[divan::bench(args = [1, 8, 64], max_time = 2)]
fn log_batch(bencher: Bencher<'_, '_>, entries: u64) {
    let dir = tempfile::tempdir().expect("a folder for temporary files");
    let options = LogOptions { lazy_after: Duration::from_secs(60), ..LogOptions::new(dir.path().join("log")) };
    let log = Log::open(options, Arc::new(Nobody)).expect("an empty folder opens");
    let hard_state = HardState { term: BIRTH_TERM, commit: BIRTH_INDEX, ..HardState::default() };
    assert!(log.run(PARTITION, Work::Birth { index: BIRTH_INDEX, term: BIRTH_TERM, hard_state }));
    let data = noise(1000);
    let mut last = BIRTH_INDEX;
    bencher.counter(ItemsCount::new(entries)).bench_local(|| {
        let entry = |index: u64| Entry { index, term: BIRTH_TERM, data: data.clone(), ..Entry::default() };
        let batch = (last + 1..=last + entries).map(entry).collect();
        last += entries;
        let append = Append { number: last, entries: batch, hard_state: None, must_sync: true, doubted: false };
        assert!(log.run(PARTITION, Work::Append(append)));
    });
}

/// So many puts of 1 KB of one turn, in one write.
#[divan::bench(args = [1, 64], max_time = 2)]
fn apply_batch(bencher: Bencher<'_, '_>, puts: u64) {
    let dir = tempfile::tempdir().expect("a folder for temporary files");
    let options = ItemsOptions { memory_bytes: 256 << 20, ..ItemsOptions::new(dir.path().join("items"), 7) };
    let items = Items::open(options).expect("an empty folder opens");
    let attributes = noise(1000);
    let mut index = BIRTH_INDEX;
    bencher.counter(ItemsCount::new(puts)).bench_local(|| {
        index += 1;
        let put = |n: u64| AppliedWrite {
            index,
            space: SPACE_ITEMS,
            key: Bytes::copy_from_slice(&(index * puts + n).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()),
            kind: WriteKind::Put,
            attributes: attributes.clone(),
            version_timestamp_us: index,
        };
        let mark = AppliedMark { index, term: BIRTH_TERM, commit_time_us: index }.encode();
        let batch = ApplyBatch { index, writes: (0..puts).map(put).collect(), mark, state: None, children: Vec::new() };
        let mut turn = TurnBatch::default();
        turn.add(PARTITION, TableId(3), batch);
        items.write(&turn).expect("the engine takes writes")
    });
}

/// An item that is in memory.
#[divan::bench]
fn look_up(bencher: Bencher<'_, '_>) {
    let dir = tempfile::tempdir().expect("a folder for temporary files");
    let items = Items::open(ItemsOptions::new(dir.path().join("items"), 7)).expect("an empty folder opens");
    let key = Bytes::from_static(b"a key of an item");
    let write = AppliedWrite {
        index: 11,
        space: SPACE_ITEMS,
        key: key.clone(),
        kind: WriteKind::Put,
        attributes: noise(1000),
        version_timestamp_us: 1,
    };
    let mark = AppliedMark { index: 11, term: BIRTH_TERM, commit_time_us: 1 }.encode();
    let mut turn = TurnBatch::default();
    turn.add(
        PARTITION,
        TableId(3),
        ApplyBatch { index: 11, writes: vec![write], mark, state: None, children: Vec::new() },
    );
    items.write(&turn).expect("the engine takes writes");
    bencher.bench_local(|| items.lookup(TableId(3), &key));
}
