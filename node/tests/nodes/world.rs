//! Real nodes in one process on real disks in temporary folders, and a client that speaks to them as a router does.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use model::{
    Item, KeyRange, KeySchema, KeyType, NodeId, PartitionDescriptor, PartitionId, TableDescriptor, TableId,
    TableStatus, Value, Zone, item, key,
};
use node::config::{ByteSize, Milliseconds};
use node::transport::memory::Frameway;
use node::transport::{Connector, Memory, connector};
use node::{Config, Node};
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status};
use wire::admin::admin_server::Admin;
use wire::admin::{CreateGroupRequest, GroupStatus, ListGroupsRequest};
use wire::data::data_client::DataClient;
use wire::data::refused::Reason;
use wire::data::request::Operation;
use wire::data::response::Result as Outcome;
use wire::data::{self, Get, RequestFrame, ResponseFrame, Scan, Write};

pub const PARTITION: PartitionId = PartitionId(0x77);
pub const TABLE: TableId = TableId(0x8);
const SEED: u64 = 5;
/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(40);
/// For one answer of a node that may have ended.
pub const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

pub const TICK_MS: u64 = 50;

/// In ticks: how long a silent leader is left its lead, and how long nothing happens before a group sleeps, which is longer.
#[derive(Clone, Copy)]
struct Rhythm {
    election_ticks: usize,
    sleep_ticks: u64,
}

/// Two seconds: no stall of a busy machine takes the lead from whoever a test has found leading.
const STEADY: Rhythm = Rhythm { election_ticks: 40, sleep_ticks: 45 };
/// Where replicas are suspected so soon that a steady election would take longer.
const HASTY: Rhythm = Rhythm { election_ticks: 10, sleep_ticks: 20 };

impl Rhythm {
    /// A replica is suspected no sooner than an election takes.
    fn for_suspicion(suspect_ms: u64) -> Rhythm {
        if suspect_ms < STEADY.election_ticks as u64 * TICK_MS { HASTY } else { STEADY }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Tonic,
    Memory,
}

pub struct World {
    way: Way,
    memory: Arc<Memory>,
    folders: Vec<TempDir>,
    /// Nodes started from now on keep so much of their disk free.
    pub reserve: ByteSize,
    /// When a silent replica is stood in for, and when it is replaced; never by default.
    pub repair: (Milliseconds, Milliseconds),
    rhythm: Rhythm,
    pub nodes: Vec<Option<Node>>,
}

pub fn zone(number: usize) -> String {
    format!("zone-{}", (b'a' + u8::try_from(number % 3).unwrap()) as char)
}

pub fn config(folder: &TempDir, number: usize, seeds: Vec<String>) -> Config {
    Config {
        data: folder.path().join("data"),
        format: true,
        zone: zone(number),
        listen: "127.0.0.1:0".parse().unwrap(),
        advertise: None,
        tls: None,
        metrics_listen: None,
        memds: Vec::new(),
        seeds,
        workers: crate::WORKERS,
        read_threads: 1,
        cache: ByteSize(32 << 20),
        reserve: ByteSize(1 << 20),
        sharers: 3,
        tick: Milliseconds(TICK_MS),
        election_ticks: STEADY.election_ticks,
        heartbeat_ticks: 2,
        suspect_after: Milliseconds(0),
        planned_stop: Milliseconds(60_000),
        replace_after: Milliseconds(600_000),
        snapshot_budget: ByteSize(100 << 20),
        sleep_ticks: STEADY.sleep_ticks,
        stop_timeout: Milliseconds(10_000),
        fail_sync: None,
    }
}

impl World {
    pub fn start(way: Way, nodes: usize) -> World {
        World::on(&std::env::temp_dir(), way, nodes, ByteSize(1 << 20))
    }

    /// All nodes on one disk, of which each is to keep so much free.
    pub fn on(disk: &Path, way: Way, nodes: usize, reserve: ByteSize) -> World {
        let folders = (0..nodes).map(|_| TempDir::new_in(disk).unwrap()).collect();
        let mut world = World::unbooted(way, folders, reserve);
        for number in 0..nodes {
            world.boot(number);
        }
        world
    }

    /// Leaders repair their groups, after so many milliseconds.
    pub fn repairing(nodes: usize, suspect_ms: u64, replace_ms: u64) -> World {
        let folders = (0..nodes).map(|_| TempDir::new().unwrap()).collect();
        let mut world = World::unbooted(Way::Memory, folders, ByteSize(1 << 20));
        world.repair = (Milliseconds(suspect_ms), Milliseconds(replace_ms));
        world.rhythm = Rhythm::for_suspicion(suspect_ms);
        for number in 0..nodes {
            world.boot(number);
        }
        world
    }

