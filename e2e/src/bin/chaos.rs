//! Real processes under every fault: `chaos --trivet PATH --porcupine PATH --minutes 20`.
//!
//! Six nodes in three zones, two routers, MemDS and the control service, each on a host of its own; clients that record every
//! operation; faults one after the other and sometimes two at once. Ends with 1 at the first violation, if writes do not go on
//! after everything was healed, or if some group does not become whole again, and keeps the folder with logs and the record.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, ensure};
use clap::Parser;
use e2e::chaos::census::Census;
use e2e::chaos::fault::Kind;
use e2e::chaos::plague::Plague;
use e2e::chaos::probe::{Probes, Rate};
use e2e::chaos::summary::Summary;
use e2e::chaos::workload::Workload;
use e2e::cluster::house::{House, Plan};
use e2e::cluster::sandbox;
use e2e::groups::Admin;
use e2e::process::Role;
use e2e::random::Random;

/// Real processes under every fault, with a record that two checkers judge.
#[derive(Parser, Clone)]
struct Config {
    /// The binary to run.
    #[arg(long)]
    trivet: PathBuf,
    /// The independent checker, built from e2e/porcupine.
    #[arg(long)]
    porcupine: PathBuf,
    /// How long faults go on.
    #[arg(long, default_value_t = 20.0)]
    minutes: f64,
    /// Seeds the choice of faults and what clients do; another one for each run by default.
    #[arg(long)]
    seed: Option<u64>,
    /// Where everything is kept while it runs; a new folder in the temporary folder by default.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Clients that record.
    #[arg(long, default_value_t = 12)]
    clients: u64,
    /// Partitions of the table.
    #[arg(long, default_value_t = 8)]
    partitions: u32,
    /// Only faults whose name contains one of these.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

const TABLE: &str = "chaos";
const DISK_MEGABYTES: u64 = 1_024;
/// Small enough for that disk; and what is lost is rebuilt while a short run goes on.
const NODE_ARGUMENTS: [&str; 6] = ["--reserve", "64MiB", "--cache", "64MiB", "--replace-after", "6s"];
/// After everything is healed, every key must be writable within this. A machine of two cores that does other work needs minutes.
const HEALED_WITHIN: Duration = Duration::from_secs(180);
/// And every group whole within this: three voters with items, and nothing else.
const WHOLE_WITHIN: Duration = Duration::from_secs(180);
/// One of so many faults is joined by a second one.
const TOGETHER: u64 = 5;
/// Quiet time between two faults, at most.
const CALM_MS: u64 = 2_500;
const CLIENT_TIMEOUT: Duration = Duration::from_secs(6);
const PROBES: Rate = Rate { keys: 16, every: Duration::from_millis(100) };

fn main() -> anyhow::Result<()> {
    let config = Config::parse();
    sandbox::enter()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(torment(&config))
}

async fn torment(config: &Config) -> anyhow::Result<()> {
    let now = seed_of_the_day();
    let seed = config.seed.unwrap_or(now);
    // A seed is run again, and what a failed run has kept is in the way of nobody.
    let data = config.data.clone().unwrap_or_else(|| std::env::temp_dir().join(format!("chaos-{seed}-{now}")));
    ensure!(!data.exists(), "{} is there already", data.display());
    say(&format!("seed {seed}, {} minutes, in {}", config.minutes, data.display()));
    let result = run(config, seed, &data).await;
    match &result {
        Ok(()) => std::fs::remove_dir_all(&data).context("remove the folder")?,
        Err(error) => say(&format!("FAILED, seed {seed}: {error:#}; logs are kept in {}", data.display())),
    }
    result
}

async fn run(config: &Config, seed: u64, data: &Path) -> anyhow::Result<()> {
    let mut house = House::build(&Plan {
        binary: config.trivet.clone(),
        folder: data.to_owned(),
        nodes_per_zone: 2,
        disk_megabytes: DISK_MEGABYTES,
        node_arguments: NODE_ARGUMENTS.map(str::to_owned).to_vec(),
        seed,
    })?;
    house.create_table(TABLE, config.partitions).await?;
    let workload = Workload::new(TABLE, house.clients(CLIENT_TIMEOUT));
    let (probes, probing) = Probes::start(TABLE, house.clients(CLIENT_TIMEOUT), PROBES);
    let clients = workload.start(config.clients, seed);
    let admin = Arc::new(Admin::new(&house.addresses(Role::Node))?);
    let (census, counting) = Census::start(Arc::clone(&admin));
    let mut chaos = Chaos {
        plague: Plague::new(house, seed),
        random: Random(seed.rotate_left(17)),
        summary: Summary::default(),
        workload: &workload,
        probes: &probes,
        admin: &admin,
        groups: usize::try_from(config.partitions)?,
    };
    ensure!(probes.all_written(2, HEALED_WITHIN).await, "writes do not even begin");
    chaos.go_on(config).await?;
    let whole_after = chaos.wait_whole().await.context("at the end")?;
    say(&format!("every group whole {:.1} s after the last fault", whole_after.as_secs_f64()));
    census.stop();
    counting.await.context("the census ended badly")??;
    probes.stop();
    workload.stop();
    for task in clients.into_iter().chain(probing) {
        task.await.context("a client ended badly")?;
    }
    let Chaos { plague, summary, .. } = chaos;
    workload.read_all_and_judge(HEALED_WITHIN).await?;
    plague.house.end().await?;
    summary.lines(workload.counts()).iter().for_each(|line| say(line));
    say("");
    say(&census.line());
    say(&format!("Trivet's own checker: ok, {} keys linearizable", workload.keys()));
    let record = data.join("record.jsonl");
    workload.write(&record)?;
    ask_porcupine(&config.porcupine, &record)?;
    say(&format!("ok: {} faults, seed {seed}", summary.faults()));
    Ok(())
}

struct Chaos<'a> {
    plague: Plague,
    random: Random,
    summary: Summary,
    workload: &'a Workload,
    probes: &'a Probes,
    admin: &'a Admin,
    /// How many there are.
    groups: usize,
}

