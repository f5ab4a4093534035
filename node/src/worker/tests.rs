//! One worker without its thread: the tests say what it receives, and when it takes its turn.

mod corrupt;
mod failed_reads;
mod full_disk;
mod latecomers;
mod recovery;
mod salvage;
mod sleep;
mod splits;
mod stand_ins;

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt};
use model::{
    KeyRange, KeySchema, KeyType, PartitionDescriptor, PartitionId, ReplicaId, TableDescriptor, TableId, TableStatus,
    Zone,
};
use replica::eraftpb::{Message, MessageType};
use replica::{AppliedMark, Envelope, GroupState, MessageBody, SnapshotContent};
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use wire::data::refused::Reason;
use wire::data::request::Operation;
use wire::data::response::Result as Outcome;
use wire::data::{Request, RequestFrame, ResponseFrame, Scan};
use wire::raft::SnapshotHeader;

use super::*;
use crate::config::{ByteSize, Config, Milliseconds};
use crate::metrics::Metrics;
use crate::metrics::answers::Operation as Counted;
use crate::neighbours::News;
use crate::server::ground::open_disk;
use crate::server::open::{Opened, Opening, open};
use crate::service::data::{Call, Connection, DataService};
use crate::transport::convert::Parcel;
use crate::transport::memory::Frameway;
use crate::transport::{Connector, Memory};
use crate::worker::command::{Command, CommandError};
use crate::worker::desk::{Asked, Waiter};
use crate::worker::inbox::{Consent, Mail};

const PARTITION: PartitionId = PartitionId(0x77);
const EPOCH: u64 = 3;
const PATIENCE: Duration = Duration::from_secs(40);

fn config(folder: &TempDir) -> Config {
    Config {
        data: folder.path().join("data"),
        format: true,
        zone: "zone-a".to_owned(),
        listen: "127.0.0.1:0".parse().unwrap(),
        advertise: None,
        tls: None,
        metrics_listen: None,
        memds: Vec::new(),
        seeds: Vec::new(),
        workers: 1,
        read_threads: 1,
        cache: ByteSize(32 << 20),
        reserve: ByteSize(1 << 20),
        sharers: 1,
        tick: Milliseconds(50),
        election_ticks: 10,
        heartbeat_ticks: 2,
        suspect_after: Milliseconds(0),
        planned_stop: Milliseconds(60_000),
        replace_after: Milliseconds(600_000),
        snapshot_budget: ByteSize(100 << 20),
        sleep_ticks: 50,
        stop_timeout: Milliseconds(10_000),
        fail_sync: None,
    }
}

/// The folder, formatted if it was blank.
fn opened(folder: &TempDir) -> Opened {
    let config = config(folder);
    let opening = Opening {
        config: &config,
        disk: Arc::new(open_disk(&config, None).unwrap()),
        metrics: Arc::new(Metrics::new().unwrap()),
        address: "nowhere:1",
        connector: &Connector::Memory(Memory::new(Frameway::Encoded)),
        runtimes: &[Handle::current()],
    };
    open(&opening).unwrap()
}

struct Fixture {
    worker: Worker,
    _folder: TempDir,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let context = &self.worker.desk.context;
        context.room.close();
        context.reads.close();
        context.background.close();
        context.births.close();
        context.log.close();
    }
}

impl Fixture {
    /// A worker whose only group was just born, one of three replicas; the others do not exist.
    async fn start() -> Fixture {
        let folder = TempDir::new().unwrap();
        let context = opened(&folder).context;
        let tick = Duration::from_millis(50);
        let beginning = Beginning { worker: 0, context, groups: Vec::new(), corrupt: BTreeSet::new(), tick };
        let mut fixture = Fixture { worker: Worker::new(beginning), _folder: folder };
        let (reply, mut born) = oneshot::channel();
        let descriptor = Box::new(fixture.descriptor());
        fixture.worker.command(Command::Create { descriptor, table: Box::new(table()), reply });
        fixture.until(|_| born.try_recv().is_ok_and(|born| born.is_ok())).await;
        fixture
    }

    fn descriptor(&self) -> PartitionDescriptor {
        let own = self.worker.desk.context.node;
        let node = |number| if number == 1 { own } else { model::NodeId(number) };
        let places = (1..=3).map(|number| (node(number), Zone(format!("zone-{number}"))));
        PartitionDescriptor { epoch: EPOCH, ..PartitionDescriptor::birth(PARTITION, table().id, KeyRange::ALL, places) }
    }

