//! All connections and what each of them is at, so that those who only hold a place, or memory, can be closed.
//!
//! ```text
//! Idle ──a byte──► Head ──a whole head──► Working ──the answer is taken──► Idle
//! ```
//! A client owes something in each of them: a request now and then, a head that arrives, a body that arrives (`http::body`
//! sees to that), an answer that it takes. [`Connections::sweep`] closes who owes for too long; [`Connections::make_room`] and
//! [`Connections::make_memory`] close those who owe longest when there is too little for the others.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::metrics::Metrics;

/// How long a connection may be idle: longer than SDKs keep theirs in the pool.
const IDLE: Duration = Duration::from_secs(75);
/// How long a head may take from its first byte: it has the size of a few packets.
const HEAD: Duration = Duration::from_secs(10);
/// How long an answer may wait for a client that takes nothing of it.
const ANSWER: Duration = Duration::from_secs(20);
/// A client that takes its answer at this rate is waited for, however long it takes: what bodies must come at, too.
const SLOWEST_BYTES_PER_SECOND: usize = 16 * 1024;
/// Of all connections so many are closed at once where room is needed, so that not every newcomer looks at all of them.
const ROOM_PART: usize = 100;

/// Why a connection was closed by us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Idle,
    SlowHead,
    SlowReader,
    /// A new connection needed its place.
    Room,
    /// Another answer needed its memory.
    Memory,
}

impl Reason {
    pub fn label(self) -> &'static str {
        match self {
            Reason::Idle => "idle",
            Reason::SlowHead => "slow_head",
            Reason::SlowReader => "slow_reader",
            Reason::Room => "room",
            Reason::Memory => "memory",
        }
    }
}

/// What the client owes, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle(Instant),
    Head(Instant),
    /// Nothing, or a part of a body: see `http::body`.
    Working,
    Answer(Stall),
}

/// An answer that the client does not take as fast as it could be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stall {
    since: Instant,
    /// Bytes taken since.
    taken: usize,
}

#[derive(Clone, Copy, Debug)]
struct State {
    /// Requests under way. More than one where a client sends the next before it has taken the answer to the last.
    requests: usize,
    /// When the last request ended.
    waits_since: Instant,
    /// When the first byte of the next head came.
    head: Option<Instant>,
    stall: Option<Stall>,
    /// Bytes of answers that are being sent.
    unsent: usize,
}

/// One connection.
pub struct Connection {
    state: Mutex<State>,
    cut: Notify,
}

