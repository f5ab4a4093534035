//! The log refines its model in `sim`: the same operations go to both, and what a crash leaves of the real files is what the
//! model says is left.
//!
//! A crash is a copy of the folder. What was synced is in it; of the batch that was being written there is nothing, all, or a
//! part, with zeros, noise or the file's end behind it. Seeds are fixed; `TRIVET_REFINE_SEEDS` asks for more.

pub mod crash;
mod draw;

use std::path::PathBuf;

use sim::disk::log::{LastBatch, Log as Model, Operation};
use sim::rng::Rng;

use super::*;
use crash::{Left, Reach};
use draw::Drawn;

/// One more than there are: operations of the last one only stand for a sync.
const GROUPS: usize = 4;
const STEPS: usize = 120;
const SEEDS: u64 = 14;

fn partition(group: usize) -> PartitionId {
    PartitionId(0x100 + u64::try_from(group).unwrap())
}

/// What to do with the batch that is drawn next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    GoesOn,
    /// The process dies before it is told that the batch is synced.
    DiesMeanwhile,
    /// It was told, dies, and the disk has damaged the batch.
    Rots,
    /// The process ends with a word.
    Closes,
}

struct World {
    rng: Rng,
    life: u32,
    log: Log,
    /// After the log, which writes when it is closed.
    root: tempfile::TempDir,
    told: Arc<Told>,
    /// Jobs of this life that were told.
    jobs: usize,
    model: Model,
    /// What an idle log writes by itself is written before the next step.
    idle: bool,
    batches: u64,
    /// Groups in the batch that is not synced yet, or was synced last.
    touched: BTreeSet<usize>,
    /// Groups that the real log may doubt and the model does not: made in a life that began with a lost end.
    suspects: Vec<bool>,
    ended_badly: bool,
    story: Vec<String>,
}

impl World {
    fn new(seed: u64) -> World {
        let mut rng = Rng::new(seed);
        let root = tempfile::tempdir().unwrap();
        let idle = rng.permille(300);
        let (log, told) = open_watched(&life_dir(root.path(), 0), idle);
        World {
            rng,
            root,
            life: 0,
            log,
            told,
            jobs: 0,
            model: Model::new(GROUPS + 1),
            idle,
            batches: 0,
            touched: BTreeSet::new(),
            suspects: vec![false; GROUPS],
            ended_badly: false,
            story: Vec::new(),
        }
    }

    fn step(&mut self) {
        let mut fate = match self.rng.range(0, 100) {
            0..8 => Fate::DiesMeanwhile,
            8..12 => Fate::Rots,
            12..15 => Fate::Closes,
            _ => Fate::GoesOn,
        };
        let before = self.root.path().join("before");
        let copies = matches!(fate, Fate::DiesMeanwhile | Fate::Rots);
        if copies {
            self.log.inner.purge.wait_until_idle();
            crash::copy(&self.dir(), &before);
        }
        let suspects = self.suspects.clone();
        let must_sync = self.submit();
        if fate == Fate::Rots && (!must_sync || self.idle) {
            fate = Fate::DiesMeanwhile;
        }
        if fate == Fate::DiesMeanwhile && self.idle && self.batches == 0 {
            // It has written nothing in this life: there is no mark to tear.
            fate = Fate::GoesOn;
        }
        match fate {
            Fate::GoesOn => self.settle(must_sync),
            Fate::Closes => self.close(),
            Fate::Rots => self.rot(&before),
            Fate::DiesMeanwhile if self.idle => self.die_idle(&before),
            Fate::DiesMeanwhile => self.die(&before, must_sync, suspects),
        }
        if copies {
            fs::remove_dir_all(&before).unwrap();
        }
    }

