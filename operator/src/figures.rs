//! How much Partitions and Tables hold, as their statuses say it: rounded and seldom, since it changes with every write and nobody is to
//! be woken for it. Pure: when it was said last stands in the status itself, so that an operator that starts anew keeps the pace.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use model::Size;

/// Between two that are said of one object.
const EVERY: Duration = Duration::from_mins(5);
/// Digits that are told.
const DIGITS: u32 = 2;

/// What stands in a status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub items: u64,
    pub size_bytes: u64,
    /// When they were written; none while they are the nothing that an object begins with.
    pub sized_at: Option<Time>,
}

impl Figures {
    /// What is to stand there now; `counted`: none where a leader has not counted.
    pub fn next(self, counted: Option<Size>, now: &Time) -> Figures {
        let Some(Size { items, bytes }) = counted else { return self };
        let (items, size_bytes) = (rounded(items), rounded(bytes));
        let is_said = (items, size_bytes) == (self.items, self.size_bytes);
        let due = self.sized_at.as_ref().is_none_or(|at| now.0.duration_since(at.0).unsigned_abs() >= EVERY);
        if is_said || !due { self } else { Figures { items, size_bytes, sized_at: Some(now.clone()) } }
    }
}

/// To two digits; a number of Kubernetes' in any case.
fn rounded(number: u64) -> u64 {
    let number = number.min(i64::MAX.unsigned_abs());
    let unit = number.checked_ilog10().map_or(1, |digits| 10_u64.pow((digits + 1).saturating_sub(DIGITS)));
    let up = (number % unit) >= unit.div_ceil(2) && unit > 1;
    let down = number - number % unit;
    if up { down.saturating_add(unit).min(i64::MAX.unsigned_abs()) } else { down }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn at(second: i64) -> Time {
        Time(Timestamp::from_second(second).unwrap())
    }

    fn size(items: u64, bytes: u64) -> Option<Size> {
        Some(Size { items, bytes })
    }

    fn said(items: u64, size_bytes: u64, second: i64) -> Figures {
        Figures { items, size_bytes, sized_at: Some(at(second)) }
    }

    #[test]
    fn two_digits_are_told() {
        let cases = [0, 7, 99, 104, 105, 994, 995, 12_499, 12_500, u64::MAX];
        assert_eq!(
            cases.map(rounded),
            [0, 7, 99, 100, 110, 990, 1_000, 12_000, 13_000, 9_200_000_000_000_000_000],
            "{cases:?}"
        );
    }

    #[test]
    fn the_first_figure_is_told_at_once_and_others_every_five_minutes() {
        let nothing = Figures::default();
        assert_eq!(nothing.clone().next(None, &at(1_000)), nothing);
        assert_eq!(nothing.clone().next(size(0, 0), &at(1_000)), nothing, "an empty table is told of by none");
        let first = nothing.next(size(3, 1_234), &at(1_000));
        assert_eq!(first, said(3, 1_200, 1_000));
        assert_eq!(first.clone().next(size(4, 9_999), &at(1_299)), first);
        assert_eq!(first.clone().next(size(4, 9_999), &at(1_300)), said(4, 10_000, 1_300));
        assert_eq!(first.clone().next(None, &at(9_000)), first, "its next leader has not counted yet");
    }

    #[test]
    fn what_rounds_to_the_same_is_not_told_again() {
        let first = said(120, 1_200, 1_000);
        assert_eq!(first.clone().next(size(123, 1_241), &at(9_000)), first);
        // And so the next change is told at once.
        assert_eq!(first.next(size(125, 1_241), &at(9_001)), said(130, 1_200, 9_001));
    }
}
