//! A node whose disk is blank: it waits, is told who it is, and serves where it waited. And nodes that come back together,
//! with nobody to ask who is where.

use model::{NodeId, TableStatus};
use node::Config;
use node::transport::connector;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Code, Status};
use wire::admin::admin_client::AdminClient;
use wire::admin::{CreateGroupRequest, Directory, FormatRequest, ListGroupsRequest, NodeStatus, StatusRequest};
use wire::data::RequestFrame;
use wire::data::data_client::DataClient;
use wire::raft::Frame;
use wire::raft::raft_client::RaftClient;

use crate::world::{
    Client, PATIENCE, attributes, config, descriptor, eventually, get, is_applied, item_of, put, table, zone,
};

const WAITS: &str = "the disk is blank and waits to be formatted";

/// One node as a process runs it, on an address of its own that it keeps.
struct Process {
    config: Config,
    address: String,
    running: Option<(oneshot::Sender<()>, JoinHandle<anyhow::Result<()>>)>,
    folder: TempDir,
}

impl Process {
    /// On a blank folder. No two tests use one number.
    fn new(number: u8) -> Process {
        // All of 127/8 is this machine; another run of the tests has other addresses.
        let [high, low] = u16::try_from(std::process::id() % (1 << 16)).unwrap().to_be_bytes();
        let at = |port: u16| std::net::SocketAddr::from(([127, high, low, number], port));
        let folder = TempDir::new().unwrap();
        let config = Config {
            format: false,
            listen: at(7400),
            metrics_listen: Some(at(7401)),
            ..config(&folder, usize::from(number), Vec::new())
        };
        Process { config, address: at(7400).to_string(), running: None, folder }
    }

    fn start(&mut self, seeds: &[&str]) {
        let seeds = seeds.iter().map(|seed| (*seed).to_owned()).collect();
        let (stop, stopped) = oneshot::channel::<()>();
        let run = node::run(Config { seeds, ..self.config.clone() }, async move { drop(stopped.await) });
        self.running = Some((stop, tokio::spawn(run)));
    }

    async fn stop(&mut self) {
        let (stop, run) = self.running.take().unwrap();
        stop.send(()).unwrap();
        tokio::time::timeout(PATIENCE, run).await.expect("it stops").unwrap().unwrap();
    }

    async fn admin(&self) -> AdminClient<Channel> {
        AdminClient::new(eventually(async || connector::channel(&self.address).await.ok()).await)
    }

    /// A status of which that is true.
    async fn status(&self, is: impl Fn(&NodeStatus) -> bool) -> NodeStatus {
        eventually(async || {
            let mut admin = AdminClient::new(connector::channel(&self.address).await.ok()?);
            Some(admin.status(StatusRequest {}).await.ok()?.into_inner()).filter(&is)
        })
        .await
    }

    /// Blank, then told who it is.
    async fn format(&self, node: u64) {
        let store = self.status(|status| status.node == 0).await.store;
        self.admin().await.format(FormatRequest { node, store }).await.unwrap();
        self.status(|status| status.ready && status.node == node).await;
    }

    /// The status line's code and the body.
    async fn http(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.config.metrics_listen.unwrap()).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: node\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await;
        read.expect("it answers whole and closes").unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}

/// Formatted, and one group on them.
async fn three(numbers: [u8; 3]) -> [Process; 3] {
    let mut processes = numbers.map(Process::new);
    let seed = processes[0].address.clone();
    for process in &mut processes {
        process.start(&[&seed]);
    }
    for (process, node) in processes.iter().zip(1..) {
        process.format(node).await;
    }
    let group = descriptor(&[NodeId(1), NodeId(2), NodeId(3)]);
    for process in &processes {
        let (descriptor, table) = (group.encode(), table(TableStatus::Active).encode());
        process.admin().await.create_group(CreateGroupRequest { descriptor, table }).await.unwrap();
    }
    processes
}

/// A client of the one that leads.
async fn leader(processes: &[Process]) -> Client {
    eventually(async || {
        for process in processes {
            let asked = process.admin().await.list_groups(ListGroupsRequest { table: 0 }).await;
            if asked.is_ok_and(|answer| answer.into_inner().groups.iter().any(|group| group.serving)) {
                return Some(Client::at(&process.address).await);
            }
        }
        None
    })
    .await
}

