//! Bounded pools of threads for what may wait for the disk: missed reads, scans, snapshots.
//!
//! A worker hands a job over and never waits for it; a full queue is told at once, so that the request can be shed.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;

/// What a pool's thread runs.
pub type Job = Box<dyn FnOnce() + Send>;

/// The queue is full, or the pool is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the pool takes no more work")]
pub struct Full;

/// How large a pool is.
#[derive(Clone, Copy, Debug)]
pub struct PoolOptions {
    pub name: &'static str,
    pub threads: usize,
    pub queue: usize,
}

/// A handle; the threads end when [`Pool::close`] is called.
#[derive(Clone)]
pub struct Pool {
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    work: Condvar,
    queue: usize,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl Pool {
    pub fn start(options: PoolOptions) -> std::io::Result<Pool> {
        let inner = Arc::new(Inner {
            state: Mutex::default(),
            work: Condvar::new(),
            queue: options.queue,
            threads: Mutex::default(),
        });
        for number in 0..options.threads {
            let worker = Arc::clone(&inner);
            let name = format!("{}-{number}", options.name);
            let thread = std::thread::Builder::new().name(name).spawn(move || worker.run())?;
            inner.threads.lock().expect("nobody panics with this lock").push(thread);
        }
        Ok(Pool { inner })
    }

    pub fn submit(&self, job: impl FnOnce() + Send + 'static) -> Result<(), Full> {
        self.push(Box::new(job), self.inner.queue)
    }

    /// For work that is asked for again later: a busy pool drops it.
    pub fn submit_unless_busy(&self, job: impl FnOnce() + Send + 'static) {
        if self.submit(job).is_err() {
            tracing::debug!("a busy pool skips work until it is asked again");
        }
    }

    /// For work whose number is bounded elsewhere. A closed pool drops it.
    pub fn submit_always(&self, job: impl FnOnce() + Send + 'static) {
        if self.push(Box::new(job), usize::MAX).is_err() {
            tracing::debug!("work for a closed pool is dropped");
        }
    }

    fn push(&self, job: Job, bound: usize) -> Result<(), Full> {
        let mut state = self.inner.lock();
        if state.closed || state.jobs.len() >= bound {
            return Err(Full);
        }
        state.jobs.push_back(job);
        drop(state);
        self.inner.work.notify_one();
        Ok(())
    }

    /// Drops what waits, finishes what runs, and joins the threads.
    pub fn close(&self) {
        let dropped = {
            let mut state = self.inner.lock();
            state.closed = true;
            std::mem::take(&mut state.jobs)
        };
        drop(dropped);
        self.inner.work.notify_all();
        let threads = std::mem::take(&mut *self.inner.threads.lock().expect("nobody panics with this lock"));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a pool's thread panicked");
            }
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no job runs under this lock")
    }

    fn run(&self) {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                job();
                state = self.lock();
            } else if state.closed {
                return;
            } else {
                state = self.work.wait(state).expect("no job runs under this lock");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_full_queue_is_told_at_once() {
        let pool = Pool::start(PoolOptions { name: "test", threads: 1, queue: 1 }).unwrap();
        let (begun, has_begun) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        pool.submit(move || {
            begun.send(()).unwrap();
            released.recv().unwrap();
        })
        .unwrap();
        has_begun.recv().unwrap();
        let (second, second_ran) = mpsc::channel();
        pool.submit(move || second.send(()).unwrap()).unwrap();
        assert_eq!(pool.submit(|| ()), Err(Full));
        release.send(()).unwrap();
        second_ran.recv().unwrap();
        pool.close();
        assert_eq!(pool.submit(|| ()), Err(Full));
    }
}
