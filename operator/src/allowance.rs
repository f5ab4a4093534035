//! How fast statuses are written: the loss of a zone changes those of thousands of Partitions within a second, and an API server has
//! others to serve. Pure; what is not written now is planned again by the next look, as everything is.

use std::time::Instant;

/// How many writes are due.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Writes for which nobody waits, so that the change of a few Partitions is told at once.
    burst: f64,
    /// Writes in a second in the long run.
    per_s: f64,
}

/// Who leads, and how whole it is.
const STATES: Rate = Rate { burst: 100.0, per_s: 40.0 };
/// How much it holds, beside them: it changes everywhere and always, and is to cost little.
const FIGURES: Rate = Rate { burst: 20.0, per_s: 8.0 };

/// What may be written now.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    rate: Rate,
    saved: f64,
    since: Instant,
}

/// What may be written of one Cluster's Partitions.
#[derive(Clone, Copy, Debug)]
pub struct Allowances {
    pub states: Allowance,
    pub figures: Allowance,
}

impl Allowances {
    pub fn new(now: Instant) -> Allowances {
        Allowances { states: Allowance::new(STATES, now), figures: Allowance::new(FIGURES, now) }
    }
}

impl Allowance {
    pub fn new(rate: Rate, now: Instant) -> Allowance {
        Allowance { rate, saved: rate.burst, since: now }
    }

    /// How many writes are due, at most `wanted`; they are counted as done.
    pub fn take(&mut self, wanted: usize, now: Instant) -> usize {
        let gained = now.saturating_duration_since(self.since).as_secs_f64() * self.rate.per_s;
        (self.saved, self.since) = ((self.saved + gained).min(self.rate.burst), now);
        let mut taken = 0;
        while taken < wanted && self.saved >= 1.0 {
            (taken, self.saved) = (taken + 1, self.saved - 1.0);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_few_are_written_at_once_and_thousands_evenly() {
        let begun = Instant::now();
        let mut allowance = Allowance::new(STATES, begun);
        assert_eq!(allowance.take(7, begun), 7);
        let (mut left, mut looks) = (1_000, 0);
        while left > 0 {
            looks += 1;
            let written = allowance.take(left, begun + Duration::from_secs(2 * looks));
            assert!(looks == 1 || written <= 80, "{written} in two seconds");
            left -= written;
        }
        assert!((11..=13).contains(&looks), "{looks}");
        // What was not used is not saved without end.
        assert_eq!(allowance.take(1_000, begun + Duration::from_hours(1)), 100);
    }
}
