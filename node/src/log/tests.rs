//! The log on real files: what is told durable is there again, whatever happened to the rest.

mod purge;
mod refinement;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use model::{PartitionId, ReplicaId};
use replica::eraftpb::{Entry, HardState};
use replica::{Append, FetchRequest};

use super::format::MarkKey;
use super::*;

const PARTITION: PartitionId = PartitionId(0x77);
const OTHER: PartitionId = PartitionId(0x99);
const DEADLINE: Duration = Duration::from_secs(60);

/// Keeps what it is told.
#[derive(Default)]
struct Told {
    done: Mutex<BTreeMap<usize, Vec<Done>>>,
    calls: Mutex<usize>,
    old_files: Mutex<Vec<PartitionId>>,
    wake: Condvar,
}

impl LogListener for Told {
    fn durable(&self, worker: usize, done: Vec<Done>) {
        *self.calls.lock().unwrap() += 1;
        self.done.lock().unwrap().entry(worker).or_default().extend(done);
        self.wake.notify_all();
    }

    fn holds_old_files(&self, groups: Vec<PartitionId>) {
        self.old_files.lock().unwrap().extend(groups);
    }

    fn await_room(&self) -> bool {
        false
    }
}

impl Told {
    fn wait(&self, worker: usize, count: usize) -> Vec<Done> {
        let end = Instant::now() + DEADLINE;
        let mut done = self.done.lock().unwrap();
        while done.get(&worker).map_or(0, Vec::len) < count {
            let left = end.checked_duration_since(Instant::now()).expect("told in time");
            done = self.wake.wait_timeout(done, left).unwrap().0;
        }
        done[&worker].clone()
    }
}

fn options(dir: &Path) -> LogOptions {
    // Nothing is written for want of work: what a crash leaves does not depend on how slow the machine is.
    let lazy_after = Duration::from_secs(3600);
    LogOptions { file_bytes: 1 << 20, purge_bytes: 2 << 20, lazy_after, ..LogOptions::new(dir.to_owned()) }
}

fn open(dir: &Path) -> Log {
    Log::open(options(dir), Arc::new(Told::default())).unwrap()
}

fn entry(index: u64, term: u64) -> Entry {
    let data = Bytes::from(format!("entry {index} of term {term}"));
    Entry { index, term, data, context: Bytes::from_static(b"c"), ..Default::default() }
}

fn entries(from: u64, terms: &[u64]) -> Vec<Entry> {
    (from..).zip(terms).map(|(index, term)| entry(index, *term)).collect()
}

fn hard_state(term: u64, vote: u64, commit: u64) -> HardState {
    HardState { term, vote, commit, ..Default::default() }
}

fn append(number: u64, entries: Vec<Entry>, hard_state: Option<HardState>) -> Work {
    let must_sync = !entries.is_empty();
    Work::Append(Append { number, entries, hard_state, must_sync, doubted: false })
}

fn birth() -> Work {
    Work::Birth { index: 10, term: 5, hard_state: hard_state(5, 0, 10) }
}

/// What a crash of the process leaves: the files as they are now.
fn crash(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        if file.file_type().unwrap().is_file() {
            fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
}

fn last_file(dir: &Path) -> std::path::PathBuf {
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "raftlog"));
    files.sort();
    files.pop().unwrap()
}

/// Where the bytes that say this stand in the log's last file.
fn find(dir: &Path, text: &str) -> u64 {
    let bytes = fs::read(last_file(dir)).unwrap();
    let at = bytes.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
    u64::try_from(at).unwrap()
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, at).unwrap();
}

