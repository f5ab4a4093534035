//! A load: what is sent, how fast, over how many connections; and what was found while it ran.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use super::accounts::{self, Accounts};
use super::driver::{Driver, Part, Phase};
use super::keys::Keys;
use super::subject::{Counters, Subject};

/// A window without a success is prolonged until the first one, so long at most: a disk may stand still for longer than a
/// short window.
const FIRST_SUCCESS_WITHIN: Duration = Duration::from_secs(60);
/// A load of which nothing succeeds for so long has failed.
const FRUITLESS: Duration = Duration::from_secs(60);
const LOOKS_EVERY: Duration = Duration::from_millis(10);

/// Requests of one kind, signed.
#[derive(Clone)]
pub struct Kind {
    pub requests: Vec<Vec<u8>>,
    /// How long the body of a success is: one without what was asked for is shorter.
    pub body_bytes: RangeInclusive<usize>,
}

/// When requests are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// Each connection sends the next request when it has the answer to the last.
    Closed,
    /// As they arrive, whether or not the last ones are answered.
    Poisson { per_second: f64 },
    /// Each request until it has succeeded once.
    Once,
}

/// What is sent, and from where.
#[derive(Clone)]
pub struct Load {
    pub address: String,
    /// Each as often as any other.
    pub kinds: Arc<[Kind]>,
    /// Which of a kind's requests.
    pub keys: Keys,
    pub pace: Pace,
    pub connections: u64,
    /// Threads that drive them.
    pub threads: u64,
    pub seed: u64,
}

/// What was found while it was measured.
#[derive(Clone, Default)]
pub struct Outcome {
    /// One for each load, in their order.
    pub parts: Vec<Part>,
    pub lasted: Duration,
    pub used: Accounts,
    pub counted: Counters,
    /// At the end of it.
    pub memory_kib: u64,
}

/// Loads that run at the same time.
pub struct Running {
    phase: Arc<Phase>,
    drivers: Vec<Vec<JoinHandle<anyhow::Result<Part>>>>,
}

impl Running {
    /// Returns once all connections stand.
    pub fn start(loads: &[Load]) -> anyhow::Result<Running> {
        let phase = Arc::new(Phase::default());
        let (opened, all_opened) = std::sync::mpsc::channel();
        let start_one = |load: &Load, thread: u64| {
            let (load, phase, opened) = (load.clone(), Arc::clone(&phase), opened.clone());
            let drive = move || {
                let driver = Driver::new(&load, thread, &phase).context("open the connections")?;
                // Who asked may have given up.
                opened.send(()).unwrap_or_default();
                drop(opened);
                driver.run().context("drive the connections")
            };
            std::thread::Builder::new().name("client".into()).spawn(drive).context("start a thread of the client")
        };
        let start = |load: &Load| (0..load.threads).map(|thread| start_one(load, thread)).collect();
        let drivers = loads.iter().map(start).collect::<anyhow::Result<Vec<Vec<_>>>>()?;
        drop(opened);
        let running = Running { phase, drivers };
        let threads: u64 = loads.iter().map(|load| load.threads).sum();
        if (0..threads).any(|_| all_opened.recv().is_err()) {
            running.stop()?;
            bail!("a thread of the client did not begin");
        }
        Ok(running)
    }

    pub fn open_window(&self) {
        self.phase.open_window();
    }

    pub fn close_window(&self) {
        self.phase.close_window();
    }

    /// Sends nothing more and waits for the last answers; of each load what was seen.
    pub fn stop(self) -> anyhow::Result<Vec<Part>> {
        self.phase.stop();
        self.finish()
    }

    /// Waits until every load has come to its end by itself.
    pub fn finish(self) -> anyhow::Result<Vec<Part>> {
        let mut parts = Vec::new();
        for threads in self.drivers {
            let mut sum = Part::default();
            for thread in threads {
                let part = thread.join().ok().context("a thread of the client ended badly")??;
                sum.add(&part);
            }
            parts.push(sum);
        }
        Ok(parts)
    }
}

/// How long a load runs before it is measured, and then.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub warm_up: Duration,
    pub measured: Duration,
}

/// Runs loads at the same time and reads the accounts of `subject` around their measured part.
pub async fn measure(subject: &Subject, loads: &[Load], span: Span) -> anyhow::Result<Outcome> {
    let running = Running::start(loads)?;
    tokio::time::sleep(span.warm_up).await;
    let counted = subject.counters().await?;
    let processes = subject.processes();
    let used = Accounts::read(&processes);
    let begun = Instant::now();
    running.open_window();
    tokio::time::sleep(span.measured).await;
    while !running.phase.has_succeeded() && begun.elapsed() < span.measured + FIRST_SUCCESS_WITHIN {
        tokio::time::sleep(LOOKS_EVERY).await;
    }
    running.close_window();
    let lasted = begun.elapsed();
    let used = Accounts::read(&processes).since(&used);
    let counted = subject.counters().await?.since(counted);
    let memory_kib = accounts::memory_kib(&processes);
    let parts = tokio::task::spawn_blocking(move || running.stop()).await.context("wait for the loads")??;
    ensure!(subject.processes() == processes, "a process of {} died meanwhile", subject.name());
    Ok(Outcome { parts, lasted, used, counted, memory_kib })
}

/// Sends every request until it has succeeded.
pub async fn every_once(address: &str, kind: Kind) -> anyhow::Result<()> {
    let load = Load {
        address: address.to_owned(),
        kinds: Arc::new([kind]),
        keys: Keys::Uniform,
        pace: Pace::Once,
        connections: 32,
        threads: 1,
        seed: 0,
    };
    let wanted = load.kinds[0].requests.len() as u64;
    let running = Running::start(&[load])?;
    let phase = Arc::clone(&running.phase);
    let mut loading = tokio::task::spawn_blocking(move || running.finish());
    let parts = loop {
        if let Ok(parts) = tokio::time::timeout(LOOKS_EVERY, &mut loading).await {
            break parts.context("wait for the load")??;
        }
        if phase.fruitless() > FRUITLESS {
            phase.stop();
            bail!("{address} took none of {wanted} items for {FRUITLESS:?}");
        }
    };
    ensure!(parts[0].whole.ok == wanted, "{} of {wanted} items were loaded", parts[0].whole.ok);
    Ok(())
}
