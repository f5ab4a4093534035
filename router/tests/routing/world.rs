//! A router among nodes that do as they are told, with a real MemDS, all over real sockets.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use memds::{Handle, Metrics};
use model::{
    KeyRange, KeySchema, KeyType, NodeId, PartitionDescriptor, PartitionId, TableDescriptor, TableId, TableStatus, Zone,
};
use router::routing::connector::TonicConnector;
use router::routing::{Routing, Settings, WriteAction, WriteRequest};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::oneshot;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Response as TonicResponse, Status, Streaming};
use wire::data::data_server::{Data, DataServer};
use wire::data::refused::Reason;
use wire::data::request::Operation;
use wire::data::response::Result as Answer;
use wire::data::{Got, Refused, Request, RequestFrame, Response, ResponseFrame, Scan, Scanned, Written, written};
use wire::memds::{Announcement, DirectoryEntry, PartitionReport};

pub const TABLE: TableId = TableId(0x7ab1e);
pub const NAME: &str = "readings";

/// How long anything may take on a busy machine.
pub fn deadline() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// Long enough for a few tries, short enough to wait for.
pub fn soon() -> Instant {
    Instant::now() + Duration::from_millis(300)
}

/// What a node does with one request.
pub enum Act {
    Answer(Answer),
    /// The node stops after this answer.
    Last(Answer),
    /// Ends the stream.
    Break,
    /// Never answers.
    Hold,
}

type Script = Box<dyn FnMut(&Request) -> Act + Send>;

#[derive(Clone)]
pub struct FakeNode {
    pub id: NodeId,
    pub zone: String,
    pub address: String,
    shared: Arc<NodeShared>,
    _dead: Option<Arc<TcpSocket>>,
}

struct NodeShared {
    script: Mutex<Script>,
    seen: Mutex<Vec<Request>>,
    /// Takes no stream.
    refuses: AtomicBool,
}

impl FakeNode {
    pub async fn start(id: u64) -> FakeNode {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let script: Script = Box::new(|_| refuse(Reason::UnknownPartition, 0));
        let shared = Arc::new(NodeShared {
            script: Mutex::new(script),
            seen: Mutex::default(),
            refuses: AtomicBool::new(false),
        });
        let service = DataServer::new(Service(Arc::clone(&shared)));
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        FakeNode { id: NodeId(id), zone: format!("zone-{id}"), address, shared, _dead: None }
    }

    /// A node of which the map knows, and that does not run.
    pub async fn dead(id: u64) -> FakeNode {
        let mut node = FakeNode::start(id).await;
        let (dead, address) = dead_address();
        (node.address, node._dead) = (address, Some(Arc::new(dead)));
        node
    }

    pub fn acts(&self, script: impl FnMut(&Request) -> Act + Send + 'static) {
        *self.shared.script.lock().unwrap() = Box::new(script);
    }

    /// Refuses every stream from now on, as a node that stops.
    pub fn refuses(&self) {
        self.shared.refuses.store(true, Ordering::Relaxed);
    }

    pub fn seen(&self) -> Vec<Request> {
        self.shared.seen.lock().unwrap().clone()
    }

    pub fn entry(&self) -> DirectoryEntry {
        DirectoryEntry { node: self.id.0, zone: self.zone.clone(), address: self.address.clone(), start_number: 1 }
    }
}

/// Connections are refused there as long as the socket is held: it is bound, and does not listen. A port that is merely
/// free may be another test's a moment later.
pub fn dead_address() -> (TcpSocket, String) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = socket.local_addr().unwrap().to_string();
    (socket, address)
}

/// Of all of 127/8, which is this machine: nobody else takes its ports while a MemDS is down.
fn address_of_memds() -> SocketAddr {
    static WORLDS: AtomicU8 = AtomicU8::new(0);
    let [high, low] = u16::try_from(std::process::id() % (1 << 16)).unwrap().to_be_bytes();
    // Lower ones are other helpers'.
    let own = 100 + WORLDS.fetch_add(1, Ordering::Relaxed) % 128;
    SocketAddr::from(([127, high, low, own], 0))
}

