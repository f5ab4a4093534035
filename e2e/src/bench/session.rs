//! One shape measured: tables made and filled, nodes aged, then run after run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, ensure};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;

use super::ageing;
use super::driver::Counts;
use super::figures::{Figures, median_of};
use super::load::{self, Kind, Load, Outcome, Pace};
use super::report;
use super::request::Signer;
use super::scenario::{COLLECTIONS, COUNTER, HOT_KEY, Scenario, Stock, TABLE};
use super::settings::{PartOfBench, Settings, Shape};
use super::subject::Subject;
use crate::client::{self, Retries, Schema};

/// How long a table may take to serve.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// The connections whose closed loop says what the peak is.
const PEAK_CONNECTIONS: u64 = 64;
/// Open loops within the peak never need as many.
const OPEN_CONNECTIONS: u64 = 256;
/// Beyond the peak every request that waits needs its own.
const OVERLOAD_CONNECTIONS: u64 = 2_000;
/// A table of one partition, to be the hot one.
const HOT_TABLE: &str = "bench-hot";
/// What the others get meanwhile, of the peak.
const OTHERS_SHARE: f64 = 0.2;

/// Requests, and when they were signed.
struct Signed {
    at: Instant,
    kinds: Arc<[Kind]>,
}

/// A shape under measurement.
pub struct Session<'a> {
    settings: &'a Settings,
    shape: Shape,
    subject: &'a Subject,
    /// What is measured in turns with it.
    beside: Option<&'a Subject>,
    say: &'a mut dyn FnMut(&str),
    signed: BTreeMap<(&'static str, Scenario), Signed>,
    /// Successes per second at 64 connections.
    peaks: BTreeMap<Scenario, f64>,
    costs: Vec<(String, Vec<Figures>)>,
    wrongs: Vec<String>,
    /// The largest share of the machine that its host took from any run.
    stolen: f64,
}

