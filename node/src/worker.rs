//! One worker: a thread that owns its share of connections, its groups and their apply, and works in turns.
//!
//! ```text
//!  inbox ──► receive: every mail becomes inputs and queued requests of its group
//!            turn:    step each group with work ─► effects ─► one job to the log, one push per node,
//!                     one write to the items for all groups ─► step with Applied ─► one push per connection
//! ```
//! A worker waits for nothing but its inbox and the tick: disk reads that may take long go to pools and come back as mail.

pub mod admin;
pub mod birth;
pub mod children;
pub mod clients;
pub mod command;
pub mod corrupt;
pub mod counting;
pub mod desk;
pub mod effects;
pub mod group;
pub mod groups;
pub mod health;
pub mod inbox;
pub mod lifecycle;
pub mod neighbour;
pub mod places;
pub mod reads;
pub mod receive;
pub mod recovery;
pub mod snapshots;
pub mod stand_ins;
#[cfg(test)]
mod tests;
pub mod tick;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use model::PartitionId;
use replica::{Input, Now};

use crate::context::Context;
use crate::metrics::count;
use crate::registry::{Counts, Summary};
use crate::room::RoomState;
use crate::worker::desk::{Desk, Undelivered, Written};
use crate::worker::group::{Group, Phase};
use crate::worker::groups::Groups;

/// A turn ends after this, so that connections are served.
const TURN: Duration = Duration::from_micros(500);
/// A commit index that rides on no append for so long is told by itself.
const COMMIT_UNTOLD: Duration = Duration::from_millis(5);
/// Steps of one group in a row, where its reads are answered from memory.
const ROUNDS: usize = 4;

pub struct Worker {
    pub desk: Desk,
    pub groups: Groups,
    /// Groups with work, in the order of their turn.
    pub active: VecDeque<PartitionId>,
    /// Groups that are to wake or to get their first tick, some with every tick.
    pub waking: VecDeque<PartitionId>,
    /// Groups that are being born.
    pub births: BTreeMap<PartitionId, Summary>,
    /// Groups whose log or items cannot be read: nothing of them is started, nothing of them made anew.
    pub corrupt: BTreeSet<PartitionId>,
    /// Those of them that are being removed.
    pub discarding: BTreeSet<PartitionId>,
    pub ticks: u64,
    /// The disk's room at the last tick.
    pub room: RoomState,
    /// Retired groups for whose clearing the disk had no room.
    pub uncleared: Vec<PartitionId>,
    pub tick: Duration,
    pub counted: health::Counted,
    /// The version of the items at the last look at what a crash cannot take back.
    pub items_seen: Option<u64>,
    /// What the metrics count of this worker's groups as asleep, and as corrupt.
    pub asleep_told: usize,
    pub corrupt_told: usize,
}

/// A worker at its start.
pub struct Beginning {
    pub worker: usize,
    pub context: Arc<Context>,
    pub groups: Vec<Group>,
    pub corrupt: BTreeSet<PartitionId>,
    pub tick: Duration,
}

impl Worker {
    pub fn new(beginning: Beginning) -> Worker {
        let Beginning { worker, context, groups, corrupt, tick } = beginning;
        let mut waking = VecDeque::with_capacity(groups.len());
        let mut resting = Groups::default();
        for mut group in groups {
            group.is_waking = true;
            waking.push_back(group.partition);
            resting.insert_resting(group.partition, group);
        }
        Worker {
            desk: Desk::new(worker, context),
            groups: resting,
            active: VecDeque::new(),
            waking,
            births: BTreeMap::new(),
            corrupt,
            discarding: BTreeSet::new(),
            ticks: 0,
            room: RoomState::Enough,
            uncleared: Vec::new(),
            tick,
            counted: health::Counted::default(),
            items_seen: None,
            asleep_told: 0,
            corrupt_told: 0,
        }
    }

    /// Until the inbox says exit.
    pub async fn run(mut self) {
        let context = Arc::clone(&self.desk.context);
        let inbox = context.inboxes.get(self.desk.worker);
        let mut next_tick = Instant::now() + self.tick;
        let mut next_telling: Option<Instant> = None;
        loop {
            if self.active.is_empty() {
                let until = self.desk.retries().map_or(next_tick, |due| due.min(next_tick));
                let until = until.min(next_telling.unwrap_or(until));
                tokio::select! {
                    biased;
                    () = inbox.wait() => (),
                    () = tokio::time::sleep_until(until.into()) => (),
                }
            } else {
                tokio::task::yield_now().await;
            }
            if inbox.exits() {
                return;
            }
            for mail in inbox.take() {
                self.receive(mail);
            }
            let now = Instant::now();
            if now >= next_tick {
                // Ticks missed while the thread did not run are not made up for: time-outs only grow.
                next_tick = now + self.tick;
                self.tick();
            }
            if next_telling.is_some_and(|due| now >= due) {
                next_telling = None;
                self.tell_commits();
            }
            self.turn();
            if next_telling.is_none() && !self.desk.untold.is_empty() {
                next_telling = Some(Instant::now() + COMMIT_UNTOLD);
            }
        }
    }