#[test]
fn what_was_told_durable_survives_a_crash_of_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let (live, copy) = (dir.path().join("live"), dir.path().join("copy"));
    let log = open(&live);
    assert!(log.run(PARTITION, birth()));
    assert!(log.run(PARTITION, append(1, entries(11, &[5, 5, 6]), Some(hard_state(6, 2, 12)))));
    assert!(log.run(OTHER, append(1, Vec::new(), Some(hard_state(3, 1, 0)))));
    assert!(log.run(OTHER, Work::AcceptFrom { replica: ReplicaId(4) }));
    crash(&live, &copy);
    let log = open(&copy);
    let start = log.start_of(PARTITION, 11).unwrap();
    assert_eq!((start.truncated_index, start.truncated_term, start.last_index), (10, 5, 13));
    assert_eq!(start.terms, [(11, 5), (13, 6)]);
    assert_eq!(start.entries, [entry(12, 5), entry(13, 6)]);
    assert_eq!(start.hard_state, hard_state(6, 2, 12));
    assert!(!start.tail_uncertain, "zeros behind the last batch are no damage");
    let start = log.start_of(OTHER, 0).unwrap();
    assert_eq!((start.hard_state, start.last_index), (hard_state(3, 1, 0), 0));
    let group =
        |partition, accept_from| LogGroup { partition, accept_from, exists: true, receiving: None, corrupt: false };
    assert_eq!(log.groups(), [group(PARTITION, ReplicaId(0)), group(OTHER, ReplicaId(4))]);
    assert_eq!(log.accept_from(OTHER), ReplicaId(4));
}

#[test]
fn an_append_overwrites_the_conflicting_tail() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.run(PARTITION, birth());
    log.run(PARTITION, append(1, entries(11, &[5, 5, 5, 5]), None));
    log.run(PARTITION, append(2, entries(12, &[7]), None));
    assert_eq!(log.start_of(PARTITION, 0).unwrap().entries, [entry(11, 5), entry(12, 7)]);
    drop(log);
    let start = open(dir.path()).start_of(PARTITION, 0).unwrap();
    assert_eq!((start.entries, start.last_index), (vec![entry(11, 5), entry(12, 7)], 12));
    assert_eq!(start.terms, [(11, 5), (12, 7)]);
}

#[test]
fn a_truncated_log_knows_the_term_before_its_first_entry() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.run(PARTITION, birth());
    log.run(PARTITION, append(1, entries(11, &[5, 6, 6, 8]), None));
    log.run(PARTITION, Work::Truncate { upto: 12 });
    log.run(PARTITION, Work::Truncate { upto: 11 });
    drop(log);
    let log = open(dir.path());
    let start = log.start_of(PARTITION, 0).unwrap();
    assert_eq!((start.truncated_index, start.truncated_term), (12, 6));
    assert_eq!((start.terms, start.entries.len()), (vec![(13, 6), (14, 8)], 2));
    log.run(PARTITION, Work::Truncate { upto: 99 });
    log.run(PARTITION, append(2, entries(15, &[8]), None));
    drop(log);
    let start = open(dir.path()).start_of(PARTITION, 0).unwrap();
    assert_eq!((start.truncated_index, start.truncated_term, start.last_index), (14, 8, 15));
    assert_eq!(start.entries, [entry(15, 8)]);
}

#[test]
fn entries_are_read_back_up_to_the_bytes_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.run(PARTITION, birth());
    log.run(PARTITION, append(1, entries(11, &[5; 9]), None));
    let fetch = |low, high, max_bytes| {
        log.fetch(PARTITION, &FetchRequest { low, high, max_bytes, to: ReplicaId(2) }).map(|entries| entries.len())
    };
    assert_eq!(fetch(12, 20, u64::MAX).unwrap(), 8);
    assert_eq!(fetch(12, 20, 0).unwrap(), 1);
    assert!(matches!(fetch(10, 12, 1).unwrap_err(), LogError::Missing { low: 10, .. }));
    assert!(matches!(fetch(12, 21, 1).unwrap_err(), LogError::Missing { high: 21, .. }));
}

#[test]
fn jobs_that_wait_share_one_sync_and_each_worker_is_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let told = Arc::new(Told::default());
    let log = Log::open(options(dir.path()), Arc::clone(&told) as Arc<dyn LogListener>).unwrap();
    let before = log.counters().syncs;
    let groups: Vec<_> = (1..=40).map(PartitionId).collect();
    let job =
        |(worker, partition): (usize, &PartitionId)| Job { worker: worker % 2, partition: *partition, work: birth() };
    log.submit(groups.iter().enumerate().map(job).collect());
    let done = told.wait(1, 20);
    told.wait(0, 20);
    assert!(done.iter().all(|done| done.what == DoneWhat::Birth));
    let counters = log.counters();
    assert_eq!((counters.syncs - before, counters.jobs, counters.batches), (1, 40, 1));
    assert_eq!(*told.calls.lock().unwrap(), 2);
}

