//! One long-lived stream to one other process: an outbox in front of it, the things under way behind it.
//!
//! ```text
//!  ask ─► pending frame ─► taken when h2 asks ─► … ─► answers ─► waiters, by id
//! ```
//! Producers append to one pending frame; the stream takes all of it when the transport has room, and after every task that
//! was ready before it has run: a frame holds whatever came meanwhile, with no timer and no task per request. A pipe connects when something is asked; when it
//! breaks, every waiter learns whether its ask had left. Nothing leaves before the other side has accepted the stream: whoever
//! refuses it has read nothing. One that stops says so: what has left is still answered, and nothing more leaves.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures::stream::{BoxStream, Stream, StreamExt};
use tokio::runtime;

use super::connector::{Frames, Reply};
use super::slots::Slots;

/// A frame is cut here, so that one does not keep the stream for long.
const FRAME_BYTES: usize = 1 << 20;

/// What may wait for the stream; beyond it asks are refused.
const PENDING_BYTES_MAX: usize = 16 << 20;

/// What may be under way; beyond it asks are refused.
const UNDER_WAY_MAX: usize = 65_536;

/// A connection that has not opened its stream by then is given up.
const OPEN_TIMEOUT: Duration = Duration::from_secs(2);

/// How long after a failed attempt the next one may begin: doubled each time, up to the longest.
const RECONNECT_FIRST: Duration = Duration::from_millis(20);
const RECONNECT_LONGEST: Duration = Duration::from_secs(1);

/// What travels through a pipe.
pub(super) trait Traffic: Send + Sync + 'static {
    type Ask: Send + 'static;
    type AskFrame: Send + 'static;
    type Answer: Send + 'static;
    type AnswerFrame: Send + 'static;
    /// Who waits for an answer.
    type Waiter: Send + 'static;

    fn open(&self, address: &str, asks: BoxStream<'static, Self::AskFrame>) -> Reply<Frames<Self::AnswerFrame>>;
    fn number(ask: &mut Self::Ask, id: u64);
    fn weight(ask: &Self::Ask) -> usize;
    fn frame(asks: Vec<Self::Ask>) -> Self::AskFrame;
    /// Whether the other side takes nothing more.
    fn stops(frame: &Self::AnswerFrame) -> bool;
    fn answers(&self, frame: Self::AnswerFrame) -> Vec<Self::Answer>;
    fn id(answer: &Self::Answer) -> u64;
    fn answered(&self, waiter: Self::Waiter, answer: Self::Answer);
    fn lost(&self, waiter: Self::Waiter, lost: Lost);
    /// The connection ended, or could not be made.
    fn broken(&self);
}

/// Why there will be no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// The ask never left this process.
    NotSent,
    /// Too much waits already; the ask never left this process.
    Full,
    /// The ask may have arrived.
    Broken,
}

pub(super) struct Pipe<T: Traffic> {
    shared: Arc<Shared<T>>,
}

impl<T: Traffic> Clone for Pipe<T> {
    fn clone(&self) -> Self {
        Pipe { shared: Arc::clone(&self.shared) }
    }
}

struct Shared<T: Traffic> {
    traffic: T,
    runtime: runtime::Handle,
    state: Mutex<State<T>>,
}

struct State<T: Traffic> {
    phase: Phase,
    /// The other side has accepted the stream.
    accepted: bool,
    /// Where the connection goes.
    address: Arc<str>,
    /// Rises when a connection ends; a stream of an older one ends by it.
    generation: u64,
    failures: u32,
    pending: VecDeque<(u64, T::Ask)>,
    pending_bytes: usize,
    under_way: Slots<UnderWay<T::Waiter>>,
    /// When the other side last answered anything.
    heard: Option<Instant>,
    /// The stream, when it found nothing pending.
    taker: Option<Waker>,
}

struct UnderWay<W> {
    waiter: W,
    sent: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The next ask connects, but not before.
    Idle { not_before: Option<Instant> },
    /// A connection is being made, or stands.
    Connected,
    /// The other side stops: what has left is answered, then the connection ends.
    Ending,
}

impl<T: Traffic> Pipe<T> {
    pub fn new(traffic: T, runtime: runtime::Handle) -> Pipe<T> {
        let state = State {
            phase: Phase::Idle { not_before: None },
            accepted: false,
            address: Arc::from(""),
            generation: 0,
            failures: 0,
            pending: VecDeque::new(),
            pending_bytes: 0,
            under_way: Slots::default(),
            heard: None,
            taker: None,
        };
        Pipe { shared: Arc::new(Shared { traffic, runtime, state: Mutex::new(state) }) }
    }

