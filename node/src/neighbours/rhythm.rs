//! How often nodes hear of each other, in ticks. Pure.

use std::time::Duration;

/// Nodes that share no group, for placement alone.
const STRANGERS: Duration = Duration::from_secs(1);
/// Heartbeats that may be missed.
const MISSED: u64 = 3;

/// Of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rhythm {
    pub tick: Duration,
    pub heartbeat_ticks: u64,
    /// Silence of one who shares a group.
    pub election_ticks: u64,
}

impl Rhythm {
    /// Ticks from one heartbeat to the next.
    pub fn period(self, shares: bool) -> u64 {
        if shares { self.heartbeat_ticks } else { self.ticks(STRANGERS).max(self.heartbeat_ticks) }
    }

    /// What the other is told of that.
    pub fn within_ms(self, period: u64) -> u32 {
        let ms = self.tick.as_millis().saturating_mul(u128::from(period));
        u32::try_from(ms).unwrap_or(u32::MAX)
    }

    /// Ticks of silence after which one is silent who promised so. Another node may have other ticks.
    pub fn patience(self, next_within_ms: u32) -> u64 {
        let promised = self.ticks(Duration::from_millis(u64::from(next_within_ms)));
        self.election_ticks.max(MISSED * promised)
    }

    /// Rounded up.
    fn ticks(self, time: Duration) -> u64 {
        let tick = self.tick.as_millis().max(1);
        u64::try_from(time.as_millis().div_ceil(tick)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_follows_what_was_promised_and_is_an_election_time_out_at_least() {
        let rhythm = Rhythm { tick: Duration::from_millis(50), heartbeat_ticks: 2, election_ticks: 10 };
        assert_eq!((rhythm.period(true), rhythm.period(false)), (2, 20));
        assert_eq!((rhythm.within_ms(2), rhythm.within_ms(20)), (100, 1000));
        assert_eq!([0, 100, 180, 1000].map(|promised| rhythm.patience(promised)), [10, 10, 12, 60]);
        let slow = Rhythm { tick: Duration::from_secs(2), ..rhythm };
        assert_eq!((slow.period(false), slow.within_ms(2)), (2, 4000));
    }
}
