//! What happened, twice: a rolling hash of everything, and the last events for a story.

use std::collections::VecDeque;

use crate::event::{Group, Place};
use crate::queue::Time;
use crate::rng::{bytes_hash, roll};

/// Events kept for a story.
const KEPT: usize = 20_000;

pub struct Line {
    pub time: Time,
    pub at: At,
    /// Words, then in brackets the names of the numbers.
    pub what: &'static str,
    pub numbers: [u64; 4],
}

/// Where something happened, and whom it concerns.
#[derive(Clone, Copy, Default)]
pub struct At {
    pub place: Option<Place>,
    pub group: Option<Group>,
    pub key: Option<usize>,
    pub client: Option<usize>,
}

impl At {
    pub fn place(place: Place) -> At {
        At { place: Some(place), ..At::default() }
    }

    pub fn seat(place: Place, group: Group) -> At {
        At { group: Some(group), ..At::place(place) }
    }
}

#[derive(Default)]
pub struct Trace {
    pub hash: u64,
    pub events: u64,
    pub recent: VecDeque<Line>,
}

impl Trace {
    pub fn note(&mut self, time: Time, at: At, what: &'static str, numbers: [u64; 4]) {
        let place = at.place.map_or(0, |place| place as u64 + 1);
        let group = at.group.map_or(0, |group| group as u64 + 1);
        self.hash = roll(self.hash, time);
        self.hash = roll(self.hash, place << 32 | group);
        self.hash = roll(self.hash, bytes_hash(what.as_bytes()));
        for number in numbers {
            self.hash = roll(self.hash, number);
        }
        self.events += 1;
        if self.recent.len() == KEPT {
            self.recent.pop_front();
        }
        self.recent.push_back(Line { time, at, what, numbers });
    }
}
