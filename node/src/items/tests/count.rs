//! Counting in steps.

use super::*;

/// The whole range by such steps; how many there were.
fn whole(items: &Items, mut range: KeyRange, most_bytes: u64) -> (Size, usize) {
    let (mut size, mut steps) = (Size::default(), 0);
    loop {
        let counted = items.count(TABLE, &range, most_bytes).unwrap();
        (size, steps) = (size + counted.size, steps + 1);
        let Some(next) = counted.next else { return (size, steps) };
        range.start = next;
    }
}

fn one(size: usize) -> u64 {
    u64::try_from(attributes_size(&attributes(11, size)).unwrap()).unwrap()
}

fn puts(keys: std::ops::Range<u64>, size: usize) -> Vec<AppliedWrite> {
    keys.map(|n| write(n, &n.to_be_bytes(), WriteKind::Put, attributes(11, size))).collect()
}

#[test]
fn a_step_is_bounded_and_the_next_one_goes_on_where_it_ended() {
    let dir = tempfile::tempdir().unwrap();
    let items = open(dir.path());
    apply(&items, TABLE, PARTITION, puts(0..1_000, 50));
    items.flush().unwrap();
    apply(&items, TABLE, PARTITION, puts(1_000..2_000, 50));
    let expected = Size { items: 2_000, bytes: 2_000 * one(50) };
    assert_eq!(whole(&items, KeyRange::ALL, u64::MAX), (expected, 1));
    let step = items.count(TABLE, &KeyRange::ALL, 4_000).unwrap();
    let record = step.read_bytes / step.size.items;
    assert!((4_000..4_000 + record).contains(&step.read_bytes), "{step:?}");
    assert_eq!(step.next, Some(Bytes::copy_from_slice(&step.size.items.to_be_bytes())));
    let steps = 2_000_u64.div_ceil(step.size.items);
    assert_eq!(whole(&items, KeyRange::ALL, 4_000), (expected, usize::try_from(steps).unwrap()));
    // An item larger than a step is one.
    assert_eq!(whole(&items, KeyRange::ALL, 0), (expected, 2_000));
}

#[test]
fn what_was_overwritten_or_deleted_is_counted_as_it_is_now() {
    let dir = tempfile::tempdir().unwrap();
    let items = open(dir.path());
    apply(&items, TABLE, PARTITION, puts(0..10, 50));
    items.flush().unwrap();
    apply(&items, TABLE, PARTITION, puts(0..4, 5));
    apply(&items, TABLE, PARTITION, vec![write(20, &9_u64.to_be_bytes(), WriteKind::Delete, Bytes::new())]);
    let expected = Size { items: 9, bytes: 4 * one(5) + 5 * one(50) };
    assert_eq!(whole(&items, KeyRange::ALL, 200).0, expected);
}

#[test]
fn only_items_of_the_range_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let items = open(dir.path());
    let elsewhere = |write: AppliedWrite| AppliedWrite { space: 1, ..write };
    apply(&items, TABLE, PARTITION, vec![put(11, b"a"), put(12, b"b"), put(13, b"d"), elsewhere(put(14, b"c"))]);
    apply(&items, NEIGHBOUR, OTHER, vec![put(11, b"b")]);
    let counted = |range: KeyRange| whole(&items, range, u64::MAX).0.items;
    assert_eq!(counted(KeyRange::ALL), 3);
    assert_eq!(counted(range(b"b", b"d")), 1);
    assert_eq!(counted(range(b"", b"a")), 0);
}
