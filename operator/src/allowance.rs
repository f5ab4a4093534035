//! How fast statuses are written: the loss of a zone changes those of thousands of Partitions within a second, and an API server has
//! others to serve. Pure; what is not written now is planned again by the next look, as everything is.

use std::time::Instant;

/// Writes for which nobody waits, so that the change of a few Partitions is told at once.
const BURST: f64 = 100.0;
/// Writes in a second in the long run.
const RATE_PER_S: f64 = 40.0;

/// What may be written now.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    saved: f64,
    since: Instant,
}

impl Allowance {
    pub fn new(now: Instant) -> Allowance {
        Allowance { saved: BURST, since: now }
    }

    /// How many writes are due, at most `wanted`; they are counted as done.
    pub fn take(&mut self, wanted: usize, now: Instant) -> usize {
        let gained = now.saturating_duration_since(self.since).as_secs_f64() * RATE_PER_S;
        (self.saved, self.since) = ((self.saved + gained).min(BURST), now);
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
        let mut allowance = Allowance::new(begun);
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
