//! The model of a node: the duties of the real host towards its replicas, each done late, in pieces, or never.
//!
//! Nothing here decides anything about replication; it must be no kinder to a replica than the real node may be.

pub mod births;
pub mod carry;
pub mod done;
pub mod pairs;
pub mod places;
pub mod receive;
pub mod snapshot;
pub mod start;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use model::{KeyRange, NodeId, PartitionDescriptor, ReplicaId};
use replica::{Input, Now, Replica, Status, Token};

use crate::core::Core;
use crate::disk::engine::{Contents, Engine};
use crate::disk::log::{LastBatch, Log, Received};
use crate::event::{Event, Group, Place, Process, Seat};
use crate::faults::Fault;
use crate::host::pairs::Pairs;
use crate::invariant::Verdict;
use crate::invariant::checked::Checked;
use crate::invariant::queues;
use crate::invariant::routing::Epochs;
use crate::mutant::Mutant;
use crate::queue::Time;
use crate::trace::At;

/// Wall clocks begin here: 2026, in microseconds since the epoch.
const EPOCH_US: u64 = 1_767_225_600_000_000;

/// A machine with a disk and, while it is up, a process.
pub struct Node {
    pub place: Place,
    pub id: NodeId,
    /// Where it really stands.
    pub zone: usize,
    pub life: u32,
    pub up: bool,
    pub paused_until: Time,
    /// Local seconds in a thousand seconds of the world.
    pub clock_permille: u64,
    pub clock_ahead_us: u64,
    /// How much slower than planned the disk is.
    pub disk_factor: u64,
    pub log: Log,
    pub engine: Engine,
    pub running: Vec<Option<Running>>,
    /// How often a replica of each group was seated by this process.
    seatings: Vec<u32>,
    /// Children in the engine whose log waits for the flush.
    births: BTreeMap<Group, ReplicaId>,
    pairs: Pairs,
    /// Where replicas were last heard from.
    addresses: BTreeMap<(Group, ReplicaId), (Place, NodeId)>,
    waiting: BTreeSet<Group>,
    turn_scheduled: bool,
    flush_scheduled: bool,
    next_token: u64,
    /// It dies in the middle of its next sync.
    pub doomed: bool,
}

/// One replica in this process.
pub struct Running {
    pub replica: Replica,
    pub id: ReplicaId,
    inbox: Vec<Input>,
    /// Who asked what, until it is answered.
    pub asked: BTreeMap<Token, Asked>,
    apply_at: Time,
    /// When a commit index that no append carries is told next, at the earliest.
    announce_at: Time,
    pub applying: VecDeque<u64>,
    /// Items waiting to be read.
    pub reading: usize,
    /// Snapshots built here for others, newest last.
    built: Vec<(ReplicaId, u64, Contents)>,
    /// Snapshots that have arrived and are not installed.
    received: Vec<(u64, u64, Contents)>,
    installing: Option<Rc<Received>>,
    /// The range of a snapshot that is to be stepped in this turn.
    expected: Option<KeyRange>,
    pub status: Status,
    pub descriptor: Option<PartitionDescriptor>,
    removed: bool,
}

impl Running {
    fn is_busy(&self) -> bool {
        self.in_snapshot() || self.status.in_joint_change || self.in_transfer()
    }

    /// It sends or installs one.
    pub fn in_snapshot(&self) -> bool {
        self.installing.is_some() || self.status.progress.iter().any(|progress| progress.receiving_snapshot)
    }

    /// Where it will have items as soon as a snapshot is installed.
    fn range_to_come(&self) -> Option<KeyRange> {
        let installing = self.installing.as_ref().map(|received| received.install.descriptor.range.clone());
        installing.or_else(|| self.expected.clone())
    }

    /// A change that somebody asked for is in the log and not committed, or in its joint configuration.
    pub fn has_change_under_way(&self) -> bool {
        let asked = self.asked.values().any(|asked| matches!(asked, Asked::Admin));
        asked && (self.status.last_index > self.status.committed || self.status.in_joint_change)
    }

    pub fn in_transfer(&self) -> bool {
        self.asked.values().any(|asked| matches!(asked, Asked::Transfer))
    }

    fn now_is(&mut self, status: Status) {
        self.status = status;
        if self.replica.descriptor() != self.descriptor.as_ref() {
            self.descriptor = self.replica.descriptor().cloned();
        }
    }

    /// 0 before its first snapshot.
    pub fn epoch(&self) -> u64 {
        self.descriptor.as_ref().map_or(0, |descriptor| descriptor.epoch)
    }
}

/// Who waits for a token.
#[derive(Clone, Debug)]
pub enum Asked {
    Client { client: usize, attempt: u64, operation: u64, key: bytes::Bytes, epochs: Epochs },
    Admin,
    Transfer,
}

impl Node {
    pub fn new(place: Place, id: NodeId, groups: usize, mutant: Option<Mutant>) -> Node {
        let mut engine = Engine::new(groups);
        engine.marks_first = mutant == Some(Mutant::MarkBeforeItems);
        engine.ingests_unflushed = mutant == Some(Mutant::IngestUnflushed);
        let mut log = Log::new(groups);
        log.lazy = mutant == Some(Mutant::EmptySync);
        log.votes_end_doubt = mutant == Some(Mutant::DoubtEndsEarly);
        Node {
            place,
            id,
            zone: place % 3,
            life: 0,
            up: false,
            paused_until: 0,
            clock_permille: 1000,
            clock_ahead_us: 0,
            disk_factor: 1,
            log,
            engine,
            running: (0..groups).map(|_| None).collect(),
            seatings: vec![0; groups],
            births: BTreeMap::new(),
            pairs: Pairs::default(),
            addresses: BTreeMap::new(),
            waiting: BTreeSet::new(),
            turn_scheduled: false,
            flush_scheduled: false,
            next_token: 0,
            doomed: false,
        }
    }