    /// The waiter will be told, unless it is refused at once. `address` is where to connect, if that is to be done.
    pub fn ask(&self, address: &Arc<str>, mut ask: T::Ask, waiter: T::Waiter) -> Result<Ticket<T>, Lost> {
        let mut state = self.shared.lock();
        if !Arc::ptr_eq(&state.address, address) && state.address != *address {
            self.moved(&mut state, address);
        }
        match state.phase {
            Phase::Idle { not_before: Some(at) } if Instant::now() < at => return Err(Lost::NotSent),
            Phase::Idle { .. } => self.connect(&mut state),
            Phase::Ending => return Err(Lost::NotSent),
            Phase::Connected => {}
        }
        if state.pending_bytes >= PENDING_BYTES_MAX || state.under_way.len() >= UNDER_WAY_MAX {
            return Err(Lost::Full);
        }
        let id = state.under_way.insert(UnderWay { waiter, sent: false });
        T::number(&mut ask, id);
        state.pending_bytes += T::weight(&ask);
        state.pending.push_back((id, ask));
        let taker = state.taker.take();
        drop(state);
        if let Some(taker) = taker {
            taker.wake();
        }
        Ok(Ticket { pipe: self.clone(), id })
    }

    /// Whether the other side has answered anything since then.
    pub fn is_heard_since(&self, then: Instant) -> bool {
        self.shared.lock().heard.is_some_and(|heard| heard > then)
    }

    /// The other process is at another address now: what was connected is of no use.
    fn moved(&self, state: &mut State<T>, address: &Arc<str>) {
        state.address = Arc::clone(address);
        state.failures = 0;
        let generation = state.generation;
        let lost = state.end(generation, None);
        if !lost.is_empty() {
            let shared = Arc::clone(&self.shared);
            self.shared.runtime.spawn(async move { shared.tell(lost) });
        }
    }

    fn connect(&self, state: &mut State<T>) {
        state.phase = Phase::Connected;
        state.accepted = false;
        let asks = Asks { shared: Arc::clone(&self.shared), generation: state.generation, yielded: false };
        let connection = run(Arc::clone(&self.shared), Arc::clone(&state.address), state.generation, asks.boxed());
        // The task ends with its connection.
        drop(self.shared.runtime.spawn(connection));
    }
}

/// Waits for an answer; dropped, nobody does any more.
pub(super) struct Ticket<T: Traffic> {
    pipe: Pipe<T>,
    id: u64,
}

impl<T: Traffic> Ticket<T> {
    /// Nobody waits any more. True if the ask surely never left this process, and never will.
    pub fn withdraw(self) -> bool {
        self.take_back()
    }

    /// Lets the answer find its waiter without this ticket.
    pub fn detach(mut self) {
        self.id = 0;
    }

    fn take_back(&self) -> bool {
        if self.id == 0 {
            return false;
        }
        let mut state = self.pipe.shared.lock();
        let Some(under_way) = state.under_way.remove(self.id) else {
            return false;
        };
        if !under_way.sent
            && let Some(at) = state.pending.iter().position(|(id, _)| *id == self.id)
            && let Some((_, ask)) = state.pending.remove(at)
        {
            state.pending_bytes -= T::weight(&ask);
        }
        !under_way.sent
    }
}

impl<T: Traffic> Drop for Ticket<T> {
    fn drop(&mut self) {
        self.take_back();
    }
}

type LostWaiters<T> = Vec<(<T as Traffic>::Waiter, Lost)>;

impl<T: Traffic> State<T> {
    /// Ends the connection of that generation, if it is still the one.
    fn end(&mut self, generation: u64, not_before: Option<Instant>) -> LostWaiters<T> {
        if self.generation != generation {
            return Vec::new();
        }
        self.generation += 1;
        self.phase = Phase::Idle { not_before };
        self.pending.clear();
        self.pending_bytes = 0;
        if let Some(taker) = self.taker.take() {
            taker.wake();
        }
        let lost = |under_way: UnderWay<T::Waiter>| {
            (under_way.waiter, if under_way.sent { Lost::Broken } else { Lost::NotSent })
        };
        self.under_way.drain().into_iter().map(lost).collect()
    }

    /// Nothing more leaves by the connection of that generation.
    fn stop_sending(&mut self, generation: u64) -> LostWaiters<T> {
        if self.generation != generation {
            return Vec::new();
        }
        self.phase = Phase::Ending;
        self.pending_bytes = 0;
        if let Some(taker) = self.taker.take() {
            taker.wake();
        }
        let unsent = std::mem::take(&mut self.pending);
        let waiters = unsent.into_iter().filter_map(|(id, _)| self.under_way.remove(id));
        waiters.map(|under_way| (under_way.waiter, Lost::NotSent)).collect()
    }

