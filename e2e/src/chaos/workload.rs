//! The clients: each picks a key, does something to it, writes down what it was told, for ever.
//!
//! A key is used for a while and then left, so that no checker has to sort out too much at once: after so many operations,
//! or as soon as too many of its writes have no known outcome. Then our own checker judges it, while the rest goes on.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use aws_sdk_dynamodb::Client;

use super::check;
use super::record::{Action, Item, Operation, Outcome};
use crate::random::Random;

mod ask;

pub use ask::{Ask, VALUE};

/// Keys in use at the same time.
const SLOTS: u64 = 8;
/// Operations after which a key is left.
const LONGEST: usize = 200;
/// Writes of unknown outcome after which a key is left.
const MOST_UNKNOWN: usize = 6;
/// What a client waits between two operations, at most.
const THINK_MS: u64 = 30;
/// Keys read at once at the end.
const READERS: usize = 16;

/// One key's operations.
#[derive(Default)]
struct Key {
    name: String,
    operations: Vec<Operation>,
    under_way: usize,
    unknown: usize,
    /// What an answer has shown last: what conditional writes expect.
    seen: Option<Item>,
    left: bool,
}

#[derive(Default)]
struct Book {
    keys: Vec<Key>,
    /// The keys in use.
    slots: Vec<usize>,
}

/// Operations by outcome.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub done: u64,
    pub condition_failed: u64,
    pub failed: u64,
    pub unknown: u64,
    /// Strong reads without an answer.
    pub unanswered: u64,
}

pub struct Workload {
    table: String,
    clients: Vec<Client>,
    book: Mutex<Book>,
    begun: Instant,
    stop: AtomicBool,
    values: AtomicU64,
    violation: Mutex<Option<String>>,
}

impl Workload {
    pub fn new(table: &str, clients: Vec<Client>) -> Arc<Workload> {
        let mut book = Book::default();
        for slot in 0..SLOTS {
            book.slots.push(book.keys.len());
            book.keys.push(Key { name: format!("k{slot}-0"), ..Key::default() });
        }
        Arc::new(Workload {
            table: table.to_owned(),
            clients,
            book: Mutex::new(book),
            begun: Instant::now(),
            stop: AtomicBool::new(false),
            values: AtomicU64::new(0),
            violation: Mutex::default(),
        })
    }