    /// Where no append has told it meanwhile.
    fn tell_commits(&mut self) {
        for partition in std::mem::take(&mut self.desk.untold) {
            let Some(group) = self.groups.get_mut(&partition).filter(|group| group.commit_untold) else { continue };
            group.inputs.push(Input::AnnounceCommit);
            schedule(&mut self.active, group);
        }
    }

    fn turn(&mut self) {
        self.desk.context.metrics.turns.inc();
        let began = Instant::now();
        let now = wall_clock();
        loop {
            self.step_active(now, began);
            self.place();
            let undelivered = self.desk.send_messages();
            self.note_undelivered(&undelivered);
            self.desk.send_jobs();
            let Written { applied, children } = self.desk.write_items();
            for (partition, index) in applied {
                self.applied(partition, index);
            }
            children::send_out(self, children);
            if self.active.is_empty() || began.elapsed() > TURN {
                break;
            }
        }
        self.desk.send_answers();
        for partition in std::mem::take(&mut self.desk.removed) {
            self.retire(partition);
        }
        self.desk.send_jobs();
        self.after_write();
    }

    /// Each group with work once, unless the turn's time is over.
    fn step_active(&mut self, now: Now, began: Instant) {
        let mut later = VecDeque::new();
        while let Some(partition) = self.active.pop_front() {
            let Some(group) = self.groups.get_mut(&partition) else { continue };
            step_group(&mut self.desk, group, now);
            // Requests that a stall holds back wait for the items, not for another turn.
            group.scheduled = !group.inputs.is_empty() || (!group.queue.is_empty() && !self.desk.stalled());
            if group.scheduled {
                later.push_back(partition);
            }
            // It has woken, or is new.
            if group.wants_ticks() && !group.ticked {
                self.groups.attend(partition);
            }
            if began.elapsed() > TURN {
                break;
            }
        }
        // Those whose turn did not come are the first of the next one.
        self.active.append(&mut later);
    }

    fn applied(&mut self, partition: PartitionId, index: u64) {
        if let Some(group) = self.groups.get_mut(&partition) {
            group.applied = index;
            group.inputs.push(Input::Applied { index });
            schedule(&mut self.active, group);
        }
    }

    fn note_undelivered(&mut self, undelivered: &[Undelivered]) {
        for Undelivered { partition, to } in undelivered {
            if let Some(group) = self.groups.get_mut(partition) {
                group.unreachable.insert(*to);
            }
        }
    }
}

/// The group gets its turn.
pub fn schedule(active: &mut VecDeque<PartitionId>, group: &mut Group) {
    if !group.scheduled {
        group.scheduled = true;
        active.push_back(group.partition);
    }
}

fn step_group(desk: &mut Desk, group: &mut Group, now: Now) {
    if group.phase == Phase::Retiring {
        group.inputs.clear();
        lifecycle::refuse_queue(desk, group);
        return;
    }
    clients::admit(desk, group);
    for _ in 0..ROUNDS {
        if group.inputs.is_empty() {
            return;
        }
        let steps_snapshot = snapshots::before_step(group);
        let effects = group.replica.step(now, &mut group.inputs);
        group.tick_waits = false;
        group.replica.check();
        effects::carry_out(desk, group, effects);
        if steps_snapshot {
            snapshots::after_step(group);
        }
    }
}

/// Microseconds since the epoch: stamps entries, decides nothing.
fn wall_clock() -> Now {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Now(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

impl Worker {
    /// For the gauges of the node, once per tick.
    fn count_groups(&mut self) {
        let gauge = |number: usize| i64::try_from(count(number)).unwrap_or(i64::MAX);
        let asleep = self.groups.resting();
        let before = std::mem::replace(&mut self.asleep_told, asleep);
        self.desk.context.metrics.asleep.add(gauge(asleep) - gauge(before));
        let corrupt = self.corrupt.len();
        let before = std::mem::replace(&mut self.corrupt_told, corrupt);
        self.desk.context.metrics.corrupt.add(gauge(corrupt) - gauge(before));
        if self.desk.worker == 0 {
            let Counts { groups, leaders, log_replicas: _ } = self.desk.context.registry.counts();
            self.desk.context.metrics.groups.set(gauge(groups));
            self.desk.context.metrics.leaders.set(gauge(leaders));
        }
    }
}
