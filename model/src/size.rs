//! How much a range of items holds, in DynamoDB's measure: what DescribeTable's ItemCount and TableSizeBytes are the sums of.

use std::iter::Sum;
use std::ops::Add;

/// Items, and their sizes together: names and values of all attributes (`item::attributes_size`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    pub items: u64,
    pub bytes: u64,
}

impl Size {
    /// One item of so many bytes.
    pub fn of_item(bytes: usize) -> Size {
        Size { items: 1, bytes: u64::try_from(bytes).unwrap_or(u64::MAX) }
    }
}

impl Add for Size {
    type Output = Size;

    /// Saturating: figures of others are added up, too.
    fn add(self, other: Size) -> Size {
        Size { items: self.items.saturating_add(other.items), bytes: self.bytes.saturating_add(other.bytes) }
    }
}

impl Sum for Size {
    fn sum<I: Iterator<Item = Size>>(sizes: I) -> Size {
        sizes.fold(Size::default(), Size::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_add_up_and_never_overflow() {
        let sizes = [Size::of_item(40), Size::of_item(2), Size { items: 0, bytes: u64::MAX - 41 }];
        assert_eq!(sizes[..2].iter().copied().sum::<Size>(), Size { items: 2, bytes: 42 });
        assert_eq!(sizes.into_iter().sum::<Size>(), Size { items: 2, bytes: u64::MAX });
    }
}