    pub fn process(&self) -> Process {
        Process { place: self.place, life: self.life }
    }

    /// Whether something scheduled for that process still concerns anybody.
    pub fn is(&self, process: Process) -> bool {
        self.up && self.life == process.life
    }

    fn seat(&self, group: Group, replica: ReplicaId) -> Seat {
        Seat { process: self.process(), group, replica, seating: self.seatings[group] }
    }

    /// The replica in that seat, if it is still there.
    pub fn seated(&mut self, seat: Seat) -> Option<&mut Running> {
        if !self.is(seat.process) || self.seatings[seat.group] != seat.seating {
            return None;
        }
        self.running[seat.group].as_mut().filter(|running| running.id == seat.replica)
    }

    /// The node's own clock.
    pub fn wall(&self, now: Time) -> Now {
        Now(EPOCH_US + self.clock_ahead_us + now / 1000 * self.clock_permille + now % 1000)
    }

    /// Local time in the world's.
    pub fn world_time(&self, local_us: Time) -> Time {
        local_us * 1000 / self.clock_permille
    }

    /// Gives a replica something to step; the worker takes its turn soon.
    pub fn give(&mut self, core: &mut Core, group: Group, input: Input) {
        let Some(running) = self.running[group].as_mut() else { return };
        running.inbox.push(input);
        self.waiting.insert(group);
        if !self.turn_scheduled {
            self.turn_scheduled = true;
            let delay = core.rng.range(1, 60);
            core.after(delay, Event::Turn(self.process()));
        }
    }

    /// One tick of the local clock, for every replica that is awake.
    pub fn tick(&mut self, core: &mut Core) {
        if core.plan.options.sleep_ticks > 0 {
            self.watch_pairs(core);
        }
        for group in 0..self.running.len() {
            if self.running[group].as_ref().is_some_and(|running| !running.replica.is_asleep()) {
                self.give(core, group, Input::Tick);
            }
        }
        let next = self.world_time(core.plan.tick_us);
        core.after(next, Event::Tick(self.process()));
    }

    /// Everything that waits, group by group; then the log's next sync.
    pub fn turn(&mut self, core: &mut Core) -> Verdict {
        self.turn_scheduled = false;
        let mut frames = BTreeMap::new();
        for group in std::mem::take(&mut self.waiting) {
            let Some(mut running) = self.running[group].take() else { continue };
            let mut inputs = std::mem::take(&mut running.inbox);
            let slept = running.replica.is_asleep();
            core.stepping = Some(group);
            let effects = running.replica.step(self.wall(core.now), &mut inputs);
            running.replica.check();
            core.stepping = None;
            self.carry_out(core, group, &mut running, effects, &mut frames)?;
            running.expected = None;
            if running.replica.is_asleep() && !slept {
                core.stats.count("replicas fallen asleep");
                core.note(At::seat(self.place, group), "falls asleep (replica)", [running.id.0, 0, 0, 0]);
                core.oracle.sleepers.falls_asleep(group, &running)?;
            }
            core.oracle.checks.count(Checked::Queues);
            queues::check(group, &running, &core.plan.options)?;
            let removed = running.removed;
            self.running[group] = Some(running);
            if removed {
                self.retire(core, group, None);
            }
        }
        for ((to, id), parcels) in frames {
            self.send(core, (to, id), parcels);
        }
        self.begin_sync(core);
        Ok(())
    }

    pub fn begin_sync(&mut self, core: &mut Core) {
        if self.log.begin_sync() {
            let delay = core.around(core.plan.disk.sync_us * self.disk_factor);
            core.after(delay, Event::Synced(self.process()));
            if std::mem::take(&mut self.doomed) {
                core.stats.count("crashes during a sync");
                let dies = core.rng.range(0, delay + delay / 8);
                core.after(dies, Event::Fault(Fault::Stop(self.place)));
            }
        }
    }

    /// The process dies; the disks keep what they keep.
    pub fn crash(&mut self, core: &mut Core, last: LastBatch) {
        if !self.up {
            return;
        }
        let unflushed = self.engine.unflushed();
        let kept = match core.rng.range(0, 3) {
            0 => 0,
            1 => unflushed,
            _ => core.rng.index(unflushed + 1),
        };
        core.note(At::place(self.place), "crash (kept of, last)", [kept as u64, unflushed as u64, last as u64, 0]);
        self.up = false;
        core.registry.down.insert(self.place);
        self.doomed = false;
        self.life += 1;
        self.log.crash(last);
        self.engine.crash(kept);
        for running in &mut self.running {
            *running = None;
        }
        self.addresses.clear();
        self.births.clear();
        self.pairs = Pairs::default();
        self.waiting.clear();
        self.turn_scheduled = false;
        self.flush_scheduled = false;
    }

    /// Something here is under way that a crash would interrupt.
    pub fn is_busy(&self) -> bool {
        self.up && self.running.iter().flatten().any(Running::is_busy)
    }

    /// Requests that have not been answered.
    pub fn unanswered(&self) -> usize {
        self.running.iter().flatten().map(|running| running.asked.len()).sum()
    }
}
