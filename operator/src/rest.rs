//! How long a Cluster is left alone after a look at which something could not be done: longer each time, so that an API server in trouble
//! gets less to do. Pure.

use std::time::{Duration, Instant};

/// The first rest is this part of the time between two looks: a conflict is soon over.
const FIRST_PART: u32 = 20;
/// The longest one is so many times that time, and no longer: what has been mended outside is not announced.
const LONGEST_TIMES: u32 = 4;

#[derive(Clone, Copy, Debug, Default)]
pub struct Rest {
    /// Looks in a row that had trouble.
    troubles: u32,
    until: Option<Instant>,
}

impl Rest {
    /// A look has ended; `interval`: between two looks.
    pub fn begin(&mut self, troubled: bool, interval: Duration, now: Instant) {
        if !troubled {
            *self = Rest::default();
            return;
        }
        let pause = (interval / FIRST_PART).saturating_mul(1 << self.troubles.min(10)).min(interval * LONGEST_TIMES);
        self.troubles = self.troubles.saturating_add(1);
        self.until = Some(now + pause);
    }

    pub fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| until <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_trouble_doubles_the_rest_and_a_good_look_ends_it() {
        let (mut rest, begun, interval) = (Rest::default(), Instant::now(), Duration::from_secs(2));
        let mut pauses = Vec::new();
        for _ in 0..40 {
            rest.begin(true, interval, begun);
            let tenths = (0..=100).map(|tenth| Duration::from_millis(100) * tenth);
            pauses.push(tenths.into_iter().find(|pause| rest.is_over(begun + *pause)).unwrap().as_millis());
        }
        assert_eq!(pauses[..8], [100, 200, 400, 800, 1600, 3200, 6400, 8000]);
        assert!(pauses[8..].iter().all(|pause| *pause == 8000));
        rest.begin(false, interval, begun);
        assert!(rest.is_over(begun));
    }
}
