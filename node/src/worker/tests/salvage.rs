//! The items are damaged: what a process that meets it leaves, and what the next start makes of it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use model::{Item, Value, item};
use replica::entry::{SPACE_ITEMS, WriteKind};
use replica::{AppliedWrite, ApplyBatch};

use super::*;
use wire::error::describe;

use crate::items::{Items, ItemsOptions, SnapshotFiles, TurnBatch, rot};

const OTHER: PartitionId = PartitionId(0x78);
const OTHER_TABLE: TableId = TableId(9);
const TEXT: &str = "an-item-that-rots";

/// What the groups' logs know nothing of: their marks stay.
fn batch(key: &'static str, text: &str) -> ApplyBatch {
    let (index, mark) = (AppliedMark::birth().index, AppliedMark::birth().encode());
    let item: Item = [("text".to_owned(), Value::S(text.to_owned()))].into();
    let write = AppliedWrite {
        index,
        space: SPACE_ITEMS,
        key: Bytes::from(key),
        kind: WriteKind::Put,
        attributes: item::encode_attributes(&item).into(),
        version_timestamp_us: 1,
    };
    ApplyBatch { index, writes: vec![write], mark, state: None, children: Vec::new() }
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

    /// Its item in a file of its own, as a snapshot brings it.
    fn ingest(&self) {
        let folder = TempDir::new().unwrap();
        let elsewhere = Items::open(ItemsOptions::new(folder.path().join("items"), 0)).unwrap();
        assert!(apply(&elsewhere, OTHER, OTHER_TABLE, "rotten", TEXT));
        let files = elsewhere.view().write_files(OTHER_TABLE, &KeyRange::ALL, folder.path(), 1 << 20, |_| true);
        let items = &self.context().items;
        let records = items.group(OTHER).unwrap();
        let snapshot = SnapshotFiles {
            partition: OTHER,
            table: OTHER_TABLE,
            range: &KeyRange::ALL,
            mark: &records.mark.unwrap(),
            state: &records.state.unwrap(),
            files: files.unwrap(),
            dir: folder.path(),
        };
        items.ingest(&snapshot).unwrap();
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
async fn a_file_that_stops_compactions_is_taken_out_and_its_groups_stay_out() {
    let fixture = Fixture::start().await.with_other().await;
    assert!(apply(&fixture.context().items, PARTITION, table().id, "sound", "sound"));
    fixture.ingest();
    rot(&fixture.items_dir(), TEXT);
    // What was brought in is in memory.
    let fixture = fixture.crashed();
    let context = fixture.context();
    assert!(!compacts(&context.items), "the engine takes no more");
    let flushed = context.items.flush().unwrap_err();
    let said = describe(&flushed);
    let file = context.items.damaged_file(&said).unwrap().unwrap();
    assert!(file.is_apart(), "{file:?}");
    catch_unwind(AssertUnwindSafe(|| context.give_up("flush", &flushed))).unwrap_err();

    let again = fixture.crashed();
    assert_eq!((again.living(), again.corrupt()), (vec![PARTITION], vec![OTHER]));
    let Context { items, metrics, disk, .. } = &*again.context();
    assert!(items.get(table().id, b"sound").unwrap().is_some());
    assert!(compacts(items));
    assert_eq!((metrics.set_aside.get(), disk.damage().unwrap()), (1, None));
    // Nor does it come back with another start.
    let again = again.crashed();
    assert_eq!((again.living(), again.corrupt()), (vec![PARTITION], vec![OTHER]));
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

/// Flips bits of the first batches, behind the file's header.
fn rot_log(dir: &std::path::Path) {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let first = entries.filter(|path| path.extension().is_some_and(|extension| extension == "raftlog")).min().unwrap();
    let mut bytes = std::fs::read(&first).unwrap();
    let header = 53 + 16;
    bytes[header..header + 16].iter_mut().for_each(|byte| *byte ^= 0x55);
    std::fs::write(&first, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_lost_what_was_durable_is_set_aside_and_nobody_votes_as_who_it_was() {
    let fixture = Fixture::with_items().await;
    fixture.context().items.flush().unwrap();
    let log_dir = fixture._folder.path().join("data/log");
    rot_log(&log_dir);
    let evidence = std::fs::read_dir(&log_dir).unwrap().count();

    let mut again = fixture.crashed();
    assert_eq!((again.living(), again.corrupt()), (vec![], vec![PARTITION]));
    let context = again.context();
    assert_eq!((context.log.accept_from(PARTITION), context.metrics.set_aside.get()), (ReplicaId(1), 1));
    let aside = std::fs::read_dir(again._folder.path().join("data/aside")).unwrap().next().unwrap().unwrap().path();
    assert!(std::fs::read_dir(aside).unwrap().count() >= evidence, "nothing of it is deleted");
    // Of whom there is no trace it cannot be told that it never voted.
    assert!(context.log.empty_start(OTHER).tail_uncertain);

    // It says that it is unfit, whatever it is asked, and is rebuilt under another id.
    let vote = Message { msg_type: MessageType::MsgRequestVote, from: 2, to: 1, term: 99, ..Default::default() };
    let envelope = Envelope { from: ReplicaId(2), to: ReplicaId(1), body: MessageBody::Raft(vote) };
    let messages = vec![(PARTITION, Parcel::ForReplica(envelope))];
    again.worker.receive(Mail::Messages { from: model::NodeId(2), messages });
    let said = again.worker.desk.posted(model::NodeId(2)).remove(0);
    let (_, said) = crate::transport::convert::from_wire(said).unwrap();
    assert!(matches!(said, Parcel::ForReplica(Envelope { body: MessageBody::Unfit, .. })), "{said:?}");
    let next = again.crashed();
    assert_eq!((next.living(), next.corrupt()), (vec![], vec![PARTITION]));
}