struct Service(Arc<NodeShared>);

#[tonic::async_trait]
impl Data for Service {
    type ExchangeStream = BoxStream<'static, Result<ResponseFrame, Status>>;

    async fn exchange(
        &self,
        request: tonic::Request<Streaming<RequestFrame>>,
    ) -> Result<TonicResponse<Self::ExchangeStream>, Status> {
        let shared = Arc::clone(&self.0);
        if shared.refuses.load(Ordering::Relaxed) {
            return Err(Status::unavailable("told to refuse"));
        }
        let answers = request.into_inner().map(move |frame| {
            let (mut responses, mut stopping) = (Vec::new(), false);
            for request in frame?.requests {
                shared.seen.lock().unwrap().push(request.clone());
                match (shared.script.lock().unwrap())(&request) {
                    Act::Answer(result) => responses.push(Response { id: request.id, result: Some(result) }),
                    Act::Last(result) => {
                        responses.push(Response { id: request.id, result: Some(result) });
                        stopping = true;
                    }
                    Act::Break => return Err(Status::unavailable("told to break")),
                    Act::Hold => {}
                }
            }
            Ok(ResponseFrame { responses, stopping })
        });
        Ok(TonicResponse::new(answers.boxed()))
    }
}

pub fn refuse(reason: Reason, leader: u64) -> Act {
    Act::Answer(Answer::Refused(Refused { reason: reason.into(), leader, descriptor: None, table: None }))
}

pub fn got(item: &'static str) -> Act {
    Act::Answer(Answer::Got(Got { item: Some(Bytes::from(item)) }))
}

pub fn applied() -> Act {
    Act::Answer(Answer::Written(Written {
        outcome: written::Outcome::Applied.into(),
        new: Some(Bytes::from_static(b"after")),
        new_size: 17,
        ..Written::default()
    }))
}

pub fn table(status: TableStatus, version: u64) -> TableDescriptor {
    let wish = TableDescriptor::wish(NAME, KeySchema::simple("sensor", KeyType::S));
    TableDescriptor { id: TABLE, version, status, hash_seed: 5, created_ms: 40, ..wish }
}

/// Its replicas are on all the world's nodes, in their order.
pub fn partition(id: u64, start: &'static str, end: Option<&'static str>, epoch: u64) -> PartitionDescriptor {
    let range = KeyRange { start: Bytes::from(start), end: end.map(Bytes::from) };
    let places = (1..=3).map(|number| (NodeId(number), Zone(format!("zone-{number}"))));
    PartitionDescriptor { epoch, ..PartitionDescriptor::birth(PartitionId(id), TABLE, range, places) }
}

pub struct World {
    pub nodes: Vec<FakeNode>,
    pub memds: Handle,
    pub metrics: Metrics,
    pub memds_address: String,
    pub routing: Routing,
    stop: Option<oneshot::Sender<()>>,
    serving: Option<tokio::task::JoinHandle<()>>,
}

impl World {
    /// Nodes 1, 2 and 3 in zones of their own; the router is in the zone of node 2.
    pub async fn with(nodes: Vec<FakeNode>) -> World {
        let (memds, metrics) = empty_memds();
        let settings = |address: &str| Settings {
            zone: "zone-2".to_owned(),
            memds: vec![address.to_owned()],
            control: Vec::new(),
        };
        let listener = TcpListener::bind(address_of_memds()).await.unwrap();
        let memds_address = listener.local_addr().unwrap().to_string();
        let routing = Routing::start(settings(&memds_address), Arc::new(TonicConnector::default()));
        let mut world = World { nodes, memds, metrics, memds_address, routing, stop: None, serving: None };
        world.serve_memds(listener);
        world
    }

    pub async fn start() -> World {
        World::with(vec![FakeNode::start(1).await, FakeNode::start(2).await, FakeNode::start(3).await]).await
    }

