//! Kills processes of a `trivet local --processes` at random under clients that write and check; then checks everything.
//!
//! `crash --trivet PATH --kills 200 --seed 1`: prints what it killed, the longest gaps, and one summary line; ends with 1
//! at the first violation, keeping the data folder and its log.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use clap::Parser;
use e2e::client::{self, Retries};
use e2e::history::{History, Outcome, Violation};
use e2e::process::{Local, Mode, Role, Running, kill};
use e2e::random::Random;
use e2e::splits::Splitter;
use tokio::process::Child;

/// Kills Trivet's processes at random and checks that nothing is lost, nothing twice, no strong read stale.
#[derive(Parser, Clone)]
struct Config {
    /// The binary to run.
    #[arg(long)]
    trivet: PathBuf,
    /// How many kills.
    #[arg(long, default_value_t = 200)]
    kills: u32,
    /// Seeds the choice of what is killed and when.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the API listens.
    #[arg(long, default_value = "127.0.0.1:8765")]
    listen: String,
    /// The data folder; a new one in the temporary folder by default.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Clients that write and read at the same time.
    #[arg(long, default_value_t = 12)]
    clients: u64,
    /// How long writes may stand still with one node dead, in milliseconds. A machine that does other work needs more.
    #[arg(long, default_value_t = 3_000)]
    gap_ms: u64,
    /// Partitions of the table.
    #[arg(long, default_value_t = 6)]
    partitions: u32,
    /// A split of a partition is on its way at every so many kills; never with 0.
    #[arg(long, default_value_t = 4)]
    split_every: u32,
}

/// Keys per client that it shares with no one, and keys shared by all.
const OWN_KEYS: u64 = 4;
const SHARED_KEYS: u64 = 6;
/// A list this long is left, and the key's next generation begun.
const LONGEST_LIST: usize = 150;
/// Acknowledged writes demanded between two kills.
const PROGRESS: u64 = 60;
/// How long that progress may take before it counts as "not available again".
const PROGRESS_WITHIN: Duration = Duration::from_secs(60);
const TABLE: &str = "crash";
const EVERYTHING: &str = "everything";
/// Said of a split before anything of it was begun.
const MISPLANNED: &str = "the key is not inside the partition's range";

/// What every client shares.
struct World {
    client: Client,
    history: Mutex<History>,
    acknowledged: AtomicU64,
    reads: AtomicU64,
    stop: AtomicBool,
    violation: Mutex<Option<Violation>>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::parse();
    let data = config.data.clone().unwrap_or_else(|| std::env::temp_dir().join(format!("crash-{}", config.seed)));
    if data.exists() {
        std::fs::remove_dir_all(&data).context("clear the data folder")?;
    }
    let local = Local {
        binary: config.trivet.clone(),
        mode: Mode::Processes,
        listen: config.listen.clone(),
        data: data.clone(),
        arguments: Vec::new(),
        environment: Vec::new(),
    };
    say(&format!("seed {}, {} kills, data in {}", config.seed, config.kills, data.display()));
    let result = run(&config, &local).await;
    if let Err(error) = &result {
        say(&format!("FAILED: {error:#}; the data folder and its log are kept"));
    } else {
        std::fs::remove_dir_all(&data).context("remove the data folder")?;
    }
    result
}

async fn run(config: &Config, local: &Local) -> anyhow::Result<()> {
    let mut running = local.start().await?;
    let world = Arc::new(World {
        client: client::connect(&config.listen, Retries::None, Duration::from_secs(5)),
        history: Mutex::default(),
        acknowledged: AtomicU64::new(0),
        reads: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        violation: Mutex::new(None),
    });
    client::create_table(&world.client, TABLE, config.partitions, PROGRESS_WITHIN).await?;
    let clients: Vec<_> = (0..config.clients)
        .map(|number| tokio::spawn(write_and_read(Arc::clone(&world), number, Random(config.seed ^ (number << 32)))))
        .collect();
    let mut random = Random(config.seed);
    let mut killed: BTreeMap<String, (u32, Duration)> = BTreeMap::new();
    progress(&world).await?;
    let splitter = Splitter { binary: local.binary.clone(), data: local.data.clone(), table: TABLE.to_owned() };
    let mut split = None;
    for number in 1..=config.kills {
        let (what, gap);
        if config.split_every > 0 && number % config.split_every == 0 {
            // The kill that follows meets it somewhere on its way.
            finish(split.take(), &splitter, &mut random).await?;
            split = Some(splitter.begin(&mut random).await?);
        }
        (running, what, gap) = one_kill(local, running, &world, &mut random).await?;
        if what == EVERYTHING {
            // Nodes have other ports now.
            split = None;
        }
        let entry = killed.entry(what.clone()).or_default();
        *entry = (entry.0 + 1, entry.1.max(gap));
        if number % 10 == 0 || number == config.kills {
            let (acknowledged, unknown) = lock(&world.history).counts();
            say(&format!("{number} kills, last {what}; {acknowledged} writes acknowledged, {unknown} unknown"));
        }
    }
    finish(split, &splitter, &mut random).await?;
    let partitions = splitter.partitions().await?.len();
    let gap = Duration::from_millis(config.gap_ms);
    running = one_node_stays_dead(local, running, &world, gap).await?;
    world.stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.context("a client ended badly")?;
    }
    check_violation(&world)?;
    final_check(&world).await?;
    for (what, (times, gap)) in &killed {
        say(&format!("{what}: {times} kills, longest time to {PROGRESS} further writes {:.1} s", gap.as_secs_f64()));
    }
    let (acknowledged, unknown) = lock(&world.history).counts();
    let reads = world.reads.load(Ordering::Relaxed);
    let kills = config.kills;
    say(&format!("{partitions} partitions, {} in the beginning", config.partitions));
    say(&format!("ok: {kills} kills, {acknowledged} acknowledged and {unknown} unknown writes, {reads} strong reads"));
    say("nothing lost, nothing twice, no stale strong read");
    running.stop().await
}

