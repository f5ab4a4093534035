//! The command: runs seeds and tells what came of them; a failing one is made smaller first.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Mutex;

use anyhow::Context;
use clap::Parser;
use sim::case::{Case, Smaller};
use sim::core::Stats;
use sim::runner::{Many, Summary, run, run_many, run_twice};
use sim::shrink::shrink;

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
    /// Stop after so many failing seeds.
    #[arg(long, default_value_t = 5)]
    failures: usize,
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
    let (stats, failures) = match config.seed {
        Some(seed) => {
            let run = run(&Case { seed, ..config.like() }, config.story);
            (run.stats, run.failure.into_iter().collect())
        }
        None => {
            let Summary { stats, failures } = run_all(&config);
            writeln!(out).context("write the summary")?;
            (stats, failures)
        }
    };
    let seeds: Vec<String> = failures.iter().map(|failure| failure.case.seed.to_string()).collect();
    if let Some(failure) = failures.into_iter().next() {
        let runs = if config.seed.is_some() { 0 } else { config.shrink };
        writeln!(out, "{}", shrink(failure, runs, config.story)).context("write the story")?;
    }
    tell(&mut out, &stats)?;
    if seeds.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(out, "seeds failed: {}", seeds.join(", ")).context("write the summary")?;
    Ok(ExitCode::FAILURE)
}

impl Config {
    /// What all the seeds have in common.
    fn like(&self) -> Case {
        #[cfg(feature = "mutants")]
        let mutant = self.mutant;
        #[cfg(not(feature = "mutants"))]
        let mutant = None;
        Case { seed: 0, mutant, smaller: self.smaller.clone() }
    }
}

fn run_all(config: &Config) -> Summary {
    let Config { first, seeds, jobs, failures, .. } = *config;
    let many = Many { first, seeds, jobs, like: config.like(), most_failures: failures };
    let terminal = Mutex::new(std::io::stderr());
    run_many(&many, &|done, run| {
        let mut terminal = terminal.lock().expect("no thread panics while it writes");
        if let Some(failure) = &run.failure {
            // A progress line that cannot be written is no reason to stop.
            drop(writeln!(terminal, "\nseed {} failed: {}", run.case.seed, failure.broken));
        } else if done % 20 == 0 || done == seeds {
            drop(write!(terminal, "\r{done} of {seeds} seeds"));
        }
    })
}

fn tell(out: &mut impl Write, stats: &Stats) -> anyhow::Result<()> {
    let hours = stats.simulated_us / 36_000_000;
    writeln!(out, "{} seeds, {}.{:02} simulated hours, {} events", stats.seeds, hours / 100, hours % 100, stats.events)
        .context("write the summary")?;
    for (what, count) in &stats.counts {
        writeln!(out, "  {count:>10} {what}").context("write the summary")?;
    }
    Ok(())
}