    /// One active table with one partition, led by node 1.
    pub async fn with_one_partition() -> World {
        let world = World::start().await;
        world.announce(TableStatus::Active, &[(partition(20, "", None, 7), 1, 4)]);
        world
    }

    pub fn node(&self, n: usize) -> &FakeNode {
        &self.nodes[n - 1]
    }

    /// Every node tells everything: the table in that status, and partitions with leader and term.
    pub fn announce(&self, status: TableStatus, partitions: &[(PartitionDescriptor, u64, u64)]) {
        for node in &self.nodes {
            let reports = partitions.iter().map(|(descriptor, leader, term)| PartitionReport {
                descriptor: descriptor.encode(),
                leader: *leader,
                term: *term,
                items: Some(3),
                bytes: Some(70),
            });
            self.memds.announce(Announcement {
                node: Some(node.entry()),
                partitions: reports.collect(),
                tables: vec![table(status, 1 + status as u64).encode()],
                full_begins: true,
                full_ends: true,
                directory: self.nodes.iter().map(FakeNode::entry).collect(),
                ..Announcement::default()
            });
        }
    }

    fn serve_memds(&mut self, listener: TcpListener) {
        let (stop, stopped) = oneshot::channel::<()>();
        let handle = self.memds.clone();
        self.stop = Some(stop);
        self.serving = Some(tokio::spawn(async move {
            memds::serve(handle, listener, None, async { stopped.await.unwrap_or_default() }).await.unwrap();
        }));
    }

    pub async fn kill_memds(&mut self) {
        drop(self.stop.take());
        self.serving.take().unwrap().await.unwrap();
        (self.memds, self.metrics) = empty_memds();
    }

    pub async fn restart_memds(&mut self) {
        let listener = TcpListener::bind(&self.memds_address).await.unwrap();
        self.serve_memds(listener);
    }

    pub async fn table(&self) -> Arc<TableDescriptor> {
        self.routing.table(NAME, deadline()).await.unwrap()
    }

    pub async fn get(&self, key: &'static str) -> Result<Option<Bytes>, router::routing::Failure> {
        self.routing.get(&self.table().await, Bytes::from(key), true, deadline()).await
    }
}

fn empty_memds() -> (Handle, Metrics) {
    let metrics = Metrics::new(&prometheus::Registry::new()).unwrap();
    (Handle::new(metrics.clone()), metrics)
}

pub fn put(key: &'static str) -> WriteRequest {
    WriteRequest {
        key: Bytes::from(key),
        action: WriteAction::Put(Bytes::from_static(b"attributes")),
        condition: None,
        return_old: false,
        return_new: true,
        return_old_on_failure: false,
        request_id: Bytes::from_static(b"request"),
    }
}

/// A node's page over items that weigh 10 bytes each, by the protocol's words.
pub fn scan(items: &BTreeMap<Bytes, Bytes>, request: &Scan) -> Act {
    let inside = |key: &&Bytes| **key >= request.start && request.end.as_ref().is_none_or(|end| *key < end);
    let mut keys: Vec<&Bytes> = items.keys().filter(inside).collect();
    if request.backward {
        keys.reverse();
    }
    let mut scanned = Scanned { finished: true, ..Scanned::default() };
    for key in keys {
        scanned.items.push(items[key].clone());
        scanned.count += 1;
        scanned.scanned_count += 1;
        scanned.scanned_bytes += 10;
        scanned.last_key = Some(key.clone());
        let is_full = scanned.scanned_count == request.limit || scanned.scanned_bytes >= u64::from(request.limit_bytes);
        if is_full {
            scanned.finished = false;
            break;
        }
    }
    Act::Answer(Answer::Scanned(scanned))
}

pub fn as_scan(request: &Request) -> &Scan {
    match &request.operation {
        Some(Operation::Scan(scan)) => scan,
        other => panic!("expected a scan, got {other:?}"),
    }
}
