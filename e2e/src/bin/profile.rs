//! Shows where the servers' processor time goes under a load: flame graphs and a table of functions.
//!
//! `profile --trivet PATH --scenario put --connections 64` starts a `trivet local --processes`, loads it, has `perf` look.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, ensure};
use clap::Parser;
use e2e::bench::accounts::{Accounts, Process, Who};
use e2e::bench::keys::Keys;
use e2e::bench::load::{Load, Pace, Running};
use e2e::bench::request::Signer;
use e2e::bench::scenario::{Items, Scenario};
use e2e::bench::session;
use e2e::bench::settings::Shape;
use e2e::bench::subject::Subject;
use e2e::process::flag;
use e2e::profile::perf::{self, Inlined};
use e2e::profile::stacks::{self, Stack};
use e2e::profile::table::{self, Scale};

/// Shows where the servers' processor time goes.
#[derive(Parser)]
#[command(name = "profile")]
struct Settings {
    /// The binary to run.
    #[arg(long)]
    trivet: PathBuf,
    /// The load.
    #[arg(long, value_enum, default_value = "put")]
    scenario: Scenario,
    /// Its connections.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=5_000))]
    connections: u64,
    /// Requests per second, arriving by a Poisson process, instead of a closed loop.
    #[arg(long)]
    per_second: Option<f64>,
    /// Seconds that are looked at.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=300))]
    seconds: u64,
    /// Seconds of the same load before them.
    #[arg(long, default_value_t = 3)]
    warm_up: u64,
    /// Bytes of an item.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(40..=399_360))]
    bytes: u64,
    /// Items that are loaded first.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(100..=1_000_000))]
    items: u64,
    /// Partitions of the table.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=1024))]
    partitions: u32,
    /// Show functions that were inlined as well; takes a minute or two.
    #[arg(long)]
    inlined: bool,
    /// Functions of each thread in the table.
    #[arg(long, default_value_t = 50)]
    top: usize,
    /// Where the flame graphs and the table go.
    #[arg(long, default_value = "./profile")]
    out: PathBuf,
    /// Where the API listens.
    #[arg(long, default_value = "127.0.0.1:8767")]
    listen: String,
}

/// What was seen.
struct Seen {
    recording: PathBuf,
    /// What each process is called.
    names: BTreeMap<u32, String>,
    /// µs per operation by the kernel's accounts.
    accounted_us: f64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let settings = Settings::parse();
    std::fs::create_dir_all(&settings.out).context("create the folder for what is drawn")?;
    let data = std::env::temp_dir().join(format!("profile-{}", std::process::id()));
    let subject = Subject::trivet(&settings.trivet, &settings.listen, data).await?;
    let seen = look(&settings, &subject).await;
    subject.end().await?;
    draw(&settings, &seen?)
}

async fn look(settings: &Settings, subject: &Subject) -> anyhow::Result<Seen> {
    let items = Items { bytes: settings.bytes, wished: settings.items };
    let shape = Shape { items, keys: Keys::Uniform, partitions: settings.partitions };
    session::prepare(subject, shape, &[settings.scenario]).await?;
    let signer = Signer { address: settings.listen.clone(), time: SystemTime::now() };
    let load = Load {
        address: settings.listen.clone(),
        kinds: settings.scenario.kinds(&signer, items)?.into(),
        keys: shape.keys,
        pace: settings.per_second.map_or(Pace::Closed, |per_second| Pace::Poisson { per_second }),
        connections: settings.connections,
        threads: 1,
        seed: 1,
    };
    let processes = subject.processes();
    let names = processes.iter().map(|process| (process.pid, name(process))).collect();
    let servers = processes.iter().filter(|process| process.who != Who::Client).map(|process| process.pid);
    let servers: Vec<u32> = servers.collect();
    let running = Running::start(&[load])?;
    tokio::time::sleep(Duration::from_secs(settings.warm_up)).await;
    let before = Accounts::read(&processes);
    running.open_window();
    let recording = perf::record(&servers, Duration::from_secs(settings.seconds), &settings.out).await;
    running.close_window();
    let used = Accounts::read(&processes).since(&before);
    let parts = tokio::task::spawn_blocking(move || running.stop()).await.context("wait for the load")??;
    let operations = parts[0].counts.ok;
    ensure!(operations > 0, "the load never succeeded: {:?}", parts[0].whole);
    let accounted_us = used.servers().cpu_us as f64 / operations as f64;
    Ok(Seen { recording: recording?, names, accounted_us })
}

/// `node-zone-a`, `router`.
fn name(process: &Process) -> String {
    let zone = flag(process.pid, "--zone").filter(|_| process.who == Who::Node);
    zone.map_or_else(|| process.who.name().to_owned(), |zone| format!("node-{zone}"))
}

fn draw(settings: &Settings, seen: &Seen) -> anyhow::Result<()> {
    let begun = Instant::now();
    let inlined = if settings.inlined { Inlined::Shown } else { Inlined::Hidden };
    let stacks = stacks::parse(&perf::script(&seen.recording, inlined)?);
    ensure!(!stacks.is_empty(), "perf saw nothing");
    let what = format!("{}, {} connections", settings.scenario.name(), settings.connections);
    let mut all = Vec::new();
    for (pid, name) in &seen.names {
        let of_process: Vec<&Stack> = stacks.iter().filter(|stack| stack.pid == *pid).collect();
        if of_process.is_empty() {
            continue;
        }
        let folded = stacks::fold(&of_process);
        perf::draw(&folded, &format!("{name}: {what}"), &settings.out.join(format!("{name}.svg")))?;
        all.extend(folded.into_iter().map(|line| format!("{name};{line}")));
    }
    std::fs::write(settings.out.join("stacks.folded"), all.join("\n")).context("write the folded stacks")?;
    // Perf begins and ends within the time that the accounts are about: shares are its to tell, sums are theirs.
    let us_per_sample = seen.accounted_us / stacks.len() as f64;
    let role_of = |pid: u32| {
        let name = seen.names.get(&pid).map_or("?", String::as_str);
        name.split('-').next().unwrap_or_default().to_owned()
    };
    let table = table::print(&stacks, role_of, Scale { us_per_sample, top: settings.top });
    let head = format!(
        "{what}: {:.1} µs of servers' CPU per operation by the kernel's accounts, laid upon {} samples. At the top of \
         \"by itself\", finish_task_switch and spin unlocks stand for kernel work of their callers: the sampling clock \
         waits there.\n\n",
        seen.accounted_us,
        stacks.len()
    );
    std::fs::write(settings.out.join("table.txt"), format!("{head}{table}")).context("write the table")?;
    say(&head);
    say(&table.lines().filter(|line| line.starts_with("==")).collect::<Vec<&str>>().join("\n"));
    say(&format!(
        "{0}/table.txt, {0}/*.svg, {0}/stacks.folded; drawn in {1:.0} s",
        settings.out.display(),
        begun.elapsed().as_secs_f64()
    ));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the program's answer")]
fn say(line: &str) {
    println!("{line}");
}
