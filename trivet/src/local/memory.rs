//! How the router reaches nodes and MemDS of its own process: the same frames, handed over instead of sent.

use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt, ready};
use futures::stream::{BoxStream, StreamExt};
use memds::server::Handle;
use model::NodeId;
use node::transport::memory::Memory;
use router::routing::connector::{CallError, Connector, Frames, Reply, TonicConnector};
use wire::control::{CreateTableRequest, DeleteTableRequest, TableAnswer, UpdateTableRequest};
use wire::data::{RequestFrame, ResponseFrame};
use wire::memds::{
    ListPartitionsAnswer, ListPartitionsRequest, ListTablesAnswer, ListTablesRequest, LookupAnswerFrame, LookupFrame,
};

/// Nodes and MemDS in memory; the control service, which is rarely asked, over loopback.
pub struct InMemory {
    pub nodes: Arc<Memory>,
    pub memds: Handle,
    pub control: TonicConnector,
}

impl Connector for InMemory {
    fn exchange(
        &self,
        address: &str,
        _: NodeId,
        requests: BoxStream<'static, RequestFrame>,
    ) -> Reply<Frames<ResponseFrame>> {
        let (nodes, address) = (Arc::clone(&self.nodes), address.to_owned());
        async move {
            let answers = nodes.data(&address, requests);
            answers
                .map(StreamExt::boxed)
                .map_err(|error| CallError::NotConnected { address, reason: error.to_string() })
        }
        .boxed()
    }

    fn lookup(&self, _: &str, frames: BoxStream<'static, LookupFrame>) -> Reply<Frames<LookupAnswerFrame>> {
        let memds = self.memds.clone();
        answer(frames.map(move |frame| Ok(memds.lookup(frame))).boxed())
    }

    fn list_tables(&self, _: &str, request: ListTablesRequest) -> Reply<ListTablesAnswer> {
        answer(self.memds.list_tables(&request))
    }

    fn list_partitions(&self, _: &str, request: ListPartitionsRequest) -> Reply<ListPartitionsAnswer> {
        answer(self.memds.list_partitions(&request))
    }

    fn create_table(&self, address: &str, request: CreateTableRequest) -> Reply<TableAnswer> {
        self.control.create_table(address, request)
    }

    fn update_table(&self, address: &str, request: UpdateTableRequest) -> Reply<TableAnswer> {
        self.control.update_table(address, request)
    }

    fn delete_table(&self, address: &str, request: DeleteTableRequest) -> Reply<TableAnswer> {
        self.control.delete_table(address, request)
    }
}

fn answer<T: Send + 'static>(value: T) -> BoxFuture<'static, Result<T, CallError>> {
    ready(Ok(value)).boxed()
}
