//! A split on one node, on its real log and items: what is written when, and what a crash at any point leaves.

use std::fs;
use std::path::Path;
use std::sync::mpsc::Sender;

use bytes::Bytes;
use model::{Item, NodeId, Value, item};
use replica::entry::{Body, Cause, LogEntry, SPACE_ITEMS, Write, WriteKind};
use replica::eraftpb::Entry;

use super::*;
use crate::log::Work;
use crate::worker::children::BIRTH_TICKS;

const CHILD: PartitionId = PartitionId(0x99);
/// Of the leader, which does not exist.
const TERM: u64 = 6;

fn entry(index: u64, body: Option<Body>) -> Entry {
    let encode = |body| LogEntry { evaluation_term: TERM, commit_time_us: 7_000, body }.encode();
    Entry { index, term: TERM, data: body.map(encode).unwrap_or_default(), ..Entry::default() }
}

fn put(key: &'static str) -> Write {
    let item: Item = [("pk".to_owned(), Value::S(key.to_owned()))].into();
    Write {
        space: SPACE_ITEMS,
        kind: WriteKind::Put,
        cause: Cause::User,
        version_timestamp_us: 7_000,
        key: Bytes::from(key),
        request_id: Bytes::new(),
        after: Some(Bytes::from(item::encode_attributes(&item))),
        old: None,
        transaction: None,
    }
}

/// To replica `to` of that group on this node, from replica 2.
fn message(msg_type: MessageType, to: u64) -> Message {
    Message { msg_type, from: 2, to, term: TERM, ..Message::default() }
}

fn append(after: (u64, u64), entries: Vec<Entry>) -> Message {
    let commit = entries.last().map_or(after.0, |entry| entry.index);
    let (index, log_term) = after;
    let mut append = Message { index, log_term, commit, ..message(MessageType::MsgAppend, 1) };
    append.set_entries(entries.into());
    append
}

impl Fixture {
    fn reopen(folder: TempDir) -> Fixture {
        let mut opened = opened(&folder);
        let crate::server::open::WorkerGroups { groups, corrupt } = opened.groups.remove(0);
        let tick = Duration::from_millis(50);
        let beginning = Beginning { worker: 0, context: opened.context, groups, corrupt, tick };
        Fixture { worker: Worker::new(beginning), _folder: folder }
    }

    /// The node as it would start from what a crash leaves now.
    pub fn crashed(&self) -> Fixture {
        let folder = TempDir::new().unwrap();
        copy(&self._folder.path().join("data"), &folder.path().join("data"));
        Fixture::reopen(folder)
    }

    pub fn context(&self) -> Arc<Context> {
        Arc::clone(&self.worker.desk.context)
    }

    fn hear(&mut self, partition: PartitionId, message: Message) {
        let (from, to) = (ReplicaId(message.from), ReplicaId(message.to));
        let parcel = Parcel::ForReplica(Envelope { from, to, body: MessageBody::Raft(message) });
        self.worker.receive(Mail::Messages { from: NodeId(2), messages: vec![(partition, parcel)] });
    }

    /// Three items: a, m, z.
    pub async fn with_items() -> Fixture {
        let mut fixture = Fixture::start().await;
        let puts = Body::Writes(vec![put("a"), put("m"), put("z")]);
        fixture.hear(PARTITION, append((10, 5), vec![entry(11, Some(puts))]));
        fixture.until(|worker| worker.groups[&PARTITION].applied == 11).await;
        fixture
    }

    fn halves(&self) -> (PartitionDescriptor, PartitionDescriptor) {
        let whole = PartitionDescriptor { epoch: EPOCH + 1, ..self.descriptor() };
        let cut = Bytes::from("m");
        let left = KeyRange { start: Bytes::new(), end: Some(cut.clone()) };
        let right = KeyRange { start: cut, end: None };
        (PartitionDescriptor { range: left, ..whole.clone() }, PartitionDescriptor { id: CHILD, range: right, ..whole })
    }

