//! The event queue: what happens next, by virtual time and then by the order in which it was scheduled.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::event::Event;

/// Virtual microseconds since the world began.
pub type Time = u64;

#[derive(Default)]
pub struct Queue {
    /// Time, number, place among the events.
    order: BinaryHeap<Reverse<(Time, u64, usize)>>,
    events: Vec<Option<Event>>,
    free: Vec<usize>,
    scheduled: u64,
}

impl Queue {
    pub fn at(&mut self, time: Time, event: Event) {
        self.scheduled += 1;
        let at = self.free.pop().unwrap_or_else(|| {
            self.events.push(None);
            self.events.len() - 1
        });
        self.events[at] = Some(event);
        self.order.push(Reverse((time, self.scheduled, at)));
    }

    pub fn take_next(&mut self) -> Option<(Time, Event)> {
        let Reverse((time, _, at)) = self.order.pop()?;
        self.free.push(at);
        let event = self.events[at].take().expect("whatever is in the order is among the events");
        Some((time, event))
    }

    pub fn len(&self) -> usize {
        self.order.len()
    }

    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}