impl Chaos<'_> {
    async fn go_on(&mut self, config: &Config) -> anyhow::Result<()> {
        let named = |kind: &Kind| config.only.iter().any(|name| kind.to_string().contains(name.as_str()));
        let possible = self.plague.possible().into_iter();
        let kinds: Vec<Kind> = possible.filter(|kind| config.only.is_empty() || named(kind)).collect();
        ensure!(!kinds.is_empty(), "no fault has such a name");
        let end = Instant::now() + Duration::from_secs_f64(config.minutes * 60.0);
        let (mut first, joining): (Vec<Kind>, Vec<Kind>) = kinds.iter().partition(|kind| kind.strikes_alone());
        // What is rebuilt at all is seen by every run. Then each kind once in random order before chance alone decides: a short
        // run sees many kinds.
        let mut then = joining.clone();
        while Instant::now() < end {
            let kind = match (first.pop(), then.len()) {
                (Some(kind), _) => kind,
                (None, 0) => Kind::choose(&kinds, &mut self.random),
                (None, some) => then.swap_remove(usize::try_from(self.random.below(some as u64)).unwrap_or(0)),
            };
            let joined = self.random.below(TOGETHER) == 0 && !kind.strikes_alone() && !joining.is_empty();
            let also = joined.then(|| Kind::choose(&joining, &mut self.random));
            self.one_fault(kind, also).await?;
            let calm = Duration::from_millis(self.random.below(CALM_MS));
            self.wait(calm).await?;
        }
        Ok(())
    }

    async fn one_fault(&mut self, kind: Kind, also: Option<Kind>) -> anyhow::Result<()> {
        if kind.strikes_alone() {
            self.wait_whole().await.with_context(|| format!("before: {kind}"))?;
        }
        self.probes.open_window();
        let begun = Instant::now();
        let wound = self.plague.strike(kind).await.with_context(|| format!("strike: {kind}"))?;
        let mut second = None;
        if let Some(other) = also {
            let later = other.duration(&mut self.random) / 2;
            self.wait(later).await?;
            second = self.plague.strike(other).await.with_context(|| format!("strike: {other}"))?;
        }
        let lasts = kind.duration(&mut self.random);
        self.wait(lasts).await?;
        let also = second.as_ref().map(|wound| wound.kind);
        for wound in wound.into_iter().chain(second) {
            self.plague.heal(wound).await.with_context(|| format!("heal: {kind}"))?;
        }
        let healed = Instant::now();
        let whole = self.probes.all_written(2, HEALED_WITHIN).await;
        self.look()?;
        let name = also.map_or_else(|| kind.to_string(), |other| format!("{kind} and {other}"));
        ensure!(whole, "{name}: some key cannot be written {HEALED_WITHIN:?} after everything was healed");
        let window = self.probes.window();
        let (lasted, gap) = ((healed - begun).as_secs_f64(), window.longest.as_secs_f64());
        say(&format!(
            "{name}: {lasted:.1} s, write gap {gap:.1} s, all written again after {:.1} s",
            healed.elapsed().as_secs_f64()
        ));
        self.summary.add(kind, also, window);
        if kind.strikes_alone() {
            self.wait_whole().await.with_context(|| format!("after: {kind}"))?;
            say(&format!("{kind}: every group whole {:.1} s after it came back", healed.elapsed().as_secs_f64()));
        }
        Ok(())
    }

    /// Waits until every group is whole; how long that took.
    async fn wait_whole(&mut self) -> anyhow::Result<Duration> {
        let (took, _) = self.admin.wait_whole(self.groups, WHOLE_WITHIN).await?;
        self.look()?;
        Ok(took)
    }

    /// Watches while it waits.
    async fn wait(&mut self, time: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.look()?;
            tokio::time::sleep(Duration::from_millis(50).min(end - Instant::now())).await;
        }
        Ok(())
    }

    fn look(&mut self) -> anyhow::Result<()> {
        self.workload.demand_no_violation()?;
        self.plague.demand_alive()
    }
}

fn ask_porcupine(porcupine: &Path, record: &Path) -> anyhow::Result<()> {
    let output = Command::new(porcupine).arg(record).output().context("start porcupine")?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    say(&format!("porcupine: {said}"));
    ensure!(output.status.success(), "porcupine: {said} {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn seed_of_the_day() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since.as_secs()
}

#[expect(clippy::print_stdout, reason = "the program's answer")]
fn say(line: &str) {
    println!("{line}");
}
