//! A server whose metrics can be read, and a client that says what it likes.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use clap::Parser;
use prometheus::Registry;
use router::config::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::memory::Memory;

/// Within this everything must have happened that a test waits for.
pub const DEADLINE: Duration = Duration::from_secs(60);

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    config: Config,
}

/// A running server with the table `Music`; it stops when this is dropped.
pub struct Server {
    pub address: SocketAddr,
    registry: Registry,
    _stop: oneshot::Sender<()>,
}

impl Server {
    pub async fn start(flags: &[&str]) -> Server {
        let flags = ["router", "--no-auth"].iter().chain(flags);
        let Flags { config } = Flags::parse_from(flags);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let registry = Registry::new();
        let served = registry.clone();
        tokio::spawn(async move {
            let shutdown = async { drop(stopped.await) };
            router::server::serve(&config, Memory::default(), &served, listener, None, shutdown).await.unwrap();
        });
        let server = Server { address, registry, _stop: stop };
        let create = r#"{"TableName":"Music","KeySchema":[{"AttributeName":"Artist","KeyType":"HASH"}],
            "AttributeDefinitions":[{"AttributeName":"Artist","AttributeType":"S"}],"BillingMode":"PAY_PER_REQUEST"}"#;
        server.serves("CreateTable", create).await;
        server
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// A request that must be answered with 200, on a connection of its own.
    pub async fn serves(&self, operation: &str, body: &str) -> String {
        let answer = self.answer(&request(operation, body)).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{operation}: {answer}");
        answer
    }

    /// What a client hears that says `bytes` and waits until the server closes.
    pub async fn answer(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        until_closed(&mut stream).await
    }

    /// How many connections the server has.
    pub fn open(&self) -> usize {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == "trivet_router_connections").unwrap();
        usize::try_from(whole(family.get_metric()[0].get_gauge().get_value())).unwrap()
    }

    /// How many connections the server closed for `reason`.
    pub fn closed(&self, reason: &str) -> u64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == "trivet_router_connections_closed_total");
        let metrics = family.map(|family| family.get_metric()).unwrap_or_default();
        let of_reason = metrics.iter().filter(|metric| metric.get_label().iter().any(|label| label.value() == reason));
        of_reason.map(|metric| whole(metric.get_counter().get_value())).sum()
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a counter of few things")]
fn whole(value: f64) -> u64 {
    value as u64
}

/// A whole request, after which the server is to close.
pub fn request(operation: &str, body: &str) -> Vec<u8> {
    [head(operation, body.len(), "connection: close\r\n").as_bytes(), body.as_bytes()].concat()
}

pub fn head(operation: &str, length: usize, more: &str) -> String {
    format!(
        "POST / HTTP/1.1\r\nhost: here\r\n{more}x-amz-target: DynamoDB_20120810.{operation}\r\n\
         content-type: application/x-amz-json-1.0\r\ncontent-length: {length}\r\n\r\n"
    )
}

/// Everything that still comes, until the server closes in whatever way.
pub async fn until_closed(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut bytes)).await;
    drop(read.expect("the server closes the connection in time"));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Waits until `holds`.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < until, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