impl<'a> Session<'a> {
    pub fn new(
        settings: &'a Settings,
        shape: Shape,
        subject: &'a Subject,
        beside: Option<&'a Subject>,
        say: &'a mut dyn FnMut(&str),
    ) -> Session<'a> {
        let (signed, peaks, costs, wrongs) = (BTreeMap::new(), BTreeMap::new(), Vec::new(), Vec::new());
        Session { settings, shape, subject, beside, say, signed, peaks, costs, wrongs, stolen: 0.0 }
    }

    pub async fn run(mut self) -> anyhow::Result<()> {
        for subject in [Some(self.subject), self.beside].into_iter().flatten() {
            prepare(subject, self.shape, &self.settings.scenarios()).await?;
        }
        (self.say)(&format!("\n### {}\n", self.shape.name()));
        if !self.settings.young {
            let writes = self.load(self.subject, Scenario::Put, PEAK_CONNECTIONS)?;
            let took = ageing::age(self.subject, writes).await?;
            (self.say)(&format!(
                "Every node had flushed and begun another log file after {:.0} s of puts.\n",
                took.as_secs_f64()
            ));
        }
        for part in &self.settings.parts {
            match part {
                PartOfBench::Closed => self.closed().await?,
                PartOfBench::Open => self.open().await?,
                PartOfBench::HotPartition => self.hot_partition().await?,
            }
        }
        (self.say)(&format!("\nThe machine's host took {:.1} % of its time at most.", self.stolen * 100.0));
        if !self.wrongs.is_empty() {
            (self.say)("\nWhat went wrong:\n");
            self.wrongs.iter().for_each(|line| (self.say)(&format!("- {line}")));
        }
        Ok(())
    }

    async fn closed(&mut self) -> anyhow::Result<()> {
        let mut table = report::cost_table();
        let how = self.runs_name();
        (self.say)(&format!("Closed loops, {how}:\n\n{}", table.heading()));
        let mut comparison = self.beside.map(|beside| report::comparison_table(beside.name()));
        let mut compared = Vec::new();
        for scenario in self.settings.scenarios() {
            for connections in self.settings.connections.clone() {
                let [ours, theirs] = self.in_turns(scenario, connections).await?;
                (self.say)(&table.push(report::cost_cells(scenario.name(), connections, &ours)));
                if let Some(comparison) = &mut comparison {
                    compared.push(comparison.push(report::comparison_cells(
                        scenario.name(),
                        connections,
                        &ours,
                        &theirs,
                    )));
                }
                if connections == PEAK_CONNECTIONS {
                    self.peaks.insert(scenario, median_of(&ours, |run| run.per_second));
                }
                let name = format!("{}, {connections}", scenario.name());
                self.wrongs.extend(report::wrongs(&name, &ours));
                self.wrongs.extend(report::wrongs(&format!("{name}, beside"), &theirs));
                self.costs.push((name, ours));
            }
        }
        (self.say)(&format!("\nServers' CPU by thread, µs per operation:\n\n{}", report::threads(&self.costs)));
        self.costs.clear();
        if let Some(comparison) = comparison {
            (self.say)(&format!(
                "\nThe same client, requests and connections on dynalite, which keeps one unsynced copy; in turns, never at once:\n\n{}",
                comparison.heading()
            ));
            compared.iter().for_each(|line| (self.say)(line));
        }
        Ok(())
    }

    /// A run of ours, one of theirs, and again.
    async fn in_turns(&mut self, scenario: Scenario, connections: u64) -> anyhow::Result<[Vec<Figures>; 2]> {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..self.settings.runs {
            ours.push(self.one_run(self.subject, scenario, connections).await?);
            if let Some(beside) = self.beside {
                theirs.push(self.one_run(beside, scenario, connections).await?);
            }
        }
        Ok([ours, theirs])
    }

    async fn one_run(&mut self, subject: &'a Subject, scenario: Scenario, connections: u64) -> anyhow::Result<Figures> {
        let load = self.load(subject, scenario, connections)?;
        let client = connect(subject);
        if scenario == Scenario::HotUpdate {
            reset_counter(&client).await?;
        }
        let outcome = load::measure(subject, &[load], self.settings.span()).await?;
        let counts = outcome.parts[0].counts;
        ensure!(counts.ok > 0, "{} never succeeded on {}: {counts:?}", scenario.name(), subject.name());
        // A batch may leave something unprocessed; everything else that succeeds has done what was asked.
        let lied = counts.wrong > 0 && scenario != Scenario::BatchWrite;
        ensure!(!lied, "{} succeeded without what was asked for on {}: {counts:?}", scenario.name(), subject.name());
        if scenario == Scenario::HotUpdate {
            check_counter(&client, &outcome).await?;
        }
        let figures = Figures::of(&outcome, scenario.written_bytes(self.shape.items));
        self.stolen = self.stolen.max(figures.stolen);
        Ok(figures)
    }

    async fn open(&mut self) -> anyhow::Result<()> {
        let mut table = report::latency_table();
        let how = self.runs_name();
        (self.say)(&format!(
            "\nOpen loops: requests arrive by a Poisson process, and wait on their own; {how}:\n\n{}",
            table.heading()
        ));
        for scenario in self.settings.open_scenario.clone() {
            for percent in self.settings.open.clone() {
                let per_second = self.peak(scenario).await? * percent as f64 / 100.0;
                let connections = if percent > 100 { OVERLOAD_CONNECTIONS } else { OPEN_CONNECTIONS };
                let mut runs = Vec::new();
                for run in 0..self.settings.runs {
                    let load = self.load(self.subject, scenario, connections)?;
                    let seed = self.settings.seed + run;
                    let load = Load { pace: Pace::Poisson { per_second }, seed, ..load };
                    let outcome = load::measure(self.subject, &[load], self.settings.span()).await?;
                    runs.push(Figures::of(&outcome, None));
                }
                (self.say)(&table.push(report::latency_cells(scenario.name(), per_second, percent, &runs)));
                self.wrongs.extend(report::wrongs(&format!("{}, {percent} %", scenario.name()), &runs));
            }
        }
        Ok(())
    }

    /// Measured if the closed loops have not been.
    async fn peak(&mut self, scenario: Scenario) -> anyhow::Result<f64> {
        if let Some(peak) = self.peaks.get(&scenario) {
            return Ok(*peak);
        }
        let peak = self.one_run(self.subject, scenario, PEAK_CONNECTIONS).await?.per_second;
        self.peaks.insert(scenario, peak);
        Ok(peak)
    }

    /// Puts to many partitions, alone; beside as many more puts as 64 connections send, spread over the same partitions; and
    /// beside those 64 connections on a single partition. A fair house makes the last no worse than the second.
    async fn hot_partition(&mut self) -> anyhow::Result<()> {
        let client = connect(self.subject);
        client::create_table(&client, HOT_TABLE, 1, READY_WITHIN).await?;
        let per_second = self.peak(Scenario::Put).await? * OTHERS_SHARE;
        let mut table = report::fairness_table();
        (self.say)(&format!(
            "\nPutItem to {} partitions, {:.0} % of the peak, and what is beside it:\n\n{}",
            self.shape.partitions,
            OTHERS_SHARE * 100.0,
            table.heading()
        ));
        let besides = [
            ("nothing", None),
            ("64 connections, spread over the same partitions", Some(TABLE)),
            ("64 connections, on one other partition", Some(HOT_TABLE)),
        ];
        let mut found: [[Vec<Figures>; 2]; 3] = Default::default();
        for run in 0..self.settings.runs {
            for ((_, hammered), [others, hammer]) in besides.iter().zip(&mut found) {
                let outcome = self.beside_others(*hammered, per_second, self.settings.seed + run).await?;
                others.push(Figures::of_part(&outcome.parts[0], &outcome));
                hammer.extend(outcome.parts.get(1).map(|part| Figures::of_part(part, &outcome)));
            }
        }
        for ((name, _), [others, hammer]) in besides.iter().zip(&found) {
            (self.say)(&table.push(report::fairness_cells(name, per_second, others, hammer)));
            self.wrongs.extend(report::wrongs(&format!("others beside {name}"), others));
            self.wrongs.extend(report::wrongs(&format!("beside others: {name}"), hammer));
        }
        Ok(())
    }

    /// Puts to all partitions as they arrive, and a closed loop of puts to this table.
    async fn beside_others(&mut self, hammered: Option<&str>, per_second: f64, seed: u64) -> anyhow::Result<Outcome> {
        let base = self.load(self.subject, Scenario::Put, OPEN_CONNECTIONS)?;
        let mut loads = vec![Load { pace: Pace::Poisson { per_second }, seed, ..base.clone() }];
        if let Some(hammered) = hammered {
            let kinds = Arc::new([self.shape.items.puts(&signer(self.subject), hammered)?]);
            loads.push(Load { kinds, connections: PEAK_CONNECTIONS, seed: seed + 1_000, ..base });
        }
        load::measure(self.subject, &loads, self.settings.span()).await
    }

    /// A closed loop. Signatures grow old, so they are made again.
    fn load(&mut self, subject: &Subject, scenario: Scenario, connections: u64) -> anyhow::Result<Load> {
        const FRESH: Duration = Duration::from_secs(300);
        let place = (subject.name(), scenario);
        if self.signed.get(&place).is_none_or(|signed| signed.at.elapsed() > FRESH) {
            // One scenario follows another: the last one's requests need no memory any more.
            self.signed.retain(|(_, kept), _| *kept == scenario);
            let kinds = scenario.kinds(&signer(subject), self.shape.items)?.into();
            self.signed.insert(place, Signed { at: Instant::now(), kinds });
        }
        Ok(Load {
            address: subject.address.clone(),
            kinds: Arc::clone(&self.signed[&place].kinds),
            keys: self.shape.keys,
            pace: Pace::Closed,
            connections,
            threads: self.settings.client_threads.min(connections),
            seed: self.settings.seed,
        })
    }

    fn runs_name(&self) -> String {
        let Settings { runs, seconds, warm_up, .. } = self.settings;
        let (seconds, warm_up) = (seconds.as_secs_f64(), warm_up.as_secs_f64());
        let how = match runs {
            1 => "one run".to_owned(),
            _ => format!(
                "{runs} runs: medians (and ranges) of rates and latencies, means of what an operation costs; each"
            ),
        };
        format!("{how} of {seconds} s after {warm_up} s")
    }
}

