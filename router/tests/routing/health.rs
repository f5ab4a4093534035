//! What probes and scrapers see of a router: from its start, through the loss of the map, to its end.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use clap::Parser;
use model::TableStatus;
use router::config::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::world::{Act, World, got, partition};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    config: Config,
}

/// Where it is.
#[derive(Clone, Copy)]
struct Router {
    address: SocketAddr,
    metrics: SocketAddr,
}

/// It goes on until it is stopped, or this is dropped.
struct Running {
    stop: oneshot::Sender<()>,
    serving: JoinHandle<anyhow::Result<()>>,
}

impl Router {
    async fn start(world: &World) -> (Router, Running) {
        // Free a moment ago, and nobody else's since this machine has all of 127/8.
        let [high, low] = u16::try_from(std::process::id() % (1 << 16)).unwrap().to_be_bytes();
        let metrics = std::net::TcpListener::bind(SocketAddr::from(([127, high, low, 60], 0))).unwrap();
        let metrics = metrics.local_addr().unwrap();
        let told = metrics.to_string();
        let flags = ["router", "--no-auth", "--operation-deadline-ms", "1500", "--metrics-listen", &told];
        let Flags { config } = Flags::parse_from(flags);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let routing = world.routing.clone();
        let serving = tokio::spawn(async move {
            let registry = prometheus::Registry::new();
            let shutdown = async { drop(stopped.await) };
            router::server::serve(&config, routing, &registry, listener, None, shutdown).await
        });
        (Router { address, metrics }, Running { stop, serving })
    }

    /// Until that is what `/readyz` says.
    async fn says(&self, wanted: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = http(self.metrics, "GET /readyz HTTP/1.1\r\nhost: here\r\n\r\n").await;
            if said.as_deref() == Some(wanted) {
                return;
            }
            assert!(Instant::now() < deadline, "{said:?} instead of {wanted:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn get(self) -> Option<String> {
        let body = r#"{"TableName":"readings","Key":{"sensor":{"S":"k"}},"ConsistentRead":true}"#;
        let length = body.len();
        let head = "POST / HTTP/1.1\r\nhost: here\r\nconnection: close\r\nx-amz-target: DynamoDB_20120810.GetItem\r\n";
        let head = format!("{head}content-type: application/x-amz-json-1.0\r\ncontent-length: {length}\r\n\r\n{body}");
        http(self.address, &head).await
    }
}

/// The status and the body; none if nobody is there.
async fn http(address: SocketAddr, request: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some(format!("{} {}", head.split(' ').nth(1)?, body.trim_end()))
}

#[tokio::test]
async fn a_router_is_ready_once_the_map_has_answered_and_stays_so() {
    let mut world = World::start().await;
    let (router, _running) = Router::start(&world).await;
    // Nodes have told the map nothing yet.
    router.says("503 the partition map has not answered yet").await;
    assert_eq!(http(router.metrics, "GET /healthz HTTP/1.1\r\n\r\n").await.as_deref(), Some("200 ok"));
    world.announce(TableStatus::Active, &[(partition(20, "", None, 7), 1, 4)]);
    router.says("200 ready").await;
    world.node(1).acts(|_| got("not an item, and so a failure"));
    router.get().await.unwrap();
    world.kill_memds().await;
    router.says("200 ready").await;
    let metrics = http(router.metrics, "GET /metrics HTTP/1.1\r\n\r\n").await.unwrap();
    let counted = r#"trivet_router_answers_total{operation="GetItem",outcome="service_error",table="readings"} 1"#;
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test]
async fn a_router_that_stops_says_so_and_ends_what_is_under_way() {
    let world = World::with_one_partition().await;
    world.node(1).acts(|_| Act::Hold);
    let (router, Running { stop, serving }) = Router::start(&world).await;
    router.says("200 ready").await;
    let asked = tokio::spawn(router.get());
    let deadline = Instant::now() + PATIENCE;
    while world.node(1).seen().is_empty() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stop.send(()).unwrap();
    router.says("503 the router stops").await;
    assert!(TcpStream::connect(router.address).await.is_err(), "it takes nobody in");
    let answer = asked.await.unwrap().expect("what was under way is answered");
    assert!(answer.starts_with("500 "), "{answer}");
    serving.await.unwrap().unwrap();
    assert!(TcpStream::connect(router.metrics).await.is_err());
}
