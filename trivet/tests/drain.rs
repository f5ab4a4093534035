//! A node that is stopped as planned costs nobody a write: real nodes, the map and a router's routing, over real sockets.
#![expect(clippy::unwrap_used, reason = "a test says by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Parser;
use memds::{Handle, Metrics};
use model::{
    Item, KeyRange, KeySchema, KeyType, PartitionDescriptor, PartitionId, TableDescriptor, TableId, TableStatus, Value,
    Zone, item, key,
};
use node::Node;
use node::transport::Connector;
use router::routing::connector::TonicConnector;
use router::routing::{Failure, Routing, Settings, WriteAction, WriteOutcome, WriteRequest};
use tempfile::TempDir;
use tokio::net::TcpListener;
use wire::admin::admin_client::AdminClient;
use wire::admin::{CreateGroupRequest, GroupStatus, ListGroupsRequest};

const TABLE: &str = "things";
const SEED: u64 = 5;
const WRITERS: usize = 64;
/// Each time another leader is stopped.
const STOPS: usize = 4;
/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    config: node::Config,
}

struct House {
    memds: String,
    folders: Vec<TempDir>,
    nodes: Vec<Option<Node>>,
}

fn zone(number: usize) -> String {
    format!("zone-{number}")
}

impl House {
    async fn start() -> House {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let memds = listener.local_addr().unwrap().to_string();
        let handle = Handle::new(Metrics::new(&prometheus::Registry::new()).unwrap());
        tokio::spawn(memds::serve(handle, listener, None, std::future::pending()));
        let folders = (0..3).map(|_| TempDir::new().unwrap()).collect();
        let mut house = House { memds, folders, nodes: vec![None, None, None] };
        for number in 0..3 {
            house.boot(number);
        }
        house
    }

    fn boot(&mut self, number: usize) {
        let (data, zone) = (self.folders[number].path().join("data"), zone(number));
        let flags = ["node", "--format", "--listen", "127.0.0.1:0", "--cache", "32MiB", "--reserve", "1MiB"];
        let told = ["--data", data.to_str().unwrap(), "--zone", &zone, "--memds", &self.memds];
        let Arguments { config } = Arguments::parse_from(flags.into_iter().chain(told));
        self.nodes[number] = Some(Node::start(config, Connector::Tonic).unwrap());
    }

    fn node(&self, number: usize) -> &Node {
        self.nodes[number].as_ref().unwrap()
    }

    async fn create(&self) {
        let wish = TableDescriptor::wish(TABLE, KeySchema::simple("pk", KeyType::S));
        let status = TableStatus::Active;
        let table = TableDescriptor { id: TableId(8), version: 4, status, hash_seed: SEED, ..wish };
        let places = (0..3).map(|number| (self.node(number).id(), Zone(zone(number))));
        let group = PartitionDescriptor::birth(PartitionId(7), table.id, KeyRange::ALL, places);
        for number in 0..3 {
            let request = CreateGroupRequest { descriptor: group.encode(), table: table.encode() };
            let mut admin = AdminClient::connect(format!("http://{}", self.node(number).address())).await.unwrap();
            admin.create_group(request).await.unwrap();
        }
    }

    async fn group(&self, number: usize) -> Option<GroupStatus> {
        let node = self.nodes[number].as_ref()?;
        let mut admin = AdminClient::connect(format!("http://{}", node.address())).await.ok()?;
        admin.list_groups(ListGroupsRequest { table: 0 }).await.ok()?.into_inner().groups.pop()
    }

    async fn leader(&self) -> usize {
        eventually(async || {
            for number in 0..3 {
                if self.group(number).await.is_some_and(|group| group.serving) {
                    return Some(number);
                }
            }
            None
        })
        .await
    }
}

async fn eventually<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited too long");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What the writers share.
struct Writers {
    routing: Routing,
    table: Arc<TableDescriptor>,
    acknowledged: AtomicU64,
    stop: AtomicBool,
}

impl Writers {
    fn key(number: usize) -> Bytes {
        key::encode_key(SEED, &Value::S(format!("key-{number}")), None)
    }

    fn item(number: usize, count: u64) -> Bytes {
        let key = ("pk".to_owned(), Value::S(format!("key-{number}")));
        let item: Item = [key, ("count".to_owned(), Value::S(count.to_string()))].into();
        Bytes::from(item::encode_attributes(&item))
    }

    /// Its key's newest count, and everything that was no success.
    async fn write_always(self: Arc<Self>, number: usize) -> (u64, Vec<Failure>) {
        let (mut count, mut failures) = (0, Vec::new());
        while !self.stop.load(Ordering::Relaxed) {
            count += 1;
            let write = WriteRequest {
                key: Writers::key(number),
                action: WriteAction::Put(Writers::item(number, count)),
                condition: None,
                return_old: false,
                return_new: false,
                return_old_on_failure: false,
                request_id: Bytes::from_static(b"drain"),
            };
            match self.routing.write(&self.table, write, Instant::now() + PATIENCE).await {
                Ok(WriteOutcome::Applied { .. }) => drop(self.acknowledged.fetch_add(1, Ordering::Relaxed)),
                Ok(other) => panic!("an unconditional put: {other:?}"),
                Err(failure) => failures.push(failure),
            }
        }
        (count, failures)
    }

    /// Until so many more are acknowledged.
    async fn go_on(&self, more: u64) {
        let until = self.acknowledged.load(Ordering::Relaxed) + more;
        eventually(async || (self.acknowledged.load(Ordering::Relaxed) >= until).then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_stopped_leaves_no_write_unknown_or_failed() {
    let mut house = House::start().await;
    house.create().await;
    house.leader().await;
    let settings = Settings { zone: zone(0), memds: vec![house.memds.clone()], control: Vec::new() };
    let routing = Routing::start(settings, Arc::new(TonicConnector::default()));
    let table = eventually(async || routing.table(TABLE, Instant::now() + PATIENCE).await.ok()).await;
    let (acknowledged, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let writers = Arc::new(Writers { routing, table, acknowledged, stop });
    let tasks: Vec<_> = (0..WRITERS).map(|number| tokio::spawn(Arc::clone(&writers).write_always(number))).collect();
    for _ in 0..STOPS {
        writers.go_on(500).await;
        let leader = house.leader().await;
        house.nodes[leader].take().unwrap().stop().await.unwrap();
        writers.go_on(500).await;
        house.boot(leader);
        let committed = house.group(house.leader().await).await.unwrap().committed;
        eventually(async || house.group(leader).await.filter(|group| group.applied >= committed)).await;
    }
    writers.stop.store(true, Ordering::Relaxed);
    for (number, task) in tasks.into_iter().enumerate() {
        let (count, failures) = task.await.unwrap();
        assert_eq!(failures, [], "writer {number}");
        let read = writers.routing.get(&writers.table, Writers::key(number), true, Instant::now() + PATIENCE).await;
        assert_eq!(read, Ok(Some(Writers::item(number, count))), "writer {number}");
    }
}