    /// Draws a batch and hands it to both; whether it must be synced.
    fn submit(&mut self) -> bool {
        let mut jobs = Vec::new();
        let mut must_sync = false;
        for _ in 0..=self.rng.index(4) {
            let group = self.rng.index(GROUPS);
            let Some(Drawn { operations, works, sync }) = draw::draw(&mut self.rng, &self.model.current[group]) else {
                continue;
            };
            self.story.push(format!("group {group}: {operations:.200?}"));
            self.touched.insert(group);
            for operation in operations {
                match operation {
                    Operation::Identity(_) => self.suspects[group] |= self.ended_badly,
                    Operation::Retire { .. } => self.suspects[group] = false,
                    _ => (),
                }
                self.model.submit(group, operation, sync, None);
            }
            jobs.extend(works.into_iter().map(|work| Job { worker: 0, partition: partition(group), work }));
            must_sync |= sync;
        }
        self.hand_over(jobs);
        must_sync
    }

    /// And waits until it is told.
    fn hand_over(&mut self, jobs: Vec<Job>) {
        if jobs.is_empty() {
            return;
        }
        self.jobs += jobs.len();
        self.log.submit(jobs);
        self.told.wait(0, self.jobs);
        if self.idle {
            // One sync, at once or when nothing more comes; then the mark.
            self.batches += 2;
            let end = Instant::now() + DEADLINE;
            while self.log.counters().batches < self.batches {
                assert!(Instant::now() < end, "an idle log writes nothing");
                std::thread::yield_now();
            }
        }
    }

    fn settle(&mut self, must_sync: bool) {
        if self.idle {
            self.sync_model();
        } else if must_sync {
            assert!(self.model.begin_sync());
            self.model.synced();
            self.touched.clear();
        }
        if self.model.waiting() == 0 && self.rng.permille(100) {
            self.compare();
            self.fetch();
        }
    }

    /// Everything that was submitted is durable, and told to be.
    fn sync_model(&mut self) {
        self.touched.clear();
        for _ in 0..2 {
            self.model.submit(GROUPS, Operation::Truncate(0), true, None);
            assert!(self.model.begin_sync());
            self.model.synced();
        }
    }

    fn close(&mut self) {
        self.sync_model();
        self.log.close();
        crash::copy(&self.dir(), &self.next_dir());
        self.model.crash(LastBatch::Lost);
        self.story.push("closes".to_owned());
        self.restart(Some(false));
        self.compare();
        self.compare_doubts();
    }

    /// Power fails while the batch is on its way.
    fn die(&mut self, before: &Path, must_sync: bool, suspects: Vec<bool>) {
        self.log.inner.purge.wait_until_idle();
        let (from, to) = (self.dir(), self.next_dir());
        let left = crash::cut(&mut self.rng, before, &from, &to, Reach::Step);
        self.story.push(format!("dies: {left:?} of the batch is left"));
        if left != Left::All {
            // Who was to begin or to go has not.
            self.suspects = suspects;
        }
        if must_sync {
            assert!(self.model.begin_sync());
        }
        let last = match left {
            Left::All => LastBatch::Kept,
            Left::Nothing => LastBatch::Lost,
            Left::Part => LastBatch::Torn,
            // A file that was being made may be doubted or not: nothing was in it.
            Left::Header if self.restart(None) => LastBatch::Torn,
            Left::Header => LastBatch::Lost,
        };
        self.model.crash(last);
        if left != Left::Header {
            self.restart(Some(left == Left::Part));
        }
        self.compare();
        self.compare_doubts();
    }

    /// Power fails while an idle log writes its mark: everything else is synced.
    fn die_idle(&mut self, before: &Path) {
        self.log.inner.purge.wait_until_idle();
        let (from, to) = (self.dir(), self.next_dir());
        let left = crash::cut(&mut self.rng, before, &from, &to, Reach::LastBatch);
        self.story.push(format!("dies idle: {left:?} of the mark is left"));
        self.sync_model();
        let doubts = self.restart((left != Left::Header).then_some(left == Left::Part));
        self.model.crash(if doubts { LastBatch::Torn } else { LastBatch::Lost });
        self.compare();
        self.compare_doubts();
    }

