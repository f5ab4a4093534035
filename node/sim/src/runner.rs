//! Runs seeds: one, twice the same, or many on a few threads.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::core::Stats;
use crate::invariant::Broken;
use crate::oracle::Outcome;
use crate::plan::Mutant;
use crate::world::World;

/// Lines of a failing seed's story.
const STORY: usize = 80;

/// How one seed went.
#[derive(Debug)]
pub struct Run {
    pub seed: u64,
    pub trace: u64,
    pub stats: Stats,
    pub failure: Option<Failure>,
}

/// Why a seed failed, and what happened before.
#[derive(Debug)]
pub struct Failure {
    pub seed: u64,
    pub mutant: Option<Mutant>,
    pub broken: Broken,
    pub plan: String,
    pub story: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.plan)?;
        write!(f, "{}", self.story)?;
        writeln!(f, "seed {}: {}", self.seed, self.broken)?;
        write!(f, "replay: cargo run --release -p sim -- --seed {}", self.seed)?;
        match self.mutant {
            Some(mutant) => write!(f, " --mutant {}", mutant_name(mutant)),
            None => Ok(()),
        }
    }
}

fn mutant_name(mutant: Mutant) -> String {
    let value = clap::ValueEnum::to_possible_value(&mutant);
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}

/// Runs one seed to its end. A panic of the replica is a failure of the seed.
pub fn run(seed: u64, mutant: Option<Mutant>, story: Option<usize>) -> Run {
    let mut world = World::new(seed, mutant);
    let ended = catch_unwind(AssertUnwindSafe(|| world.run()));
    let broken = match ended {
        Ok(Ok(())) => None,
        Ok(Err(broken)) => Some(broken),
        Err(panic) => Some(Broken { invariant: "a replica's own check", group: None, what: panic_message(&*panic) }),
    };
    let mut stats = world.core.stats.clone();
    for outcome in world.core.oracle.history.outcomes() {
        stats.count(outcome_name(outcome));
    }
    let failure = broken.map(|broken| Failure {
        seed,
        mutant,
        plan: format!("{:#?}", world.core.plan),
        story: world.core.trace.story(broken.group, story.unwrap_or(STORY)),
        broken,
    });
    Run { seed, trace: world.core.trace.hash, stats, failure }
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
    let (first, second) = (run(seed, None, None), run(seed, None, None));
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

/// Runs `first..first + seeds` on so many threads, and tells `progress` after each how many are done.
pub fn run_many(
    first: u64,
    seeds: u64,
    jobs: usize,
    mutant: Option<Mutant>,
    most_failures: usize,
    progress: &(dyn Fn(u64, &Run) + Sync),
) -> Summary {
    let next = AtomicU64::new(first);
    let done = AtomicU64::new(0);
    let summary = Mutex::new(Summary::default());
    let work = || {
        let mut failed = 0;
        while failed < most_failures {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + seeds {
                return;
            }
            let run = run(seed, mutant, None);
            progress(done.fetch_add(1, Ordering::Relaxed) + 1, &run);
            let mut summary = summary.lock().expect("no thread panics while it holds the summary");
            summary.stats.add(&run.stats);
            summary.failures.extend(run.failure);
            failed = summary.failures.len();
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(work);
        }
    });
    summary.into_inner().expect("no thread panics while it holds the summary")
}