#[test]
fn nothing_is_synced_for_a_commit_index_or_a_truncation_alone() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.run(PARTITION, birth());
    log.run(PARTITION, append(1, entries(11, &[5, 5]), None));
    let before = log.counters();
    log.run(PARTITION, append(2, Vec::new(), Some(hard_state(5, 0, 11))));
    log.run(PARTITION, Work::Truncate { upto: 11 });
    assert_eq!(log.counters().syncs, before.syncs);
    log.run(PARTITION, append(3, entries(13, &[5]), None));
    assert_eq!(log.counters().syncs, before.syncs + 1, "every batch that must be durable is synced, and once");
    drop(log);
    let start = open(dir.path()).start_of(PARTITION, 0).unwrap();
    assert_eq!((start.hard_state.commit, start.truncated_index), (11, 11));
}

#[test]
fn a_torn_tail_beyond_the_mark_leaves_every_group_uncertain_until_it_votes() {
    let dir = tempfile::tempdir().unwrap();
    let (live, copy) = (dir.path().join("live"), dir.path().join("copy"));
    let log = open(&live);
    for partition in [PARTITION, OTHER] {
        log.run(partition, birth());
        log.run(partition, append(1, entries(11, &[5]), Some(hard_state(5, 1, 10))));
    }
    log.run(PARTITION, append(2, vec![Entry { data: "torn".into(), ..entry(12, 5) }], None));
    crash(&live, &copy);
    overwrite(&last_file(&copy), find(&copy, "torn"), b"tarn");
    let log = open(&copy);
    let start = log.start_of(PARTITION, 10).unwrap();
    assert_eq!((start.last_index, start.tail_uncertain), (11, true));
    assert!(log.start_of(OTHER, 10).unwrap().tail_uncertain);
    log.run(OTHER, append(1, Vec::new(), Some(hard_state(6, 0, 11))));
    drop(log);
    let log = open(&copy);
    assert!(log.start_of(PARTITION, 10).unwrap().tail_uncertain, "it has not voted since");
    assert!(log.start_of(OTHER, 10).unwrap().tail_uncertain, "a new term alone is no vote");
    let (entries, vote) = (Vec::new(), Some(hard_state(6, 2, 11)));
    let behind = Append { number: 1, entries, hard_state: vote, must_sync: true, doubted: true };
    log.run(PARTITION, Work::Append(behind));
    drop(log);
    let log = open(&copy);
    assert!(log.start_of(PARTITION, 10).unwrap().tail_uncertain, "it has voted, and still lacks what it lost");
    log.run(PARTITION, append(1, Vec::new(), Some(hard_state(7, 2, 11))));
    drop(log);
    let log = open(&copy);
    assert!(!log.start_of(PARTITION, 10).unwrap().tail_uncertain);
    assert!(log.start_of(OTHER, 10).unwrap().tail_uncertain);
}

