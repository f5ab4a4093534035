//! How much Partitions and Tables hold and how much of them is asked, as their statuses say it: rounded and seldom, since it changes with every write and nobody is to
//! be woken for it. Pure: when it was said last stands in the status itself, so that an operator that starts anew keeps the pace.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use model::Size;
use model::units::Consumption;

use crate::crd::{PartitionStatus, TableStatus};

/// Between two that are said of one object.
const EVERY: Duration = Duration::from_mins(5);
/// Digits that are told.
const DIGITS: u32 = 2;

/// What stands in a status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub items: u64,
    pub size_bytes: u64,
    /// A second.
    pub read_units: u64,
    pub write_units: u64,
    /// When they were written; none while they are the nothing that an object begins with.
    pub sized_at: Option<Time>,
}

/// What nodes tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// None where a leader has not counted.
    pub size: Option<Size>,
    pub consumption: Consumption,
}

impl From<&PartitionStatus> for Figures {
    fn from(status: &PartitionStatus) -> Figures {
        let PartitionStatus { items, size_bytes, read_units, write_units, .. } = *status;
        Figures { items, size_bytes, read_units, write_units, sized_at: status.sized_at.clone() }
    }
}

impl From<&TableStatus> for Figures {
    fn from(status: &TableStatus) -> Figures {
        let TableStatus { items, size_bytes, read_units, write_units, .. } = *status;
        Figures { items, size_bytes, read_units, write_units, sized_at: status.sized_at.clone() }
    }
}

impl Figures {
    /// What is to stand there now.
    pub fn next(self, counted: &Counted, now: &Time) -> Figures {
        let Size { items, bytes } = counted.size.unwrap_or(Size { items: self.items, bytes: self.size_bytes });
        let Consumption { read_milliunits, write_milliunits } = counted.consumption;
        let units = |milliunits: u64| rounded(milliunits.saturating_add(500) / 1000);
        let next = Figures {
            items: rounded(items),
            size_bytes: rounded(bytes),
            read_units: units(read_milliunits),
            write_units: units(write_milliunits),
            sized_at: self.sized_at.clone(),
        };
        let due = self.sized_at.as_ref().is_none_or(|at| now.0.duration_since(at.0).unsigned_abs() >= EVERY);
        if next == self || !due { self } else { Figures { sized_at: Some(now.clone()), ..next } }
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

    fn size(items: u64, bytes: u64) -> Counted {
        Counted { size: Some(Size { items, bytes }), ..Counted::default() }
    }

    fn said(items: u64, size_bytes: u64, second: i64) -> Figures {
        Figures { items, size_bytes, sized_at: Some(at(second)), ..Figures::default() }
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
        assert_eq!(nothing.clone().next(&Counted::default(), &at(1_000)), nothing);
        assert_eq!(nothing.clone().next(&size(0, 0), &at(1_000)), nothing, "an empty table is told of by none");
        let first = nothing.next(&size(3, 1_234), &at(1_000));
        assert_eq!(first, said(3, 1_200, 1_000));
        assert_eq!(first.clone().next(&size(4, 9_999), &at(1_299)), first);
        assert_eq!(first.clone().next(&size(4, 9_999), &at(1_300)), said(4, 10_000, 1_300));
        assert_eq!(first.clone().next(&Counted::default(), &at(9_000)), first, "its next leader has not counted yet");
    }

    #[test]
    fn what_rounds_to_the_same_is_not_told_again() {
        let first = said(120, 1_200, 1_000);
        assert_eq!(first.clone().next(&size(123, 1_241), &at(9_000)), first);
        // And so the next change is told at once.
        assert_eq!(first.next(&size(125, 1_241), &at(9_001)), said(130, 1_200, 9_001));
    }

    #[test]
    fn units_are_told_with_sizes_and_forgotten_when_nobody_asks() {
        let busy = |read_milliunits, write_milliunits| Counted {
            consumption: Consumption { read_milliunits, write_milliunits },
            ..size(3, 1_200)
        };
        let first = Figures::default().next(&busy(1_234_567, 499), &at(1_000));
        assert_eq!((first.read_units, first.write_units), (1_200, 0));
        assert_eq!(first.clone().next(&busy(9_000, 500), &at(1_299)), first);
        let next = first.next(&busy(9_000, 500), &at(1_300));
        assert_eq!((next.read_units, next.write_units), (9, 1));
        assert_eq!(next.next(&size(3, 1_200), &at(9_000)), said(3, 1_200, 9_000));
    }
}