    /// Turns until then.
    async fn until(&mut self, mut done: impl FnMut(&Worker) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let context = Arc::clone(&self.worker.desk.context);
            for mail in context.inboxes.get(0).take() {
                self.worker.receive(mail);
            }
            self.worker.turn();
            if done(&self.worker) {
                return;
            }
            assert!(Instant::now() < deadline, "waited too long");
            drop(tokio::time::timeout(Duration::from_millis(20), context.inboxes.get(0).wait()).await);
        }
    }

    fn client(&self) -> Client {
        let context = &self.worker.desk.context;
        let (requests, queue) = mpsc::channel(16);
        let service = DataService::new(context.inboxes.clone(), Arc::clone(&context.metrics));
        Client { requests, answers: service.exchange_frames(ReceiverStream::new(queue)).unwrap().boxed() }
    }

    /// The connection of the next request, which the worker does not see.
    async fn intercept(&self) -> Arc<Connection> {
        let inbox = self.worker.desk.context.inboxes.get(0);
        let next = async {
            loop {
                let requests = inbox.take().into_iter().find(|mail| matches!(mail, Mail::Requests { .. }));
                if let Some(Mail::Requests { connection, .. }) = requests {
                    return connection;
                }
                inbox.wait().await;
            }
        };
        tokio::time::timeout(PATIENCE, next).await.unwrap()
    }
}

struct Client {
    requests: mpsc::Sender<Result<RequestFrame, Status>>,
    answers: Pin<Box<dyn Stream<Item = Result<ResponseFrame, Status>> + Send>>,
}

impl Client {
    async fn scan(&self) {
        let scan = Operation::Scan(Scan { consistent: false, ..Default::default() });
        let request = Request {
            id: 1,
            partition: PARTITION.0,
            epoch: EPOCH,
            deadline_ms: 0,
            table_version: 4,
            operation: Some(scan),
        };
        self.requests.send(Ok(RequestFrame { requests: vec![request] })).await.unwrap();
    }

    async fn answer(&mut self) -> Outcome {
        let frame = tokio::time::timeout(PATIENCE, self.answers.next()).await.unwrap().unwrap().unwrap();
        frame.responses.into_iter().next().unwrap().result.unwrap()
    }

    async fn refusal(&mut self) -> Reason {
        match self.answer().await {
            Outcome::Refused(refused) => refused.reason(),
            other => panic!("not refused: {other:?}"),
        }
    }
}