    fn unbooted(way: Way, folders: Vec<TempDir>, reserve: ByteSize) -> World {
        let (memory, repair) = (Memory::new(Frameway::Encoded), (Milliseconds(0), Milliseconds(600_000)));
        let nodes = folders.iter().map(|_| None).collect();
        World { way, memory, folders, reserve, repair, rhythm: STEADY, nodes }
    }

    fn connector(&self) -> Connector {
        match self.way {
            Way::Tonic => Connector::Tonic,
            Way::Memory => Connector::Memory(Arc::clone(&self.memory)),
        }
    }

    /// What stands in a file of a node's folder; nothing if it is not there.
    pub fn file(&self, number: usize, name: &str) -> String {
        std::fs::read_to_string(self.folders[number].path().join("data").join(name)).unwrap_or_default()
    }

    /// The files that hold a node's items.
    pub fn item_files(&self, number: usize) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.folders[number].path().join("data/items")).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "sst")).collect()
    }

    /// Starts a node, first or again, on its folder.
    pub fn boot(&mut self, number: usize) {
        let seeds = self.nodes.iter().flatten().map(|node| node.address().to_owned()).collect();
        let (suspect_after, replace_after) = self.repair;
        let Rhythm { election_ticks, sleep_ticks } = self.rhythm;
        let config = Config {
            reserve: self.reserve,
            suspect_after,
            replace_after,
            election_ticks,
            sleep_ticks,
            ..config(&self.folders[number], number, seeds)
        };
        self.nodes[number] = Some(Node::start(config, self.connector()).unwrap());
    }

    /// Without a word to the others.
    pub fn kill(&mut self, number: usize) {
        drop(self.nodes[number].take().unwrap());
    }

    pub async fn stop(&mut self, number: usize) {
        self.nodes[number].take().unwrap().stop().await.unwrap();
    }

    pub fn node(&self, number: usize) -> &Node {
        self.nodes[number].as_ref().unwrap()
    }

    /// One partition on the first three nodes.
    pub async fn create(&self) -> PartitionDescriptor {
        let descriptor = descriptor(&[self.node(0).id(), self.node(1).id(), self.node(2).id()]);
        for number in 0..3 {
            let request =
                CreateGroupRequest { descriptor: descriptor.encode(), table: table(TableStatus::Active).encode() };
            self.node(number).services().admin.create_group(Request::new(request)).await.unwrap();
        }
        descriptor
    }

    pub async fn group(&self, number: usize) -> Option<GroupStatus> {
        self.groups(number).await.into_iter().find(|group| group.partition == PARTITION.0)
    }

    /// None of a node that has ended, as one does whose items are damaged: it answers nothing.
    pub async fn groups(&self, number: usize) -> Vec<GroupStatus> {
        let request = Request::new(ListGroupsRequest { table: 0 });
        let asked = self.node(number).services().admin.list_groups(request);
        let answered = tokio::time::timeout(ANSWERED_WITHIN, asked).await;
        answered.map_or_else(|_| Vec::new(), |answer| answer.unwrap().into_inner().groups)
    }

    /// The number of the node that leads and serves.
    pub async fn leader(&self) -> usize {
        self.leader_among(&[]).await
    }

    pub async fn leader_among(&self, without: &[usize]) -> usize {
        eventually(async || {
            for number in (0..self.nodes.len()).filter(|number| !without.contains(number)) {
                if self.nodes[number].is_some() && self.group(number).await.is_some_and(|group| group.serving) {
                    return Some(number);
                }
            }
            None
        })
        .await
    }

    pub async fn client(&self, number: usize) -> Client {
        let node = self.node(number);
        match self.way {
            Way::Tonic => Client::at(node.address()).await,
            Way::Memory => {
                let (requests, queue) = mpsc::channel(16);
                let frames = ReceiverStream::new(queue);
                Client::new(requests, self.memory.data(node.address(), frames).unwrap())
            }
        }
    }
}

/// Asks until there is something, or the test has waited long enough.
pub async fn eventually<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited too long");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Sends requests and finds their answers by id.
pub struct Client {
    requests: mpsc::Sender<RequestFrame>,
    waiting: Arc<Mutex<HashMap<u64, oneshot::Sender<Outcome>>>>,
    ids: AtomicU64,
}

