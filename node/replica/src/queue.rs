//! Writes that wait for their old item, first come first served for each key.
//!
//! A key is read once for all writes that wait for it, and nothing of that key is evaluated before the read is back: so no
//! write of this leader can come between a read's state and its answer, however late the answer comes.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::{Action, ReadItem, Token, WriteRequest};

#[derive(Default)]
pub(crate) struct Queue {
    keys: BTreeMap<Bytes, Waiting>,
    tickets: BTreeMap<u64, Bytes>,
    /// Keys whose old item is known, in the order in which it became so; evaluated at the end of the turn.
    ready: VecDeque<Bytes>,
    requests: usize,
    bytes: usize,
}

pub(crate) struct Waiting {
    pub old: Old,
    pub writes: VecDeque<Queued>,
}

pub(crate) struct Queued {
    pub token: Token,
    pub request: Box<WriteRequest>,
}

/// Where a key's old item comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Old {
    /// It is being read.
    Reading,
    /// As read.
    Item(Option<Bytes>),
    /// From the overlay.
    Overlaid,
}

impl Queue {
    /// A map that was filled keeps a node when it is empty.
    pub(crate) fn shrink(&mut self) {
        if self.is_empty() && self.tickets.is_empty() && self.ready.is_empty() {
            *self = Queue::default();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.requests == 0
    }

    pub(crate) fn has_room(&self, requests: usize, bytes: usize) -> bool {
        self.requests < requests && self.bytes < bytes
    }

    /// Returns the read that the write needs, if any. `overlaid` tells whether the overlay knows the key.
    pub(crate) fn push(&mut self, queued: Queued, overlaid: bool, next_ticket: &mut u64) -> Option<ReadItem> {
        self.requests += 1;
        self.bytes += request_bytes(&queued.request);
        let key = queued.request.key.clone();
        if let Some(waiting) = self.keys.get_mut(&key) {
            waiting.writes.push_back(queued);
            return None;
        }
        let writes = VecDeque::from([queued]);
        if overlaid {
            self.keys.insert(key.clone(), Waiting { old: Old::Overlaid, writes });
            self.ready.push_back(key);
            return None;
        }
        self.keys.insert(key.clone(), Waiting { old: Old::Reading, writes });
        Some(self.read(key, next_ticket))
    }

    fn read(&mut self, key: Bytes, next_ticket: &mut u64) -> ReadItem {
        let ticket = *next_ticket;
        *next_ticket += 1;
        self.tickets.insert(ticket, key.clone());
        ReadItem { ticket, key }
    }

    pub(crate) fn item_read(&mut self, ticket: u64, attributes: Option<Bytes>) {
        let Some(key) = self.tickets.remove(&ticket) else { return };
        if let Some(waiting) = self.keys.get_mut(&key) {
            waiting.old = Old::Item(attributes);
            self.ready.push_back(key);
        }
    }

    /// The writes that waited for it.
    pub(crate) fn read_failed(&mut self, ticket: u64) -> Vec<Token> {
        let Some(key) = self.tickets.remove(&ticket) else { return Vec::new() };
        self.remove(&key).map_or_else(Vec::new, |waiting| waiting.writes.iter().map(|queued| queued.token).collect())
    }

    pub(crate) fn pop_ready(&mut self) -> Option<(Bytes, Waiting)> {
        let key = self.ready.pop_front()?;
        let waiting = self.remove(&key).expect("ready keys wait");
        Some((key, waiting))
    }

    /// The overlay lost the key within the turn: its item is in the engine now.
    pub(crate) fn read_again(&mut self, key: Bytes, waiting: Waiting, next_ticket: &mut u64) -> ReadItem {
        self.requests += waiting.writes.len();
        self.bytes += waiting.writes.iter().map(|queued| request_bytes(&queued.request)).sum::<usize>();
        self.keys.insert(key.clone(), Waiting { old: Old::Reading, writes: waiting.writes });
        self.read(key, next_ticket)
    }

    fn remove(&mut self, key: &Bytes) -> Option<Waiting> {
        let waiting = self.keys.remove(key)?;
        self.requests -= waiting.writes.len();
        self.bytes -= waiting.writes.iter().map(|queued| request_bytes(&queued.request)).sum::<usize>();
        Some(waiting)
    }

    /// Takes out the writes to keys from `at` on; what is being read for them is not waited for.
    pub(crate) fn withdraw(&mut self, at: &Bytes) -> Vec<Token> {
        let keys: Vec<Bytes> = self.keys.range(at.clone()..).map(|(key, _)| key.clone()).collect();
        self.tickets.retain(|_, key| *key < *at);
        self.ready.retain(|key| *key < *at);
        let waiting = keys.iter().filter_map(|key| self.remove(key)).collect::<Vec<_>>();
        waiting.into_iter().flat_map(|waiting| waiting.writes).map(|queued| queued.token).collect()
    }

    pub(crate) fn tokens(self) -> impl Iterator<Item = Token> {
        self.keys.into_values().flat_map(|waiting| waiting.writes).map(|queued| queued.token)
    }
}

/// What a waiting write weighs against the queue's bound.
pub(crate) fn request_bytes(request: &WriteRequest) -> usize {
    let body = match &request.action {
        Action::Put(attributes) => attributes.len(),
        Action::Delete => 0,
        Action::Update { .. } => 256,
    };
    request.key.len() + request.request_id.len() + body
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::put;

    fn queued(token: u64, key: &str) -> Queued {
        Queued { token: Token(token), request: Box::new(put(key, "v")) }
    }

    #[test]
    fn writes_of_one_key_share_a_read_and_keep_their_order() {
        let mut queue = Queue::default();
        let mut ticket = 1;
        let read = queue.push(queued(1, "a"), false, &mut ticket).unwrap();
        assert_eq!(queue.push(queued(2, "a"), false, &mut ticket), None);
        assert!(queue.push(queued(3, "b"), false, &mut ticket).is_some());
        assert!(queue.pop_ready().is_none());
        queue.item_read(read.ticket, None);
        assert_eq!(queue.push(queued(4, "a"), false, &mut ticket), None);
        let (_, waiting) = queue.pop_ready().unwrap();
        assert_eq!(waiting.old, Old::Item(None));
        assert_eq!(waiting.writes.iter().map(|queued| queued.token.0).collect::<Vec<_>>(), [1, 2, 4]);
        assert!(queue.pop_ready().is_none());
    }

    #[test]
    fn what_is_withdrawn_is_not_waited_for_and_may_be_pushed_again() {
        let mut queue = Queue::default();
        let mut ticket = 1;
        let left = queue.push(queued(1, "a"), false, &mut ticket).unwrap();
        let read = queue.push(queued(2, "m"), false, &mut ticket).unwrap();
        let ready = queue.push(queued(3, "n"), false, &mut ticket).unwrap();
        queue.item_read(ready.ticket, None);
        assert_eq!(queue.withdraw(&Bytes::from_static(b"m")), [Token(2), Token(3)]);
        let again = queue.push(queued(4, "m"), false, &mut ticket).unwrap();
        queue.item_read(read.ticket, None);
        assert!(queue.pop_ready().is_none());
        queue.item_read(again.ticket, None);
        queue.item_read(left.ticket, None);
        assert_eq!(queue.pop_ready().unwrap().0, "m");
        assert_eq!(queue.pop_ready().unwrap().0, "a");
        assert!(queue.has_room(1, 1));
    }

    #[test]
    fn a_ticket_that_nobody_waits_for_is_ignored() {
        let mut queue = Queue::default();
        let mut ticket = 1;
        let read = queue.push(queued(1, "a"), false, &mut ticket).unwrap();
        assert_eq!(queue.read_failed(read.ticket), [Token(1)]);
        queue.item_read(read.ticket, None);
        queue.item_read(99, None);
        assert!(queue.pop_ready().is_none());
        assert!(queue.has_room(1, 1));
    }
}
