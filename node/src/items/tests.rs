//! The items on a real RocksDB.

mod children;
mod count;
mod refinement;
mod rot;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bytes::Bytes;
use model::expression::{Condition, Placeholders, Projection};
use model::item::{attributes_size, encode_attributes};
use model::{Item, Number, Size, Value};
use proptest::prelude::*;
use replica::entry::WriteKind;
use replica::{AppliedMark, AppliedWrite};

use super::*;

const TABLE: TableId = TableId(0x42);
const NEIGHBOUR: TableId = TableId(0x43);
const PARTITION: PartitionId = PartitionId(0x77);
const OTHER: PartitionId = PartitionId(0x78);

fn open(dir: &Path) -> Items {
    Items::open(ItemsOptions::new(dir.to_owned(), 7 << 32)).unwrap().without_compaction()
}

fn item(n: u64, size: usize) -> Item {
    let number = Number::parse(&n.to_string()).unwrap();
    Item::from([("n".into(), Value::N(number)), ("text".into(), Value::S("x".repeat(size)))])
}

fn attributes(n: u64, size: usize) -> Bytes {
    encode_attributes(&item(n, size)).into()
}

fn write(index: u64, key: &[u8], kind: WriteKind, attributes: Bytes) -> AppliedWrite {
    let key = Bytes::copy_from_slice(key);
    AppliedWrite { index, space: SPACE_ITEMS, key, kind, attributes, version_timestamp_us: index * 100 }
}

fn put(index: u64, key: &[u8]) -> AppliedWrite {
    write(index, key, WriteKind::Put, attributes(index, 3))
}

fn mark(index: u64) -> Bytes {
    AppliedMark { index, term: 5, commit_time_us: 1 }.encode()
}

fn batch(writes: Vec<AppliedWrite>) -> ApplyBatch {
    let index = writes.last().map_or(0, |write| write.index);
    ApplyBatch { index, writes, mark: mark(index), state: None, children: Vec::new() }
}

fn apply(items: &Items, table: TableId, partition: PartitionId, writes: Vec<AppliedWrite>) {
    let mut turn = TurnBatch::default();
    turn.add(partition, table, batch(writes));
    assert_eq!(items.write(&turn).unwrap(), WriteOutcome::Written);
}

fn crash(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        // RocksDB's own log is off and its empty files come and go.
        if file.path().extension().is_none_or(|extension| extension != "log") {
            fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
}

fn all(table: TableId, range: KeyRange) -> ScanRequest {
    ScanRequest {
        table,
        range,
        backward: false,
        limit: 0,
        limit_bytes: 0,
        filter: None,
        projection: None,
        count_only: false,
    }
}

fn range(start: &[u8], end: &[u8]) -> KeyRange {
    KeyRange { start: Bytes::copy_from_slice(start), end: Some(Bytes::copy_from_slice(end)) }
}

#[test]
fn items_are_read_with_what_their_record_says() {
    let dir = tempfile::tempdir().unwrap();
    let items = open(dir.path());
    apply(
        &items,
        TABLE,
        PARTITION,
        vec![put(11, b"a"), put(12, b"b"), write(13, b"b", WriteKind::Delete, Bytes::new())],
    );
    let expected = Stored {
        header: RecordHeader { flags: 0, version_timestamp_us: 1100, log_position: 11 },
        attributes: attributes(11, 3),
    };
    assert_eq!(items.get(TABLE, b"a").unwrap(), Some(expected.clone()));
    assert_eq!(items.lookup(TABLE, b"a").unwrap(), Lookup::Found(expected));
    assert_eq!(items.lookup(TABLE, b"b").unwrap(), Lookup::Missing);
    assert_eq!(items.get(NEIGHBOUR, b"a").unwrap(), None);
}

#[test]
fn a_look_up_does_not_wait_for_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let items = open(dir.path());
    apply(&items, TABLE, PARTITION, vec![put(11, b"a")]);
    items.flush().unwrap();
    drop(items);
    let items = open(dir.path());
    assert_eq!(items.lookup(TABLE, b"a").unwrap(), Lookup::NotCached);
    assert!(items.get(TABLE, b"a").unwrap().is_some());
    assert!(matches!(items.lookup(TABLE, b"a").unwrap(), Lookup::Found(_)));
}

