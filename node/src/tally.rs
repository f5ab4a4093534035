//! How many items each group that is led here holds, and of what size, in DynamoDB's measure: counted by a thread of its own, slowly.
//!
//! ```text
//! worker ── mark: it was written to ──► plan ── a step ──► items (one short iterator) ──► plan ── size ──► announcements, status, metrics
//!        └─ forget: it leads no more ─►
//! ```
//! Leaders alone are counted: a group's size is then known once, and costs one copy's reads. Who loses leadership forgets; until the next
//! leader has counted, MemDS goes on with what it heard last. Nothing is counted that was not written to since its last count, nothing
//! asks a replica, and no tick is spent on it: a group that sleeps is left asleep, and costs nothing.
//!
//! A count is no view of one moment: what is written behind its key while it goes on is missed, and so the group is counted once more. It is
//! true when writes have ended, and near while they go on. It starts anew with the process, since nothing of it is kept on the disk.
//!
//! Rejected: counters in each group's records, written with every batch that is applied. They would be exact at any time, but a follower does not
//! read the old item before it writes the new one, and whether it is one item more or the same only that tells: a read for every write on every
//! replica, or a difference in every log entry. A split would have to count one half all the same, and a counter that was once wrong
//! stays wrong. Rejected, too: the sizes of RocksDB's files, which know neither what was overwritten nor DynamoDB's measure.

mod plan;

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use model::{PartitionId, Size};

use crate::items::{Items, ItemsError};
use crate::metrics::Metrics;
use plan::{News, Next, Outcome, Plan, STEP_BYTES, Step};
use wire::error::describe;

pub use plan::Scope;

/// The counts of one node.
pub struct Tally {
    inner: Arc<Inner>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Inner {
    state: Mutex<State>,
    changed: Condvar,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct State {
    plan: Plan,
    /// Groups whose sizes the metrics hold, by table.
    told: BTreeMap<String, usize>,
    closed: bool,
}

impl Tally {
    /// Counts nothing before it is started.
    pub fn new(metrics: Arc<Metrics>) -> Tally {
        let inner = Arc::new(Inner { state: Mutex::default(), changed: Condvar::new(), metrics });
        Tally { inner, thread: Mutex::default() }
    }

    /// Whoever counts may be the first to find a range that cannot be read: `failed` is told.
    pub fn start(
        &self,
        items: Items,
        failed: impl Fn(PartitionId, &ItemsError) + Send + 'static,
    ) -> std::io::Result<()> {
        let inner = Arc::clone(&self.inner);
        let run = move || inner.run(&items, &failed);
        let thread = std::thread::Builder::new().name("tally".to_owned()).spawn(run)?;
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(())
    }

    /// The group is led here, and may hold something else than when it was counted. What it has applied is written.
    pub fn mark(&self, partition: PartitionId, scope: Scope) {
        let is_first = self.inner.lock().plan.mark(partition, scope, Instant::now());
        if is_first {
            self.inner.changed.notify_all();
        }
    }

    /// The group is not led here any more.
    pub fn forget(&self, partition: PartitionId) {
        let mut state = self.inner.lock();
        if let Some(news) = state.plan.forget(partition) {
            self.inner.tell(&mut state, news);
        }
    }

    /// As last counted; none before that.
    pub fn size(&self, partition: PartitionId) -> Option<Size> {
        self.inner.lock().plan.size(partition)
    }

    /// Ends the thread, and waits for its step.
    pub fn close(&self) {
        self.inner.lock().closed = true;
        self.inner.changed.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the counting thread panicked");
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, items: &Items, failed: &impl Fn(PartitionId, &ItemsError)) {
        let mut state = self.lock();
        while !state.closed {
            match state.plan.next(Instant::now()) {
                Next::Step(step) => {
                    drop(state);
                    let outcome = count(items, &step, failed);
                    state = self.lock();
                    if let Some(news) = state.plan.done(&step, outcome, Instant::now()) {
                        self.tell(&mut state, news);
                    }
                }
                Next::Rest(until) => state = self.wait(state, until),
            }
        }
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, until: Option<Instant>) -> MutexGuard<'a, State> {
        match until {
            None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(until) => {
                let left = until.saturating_duration_since(Instant::now());
                self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    fn tell(&self, state: &mut State, News { table, before, after }: News) {
        let name = table.name.as_str();
        let (was, is) = (before.unwrap_or_default(), after.unwrap_or_default());
        let Metrics { table_items, table_bytes, .. } = &*self.metrics;
        for (gauges, was, is) in [(table_items, was.items, is.items), (table_bytes, was.bytes, is.bytes)] {
            gauges.with_label_values(&[name]).add(gauge(is) - gauge(was));
        }
        let groups = state.told.entry(name.to_owned()).or_default();
        *groups = *groups + usize::from(after.is_some()) - usize::from(before.is_some());
        if *groups == 0 {
            state.told.remove(name);
            for gauges in [table_items, table_bytes] {
                // A table that was never counted is not there.
                drop(gauges.remove_label_values(&[name]));
            }
        }
    }
}

fn count(items: &Items, step: &Step, failed: &impl Fn(PartitionId, &ItemsError)) -> Outcome {
    let began = Instant::now();
    let counted = items.count(step.table, &step.range, STEP_BYTES);
    if let Err(error) = &counted {
        tracing::warn!(partition = %step.partition, error = describe(error), "failed to count items; tries again later");
        failed(step.partition, error);
    }
    Outcome { counted: counted.ok(), took: began.elapsed() }
}

fn gauge(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
