//! What happened, twice: a rolling hash of everything, and the last events for a story.

use std::collections::VecDeque;
use std::fmt::Write;

use crate::event::{Group, Place};
use crate::queue::Time;
use crate::rng::{bytes_hash, roll};

/// Events kept for a story.
const KEPT: usize = 20_000;

struct Line {
    time: Time,
    place: Option<Place>,
    group: Option<Group>,
    what: &'static str,
    numbers: [u64; 4],
}

/// Where something happened.
#[derive(Clone, Copy, Default)]
pub struct At {
    pub place: Option<Place>,
    pub group: Option<Group>,
}

impl At {
    pub fn place(place: Place) -> At {
        At { place: Some(place), group: None }
    }

    pub fn seat(place: Place, group: Group) -> At {
        At { place: Some(place), group: Some(group) }
    }
}

#[derive(Default)]
pub struct Trace {
    pub hash: u64,
    pub events: u64,
    recent: VecDeque<Line>,
}

impl Trace {
    pub fn note(&mut self, time: Time, at: At, what: &'static str, numbers: [u64; 4]) {
        let At { place, group } = at;
        self.hash = roll(self.hash, time);
        self.hash =
            roll(self.hash, place.map_or(0, |place| place as u64 + 1) << 32 | group.map_or(0, |g| g as u64 + 1));
        self.hash = roll(self.hash, bytes_hash(what.as_bytes()));
        for number in numbers {
            self.hash = roll(self.hash, number);
        }
        self.events += 1;
        if self.recent.len() == KEPT {
            self.recent.pop_front();
        }
        self.recent.push_back(Line { time, place, group, what, numbers });
    }

    /// The last events, of one group where one is named (with what happened to whole nodes).
    pub fn story(&self, group: Option<Group>, lines: usize) -> String {
        let told: Vec<&Line> =
            self.recent.iter().filter(|line| group.is_none() || line.group.is_none() || line.group == group).collect();
        let mut story = String::from("      seconds  node  group  event\n");
        for line in told.iter().skip(told.len().saturating_sub(lines)) {
            let place = line.place.map_or(String::from("-"), |place| place.to_string());
            let group = line.group.map_or(String::from("-"), |group| group.to_string());
            let seconds = format!("{}.{:06}", line.time / 1_000_000, line.time % 1_000_000);
            let [a, b, c, d] = line.numbers;
            let written = writeln!(story, "{seconds:>13} {place:>5} {group:>6}  {:<22} {a} {b} {c} {d}", line.what);
            written.expect("a string takes every line");
        }
        story
    }
}
