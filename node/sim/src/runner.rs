//! Runs worlds: one, twice the same, or many on a few threads.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::case::Case;
use crate::core::Stats;
use crate::invariant::Broken;
use crate::ledger::Done;
use crate::oracle::Outcome;
use crate::queue::Time;
use crate::story;
use crate::world::World;

/// How one world went.
#[derive(Debug)]
pub struct Run {
    pub case: Case,
    pub trace: u64,
    pub stats: Stats,
    pub failure: Option<Failure>,
}

/// Why a world failed, and what happened before.
#[derive(Debug)]
pub struct Failure {
    pub case: Case,
    pub broken: Broken,
    /// When it was seen.
    pub seen: Time,
    /// What could be left out of this world.
    pub size: Size,
    pub plan: String,
    pub story: String,
}

#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub clients: usize,
    pub groups: usize,
    pub faults: usize,
    pub troubled_us: Time,
    pub moved: bool,
    pub split: bool,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.plan)?;
        write!(f, "{}", self.story)?;
        writeln!(f, "seed {}: {}", self.case.seed, self.broken)?;
        write!(f, "replay: {}", self.case)
    }
}

/// Runs one world to its end. A panic of the replica is a failure of the world.
pub fn run(case: &Case, story: usize) -> Run {
    let mut world = World::new(case);
    let ended = catch_unwind(AssertUnwindSafe(|| world.run()));
    let broken = match ended {
        Ok(Ok(())) => None,
        Ok(Err(broken)) => Some(broken),
        Err(panic) => {
            let broken = Broken::somewhere("a replica's own check", panic_message(&*panic));
            Some(Broken { group: world.core.stepping, ..broken })
        }
    };
    let mut stats = world.core.stats.clone();
    for outcome in world.core.oracle.history.outcomes() {
        stats.count(outcome_name(outcome));
    }
    for (name, times) in world.core.oracle.checks.named() {
        stats.count_times(name, times);
    }
    let plan = &world.core.plan;
    let failure = broken.map(|broken| Failure {
        case: case.clone(),
        seen: world.core.now,
        size: Size {
            clients: plan.clients,
            groups: plan.groups,
            faults: plan.only.as_ref().map_or(plan.misfortunes(), std::collections::BTreeSet::len),
            troubled_us: plan.troubled_us,
            moved: plan.mover_us > 0,
            split: plan.splits > 0,
        },
        plan: format!("{plan:#?}"),
        story: story::tell(&world.core.trace, &broken, story),
        broken,
    });
    Run { case: case.clone(), trace: world.core.trace.hash, stats, failure }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| String::from(*text));
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| String::from("a panic without words"))
}

fn outcome_name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Open => "outcome: maybe",
        Outcome::Written { .. } => "outcome: written",
        Outcome::ConditionFailed { .. } => "outcome: condition failed",
        Outcome::Refused => "outcome: refused",
        Outcome::Invalid(_) => "outcome: invalid",
        Outcome::Read { .. } => "outcome: read",
    }
}

/// Runs a seed twice; the same trace must come of it.
pub fn run_twice(seed: u64) -> Result<u64, String> {
    let (first, second) = (run(&Case::of(seed), 0), run(&Case::of(seed), 0));
    if first.trace == second.trace && first.stats.events == second.stats.events {
        Ok(first.trace)
    } else {
        Err(format!("seed {seed} is not deterministic: {:016x} and {:016x}", first.trace, second.trace))
    }
}

/// What came of many seeds.
#[derive(Default)]
pub struct Summary {
    pub stats: Stats,
    pub failures: Vec<Failure>,
}

/// Which seeds to run, and how.
pub struct Many {
    pub first: u64,
    pub seeds: u64,
    pub jobs: usize,
    /// In all of them.
    pub like: Case,
    /// Enough.
    pub most_failures: usize,
    /// Not again.
    pub done: Done,
}

/// Tells `progress` of each seed that is done.
pub fn run_many(many: &Many, progress: &(dyn Fn(&Run) + Sync)) -> Summary {
    let next = AtomicU64::new(many.first);
    let summary = Mutex::new(Summary::default());
    let work = || {
        let mut failed = 0;
        while failed < many.most_failures {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= many.first + many.seeds {
                return;
            }
            if many.done.has(seed) {
                continue;
            }
            let run = run(&Case { seed, ..many.like.clone() }, 0);
            progress(&run);
            let mut summary = summary.lock().expect("no thread panics while it holds the summary");
            summary.stats.add(&run.stats);
            summary.failures.extend(run.failure);
            failed = summary.failures.len();
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..many.jobs.max(1) {
            scope.spawn(work);
        }
    });
    summary.into_inner().expect("no thread panics while it holds the summary")
}