impl Connection {
    fn new(now: Instant) -> Connection {
        let state = State { requests: 0, waits_since: now, head: None, stall: None, unsent: 0 };
        Connection { state: Mutex::new(state), cut: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something came from the client.
    pub fn read(&self) {
        let mut state = self.state();
        if state.requests == 0 && state.head.is_none() {
            state.head = Some(Instant::now());
        }
    }

    /// The client took so much; none if it takes nothing now.
    pub fn wrote(&self, taken: Option<usize>) {
        let mut state = self.state();
        match (&mut state.stall, taken) {
            (Some(stall), Some(taken)) => stall.taken += taken,
            (stall @ None, None) => *stall = Some(Stall { since: Instant::now(), taken: 0 }),
            (None, Some(_)) | (Some(_), None) => {}
        }
    }

    /// Ends when the connection is to be closed.
    pub async fn cut(&self) {
        self.cut.notified().await;
    }
}

impl State {
    fn phase(&self) -> Phase {
        match (self.requests, self.stall, self.head) {
            (_, Some(stall), _) => Phase::Answer(stall),
            (0, None, Some(since)) => Phase::Head(since),
            (0, None, None) => Phase::Idle(self.waits_since),
            (_, None, _) => Phase::Working,
        }
    }

    /// When the connection may be closed for what the client owes.
    fn overdue(&self) -> Option<(Instant, Reason)> {
        match self.phase() {
            Phase::Idle(since) => Some((since + IDLE, Reason::Idle)),
            Phase::Head(since) => Some((since + HEAD, Reason::SlowHead)),
            Phase::Working => None,
            Phase::Answer(Stall { since, taken }) => {
                let earned_seconds = u64::try_from(taken / SLOWEST_BYTES_PER_SECOND).unwrap_or(u64::MAX);
                Some((since + ANSWER + Duration::from_secs(earned_seconds), Reason::SlowReader))
            }
        }
    }

    /// Since when it has been waiting for a request; none if one is under way.
    fn waits_since(&self) -> Option<Instant> {
        match self.phase() {
            Phase::Idle(_) | Phase::Head(_) => Some(self.waits_since),
            Phase::Working | Phase::Answer(_) => None,
        }
    }

    /// Since when its answer has not been taken, and the bytes of it.
    fn stalled_since(&self) -> Option<(Instant, usize)> {
        match self.phase() {
            Phase::Answer(stall) => Some((stall.since, self.unsent)),
            Phase::Idle(_) | Phase::Head(_) | Phase::Working => None,
        }
    }
}

/// All connections.
pub struct Connections {
    all: Mutex<BTreeMap<u64, Arc<Connection>>>,
    next: AtomicU64,
    /// Bytes of all answers that are being sent.
    unsent: AtomicUsize,
    most_unsent: usize,
    metrics: Metrics,
}

impl Connections {
    /// Answers may take `most_unsent` bytes together.
    pub fn new(most_unsent: usize, metrics: Metrics) -> Arc<Connections> {
        Arc::new(Connections {
            all: Mutex::default(),
            next: AtomicU64::new(0),
            unsent: AtomicUsize::new(0),
            most_unsent,
            metrics,
        })
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Connection>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new connection, which is one of these until the answer is dropped.
    pub fn enter(self: &Arc<Connections>) -> Entry {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(Connection::new(Instant::now()));
        self.all().insert(number, Arc::clone(&connection));
        self.metrics.entered();
        Entry { connections: Arc::clone(self), connection, number }
    }

    /// Closes whoever owes for too long.
    pub fn sweep(&self, now: Instant) {
        for connection in self.all().values() {
            let overdue = connection.state().overdue();
            if let Some((_, reason)) = overdue.filter(|(at, _)| *at <= now) {
                self.close(connection, reason);
            }
        }
    }

    /// Closes those that have waited longest for a request. Those that are at work stay.
    pub fn make_room(&self) {
        let all = self.all();
        let mut waiting: Vec<(Instant, &Arc<Connection>)> = all
            .values()
            .filter_map(|connection| connection.state().waits_since().map(|since| (since, connection)))
            .collect();
        waiting.sort_unstable_by_key(|(since, _)| *since);
        for (_, connection) in waiting.into_iter().take(all.len().div_ceil(ROOM_PART)) {
            self.close(connection, Reason::Room);
        }
    }

    /// Room for an answer of `bytes`, if need be by closing those that have longest not taken theirs. False if there is none.
    fn make_memory(&self, bytes: usize) -> bool {
        let over = self.unsent.load(Ordering::Relaxed).saturating_add(bytes).saturating_sub(self.most_unsent);
        if over == 0 {
            return true;
        }
        let all = self.all();
        let mut stalled: Vec<(Instant, usize, &Arc<Connection>)> = all
            .values()
            .filter_map(|connection| {
                let (since, unsent) = connection.state().stalled_since()?;
                Some((since, unsent, connection))
            })
            .collect();
        stalled.sort_unstable_by_key(|(since, ..)| *since);
        let mut freed = 0;
        for (_, unsent, connection) in stalled {
            if freed >= over {
                break;
            }
            self.close(connection, Reason::Memory);
            freed += unsent;
        }
        freed >= over
    }

    fn close(&self, connection: &Connection, reason: Reason) {
        connection.cut.notify_one();
        self.metrics.closed(reason.label());
    }
}

/// A connection's place among all.
pub struct Entry {
    connections: Arc<Connections>,
    pub connection: Arc<Connection>,
    number: u64,
}

impl Entry {
    /// A request's head is there.
    pub fn begin(&self) -> Work {
        let mut state = self.connection.state();
        state.requests += 1;
        state.head = None;
        drop(state);
        Work { connections: Arc::clone(&self.connections), connection: Arc::clone(&self.connection), bytes: 0 }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.connections.all().remove(&self.number);
        self.connections.metrics.left();
    }
}

/// One request, until its answer has been taken or given up.
pub struct Work {
    connections: Arc<Connections>,
    connection: Arc<Connection>,
    bytes: usize,
}

impl Work {
    /// Keeps an answer of `bytes` until it is taken. False if there is no memory for it.
    pub fn answer(&mut self, bytes: usize) -> bool {
        if !self.connections.make_memory(bytes) {
            return false;
        }
        self.connections.unsent.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        self.connection.state().unsent += bytes;
        true
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.connections.unsent.fetch_sub(self.bytes, Ordering::Relaxed);
        let mut state = self.connection.state();
        state.requests -= 1;
        state.unsent -= self.bytes;
        state.stall = None;
        state.waits_since = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn connections() -> Arc<Connections> {
        Connections::new(100, Metrics::new(&prometheus::Registry::new()).unwrap())
    }

    /// Whether it was told to close; asked once.
    fn is_cut(entry: &Entry) -> bool {
        let cut = std::pin::pin!(entry.connection.cut());
        cut.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_ready()
    }

    #[test]
    fn who_owes_for_too_long_is_closed() {
        let connections = connections();
        let began = Instant::now();
        let [idle, head, working, reader] = [(); 4].map(|()| connections.enter());
        head.connection.read();
        let _work = working.begin();
        let mut work = reader.begin();
        assert!(work.answer(50));
        reader.connection.wrote(None);
        connections.sweep(began + HEAD - SECOND);
        assert!(!is_cut(&head));
        connections.sweep(began + HEAD + SECOND);
        assert!(is_cut(&head) && !is_cut(&idle));
        reader.connection.wrote(Some(60 * SLOWEST_BYTES_PER_SECOND));
        connections.sweep(began + ANSWER + 59 * SECOND);
        assert!(is_cut(&idle) && !is_cut(&reader));
        connections.sweep(began + ANSWER + 62 * SECOND);
        assert!(is_cut(&reader) && !is_cut(&working));
    }

    #[test]
    fn a_request_begun_before_the_last_answer_is_taken_counts_as_one() {
        let connections = connections();
        let entry = connections.enter();
        let mut first = entry.begin();
        assert!(first.answer(10));
        let second = entry.begin();
        drop(first);
        assert_eq!(entry.connection.state().phase(), Phase::Working);
        drop(second);
        assert!(matches!(entry.connection.state().phase(), Phase::Idle(_)));
        entry.connection.read();
        assert!(matches!(entry.connection.state().phase(), Phase::Head(_)));
    }

    #[test]
    fn room_is_made_by_those_that_wait_longest() {
        let connections = connections();
        let entries: Vec<Entry> = (0..150).map(|_| connections.enter()).collect();
        let work = entries[0].begin();
        drop(entries[1].begin());
        entries[2].connection.read();
        connections.make_room();
        assert!(is_cut(&entries[2]) && is_cut(&entries[3]));
        assert_eq!(entries.iter().filter(|entry| is_cut(entry)).count(), 0);
        drop(work);
    }

    #[test]
    fn memory_is_made_by_those_that_do_not_read() {
        let connections = connections();
        let entries = [(); 3].map(|()| connections.enter());
        let [mut taken, mut not_taken, mut new] = entries.each_ref().map(Entry::begin);
        assert!(taken.answer(50) && not_taken.answer(50));
        assert!(!new.answer(40), "nobody fails to read");
        entries[1].connection.wrote(None);
        assert!(new.answer(40));
        assert!(is_cut(&entries[1]) && !is_cut(&entries[0]));
        drop((taken, not_taken));
        assert_eq!(connections.unsent.load(Ordering::Relaxed), 40);
    }
}