    /// The batch was told to be synced, and cannot be read.
    fn rot(&mut self, before: &Path) {
        assert!(self.model.begin_sync());
        self.model.synced();
        self.log.inner.purge.wait_until_idle();
        let (from, to) = (self.dir(), self.next_dir());
        if self.model.may_rot() {
            self.story.push("rots".to_owned());
            crash::damage(&mut self.rng, before, &from, &to);
            if refuses(&to) {
                // The damaged batch was the first of its file, and what was before it has been purged: nobody knows how
                // many batches are missing. The node stays out.
                fs::remove_dir_all(&to).unwrap();
                crash::copy(&from, &to);
                self.model.crash(LastBatch::Lost);
                self.restart(Some(false));
            } else {
                let touched = std::mem::take(&mut self.touched);
                self.model.crash(LastBatch::Rotten);
                self.restart(Some(true));
                self.leave_corrupt(&touched);
            }
        } else {
            self.story.push("dies after the sync".to_owned());
            crash::copy(&from, &to);
            self.model.crash(LastBatch::Lost);
            self.restart(Some(false));
        }
        self.compare();
        self.compare_doubts();
    }

    /// What the rotten batch had replaced may be purged: such a group is corrupt, and leaves.
    fn leave_corrupt(&mut self, touched: &BTreeSet<usize>) {
        let (mut jobs, mut left) = (Vec::new(), 0);
        for found in self.log.groups().into_iter().filter(|found| found.corrupt) {
            let group = (0..GROUPS).find(|group| partition(*group) == found.partition).unwrap();
            assert!(touched.contains(&group), "group {group} is corrupt, and had no part in what rotted");
            let replica = self.model.current[group].identity.unwrap();
            let Drawn { operations, works, sync } = draw::retire(replica);
            for operation in operations {
                self.model.submit(group, operation, sync, None);
            }
            jobs.extend(works.into_iter().map(|work| Job { worker: 0, partition: found.partition, work }));
            self.story.push(format!("group {group} is corrupt, and leaves"));
            self.suspects[group] = false;
            left += 1;
        }
        self.hand_over(jobs);
        if left > 0 {
            self.settle(true);
        }
    }

    fn dir(&self) -> PathBuf {
        life_dir(self.root.path(), self.life)
    }

    fn next_dir(&self) -> PathBuf {
        life_dir(self.root.path(), self.life + 1)
    }

    /// Opens what the crash left; whether the log doubts its end, which is as told.
    fn restart(&mut self, doubts: Option<bool>) -> bool {
        let old = self.dir();
        self.life += 1;
        self.idle = self.rng.permille(300);
        (self.jobs, self.batches) = (0, 0);
        (self.log, self.told) = open_watched(&self.dir(), self.idle);
        fs::remove_dir_all(old).unwrap();
        let found = self.log.empty_start(PartitionId(0x999)).tail_uncertain;
        if let Some(doubts) = doubts {
            assert_eq!(found, doubts, "whether the log doubts its end");
        }
        self.ended_badly = found;
        for (group, log) in self.model.current[..GROUPS].iter().enumerate() {
            // Nothing tells one that is gone from one that has not spoken yet.
            self.suspects[group] |= found && log.identity.is_none() && log.lowest > 0;
        }
        found
    }

