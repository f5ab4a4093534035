//! What waits to leave on one connection.
//!
//! Producers append to the pending frame; the connection takes it when the network asks for more: under load a frame grows
//! while the one before it leaves, and no timer decides when to flush. Bounded in bytes: what does not fit comes back.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use futures::Stream;

/// Most bytes that leave in one frame, unless one message alone is larger.
pub const FRAME_BYTES: usize = 1 << 20;
/// Most bytes that wait on one connection.
pub const OUTBOX_BYTES: usize = 16 << 20;

/// The pending frame of one connection.
pub struct Outbox<T> {
    state: Mutex<State<T>>,
    limit_bytes: usize,
}

struct State<T> {
    pending: VecDeque<(T, usize)>,
    bytes: usize,
    waker: Option<Waker>,
    /// The stream that may take; an older one ends.
    stream: u64,
    mode: Mode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Open,
    /// There is no connection, and the last attempt to get one failed.
    Down,
    /// For good, once what waits has left.
    Finishing,
    /// For good.
    Closed,
}

impl<T> Outbox<T> {
    pub fn new(limit_bytes: usize) -> Arc<Outbox<T>> {
        let state = State { pending: VecDeque::new(), bytes: 0, waker: None, stream: 0, mode: Mode::Open };
        Arc::new(Outbox { state: Mutex::new(state), limit_bytes })
    }

    /// Appends what fits; the rest stays in `messages`.
    pub fn push(&self, messages: &mut Vec<(T, usize)>) {
        self.append(messages, self.limit_bytes);
    }

    /// Appends everything: for what must be told even when the frame is over its bound.
    pub fn push_all(&self, messages: &mut Vec<(T, usize)>) {
        self.append(messages, usize::MAX);
    }

    fn append(&self, messages: &mut Vec<(T, usize)>, limit: usize) {
        let mut state = self.lock();
        if state.mode != Mode::Open {
            return;
        }
        let mut bytes = state.bytes;
        let fitting = messages
            .iter()
            .take_while(|(_, size)| {
                bytes = bytes.saturating_add(*size);
                bytes <= limit
            })
            .count();
        for (message, size) in messages.drain(..fitting) {
            state.bytes += size;
            state.pending.push_back((message, size));
        }
        let waker = if state.pending.is_empty() { None } else { state.waker.take() };
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Nothing is taken from it any more, and nothing accepted.
    pub fn close(&self) {
        self.set(Mode::Closed);
    }

    /// Nothing is accepted any more; its stream ends when what waits has left.
    pub fn finish(&self) {
        let waker = {
            let mut state = self.lock();
            if state.mode != Mode::Open {
                return;
            }
            state.mode = Mode::Finishing;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub fn is_closed(&self) -> bool {
        self.lock().mode == Mode::Closed
    }

    /// There is no connection: what waits is dropped, and pushes are refused until the next [`Outbox::stream`].
    pub fn down(&self) {
        self.set(Mode::Down);
    }

    fn set(&self, mode: Mode) {
        let waker = {
            let mut state = self.lock();
            if state.mode == Mode::Closed {
                return;
            }
            state.mode = mode;
            state.pending.clear();
            state.bytes = 0;
            state.stream += 1;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// What the connection takes; a stream taken before ends.
    pub fn stream(self: &Arc<Self>) -> OutboxStream<T> {
        let (number, waker) = {
            let mut state = self.lock();
            state.stream += 1;
            if state.mode == Mode::Down {
                state.mode = Mode::Open;
            }
            (state.stream, state.waker.take())
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        OutboxStream { outbox: Arc::clone(self), number }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().expect("no holder of an outbox's lock panics")
    }
}

/// Yields the messages of one frame after the other.
pub struct OutboxStream<T> {
    outbox: Arc<Outbox<T>>,
    number: u64,
}

impl<T> Stream for OutboxStream<T> {
    type Item = Vec<T>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Vec<T>>> {
        let mut state = self.outbox.lock();
        if state.mode == Mode::Closed || state.stream != self.number {
            return Poll::Ready(None);
        }
        if state.pending.is_empty() {
            if state.mode == Mode::Finishing {
                return Poll::Ready(None);
            }
            state.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        let mut frame = Vec::with_capacity(state.pending.len());
        let mut bytes = 0;
        while let Some((_, size)) = state.pending.front() {
            if !frame.is_empty() && bytes + size > FRAME_BYTES {
                break;
            }
            bytes += size;
            frame.extend(state.pending.pop_front().map(|(message, _)| message));
        }
        state.bytes -= bytes;
        Poll::Ready(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use futures::executor::block_on;
    use futures::future::FutureExt;

    use super::*;

    #[test]
    fn a_frame_takes_what_waits_up_to_its_bound() {
        let outbox = Outbox::new(4 * FRAME_BYTES);
        let mut stream = outbox.stream();
        outbox.push(&mut vec![('a', 1), ('b', FRAME_BYTES - 1), ('c', 2 * FRAME_BYTES), ('d', 1)]);
        assert_eq!(block_on(stream.next()), Some(vec!['a', 'b']));
        assert_eq!(block_on(stream.next()), Some(vec!['c']));
        assert_eq!(block_on(stream.next()), Some(vec!['d']));
        assert_eq!(stream.next().now_or_never(), None);
        assert_eq!(outbox.bytes(), 0);
    }

    #[test]
    fn what_does_not_fit_comes_back() {
        let outbox = Outbox::new(10);
        let mut messages = vec![('a', 6), ('b', 6), ('c', 1)];
        outbox.push(&mut messages);
        assert_eq!(messages, [('b', 6), ('c', 1)]);
        assert_eq!(outbox.bytes(), 6);
        outbox.push_all(&mut messages);
        assert!(messages.is_empty());
    }

    #[test]
    fn what_waits_leaves_before_the_end() {
        let outbox = Outbox::new(10);
        let mut stream = outbox.stream();
        outbox.push(&mut vec![('a', 1)]);
        outbox.finish();
        let mut late = vec![('b', 1)];
        outbox.push(&mut late);
        assert_eq!((late.len(), block_on(stream.next()), block_on(stream.next())), (1, Some(vec!['a']), None));
    }

    #[test]
    fn a_new_connection_ends_the_stream_of_the_old_one_and_a_lost_one_refuses() {
        let outbox = Outbox::new(10);
        let mut old = outbox.stream();
        outbox.push(&mut vec![('a', 1)]);
        let mut new = outbox.stream();
        assert_eq!(block_on(old.next()), None);
        assert_eq!(block_on(new.next()), Some(vec!['a']));
        outbox.down();
        assert_eq!(block_on(new.next()), None);
        let mut messages = vec![('b', 1)];
        outbox.push(&mut messages);
        assert_eq!(messages.len(), 1);
        let mut third = outbox.stream();
        outbox.push(&mut messages);
        assert_eq!(block_on(third.next()), Some(vec!['b']));
    }
}
