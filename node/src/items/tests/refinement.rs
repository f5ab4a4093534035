//! The items refine their model in `sim`: the same writes, flushes, snapshots and clearings go to both, and what a crash
//! leaves of RocksDB's files is a state that the model's crash may leave.
//!
//! A crash is a copy of the folder: as it was before the last operation, after it, or with RocksDB's manifest cut between
//! the two. Seeds are fixed; `TRIVET_REFINE_SEEDS` asks for more.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use model::{KeySchema, KeyType, PartitionDescriptor, ReplicaId, TableDescriptor};
use replica::GroupState;
use sim::disk::engine::{Applied, Contents, Engine, Record};
use sim::rng::Rng;

use super::*;

const STEPS: usize = 50;
const SEEDS: u64 = 5;
const DEADLINE: Duration = Duration::from_secs(60);
type Place = (PartitionId, TableId, &'static [u8], Option<&'static [u8]>);
/// Two partitions of one table, and one that is a whole table.
const GROUPS: [Place; 3] =
    [(PARTITION, TABLE, b"", Some(b"m")), (OTHER, TABLE, b"m", None), (PartitionId(0x79), NEIGHBOUR, b"", None)];
/// The spaces that are written here.
const SPACES: [u8; 2] = [SPACE_ITEMS, 1];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Apply,
    Flush,
    Compact,
    Birth(usize),
    Ingest(usize),
    Clear(usize),
}