impl Client {
    /// Over gRPC, to whoever listens there.
    pub async fn at(address: &str) -> Client {
        let (requests, queue) = mpsc::channel(16);
        let channel = connector::channel(address).await.unwrap();
        let mut client = DataClient::new(channel).max_decoding_message_size(64 << 20);
        let answers = client.exchange(ReceiverStream::new(queue)).await.unwrap().into_inner();
        Client::new(requests, answers)
    }

    fn new(
        requests: mpsc::Sender<RequestFrame>,
        mut answers: impl Stream<Item = Result<ResponseFrame, Status>> + Unpin + Send + 'static,
    ) -> Client {
        let waiting: Arc<Mutex<HashMap<u64, oneshot::Sender<Outcome>>>> = Arc::default();
        let answered = Arc::clone(&waiting);
        tokio::spawn(async move {
            while let Some(Ok(frame)) = answers.next().await {
                for response in frame.responses {
                    let waiter = answered.lock().unwrap().remove(&response.id).expect("nobody asked this");
                    drop(waiter.send(response.result.unwrap()));
                }
            }
        });
        Client { requests, waiting, ids: AtomicU64::new(1) }
    }

    /// All in one frame; answers in the order of the requests.
    pub async fn ask(&self, epoch: u64, operations: Vec<Operation>) -> Vec<Outcome> {
        self.ask_each(epoch, operations.into_iter().map(|operation| (PARTITION, operation)).collect()).await
    }

    /// The same, of several partitions.
    pub async fn ask_each(&self, epoch: u64, operations: Vec<(PartitionId, Operation)>) -> Vec<Outcome> {
        let mut answers = Vec::new();
        let mut requests = Vec::new();
        for (partition, operation) in operations {
            let id = self.ids.fetch_add(1, Ordering::Relaxed);
            let (answer, answered) = oneshot::channel();
            self.waiting.lock().unwrap().insert(id, answer);
            answers.push(answered);
            requests.push(data::Request {
                id,
                partition: partition.0,
                epoch,
                deadline_ms: 30_000,
                table_version: 4,
                operation: Some(operation),
            });
        }
        self.requests.send(RequestFrame { requests }).await.unwrap();
        let all = futures::future::join_all(answers);
        let answers = tokio::time::timeout(PATIENCE, all).await.expect("every request is answered");
        answers.into_iter().map(|answer| answer.expect("the stream holds")).collect()
    }

    pub async fn one(&self, epoch: u64, operation: Operation) -> Outcome {
        self.ask(epoch, vec![operation]).await.remove(0)
    }
}

pub fn encoded_key(name: &str) -> Bytes {
    key::encode_key(SEED, &Value::S(name.to_owned()), None)
}

pub fn attributes(name: &str, text: &str) -> Bytes {
    let value = |text: &str| Value::S(text.to_owned());
    let item: Item = [("pk".to_owned(), value(name)), ("text".to_owned(), value(text))].into();
    Bytes::from(item::encode_attributes(&item))
}

pub fn put(name: &str, text: &str) -> Operation {
    let action = Some(data::write::Action::Put(attributes(name, text)));
    Operation::Write(Write { key: encoded_key(name), action, ..Default::default() })
}

pub fn get(name: &str) -> Operation {
    Operation::Get(Get { key: encoded_key(name), consistent: true })
}

pub fn eventual_get(name: &str) -> Operation {
    Operation::Get(Get { key: encoded_key(name), consistent: false })
}

pub fn scan() -> Operation {
    Operation::Scan(Scan { consistent: true, ..Default::default() })
}

pub fn is_applied(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Written(written) if written.outcome() == data::written::Outcome::Applied)
}

pub fn item_of(outcome: Outcome) -> Option<Bytes> {
    match outcome {
        Outcome::Got(got) => got.item,
        other => panic!("not an item: {other:?}"),
    }
}

pub fn refusal_of(outcome: &Outcome) -> Option<Reason> {
    match outcome {
        Outcome::Refused(refused) => Some(refused.reason()),
        Outcome::Got(_) | Outcome::Written(_) | Outcome::Scanned(_) => None,
    }
}

pub fn descriptor(nodes: &[NodeId]) -> PartitionDescriptor {
    let places = nodes.iter().enumerate().map(|(number, node)| (*node, Zone(zone(number))));
    PartitionDescriptor { epoch: 3, ..PartitionDescriptor::birth(PARTITION, TABLE, KeyRange::ALL, places) }
}

pub fn table(status: TableStatus) -> TableDescriptor {
    let version = if status == TableStatus::Active { 4 } else { 5 };
    let wish = TableDescriptor::wish("things", KeySchema::simple("pk", KeyType::S));
    TableDescriptor { id: TABLE, version, status, hash_seed: SEED, ..wish }
}
