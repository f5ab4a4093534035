//! The ways to open a stream to another node.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, Stream};
use model::NodeId;
use tonic::transport::{Channel, Endpoint};
use wire::raft::raft_client::RaftClient;
use wire::raft::{Frame, SnapshotAnswer, SnapshotChunk};
use wire::seal::Seal;
use wire::seal::connect::{self, Line, Whom};

use crate::transport::{CONNECTION_WINDOW_BYTES, DECODE_LIMIT_BYTES, Memory, STREAM_WINDOW_BYTES};

/// Frames on their way out.
pub type Frames = Pin<Box<dyn Stream<Item = Frame> + Send>>;
/// Chunks of a snapshot on their way out.
pub type Chunks = Pin<Box<dyn Stream<Item = SnapshotChunk> + Send>>;

/// A node that does not answer a connection attempt for so long is down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// An idle stream is probed so often, so that a silently vanished node is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// Why a stream could not be opened, or ended.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("{0:?} is not an address")]
    Address(String),
    #[error("no node at {0}")]
    Nobody(String),
    #[error("cannot connect")]
    Connect(#[source] tonic::transport::Error),
    #[error("the other node ended the stream: {0}")]
    Ended(String),
}

/// How to reach an address.
#[derive(Clone)]
pub enum Connector {
    Tonic,
    /// The same, by mutual TLS.
    Sealed(Seal),
    /// Nodes of this process, by the address they advertise.
    Memory(Arc<Memory>),
}

/// A stream that stands.
pub struct Standing {
    /// Resolves when it has ended.
    pub end: BoxFuture<'static, LinkError>,
    /// Resolves when it is better to connect anew.
    pub loosened: BoxFuture<'static, ()>,
}

/// A plain channel, to whoever listens there.
pub async fn channel(address: &str) -> Result<Channel, LinkError> {
    line(address, None, Whom::AnyNode).await.map(|line| line.channel)
}

/// A gRPC channel with this project's windows.
pub async fn line(address: &str, seal: Option<&Seal>, whom: Whom) -> Result<Line, LinkError> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|_malformed| LinkError::Address(address.to_owned()))?
        .connect_timeout(CONNECT_TIMEOUT)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true);
    connect::connect(endpoint, seal, whom).boxed().await.map_err(LinkError::Connect)
}

impl Connector {
    /// The same way, by the seal that the process has.
    pub fn sealed(self, seal: Option<&Seal>) -> Connector {
        match (self, seal) {
            (Connector::Tonic, Some(seal)) => Connector::Sealed(seal.clone()),
            (plain, None) => plain,
            (other @ (Connector::Sealed(_) | Connector::Memory(_)), Some(_)) => other,
        }
    }

    pub fn seal(&self) -> Option<&Seal> {
        match self {
            Connector::Sealed(seal) => Some(seal),
            Connector::Tonic | Connector::Memory(_) => None,
        }
    }

    /// Opens the stream. Frames are taken once there is a connection.
    pub async fn exchange(
        self,
        address: String,
        node: NodeId,
        frames: impl FnOnce() -> Frames + Send,
    ) -> Result<Standing, LinkError> {
        match self {
            Connector::Memory(memory) => {
                let end = memory.exchange(&address, frames())?;
                Ok(Standing { end, loosened: std::future::pending().boxed() })
            }
            Connector::Tonic | Connector::Sealed(_) => {
                let line = line(&address, self.seal(), Whom::Node(node)).boxed().await?;
                let loosened = line.loosened();
                let mut client = RaftClient::new(line.channel);
                let answer = client.exchange(frames()).boxed().await.map_err(|status| ended(&status))?;
                let mut answers = answer.into_inner();
                let end = async move {
                    // The client is kept as long as its stream.
                    let _client = client;
                    loop {
                        match answers.message().await {
                            Ok(Some(_)) => (),
                            Ok(None) => return LinkError::Ended("it has stopped".to_owned()),
                            Err(status) => return ended(&status),
                        }
                    }
                };
                Ok(Standing { end: end.boxed(), loosened })
            }
        }
    }

    pub async fn send_snapshot(
        self,
        address: String,
        node: NodeId,
        chunks: Chunks,
    ) -> Result<SnapshotAnswer, LinkError> {
        match self {
            Connector::Memory(memory) => {
                let answer = memory.send_snapshot(&address, chunks)?;
                answer.await.map_err(|status| ended(&status))
            }
            Connector::Tonic | Connector::Sealed(_) => {
                let line = line(&address, self.seal(), Whom::Node(node)).boxed().await?;
                let mut client = RaftClient::new(line.channel).max_decoding_message_size(DECODE_LIMIT_BYTES);
                let answer = client.send_snapshot(chunks).boxed().await.map_err(|status| ended(&status))?;
                Ok(answer.into_inner())
            }
        }
    }
}

fn ended(status: &tonic::Status) -> LinkError {
    LinkError::Ended(status.to_string())
}