/// Makes the tables that the scenarios need, and every item once.
pub async fn prepare(subject: &Subject, shape: Shape, scenarios: &[Scenario]) -> anyhow::Result<()> {
    let client = connect(subject);
    let Shape { items, partitions, keys: _ } = shape;
    let signer = signer(subject);
    client::create_table(&client, TABLE, partitions, READY_WITHIN).await?;
    load::every_once(&subject.address, items.puts(&signer, TABLE)?).await?;
    reset_counter(&client).await?;
    if scenarios.iter().any(|scenario| scenario.stock() == Stock::Collections) {
        client::create_table_as(&client, COLLECTIONS, Schema::HashAndSort, partitions, READY_WITHIN).await?;
        load::every_once(&subject.address, items.collection_puts(&signer)?).await?;
    }
    Ok(())
}

fn connect(subject: &Subject) -> Client {
    client::connect(&subject.address, Retries::Default, Duration::from_secs(10))
}

fn signer(subject: &Subject) -> Signer {
    Signer { address: subject.address.clone(), time: SystemTime::now() }
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
    let whole: Counts = outcome.parts[0].whole;
    let at_most = whole.ok + whole.unknown();
    ensure!(
        (whole.ok..=at_most).contains(&counter),
        "the counter shows {counter} for {} successes and {at_most} at most",
        whole.ok
    );
    Ok(())
}
