//! Snapshots between two real engines.

mod records;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use model::{KeyRange, KeySchema, KeyType, PartitionDescriptor, TableDescriptor, TableId, TableStatus, Zone};
use replica::entry::WriteKind;
use replica::eraftpb::{Entry, HardState};
use replica::{Append, AppliedMark, AppliedWrite, ApplyBatch, GroupState, Install};
use wire::raft::SnapshotData;

use super::*;
use crate::items::{GroupRecords, Items, ItemsOptions, ScanRequest, TurnBatch};
use crate::log::{Done, Log, LogListener, LogOptions, Work};

const TABLE: TableId = TableId(0x42);
const PARTITION: PartitionId = PartitionId(0x77);
const NEIGHBOUR: PartitionId = PartitionId(0x78);
const ROUTE: Route = Route { from_node: NodeId(1), partition: PARTITION, from: ReplicaId(1), to: ReplicaId(4) };

struct Deaf;

impl LogListener for Deaf {
    fn durable(&self, _worker: usize, _done: Vec<Done>) {}
    fn holds_old_files(&self, _groups: Vec<PartitionId>) {}
    fn await_room(&self) -> bool {
        false
    }
}

/// A node's storage in a folder.
struct Node {
    dir: PathBuf,
    items: Items,
    log: Log,
}

impl Node {
    fn open(dir: PathBuf) -> Node {
        fs::create_dir_all(&dir).unwrap();
        let items = Items::open(ItemsOptions::new(dir.join("items"), 0)).unwrap().without_compaction();
        let log = Log::open(LogOptions::new(dir.join("log")), Arc::new(Deaf)).unwrap();
        Node { dir, items, log }
    }

    fn incoming(&self) -> PathBuf {
        self.dir.join("incoming")
    }

    /// As a crash leaves it, elsewhere.
    fn crash(&self, to: PathBuf) -> Node {
        copy(&self.dir, &to);
        Node::open(to)
    }

    fn recover(&self) -> Vec<(PartitionId, SnapshotError)> {
        recover(&self.dir.join("outgoing"), &self.incoming(), &self.items, &self.log).unwrap()
    }

    fn keys(&self, items: &[(&[u8], &str)]) {
        let found = self.items.scan(&ScanRequest {
            table: TABLE,
            range: KeyRange::ALL,
            backward: false,
            limit: 0,
            limit_bytes: 0,
            filter: None,
            projection: None,
            count_only: false,
        });
        let expected: Vec<_> = items.iter().map(|(_, text)| attributes(text)).collect();
        assert_eq!(found.unwrap().items, expected);
        for (key, text) in items {
            assert_eq!(self.items.get(TABLE, key).unwrap().unwrap().attributes, attributes(text));
        }
    }

