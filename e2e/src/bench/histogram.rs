//! Latencies in logarithmic buckets: 32 per power of two, so that a quantile is at most 3 % too high.

use std::time::Duration;

const SUB_BITS: u32 = 5;
const SUB: u64 = 1 << SUB_BITS;
/// Every nanosecond count of 64 bits has a bucket.
const BUCKETS: usize = (64 - SUB_BITS as usize + 1) << SUB_BITS;

/// How often which latency was seen.
#[derive(Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: vec![0; BUCKETS], total: 0 }
    }
}

impl Histogram {
    pub fn record(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanos)] += 1;
        self.total += 1;
    }

    pub fn merge(&mut self, other: &Histogram) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
    }

    pub fn total(&self) -> u64 {
        self.total
    }

    /// The latency that `per_mille` thousandths of all stay within, as the upper end of its bucket; zero if none was seen.
    pub fn quantile(&self, per_mille: u64) -> Duration {
        let rank = (self.total * per_mille).div_ceil(1000).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_nanos(upper_end(index));
            }
        }
        Duration::ZERO
    }
}

/// Below `SUB` every number has its own bucket; above, the highest bit chooses the octave and the next five the place in it.
fn bucket(nanos: u64) -> usize {
    let octave = (nanos | (SUB - 1)).ilog2() + 1 - SUB_BITS;
    let place = if octave == 0 { nanos } else { (nanos >> (octave - 1)) - SUB };
    let index = (u64::from(octave) << SUB_BITS) + place;
    usize::try_from(index).expect("it is below BUCKETS")
}

fn upper_end(bucket: usize) -> u64 {
    let index = bucket as u64;
    let (octave, place) = (index >> SUB_BITS, index % SUB);
    if octave == 0 { place } else { ((SUB + place) << (octave - 1)) | ((1 << (octave - 1)) - 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_one_another_and_hold_what_falls_into_them() {
        assert_eq!(bucket(0), 0);
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        for index in 0..BUCKETS - 1 {
            assert_eq!(bucket(upper_end(index)), index);
            assert_eq!(bucket(upper_end(index) + 1), index + 1);
        }
    }

    #[test]
    fn quantiles_are_at_most_three_percent_too_high() {
        let mut histogram = Histogram::default();
        for micros in 1..=10_000 {
            histogram.record(Duration::from_micros(micros));
        }
        for (per_mille, exact) in [(1, 10), (500, 5_000), (990, 9_900), (999, 9_990), (1_000, 10_000)] {
            let found = histogram.quantile(per_mille);
            let exact = Duration::from_micros(exact);
            assert!(found >= exact && found <= exact.mul_f64(1.032), "{per_mille}: {found:?} for {exact:?}");
        }
    }

    #[test]
    fn merged_histograms_count_what_each_has_seen() {
        let (mut one, mut other) = (Histogram::default(), Histogram::default());
        one.record(Duration::from_millis(1));
        other.record(Duration::from_millis(100));
        one.merge(&other);
        assert_eq!(one.total(), 2);
        assert!(one.quantile(500) < Duration::from_millis(2));
        assert!(one.quantile(1_000) >= Duration::from_millis(100));
        assert_eq!(Histogram::default().quantile(990), Duration::ZERO);
    }
}
