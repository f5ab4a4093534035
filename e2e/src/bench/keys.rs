//! Which of a number of things is asked for next.

use clap::ValueEnum;

use crate::random::Random;

/// How often which key is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Keys {
    /// Each as often as any other.
    Uniform,
    /// The n-th most popular in proportion to 1 / n^0.99, as YCSB has it.
    Zipf,
}

const ZIPF_EXPONENT: f64 = 0.99;

impl Keys {
    pub fn name(self) -> &'static str {
        match self {
            Keys::Uniform => "uniform",
            Keys::Zipf => "zipfian",
        }
    }
}

/// Draws numbers below a bound.
#[derive(Clone)]
pub struct Chooser {
    count: u64,
    /// For zipf: the probability of all numbers up to and including each.
    cumulative: Vec<f64>,
}

impl Chooser {
    /// `count` must be above 0.
    pub fn new(keys: Keys, count: u64) -> Chooser {
        let cumulative = match keys {
            Keys::Uniform => Vec::new(),
            Keys::Zipf => cumulative_zipf(count),
        };
        Chooser { count, cumulative }
    }

    /// Numbers are not scattered: the table's own hash does that to keys.
    pub fn choose(&self, random: &mut Random) -> usize {
        let chosen = if self.cumulative.is_empty() {
            usize::try_from(random.below(self.count)).expect("it is below a length")
        } else {
            let share = random.unit();
            self.cumulative.partition_point(|up_to| *up_to <= share).min(self.cumulative.len() - 1)
        };
        debug_assert!((chosen as u64) < self.count);
        chosen
    }
}

fn cumulative_zipf(count: u64) -> Vec<f64> {
    let mut sum = 0.0;
    let mut cumulative: Vec<f64> = (1..=count)
        .map(|rank| {
            sum += (rank as f64).powf(-ZIPF_EXPONENT);
            sum
        })
        .collect();
    cumulative.iter_mut().for_each(|up_to| *up_to /= sum);
    cumulative
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(keys: Keys, count: usize, draws: usize) -> Vec<f64> {
        let chooser = Chooser::new(keys, count as u64);
        let mut random = Random(3);
        let mut counts = vec![0.0; count];
        (0..draws).for_each(|_| counts[chooser.choose(&mut random)] += 1.0);
        counts
    }

    #[test]
    fn uniform_keys_are_equally_popular() {
        let counts = counts(Keys::Uniform, 10, 100_000);
        assert!(counts.iter().all(|count| (count - 10_000.0).abs() < 500.0), "{counts:?}");
    }

    #[test]
    fn the_second_of_zipfian_keys_is_half_as_popular_as_the_first_and_the_last_is_drawn_too() {
        let counts = counts(Keys::Zipf, 100, 1_000_000);
        let ratio = |rank: usize| counts[0] / counts[rank - 1] / (rank as f64).powf(ZIPF_EXPONENT);
        for rank in [2, 10, 100] {
            assert!((ratio(rank) - 1.0).abs() < 0.06, "{rank}: {counts:?}");
        }
        assert_eq!(counts.iter().sum::<f64>(), 1_000_000.0);
    }

    #[test]
    fn one_key_alone_is_always_chosen() {
        assert_eq!(counts(Keys::Zipf, 1, 10), [10.0]);
        assert_eq!(counts(Keys::Uniform, 1, 10), [10.0]);
    }
}