    /// So many clients, until [`Workload::stop`].
    pub fn start(self: &Arc<Workload>, clients: u64, seed: u64) -> Vec<tokio::task::JoinHandle<()>> {
        let random = |number: u64| Random(seed ^ (number + 1) << 32);
        (0..clients).map(|number| tokio::spawn(Arc::clone(self).work(number, random(number)))).collect()
    }

    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// What our own checker has found so far.
    pub fn demand_no_violation(&self) -> anyhow::Result<()> {
        match lock(&self.violation).take() {
            Some(violation) => bail!("violation: {violation}"),
            None => Ok(()),
        }
    }

    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for operation in lock(&self.book).keys.iter().flat_map(|key| &key.operations) {
            match operation.outcome {
                Outcome::Done(_) => counts.done += 1,
                Outcome::ConditionFailed(_) => counts.condition_failed += 1,
                Outcome::Failed => counts.failed += 1,
                Outcome::Unknown if operation.action.writes() => counts.unknown += 1,
                Outcome::Unknown => counts.unanswered += 1,
            }
        }
        counts
    }

    pub fn keys(&self) -> usize {
        lock(&self.book).keys.len()
    }

    async fn work(self: Arc<Workload>, number: u64, mut random: Random) {
        while !self.stop.load(Ordering::SeqCst) {
            let (key, action) = self.begin(&mut random);
            self.carry_out(number, key, action, &mut random).await;
            tokio::time::sleep(Duration::from_millis(random.below(THINK_MS))).await;
        }
    }

    /// Which key, and what with it.
    fn begin(&self, random: &mut Random) -> (usize, Action) {
        let mut book = lock(&self.book);
        let slot = usize::try_from(random.below(SLOTS)).expect("there are few");
        let number = book.slots[slot];
        let key = &mut book.keys[number];
        key.under_way += 1;
        let value = self.values.fetch_add(1, Ordering::Relaxed);
        let action = match random.below(100) {
            0..20 => Action::Put { value },
            20..40 => Action::PutIf { expect: key.seen.and_then(|item| item.value), value },
            40..45 => Action::PutIf { expect: None, value },
            45..68 => Action::Add,
            68..75 => Action::Delete,
            _ => Action::Get,
        };
        (number, action)
    }

    async fn carry_out(&self, client: u64, number: usize, action: Action, random: &mut Random) {
        let name = lock(&self.book).keys[number].name.clone();
        let router = usize::try_from(random.below(self.clients.len() as u64)).expect("there are few");
        let ask = Ask { client: &self.clients[router], table: &self.table, key: &name };
        let call = self.now();
        let outcome = ask.carry_out(action, random).await;
        let operation = Operation { client, call, end: self.now(), action, outcome };
        if let Some(left) = self.note(number, operation) {
            let judged = tokio::task::spawn_blocking(move || check::check(&left)).await;
            self.judge(&name, judged.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())));
        }
    }

    /// The operations of a key that was left and is now at rest.
    fn note(&self, number: usize, operation: Operation) -> Option<Vec<Operation>> {
        let mut book = lock(&self.book);
        let fresh = book.keys.len();
        let key = &mut book.keys[number];
        key.operations.push(operation);
        key.under_way -= 1;
        match operation.outcome {
            Outcome::Unknown if operation.action.writes() => key.unknown += 1,
            Outcome::Done(shown) => key.seen = shown_after(operation.action, shown),
            Outcome::ConditionFailed(shown) => key.seen = shown,
            Outcome::Unknown | Outcome::Failed => {}
        }
        let at_rest = (key.left && key.under_way == 0).then(|| key.operations.clone());
        if !key.left && (key.operations.len() >= LONGEST || key.unknown >= MOST_UNKNOWN) {
            key.left = true;
            let at_rest = (key.under_way == 0).then(|| key.operations.clone());
            if let Some(slot) = book.slots.iter().position(|used| *used == number) {
                book.slots[slot] = fresh;
                book.keys.push(Key { name: format!("k{slot}-{fresh}"), ..Key::default() });
            }
            return at_rest;
        }
        at_rest
    }

    fn judge(&self, key: &str, judged: Result<(), check::Violation>) {
        if let Err(violation) = judged {
            lock(&self.violation).get_or_insert(format!("{key}: {violation}"));
        }
    }

    /// With everything up and clients stopped: every key is read once more, and all of them are judged.
    pub async fn read_all_and_judge(&self, within: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + within;
        let numbers = futures::stream::iter(0..self.keys());
        let reads = futures::StreamExt::map(numbers, |number| self.read_last(number, deadline));
        let mut reads = futures::StreamExt::buffer_unordered(reads, READERS);
        while let Some(read) = futures::StreamExt::next(&mut reads).await {
            read?;
        }
        self.demand_no_violation()?;
        for key in &lock(&self.book).keys {
            if let Err(violation) = check::check(&key.operations) {
                bail!("violation: {}: {violation}", key.name);
            }
        }
        Ok(())
    }

    async fn read_last(&self, number: usize, deadline: Instant) -> anyhow::Result<()> {
        let mut random = Random(number as u64);
        let name = lock(&self.book).keys[number].name.clone();
        loop {
            let router = usize::try_from(random.below(self.clients.len() as u64)).expect("there are few");
            let ask = Ask { client: &self.clients[router], table: &self.table, key: &name };
            let call = self.now();
            let outcome = ask.carry_out(Action::Get, &mut random).await;
            let operation = Operation { client: u64::MAX, call, end: self.now(), action: Action::Get, outcome };
            if let Outcome::Done(_) = outcome {
                lock(&self.book).keys[number].operations.push(operation);
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{name} cannot be read");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The record, for another checker.
    pub fn write(&self, path: &std::path::Path) -> anyhow::Result<()> {
        let book = lock(&self.book);
        let keys = book.keys.iter().map(|key| (key.name.as_str(), key.operations.as_slice()));
        super::record::write(path, keys).context("write the record")
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).expect("it runs for less than centuries")
    }
}

/// The item that an answer leaves behind.
fn shown_after(action: Action, shown: Option<Item>) -> Option<Item> {
    if action == Action::Add { shown } else { action.apply(shown).1 }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
