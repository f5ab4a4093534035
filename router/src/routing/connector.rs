//! How routing reaches others: over tonic, or in memory where everything is one process.
//!
//! The seam is the protocol's frames, not bytes: whoever stands on the other side sees the same frames either way.

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use model::NodeId;
use tonic::Status;
use wire::control::{CreateTableRequest, DeleteTableRequest, TableAnswer, UpdateTableRequest};
use wire::data::{RequestFrame, ResponseFrame};
use wire::memds::{
    ListPartitionsAnswer, ListPartitionsRequest, ListTablesAnswer, ListTablesRequest, LookupAnswerFrame, LookupFrame,
};

mod tonic_connector;

pub use tonic_connector::TonicConnector;

/// Frames of the other side, until the stream breaks.
pub type Frames<T> = BoxStream<'static, Result<T, Status>>;

/// What an address answers, or that there was no way to it.
pub type Reply<T> = BoxFuture<'static, Result<T, CallError>>;

/// Why a call has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// Surely not sent.
    #[error("no connection to {address}: {reason}")]
    NotConnected { address: String, reason: String },
    #[error("refused with {0}")]
    Refused(Status),
}

pub trait Connector: Send + Sync + 'static {
    /// Opens a stream of operations to a node.
    fn exchange(
        &self,
        address: &str,
        node: NodeId,
        requests: BoxStream<'static, RequestFrame>,
    ) -> Reply<Frames<ResponseFrame>>;

    /// Opens a stream of look-ups to a MemDS server.
    fn lookup(&self, address: &str, frames: BoxStream<'static, LookupFrame>) -> Reply<Frames<LookupAnswerFrame>>;

    fn list_tables(&self, address: &str, request: ListTablesRequest) -> Reply<ListTablesAnswer>;

    fn list_partitions(&self, address: &str, request: ListPartitionsRequest) -> Reply<ListPartitionsAnswer>;

    fn create_table(&self, address: &str, request: CreateTableRequest) -> Reply<TableAnswer>;

    fn update_table(&self, address: &str, request: UpdateTableRequest) -> Reply<TableAnswer>;

    fn delete_table(&self, address: &str, request: DeleteTableRequest) -> Reply<TableAnswer>;
}
