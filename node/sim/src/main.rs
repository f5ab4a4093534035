//! The command: runs seeds and tells what came of them; a failing one is made smaller first.

mod keeper;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use sim::case::{Case, Smaller};
use sim::core::Stats;
use sim::directed::Row;
use sim::ledger::Ledger;
use sim::runner::{Many, Run, run, run_many, run_twice};
use sim::shrink::shrink;

use crate::keeper::{Keeper, now};

/// What is counted, by how its names begin; what begins otherwise comes first.
const SECTIONS: [(&str, &str); 3] = [
    ("\0", ""),
    ("met: ", "a change in flight and the fault that met it:"),
    ("checks: ", "how often each invariant was asked:"),
];

/// Between two lines about a run's progress, where they do not overwrite each other.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// Simulates seeded worlds of many replicas and judges what happens in them.
#[derive(Parser)]
struct Config {
    /// How many seeds to run.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Run this seed alone and tell its story if it fails, as it is.
    #[arg(long)]
    seed: Option<u64>,
    /// Direct every world at what that row of the table of faults is about.
    #[arg(long)]
    row: Option<Row>,
    #[command(flatten)]
    smaller: Smaller,
    /// Lines of a story.
    #[arg(long, default_value_t = 80)]
    story: usize,
    /// Worlds that making a failing one smaller may take; 0 to leave it as it is.
    #[arg(long, default_value_t = 400)]
    shrink: u64,
    /// Run each seed twice and compare the traces.
    #[arg(long)]
    meta: bool,
    /// Build this mistake into the world; the oracle should find it.
    #[cfg(feature = "mutants")]
    #[arg(long)]
    mutant: Option<sim::mutant::Mutant>,
    /// Build in each known mistake in turn, and print what found it.
    #[cfg(feature = "mutants")]
    #[arg(long)]
    mutants: bool,
    /// Stop after so many failing seeds; all are run where no number is given.
    #[arg(long)]
    failures: Option<usize>,
    /// Begin anew, even if a run of the same seeds by the same build was interrupted.
    #[arg(long)]
    fresh: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let config = Config::parse();
    std::panic::set_hook(Box::new(|_| {}));
    let mut out = std::io::stdout();
    #[cfg(feature = "mutants")]
    if config.mutants {
        let (table, found) = sim::mutant::table(config.jobs);
        write!(out, "{table}").context("write the table")?;
        return Ok(if found { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    if config.meta {
        for seed in config.first..config.first + config.seeds {
            let trace = run_twice(seed).map_err(anyhow::Error::msg)?;
            writeln!(out, "seed {seed}: {trace:016x} twice").context("write the result")?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    match config.seed {
        Some(seed) => run_one(&mut out, &Case { seed, ..config.like() }, config.story),
        None => run_all(&mut out, &config),
    }
}

impl Config {
    /// What all the seeds have in common.
    fn like(&self) -> Case {
        #[cfg(feature = "mutants")]
        let mutant = self.mutant;
        #[cfg(not(feature = "mutants"))]
        let mutant = None;
        Case { seed: 0, mutant, row: self.row, smaller: self.smaller.clone() }
    }

    /// All that decides which worlds are run, in a line.
    fn run(&self) -> String {
        let Config { first, seeds, failures, .. } = self;
        let enough = failures.map_or(String::new(), |failures| format!(" failures {failures}"));
        format!("first {first} seeds {seeds}{enough} like {}", self.like())
    }
}

fn run_one(out: &mut impl Write, case: &Case, story: usize) -> anyhow::Result<ExitCode> {
    let run = run(case, story);
    if let Some(failure) = &run.failure {
        writeln!(out, "{failure}").context("write the story")?;
    }
    tell(out, &run.stats)?;
    Ok(if run.failure.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Every seed that is not done yet; then the summary of all, and the story of the first that failed.
fn run_all(out: &mut impl Write, config: &Config) -> anyhow::Result<ExitCode> {
    let (keeper, said) = Keeper::open(&config.run(), config.first, config.fresh)?;
    if let Some(said) = said {
        writeln!(out, "the run {said}").context("write what is done")?;
    }
    let Config { first, seeds, jobs, failures, .. } = *config;
    let most_failures = failures.unwrap_or(usize::MAX).saturating_sub(keeper.ledger.failed.len());
    let many = Many { first, seeds, jobs, like: config.like(), most_failures, done: keeper.ledger.done.clone() };
    let progress = Mutex::new(Progress::of(keeper, seeds));
    run_many(&many, &|run| progress.lock().expect("no thread panics while it tells").done(run));
    let progress = progress.into_inner().expect("no thread panics while it tells");
    let ledger = progress.keeper.ledger.clone();
    writeln!(out).context("write the summary")?;
    if let Some(seed) = ledger.failed.keys().next() {
        let again = run(&Case { seed: *seed, ..config.like() }, config.story).failure;
        let failure = again.context("a seed that failed does not fail again")?;
        writeln!(out, "{}", shrink(failure, config.shrink, config.story)).context("write the story")?;
    }
    tell(out, &ledger.stats)?;
    tell_failures(out, &ledger, config)?;
    progress.keeper.close()?;
    Ok(if ledger.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tell_failures(out: &mut impl Write, ledger: &Ledger, config: &Config) -> anyhow::Result<()> {
    writeln!(out, "{} seeds failed", ledger.failed.len()).context("write the summary")?;
    for (seed, what) in &ledger.failed {
        let case = Case { seed: *seed, ..config.like() };
        let what: String = what.chars().take(200).collect();
        writeln!(out, "  seed {seed}: {what}\n    replay: {case}").context("write the summary")?;
    }
    Ok(())
}

/// How far a run is, for whoever waits for it, and in its ledger.
struct Progress {
    keeper: Keeper,
    seeds: u64,
    begun: Instant,
    /// Done before it was begun.
    before: u64,
    told: Instant,
    terminal: bool,
}

impl Progress {
    fn of(keeper: Keeper, seeds: u64) -> Progress {
        let before = keeper.ledger.stats.seeds;
        let terminal = std::io::stderr().is_terminal();
        Progress { keeper, seeds, begun: now(), before, told: now(), terminal }
    }

    fn done(&mut self, run: &Run) {
        let broken = run.failure.as_ref().map(|failure| failure.broken.to_string());
        self.keeper.ledger.add(run.case.seed, &run.stats, broken.clone());
        let mut stderr = std::io::stderr();
        // What cannot be told or kept is no reason to stop: it is only told and kept again.
        if let Some(broken) = broken {
            drop(writeln!(stderr, "\nseed {} failed: {broken}", run.case.seed));
        }
        if let Err(error) = self.keeper.write_when_due() {
            drop(writeln!(stderr, "\nfailed to keep the ledger: {error:#}"));
        }
        let over = self.keeper.ledger.stats.seeds == self.seeds;
        if self.terminal && self.keeper.ledger.stats.seeds.is_multiple_of(20) || over {
            drop(write!(stderr, "\r{}   ", self.line()));
        } else if !self.terminal && self.told.elapsed() >= TOLD_EVERY {
            self.told = now();
            drop(writeln!(stderr, "{}", self.line()));
        }
    }

    fn line(&self) -> String {
        let Ledger { stats, failed, .. } = &self.keeper.ledger;
        let (done, elapsed) = (stats.seeds, self.begun.elapsed().as_secs().max(1));
        let here = (done - self.before).max(1);
        let left = self.seeds.saturating_sub(done) * elapsed / here;
        let failed = failed.len();
        format!(
            "{done} of {} seeds, {failed} failed, {} a minute, {} min left",
            self.seeds,
            here * 60 / elapsed,
            left / 60
        )
    }
}

fn tell(out: &mut impl Write, stats: &Stats) -> anyhow::Result<()> {
    let hours = stats.simulated_us / 36_000_000;
    writeln!(out, "{} seeds, {}.{:02} simulated hours, {} events", stats.seeds, hours / 100, hours % 100, stats.events)
        .context("write the summary")?;
    let section = |what: &str| SECTIONS.iter().position(|(prefix, _)| what.starts_with(prefix)).unwrap_or(0);
    for (number, (prefix, title)) in SECTIONS.iter().enumerate() {
        let mut counts = stats.counts.iter().filter(|(what, _)| section(what) == number).peekable();
        if counts.peek().is_some() && !title.is_empty() {
            writeln!(out, "{title}").context("write the summary")?;
        }
        for (what, count) in counts {
            let what = what.strip_prefix(prefix).unwrap_or(what);
            writeln!(out, "  {count:>10} {what}").context("write the summary")?;
        }
    }
    Ok(())
}
