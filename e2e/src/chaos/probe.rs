//! How long writes stand still: some keys are written all the time, whatever becomes of each write.
//!
//! A client that is patient sees the time-out of its one request; this one asks anew every moment, as many clients together
//! do, so that the gap between two acknowledgements is the time in which nobody could write.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::DisplayErrorContext;
use aws_sdk_dynamodb::types::AttributeValue;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// Writes of one key under way at the same time: as many as a few seconds of silence take.
const UNDER_WAY: usize = 64;

/// How often, and how many keys.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    pub keys: usize,
    pub every: Duration,
}

pub struct Probes {
    keys: Vec<Mutex<Acknowledged>>,
    table: String,
    clients: Vec<Client>,
    /// Why the last write that failed did so.
    last_error: Mutex<Option<String>>,
    stop: AtomicBool,
}

/// What one key's writes have shown since the window was opened.
struct Acknowledged {
    last: Instant,
    longest: Duration,
    count: u64,
    errors: u64,
}

/// What a window has shown.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// The longest time that some key could not be written.
    pub longest: Duration,
    /// Writes that were not acknowledged, of all keys.
    pub errors: u64,
}

impl Probes {
    pub fn start(table: &str, clients: Vec<Client>, rate: Rate) -> (Arc<Probes>, Vec<JoinHandle<()>>) {
        let now = Instant::now();
        let fresh = || Mutex::new(Acknowledged { last: now, longest: Duration::ZERO, count: 0, errors: 0 });
        let keys = (0..rate.keys).map(|_| fresh()).collect();
        let (last_error, stop) = (Mutex::default(), AtomicBool::new(false));
        let probes = Probes { keys, table: table.to_owned(), clients, last_error, stop };
        let probes = Arc::new(probes);
        let tasks = (0..rate.keys).map(|key| tokio::spawn(Arc::clone(&probes).write_always(key, rate.every)));
        let tasks = tasks.collect();
        (probes, tasks)
    }

    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// Forgets what was seen: a window begins.
    pub fn open_window(&self) {
        for key in &self.keys {
            let mut key = lock(key);
            (key.longest, key.errors) = (Duration::ZERO, 0);
        }
    }

    /// What has been seen since, with the silence that still lasts.
    pub fn window(&self) -> Window {
        let keys: Vec<_> = self.keys.iter().map(lock).collect();
        let longest = keys.iter().map(|key| key.longest.max(key.last.elapsed())).max().unwrap_or_default();
        Window { longest, errors: keys.iter().map(|key| key.errors).sum() }
    }

    /// Why the last write that failed did so, since this was asked last.
    pub fn take_error(&self) -> Option<String> {
        lock(&self.last_error).take()
    }

    /// Waits until every key has been written anew, so many times; false if that takes too long.
    pub async fn all_written(&self, times: u64, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        let wanted: Vec<u64> = self.keys.iter().map(|key| lock(key).count + times).collect();
        while self.keys.iter().zip(&wanted).any(|(key, wanted)| lock(key).count < *wanted) {
            if Instant::now() > deadline {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        true
    }

    async fn write_always(self: Arc<Probes>, key: usize, every: Duration) {
        let room = Arc::new(Semaphore::new(UNDER_WAY));
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut number = 0_usize;
        while !self.stop.load(Ordering::SeqCst) {
            ticks.tick().await;
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
            let probes = Arc::clone(&self);
            number += 1;
            tokio::spawn(async move {
                probes.write(key, number).await;
                drop(permit);
            });
        }
    }

    async fn write(&self, key: usize, number: usize) {
        let client = &self.clients[number % self.clients.len()];
        let put = client.put_item().table_name(&self.table).item("key", AttributeValue::S(format!("probe-{key}")));
        let put = put.item("number", AttributeValue::N(number.to_string())).send().await;
        let mut key = lock(&self.keys[key]);
        if let Err(error) = put {
            key.errors += 1;
            *lock(&self.last_error) = Some(DisplayErrorContext(error).to_string());
            return;
        }
        key.longest = key.longest.max(key.last.elapsed());
        key.last = Instant::now();
        key.count += 1;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
