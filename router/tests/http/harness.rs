//! A server on a free port, and two ways to talk to it.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region, retry::RetryConfig};
use clap::Parser;
use router::config::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::memory::Memory;
use crate::signature::{ACCESS_KEY, REGION, SECRET_KEY};

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    config: Config,
}

/// How long an answer may take on a busy machine.
const ANSWERED_WITHIN: Duration = Duration::from_secs(60);

/// A running server; it stops when this is dropped.
pub struct Server {
    pub backend: Memory,
    pub address: std::net::SocketAddr,
    registry: prometheus::Registry,
    _stop: oneshot::Sender<()>,
}

/// An answer as it came over the wire.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Server {
    /// With credentials.
    pub async fn signed() -> Server {
        Server::start(&["--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY, "--region", REGION]).await
    }

    /// Without.
    pub async fn open() -> Server {
        Server::start(&["--no-auth", "--region", REGION]).await
    }

    pub async fn start(flags: &[&str]) -> Server {
        let Flags { config } = Flags::parse_from(std::iter::once(&"router").chain(flags));
        let backend = Memory::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let (served, registry) = (backend.clone(), prometheus::Registry::new());
        let counted = registry.clone();
        tokio::spawn(async move {
            let shutdown = async { drop(stopped.await) };
            router::server::serve(&config, served, &counted, listener, None, shutdown).await.unwrap();
        });
        Server { backend, address, registry, _stop: stop }
    }

    /// Looks at a credentials file that could not be used.
    pub fn refused_credentials(&self) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == "trivet_router_credentials_refused_total").unwrap();
        family.get_metric()[0].get_counter().get_value()
    }

    pub fn client(&self) -> Client {
        self.client_with(ACCESS_KEY, SECRET_KEY)
    }

    pub fn client_with(&self, access_key: &str, secret_key: &str) -> Client {
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .endpoint_url(format!("http://{}", self.address))
            .credentials_provider(Credentials::new(access_key, secret_key, None, None, "tests"))
            .retry_config(RetryConfig::disabled())
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .build();
        Client::from_conf(config)
    }

    /// Sends one request as it stands and reads until the server closes.
    pub async fn raw(&self, request: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut bytes = Vec::new();
        let read = tokio::time::timeout(ANSWERED_WITHIN, stream.read_to_end(&mut bytes)).await;
        read.expect("the server neither answers whole nor closes").unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
        Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    /// Posts `body` to `operation`, unsigned.
    pub async fn post(&self, operation: &str, body: &str) -> Answer {
        let length = body.len();
        let request = format!(
            "POST / HTTP/1.1\r\nhost: here\r\nconnection: close\r\nx-amz-target: DynamoDB_20120810.{operation}\r\n\
             content-type: application/x-amz-json-1.0\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        self.raw(request.as_bytes()).await
    }

    /// Posts, and expects the answer's body to be `expected`.
    pub async fn expect(&self, operation: &str, body: &str, expected: &str) {
        let answer = self.post(operation, body).await;
        assert_eq!(answer.body, expected, "{operation} {body}");
        let status = if expected.starts_with(r#"{"__type""#) { 400 } else { 200 };
        assert_eq!(answer.status, status, "{operation} {body}");
    }

    /// Posts, and expects a ValidationException.
    pub async fn expect_invalid(&self, operation: &str, body: &str, sentence: &str) {
        let sentence = sentence.replace('"', "\\\"");
        let expected =
            format!(r#"{{"__type":"com.amazon.coral.validate#ValidationException","message":"{sentence}"}}"#);
        self.expect(operation, body, &expected).await;
    }

    /// Posts, and expects a SerializationException.
    pub async fn expect_unserializable(&self, operation: &str, body: &str, sentence: &str) {
        let expected =
            format!(r#"{{"__type":"com.amazon.coral.service#SerializationException","Message":"{sentence}"}}"#);
        self.expect(operation, body, &expected).await;
    }
}

/// A table `Music` with the partition key `Artist` and the sort key `Song`, both texts.
pub const CREATE_MUSIC: &str = r#"{"TableName":"Music",
    "AttributeDefinitions":[{"AttributeName":"Artist","AttributeType":"S"},{"AttributeName":"Song","AttributeType":"S"}],
    "KeySchema":[{"AttributeName":"Artist","KeyType":"HASH"},{"AttributeName":"Song","KeyType":"RANGE"}],
    "BillingMode":"PAY_PER_REQUEST"}"#;

/// An open server with the table `Music`.
pub async fn with_music() -> Server {
    let server = Server::open().await;
    let answer = server.post("CreateTable", CREATE_MUSIC).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    server
}