    /// Both hold the same, and the real one doubts whatever the model doubts.
    fn compare(&mut self) {
        let found = self.log.groups();
        for (group, model) in self.model.current[..GROUPS].iter().enumerate() {
            let partition = partition(group);
            let real = found.iter().find(|found| found.partition == partition);
            let entries = &model.entries;
            let has_log =
                model.hard_state != HardState::default() || model.last_index() > 0 || model.receiving.is_some();
            let expected = LogGroup {
                partition,
                accept_from: ReplicaId(model.lowest),
                exists: has_log,
                receiving: model.receiving.as_ref().map(|received| received.install.index),
                corrupt: false,
            };
            let silent =
                LogGroup { partition, accept_from: ReplicaId(0), exists: false, receiving: None, corrupt: false };
            assert_eq!(*real.unwrap_or(&silent), expected);
            assert_eq!(self.log.accept_from(partition).0, model.lowest);
            let start = self.log.start_of(partition, 0).unwrap();
            let mut terms: Vec<(u64, u64)> = entries.iter().map(|entry| (entry.index, entry.term)).collect();
            terms.dedup_by_key(|(_, term)| *term);
            assert_eq!(start.hard_state, model.hard_state, "group {group}");
            assert_eq!((start.truncated_index, start.truncated_term), (model.truncated_index, model.truncated_term));
            assert_eq!((start.last_index, &start.terms), (model.last_index(), &terms), "group {group}");
            assert!(start.entries == *entries, "group {group} has other entries");
        }
    }

    /// After a start: who is uncertain.
    fn compare_doubts(&mut self) {
        for group in 0..GROUPS {
            let partition = partition(group);
            let has_log = self.log.groups().iter().any(|found| found.partition == partition && found.exists);
            let real = if has_log {
                self.log.start_of(partition, 0).unwrap().tail_uncertain
            } else {
                self.log.empty_start(partition).tail_uncertain
            };
            let model = self.model.uncertain.contains(&group) && self.model.current[group].identity.is_some();
            assert!(real || !model, "group {group} is sure of what it may have lost");
            assert!(!real || model || self.suspects[group] || self.ended_badly, "group {group} doubts without reason");
        }
    }

    /// Entries read back are those of the model, from the first asked for.
    fn fetch(&mut self) {
        let group = self.rng.index(GROUPS);
        let model = &self.model.current[group];
        if model.entries.is_empty() {
            return;
        }
        let low = self.rng.range(model.truncated_index + 1, model.last_index() + 1);
        let high = self.rng.range(low + 1, model.last_index() + 2);
        let request = FetchRequest { low, high, max_bytes: self.rng.range(0, 4000), to: ReplicaId(1) };
        let found = self.log.fetch(partition(group), &request).unwrap();
        let expected = model.read(low, high, u64::MAX);
        assert!(!found.is_empty() && expected.starts_with(&found), "group {group}: {request:?}");
    }
}

fn life_dir(root: &Path, life: u32) -> PathBuf {
    root.join(format!("life-{life}"))
}

/// Whether the log says that it is corrupt, without any readable mark; it is opened as a copy then.
fn refuses(dir: &Path) -> bool {
    let copy = dir.with_extension("tried");
    crash::copy(dir, &copy);
    let opened = Log::open(options(&copy), Arc::new(Told::default()));
    fs::remove_dir_all(&copy).unwrap();
    match opened {
        Ok(_) => false,
        Err(LogError::Corrupt { readable: 0, .. }) => true,
        Err(error) => panic!("{error}"),
    }
}

fn open_watched(dir: &Path, idle: bool) -> (Log, Arc<Told>) {
    let told = Arc::new(Told::default());
    let lazy_after = Duration::from_millis(if idle { 1 } else { 3_600_000 });
    let options =
        LogOptions { file_bytes: 24 << 10, purge_bytes: 64 << 10, lazy_after, ..LogOptions::new(dir.to_owned()) };
    (Log::open(options, Arc::clone(&told) as Arc<dyn LogListener>).unwrap(), told)
}

/// Seed 71 rots the batch in which an empty log began again, after a purge has removed what it replaced. Seed 101 loses the batch
/// that retires a replica.
#[test]
fn seeds_that_were_told_apart_once_are_not_any_more() {
    for seed in [71, 101] {
        let mut world = World::new(seed);
        (0..STEPS).for_each(|_| world.step());
    }
}

#[test]
fn the_log_keeps_of_a_crash_what_its_model_keeps() {
    crate::refinement::seeds(SEEDS, STEPS, World::new, World::step, |world| &world.story);
}
