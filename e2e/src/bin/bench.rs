//! Measures what operations cost on a `trivet local --processes` that it starts and fills itself.
//!
//! `bench --trivet PATH`: closed loops over kept connections; prints a table for people, in Markdown. The numbers hold for
//! this machine, with client and servers on it together.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, ensure};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use clap::Parser;
use e2e::bench::accounts::{self, Who};
use e2e::bench::load::{self, Load, Outcome};
use e2e::bench::report::{self, Figures};
use e2e::bench::request::Signer;
use e2e::bench::scenario::{COUNTER, HOT_KEY, Scenario, TABLE};
use e2e::client::{self, Retries};
use e2e::process::{Local, Mode, Running};

/// Measures what operations cost.
#[derive(Parser, Clone)]
struct Config {
    /// The binary to run.
    #[arg(long)]
    trivet: PathBuf,
    /// Which loads, separated by commas; all by default.
    #[arg(long, value_enum, value_delimiter = ',')]
    scenario: Vec<Scenario>,
    /// How many connections, separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "1,8,64,256", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    connections: Vec<u64>,
    /// Seconds that are measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Seconds of the same load before them.
    #[arg(long, default_value_t = 2)]
    warm_up: u64,
    /// How often each is measured; the table shows median and range.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=100))]
    runs: u64,
    /// Partitions of the table.
    #[arg(long, default_value_t = 12)]
    partitions: u32,
    /// Items that are loaded first, and chosen from uniformly.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    keys: u64,
    /// Threads of the client.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=64))]
    client_threads: u64,
    /// Also print what each kind of thread used.
    #[arg(long)]
    threads: bool,
    /// Where the API listens.
    #[arg(long, default_value = "127.0.0.1:8767")]
    listen: String,
    /// The data folder, which must not exist yet; one in the temporary folder by default.
    #[arg(long)]
    data: Option<PathBuf>,
}

/// How long the table may take to serve, and the items to be loaded.
const READY_WITHIN: Duration = Duration::from_secs(120);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::parse();
    let temporary = || std::env::temp_dir().join(format!("bench-{}", std::process::id()));
    let data = config.data.clone().unwrap_or_else(temporary);
    ensure!(!data.exists(), "{} exists already", data.display());
    let local = Local {
        binary: config.trivet.clone(),
        mode: Mode::Processes,
        listen: config.listen.clone(),
        data: data.clone(),
        arguments: Vec::new(),
        environment: Vec::new(),
    };
    let running = local.start().await?;
    let result = measure_all(&config, &running).await;
    running.stop().await?;
    match &result {
        Ok(()) => {
            std::fs::remove_dir_all(&data).context("remove the data folder")?;
            std::fs::remove_file(data.with_extension("log")).context("remove the log")?;
        }
        Err(_) => say(&format!("{} and its log are kept", data.display())),
    }
    result
}

async fn measure_all(config: &Config, running: &Running) -> anyhow::Result<()> {
    let begun = Instant::now();
    let client = client::connect(&config.listen, Retries::Default, Duration::from_secs(10));
    client::create_table(&client, TABLE, config.partitions, READY_WITHIN).await?;
    let signer = Signer { address: config.listen.clone(), time: SystemTime::now() };
    load::every_once(&config.listen, &Scenario::Put.requests(&signer, config.keys)?, READY_WITHIN).await?;
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    say(&format!(
        "{} items of 1 KB in {} partitions; {} s measured after {} s, {} runs; {processors} processors for servers and client\n",
        config.keys, config.partitions, config.seconds, config.warm_up, config.runs
    ));
    say(&report::heading());
    let scenarios = if config.scenario.is_empty() { Scenario::ALL.to_vec() } else { config.scenario.clone() };
    let mut remarks = Vec::new();
    for scenario in scenarios {
        for connections in &config.connections {
            let mut runs = Vec::new();
            for _ in 0..config.runs {
                runs.push(Figures::of(&measure(config, running, &client, scenario, *connections).await?));
            }
            say(&report::line(scenario.name(), *connections, &runs));
            let place = format!("{}, {connections} connections", scenario.name());
            for run in &runs {
                let threads = config.threads.then(|| report::threads(run));
                let lines = threads.into_iter().chain(report::errors(run.counts));
                remarks.extend(lines.map(|line| format!("{place}\n{line}")));
            }
        }
    }
    say("");
    say(&report::memory(&accounts::resident_kib(&accounts::processes(running)), begun.elapsed()));
    remarks.iter().for_each(|remark| say(remark));
    Ok(())
}

async fn measure(
    config: &Config,
    running: &Running,
    client: &Client,
    scenario: Scenario,
    connections: u64,
) -> anyhow::Result<Outcome> {
    // Signatures grow old, so each measurement has its own.
    let signer = Signer { address: config.listen.clone(), time: SystemTime::now() };
    let load = Load {
        address: config.listen.clone(),
        requests: Arc::new(scenario.requests(&signer, config.keys)?),
        shortest_answer: scenario.shortest_answer(),
        connections,
        threads: config.client_threads.min(connections),
        warm_up: Duration::from_secs(config.warm_up),
        measured: Duration::from_secs(config.seconds),
    };
    if scenario == Scenario::HotUpdate {
        reset_counter(client).await?;
    }
    let processes = accounts::processes(running);
    ensure!(processes.iter().any(|(who, _)| *who == Who::Node), "no node's process was found");
    let outcome = load::run(&load, &processes).await?;
    ensure!(outcome.counts.ok > 0, "{} never succeeded: {:?}", scenario.name(), outcome.counts);
    ensure!(accounts::processes(running) == processes, "a process died meanwhile");
    if scenario == Scenario::HotUpdate {
        check_counter(client, &outcome).await?;
    }
    Ok(outcome)
}

async fn reset_counter(client: &Client) -> anyhow::Result<()> {
    let put = client.put_item().table_name(TABLE);
    let put = put.item("key", AttributeValue::S(HOT_KEY.into())).item(COUNTER, AttributeValue::N("0".into()));
    put.send().await.context("reset the hot key's counter").map(drop)
}

/// A fast answer that was not true is worth nothing: the counter shows every success, and nothing that cannot have been.
async fn check_counter(client: &Client, outcome: &Outcome) -> anyhow::Result<()> {
    let get = client.get_item().table_name(TABLE).consistent_read(true);
    let answer =
        get.key("key", AttributeValue::S(HOT_KEY.into())).send().await.context("read the hot key's counter")?;
    let counter = answer.item().and_then(|item| item.get(COUNTER)?.as_n().ok()).context("the counter is gone")?;
    let counter: u64 = counter.parse().context("read the counter's number")?;
    let successes = outcome.whole.ok;
    let at_most = successes + outcome.whole.unknown();
    ensure!(
        (successes..=at_most).contains(&counter),
        "the counter shows {counter} for {successes} successes and {at_most} at most"
    );
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the program's answer")]
fn say(line: &str) {
    println!("{line}");
}