/// A split that was begun is done in the end, whatever was killed meanwhile. One that was planned on what only some nodes told is
/// planned anew.
async fn finish(mut split: Option<Child>, splitter: &Splitter, random: &mut Random) -> anyhow::Result<()> {
    let deadline = Instant::now() + PROGRESS_WITHIN;
    while let Some(begun) = split {
        let ended = tokio::time::timeout(PROGRESS_WITHIN, begun.wait_with_output()).await;
        let ended = ended.context("a split does not end")?.context("wait for a split")?;
        let said = String::from_utf8_lossy(&ended.stderr);
        let done = ended.status.success();
        let misplanned = said.contains(MISPLANNED) && Instant::now() < deadline;
        ensure!(done || misplanned, "a split failed: {said}");
        split = if done { None } else { Some(splitter.begin(random).await?) };
    }
    Ok(())
}

/// Kills something, brings it back where that is our work, and waits until writes go on.
async fn one_kill(
    local: &Local,
    mut running: Running,
    world: &World,
    random: &mut Random,
) -> anyhow::Result<(Running, String, Duration)> {
    let started = Instant::now();
    let choice = random.below(20);
    let what = match choice {
        0 => {
            running.kill_everything().await?;
            running = local.start().await?;
            EVERYTHING
        }
        1..=3 => kill_some(&running, Role::Router, random, 1).await?,
        4..=6 => kill_some(&running, Role::MemDs, random, 1).await?,
        7..=9 => kill_some(&running, Role::Node, random, 2).await?,
        10 => kill_some(&running, Role::Node, random, 3).await?,
        _ => kill_some(&running, Role::Node, random, 1).await?,
    };
    progress(world).await.with_context(|| format!("after killing {what}"))?;
    Ok((running, what.to_owned(), started.elapsed()))
}

/// One that was killed a moment ago is waited for: every kill is a kill.
async fn kill_some(running: &Running, role: Role, random: &mut Random, count: usize) -> anyhow::Result<&'static str> {
    let deadline = Instant::now() + PROGRESS_WITHIN;
    let mut children = running.children(role);
    while children.len() < count {
        ensure!(Instant::now() < deadline, "fewer than {count} children of the role {role:?} run");
        tokio::time::sleep(Duration::from_millis(10)).await;
        children = running.children(role);
    }
    while children.len() > count {
        let index = usize::try_from(random.below(children.len() as u64)).unwrap_or(0);
        children.swap_remove(index);
    }
    children.iter().for_each(|pid| kill(*pid));
    Ok(match (role, count) {
        (Role::Router, _) => "router",
        (Role::MemDs, _) => "memds",
        (Role::Control, _) => "control",
        (Role::Node, 1) => "one node",
        (Role::Node, 2) => "two nodes",
        (Role::Node, _) => "three nodes",
    })
}

/// One node is killed and stays dead: every key must be writable again within `gap`.
async fn one_node_stays_dead(local: &Local, running: Running, world: &World, gap: Duration) -> anyhow::Result<Running> {
    // Groups are whole and the routers know their leaders before the clock starts.
    progress(world).await?;
    let mut patient = local.clone();
    patient.arguments.extend(["--restart-after-ms".to_owned(), "30000".to_owned()]);
    running.stop().await?;
    let running = patient.start().await?;
    progress(world).await?;
    let node = *running.children(Role::Node).first().context("no node runs")?;
    kill(node);
    let killed = Instant::now();
    let probes = (0..24).map(|number| first_write_after(world, number, killed));
    let mut longest = Duration::ZERO;
    for probe in futures::future::join_all(probes).await {
        longest = longest.max(probe?);
    }
    say(&format!("one node dead: every one of 24 keys written again after {:.2} s at most", longest.as_secs_f64()));
    ensure!(longest <= gap, "writes stood still for {longest:?} with one of three nodes dead");
    Ok(running)
}

