//! The purge thread: old files go, away from the writer.

use std::sync::{Condvar, Mutex, PoisonError};

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
    busy: bool,
}

impl Purge {
    pub fn new(every_bytes: u64) -> Purge {
        Purge { state: Mutex::default(), wake: Condvar::new(), rest: Condvar::new(), every_bytes }
    }

    pub fn written(&self, bytes: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.bytes += bytes;
        if state.bytes >= self.every_bytes {
            self.wake.notify_one();
        }
    }

    /// Looks for old files now.
    pub fn wake(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).bytes = self.every_bytes;
        self.wake.notify_one();
    }

    pub fn close(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.wake.notify_one();
    }

    /// False when it is closed.
    fn wait(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.busy = false;
        self.rest.notify_all();
        while state.bytes < self.every_bytes && !state.closed {
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.bytes = 0;
        state.busy = !state.closed;
        state.busy
    }

    /// Until everything that was written so far has been looked at: the files stand still then.
    #[cfg(test)]
    pub fn wait_until_idle(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while (state.bytes >= self.every_bytes || state.busy) && !state.closed {
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