    fn is_installed(&self) {
        let records = self.items.group(PARTITION).unwrap();
        assert_eq!((records.mark, records.state), (Some(mark(20).encode()), Some(state(4).encode())));
        let start = self.log.start_of(PARTITION, 20).unwrap();
        assert_eq!((start.truncated_index, start.truncated_term, start.last_index), (20, 6, 20));
        assert_eq!(start.hard_state, hard_state());
        assert!(self.log.groups().iter().all(|group| group.receiving.is_none()));
        assert_eq!(self.items.group(NEIGHBOUR).unwrap().mark, Some(mark(30).encode()));
        let left = fs::read_dir(self.incoming()).unwrap().count();
        assert_eq!(left, 0, "files of the snapshot stay behind");
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else if entry.path().extension().is_none_or(|extension| extension != "log") {
            // RocksDB's own log is off and its empty files come and go.
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn attributes(text: &str) -> Bytes {
    let item = model::Item::from([("text".into(), model::Value::S(text.into()))]);
    model::item::encode_attributes(&item).into()
}

fn mark(index: u64) -> AppliedMark {
    AppliedMark { index, term: 6, commit_time_us: 99 }
}

fn hard_state() -> HardState {
    HardState { term: 6, vote: 1, commit: 20, ..Default::default() }
}

fn table() -> TableDescriptor {
    let wish = TableDescriptor::wish("orders", KeySchema::simple("pk", KeyType::S));
    TableDescriptor { id: TABLE, version: 3, status: TableStatus::Active, hash_seed: 1, ..wish }
}

fn descriptor() -> PartitionDescriptor {
    let range = KeyRange { start: Bytes::from_static(b"b"), end: Some(Bytes::from_static(b"m")) };
    let places = (1..=3).map(|number| (NodeId(number), Zone(format!("zone-{number}"))));
    PartitionDescriptor { epoch: 7, ..PartitionDescriptor::birth(PARTITION, TABLE, range, places) }
}

fn state(replica: u64) -> GroupState {
    GroupState::birth(ReplicaId(replica), descriptor(), table())
}

fn install() -> Install {
    Install {
        index: 20,
        term: 6,
        state: state(4).encode(),
        mark: mark(20).encode(),
        hard_state: hard_state(),
        descriptor: descriptor(),
        has_items: true,
    }
}

fn write(node: &Node, partition: PartitionId, index: u64, state: Option<GroupState>, puts: &[(&[u8], &str)]) {
    let put = |(key, text): &(&[u8], &str)| AppliedWrite {
        index,
        space: 0,
        key: Bytes::copy_from_slice(key),
        kind: WriteKind::Put,
        attributes: attributes(text),
        version_timestamp_us: 1,
    };
    let writes = puts.iter().map(put).collect();
    let mut turn = TurnBatch::default();
    let state = state.map(|state| state.encode());
    turn.add(partition, TABLE, ApplyBatch { index, writes, mark: mark(index).encode(), state, children: Vec::new() });
    node.items.write(&turn).unwrap();
}

fn sender(dir: &Path) -> Node {
    let node = Node::open(dir.join("sender"));
    write(&node, PARTITION, 19, Some(state(1)), &[(b"b", "b1"), (b"c", "old")]);
    node.items.flush().unwrap();
    write(&node, PARTITION, 20, None, &[(b"c", "c2"), (b"l", "l3")]);
    write(&node, NEIGHBOUR, 12, None, &[(b"m", "of the neighbour")]);
    node
}

/// With older items of the group, some of them in memory, and neighbours on both sides.
fn receiver(dir: &Path) -> Node {
    let node = Node::open(dir.join("receiver"));
    write(&node, PARTITION, 11, Some(state(4)), &[(b"b", "stale"), (b"d", "stale")]);
    write(&node, NEIGHBOUR, 30, None, &[(b"a", "before"), (b"m", "after")]);
    node.items.flush().unwrap();
    write(&node, PARTITION, 12, None, &[(b"k", "stale, in memory")]);
    let hard_state = HardState { term: 5, vote: 2, commit: 12, ..Default::default() };
    node.log.run(PARTITION, Work::Birth { index: 10, term: 5, hard_state });
    let entries = (11..=12).map(|index| Entry { index, term: 5, ..Default::default() }).collect();
    node.log
        .run(PARTITION, Work::Append(Append { number: 1, entries, hard_state: None, must_sync: true, doubted: false }));
    node
}

const STALE: [(&[u8], &str); 5] =
    [(b"a", "before"), (b"b", "stale"), (b"d", "stale"), (b"k", "stale, in memory"), (b"m", "after")];
const INSTALLED: [(&[u8], &str); 5] = [(b"a", "before"), (b"b", "b1"), (b"c", "c2"), (b"l", "l3"), (b"m", "after")];

fn transfer(from: &Node, to: &Node) -> Received {
    let budget = Arc::new(Budget::new(0));
    let outgoing = Outgoing::build(&from.items, &from.dir.join("outgoing"), ROUTE, &budget).unwrap();
    assert_eq!((outgoing.content().mark, &outgoing.content().state), (mark(20), &state(1)));
    let mut incoming = Incoming::begin(&to.incoming(), outgoing.header(), &budget).unwrap();
    for chunk in outgoing.chunks() {
        incoming.write(&chunk.unwrap()).unwrap();
    }
    let dir = from.dir.join("outgoing");
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    drop(outgoing);
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    incoming.finish().unwrap()
}

#[test]
fn a_snapshot_replaces_everything_of_its_range_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, receiver) = (sender(dir.path()), receiver(dir.path()));
    receiver.keys(&STALE);
    transfer(&sender, &receiver).install(&receiver.items, &receiver.log, &install(), |_| false).unwrap();
    receiver.keys(&INSTALLED);
    receiver.is_installed();
    let crashed = receiver.crash(dir.path().join("crashed"));
    crashed.keys(&INSTALLED);
    crashed.is_installed();
    assert_eq!(crashed.items.persisted_index(PARTITION).unwrap(), Some(20));
}

#[test]
fn a_snapshot_of_many_files_arrives_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, receiver) = (sender(dir.path()), receiver(dir.path()));
    let text = "x".repeat(1000);
    let keys: Vec<_> = (0..3000_u64).map(|n| [b"c".as_slice(), &n.to_be_bytes()].concat()).collect();
    let puts: Vec<_> = keys.iter().map(|key| (key.as_slice(), text.as_str())).collect();
    write(&sender, PARTITION, 20, None, &puts);
    let folder = dir.path().join("files");
    fs::create_dir_all(&folder).unwrap();
    let view = sender.items.view();
    let mut paced = 0;
    let pace = |bytes| {
        paced += bytes;
        true
    };
    let files = view.write_files(TABLE, &descriptor().range, &folder, 4 << 10, pace).unwrap();
    assert!(files.len() > 1 && paced > 2 << 20, "{} files, {paced} bytes", files.len());
    let (mark, state) = (mark(20).encode(), state(4).encode());
    let range = descriptor().range;
    let snapshot = crate::items::SnapshotFiles {
        partition: PARTITION,
        table: TABLE,
        range: &range,
        mark: &mark,
        state: &state,
        files,
        dir: &folder,
    };
    receiver.items.ingest(&snapshot).unwrap();
    assert_eq!(receiver.items.count(TABLE, &range, u64::MAX).unwrap().size.items, 3003);
}