#[test]
fn a_touch_raises_the_timestamp_and_keeps_the_item() {
    let dir = tempfile::tempdir().unwrap();
    let items = open(dir.path());
    let touch = |index, key: &[u8]| write(index, key, WriteKind::Touch, Bytes::new());
    apply(&items, TABLE, PARTITION, vec![put(11, b"a")]);
    apply(&items, TABLE, PARTITION, vec![touch(12, b"a"), touch(13, b"none"), put(14, b"b"), touch(15, b"b")]);
    let header = |key: &[u8]| items.get(TABLE, key).unwrap().map(|stored| stored.header);
    let expected =
        |version_timestamp_us, log_position| Some(RecordHeader { flags: 0, version_timestamp_us, log_position });
    assert_eq!(header(b"a"), expected(1200, 11));
    assert_eq!(header(b"b"), expected(1500, 14));
    assert_eq!(header(b"none"), None);
    // Two in one batch: the later one brings an earlier time.
    let at = |version_timestamp_us, write: AppliedWrite| AppliedWrite { version_timestamp_us, ..write };
    apply(&items, TABLE, PARTITION, vec![at(9000, touch(16, b"a")), at(8000, touch(17, b"a"))]);
    assert_eq!(header(b"a"), expected(9000, 11));
}

#[test]
fn marks_and_items_of_a_crash_belong_together() {
    let dir = tempfile::tempdir().unwrap();
    let live = dir.path().join("live");
    let items = open(&live);
    for index in 11..100 {
        let mut turn = TurnBatch::default();
        turn.add(PARTITION, TABLE, batch(vec![put(index, &index.to_be_bytes())]));
        turn.add(OTHER, NEIGHBOUR, batch(vec![put(index, &index.to_be_bytes())]));
        items.write(&turn).unwrap();
        assert_eq!(turn.applied().collect::<Vec<_>>(), [(PARTITION, index), (OTHER, index)]);
        if index == 50 {
            items.flush().unwrap();
        }
    }
    assert_eq!(items.persisted_index(PARTITION).unwrap(), Some(50));
    assert_eq!(items.persisted_index(PartitionId(1)).unwrap(), None);
    let copy = dir.path().join("copy");
    crash(&live, &copy);
    let items = open(&copy);
    let records = |partition| GroupRecords { partition, mark: Some(mark(50)), state: None };
    assert_eq!(items.groups().unwrap(), [records(PARTITION), records(OTHER)]);
    assert_eq!(items.persisted_index(OTHER).unwrap(), Some(50));
    for table in [TABLE, NEIGHBOUR] {
        assert_eq!(items.scan(&all(table, KeyRange::ALL)).unwrap().scanned_count, 40);
    }
}

#[test]
fn a_group_is_born_durably() {
    let dir = tempfile::tempdir().unwrap();
    let live = dir.path().join("live");
    let items = open(&live);
    let born = GroupRecords { partition: PARTITION, mark: Some(mark(10)), state: Some(Bytes::from_static(b"state")) };
    items.put_groups(std::slice::from_ref(&born)).unwrap();
    let copy = dir.path().join("copy");
    crash(&live, &copy);
    let items = open(&copy);
    assert_eq!(items.groups().unwrap(), std::slice::from_ref(&born));
    assert_eq!(items.group(PARTITION).unwrap(), born);
}

#[test]
fn clearing_takes_one_range_of_every_space_and_nothing_of_the_neighbours() {
    let dir = tempfile::tempdir().unwrap();
    let live = dir.path().join("live");
    let items = open(&live);
    let index_entry = |index, key| AppliedWrite { space: 1, ..put(index, key) };
    apply(&items, TABLE, PARTITION, vec![put(11, b"a"), put(12, b"b"), put(13, b"c"), index_entry(14, b"b")]);
    apply(&items, TABLE, OTHER, vec![put(11, b"d"), put(12, b"e"), index_entry(13, b"d")]);
    // Items at rest below level 0, where whole files can be deleted.
    items.flush().unwrap();
    items.inner.db.compact_range(None::<&[u8]>, None::<&[u8]>);
    items.clear(PARTITION, TABLE, &range(b"a", b"d")).unwrap();
    items.flush().unwrap();
    let copy = dir.path().join("copy");
    crash(&live, &copy);
    for items in [items, open(&copy)] {
        assert_eq!(items.groups().unwrap(), [GroupRecords { partition: OTHER, mark: Some(mark(13)), state: None }]);
        let left = items.scan(&all(TABLE, KeyRange::ALL)).unwrap();
        assert_eq!(left.items, [attributes(11, 3), attributes(12, 3)]);
        assert_eq!(items.ends(TABLE, 1, &range(b"a", b"d")).unwrap(), None);
        assert!(items.ends(TABLE, 1, &range(b"d", b"e")).unwrap().is_some());
    }
}

