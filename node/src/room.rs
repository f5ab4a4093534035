//! How much room the node's disk has, at any moment, and what is given up where it has none.
//!
//! Free space is measured with every tick and, in between, whenever so much has been handed to the log and the items that a
//! threshold may be near. What is on its way to the disk counts as written: jobs that wait for the log, memtables that wait
//! for their flush. What is missing from the reserve counts as taken. The thresholds are parts of what the operator wants to
//! be kept free:
//!
//! | room left | state | what stops |
//! |---|---|---|
//! | all of it and more | enough | nothing |
//! | less | scarce | leaders are handed on; no new replica, no snapshot |
//! | less than half | full | clients' writes, where the node leads or a quorum would need it |
//! | less than a quarter | exhausted | what other leaders want written |
//!
//! Beyond that the disk refuses: the log's writer and the items wait and try again ([`Room::refused`]), and the reserve is
//! given up step by step. Nothing here decides about data.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::disk::{Disk, RESERVE_STEP_BYTES};
use crate::items::Items;
use crate::log::Log;
use crate::metrics::Metrics;
use wire::error::describe;

/// Between two measurements at most so much is handed over, however much room there is.
const LONGEST_STEP_BYTES: u64 = 16 << 20;
/// Near a threshold it is measured this often: a few writes of the largest item.
const SHORTEST_STEP_BYTES: u64 = 256 << 10;
/// What an exhausted disk still takes from other leaders, once: as much as the leader of a group may have under way
/// (`replica::Options::uncommitted_bytes`). Whoever leads next must bring what it has to a quorum before it serves anything, and
/// with nowhere to bring it there would be no reads.
const EXHAUSTED_ALLOWANCE_BYTES: u64 = 8 << 20;
/// How long one who was refused by the disk waits before the next attempt.
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum RoomState {
    Enough,
    /// Leaders are handed on, new replicas refused.
    Scarce,
    /// Clients' writes are refused where the node leads.
    Full,
    /// What other leaders want written is refused, too: the rest is for flushes and for the log's own records.
    Exhausted,
}

/// By their numbers.
const STATES: [RoomState; 4] = [RoomState::Enough, RoomState::Scarce, RoomState::Full, RoomState::Exhausted];

/// Sizes of one node's room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomOptions {
    /// Free space with which leaders are handed on.
    pub scarce_below_bytes: u64,
    /// Kept back in a file, for starts, flushes and the log's records when there is nothing else.
    pub reserve_bytes: u64,
    /// Nodes on this disk, this one among them: each has as much on its way.
    pub sharers: u64,
    /// How long nothing must have been refused before the reserve is filled again.
    pub calm: Duration,
}

/// RocksDB looks every five seconds whether there is enough room to go on: it must find what was given up.
pub const CALM: Duration = Duration::from_secs(12);

struct Inner {
    /// Neither this nor the claimants once the node has stopped: streams of others may hold a room for longer.
    disk: Option<Arc<Disk>>,
    claimants: Option<Claimants>,
    /// Bytes of the reserve that are kept.
    kept: u64,
    refused: Option<Instant>,
}

/// Who has something on its way to the disk.
struct Claimants {
    log: Log,
    items: Items,
}

pub struct Room {
    options: RoomOptions,
    metrics: Arc<Metrics>,
    state: AtomicU8,
    /// Handed over since the last measurement, and how much may be before the next.
    spent: AtomicU64,
    step: AtomicU64,
    allowance: AtomicU64,
    /// As last measured.
    free_bytes: AtomicU64,
    /// One measures at a time.
    inner: Mutex<Inner>,
    closed: Mutex<bool>,
    closing: Condvar,
}

impl Room {
    pub fn new(disk: Arc<Disk>, options: RoomOptions, metrics: Arc<Metrics>) -> Room {
        let kept = kept_by(&disk);
        Room {
            options,
            metrics,
            state: AtomicU8::new(RoomState::Enough as u8),
            spent: AtomicU64::new(0),
            step: AtomicU64::new(0),
            allowance: AtomicU64::new(EXHAUSTED_ALLOWANCE_BYTES),
            free_bytes: AtomicU64::new(0),
            inner: Mutex::new(Inner { disk: Some(disk), claimants: None, kept, refused: None }),
            closed: Mutex::new(false),
            closing: Condvar::new(),
        }
    }

