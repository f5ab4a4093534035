//! The items are damaged: what a process that meets it leaves, and what the next start makes of it.

use bytes::Bytes;
use model::{Item, Value, item};
use replica::entry::{SPACE_ITEMS, WriteKind};
use replica::{AppliedWrite, ApplyBatch};

use super::*;
use crate::items::{Items, TurnBatch, rot};

const OTHER: PartitionId = PartitionId(0x78);
const OTHER_TABLE: TableId = TableId(9);

fn batch(key: &'static str, text: &str) -> ApplyBatch {
    let item: Item = [("text".to_owned(), Value::S(text.to_owned()))].into();
    let write = AppliedWrite {
        index: 11,
        space: SPACE_ITEMS,
        key: Bytes::from(key),
        kind: WriteKind::Put,
        attributes: item::encode_attributes(&item).into(),
        version_timestamp_us: 1,
    };
    let mark = AppliedMark { index: 11, ..AppliedMark::birth() }.encode();
    ApplyBatch { index: 11, writes: vec![write], mark, state: None, children: Vec::new() }
}

fn apply(items: &Items, partition: PartitionId, table: TableId, key: &'static str, text: &str) -> bool {
    let mut turn = TurnBatch::default();
    turn.add(partition, table, batch(key, text));
    match items.write(&turn) {
        Ok(outcome) => outcome == crate::items::WriteOutcome::Written,
        Err(error) => {
            assert!(error.is_corrupt(), "{error}");
            false
        }
    }
}

impl Fixture {
    fn items_dir(&self) -> std::path::PathBuf {
        self._folder.path().join("data/items")
    }

    /// Another group, of another table.
    async fn with_other(mut self) -> Fixture {
        let (reply, mut born) = oneshot::channel();
        let descriptor = PartitionDescriptor { id: OTHER, table: OTHER_TABLE, ..self.descriptor() };
        let table = Box::new(TableDescriptor { id: OTHER_TABLE, ..table() });
        self.worker.command(Command::Create { descriptor: Box::new(descriptor), table, reply });
        self.until(|_| born.try_recv().is_ok_and(|born| born.is_ok())).await;
        self
    }

    fn corrupt(&self) -> Vec<PartitionId> {
        self.worker.corrupt.iter().copied().collect()
    }

    fn living(&self) -> Vec<PartitionId> {
        [PARTITION, OTHER].into_iter().filter(|group| self.worker.groups.contains_key(group)).collect()
    }
}

/// Whether the engine takes anything after it has compacted.
fn compacts(items: &Items) -> bool {
    assert!(apply(items, OTHER, OTHER_TABLE, "a", "a") && apply(items, OTHER, OTHER_TABLE, "z", "z"));
    items.flush().unwrap();
    items.compact();
    apply(items, PARTITION, table().id, "later", "later")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_one_file_is_not_all_the_items_are_set_aside_and_every_group_stays_out() {
    let fixture = Fixture::start().await.with_other().await;
    assert!(apply(&fixture.context().items, PARTITION, table().id, "sound", "sound"));
    fixture.context().items.flush().unwrap();
    // Of the groups' records, which stand together.
    rot(&fixture.items_dir(), "things");
    let again = fixture.crashed();
    assert_eq!((again.living(), again.corrupt()), (vec![], vec![PARTITION, OTHER]));
    let Context { items, metrics, log, .. } = &*again.context();
    assert_eq!(metrics.set_aside.get(), 1);
    assert!(compacts(items) && items.get(table().id, b"sound").unwrap().is_none());
    assert_eq!((log.accept_from(PARTITION), log.accept_from(OTHER)), (ReplicaId(1), ReplicaId(1)));
    let again = again.crashed();
    assert_eq!((again.living(), again.corrupt()), (vec![], vec![PARTITION, OTHER]));
    assert_eq!(again.context().metrics.set_aside.get(), 1);
}