    /// Until it is applied.
    async fn split(&mut self) {
        let (left, right) = self.halves();
        let split = Body::Split { left: left.encode(), right: right.encode() };
        self.hear(PARTITION, append((11, TERM), vec![entry(12, Some(split))]));
        self.until(|worker| worker.groups[&PARTITION].applied == 12).await;
    }

    /// Nothing is born until that is dropped.
    fn hold_births(&self) -> Sender<()> {
        let (release, released) = std::sync::mpsc::channel::<()>();
        self.context().births.submit_always(move || _ = released.recv());
        release
    }

    async fn born(&mut self) {
        self.until(|worker| worker.groups.get(&CHILD).is_some_and(|child| child.summary.descriptor.is_some())).await;
    }

    fn has(&self, key: &str) -> bool {
        self.context().items.get(table().id, key.as_bytes()).unwrap().is_some()
    }

    fn has_all(&self) {
        for key in ["a", "m", "z"] {
            assert!(self.has(key), "{key}");
        }
    }

    fn range_of(&self, partition: PartitionId) -> Option<KeyRange> {
        let descriptor = self.worker.groups.get(&partition)?.summary.descriptor.as_ref()?;
        Some(descriptor.range.clone())
    }

    /// Both halves live here, and no third group may have a part of either.
    fn is_split(&self) {
        let (left, right) = self.halves();
        assert_eq!((self.range_of(PARTITION), self.range_of(CHILD)), (Some(left.range), Some(right.range)));
        self.has_all();
        let third = PartitionDescriptor { id: PartitionId(0xaa), ..self.descriptor() };
        assert!(self.context().registry.claim(&third).is_err());
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else if entry.path().extension().is_none_or(|extension| extension != "log") {
            // RocksDB's own log is off and its empty files come and go.
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_lives_once_its_records_are_flushed_and_nobody_else_has_its_range_meanwhile() {
    let mut fixture = Fixture::with_items().await;
    let context = fixture.context();
    let held = fixture.hold_births();
    fixture.split().await;
    fixture.until(|worker| worker.births.contains_key(&CHILD)).await;
    let (left, right) = fixture.halves();
    let third = PartitionDescriptor { id: PartitionId(0xaa), ..right.clone() };
    assert!(context.registry.claim(&third).is_err());
    let told = |partition| context.registry.get(partition).unwrap().descriptor.map(|told| (*told).clone());
    assert_eq!((told(PARTITION), told(CHILD)), (Some(left), Some(right)));
    assert!(context.log.groups().iter().all(|group| group.partition != CHILD), "its log waits for the flush");
    // Whoever deletes the table sees it, and waits.
    let (reply, mut listed) = oneshot::channel();
    fixture.worker.command(Command::List { only: crate::worker::command::Only::All, reply });
    assert_eq!(listed.try_recv().unwrap().len(), 2);
    let (reply, mut destroyed) = oneshot::channel();
    let table = Box::new(TableDescriptor { status: TableStatus::Deleting, version: 9, ..table() });
    fixture.worker.command(Command::Destroy { partition: CHILD, table, reply });
    assert!(matches!(destroyed.try_recv().unwrap(), Err(CommandError::Busy(_))));
    // Nothing is made of a message meanwhile.
    fixture.hear(CHILD, message(MessageType::MsgHeartbeat, 1));
    assert!(!fixture.worker.groups.contains_key(&CHILD));

    drop(held);
    fixture.born().await;
    fixture.is_split();
    assert_eq!(context.items.persisted_index(CHILD).unwrap(), Some(10));
    assert_eq!(context.log.start_of(CHILD, 10).unwrap().truncated_index, 10);
    let mark = AppliedMark::decode(context.items.group(CHILD).unwrap().mark.unwrap()).unwrap();
    assert_eq!(mark.commit_time_us, 7_000, "commit times go on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_before_the_flush_takes_both_halves_back_and_the_split_is_applied_again() {
    let mut fixture = Fixture::with_items().await;
    fixture.context().items.flush().unwrap();
    let _held = fixture.hold_births();
    fixture.split().await;
    fixture.until(|worker| worker.births.contains_key(&CHILD)).await;
    let mut again = fixture.crashed();
    assert_eq!(again.range_of(PARTITION), Some(KeyRange::ALL));
    assert!(!again.worker.groups.contains_key(&CHILD) && again.context().items.group(CHILD).unwrap().state.is_none());
    again.hear(PARTITION, append((12, TERM), Vec::new()));
    again.born().await;
    again.is_split();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_between_the_flush_and_the_log_is_finished_by_the_start() {
    let mut fixture = Fixture::with_items().await;
    let _held = fixture.hold_births();
    fixture.split().await;
    fixture.until(|worker| worker.births.contains_key(&CHILD)).await;
    fixture.context().items.flush().unwrap();
    let mut again = fixture.crashed();
    again.is_split();
    assert_eq!(again.context().log.accept_from(CHILD), ReplicaId(1));
    // It is a replica like any other: what it appends is kept.
    again.hear(CHILD, append((10, 5), vec![entry(11, None)]));
    again.until(|worker| worker.groups[&CHILD].applied == 11).await;
    let third = again.crashed();
    third.is_split();
    assert_eq!(third.worker.groups[&CHILD].replica.status().last_index, 11);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_child_has_acknowledged_outlives_every_crash() {
    let mut fixture = Fixture::with_items().await;
    fixture.split().await;
    fixture.born().await;
    // Nothing is flushed from now on.
    let context = fixture.context();
    fixture.hear(CHILD, append((10, 5), vec![entry(11, Some(Body::Writes(vec![put("n")])))]));
    fixture.until(|worker| worker.groups[&CHILD].applied == 11).await;
    assert_eq!(context.items.persisted_index(CHILD).unwrap(), Some(10));
    let mut again = fixture.crashed();
    again.is_split();
    assert!(!again.has("n"), "it was in memory alone");
    assert_eq!(again.worker.groups[&CHILD].replica.status().last_index, 11);
    again.hear(CHILD, append((11, TERM), Vec::new()));
    again.until(|worker| worker.groups[&CHILD].applied == 11).await;
    assert!(again.has("n"));
    // The parent's split is behind what is flushed: nothing is born a second time.
    again.hear(PARTITION, append((12, TERM), vec![entry(13, None)]));
    again.until(|worker| worker.groups[&PARTITION].applied == 13).await;
    assert_eq!(again.worker.groups[&CHILD].applied, 11);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_child_keeps_its_vote_and_hears_no_append_before_its_birth() {
    let mut fixture = Fixture::with_items().await;
    let vote = Message { index: 10, log_term: 5, ..message(MessageType::MsgRequestVote, 1) };
    fixture.hear(CHILD, Message { term: 9, ..vote });
    let context = fixture.context();
    let voted = |context: &Context| context.log.start_of(CHILD, 0).unwrap().hard_state;
    fixture.until(|worker| voted(&worker.desk.context).vote == 2).await;
    // A refusal would be answered with a snapshot of what is already here.
    fixture.hear(CHILD, Message { term: 9, ..append((10, 5), vec![entry(11, None)]) });
    assert!(fixture.worker.groups[&CHILD].inputs.is_empty());

    let held = fixture.hold_births();
    fixture.split().await;
    fixture.until(|worker| worker.births.contains_key(&CHILD)).await;
    context.items.flush().unwrap();
    let crashed = fixture.crashed();
    crashed.is_split();
    assert_eq!(crashed.worker.groups[&CHILD].replica.status().term, 9);
    assert_eq!((voted(&crashed.context()).term, voted(&crashed.context()).vote), (9, 2));
    drop(held);
    fixture.born().await;
    fixture.is_split();
    assert_eq!((voted(&context).term, voted(&context).vote), (9, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_whose_birth_does_not_come_asks_for_a_snapshot_in_the_end() {
    let mut fixture = Fixture::with_items().await;
    fixture.hear(CHILD, message(MessageType::MsgHeartbeat, 1));
    fixture.until(|worker| worker.groups[&CHILD].inputs.is_empty()).await;
    let counts_on_birth = append((10, 5), vec![entry(11, None)]);
    for _ in 0..BIRTH_TICKS {
        fixture.hear(CHILD, counts_on_birth.clone());
        assert!(fixture.worker.groups[&CHILD].inputs.is_empty());
        children::tick(fixture.worker.groups.get_mut(&CHILD).unwrap());
    }
    fixture.hear(CHILD, counts_on_birth);
    assert_eq!(fixture.worker.groups[&CHILD].inputs.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_childs_id_is_retired_nothing_is_born_and_its_half_is_cleared() {
    for newer_is_here in [false, true] {
        let mut fixture = Fixture::with_items().await;
        let context = fixture.context();
        context.log.run(CHILD, Work::AcceptFrom { replica: ReplicaId(4) });
        if newer_is_here {
            fixture.hear(CHILD, message(MessageType::MsgHeartbeat, 4));
        }
        let held = fixture.hold_births();
        fixture.split().await;
        let right = fixture.halves().1;
        assert!(context.registry.claim(&right).is_err(), "nothing arrives there before it is cleared");
        context.items.flush().unwrap();
        let crashed = fixture.crashed();
        drop(held);
        fixture.until(|worker| worker.desk.context.registry.claim(&right).is_ok()).await;
        for node in [&fixture, &crashed] {
            assert_eq!((node.has("a"), node.has("m"), node.has("z")), (true, false, false));
            assert_eq!(node.range_of(PARTITION), Some(node.halves().0.range));
            assert_eq!(node.range_of(CHILD), None);
            assert!(node.context().items.group(CHILD).unwrap().state.is_none());
            assert!(node.worker.corrupt.is_empty());
        }
        assert_eq!(fixture.worker.groups.contains_key(&CHILD), newer_is_here);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_of_a_time_after_the_split_clears_what_it_has_cut_off() {
    let mut fixture = Fixture::with_items().await;
    let (left, _) = fixture.halves();
    let mut state = GroupState::birth(ReplicaId(1), left.clone(), table());
    let header = SnapshotHeader { record: state.encode(), ..header(&fixture, 20, TERM) };
    let context = fixture.context();
    let received =
        crate::snapshot::Incoming::begin(&context.disk.incoming_dir(), header, &context.budget).unwrap().finish();
    let (taken, mut is_taken) = oneshot::channel();
    fixture.worker.receive(Mail::SnapshotReceived { received: Box::new(received.unwrap()), taken });
    is_taken.try_recv().unwrap();
    state.replica = ReplicaId(2);
    let mark = AppliedMark { index: 20, term: TERM, commit_time_us: 8_000 };
    let mut snapshot = message(MessageType::MsgSnapshot, 1);
    let content = snapshot.mut_snapshot();
    (content.mut_metadata().index, content.mut_metadata().term) = (20, TERM);
    *content.mut_metadata().mut_conf_state() = state.configuration.clone();
    content.data = SnapshotContent { state, mark }.encode();
    fixture.hear(PARTITION, snapshot);
    fixture.until(|worker| worker.groups[&PARTITION].applied == 20).await;
    assert_eq!(fixture.range_of(PARTITION), Some(left.range));
    // The snapshot has no items of its own here; those of the right half are nobody's.
    assert_eq!((fixture.has("a"), fixture.has("m"), fixture.has("z")), (false, false, false));
    assert!(context.registry.claim(&fixture.halves().1).is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_not_taken_where_another_group_has_begun_to_have_a_part_since() {
    let mut fixture = Fixture::start().await;
    assert_eq!(offer(&mut fixture, 20, TERM), Ok(Consent::Files));
    let claim = fixture.context().registry.claim_for_child(&fixture.halves().1);
    assert!(!deliver(&mut fixture, 20, TERM));
    drop(claim);
    assert!(deliver(&mut fixture, 20, TERM));
}
