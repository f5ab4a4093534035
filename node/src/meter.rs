//! What the clients of one replica consume, in DynamoDB's capacity units.
//!
//! It is counted where a request is answered, by whatever thread that is, and averaged when somebody asks: no tick is spent on it, and a
//! group that sleeps is left asleep. The average forgets what is older than some minutes, as an exponential does. A replica counts what it
//! has answered itself, eventual reads among it, since it came to this process; a group's consumption is the sum of its replicas'.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use model::units::{Consumption, read_half_units, write_half_units};

/// After so long a burst counts for a third.
const WINDOW: Duration = Duration::from_mins(5);
/// Who asks again sooner hears the same.
const SHORTEST: Duration = Duration::from_secs(1);

pub struct Meter {
    read_half_units: AtomicU64,
    write_half_units: AtomicU64,
    average: Mutex<Average>,
}

impl Meter {
    pub fn new(now: Instant) -> Meter {
        let average = Average { began: now, asked: now, seen: [0; 2], weighted: [0.0; 2] };
        Meter { read_half_units: AtomicU64::new(0), write_half_units: AtomicU64::new(0), average: Mutex::new(average) }
    }

    /// Answered were so many bytes of items, as DynamoDB measures them.
    pub fn read(&self, bytes: usize, consistent: bool) {
        self.read_half_units.fetch_add(read_half_units(bytes, consistent), Ordering::Relaxed);
    }

    /// An item of so many bytes became one of so many, or was to.
    pub fn write(&self, old_bytes: usize, new_bytes: usize) {
        self.write_half_units.fetch_add(write_half_units(old_bytes, new_bytes), Ordering::Relaxed);
    }

    pub fn consumption(&self, now: Instant) -> Consumption {
        let counted = [&self.read_half_units, &self.write_half_units].map(|count| count.load(Ordering::Relaxed));
        self.average.lock().unwrap_or_else(PoisonError::into_inner).told(counted, now)
    }
}

/// Of both counts, in half units a second.
struct Average {
    began: Instant,
    asked: Instant,
    seen: [u64; 2],
    /// As if nothing had been consumed before it began.
    weighted: [f64; 2],
}

impl Average {
    fn told(&mut self, counted: [u64; 2], now: Instant) -> Consumption {
        let passed = now.saturating_duration_since(self.asked);
        if passed >= SHORTEST {
            let old = (-passed.div_duration_f64(WINDOW)).exp();
            for ((weighted, seen), counted) in self.weighted.iter_mut().zip(self.seen).zip(counted) {
                let rate = counted.saturating_sub(seen) as f64 / passed.as_secs_f64();
                *weighted = *weighted * old + rate * (1.0 - old);
            }
            (self.asked, self.seen) = (now, counted);
        }
        // The time before it began weighs nothing.
        let known = 1.0 - (-self.asked.saturating_duration_since(self.began).div_duration_f64(WINDOW)).exp();
        let [read_milliunits, write_milliunits] = self.weighted.map(|half_units| milliunits(half_units, known));
        Consumption { read_milliunits, write_milliunits }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "neither negative nor near the end")]
fn milliunits(half_units: f64, known: f64) -> u64 {
    if known > 0.0 { (half_units / known * 500.0).round() as u64 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Read units a second after each of so many steps of so many seconds, in which so many units were read.
    fn told(steps: &[(u64, usize)]) -> Vec<u64> {
        let began = Instant::now();
        let meter = Meter::new(began);
        let mut passed = 0;
        let mut told = Vec::new();
        for (seconds, units) in steps {
            for _ in 0..*units {
                meter.read(0, true);
            }
            passed += seconds;
            let Consumption { read_milliunits, write_milliunits } =
                meter.consumption(began + Duration::from_secs(passed));
            assert_eq!(write_milliunits, 0);
            told.push(read_milliunits);
        }
        told
    }

    #[test]
    fn a_steady_rate_is_told_from_the_first_second_on_and_however_often_it_is_asked() {
        assert_eq!(told(&[(1, 10), (2, 20), (600, 6_000)]), [10_000; 3]);
        assert_eq!(told(&[(0, 10)]), [0], "no time has passed");
    }

    #[test]
    fn what_ended_is_forgotten_within_minutes() {
        let after = told(&[(600, 6_000), (300, 0), (300, 0), (3_600, 0)]);
        assert_eq!(after[0], 10_000);
        assert!((3_300..3_400).contains(&after[1]), "a third of it is left: {after:?}");
        assert!((1_150..1_250).contains(&after[2]) && after[3] == 0, "{after:?}");
    }

    #[test]
    fn units_are_dynamodbs() {
        let began = Instant::now();
        let meter = Meter::new(began);
        meter.read(4_097, true);
        meter.read(4_097, false);
        meter.write(1_025, 3);
        let told = meter.consumption(began + Duration::from_secs(10));
        assert_eq!(told, Consumption { read_milliunits: 300, write_milliunits: 200 });
    }
}
