//! Read and write capacity units, counted as DynamoDB counts them, in half units so that they are exact integers.

use std::iter::Sum;
use std::ops::Add;

use crate::limits::{READ_UNIT_BYTES, WRITE_UNIT_BYTES};

/// Half units of a read of `bytes`: 1 RCU per 4 KB rounded up, half of that where eventually consistent; at least one step.
/// A read that finds nothing costs that one step.
pub fn read_half_units(bytes: usize, consistent: bool) -> u64 {
    let steps = bytes.div_ceil(READ_UNIT_BYTES).max(1) as u64;
    if consistent { 2 * steps } else { steps }
}

/// Half units of a write: the larger of the item before and after, 1 WCU per 1 KB rounded up, at least one unit.
pub fn write_half_units(old_bytes: usize, new_bytes: usize) -> u64 {
    2 * old_bytes.max(new_bytes).div_ceil(WRITE_UNIT_BYTES).max(1) as u64
}

/// What is consumed in a second, on some average.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Consumption {
    /// Thousandths of a read unit.
    pub read_milliunits: u64,
    /// Thousandths of a write unit.
    pub write_milliunits: u64,
}

impl Add for Consumption {
    type Output = Consumption;

    fn add(self, other: Consumption) -> Consumption {
        Consumption {
            read_milliunits: self.read_milliunits.saturating_add(other.read_milliunits),
            write_milliunits: self.write_milliunits.saturating_add(other.write_milliunits),
        }
    }
}

impl Sum for Consumption {
    fn sum<I: Iterator<Item = Consumption>>(all: I) -> Consumption {
        all.fold(Consumption::default(), Consumption::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_costs_half_units_of_four_kilobytes_rounded_up() {
        for (bytes, eventual) in [(0, 1), (1, 1), (4096, 1), (4097, 2), (8192, 2), (409_600, 100)] {
            assert_eq!(read_half_units(bytes, false), eventual);
            assert_eq!(read_half_units(bytes, true), 2 * eventual);
        }
    }

    #[test]
    fn a_write_costs_units_of_one_kilobyte_of_the_larger_image() {
        for (old, new, units) in
            [(0, 0, 1), (0, 1024, 1), (0, 1025, 2), (3000, 10, 3), (10, 3000, 3), (0, 409_600, 400)]
        {
            assert_eq!(write_half_units(old, new), 2 * units);
        }
    }
}
