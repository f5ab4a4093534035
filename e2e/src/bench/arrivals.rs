//! When requests are due in an open loop: independent of how fast they are answered, as users are of each other.

use std::time::Duration;

use crate::random::Random;

/// A Poisson process: the gaps between arrivals are exponentially distributed. The same seed gives the same arrivals.
pub struct Arrivals {
    random: Random,
    per_second: f64,
    /// Since the start.
    next: Duration,
}

impl Arrivals {
    /// `per_second` must be above 0.
    pub fn new(seed: u64, per_second: f64) -> Arrivals {
        let mut arrivals = Arrivals { random: Random(seed), per_second, next: Duration::ZERO };
        arrivals.advance();
        arrivals
    }

    /// When the next one is due.
    pub fn next(&self) -> Duration {
        self.next
    }

    pub fn advance(&mut self) {
        // The unit number is below 1, so the logarithm is finite.
        let gap_s = -(1.0 - self.random.unit()).ln() / self.per_second;
        self.next += Duration::from_secs_f64(gap_s);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaps(seed: u64, count: usize) -> Vec<f64> {
        let mut arrivals = Arrivals::new(seed, 1_000.0);
        let mut last = Duration::ZERO;
        let mut gaps = Vec::new();
        for _ in 0..count {
            gaps.push((arrivals.next() - last).as_secs_f64());
            last = arrivals.next();
            arrivals.advance();
        }
        gaps
    }

    #[test]
    fn the_same_seed_gives_the_same_arrivals_and_another_seed_others() {
        assert_eq!(gaps(7, 100), gaps(7, 100));
        assert_ne!(gaps(7, 100), gaps(8, 100));
    }

    #[test]
    fn gaps_are_exponential() {
        let gaps = gaps(1, 100_000);
        let count = gaps.len() as f64;
        let mean = gaps.iter().sum::<f64>() / count;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / count;
        // An exponential distribution's deviation is its mean, and a share of 1/e of it lies beyond the mean.
        assert!((mean / 0.001 - 1.0).abs() < 0.02, "{mean}");
        assert!((variance.sqrt() / 0.001 - 1.0).abs() < 0.03, "{variance}");
        let beyond = gaps.iter().filter(|gap| **gap > 0.001).count() as f64 / count;
        assert!((beyond - (-1.0_f64).exp()).abs() < 0.01, "{beyond}");
    }
}
