//! Entries are read while purges write them elsewhere and remove the files they stood in.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;

const GROUPS: u64 = 8;
const ROUNDS: u64 = 1_000;
/// What each group keeps; raft-engine rewrites few entries, and asks for the others to be truncated.
const KEPT: u64 = 12;
const FIRST: u64 = 11;

fn group(number: u64) -> PartitionId {
    PartitionId(0x100 + number)
}

/// An entry for every group in a batch of its own, and the oldest of each goes.
fn round(log: &Log, told: &Told, index: u64) {
    let noise = (0..100_u64).flat_map(|n| (index * 7919 + n).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    let data: Bytes = noise.collect::<Vec<u8>>().into();
    let mut jobs = Vec::new();
    for partition in (0..GROUPS).map(group) {
        let entries = vec![Entry { data: data.clone(), ..entry(index, 5) }];
        jobs.push(Job { worker: 0, partition, work: append(index, entries, None) });
        jobs.push(Job { worker: 0, partition, work: Work::Truncate { upto: index.saturating_sub(KEPT) } });
    }
    log.submit(jobs);
    told.wait(0, usize::try_from((index + 1 - FIRST) * GROUPS * 2).unwrap());
}

/// Reads what every group has, again and again; how often there was something.
fn read(log: &Log, newest: &AtomicU64, done: &AtomicBool) -> u64 {
    let mut found = 0;
    for partition in (0..GROUPS).map(group).cycle() {
        if done.load(Ordering::Relaxed) {
            return found;
        }
        let newest = newest.load(Ordering::Relaxed);
        let low = newest.saturating_sub(KEPT - 2).max(FIRST);
        let request = FetchRequest { low, high: newest + 1, max_bytes: u64::MAX, to: ReplicaId(1) };
        match log.fetch(partition, &request) {
            Ok(entries) => {
                assert_eq!(entries.len() as u64, newest + 1 - low);
                found += 1;
            }
            Err(LogError::Missing { .. }) => {}
            Err(error) => panic!("{error}: {:?}", std::error::Error::source(&error)),
        }
    }
    found
}

#[test]
fn entries_whose_file_a_purge_has_just_removed_are_found_where_it_wrote_them() {
    let dir = tempfile::tempdir().unwrap();
    let told = Arc::new(Told::default());
    let options = LogOptions { file_bytes: 8 << 10, purge_bytes: 16 << 10, ..options(dir.path()) };
    let log = Log::open(options, Arc::clone(&told) as Arc<dyn LogListener>).unwrap();
    for number in 0..GROUPS {
        log.run(group(number), birth());
    }
    let (newest, done) = (AtomicU64::new(FIRST), AtomicBool::new(false));
    round(&log, &told, FIRST);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2).map(|_| scope.spawn(|| read(&log, &newest, &done))).collect();
        for index in FIRST + 1..FIRST + ROUNDS {
            round(&log, &told, index);
            newest.store(index, Ordering::Relaxed);
            if readers.iter().any(std::thread::ScopedJoinHandle::is_finished) {
                break;
            }
        }
        done.store(true, Ordering::Relaxed);
        let found: u64 = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
        assert!(found > 0, "nothing was ever read");
    });
    assert!(!dir.path().join("0000000000000001.raftlog").exists(), "no purge has removed a file");
}