/// Which files the next start finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Crash {
    Before,
    After,
    /// In the manifest, from this byte on: the file's end, or what a disk may hold beyond it.
    Torn {
        at: usize,
        beyond: Beyond,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beyond {
    Nothing,
    Zeros,
    Noise,
}

struct World {
    rng: Rng,
    life: u32,
    items: Option<Items>,
    model: Engine,
    /// Where snapshots come from.
    sender: Items,
    /// After the items, which write when they are closed.
    root: tempfile::TempDir,
    /// Groups that were begun once: their range is not empty for sure any more, so they come back by a snapshot alone.
    known: [bool; 3],
    index: u64,
    snapshots: u32,
    /// Starts that RocksDB refused.
    refused: u32,
    story: Vec<String>,
}

impl World {
    fn new(seed: u64) -> World {
        let root = tempfile::tempdir().unwrap();
        World {
            rng: Rng::new(seed),
            life: 0,
            items: Some(open_small(&root.path().join("life-0"))),
            model: Engine::new(GROUPS.len()),
            sender: open(&root.path().join("sender")),
            known: [false; 3],
            index: 10,
            snapshots: 0,
            refused: 0,
            story: Vec::new(),
            root,
        }
    }

    fn items(&self) -> &Items {
        self.items.as_ref().unwrap()
    }

    fn step(&mut self) {
        let operation = self.draw();
        let dies = self.rng.permille(120);
        self.story.push(format!("{operation:?}{}", if dies { ", and dies" } else { "" }));
        let before = self.model.clone();
        if dies {
            copy(&self.dir(), &self.root.path().join("before"));
        }
        let persisted = self.persisted();
        self.carry_out(operation);
        if dies {
            let persisted = if matches!(operation, Operation::Clear(_)) { [None; 3] } else { persisted };
            self.die(operation, before, persisted);
        } else if self.rng.permille(200) {
            let state = self.model.current.clone();
            assert_eq!(self.differs(&state), None);
        }
    }

    fn draw(&mut self) -> Operation {
        let group = self.rng.index(GROUPS.len());
        let lives = self.model.current[group].mark.is_some();
        match self.rng.range(0, 100) {
            _ if !lives && !self.known[group] => Operation::Birth(group),
            0..10 => Operation::Flush,
            10..13 => Operation::Compact,
            13..24 => Operation::Ingest(group),
            24..29 if lives => Operation::Clear(group),
            _ => Operation::Apply,
        }
    }

    fn carry_out(&mut self, operation: Operation) {
        match operation {
            Operation::Apply => self.apply(),
            Operation::Flush => {
                self.items().flush().unwrap();
                self.model.flush(self.model.unflushed());
            }
            Operation::Compact => self.items().inner.db.compact_range(None::<&[u8]>, None::<&[u8]>),
            Operation::Birth(group) => {
                let contents = self.newborn(group);
                let (mark, state) = (encoded_mark(&contents), encoded_state(&contents));
                self.items().put_groups(&[GroupRecords { partition: GROUPS[group].0, mark, state }]).unwrap();
                self.model.flush(self.model.unflushed());
                self.model.birth(group, &contents);
                self.known[group] = true;
            }
            Operation::Ingest(group) => self.ingest(group),
            Operation::Clear(group) => {
                self.clear(group);
                self.model.clear(group);
                self.model.flush(self.model.unflushed());
            }
        }
    }

    fn clear(&self, group: usize) {
        let (partition, table, ..) = GROUPS[group];
        self.items().clear(partition, table, &range_of(group)).unwrap();
        self.items().flush().unwrap();
    }

    /// What one turn applies: several groups, one atomic write.
    fn apply(&mut self) {
        let mut turn = TurnBatch::default();
        for (group, (partition, table, ..)) in GROUPS.into_iter().enumerate() {
            if self.model.current[group].mark.is_none() || self.rng.permille(300) {
                continue;
            }
            let applied = Rc::new(self.batch(group));
            turn.add(partition, table, applied.batch.clone());
            self.model.apply(group, applied);
        }
        let end = Instant::now() + DEADLINE;
        while self.items().write(&turn).unwrap() == WriteOutcome::Stalled {
            assert!(Instant::now() < end, "the items stall for ever");
            std::thread::yield_now();
        }
    }

    fn batch(&mut self, group: usize) -> Applied {
        let writes: Vec<AppliedWrite> = (0..self.rng.range(0, 9)).map(|_| self.write(group)).collect();
        self.index += 1;
        let mark = AppliedMark { index: self.index, term: 5, commit_time_us: self.rng.range(0, 99) };
        let state = self.rng.permille(200).then(|| Rc::new(self.state(group)));
        let encoded = state.as_ref().map(|state| state.encode());
        Applied {
            batch: ApplyBatch { index: self.index, writes, mark: mark.encode(), state: encoded, children: Vec::new() },
            mark,
            state,
        }
    }

    fn write(&mut self, group: usize) -> AppliedWrite {
        self.index += self.rng.range(0, 2);
        let kind = match self.rng.range(0, 10) {
            0..4 => WriteKind::Put,
            4..6 => WriteKind::Delete,
            _ => WriteKind::Touch,
        };
        let size = if self.rng.permille(100) { 90_000 } else { 30 };
        let attributes = match kind {
            WriteKind::Put => Bytes::from(vec![self.rng.draw().to_le_bytes()[0]; self.rng.index(size)]),
            WriteKind::Delete | WriteKind::Touch => Bytes::new(),
        };
        let mut key = GROUPS[group].2.to_vec();
        key.push(b'a' + self.rng.range(0, 4).to_le_bytes()[0]);
        AppliedWrite {
            index: self.index,
            space: *self.rng.pick(&SPACES).unwrap(),
            key: key.into(),
            kind,
            attributes,
            // Clocks of leaders differ: a later write may bring an earlier time.
            version_timestamp_us: self.rng.range(0, 1000),
        }
    }

    fn state(&mut self, group: usize) -> GroupState {
        let (id, table, ..) = GROUPS[group];
        let epoch = self.rng.range(1, 1 << 40);
        let descriptor = PartitionDescriptor { epoch, ..PartitionDescriptor::birth(id, table, range_of(group), []) };
        GroupState::birth(ReplicaId(1), descriptor, table_of(table))
    }

    fn newborn(&mut self, group: usize) -> Contents {
        let (mark, state) = (Some(AppliedMark::birth()), Some(Rc::new(self.state(group))));
        Contents { mark, state, ..Contents::default() }
    }

    /// A snapshot of other contents replaces what the group has.
    fn ingest(&mut self, group: usize) {
        let (partition, table, ..) = GROUPS[group];
        let range = range_of(group);
        let mut contents = self.newborn(group);
        let applied = self.batch(group);
        applied.batch.writes.iter().for_each(|write| contents.write(write));
        contents.mark = Some(applied.mark);
        self.sender.clear(partition, table, &range).unwrap();
        super::apply(&self.sender, table, partition, applied.batch.writes);
        let dir = self.root.path().join(format!("snapshot-{}", self.snapshots));
        self.snapshots += 1;
        fs::create_dir(&dir).unwrap();
        let files = self.sender.view().write_files(table, &range, &dir, 200, |_| true).unwrap();
        let (mark, state) = (encoded_mark(&contents).unwrap(), encoded_state(&contents).unwrap());
        let snapshot = SnapshotFiles { partition, table, range: &range, mark: &mark, state: &state, files, dir: &dir };
        self.items().ingest(&snapshot).unwrap();
        fs::remove_dir_all(&dir).unwrap();
        self.model.ingest(group, &contents);
        self.known[group] = true;
    }

    /// What the items say a crash cannot take back.
    fn persisted(&self) -> [Option<u64>; 3] {
        GROUPS.map(|(partition, ..)| self.items().persisted_index(partition).unwrap())
    }

    fn die(&mut self, operation: Operation, before: Engine, persisted: [Option<u64>; 3]) {
        let (old, next) = (self.root.path().join("before"), self.root.path().join(format!("life-{}", self.life + 1)));
        let after = self.root.path().join("after");
        copy(&self.dir(), &after);
        let crash = self.crash(operation, &old, &after);
        self.story.push(format!("{crash:?}"));
        lay_out(&mut self.rng, crash, &old, &after, &next);
        self.items = None;
        fs::remove_dir_all(self.dir()).unwrap();
        self.life += 1;
        match Items::open(small(&next)) {
            Ok(items) => self.items = Some(settled(items)),
            Err(error) => {
                let noise = matches!(crash, Crash::Torn { beyond: Beyond::Noise | Beyond::Zeros, .. });
                assert!(noise, "refused: {}", wire::error::describe(&error));
                self.refused += 1;
                fs::remove_dir_all(&next).unwrap();
                copy(&after, &next);
                self.items = Some(open_small(&next));
            }
        }
        fs::remove_dir_all(old).unwrap();
        fs::remove_dir_all(after).unwrap();
        if let Operation::Clear(group) = operation {
            // As a start does with a replica that the log has retired.
            self.clear(group);
        }
        self.survive(operation, crash, before, persisted);
    }

    fn crash(&mut self, operation: Operation, before: &Path, after: &Path) -> Crash {
        let (old, new) = (manifest(before), manifest(after));
        let (from, to) = (fs::read(&old).unwrap().len(), fs::read(&new).unwrap().len());
        match self.rng.range(0, 10) {
            0..2 => Crash::Before,
            2..4 => Crash::After,
            // A compaction's files between come and go.
            _ if operation == Operation::Compact || old.file_name() != new.file_name() || from == to => Crash::After,
            4..8 => Crash::Torn { at: from + self.rng.index(to - from), beyond: Beyond::Nothing },
            8 => Crash::Torn { at: from + self.rng.index(to - from), beyond: Beyond::Zeros },
            _ => Crash::Torn { at: from + self.rng.index(to - from), beyond: Beyond::Noise },
        }
    }

    /// What was found is one of the states that the model may be left with: that is its state from now on.
    fn survive(&mut self, operation: Operation, crash: Crash, before: Engine, persisted: [Option<u64>; 3]) {
        let mut candidates = Vec::new();
        let engines = if crash == Crash::Before { vec![before] } else { vec![before, self.model.clone()] };
        for engine in engines {
            for kept in 0..=engine.unflushed() {
                let mut left = engine.clone();
                left.crash(kept);
                if let Operation::Clear(group) = operation {
                    left.clear(group);
                    left.flush(left.unflushed());
                }
                candidates.push(left);
            }
        }
        let differences: Vec<Option<String>> = candidates.iter().map(|left| self.differs(&left.current)).collect();
        let Some(found) = differences.iter().rposition(Option::is_none) else {
            panic!("what is left is no state that the model may be left with: {differences:#?}");
        };
        self.model = candidates.swap_remove(found);
        for (group, persisted) in persisted.into_iter().enumerate() {
            let left = self.items().persisted_index(GROUPS[group].0).unwrap();
            assert!(left >= persisted, "group {group}: {persisted:?} was told to be safe, {left:?} is left");
            assert_eq!(left, self.model.flushed_index(group));
        }
    }

    /// Why the items are not in that state. What lies in the range of a group without records belongs to nobody.
    fn differs(&self, state: &[Contents]) -> Option<String> {
        for (group, contents) in state.iter().enumerate() {
            let partition = GROUPS[group].0;
            let expected = GroupRecords { partition, mark: encoded_mark(contents), state: encoded_state(contents) };
            let found = self.items().group(partition).unwrap();
            if found != expected {
                return Some(format!("group {group} has {found:?}, not {expected:?}"));
            }
            if contents.mark.is_some() && *contents.items != self.found(group) {
                return Some(format!("group {group} at {:?} has other items", contents.mark));
            }
        }
        None
    }

    fn found(&self, group: usize) -> BTreeMap<(u8, Bytes), Record> {
        let mut found = BTreeMap::new();
        for space in SPACES {
            let bounds = keys::bounds(GROUPS[group].1, space, &range_of(group));
            let mut at = self.items().inner.db.raw_iterator_opt(engine::iterate_options(bounds));
            at.seek_to_first();
            while let Some((key, record)) = at.item() {
                let (header, attributes) = decode_record(&Bytes::copy_from_slice(record)).unwrap();
                let RecordHeader { flags: _, version_timestamp_us, log_position } = header;
                let key = Bytes::copy_from_slice(&key[keys::PREFIX_LEN..]);
                found.insert((space, key), Record { version_timestamp_us, log_position, attributes });
                at.next();
            }
            at.status().unwrap();
        }
        found
    }

    fn dir(&self) -> PathBuf {
        self.root.path().join(format!("life-{}", self.life))
    }
}

fn range_of(group: usize) -> KeyRange {
    let (_, _, start, end) = GROUPS[group];
    KeyRange { start: Bytes::from_static(start), end: end.map(Bytes::from_static) }
}

fn encoded_mark(contents: &Contents) -> Option<Bytes> {
    contents.mark.map(|mark| mark.encode())
}

fn encoded_state(contents: &Contents) -> Option<Bytes> {
    contents.state.as_ref().map(|state| state.encode())
}

fn table_of(id: TableId) -> TableDescriptor {
    TableDescriptor { id, ..TableDescriptor::wish("things", KeySchema::simple("pk", KeyType::S)) }
}

/// Memtables as small as they get: RocksDB flushes by itself, too.
fn small(dir: &Path) -> ItemsOptions {
    ItemsOptions { memory_bytes: 4 << 20, ..ItemsOptions::new(dir.to_owned(), 7 << 32) }
}

fn open_small(dir: &Path) -> Items {
    settled(Items::open(small(dir)).unwrap())
}

/// No compaction changes the files behind the test's back, one that began with the start neither.
fn settled(items: Items) -> Items {
    let items = items.without_compaction();
    let end = Instant::now() + DEADLINE;
    let running = || items.inner.db.property_int_value(rocksdb::properties::NUM_RUNNING_COMPACTIONS).unwrap();
    while running() != Some(0) {
        assert!(Instant::now() < end, "a compaction never ends");
        std::thread::yield_now();
    }
    items
}

fn manifest(dir: &Path) -> PathBuf {
    dir.join(fs::read_to_string(dir.join("CURRENT")).unwrap().trim())
}

/// The folder at one moment, though flushes may come to their end meanwhile.
fn copy(from: &Path, to: &Path) {
    let names = || {
        let mut names: Vec<_> = fs::read_dir(from).unwrap().map(|file| file.unwrap().file_name()).collect();
        // RocksDB's own log is off and its empty files come and go; so do the lines it writes about itself.
        names.retain(|name| !name.to_string_lossy().ends_with(".log") && !name.to_string_lossy().starts_with("LOG"));
        names.sort();
        (names, fs::metadata(manifest(from)).unwrap().len())
    };
    let end = Instant::now() + DEADLINE;
    loop {
        assert!(Instant::now() < end, "the folder does not stand still");
        let before = names();
        drop(fs::remove_dir_all(to));
        fs::create_dir_all(to).unwrap();
        let copied = before.0.iter().all(|name| fs::copy(from.join(name), to.join(name)).is_ok());
        if copied && names() == before {
            return;
        }
    }
}

fn lay_out(rng: &mut Rng, crash: Crash, before: &Path, after: &Path, to: &Path) {
    let Crash::Torn { at, beyond } = crash else {
        return copy(if crash == Crash::Before { before } else { after }, to);
    };
    copy(after, to);
    // What the later manifest no longer needs is deleted after it is synced.
    for file in fs::read_dir(before).unwrap().map(Result::unwrap) {
        if !to.join(file.file_name()).exists() {
            fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
    let mut bytes = fs::read(manifest(after)).unwrap();
    match beyond {
        Beyond::Nothing => bytes.truncate(at),
        Beyond::Zeros => bytes[at..].fill(0),
        Beyond::Noise => bytes[at..].fill_with(|| rng.draw().to_le_bytes()[0]),
    }
    fs::write(manifest(to), bytes).unwrap();
}

#[test]
fn the_items_keep_of_a_crash_what_their_model_may_keep() {
    crate::refinement::seeds(SEEDS, STEPS, World::new, World::step, |world| &world.story);
}
