//! Closed loops: each connection sends the next request when it has the answer to the last.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::task::JoinSet;

use super::accounts::{Accounts, Who};
use super::connection::{Answer, Connection};
use super::histogram::Histogram;
use crate::random::Random;

/// How long after the stop the last answers may take; who waits longer is not measured but broken.
const LAST_ANSWERS_WITHIN: Duration = Duration::from_secs(30);
/// How long a refused connection waits before it is tried again.
const AGAIN_AFTER: Duration = Duration::from_millis(10);

/// What is sent, and from where.
#[derive(Clone)]
pub struct Load {
    pub address: String,
    pub requests: Arc<Vec<Vec<u8>>>,
    /// A success with a shorter body is an error.
    pub shortest_answer: usize,
    pub connections: u64,
    /// Threads that drive them.
    pub threads: u64,
    pub warm_up: Duration,
    pub measured: Duration,
}

/// How often what came back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub ok: u64,
    /// Successes without what was asked for.
    pub short: u64,
    pub refused_4xx: u64,
    pub failed_5xx: u64,
    /// Connections that ended instead of answering.
    pub broken: u64,
}

impl Counts {
    fn add(&mut self, other: Counts) {
        let Counts { ok, short, refused_4xx, failed_5xx, broken } = other;
        self.ok += ok;
        self.short += short;
        self.refused_4xx += refused_4xx;
        self.failed_5xx += failed_5xx;
        self.broken += broken;
    }

    pub fn errors(&self) -> u64 {
        self.short + self.refused_4xx + self.failed_5xx + self.broken
    }

    /// Requests that may or may not have been carried out.
    pub fn unknown(&self) -> u64 {
        self.failed_5xx + self.broken
    }

    fn count(&mut self, answer: Answer, shortest: usize) {
        let place = match answer.status {
            200 if answer.length >= shortest => &mut self.ok,
            200 => &mut self.short,
            400..500 => &mut self.refused_4xx,
            _ => &mut self.failed_5xx,
        };
        *place += 1;
    }
}

/// What a load was found to do.
#[derive(Default)]
pub struct Outcome {
    /// While measured.
    pub counts: Counts,
    /// From the first request to the last, warm-up included.
    pub whole: Counts,
    pub latencies: Histogram,
    pub lasted: Duration,
    pub used: Accounts,
}

/// Tells the loops where they are.
#[derive(Default)]
struct Phase {
    measuring: AtomicBool,
    stop: AtomicBool,
}

/// Runs a load to its end, and reads the accounts of `processes` around its measured part.
pub async fn run(load: &Load, processes: &[(Who, u32)]) -> anyhow::Result<Outcome> {
    let phase = Arc::new(Phase::default());
    let threads: Vec<_> = (0..load.threads)
        .map(|thread| {
            let (load, phase) = (load.clone(), Arc::clone(&phase));
            tokio::task::spawn_blocking(move || drive_thread(load, thread, &phase))
        })
        .collect();
    tokio::time::sleep(load.warm_up).await;
    let before = Accounts::read(processes);
    let started = Instant::now();
    phase.measuring.store(true, Ordering::Relaxed);
    tokio::time::sleep(load.measured).await;
    phase.measuring.store(false, Ordering::Relaxed);
    let lasted = started.elapsed();
    let used = Accounts::read(processes).since(&before);
    phase.stop.store(true, Ordering::Relaxed);
    let mut outcome = Outcome { lasted, used, ..Outcome::default() };
    for thread in threads {
        let ended = tokio::time::timeout(LAST_ANSWERS_WITHIN, thread).await.context("an answer never came")?;
        let part = ended.context("a thread of the client ended badly")??;
        outcome.counts.add(part.counts);
        outcome.whole.add(part.whole);
        outcome.latencies.merge(&part.latencies);
    }
    Ok(outcome)
}

/// One thread drives its share of the connections.
fn drive_thread(load: Load, thread: u64, phase: &Arc<Phase>) -> anyhow::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start a runtime")?;
    runtime.block_on(async {
        let mine = (0..load.connections).filter(|number| number % load.threads == thread);
        let load = Arc::new(load.clone());
        let mut loops: JoinSet<Outcome> =
            mine.map(|number| drive_connection(Arc::clone(&load), number, Arc::clone(phase))).collect();
        let mut all = Outcome::default();
        while let Some(ended) = loops.join_next().await {
            let part = ended.context("a loop of the client ended badly")?;
            all.counts.add(part.counts);
            all.whole.add(part.whole);
            all.latencies.merge(&part.latencies);
        }
        Ok(all)
    })
}

async fn drive_connection(load: Arc<Load>, number: u64, phase: Arc<Phase>) -> Outcome {
    let mut outcome = Outcome::default();
    let mut random = Random(number << 32);
    let mut connection = None;
    while !phase.stop.load(Ordering::Relaxed) {
        let mut counts = Counts::default();
        let begun = Instant::now();
        match once(&mut connection, &load, &mut random).await {
            Ok(answer) => counts.count(answer, load.shortest_answer),
            Err(_) => {
                counts.broken += 1;
                connection = None;
                tokio::time::sleep(AGAIN_AFTER).await;
            }
        }
        outcome.whole.add(counts);
        if phase.measuring.load(Ordering::Relaxed) {
            outcome.counts.add(counts);
            // An error that comes fast must not make the latencies look good.
            if counts.ok == 1 {
                outcome.latencies.record(begun.elapsed());
            }
        }
    }
    outcome
}

async fn once(connection: &mut Option<Connection>, load: &Load, random: &mut Random) -> std::io::Result<Answer> {
    let open = match connection {
        Some(open) => open,
        None => connection.insert(Connection::open(&load.address).await?),
    };
    open.exchange(choose(&load.requests, random)).await
}

fn choose<'a>(requests: &'a [Vec<u8>], random: &mut Random) -> &'a [u8] {
    let place = random.below(requests.len() as u64);
    &requests[usize::try_from(place).expect("it is below a length")]
}

/// Sends every request until it has succeeded.
pub async fn every_once(address: &str, requests: &[Vec<u8>], within: Duration) -> anyhow::Result<()> {
    const CONNECTIONS: usize = 64;
    let deadline = Instant::now() + within;
    let shares = requests.chunks(requests.len().div_ceil(CONNECTIONS).max(1)).map(async |share| {
        let mut connection = Connection::open(address).await.context("connect")?;
        for request in share {
            loop {
                let answer = connection.exchange(request).await.context("preload")?;
                if answer.status == 200 {
                    break;
                }
                ensure!(Instant::now() < deadline, "still answered with {}", answer.status);
                tokio::time::sleep(AGAIN_AFTER).await;
            }
        }
        anyhow::Ok(())
    });
    futures::future::try_join_all(shares).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_by_its_status_and_a_success_by_its_length_too() {
        let mut counts = Counts::default();
        for (status, length) in [(200, 9), (200, 10), (400, 50), (413, 0), (500, 20), (503, 0)] {
            counts.count(Answer { status, length }, 10);
        }
        assert_eq!(counts, Counts { ok: 1, short: 1, refused_4xx: 2, failed_5xx: 2, broken: 0 });
        assert_eq!((counts.errors(), counts.unknown()), (5, 2));
    }

    #[test]
    fn every_request_is_chosen_some_time() {
        let requests: Vec<Vec<u8>> = (0..8_u8).map(|byte| vec![byte]).collect();
        let mut random = Random(1);
        let chosen: std::collections::BTreeSet<u8> = (0..500).map(|_| choose(&requests, &mut random)[0]).collect();
        assert_eq!(chosen.len(), 8);
    }
}
