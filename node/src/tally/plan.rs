//! Which range is counted next, and when. Pure: it is told the time.
//!
//! A count goes in steps. All groups stand in one queue by the time when they are due, and one that goes on stands behind those that
//! were due before: a small range is never kept waiting by a large one's whole count. Each step is paid for before the next one
//! begins, whosever it is; a group that is counted rests the longer the more that has cost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use model::{KeyRange, PartitionId, Size, TableDescriptor, TableId};

use crate::items::Counted;

/// What one step reads: a millisecond or so of the disk, and of an iterator's life.
pub const STEP_BYTES: u64 = 256 << 10;
/// What counting may read: a partition of 10 GB takes eleven minutes. An eighth of what a small volume gives.
const BYTES_PER_S: u64 = 16 << 20;
/// Pause after a step, in times that it took: a tenth of one processor at most, and less of a disk that is slow.
const PAUSE_TIMES: u32 = 9;
/// Rest after a count, in times that it cost: a thirtieth of the budget for each group that is written to all the time.
const REST_TIMES: u32 = 30;
/// Nobody sees a figure sooner, and a group that is written to all the time is counted no oftener.
const SHORTEST_REST: Duration = Duration::from_secs(5);
/// A figure is no older than this and two counts.
const LONGEST_REST: Duration = Duration::from_mins(10);

/// What is counted of a group.
#[derive(Clone, Debug)]
pub struct Scope {
    pub table: Arc<TableDescriptor>,
    pub range: KeyRange,
}

/// One step: this range from its start on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub partition: PartitionId,
    pub table: TableId,
    pub range: KeyRange,
    number: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    Step(Step),
    /// Nothing is due before then; or before something changes.
    Rest(Option<Instant>),
}

/// How a step went.
#[derive(Debug)]
pub struct Outcome {
    /// None if it failed.
    pub counted: Option<Counted>,
    pub took: Duration,
}

/// What is known of a group has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    pub table: Arc<TableDescriptor>,
    pub before: Option<Size>,
    pub after: Option<Size>,
}

#[derive(Debug, Default)]
pub struct Plan {
    groups: BTreeMap<PartitionId, Group>,
    /// By the time when they are due, then in the order in which they came.
    queue: BTreeSet<(Instant, u64, PartitionId)>,
    numbers: u64,
    /// The steps until now are paid for then.
    paid: Option<Instant>,
}

#[derive(Debug)]
struct Group {
    scope: Scope,
    /// What the last whole count has found, of the range that it was then.
    size: Option<Size>,
    /// Its place in the queue.
    place: Option<(Instant, u64)>,
    /// Under way.
    count: Option<Count>,
    /// It has changed since that one began.
    changed: bool,
    rests_until: Option<Instant>,
}

#[derive(Debug)]
struct Count {
    from: Bytes,
    size: Size,
    cost: Duration,
    /// The step that is being done.
    step: u64,
}

impl Scope {
    fn is_same(&self, other: &Scope) -> bool {
        self.table.id == other.table.id && self.range == other.range
    }
}

impl Plan {
    /// Something of it may have changed, or it has another range. Whether it is the first to be counted.
    pub fn mark(&mut self, partition: PartitionId, scope: Scope, now: Instant) -> bool {
        let known = self.groups.entry(partition).or_insert_with(|| Group::new(scope.clone()));
        let is_same = known.scope.is_same(&scope);
        known.scope = scope;
        if is_same && known.count.is_some() {
            known.changed = true;
            return false;
        }
        if is_same && known.place.is_some() {
            return false;
        }
        // What was counted of another range is nothing to go on with.
        known.count = None;
        let due = if is_same { known.rests_until.unwrap_or(now).max(now) } else { now };
        self.queue_at(partition, due);
        self.queue.first().is_some_and(|(_, _, first)| *first == partition)
    }

    /// It is not counted here any more.
    pub fn forget(&mut self, partition: PartitionId) -> Option<News> {
        let group = self.groups.remove(&partition)?;
        if let Some((due, number)) = group.place {
            self.queue.remove(&(due, number, partition));
        }
        group.size.map(|before| News { table: group.scope.table, before: Some(before), after: None })
    }

    pub fn size(&self, partition: PartitionId) -> Option<Size> {
        self.groups.get(&partition)?.size
    }

    pub fn next(&mut self, now: Instant) -> Next {
        let Some(&first) = self.queue.first() else { return Next::Rest(None) };
        let (due, _, partition) = first;
        let due = self.paid.map_or(due, |paid| paid.max(due));
        if due > now {
            return Next::Rest(Some(due));
        }
        self.queue.remove(&first);
        let number = self.number();
        let group = self.groups.get_mut(&partition).expect("whoever is queued is known");
        group.place = None;
        let range = group.begin(number);
        Next::Step(Step { partition, table: group.scope.table.id, range, number })
    }

    /// That step is done.
    pub fn done(&mut self, step: &Step, outcome: Outcome, now: Instant) -> Option<News> {
        let cost = outcome.cost();
        self.paid = Some(now + cost);
        let group = self.groups.get_mut(&step.partition)?;
        // Of a range that it has no more, or of the time before it was forgotten.
        let mut count = group.count.take_if(|count| count.step == step.number)?;
        count.cost += cost;
        let Some(Counted { size, read_bytes: _, next }) = outcome.counted else {
            self.queue_at(step.partition, now + LONGEST_REST);
            return None;
        };
        count.size = count.size + size;
        if let Some(from) = next {
            group.count = Some(Count { from, ..count });
            self.queue_at(step.partition, now);
            return None;
        }
        let rests_until = now + rest(count.cost);
        group.rests_until = Some(rests_until);
        let before = group.size.replace(count.size);
        let news = News { table: Arc::clone(&group.scope.table), before, after: group.size };
        if group.changed {
            self.queue_at(step.partition, rests_until);
        }
        Some(news)
    }

    /// From now on it stands there, and nowhere else.
    fn queue_at(&mut self, partition: PartitionId, due: Instant) {
        let number = self.number();
        let Some(group) = self.groups.get_mut(&partition) else { return };
        if let Some((before, number)) = group.place.replace((due, number)) {
            self.queue.remove(&(before, number, partition));
        }
        self.queue.insert((due, number, partition));
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }
}

impl Group {
    fn new(scope: Scope) -> Group {
        Group { scope, size: None, place: None, count: None, changed: false, rests_until: None }
    }

    /// Begins a count or goes on with it; what is to be read now.
    fn begin(&mut self, step: u64) -> KeyRange {
        let Group { scope: Scope { range, .. }, count, changed, .. } = self;
        let count = count.get_or_insert_with(|| {
            *changed = false;
            Count { from: range.start.clone(), size: Size::default(), cost: Duration::ZERO, step }
        });
        count.step = step;
        KeyRange { start: count.from.clone(), end: range.end.clone() }
    }
}

impl Outcome {
    /// The time that it is worth.
    fn cost(&self) -> Duration {
        let read_bytes = self.counted.as_ref().map_or(0, |counted| counted.read_bytes);
        let reading = Duration::from_micros(read_bytes.saturating_mul(1_000_000) / BYTES_PER_S);
        reading.max(self.took.saturating_mul(PAUSE_TIMES))
    }
}

fn rest(cost: Duration) -> Duration {
    cost.saturating_mul(REST_TIMES).clamp(SHORTEST_REST, LONGEST_REST)
}

#[cfg(test)]
mod tests;
