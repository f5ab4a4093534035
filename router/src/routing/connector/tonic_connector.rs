//! Connections by tonic.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use futures::stream::{self, BoxStream, Stream, StreamExt};
use model::NodeId;
use tonic::Status;
use tonic::transport::Endpoint;
use wire::control::control_client::ControlClient;
use wire::control::{CreateTableRequest, DeleteTableRequest, TableAnswer, UpdateTableRequest};
use wire::data::data_client::DataClient;
use wire::data::{RequestFrame, ResponseFrame};
use wire::memds::mem_ds_client::MemDsClient;
use wire::memds::{
    ListPartitionsAnswer, ListPartitionsRequest, ListTablesAnswer, ListTablesRequest, LookupAnswerFrame, LookupFrame,
};
use wire::seal::Seal;
use wire::seal::connect::{self, Line, Whom};

use super::{CallError, Connector, Frames, Reply};

/// A node answers a connection at once or is not there; another replica is asked then.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How soon a silent connection is asked whether it lives, and how long it may take to say so. A machine that loses power answers nothing,
/// and a write that is under way to it is nowhere else until then: both together, with an election that is over before, must stay well below
/// the three seconds that a client is promised. A node that others keep from its processor has longer to answer than replicas wait for a leader.
const ASKED_AFTER: Duration = Duration::from_millis(500);
const ANSWERED_WITHIN: Duration = Duration::from_millis(1_500);

/// Pages of 1 MB come in frames of several.
const FRAME_BYTES_MAX: usize = 64 << 20;

/// Every call opens its own connection: streams live long, and unary calls are rare.
#[derive(Clone, Debug, Default)]
pub struct TonicConnector {
    /// None where everything is plain.
    pub seal: Option<Seal>,
}

fn not_connected(address: &str, error: &tonic::transport::Error) -> CallError {
    let reason = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    CallError::NotConnected { address: address.to_owned(), reason }
}

fn endpoint(address: &str) -> Result<Endpoint, CallError> {
    let endpoint =
        Endpoint::from_shared(format!("http://{address}")).map_err(|error| not_connected(address, &error))?;
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .initial_stream_window_size(8 << 20)
        .initial_connection_window_size(16 << 20)
        .http2_keep_alive_interval(ASKED_AFTER)
        .keep_alive_timeout(ANSWERED_WITHIN)
        .keep_alive_while_idle(true))
}

/// Boxed: the compiler loses `Send` where this future lies within those of generated clients.
fn connect(seal: Option<Seal>, address: String, whom: Whom) -> Reply<Line> {
    async move {
        let connected = connect::connect(endpoint(&address)?, seal.as_ref(), whom).await;
        connected.map_err(|error| not_connected(&address, &error))
    }
    .boxed()
}

/// A node's answers. Where it is better to connect anew, that is said as a node says that it stops: nothing more leaves by this
/// stream, and what has left is answered.
fn until_loosened(
    answers: impl Stream<Item = Result<ResponseFrame, Status>> + Send + 'static,
    loosened: BoxFuture<'static, ()>,
) -> Frames<ResponseFrame> {
    let word = loosened.map(|()| Some(Ok(ResponseFrame { responses: Vec::new(), stopping: true })));
    let answers = answers.map(Some).chain(stream::once(std::future::ready(None)));
    let frames = stream::select(answers.boxed(), stream::once(word).boxed());
    frames.scan((), |(), frame| std::future::ready(frame)).boxed()
}

/// A stream with a name: without one the compiler cannot prove the clients' futures `Send`.
struct Outgoing<T>(BoxStream<'static, T>);

impl<T> Stream for Outgoing<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.as_mut().poll_next(context)
    }
}

impl TonicConnector {
    fn line(&self, address: &str, whom: Whom) -> Reply<Line> {
        connect(self.seal.clone(), address.to_owned(), whom)
    }
}

impl Connector for TonicConnector {
    fn exchange(
        &self,
        address: &str,
        node: NodeId,
        requests: BoxStream<'static, RequestFrame>,
    ) -> Reply<Frames<ResponseFrame>> {
        let line = self.line(address, Whom::Node(node));
        async move {
            let line = line.await?;
            let loosened = line.loosened();
            let mut client = DataClient::new(line.channel)
                .max_decoding_message_size(FRAME_BYTES_MAX)
                .max_encoding_message_size(FRAME_BYTES_MAX);
            let answers = client.exchange(Outgoing(requests)).await.map_err(CallError::Refused)?;
            Ok(until_loosened(answers.into_inner(), loosened))
        }
        .boxed()
    }

    fn lookup(&self, address: &str, frames: BoxStream<'static, LookupFrame>) -> Reply<Frames<LookupAnswerFrame>> {
        let line = self.line(address, Whom::MemDs);
        async move {
            let line = line.await?;
            let loosened = line.loosened();
            let mut client = MemDsClient::new(line.channel).max_decoding_message_size(FRAME_BYTES_MAX);
            let answers = client.lookup(Outgoing(frames)).await.map_err(CallError::Refused)?;
            // What is not answered by then is asked again.
            Ok(answers.into_inner().take_until(loosened).boxed())
        }
        .boxed()
    }

    fn list_tables(&self, address: &str, request: ListTablesRequest) -> Reply<ListTablesAnswer> {
        let line = self.line(address, Whom::MemDs);
        async move {
            let mut client = MemDsClient::new(line.await?.channel).max_decoding_message_size(FRAME_BYTES_MAX);
            Ok(client.list_tables(request).await.map_err(CallError::Refused)?.into_inner())
        }
        .boxed()
    }

    fn list_partitions(&self, address: &str, request: ListPartitionsRequest) -> Reply<ListPartitionsAnswer> {
        let line = self.line(address, Whom::MemDs);
        async move {
            let mut client = MemDsClient::new(line.await?.channel).max_decoding_message_size(FRAME_BYTES_MAX);
            Ok(client.list_partitions(request).await.map_err(CallError::Refused)?.into_inner())
        }
        .boxed()
    }

    fn create_table(&self, address: &str, request: CreateTableRequest) -> Reply<TableAnswer> {
        let line = self.line(address, Whom::Control);
        async move {
            let mut client = ControlClient::new(line.await?.channel);
            Ok(client.create_table(request).await.map_err(CallError::Refused)?.into_inner())
        }
        .boxed()
    }

    fn update_table(&self, address: &str, request: UpdateTableRequest) -> Reply<TableAnswer> {
        let line = self.line(address, Whom::Control);
        async move {
            let mut client = ControlClient::new(line.await?.channel);
            Ok(client.update_table(request).await.map_err(CallError::Refused)?.into_inner())
        }
        .boxed()
    }

    fn delete_table(&self, address: &str, request: DeleteTableRequest) -> Reply<TableAnswer> {
        let line = self.line(address, Whom::Control);
        async move {
            let mut client = ControlClient::new(line.await?.channel);
            Ok(client.delete_table(request).await.map_err(CallError::Refused)?.into_inner())
        }
        .boxed()
    }
}