async fn first_write_after(world: &World, number: u64, killed: Instant) -> anyhow::Result<Duration> {
    loop {
        let put = world.client.put_item().table_name(TABLE);
        let put = put.item("key", AttributeValue::S(format!("probe-{number}"))).send().await;
        if put.is_ok() {
            return Ok(killed.elapsed());
        }
        ensure!(killed.elapsed() < PROGRESS_WITHIN, "probe {number} could not be written: {put:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits for further acknowledged writes.
async fn progress(world: &World) -> anyhow::Result<()> {
    let wanted = world.acknowledged.load(Ordering::SeqCst) + PROGRESS;
    let deadline = Instant::now() + PROGRESS_WITHIN;
    while world.acknowledged.load(Ordering::SeqCst) < wanted {
        check_violation(world)?;
        ensure!(Instant::now() < deadline, "no {PROGRESS} further writes within {PROGRESS_WITHIN:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

fn check_violation(world: &World) -> anyhow::Result<()> {
    match lock(&world.violation).take() {
        Some(violation) => bail!("violation: {violation}"),
        None => Ok(()),
    }
}

/// One client: picks a key, reads it, appends to it, for ever.
async fn write_and_read(world: Arc<World>, number: u64, mut random: Random) {
    let mut generations: BTreeMap<String, u32> = BTreeMap::new();
    let mut sequence = 0u64;
    while !world.stop.load(Ordering::SeqCst) {
        let family = match random.below(2) {
            0 => format!("own-{number}-{}", random.below(OWN_KEYS)),
            _ => format!("shared-{}", random.below(SHARED_KEYS)),
        };
        let generation = generations.entry(family.clone()).or_default();
        let key = format!("{family}-{generation}");
        sequence += 1;
        let token = format!("{number}.{sequence}");
        match read_then_append(&world, &key, &token).await {
            Ok(length) if length >= LONGEST_LIST => *generation += 1,
            Ok(_) => {}
            Err(violation) => {
                lock(&world.violation).get_or_insert(violation);
                return;
            }
        }
    }
}

/// The list's length as far as it is known.
async fn read_then_append(world: &World, key: &str, token: &str) -> Result<usize, Violation> {
    let Some(list) = strong_read(world, key).await? else {
        // Not available: give it a moment, as a user would.
        tokio::time::sleep(Duration::from_millis(20)).await;
        return Ok(0);
    };
    let place = list;
    if place >= LONGEST_LIST {
        return Ok(place);
    }
    lock(&world.history).begin_write(key, token);
    let outcome = append(&world.client, key, token, place).await;
    if outcome == Outcome::Acknowledged {
        world.acknowledged.fetch_add(1, Ordering::SeqCst);
    }
    lock(&world.history).end_write(key, token, place, outcome)?;
    Ok(place + 1)
}

/// None where no answer came.
async fn strong_read(world: &World, key: &str) -> Result<Option<usize>, Violation> {
    let at_least = lock(&world.history).begin_read(key);
    let get = world.client.get_item().table_name(TABLE).consistent_read(true);
    let Ok(answer) = get.key("key", AttributeValue::S(key.to_owned())).send().await else { return Ok(None) };
    let list = match answer.item.as_ref().and_then(|item| item.get("list")) {
        Some(AttributeValue::L(list)) => list.iter().filter_map(|value| value.as_s().ok().cloned()).collect(),
        _ => Vec::new(),
    };
    let length = list.len();
    world.reads.fetch_add(1, Ordering::Relaxed);
    lock(&world.history).end_read(key, at_least, list)?;
    Ok(Some(length))
}

async fn append(client: &Client, key: &str, token: &str, place: usize) -> Outcome {
    let update = client
        .update_item()
        .table_name(TABLE)
        .key("key", AttributeValue::S(key.to_owned()))
        .update_expression("SET #list = list_append(if_not_exists(#list, :none), :token) ADD #length :one")
        .condition_expression("#length = :length OR (attribute_not_exists(#length) AND :length = :zero)")
        .expression_attribute_names("#list", "list")
        .expression_attribute_names("#length", "length")
        .expression_attribute_values(":none", AttributeValue::L(Vec::new()))
        .expression_attribute_values(":token", AttributeValue::L(vec![AttributeValue::S(token.to_owned())]))
        .expression_attribute_values(":one", AttributeValue::N("1".to_owned()))
        .expression_attribute_values(":zero", AttributeValue::N("0".to_owned()))
        .expression_attribute_values(":length", AttributeValue::N(place.to_string()));
    match update.send().await {
        Ok(_) => Outcome::Acknowledged,
        Err(error) => match error.as_service_error() {
            Some(refusal) if refusal.is_conditional_check_failed_exception() => Outcome::Refused,
            _ => Outcome::Unknown,
        },
    }
}

/// Every key is read once more, with everything up.
async fn final_check(world: &World) -> anyhow::Result<()> {
    let keys = lock(&world.history).keys();
    for key in &keys {
        let deadline = Instant::now() + PROGRESS_WITHIN;
        loop {
            match strong_read(world, key).await {
                Ok(Some(_)) => break,
                Ok(None) => ensure!(Instant::now() < deadline, "{key} cannot be read"),
                Err(violation) => bail!("violation: {violation}"),
            }
        }
    }
    say(&format!("{} keys read once more", keys.len()));
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(clippy::print_stdout, reason = "the program's answer")]
fn say(line: &str) {
    println!("{line}");
}
