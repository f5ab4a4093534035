//! The counting thread over a real RocksDB.

use std::time::Duration;

use bytes::Bytes;
use model::item::encode_attributes;
use model::{Item, KeyRange, KeySchema, KeyType, TableDescriptor, TableId, Value};
use replica::entry::{SPACE_ITEMS, WriteKind};
use replica::{AppliedMark, AppliedWrite, ApplyBatch};

use super::*;
use crate::items::{ItemsOptions, TurnBatch, WriteOutcome};

const PARTITION: PartitionId = PartitionId(0x77);
const RIGHT: PartitionId = PartitionId(0x78);
const PATIENCE: Duration = Duration::from_secs(40);
const PAUSE: Duration = Duration::from_millis(5);

struct House {
    _folder: tempfile::TempDir,
    items: Items,
    metrics: Arc<Metrics>,
    tally: Tally,
    table: Arc<TableDescriptor>,
}

impl Drop for House {
    fn drop(&mut self) {
        self.tally.close();
    }
}

fn house() -> House {
    let folder = tempfile::tempdir().unwrap();
    let items = Items::open(ItemsOptions::new(folder.path().to_owned(), 7 << 32)).unwrap();
    let metrics = Arc::new(Metrics::new().unwrap());
    let wish = TableDescriptor::wish("songs", KeySchema::simple("artist", KeyType::S));
    let table = Arc::new(TableDescriptor { id: TableId(8), ..wish });
    let tally = Tally::new(Arc::clone(&metrics));
    tally.start(items.clone(), |partition, error| panic!("{partition}: {error}")).unwrap();
    House { _folder: folder, items, metrics, tally, table }
}

impl House {
    fn write(&self, keys: std::ops::Range<u64>, kind: WriteKind, text: &str) {
        let item = Item::from([("n".into(), Value::S(text.to_owned()))]);
        let write = |number: u64| AppliedWrite {
            index: number,
            space: SPACE_ITEMS,
            key: Bytes::copy_from_slice(&number.to_be_bytes()),
            kind,
            attributes: encode_attributes(&item).into(),
            version_timestamp_us: 1,
        };
        let mark = AppliedMark { index: 20, term: 5, commit_time_us: 1 }.encode();
        let writes = keys.map(write).collect();
        let batch = ApplyBatch { index: 20, writes, mark, state: None, children: Vec::new() };
        let mut turn = TurnBatch::default();
        turn.add(PARTITION, self.table.id, batch);
        assert_eq!(self.items.write(&turn).unwrap(), WriteOutcome::Written);
    }

    fn mark(&self, partition: PartitionId, start: &[u8], end: Option<&[u8]>) {
        let range = KeyRange { start: Bytes::copy_from_slice(start), end: end.map(Bytes::copy_from_slice) };
        self.tally.mark(partition, Scope { table: Arc::clone(&self.table), range });
    }

    fn eventually(&self, partition: PartitionId, items: u64, one: u64) {
        let deadline = Instant::now() + PATIENCE;
        let expected = Some(Size { items, bytes: items * one });
        while self.tally.size(partition) != expected {
            assert!(Instant::now() < deadline, "{:?}, not {expected:?}", self.tally.size(partition));
            std::thread::park_timeout(PAUSE);
        }
    }

    fn gauges(&self) -> Option<(i64, i64)> {
        let text = String::from_utf8(self.metrics.render().unwrap()).unwrap();
        let read = |name: &str| {
            let line = format!("trivet_node_{name}{{table=\"songs\"}} ");
            text.lines().find_map(|found| found.strip_prefix(&line)?.parse().ok())
        };
        read("table_items").zip(read("table_bytes"))
    }
}

#[test]
fn puts_overwrites_and_deletions_are_counted_in_dynamodbs_measure() {
    let house = house();
    // "n" and three letters.
    house.write(0..5_000, WriteKind::Put, "abc");
    house.mark(PARTITION, b"", None);
    house.eventually(PARTITION, 5_000, 4);
    assert_eq!(house.gauges(), Some((5_000, 20_000)));
    house.write(0..5_000, WriteKind::Put, "a");
    house.write(1_000..2_000, WriteKind::Delete, "");
    house.mark(PARTITION, b"", None);
    house.eventually(PARTITION, 4_000, 2);
    assert_eq!(house.gauges(), Some((4_000, 8_000)));
}

#[test]
fn both_halves_of_a_split_are_counted_and_what_is_forgotten_is_in_no_metric() {
    let house = house();
    house.write(0..30, WriteKind::Put, "abc");
    house.mark(PARTITION, b"", None);
    house.eventually(PARTITION, 30, 4);
    let at = 10_u64.to_be_bytes();
    house.mark(PARTITION, b"", Some(&at));
    house.mark(RIGHT, &at, None);
    house.eventually(PARTITION, 10, 4);
    house.eventually(RIGHT, 20, 4);
    assert_eq!(house.gauges(), Some((30, 120)));
    house.tally.forget(RIGHT);
    assert_eq!((house.tally.size(RIGHT), house.gauges()), (None, Some((10, 40))));
    house.tally.forget(PARTITION);
    assert_eq!(house.gauges(), None);
}

#[test]
fn a_thread_that_rests_is_ended_at_once() {
    let house = house();
    house.mark(PARTITION, b"", None);
    house.eventually(PARTITION, 0, 0);
    house.mark(PARTITION, b"", None);
    house.tally.close();
    house.write(0..3, WriteKind::Put, "abc");
    house.mark(RIGHT, b"", None);
    assert_eq!(house.tally.size(RIGHT), None, "nobody counts any more");
}