    /// From now on what is on its way to these counts. Opening them may have taken from the reserve.
    pub fn watch(&self, log: Log, items: Items) {
        let mut inner = self.lock();
        inner.claimants = Some(Claimants { log, items });
        if let Some(disk) = &inner.disk {
            inner.kept = kept_by(disk);
        }
    }

    pub fn get(&self) -> RoomState {
        STATES[usize::from(self.state.load(Ordering::Relaxed))]
    }

    /// Free bytes of the disk, as last measured.
    pub fn free_bytes(&self) -> u64 {
        self.free_bytes.load(Ordering::Relaxed)
    }

    /// So much was handed to the log or to the items; measures if that may have changed anything.
    pub fn spend(&self, bytes: u64) {
        let spent = self.spent.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if spent >= self.step.load(Ordering::Relaxed) {
            self.measure();
        }
    }

    /// Whether an exhausted disk takes so many bytes of another leader's entries all the same.
    pub fn takes_exhausted(&self, bytes: u64) -> bool {
        let left = |allowance: u64| allowance.checked_sub(bytes);
        self.allowance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok()
    }

    /// A system call: cheap enough for a worker.
    pub fn measure(&self) {
        // Another one measures: as good as this.
        let Ok(mut inner) = self.inner.try_lock() else { return };
        let Inner { disk: Some(disk), claimants, kept, refused } = &mut *inner else { return };
        self.spent.store(0, Ordering::Relaxed);
        let space = match disk.space() {
            Ok(space) => space,
            Err(error) => {
                tracing::error!(error = describe(&error), "failed to measure the disk's free space");
                return;
            }
        };
        self.free_bytes.store(space.free_bytes, Ordering::Relaxed);
        self.metrics.free_bytes.set(i64::try_from(space.free_bytes).unwrap_or(i64::MAX));
        let wanted = self.options.reserve_bytes;
        let missing = wanted.saturating_sub(*kept);
        let claims = claimants.as_ref().map_or(0, Claimants::bytes).saturating_mul(self.options.sharers);
        let left = space.free_bytes.saturating_sub(claims).saturating_sub(missing);
        let calm = refused.is_none_or(|refused| refused.elapsed() >= self.options.calm);
        if missing > 0 && left >= RESERVE_STEP_BYTES && calm {
            match disk.fill_reserve(wanted) {
                Ok(()) => *kept = wanted,
                Err(error) => tracing::warn!(error = describe(&error), "failed to fill the reserve"),
            }
        }
        let (state, distance) = self.judge(left);
        let step = distance / 4 / self.options.sharers.max(1);
        self.step.store(step.clamp(SHORTEST_STEP_BYTES, LONGEST_STEP_BYTES), Ordering::Relaxed);
        self.enter(state, space.free_bytes);
    }

    /// The state with so much room, and how far the next worse one is.
    fn judge(&self, left: u64) -> (RoomState, u64) {
        let scarce = self.options.scarce_below_bytes;
        match left {
            _ if left >= scarce => (RoomState::Enough, left - scarce),
            _ if left >= scarce / 2 => (RoomState::Scarce, left - scarce / 2),
            _ if left >= scarce / 4 => (RoomState::Full, left - scarce / 4),
            _ => (RoomState::Exhausted, LONGEST_STEP_BYTES),
        }
    }

    fn enter(&self, state: RoomState, free_bytes: u64) {
        let before = self.get();
        if before == state {
            return;
        }
        self.state.store(state as u8, Ordering::Relaxed);
        if before == RoomState::Exhausted {
            self.allowance.store(EXHAUSTED_ALLOWANCE_BYTES, Ordering::Relaxed);
        }
        tracing::warn!(?before, ?state, free_bytes, "the disk's room changed");
    }