#[test]
fn a_group_that_was_lost_with_the_logs_end_begins_uncertain_until_it_votes() {
    let dir = tempfile::tempdir().unwrap();
    let (live, copy) = (dir.path().join("live"), dir.path().join("copy"));
    let log = open(&live);
    log.run(OTHER, birth());
    assert!(!log.empty_start(PARTITION).tail_uncertain);
    // All there is of the group stands in the last batch; a vote would stand beside it.
    log.run(PARTITION, Work::AcceptFrom { replica: ReplicaId(u64::from_be_bytes(*b"accepted")) });
    crash(&live, &copy);
    overwrite(&last_file(&copy), find(&copy, "accepted"), b"excepted");
    let log = open(&copy);
    assert_eq!(log.groups().len(), 1, "nothing is left of it");
    assert!(log.empty_start(PARTITION).tail_uncertain && log.start_of(PARTITION, 0).unwrap().tail_uncertain);
    log.run(PARTITION, Work::AcceptFrom { replica: ReplicaId(3) });
    log.run(PARTITION, birth());
    drop(log);
    let log = open(&copy);
    assert!(!log.empty_start(PartitionId(5)).tail_uncertain, "the log is certain again");
    assert!(log.start_of(PARTITION, 10).unwrap().tail_uncertain, "the group is not");
    log.run(PARTITION, append(1, Vec::new(), Some(hard_state(5, 3, 10))));
    log.run(PARTITION, append(2, Vec::new(), Some(hard_state(6, 3, 10))));
    drop(log);
    assert!(!open(&copy).start_of(PARTITION, 10).unwrap().tail_uncertain);
}

#[test]
fn a_group_that_has_lost_all_but_its_id_stays_uncertain_beyond_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (live, copy) = (dir.path().join("live"), dir.path().join("copy"));
    let log = open(&live);
    log.run(PARTITION, Work::AcceptFrom { replica: ReplicaId(3) });
    // Told to be synced, and used; then the disk loses it.
    let hard_state = |term, vote| Some(HardState { term, vote, ..HardState::default() });
    let vote = |number, hard_state| {
        Work::Append(Append { number, entries: Vec::new(), hard_state, must_sync: true, doubted: false })
    };
    log.run(PARTITION, vote(1, hard_state(6, 3)));
    crash(&live, &copy);
    let bytes = fs::read(last_file(&copy)).unwrap();
    let batches = refinement::crash::batches(&bytes);
    let (start, end) = batches.last().unwrap();
    overwrite(&last_file(&copy), u64::try_from(start + 30).unwrap(), &vec![0xee; end - start - 30]);
    let log = open(&copy);
    assert!(log.empty_start(PARTITION).tail_uncertain);
    // Nobody speaks to it in this life.
    drop(log);
    let log = open(&copy);
    assert!(!log.empty_start(OTHER).tail_uncertain, "the log is certain again");
    assert!(log.empty_start(PARTITION).tail_uncertain, "the group is not: it may have voted");
    log.run(PARTITION, vote(1, hard_state(7, 2)));
    drop(log);
    assert!(!open(&copy).start_of(PARTITION, 0).unwrap().tail_uncertain);
}

#[test]
fn logs_that_are_read_on_one_thread_do_not_see_each_others_entries() {
    let dir = tempfile::tempdir().unwrap();
    let logs = ["first", "other"].map(|text| {
        let log = open(&dir.path().join(text));
        log.run(PARTITION, birth());
        log.run(PARTITION, append(1, vec![Entry { data: text.into(), ..entry(11, 5) }], None));
        (text, log)
    });
    for (text, log) in &logs {
        assert_eq!(log.start_of(PARTITION, 10).unwrap().entries[0].data, text.as_bytes());
        let request = FetchRequest { low: 11, high: 12, max_bytes: 1, to: ReplicaId(2) };
        assert_eq!(log.fetch(PARTITION, &request).unwrap()[0].data, text.as_bytes());
    }
}

#[test]
fn a_mark_that_a_client_wrote_does_not_make_a_torn_tail_corruption() {
    let dir = tempfile::tempdir().unwrap();
    let (live, other) = (dir.path().join("live"), dir.path().join("other"));
    drop(open(&other));
    let mut keys = vec![*b"trivet-log-mark\x01", [0; 16]];
    keys.push(fs::read(other.join("mark-key")).unwrap().try_into().unwrap());
    let forged =
        keys.into_iter().flat_map(|key| format::Mark { number: 1 << 40, durable: 1 << 40 }.encode(MarkKey(key)));
    let forged: Vec<u8> = forged.collect();
    let log = open(&live);
    log.run(PARTITION, birth());
    log.run(PARTITION, append(1, vec![Entry { data: forged.into(), ..entry(11, 5) }], None));
    log.run(PARTITION, append(2, vec![Entry { data: "torn".into(), ..entry(12, 5) }], None));
    let copy = dir.path().join("copy");
    crash(&live, &copy);
    overwrite(&last_file(&copy), find(&copy, "torn"), b"tarn");
    let start = open(&copy).start_of(PARTITION, 10).unwrap();
    assert_eq!((start.last_index, start.tail_uncertain), (11, true));
}

