//! How often each invariant was asked: one that nobody asks holds, and says nothing.

/// A file of this folder, or one of the rules in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Checked {
    AtMostOnce,
    Commitment,
    Copies,
    Durability,
    Election,
    Epochs,
    Equality,
    Identity,
    Linearizability,
    Liveness,
    LogMatching,
    Majority,
    Progress,
    Queues,
    Routing,
    Sleep,
    Splits,
    Tail,
    TakeOver,
    Truncation,
    Zones,
}

const NAMES: [&str; 21] = [
    "checks: at most once, conditional writes",
    "checks: commitment",
    "checks: copies",
    "checks: durability",
    "checks: election safety, leader completeness",
    "checks: epochs",
    "checks: state machine equality",
    "checks: identity, one vote",
    "checks: linearizability (operations)",
    "checks: liveness",
    "checks: log matching",
    "checks: majority",
    "checks: progress",
    "checks: queues",
    "checks: stale routers",
    "checks: sleep",
    "checks: splits",
    "checks: tail",
    "checks: take-over",
    "checks: truncation",
    "checks: zones",
];

#[derive(Default)]
pub struct Checks {
    counts: [u64; NAMES.len()],
}

impl Checks {
    pub fn count(&mut self, checked: Checked) {
        self.count_times(checked, 1);
    }

    pub fn count_times(&mut self, checked: Checked, times: u64) {
        self.counts[checked as usize] += times;
    }

    /// Those that were asked at all.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
        NAMES.into_iter().zip(self.counts).filter(|(_, count)| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_name() {
        let mut checks = Checks::default();
        checks.count(Checked::Zones);
        checks.count_times(Checked::AtMostOnce, 3);
        let named: Vec<_> = checks.named().collect();
        assert_eq!(named, [("checks: at most once, conditional writes", 3), ("checks: zones", 1)]);
    }
}
