//! A MemDS server over real sockets: told by nodes, asked by routers, killed and told again.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use memds::{Handle, Metrics};
use model::{
    KeyRange, KeySchema, KeyType, NodeId, PartitionDescriptor, PartitionId, TableDescriptor, TableId, TableStatus, Zone,
};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use wire::memds::mem_ds_client::MemDsClient;
use wire::memds::{
    Announcement, DirectoryEntry, ListTablesRequest, Lookup, LookupAnswer, LookupFrame, PartitionReport,
    PutTableRequest, RemoveTableRequest,
};

const DEADLINE: Duration = Duration::from_secs(60);
const TABLE: TableId = TableId(77);

struct Server {
    address: String,
    stop: oneshot::Sender<()>,
    serving: tokio::task::JoinHandle<()>,
}

async fn start(address: &str) -> Server {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (stop, stopped) = oneshot::channel();
    let handle = Handle::new(Metrics::new(&prometheus::Registry::new()).unwrap());
    let serving = tokio::spawn(async move {
        memds::serve(handle, listener, None, async { stopped.await.unwrap_or_default() }).await.unwrap();
    });
    Server { address, stop, serving }
}

impl Server {
    async fn client(&self) -> MemDsClient<Channel> {
        MemDsClient::connect(format!("http://{}", self.address)).await.unwrap()
    }

    async fn kill(self) -> String {
        self.stop.send(()).unwrap();
        tokio::time::timeout(DEADLINE, self.serving).await.unwrap().unwrap();
        self.address
    }
}

fn table(status: TableStatus) -> Bytes {
    let schema = KeySchema::simple("depot", KeyType::N).with_sort("parcel", KeyType::N);
    TableDescriptor { id: TABLE, version: 6, status, hash_seed: 3, ..TableDescriptor::wish("parcels", schema) }.encode()
}

fn partition() -> Bytes {
    let places = [1, 2].map(|number| (NodeId(number * 100), Zone(format!("z{number}"))));
    PartitionDescriptor { epoch: 2, ..PartitionDescriptor::birth(PartitionId(5), TABLE, KeyRange::ALL, places) }
        .encode()
}

fn announcement(n: u64) -> Announcement {
    let entry = |n: u64| DirectoryEntry {
        node: n * 100,
        zone: format!("z{n}"),
        address: format!("10.0.0.{n}:7200"),
        start_number: 1,
    };
    Announcement {
        node: Some(entry(n)),
        partitions: vec![PartitionReport {
            descriptor: partition(),
            leader: 200,
            term: 9,
            items: Some(1),
            bytes: Some(2),
        }],
        tables: vec![table(TableStatus::Active)],
        full_begins: true,
        full_ends: true,
        directory: vec![entry(1), entry(2)],
        ..Announcement::default()
    }
}

/// Announces once and answers how many nodes the server then knows of.
async fn announce(server: &Server, n: u64) -> usize {
    let mut client = server.client().await;
    let frames = futures::stream::iter([announcement(n)]).chain(futures::stream::pending());
    let mut answers = client.announce(frames).await.unwrap().into_inner();
    answers.next().await.unwrap().unwrap().directory.len()
}

async fn look_up(server: &Server, name: &str) -> LookupAnswer {
    let mut client = server.client().await;
    let (frames, stream) = mpsc::channel(1);
    let lookup = Lookup { id: 41, table: name.to_owned(), key: Some(Bytes::from_static(b"k")) };
    frames.send(LookupFrame { lookups: vec![lookup] }).await.unwrap();
    let mut answers = client.lookup(ReceiverStream::new(stream)).await.unwrap().into_inner();
    let mut frame = tokio::time::timeout(DEADLINE, answers.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(frame.answers.len(), 1);
    frame.answers.remove(0)
}

#[tokio::test]
async fn a_server_killed_and_started_empty_knows_everything_again_from_the_nodes() {
    let server = start("127.0.0.1:0").await;
    assert_eq!(announce(&server, 1).await, 2);
    announce(&server, 2).await;
    let before = look_up(&server, "parcels").await;
    assert_eq!((before.complete, before.leader, before.term), (true, 200, 9));
    assert_eq!((before.table.clone(), before.partition.clone()), (Some(table(TableStatus::Active)), Some(partition())));

    // A stream that stays open does not keep the server from stopping.
    let mut client = server.client().await;
    let mut open = client.lookup(futures::stream::pending::<LookupFrame>()).await.unwrap().into_inner();
    let address = server.kill().await;
    let ended = tokio::time::timeout(DEADLINE, open.next()).await.unwrap();
    assert!(ended.is_none_or(|frame| frame.is_err()));

    let server = start(&address).await;
    let empty = look_up(&server, "parcels").await;
    assert_eq!((empty.complete, empty.table), (false, None));
    announce(&server, 2).await;
    announce(&server, 1).await;
    assert_eq!(look_up(&server, "parcels").await, before);
    server.kill().await;
}

#[tokio::test]
async fn the_control_service_puts_a_table_and_removes_it() {
    let server = start("127.0.0.1:0").await;
    let mut client = server.client().await;
    client.put_table(PutTableRequest { table: table(TableStatus::Creating) }).await.unwrap();
    assert_eq!(look_up(&server, "parcels").await.table, Some(table(TableStatus::Creating)));
    let listed = client.list_tables(ListTablesRequest::default()).await.unwrap().into_inner();
    assert_eq!(listed.names, vec!["parcels".to_owned()]);
    let refused = client.put_table(PutTableRequest { table: Bytes::from_static(b"\xffnonsense") }).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    client.remove_table(RemoveTableRequest { table: TABLE.0 }).await.unwrap();
    announce(&server, 1).await;
    assert_eq!(look_up(&server, "parcels").await.table, None);
    server.kill().await;
}
