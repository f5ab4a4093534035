//! The event queue: what happens next, by virtual time and then by the order in which it was scheduled.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use crate::event::Event;

/// Virtual microseconds since the world began.
pub type Time = u64;

#[derive(Default)]
pub struct Queue {
    order: BinaryHeap<Reverse<(Time, u64)>>,
    events: BTreeMap<u64, Event>,
    scheduled: u64,
}

impl Queue {
    pub fn at(&mut self, time: Time, event: Event) {
        self.scheduled += 1;
        self.order.push(Reverse((time, self.scheduled)));
        self.events.insert(self.scheduled, event);
    }

    pub fn take_next(&mut self) -> Option<(Time, Event)> {
        let Reverse((time, number)) = self.order.pop()?;
        let event = self.events.remove(&number).expect("every number in the order has its event");
        Some((time, event))
    }

    pub fn len(&self) -> usize {
        self.order.len()
    }

    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}
