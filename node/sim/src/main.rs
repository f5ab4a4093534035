//! The command: runs seeds and tells what came of them.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Mutex;

use anyhow::Context;
use clap::Parser;
use sim::plan::Mutant;
use sim::runner::{Summary, run, run_many, run_twice};

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
    /// Run this seed alone and tell its story if it fails.
    #[arg(long)]
    seed: Option<u64>,
    /// Lines of a story.
    #[arg(long, default_value_t = 80)]
    story: usize,
    /// Run each seed twice and compare the traces.
    #[arg(long)]
    meta: bool,
    /// Build this mistake into the world; the oracle should find it.
    #[arg(long)]
    mutant: Option<Mutant>,
    /// Stop after so many failing seeds.
    #[arg(long, default_value_t = 5)]
    failures: usize,
}

fn main() -> anyhow::Result<ExitCode> {
    let config = Config::parse();
    std::panic::set_hook(Box::new(|_| {}));
    let mut out = std::io::stdout();
    if config.meta {
        for seed in config.first..config.first + config.seeds {
            let trace = run_twice(seed).map_err(anyhow::Error::msg)?;
            writeln!(out, "seed {seed}: {trace:016x} twice").context("write the result")?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(seed) = config.seed {
        let run = run(seed, config.mutant, Some(config.story));
        let mut summary = Summary { stats: run.stats, failures: Vec::new() };
        summary.failures.extend(run.failure);
        return tell(&mut out, &summary);
    }
    let terminal = Mutex::new(std::io::stderr());
    let summary = run_many(config.first, config.seeds, config.jobs, config.mutant, config.failures, &|done, run| {
        let mut terminal = terminal.lock().expect("no thread panics while it writes");
        if let Some(failure) = &run.failure {
            // A progress line that cannot be written is no reason to stop.
            drop(writeln!(terminal, "\nseed {} failed: {}", run.seed, failure.broken));
        } else if done % 20 == 0 || done == config.seeds {
            drop(write!(terminal, "\r{done} of {} seeds", config.seeds));
        }
    });
    writeln!(out).context("write the summary")?;
    tell(&mut out, &summary)
}

fn tell(out: &mut impl Write, summary: &Summary) -> anyhow::Result<ExitCode> {
    let stats = &summary.stats;
    if let Some(failure) = summary.failures.first() {
        writeln!(out, "{failure}").context("write the story")?;
    }
    let hours = stats.simulated_us / 36_000_000;
    writeln!(out, "{} seeds, {}.{:02} simulated hours, {} events", stats.seeds, hours / 100, hours % 100, stats.events)
        .context("write the summary")?;
    for (what, count) in &stats.counts {
        writeln!(out, "  {count:>10} {what}").context("write the summary")?;
    }
    if summary.failures.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let seeds: Vec<String> = summary.failures.iter().map(|failure| failure.seed.to_string()).collect();
    writeln!(out, "seeds failed: {}", seeds.join(", ")).context("write the summary")?;
    Ok(ExitCode::FAILURE)
}