#[test]
fn a_log_that_has_lost_its_key_is_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).run(PARTITION, birth());
    fs::remove_file(dir.path().join("mark-key")).unwrap();
    let error = Log::open(options(dir.path()), Arc::new(Told::default())).err().unwrap();
    assert!(matches!(error, LogError::LostKey { .. }) && error.is_corrupt(), "{error}");
}

#[test]
fn an_unreadable_batch_below_the_mark_is_corruption_however_often_it_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let (live, copy) = (dir.path().join("live"), dir.path().join("copy"));
    let log = open(&live);
    log.run(PARTITION, birth());
    log.run(PARTITION, append(1, vec![Entry { data: "synced".into(), ..entry(11, 5) }], None));
    log.run(PARTITION, append(2, entries(12, &[5]), None));
    log.run(PARTITION, append(3, entries(13, &[5]), None));
    crash(&live, &copy);
    // The batch's own header: raft-engine cannot find the batches behind it.
    let file = last_file(&copy);
    let data = find(&copy, "synced");
    let bytes = fs::read(&file).unwrap();
    let at = (0..data).rev().find(|at| batch_begins(&bytes, *at, data)).unwrap();
    overwrite(&file, at, &[0xff; 4]);
    let before = fs::read(&file).unwrap();
    for _ in 0..2 {
        let error = Log::open(options(&copy), Arc::new(Told::default())).err().unwrap();
        assert!(matches!(error, LogError::Corrupt { durable: 3, readable: 1, .. }), "{error}");
    }
    assert_eq!(fs::read(&file).unwrap().len(), before.len(), "evidence is not cut off");
}

/// Whether a batch's header stands here whose batch holds the byte at `inside`.
fn batch_begins(bytes: &[u8], at: u64, inside: u64) -> bool {
    let at = usize::try_from(at).unwrap();
    let word = |from: usize| u64::from_be_bytes(bytes[from..from + 8].try_into().unwrap());
    let (len, offset) = (word(at) >> 8, word(at + 8));
    let inside = inside - u64::try_from(at).unwrap();
    len > inside && len < 4096 && offset > inside && offset < len
}

#[test]
fn a_changed_bit_of_an_entry_in_the_middle_is_noticed_when_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let (live, copy) = (dir.path().join("live"), dir.path().join("copy"));
    let log = open(&live);
    log.run(PARTITION, birth());
    log.run(PARTITION, append(1, vec![Entry { data: "synced".into(), ..entry(11, 5) }], None));
    log.run(PARTITION, append(2, entries(12, &[5]), None));
    log.run(PARTITION, append(3, entries(13, &[5]), None));
    crash(&live, &copy);
    overwrite(&last_file(&copy), find(&copy, "synced"), b"S");
    let log = open(&copy);
    assert!(matches!(log.start_of(PARTITION, 10).unwrap_err(), LogError::Read { .. }));
    assert_eq!(log.start_of(PARTITION, 11).unwrap().entries.len(), 2, "applied entries are not needed");
}

#[test]
fn a_snapshot_replaces_the_log_and_its_mark_is_found_until_then() {
    let dir = tempfile::tempdir().unwrap();
    let (live, copy) = (dir.path().join("live"), dir.path().join("copy"));
    let log = open(&live);
    log.run(PARTITION, birth());
    log.run(PARTITION, append(1, entries(11, &[5, 5, 5]), Some(hard_state(5, 1, 11))));
    log.run(PARTITION, Work::Receiving { index: 12, manifest: None });
    crash(&live, &copy);
    let marked = open(&copy);
    assert_eq!(marked.groups()[0].receiving, Some(12));
    assert_eq!(marked.start_of(PARTITION, 10).unwrap().entries.len(), 3, "nothing is lost by the mark alone");
    for log in [log, marked] {
        log.run(PARTITION, Work::Received { index: 12, term: 6, hard_state: hard_state(7, 0, 12) });
        log.run(PARTITION, append(2, entries(13, &[7]), None));
    }
    for dir in [&live, &copy] {
        let log = open(dir);
        assert_eq!(log.groups()[0].receiving, None);
        let start = log.start_of(PARTITION, 12).unwrap();
        assert_eq!((start.truncated_index, start.truncated_term, start.last_index), (12, 6, 13));
        assert_eq!((start.hard_state, start.entries), (hard_state(7, 0, 12), vec![entry(13, 7)]));
    }
}