fn refused<T>(answer: Result<T, Status>, code: Code, why: &str) {
    let status = answer.err().expect("it is refused");
    assert_eq!(status.code(), code, "{status}");
    assert!(status.message().contains(why), "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blank_node_serves_nothing_until_it_is_told_who_it_is() {
    let mut blank = Process::new(30);
    blank.start(&[]);
    let status = blank.status(|_| true).await;
    assert_eq!((status.node, status.ready, status.accepts_replicas, status.zone), (0, false, false, zone(30)));
    assert!(status.total_bytes > 0 && status.start_number == 1 && !status.version.is_empty());
    assert_eq!(blank.http("/healthz").await, (200, "ok\n".to_owned()));
    assert_eq!(blank.http("/readyz").await, (503, format!("{WAITS}\n")));
    assert!(blank.http("/metrics").await.1.contains("trivet_node_groups 0\n"));
    assert_eq!(blank.http("/").await.0, 404);

    let mut admin = blank.admin().await;
    refused(admin.list_groups(ListGroupsRequest { table: 0 }).await, Code::Unavailable, WAITS);
    refused(admin.create_group(CreateGroupRequest::default()).await, Code::Unavailable, WAITS);
    refused(admin.exchange_directory(Directory::default()).await, Code::Unavailable, WAITS);
    let channel = connector::channel(&blank.address).await.unwrap();
    let requests = tokio_stream::iter([RequestFrame::default()]);
    refused(DataClient::new(channel.clone()).exchange(requests).await, Code::Unavailable, WAITS);
    let frames = tokio_stream::iter([Frame::default()]);
    refused(RaftClient::new(channel).exchange(frames).await, Code::Unavailable, WAITS);

    let store = status.store;
    let found = format!("this disk is store {store:016x}");
    refused(admin.format(FormatRequest { node: 7, store: !store }).await, Code::FailedPrecondition, &found);
    refused(admin.format(FormatRequest { node: 0, store }).await, Code::InvalidArgument, "node 0");
    assert_eq!(blank.status(|_| true).await.node, 0);

    // Same address, same process.
    blank.format(7).await;
    assert_eq!(blank.http("/readyz").await, (200, "ready\n".to_owned()));
    let mut admin = blank.admin().await;
    admin.format(FormatRequest { node: 7, store }).await.unwrap();
    refused(admin.format(FormatRequest { node: 8, store }).await, Code::FailedPrecondition, "belongs to node");
    refused(admin.format(FormatRequest { node: 7, store: !store }).await, Code::FailedPrecondition, &found);
    let groups = admin.list_groups(ListGroupsRequest { table: 0 }).await.unwrap();
    assert!(groups.into_inner().groups.is_empty());

    blank.stop().await;
    blank.start(&[]);
    let again = blank.status(|status| status.ready).await;
    assert_eq!((again.node, again.store, again.start_number), (7, store, 2));
    blank.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blank_node_stops_when_it_is_asked_to_and_is_the_same_disk_again() {
    let mut blank = Process::new(31);
    blank.start(&[]);
    let store = blank.status(|_| true).await.store;
    // Somebody is connected, and idle.
    let _idle = blank.admin().await;
    blank.stop().await;
    blank.start(&[]);
    assert_eq!(blank.status(|_| true).await.store, store);
    blank.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_find_each_other_again_with_dead_seeds_and_no_memds() {
    let mut processes = three([40, 41, 42]).await;
    let epoch = descriptor(&[]).epoch;
    assert!(is_applied(&leader(&processes).await.one(epoch, put("key", "text")).await));
    for process in &mut processes {
        // Not only by who stops in peace.
        let kept = process.folder.path().join("data/directory");
        eventually(async || kept.exists().then_some(())).await;
        process.stop().await;
    }
    for process in &mut processes {
        process.start(&["nobody.invalid:7400", "127.0.0.1:1"]);
    }
    for (process, node) in processes.iter().zip(1..) {
        assert_eq!(process.status(|status| status.ready).await.node, node);
    }
    let client = leader(&processes).await;
    assert_eq!(item_of(client.one(epoch, get("key")).await), Some(attributes("key", "text")));
    let counted = r#"trivet_node_answers_total{operation="get",outcome="ok"} 1"#;
    let mut told = Vec::new();
    for process in &processes {
        told.push(process.http("/metrics").await.1);
    }
    assert_eq!(told.iter().filter(|text| text.lines().any(|line| line == counted)).count(), 1, "{told:#?}");
    for process in &mut processes {
        process.stop().await;
    }
}