#[test]
fn a_crash_before_the_mark_leaves_the_old_state() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, receiver) = (sender(dir.path()), receiver(dir.path()));
    receiver.items.flush().unwrap();
    let received = transfer(&sender, &receiver);
    let crashed = receiver.crash(dir.path().join("crashed"));
    assert!(crashed.recover().is_empty());
    crashed.keys(&STALE);
    assert_eq!(crashed.log.start_of(PARTITION, 10).unwrap().entries.len(), 2);
    assert_eq!(fs::read_dir(crashed.incoming()).unwrap().count(), 0);
    drop(received);
    assert_eq!(fs::read_dir(receiver.incoming()).unwrap().count(), 0);
}

#[test]
fn a_crash_between_the_mark_and_the_ingest_is_finished_by_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, receiver) = (sender(dir.path()), receiver(dir.path()));
    let received = transfer(&sender, &receiver);
    received.prepare(&receiver.log, &install()).unwrap();
    let crashed = receiver.crash(dir.path().join("crashed"));
    assert_eq!(crashed.log.groups()[0].receiving, Some(20));
    assert!(crashed.recover().is_empty());
    crashed.keys(&INSTALLED);
    crashed.is_installed();
}

#[test]
fn a_crash_between_the_ingest_and_the_log_is_finished_by_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, receiver) = (sender(dir.path()), receiver(dir.path()));
    let received = transfer(&sender, &receiver);
    let manifest = received.prepare(&receiver.log, &install()).unwrap();
    manifest.ingest(&received.folder.0, &receiver.items).unwrap();
    let crashed = receiver.crash(dir.path().join("crashed"));
    assert!(crashed.recover().is_empty());
    crashed.keys(&INSTALLED);
    crashed.is_installed();
}

