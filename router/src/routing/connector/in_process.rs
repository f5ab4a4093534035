//! Nodes and MemDS of this process, reached without sockets; the control service is rare and keeps its own.

use futures::future;
use futures::stream::{BoxStream, StreamExt};
use wire::control::{CreateTableRequest, DeleteTableRequest, TableAnswer, UpdateTableRequest};
use wire::data::{RequestFrame, ResponseFrame};
use wire::memds::{
    ListPartitionsAnswer, ListPartitionsRequest, ListTablesAnswer, ListTablesRequest, LookupAnswerFrame, LookupFrame,
};

use super::{CallError, Connector, Frames, Reply, TonicConnector};

/// Opens the stream to the node at an address of this process; `Err` says why there is none.
pub type OpenNode =
    Box<dyn Fn(&str, BoxStream<'static, RequestFrame>) -> Result<Frames<ResponseFrame>, String> + Send + Sync>;

pub struct InProcess {
    pub open_node: OpenNode,
    /// Answers whatever MemDS address is asked.
    pub memds: memds::Handle,
    pub control: TonicConnector,
}

impl Connector for InProcess {
    fn exchange(&self, address: &str, requests: BoxStream<'static, RequestFrame>) -> Reply<Frames<ResponseFrame>> {
        let opened = (self.open_node)(address, requests);
        let address = address.to_owned();
        Box::pin(future::ready(opened.map_err(|reason| CallError::NotConnected { address, reason })))
    }

    fn lookup(&self, _address: &str, frames: BoxStream<'static, LookupFrame>) -> Reply<Frames<LookupAnswerFrame>> {
        let memds = self.memds.clone();
        Box::pin(future::ready(Ok(frames.map(move |frame| Ok(memds.lookup(frame))).boxed())))
    }

    fn list_tables(&self, _address: &str, request: ListTablesRequest) -> Reply<ListTablesAnswer> {
        Box::pin(future::ready(Ok(self.memds.list_tables(&request))))
    }

    fn list_partitions(&self, _address: &str, request: ListPartitionsRequest) -> Reply<ListPartitionsAnswer> {
        Box::pin(future::ready(Ok(self.memds.list_partitions(&request))))
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
