//! Gray failure: a leader that works, and works slowly, hands over to one that does not (ATC'22 §6.2).
//!
//! Two things show that the leader itself is slow, and not its load:
//! - its disk: the others have synced an entry long before it has, again and again;
//! - its links: what it proposed some ticks ago is not applied yet, though voters answer. Were only one of them slow, the
//!   other would do.
//!
//! Neither is proof, so a replica hands over for this once, then rests; the rest doubles while it goes on. A whole cluster
//! that is slow thus does not throw its leaders around. Whoever leads next keeps the lead: nobody claims it back.

use std::collections::VecDeque;

use crate::Now;

/// A proposal that is not applied after so many ticks is late.
const LATE_TICKS: usize = 2;
/// A sync below this is not slow, however fast the others are.
const SLOW_SYNC_US: u64 = 20_000;
/// Nor is one that takes less than so many times as long as that of the others, network included.
const SLOWER_TIMES: u64 = 4;
/// So many ticks with a slow sync, less those with none, are enough.
const SLOW_TICKS: u32 = 8;
/// Late ticks are enough when they were more than a sixth for a second: lost messages come again with the next heartbeat,
/// so that most proposals are not late. Ticks in which nothing was proposed do not count.
const LATE_WEIGHT: u32 = 5;
const LATE_ENOUGH: u32 = 8 * LATE_WEIGHT;
/// Ticks between two hand-overs, at first and at most.
const LEAST_REST: u64 = 100;
const LONGEST_REST: u64 = 36_000;

#[derive(Default)]
pub(crate) struct Slowness {
    /// Where the log ended at each of the last ticks.
    ends: VecDeque<u64>,
    late: u32,
    appends: VecDeque<Append>,
    /// Of the syncs since the last tick.
    tick: Syncs,
    slow: u32,
    rests_until: u64,
    rest: u64,
}

/// An append on its way to the own disk.
struct Append {
    number: u64,
    last_index: u64,
    begun: Now,
    /// When the others had it, if they were faster.
    by_others: Option<Now>,
}

#[derive(Default)]
struct Syncs {
    slow: bool,
    any: bool,
}

impl Slowness {
    pub(crate) fn shrink(&mut self) {
        self.ends.shrink_to_fit();
        self.appends.shrink_to_fit();
    }

    /// Leadership is won or lost: what was seen belongs to another.
    pub(crate) fn forget(&mut self) {
        let Slowness { rests_until, rest, .. } = *self;
        *self = Slowness { rests_until, rest, ..Slowness::default() };
    }

    pub(crate) fn appended(&mut self, number: u64, last_index: u64, now: Now) {
        self.appends.push_back(Append { number, last_index, begun: now, by_others: None });
    }

    pub(crate) fn committed(&mut self, index: u64, now: Now) {
        for append in self.appends.iter_mut().take_while(|append| append.last_index <= index) {
            append.by_others.get_or_insert(now);
        }
    }

    pub(crate) fn persisted(&mut self, number: u64, now: Now) {
        while self.appends.front().is_some_and(|append| append.number <= number) {
            let append = self.appends.pop_front().expect("there is a first one");
            self.tick.any = true;
            self.tick.slow |= append.is_slow(now);
        }
    }

    /// Whether it is time to hand over.
    pub(crate) fn tick(&mut self, ticks: u64, last_index: u64, applied: u64, now: Now) -> bool {
        let past = self.ends.front().copied().unwrap_or(last_index);
        if past > applied && self.ends.len() == LATE_TICKS {
            self.late = LATE_ENOUGH.min(self.late + LATE_WEIGHT);
        } else if last_index > past {
            self.late = self.late.saturating_sub(1);
        }
        if self.ends.len() == LATE_TICKS {
            self.ends.pop_front();
        }
        self.ends.push_back(last_index);
        let Syncs { slow, any } = std::mem::take(&mut self.tick);
        if slow || self.appends.front().is_some_and(|append| append.is_slow(now)) {
            self.slow = SLOW_TICKS.min(self.slow + 1);
        } else if any {
            self.slow = self.slow.saturating_sub(1);
        }
        ticks >= self.rests_until && (self.slow == SLOW_TICKS || self.late == LATE_ENOUGH)
    }

    pub(crate) fn handed_over(&mut self, ticks: u64) {
        let is_new = ticks > self.rests_until + LONGEST_REST.min(10 * self.rest);
        self.rest = if is_new { LEAST_REST } else { LONGEST_REST.min(2 * self.rest) };
        self.rests_until = ticks + self.rest;
        self.forget();
    }
}

impl Append {
    fn is_slow(&self, now: Now) -> bool {
        let Some(by_others) = self.by_others else { return false };
        let own = now.0.saturating_sub(self.begun.0);
        let others = by_others.0.saturating_sub(self.begun.0);
        own >= SLOW_SYNC_US && own >= SLOWER_TIMES * others
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_grow_while_it_goes_on_and_begin_anew_when_it_was_over() {
        let mut slowness = Slowness::default();
        let mut rests = Vec::new();
        let mut ticks = 1_000;
        for _ in 0..12 {
            slowness.handed_over(ticks);
            rests.push(slowness.rests_until - ticks);
            ticks = slowness.rests_until + 1;
        }
        assert_eq!(rests[..4], [100, 200, 400, 800]);
        assert_eq!(rests[11], LONGEST_REST);
        ticks += 20 * LONGEST_REST;
        slowness.handed_over(ticks);
        assert_eq!(slowness.rests_until - ticks, LEAST_REST);
    }

    #[test]
    fn a_slow_disk_is_one_that_the_others_wait_for() {
        let sync = |own: u64, others: Option<u64>| {
            let begun = Now(1_000_000);
            let by_others = others.map(|us| Now(begun.0 + us));
            Append { number: 1, last_index: 1, begun, by_others }.is_slow(Now(begun.0 + own))
        };
        assert!(sync(50_000, Some(2_000)));
        assert!(!sync(50_000, Some(30_000)), "all are slow");
        assert!(!sync(10_000, Some(500)), "fast enough");
        assert!(!sync(50_000, None), "the first to have it");
    }
}