#[test]
fn a_removed_group_leaves_the_lowest_replica_id_it_accepts() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.run(PARTITION, birth());
    log.run(PARTITION, append(1, entries(11, &[5]), None));
    log.run(PARTITION, Work::AcceptFrom { replica: ReplicaId(9) });
    log.run(PARTITION, Work::Remove);
    drop(log);
    let log = open(dir.path());
    let left =
        LogGroup { partition: PARTITION, accept_from: ReplicaId(9), exists: false, receiving: None, corrupt: false };
    assert_eq!(log.groups(), [left]);
    assert_eq!(log.start_of(PARTITION, 0).unwrap().last_index, 0);
}

#[test]
fn old_files_are_purged_and_nothing_that_is_needed_goes_with_them() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.run(OTHER, birth());
    log.run(OTHER, append(1, entries(11, &[5, 5]), Some(hard_state(5, 3, 11))));
    log.run(OTHER, Work::AcceptFrom { replica: ReplicaId(2) });
    log.run(PARTITION, birth());
    let end = Instant::now() + DEADLINE;
    let mut noise = 1_u64;
    for index in 11.. {
        // Noise that LZ4 does not shrink.
        let data = std::iter::repeat_with(|| {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            noise.to_le_bytes()
        });
        let data = Bytes::from(data.take(8 << 10).flatten().collect::<Vec<u8>>());
        log.run(PARTITION, append(index, vec![Entry { data, ..entry(index, 5) }], None));
        log.run(PARTITION, Work::Truncate { upto: index - 1 });
        if !dir.path().join("0000000000000001.raftlog").exists() {
            break;
        }
        assert!(Instant::now() < end, "the first file is never removed");
    }
    drop(log);
    let log = open(dir.path());
    let start = log.start_of(OTHER, 10).unwrap();
    assert_eq!(start.entries, [entry(11, 5), entry(12, 5)]);
    assert_eq!((start.hard_state, log.accept_from(OTHER)), (hard_state(5, 3, 11), ReplicaId(2)));
    assert_eq!(log.start_of(PARTITION, 10).unwrap().entries.len(), 1);
}

const CHILD_DIR: &str = "TRIVET_TEST_FAILED_SYNC_DIR";

#[test]
fn a_failed_sync_ends_the_process_before_anything_is_told() {
    if let Some(dir) = std::env::var_os(CHILD_DIR) {
        let dir = Path::new(&dir);
        let options = LogOptions { fail_sync: Some(2), ..options(dir) };
        let log = Log::open(options, Arc::new(Told::default())).unwrap();
        log.run(PARTITION, birth());
        fs::write(dir.join("first"), "").unwrap();
        log.run(PARTITION, append(1, entries(11, &[5]), None));
        fs::write(dir.join("second"), "").unwrap();
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let this = "log::tests::a_failed_sync_ends_the_process_before_anything_is_told";
    let child =
        Command::new(std::env::current_exe().unwrap()).args([this, "--exact"]).env(CHILD_DIR, dir.path()).output();
    let status = child.unwrap().status;
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(6), "SIGABRT, not {status}");
    assert!(dir.path().join("first").exists());
    assert!(!dir.path().join("second").exists());
    assert_eq!(open(dir.path()).start_of(PARTITION, 0).unwrap().truncated_index, 10);
}