    /// The disk had no room for what must be written: gives up a step of the reserve, but for the last. That one is for a
    /// start: RocksDB does not open with no byte left, and a running node can wait.
    pub fn refused(&self) {
        self.metrics.disk_refusals.inc();
        let mut inner = self.lock();
        inner.refused = Some(Instant::now());
        if let Inner { disk: Some(disk), kept, .. } = &mut *inner {
            let left = kept.saturating_sub(RESERVE_STEP_BYTES).max(RESERVE_STEP_BYTES).min(*kept);
            if *kept > left {
                tracing::warn!(left, "the disk has no room for what must be written: gives up a part of the reserve");
                match disk.shrink_reserve(left) {
                    Ok(()) => *kept = left,
                    Err(error) => tracing::warn!(error = describe(&error), "failed to give up a part of the reserve"),
                }
            }
        }
        drop(inner);
        self.enter(RoomState::Exhausted, 0);
    }

    /// A moment, for one who tries again. False when the node is stopping: there is no next time.
    pub fn pause(&self) -> bool {
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.closing.wait_timeout_while(closed, PAUSE, |closed| !*closed);
        let (closed, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !*closed
    }

    /// Nobody waits for room from now on, and nothing is measured.
    pub fn close(&self) {
        let (disk, claimants) = {
            let mut inner = self.lock();
            (inner.disk.take(), inner.claimants.take())
        };
        drop((disk, claimants));
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.closing.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn kept_by(disk: &Disk) -> u64 {
    disk.reserve_bytes().unwrap_or_else(|error| {
        tracing::warn!(error = describe(&error), "failed to look at the reserve");
        0
    })
}

impl Claimants {
    fn bytes(&self) -> u64 {
        self.log.unwritten_bytes().saturating_add(self.items.unflushed_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(scarce_below_bytes: u64) -> (tempfile::TempDir, Arc<Disk>, Room) {
        let dir = tempfile::tempdir().unwrap();
        let disk = Arc::new(Disk::open(dir.path()).unwrap());
        let options = RoomOptions { scarce_below_bytes, reserve_bytes: 20 << 20, sharers: 1, calm: Duration::ZERO };
        let room = Room::new(Arc::clone(&disk), options, Arc::new(Metrics::new().unwrap()));
        (dir, disk, room)
    }

    #[test]
    fn states_follow_the_parts_of_what_is_to_be_kept_free() {
        let (_dir, _disk, room) = room(1000);
        let cases = [
            (1500, RoomState::Enough, 500),
            (1000, RoomState::Enough, 0),
            (999, RoomState::Scarce, 499),
            (499, RoomState::Full, 249),
            (249, RoomState::Exhausted, LONGEST_STEP_BYTES),
            (0, RoomState::Exhausted, LONGEST_STEP_BYTES),
        ];
        for (left, state, distance) in cases {
            assert_eq!(room.judge(left), (state, distance), "{left} left");
        }
    }

    #[test]
    fn the_reserve_is_filled_where_there_is_room_and_given_up_step_by_step() {
        let (_dir, disk, room) = room(1 << 20);
        room.measure();
        assert_eq!((room.get(), disk.reserve_bytes().unwrap()), (RoomState::Enough, 20 << 20));
        for left in [12, 8, 8] {
            room.refused();
            assert_eq!((room.get(), disk.reserve_bytes().unwrap()), (RoomState::Exhausted, left << 20));
        }
        room.measure();
        assert_eq!((room.get(), disk.reserve_bytes().unwrap()), (RoomState::Enough, 20 << 20));
    }

    #[test]
    fn an_exhausted_disk_takes_a_bounded_rest_each_time() {
        let (_dir, _disk, room) = room(1 << 20);
        room.refused();
        assert!(room.takes_exhausted(EXHAUSTED_ALLOWANCE_BYTES - 1));
        assert!(!room.takes_exhausted(2));
        assert!(room.takes_exhausted(1));
        room.measure();
        room.refused();
        assert!(room.takes_exhausted(2));
    }

    #[test]
    fn one_who_waits_for_room_is_told_when_the_node_stops() {
        let (_dir, disk, room) = room(1 << 20);
        assert!(room.pause());
        room.close();
        assert!(!room.pause());
        assert_eq!(Arc::strong_count(&disk), 1, "a stopped node's disk is free");
    }
}