fn table() -> TableDescriptor {
    let wish = TableDescriptor::wish("things", KeySchema::simple("pk", KeyType::S));
    TableDescriptor { id: TableId(8), version: 4, status: TableStatus::Active, hash_seed: 5, ..wish }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_read_after_its_replica_retired_is_refused() {
    let mut fixture = Fixture::start().await;
    let mut client = fixture.client();
    client.scan().await;
    let admitted = fixture.worker.desk.context.metrics.requests.clone();
    fixture.until(|_| admitted.get() == 1).await;
    assert!(matches!(client.answer().await, Outcome::Scanned(page) if page.finished));

    // The only read thread is busy while the replica retires and its range is cleared.
    let (release, released) = std::sync::mpsc::channel::<()>();
    let busy = move || _ = released.recv();
    fixture.worker.desk.context.reads.submit(busy).unwrap();
    client.scan().await;
    fixture.until(|_| admitted.get() == 2).await;
    fixture.worker.retire(PARTITION);
    fixture.until(|worker| !worker.groups.contains_key(&PARTITION)).await;
    drop(release);
    assert_eq!(client.refusal().await, Reason::NotReady);
    let answers = &fixture.worker.desk.context.metrics.answers;
    let counted = ["ok", "not_ready"].map(|outcome| answers.count("scan", outcome));
    assert_eq!(counted, [Some(1), Some(1)], "each as it came out");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_is_unreadable_as_soon_as_it_retires() {
    let mut fixture = Fixture::start().await;
    let context = Arc::clone(&fixture.worker.desk.context);
    let admitted = fixture.worker.groups[&PARTITION].admitted().unwrap();
    assert!(context.registry.still_admits(admitted));
    assert!(!context.registry.still_admits(crate::registry::Admitted { epoch: EPOCH + 1, ..admitted }));
    assert!(!context.registry.still_admits(crate::registry::Admitted { replica: ReplicaId(2), ..admitted }));
    fixture.worker.retire(PARTITION);
    assert!(!context.registry.still_admits(admitted), "before its log or its items are touched");
    assert!(fixture.worker.groups[&PARTITION].admitted().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_for_a_group_with_a_corrupt_log_is_told() {
    let mut fixture = Fixture::start().await;
    let mut client = fixture.client();
    client.scan().await;
    let connection = fixture.intercept().await;
    let desk = &mut fixture.worker.desk;
    let call = Call { id: 1, operation: Counted::Put };
    let write = desk.wait(PARTITION, Waiter::Client { connection, call, asked: Asked::Write });
    let (reply, replied) = oneshot::channel();
    let command = desk.wait(PARTITION, Waiter::Command(reply));
    fixture.worker.receive(Mail::Corrupt(PARTITION));
    fixture.worker.turn();
    assert_eq!(client.refusal().await, Reason::Unknown);
    assert_eq!(fixture.worker.desk.context.metrics.answers.count("put", "unknown"), Some(1));
    assert_eq!(replied.await.unwrap(), Err(CommandError::UnknownPartition(PARTITION)));
    assert!(fixture.worker.desk.waiter(write).is_none() && fixture.worker.desk.waiter(command).is_none());
}

/// A snapshot without files, as it waits for its message.
fn received(fixture: &Fixture, index: u64, term: u64) -> crate::snapshot::Received {
    let context = &fixture.worker.desk.context;
    let header = header(fixture, index, term);
    crate::snapshot::Incoming::begin(&context.disk.incoming_dir(), header, &context.budget).unwrap().finish().unwrap()
}

fn header(fixture: &Fixture, index: u64, term: u64) -> SnapshotHeader {
    let record = GroupState::birth(ReplicaId(1), fixture.descriptor(), table()).encode();
    SnapshotHeader { from_node: 2, partition: PARTITION.0, from: 2, to: 1, index, term, files: Vec::new(), record }
}

fn message_of(fixture: &Fixture, index: u64, term: u64) -> Envelope {
    let state = GroupState::birth(ReplicaId(1), fixture.descriptor(), table());
    let mut message = Message { msg_type: MessageType::MsgSnapshot, from: 2, to: 1, term, ..Default::default() };
    let metadata = message.mut_snapshot().mut_metadata();
    (metadata.index, metadata.term) = (index, term);
    *metadata.mut_conf_state() = state.configuration;
    Envelope { from: ReplicaId(2), to: ReplicaId(1), body: MessageBody::Raft(message) }
}

fn offer(fixture: &mut Fixture, index: u64, term: u64) -> Result<Consent, String> {
    let (reply, mut replied) = oneshot::channel();
    let header = Box::new(header(fixture, index, term));
    fixture.worker.receive(Mail::SnapshotOffered { header, reply });
    replied.try_recv().unwrap()
}

/// Whether the worker took it.
fn deliver(fixture: &mut Fixture, index: u64, term: u64) -> bool {
    let received = Box::new(received(fixture, index, term));
    let (taken, mut is_taken) = oneshot::channel();
    fixture.worker.receive(Mail::SnapshotReceived { received, taken });
    is_taken.try_recv().is_ok()
}

fn waiting(fixture: &Fixture) -> Option<u64> {
    fixture.worker.groups[&PARTITION].received.as_ref().map(|received| received.header().index)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_wait_for_their_message_are_not_replaced() {
    let mut fixture = Fixture::start().await;
    assert_eq!(offer(&mut fixture, 20, 6), Ok(Consent::Files));
    assert!(deliver(&mut fixture, 20, 6));
    assert!(offer(&mut fixture, 30, 7).is_err(), "others are not welcome");
    // The mail of two leaders' snapshots: files, message, other files, and then a step.
    let message = message_of(&fixture, 20, 6);
    let mail = vec![(PARTITION, Parcel::ForReplica(message))];
    fixture.worker.receive(Mail::Messages { from: model::NodeId(2), messages: mail });
    assert!(!deliver(&mut fixture, 30, 7), "nor are their files");
    assert_eq!(waiting(&fixture), Some(20));
    // As long as the message waits for its step, the files stay.
    for _ in 0..200 {
        snapshots::tick(fixture.worker.groups.get_mut(&PARTITION).unwrap());
    }
    assert_eq!(waiting(&fixture), Some(20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_whose_message_never_comes_make_room_for_others() {
    let mut fixture = Fixture::start().await;
    assert!(deliver(&mut fixture, 20, 6));
    for _ in 0..200 {
        snapshots::tick(fixture.worker.groups.get_mut(&PARTITION).unwrap());
    }
    assert_eq!(waiting(&fixture), None);
    assert_eq!(offer(&mut fixture, 30, 7), Ok(Consent::Files));
    assert!(deliver(&mut fixture, 30, 7));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshots_message_without_its_files_is_dropped_before_raft_sees_it() {
    let mut fixture = Fixture::start().await;
    assert!(deliver(&mut fixture, 30, 7));
    let message = message_of(&fixture, 20, 6);
    fixture.worker.input(PARTITION, Input::Message(message));
    fixture.worker.turn();
    let group = &fixture.worker.groups[&PARTITION];
    assert!(group.phase == Phase::Running && group.inputs.is_empty());
    assert_eq!(waiting(&fixture), Some(30), "the other's files still wait");
}

/// A leader that has forgotten how far this replica is, and has no older log, hears it in no other way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_snapshot_that_is_not_needed_the_message_reaches_raft() {
    let mut fixture = Fixture::start().await;
    let AppliedMark { index, term, .. } = AppliedMark::birth();
    assert_eq!(offer(&mut fixture, index, term), Ok(Consent::MessageAlone));
    let mut envelope = message_of(&fixture, index, term);
    let MessageBody::Raft(message) = &mut envelope.body else { panic!("not raft's: {envelope:?}") };
    let status = |fixture: &Fixture| fixture.worker.groups[&PARTITION].replica.status();
    message.term = status(&fixture).term + 1;
    let state = GroupState::birth(ReplicaId(1), fixture.descriptor(), table());
    message.mut_snapshot().data = SnapshotContent { state, mark: AppliedMark::birth() }.encode();
    let messages = vec![(PARTITION, Parcel::ForReplica(envelope))];
    fixture.worker.receive(Mail::Messages { from: model::NodeId(2), messages });
    fixture.worker.turn();
    assert_eq!(status(&fixture).leader, Some(ReplicaId(2)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_with_a_corrupt_log_is_known_to_the_next_start() {
    let mut fixture = Fixture::start().await;
    fixture.worker.receive(Mail::Corrupt(PARTITION));
    let corrupt = |worker: &Worker| worker.desk.context.log.groups().iter().any(|group| group.corrupt);
    fixture.until(corrupt).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn news_of_a_node_reach_the_groups_that_have_a_replica_there() {
    let mut fixture = Fixture::start().await;
    let told = |fixture: &mut Fixture, node: u64, news: News| {
        fixture.worker.receive(Mail::Neighbour { node: model::NodeId(node), news });
        std::mem::take(&mut fixture.worker.groups.get_mut(&PARTITION).unwrap().inputs)
    };
    for news in [News::Silent, News::Restarted] {
        assert!(matches!(told(&mut fixture, 2, news)[..], [Input::Lost(ReplicaId(2))]), "{news:?}");
    }
    assert!(matches!(told(&mut fixture, 3, News::Stopping)[..], [Input::Stopping(ReplicaId(3))]));
    assert!(told(&mut fixture, 2, News::Returned).is_empty());
    assert!(told(&mut fixture, 4, News::Silent).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ticks_that_a_busy_worker_could_not_take_are_not_made_up_for() {
    let mut fixture = Fixture::start().await;
    let waiting = |fixture: &Fixture| {
        let inputs = &fixture.worker.groups[&PARTITION].inputs;
        inputs.iter().filter(|input| matches!(input, Input::Tick)).count()
    };
    for _ in 0..2 {
        for _ in 0..40 {
            fixture.worker.tick();
            assert_eq!(waiting(&fixture), 1);
        }
        fixture.worker.turn();
        assert_eq!(waiting(&fixture), 0);
    }
    assert_eq!(fixture.worker.groups[&PARTITION].replica.status().term, replica::state::BIRTH_TERM);
}