#[test]
fn an_idle_log_writes_its_mark_without_a_sync() {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions { lazy_after: Duration::from_millis(1), ..options(dir.path()) };
    let log = Log::open(options, Arc::new(Told::default())).unwrap();
    log.run(PARTITION, birth());
    let end = Instant::now() + DEADLINE;
    while log.counters().batches < 2 {
        assert!(Instant::now() < end, "the mark is never written");
        std::thread::yield_now();
    }
    assert_eq!(log.counters().syncs, 1);
}

#[test]
fn an_idle_log_syncs_what_lets_old_files_go() {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions { lazy_after: Duration::from_millis(1), ..options(dir.path()) };
    let log = Log::open(options, Arc::new(Told::default())).unwrap();
    log.run(PARTITION, birth());
    log.run(PARTITION, append(1, entries(11, &[5, 5]), None));
    log.run(PARTITION, Work::Truncate { upto: 11 });
    let end = Instant::now() + DEADLINE;
    while log.counters().syncs < 3 {
        assert!(Instant::now() < end, "the truncation is never synced");
        std::thread::yield_now();
    }
}

#[test]
fn a_group_whose_records_contradict_each_other_stays_out_alone() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    for partition in [PARTITION, OTHER] {
        log.run(partition, birth());
        log.run(partition, append(1, entries(11, &[5]), None));
    }
    let mut batch = raft_engine::LogBatch::default();
    batch.put(PARTITION.0, format::TAIL.to_vec(), format::Tail::new(20, 5).encode()).unwrap();
    log.inner.engine.write(&mut batch, true).unwrap();
    drop(log);
    let log = open(dir.path());
    let corrupt: Vec<_> = log.groups().into_iter().map(|group| (group.partition, group.corrupt)).collect();
    assert_eq!(corrupt, [(PARTITION, true), (OTHER, false)]);
    assert!(matches!(log.start_of(PARTITION, 10).unwrap_err(), LogError::Contradiction { .. }));
    log.run(OTHER, append(2, entries(12, &[5]), None));
    assert_eq!(log.start_of(OTHER, 10).unwrap().last_index, 12);
}

#[test]
fn a_corrupt_group_stays_so_until_it_is_removed_or_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    let corrupt = |log: &Log| -> Vec<_> { log.groups().into_iter().map(|group| group.corrupt).collect() };
    let log = open(dir.path());
    for partition in [PARTITION, OTHER] {
        log.run(partition, birth());
        log.run(partition, append(1, entries(11, &[5]), Some(hard_state(5, 1, 11))));
        log.run(partition, Work::Corrupt);
    }
    drop(log);
    let log = open(dir.path());
    assert_eq!(corrupt(&log), [true, true]);
    log.run(PARTITION, Work::Received { index: 12, term: 5, hard_state: hard_state(5, 1, 12) });
    log.run(OTHER, Work::Remove);
    log.run(OTHER, birth());
    drop(log);
    assert_eq!(corrupt(&open(dir.path())), [false, false]);
}

#[test]
fn a_new_file_without_a_header_is_no_damage() {
    for len in [0, 1 << 20] {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path());
        log.run(PARTITION, birth());
        drop(log);
        let new = dir.path().join("0000000000000002.raftlog");
        fs::File::create(&new).unwrap().set_len(len).unwrap();
        // Nor is one with a part of it.
        for header in [b"".as_slice(), b"RAFT-LOG-FILE-HEADER-99"] {
            fs::File::options()
                .write(true)
                .create(true)
                .truncate(false)
                .open(&new)
                .unwrap()
                .write_all_at(header, 0)
                .unwrap();
            let start = open(dir.path()).start_of(PARTITION, 10).unwrap();
            assert_eq!((start.truncated_index, start.tail_uncertain), (10, false));
        }
    }
}

#[test]
fn a_damaged_header_does_not_end_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.run(PARTITION, birth());
    log.run(PARTITION, append(1, entries(11, &[5]), None));
    drop(log);
    let alignment = recovery::FILE_HEADER_LEN - 8;
    overwrite(&last_file(dir.path()), alignment, &[0x03, 0xbf, 0x3a, 0x19, 0x76, 0xbe, 0x02, 0x51]);
    // Behind the batches stands what looks like no batch, so that raft-engine looks for the next aligned one.
    let len = fs::metadata(last_file(dir.path())).unwrap().len();
    overwrite(&last_file(dir.path()), len, &[0xff; 40]);
    assert_eq!(open(dir.path()).start_of(PARTITION, 10).unwrap().last_index, 11);
}