#[test]
fn a_folder_of_another_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let items = open(dir.path());
    items.put_patiently("write", [(keys::format_key(), vec![9])]).unwrap();
    items.flush().unwrap();
    drop(items);
    let error = Items::open(ItemsOptions::new(dir.path().to_owned(), 0)).err().unwrap();
    assert!(matches!(error, ItemsError::OtherFormat { found: 9, .. }), "{error}");
}

/// The page as the words of `wire::data::Scan` say, over a map.
fn naive(stored: &BTreeMap<Vec<u8>, u64>, request: &ScanRequest) -> Vec<(Vec<u8>, u64)> {
    let inside = stored.iter().filter(|(key, _)| {
        key.as_slice() >= &request.range.start[..]
            && request.range.end.as_ref().is_none_or(|end| key.as_slice() < &end[..])
    });
    let mut page: Vec<_> = inside.map(|(key, n)| (key.clone(), *n)).collect();
    if request.backward {
        page.reverse();
    }
    page
}

fn size_of(n: u64) -> usize {
    usize::try_from(n % 40).unwrap()
}

fn small_key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(vec![0, 1, 7, 0xff]), 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn pages_of_any_range_are_those_of_a_map(
        writes in prop::collection::vec((small_key(), prop::option::weighted(0.8, 0_u64..1000)), 0..60),
        requests in prop::collection::vec(
            (small_key(), prop::option::of(small_key()), any::<bool>(), 0_u32..6, 0_u32..200, any::<bool>(), any::<bool>()),
            1..12,
        ),
        flush_at in 0_usize..60,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let items = open(dir.path());
        let mut stored = BTreeMap::new();
        apply(&items, NEIGHBOUR, OTHER, vec![put(11, b"")]);
        for (at, (key, value)) in writes.iter().enumerate() {
            let index = 11 + u64::try_from(at).unwrap();
            let write = match value {
                Some(n) => write(index, key, WriteKind::Put, attributes(*n, size_of(*n))),
                None => write(index, key, WriteKind::Delete, Bytes::new()),
            };
            apply(&items, TABLE, PARTITION, vec![write]);
            match value {
                Some(n) => stored.insert(key.clone(), *n),
                None => stored.remove(key),
            };
            if at == flush_at {
                items.flush().unwrap();
            }
        }
        let values = BTreeMap::from([(":half".into(), Value::N(Number::parse("500").unwrap()))]);
        let filter = Condition::parse("FilterExpression", "n < :half", &mut Placeholders::new(BTreeMap::new(), values)).unwrap();
        let projection = Projection::parse("n", &mut Placeholders::new(BTreeMap::new(), BTreeMap::new())).unwrap();
        for (start, end, backward, limit, limit_bytes, filtered, count_only) in requests {
            let request = ScanRequest {
                table: TABLE,
                range: KeyRange { start: start.into(), end: end.map(Bytes::from) },
                backward,
                limit,
                limit_bytes,
                filter: filtered.then(|| filter.clone()),
                projection: (limit % 2 == 1).then(|| projection.clone()),
                count_only,
            };
            let mut expected = wire::data::Scanned { finished: true, ..Default::default() };
            for (key, n) in naive(&stored, &request) {
                expected.scanned_count += 1;
                expected.scanned_bytes += u64::try_from(model::value::item_size(&item(n, size_of(n)))).unwrap();
                if !filtered || n < 500 {
                    expected.count += 1;
                    let mut item = item(n, size_of(n));
                    if request.projection.is_some() {
                        item.remove("text");
                    }
                    if !count_only {
                        expected.items.push(encode_attributes(&item).into());
                    }
                }
                let full = limit_bytes > 0 && expected.scanned_bytes >= u64::from(limit_bytes);
                if expected.scanned_count == limit || full {
                    expected.last_key = Some(key.into());
                    expected.finished = false;
                    break;
                }
            }
            prop_assert_eq!(items.scan(&request).unwrap(), expected);
        }
    }
}