#[test]
fn an_installation_whose_files_are_damaged_is_reported_and_its_files_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, receiver) = (sender(dir.path()), receiver(dir.path()));
    let received = transfer(&sender, &receiver);
    received.prepare(&receiver.log, &install()).unwrap();
    let file = received.folder.0.join("000000.sst");
    let mut bytes = fs::read(&file).unwrap();
    bytes[100] ^= 1;
    fs::write(&file, bytes).unwrap();
    let crashed = receiver.crash(dir.path().join("crashed"));
    let failures = crashed.recover();
    assert!(matches!(failures.as_slice(), [(PARTITION, SnapshotError::Damaged { .. })]), "{failures:?}");
    assert_eq!(fs::read_dir(crashed.incoming()).unwrap().count(), 1);
    assert_eq!(crashed.log.groups()[0].receiving, Some(20));
}

#[test]
fn chunks_that_are_damaged_or_out_of_place_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let sender = sender(dir.path());
    let budget = Arc::new(Budget::new(0));
    let outgoing = Outgoing::build(&sender.items, &dir.path().join("outgoing"), ROUTE, &budget).unwrap();
    let chunk = outgoing.chunks().next().unwrap().unwrap();
    let refused = |change: &dyn Fn(&mut SnapshotData)| {
        let mut incoming = Incoming::begin(&dir.path().join("incoming"), outgoing.header(), &budget).unwrap();
        let mut chunk = chunk.clone();
        change(&mut chunk);
        matches!(incoming.write(&chunk), Err(SnapshotError::BadChunk { .. }))
    };
    assert!(!refused(&|_| {}));
    assert!(refused(&|chunk| chunk.crc32c ^= 1));
    assert!(refused(&|chunk| chunk.offset = 1));
    assert!(refused(&|chunk| chunk.file = 1));
    assert!(refused(&|chunk| {
        chunk.bytes = Bytes::from(vec![7; chunk.bytes.len()]);
        chunk.crc32c = crc32c::crc32c(&chunk.bytes);
    }));
    let incoming = Incoming::begin(&dir.path().join("incoming"), outgoing.header(), &budget).unwrap();
    assert!(matches!(incoming.finish(), Err(SnapshotError::BadChunk { .. })));
}

#[test]
fn a_second_snapshot_on_its_way_does_not_touch_the_files_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let (sender, receiver) = (sender(dir.path()), receiver(dir.path()));
    let first = transfer(&sender, &receiver);
    drop(transfer(&sender, &receiver));
    first.install(&receiver.items, &receiver.log, &install(), |_| false).unwrap();
    receiver.keys(&INSTALLED);
    receiver.is_installed();
}

#[test]
fn a_group_without_a_state_has_nothing_to_send() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::open(dir.path().join("node"));
    let build = || Outgoing::build(&node.items, &dir.path().join("outgoing"), ROUTE, &Arc::new(Budget::new(0)));
    assert!(matches!(build().unwrap_err(), SnapshotError::NoState { .. }));
    let records = GroupRecords { partition: PARTITION, mark: Some(mark(20).encode()), state: Some(state(1).encode()) };
    node.items.put_groups(&[records]).unwrap();
    let empty = build().unwrap();
    assert_eq!((empty.header().files.len(), empty.chunks().count()), (0, 0));
}

#[test]
fn a_budget_spreads_bytes_over_time_and_can_be_cancelled() {
    let budget = Arc::new(Budget::new(1 << 20));
    let begun = Instant::now();
    assert!(budget.take(32 << 10));
    assert!(begun.elapsed() >= Duration::from_millis(31));
    let waiting = Arc::clone(&budget);
    let thread = std::thread::spawn(move || waiting.take(1 << 40));
    budget.cancel();
    assert!(!thread.join().unwrap());
}