#[test]
fn a_file_that_lost_its_header_does_not_make_every_later_start_uncertain() {
    let dir = tempfile::tempdir().unwrap();
    let (live, copy) = (dir.path().join("live"), dir.path().join("copy"));
    open(&live).run(PARTITION, birth());
    fs::write(live.join("0000000000000002.raftlog"), [7; 200]).unwrap();
    let log = open(&live);
    assert!(log.empty_start(OTHER).tail_uncertain);
    log.run(PARTITION, append(1, entries(11, &[5]), None));
    // Killed: what was allocated ahead stands behind the last batch.
    crash(&live, &copy);
    let log = open(&copy);
    assert!(!log.empty_start(OTHER).tail_uncertain, "nothing was lost this time");
    assert_eq!(log.start_of(PARTITION, 10).unwrap().last_index, 11);
}

#[test]
fn a_group_whose_birth_was_cut_short_begins_at_its_birth() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.run(PARTITION, append(1, Vec::new(), Some(hard_state(7, 2, 0))));
    log.run(PARTITION, append(2, entries(11, &[7]), None));
    drop(log);
    let start = open(dir.path()).start_of(PARTITION, 10).unwrap();
    assert_eq!((start.truncated_index, start.truncated_term, start.last_index), (10, 5, 11));
}

const KILLED_DIR: &str = "TRIVET_TEST_KILLED_DIR";

/// Appends for ever, and tells in a file how far it has been told durable.
fn append_until_killed(dir: &Path) {
    let told = fs::File::create(dir.join("told")).unwrap();
    let log = Log::open(
        LogOptions { file_bytes: 64 << 10, purge_bytes: 128 << 10, ..options(&dir.join("log")) },
        Arc::new(Told::default()),
    );
    let log = log.unwrap();
    let mut next = log.start_of(PARTITION, 10).unwrap().last_index + 1;
    if next == 1 {
        log.run(PARTITION, birth());
        next = 11;
    }
    for index in next.. {
        let noise = (0..400_u64).flat_map(|n| (index * 7919 + n).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
        let data: Bytes = noise.collect::<Vec<u8>>().into();
        log.run(PARTITION, append(index, vec![Entry { data, ..entry(index, 5) }], Some(hard_state(5, 1, index - 1))));
        told.write_all_at(&index.to_le_bytes(), 0).unwrap();
        if index % 50 == 0 {
            log.run(PARTITION, Work::Truncate { upto: index - 20 });
        }
    }
}

#[test]
fn a_killed_process_keeps_what_it_was_told_and_its_tail_is_certain() {
    if let Some(dir) = std::env::var_os(KILLED_DIR) {
        return append_until_killed(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let this = "log::tests::a_killed_process_keeps_what_it_was_told_and_its_tail_is_certain";
    let told =
        || fs::read(dir.path().join("told")).ok().and_then(|bytes| format::decode_u64(&bytes).map(u64::swap_bytes));
    for round in 1..=5 {
        let mut child = Command::new(std::env::current_exe().unwrap());
        let mut child = child.args([this, "--exact"]).env(KILLED_DIR, dir.path()).spawn().unwrap();
        let end = Instant::now() + DEADLINE;
        while told().is_none_or(|told| told < round * 60) {
            assert!(Instant::now() < end && child.try_wait().unwrap().is_none(), "the child stands still");
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let told = told().unwrap();
        let log = open(&dir.path().join("log"));
        let start = log.start_of(PARTITION, told - 1).unwrap();
        assert!(start.last_index == told || start.last_index == told + 1, "{} is not {told}", start.last_index);
        assert_eq!((start.hard_state.commit + 1, start.tail_uncertain), (start.last_index, false));
    }
}
