//! Connections by tonic.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::FutureExt;
use futures::stream::{BoxStream, Stream, StreamExt};
use tonic::transport::{Channel, Endpoint};
use wire::control::control_client::ControlClient;
use wire::control::{CreateTableRequest, DeleteTableRequest, TableAnswer, UpdateTableRequest};
use wire::data::data_client::DataClient;
use wire::data::{RequestFrame, ResponseFrame};
use wire::memds::mem_ds_client::MemDsClient;
use wire::memds::{
    ListPartitionsAnswer, ListPartitionsRequest, ListTablesAnswer, ListTablesRequest, LookupAnswerFrame, LookupFrame,
};

use super::{CallError, Connector, Frames, Reply};

/// A node answers a connection at once or is not there; another replica is asked then.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How soon a silent connection is asked whether it lives, and how long it may take to say so.
const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// Pages of 1 MB come in frames of several.
const FRAME_BYTES_MAX: usize = 64 << 20;

/// Every call opens its own connection: streams live long, and unary calls are rare.
#[derive(Clone, Copy, Debug, Default)]
pub struct TonicConnector {}

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
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true))
}

/// Boxed: the compiler loses `Send` where this future lies within those of generated clients.
fn connect(address: String) -> Reply<Channel> {
    async move {
        let connected = endpoint(&address)?.connect().await;
        connected.map_err(|error| not_connected(&address, &error))
    }
    .boxed()
}

/// A stream with a name: without one the compiler cannot prove the clients' futures `Send`.
struct Outgoing<T>(BoxStream<'static, T>);

impl<T> Stream for Outgoing<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.as_mut().poll_next(context)
    }
}

impl Connector for TonicConnector {
    fn exchange(&self, address: &str, requests: BoxStream<'static, RequestFrame>) -> Reply<Frames<ResponseFrame>> {
        let address = address.to_owned();
        async move {
            let mut client = DataClient::new(connect(address).await?)
                .max_decoding_message_size(FRAME_BYTES_MAX)
                .max_encoding_message_size(FRAME_BYTES_MAX);
            let answers = client.exchange(Outgoing(requests)).await.map_err(CallError::Refused)?;
            Ok(answers.into_inner().boxed())
        }
        .boxed()
    }

    fn lookup(&self, address: &str, frames: BoxStream<'static, LookupFrame>) -> Reply<Frames<LookupAnswerFrame>> {
        let address = address.to_owned();
        async move {
            let mut client = MemDsClient::new(connect(address).await?).max_decoding_message_size(FRAME_BYTES_MAX);
            let answers = client.lookup(Outgoing(frames)).await.map_err(CallError::Refused)?;
            Ok(answers.into_inner().boxed())
        }
        .boxed()
    }

    fn list_tables(&self, address: &str, request: ListTablesRequest) -> Reply<ListTablesAnswer> {
        let address = address.to_owned();
        async move {
            let mut client = MemDsClient::new(connect(address).await?).max_decoding_message_size(FRAME_BYTES_MAX);
            Ok(client.list_tables(request).await.map_err(CallError::Refused)?.into_inner())
        }
        .boxed()
    }

    fn list_partitions(&self, address: &str, request: ListPartitionsRequest) -> Reply<ListPartitionsAnswer> {
        let address = address.to_owned();
        async move {
            let mut client = MemDsClient::new(connect(address).await?).max_decoding_message_size(FRAME_BYTES_MAX);
            Ok(client.list_partitions(request).await.map_err(CallError::Refused)?.into_inner())
        }
        .boxed()
    }

    fn create_table(&self, address: &str, request: CreateTableRequest) -> Reply<TableAnswer> {
        let address = address.to_owned();
        async move {
            let mut client = ControlClient::new(connect(address).await?);
            Ok(client.create_table(request).await.map_err(CallError::Refused)?.into_inner())
        }
        .boxed()
    }

    fn update_table(&self, address: &str, request: UpdateTableRequest) -> Reply<TableAnswer> {
        let address = address.to_owned();
        async move {
            let mut client = ControlClient::new(connect(address).await?);
            Ok(client.update_table(request).await.map_err(CallError::Refused)?.into_inner())
        }
        .boxed()
    }

    fn delete_table(&self, address: &str, request: DeleteTableRequest) -> Reply<TableAnswer> {
        let address = address.to_owned();
        async move {
            let mut client = ControlClient::new(connect(address).await?);
            Ok(client.delete_table(request).await.map_err(CallError::Refused)?.into_inner())
        }
        .boxed()
    }
}