    fn take_frame(&mut self) -> Option<T::AskFrame> {
        if self.pending.is_empty() {
            return None;
        }
        let mut asks = Vec::with_capacity(self.pending.len());
        let mut bytes = 0;
        while bytes < FRAME_BYTES
            && let Some((id, ask)) = self.pending.pop_front()
        {
            bytes += T::weight(&ask);
            if let Some(under_way) = self.under_way.get_mut(id) {
                under_way.sent = true;
            }
            asks.push(ask);
        }
        self.pending_bytes -= bytes;
        Some(T::frame(asks))
    }
}

impl<T: Traffic> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // A panic aborts the process, so a poisoned lock is met in tests alone.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, lost: LostWaiters<T>) {
        for (waiter, lost) in lost {
            self.traffic.lost(waiter, lost);
        }
    }

    fn opened(&self, generation: u64) {
        let mut state = self.lock();
        if state.generation != generation {
            return;
        }
        state.failures = 0;
        state.accepted = true;
        let taker = state.taker.take();
        drop(state);
        if let Some(taker) = taker {
            taker.wake();
        }
    }

    fn stopping(&self, generation: u64) {
        let lost = self.lock().stop_sending(generation);
        self.tell(lost);
    }

    fn failed(&self, generation: u64) {
        let mut state = self.lock();
        let wait = RECONNECT_FIRST.saturating_mul(1 << state.failures.min(10)).min(RECONNECT_LONGEST);
        state.failures = state.failures.saturating_add(1);
        let lost = state.end(generation, Some(Instant::now() + wait));
        drop(state);
        self.traffic.broken();
        self.tell(lost);
    }

    fn broke(&self, generation: u64) {
        let lost = self.lock().end(generation, None);
        self.traffic.broken();
        self.tell(lost);
    }

    fn take_in(&self, generation: u64, frame: T::AnswerFrame) -> bool {
        let answers = self.traffic.answers(frame);
        let mut state = self.lock();
        if state.generation != generation {
            return false;
        }
        if !answers.is_empty() {
            state.heard = Some(Instant::now());
        }
        let waiters: Vec<_> = answers.iter().map(|answer| state.under_way.remove(T::id(answer))).collect();
        drop(state);
        for (under_way, answer) in waiters.into_iter().zip(answers) {
            if let Some(under_way) = under_way {
                self.traffic.answered(under_way.waiter, answer);
            }
        }
        true
    }
}

/// One connection, from its attempt to its end.
async fn run<T: Traffic>(
    shared: Arc<Shared<T>>,
    address: Arc<str>,
    generation: u64,
    asks: BoxStream<'static, T::AskFrame>,
) {
    let opening = shared.traffic.open(&address, asks);
    let mut answers = match tokio::time::timeout(OPEN_TIMEOUT, opening).await {
        Ok(Ok(answers)) => answers,
        Ok(Err(error)) => {
            tracing::debug!(%address, %error, "no stream");
            return shared.failed(generation);
        }
        Err(_) => {
            tracing::debug!(%address, "no stream in time");
            return shared.failed(generation);
        }
    };
    shared.opened(generation);
    loop {
        match answers.next().await {
            Some(Ok(frame)) => {
                if T::stops(&frame) {
                    tracing::debug!(%address, "the other side stops");
                    shared.stopping(generation);
                }
                if !shared.take_in(generation, frame) {
                    return;
                }
            }
            Some(Err(status)) => {
                tracing::debug!(%address, %status, "stream broke");
                return shared.broke(generation);
            }
            None => return shared.broke(generation),
        }
    }
}

/// The stream's end of the outbox.
struct Asks<T: Traffic> {
    shared: Arc<Shared<T>>,
    generation: u64,
    /// The tasks that were ready have had their turn.
    yielded: bool,
}

impl<T: Traffic> Stream for Asks<T> {
    type Item = T::AskFrame;

    /// The first ask of a frame wakes this task to run next, before the handlers of requests that arrived with it; so it goes
    /// to the end of the queue once, and then takes what they have asked too.
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T::AskFrame>> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        if state.generation != self.generation || state.phase == Phase::Ending {
            return Poll::Ready(None);
        }
        if state.pending.is_empty() || !state.accepted {
            state.taker = Some(context.waker().clone());
            return Poll::Pending;
        }
        self.yielded = !self.yielded;
        if self.yielded {
            drop(state);
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(state.take_frame())
    }
}
