//! The purge thread: old files go, away from the writer.
//!
//! A reader looks up where entries are, and opens their files then: a purge between the two may have written the entries
//! elsewhere and removed the files. Purges are counted, so that a reader can tell this from files that are lost.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use model::PartitionId;

use super::LogListener;
use super::format::LOG_GROUP;
use super::writer::{AbortOnPanic, Engine};

/// Wakes the purge after enough bytes were written.
pub struct Purge {
    state: Mutex<State>,
    wake: Condvar,
    /// Told when a purge is done.
    rest: Condvar,
    every_bytes: u64,
}

#[derive(Default)]
struct State {
    bytes: u64,
    closed: bool,
    /// Purges that have begun; one more than have ended while there is one.
    begun: u64,
    ended: u64,
}

/// raft-engine removes files of what was rewritten, and then of what was appended; nothing that is still looked up stands in
/// them.
const REMOVALS_PER_PURGE: u64 = 2;

/// One reader's attempts at the same entries.
pub struct Attempts<'a> {
    purge: &'a Purge,
    ended_before: u64,
    failed: u64,
}

impl Attempts<'_> {
    /// After an attempt that failed: whether the purges since the first one explain it and all before it. Then the entries are
    /// to be looked up again.
    pub fn are_explained(&mut self) -> bool {
        self.failed += 1;
        let meanwhile = self.purge.lock().begun - self.ended_before;
        self.failed <= REMOVALS_PER_PURGE * meanwhile
    }
}

impl Purge {
    pub fn new(every_bytes: u64) -> Purge {
        Purge { state: Mutex::default(), wake: Condvar::new(), rest: Condvar::new(), every_bytes }
    }

    /// Before the first look-up.
    pub fn attempts(&self) -> Attempts<'_> {
        Attempts { purge: self, ended_before: self.lock().ended, failed: 0 }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn written(&self, bytes: u64) {
        let mut state = self.lock();
        state.bytes += bytes;
        if state.bytes >= self.every_bytes {
            self.wake.notify_one();
        }
    }

    /// Looks for old files now.
    pub fn wake(&self) {
        self.lock().bytes = self.every_bytes;
        self.wake.notify_one();
    }

    pub fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_one();
    }

    /// False when it is closed.
    fn wait(&self) -> bool {
        let mut state = self.lock();
        state.ended = state.begun;
        self.rest.notify_all();
        while state.bytes < self.every_bytes && !state.closed {
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.bytes = 0;
        if !state.closed {
            state.begun += 1;
        }
        !state.closed
    }

    /// Until everything that was written so far has been looked at: the files stand still then.
    #[cfg(test)]
    pub fn wait_until_idle(&self) {
        let mut state = self.lock();
        while (state.bytes >= self.every_bytes || state.begun > state.ended) && !state.closed {
            state = self.rest.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub fn run(&self, engine: &Engine, listener: &dyn LogListener) {
        let _abort = AbortOnPanic;
        while self.wait() {
            match engine.purge_expired_files() {
                Ok(groups) => {
                    let groups: Vec<_> = groups.into_iter().filter(|g| *g != LOG_GROUP).map(PartitionId).collect();
                    if !groups.is_empty() {
                        listener.holds_old_files(groups);
                    }
                }
                Err(error) => tracing::error!(%error, "old log files cannot be removed"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn purge(begun: u64, ended: u64) -> Purge {
        let purge = Purge::new(1);
        *purge.lock() = State { begun, ended, ..State::default() };
        purge
    }

    #[test]
    fn a_failed_read_without_a_purge_is_not_explained() {
        assert!(!purge(7, 7).attempts().are_explained());
    }

    #[test]
    fn each_purge_explains_two_failed_reads() {
        let purge = purge(8, 7);
        let mut attempts = purge.attempts();
        assert!(attempts.are_explained() && attempts.are_explained(), "one was at work from the beginning");
        *purge.lock() = State { begun: 9, ended: 8, ..State::default() };
        assert!(attempts.are_explained() && attempts.are_explained(), "and another has begun since");
        assert!(!attempts.are_explained());
    }
}
