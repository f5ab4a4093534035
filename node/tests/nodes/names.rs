//! Names in DNS as seeds and as MemDS: of several addresses, and of none.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures::{Stream, StreamExt};
use node::transport::Connector;
use node::{Config, Node};
use tempfile::TempDir;
use tonic::{Request, Response, Status, Streaming};
use wire::memds::mem_ds_server::{MemDs, MemDsServer};
use wire::memds::{
    Announcement, AnnouncementAnswer, ListPartitionsAnswer, ListPartitionsRequest, ListTablesAnswer, ListTablesRequest,
    LookupAnswerFrame, LookupFrame, PutTableAnswer, PutTableRequest, RemoveTableAnswer, RemoveTableRequest,
};

use crate::world::{config, eventually};

fn port(node: &Node) -> u16 {
    node.address().parse::<SocketAddr>().unwrap().port()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_finds_the_node_behind_it_and_one_without_addresses_holds_nobody_up() {
    let folders = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let first = Node::start(config(&folders[0], 0, Vec::new()), Connector::Tonic).unwrap();
    let seeds = vec!["nobody.invalid:7400".to_owned(), format!("localhost:{}", port(&first))];
    let second = Node::start(config(&folders[1], 1, seeds), Connector::Tonic).unwrap();
    eventually(async || {
        let known = |of: &Node, other: &Node| of.neighbours().views().iter().any(|view| view.id == other.id());
        (known(&first, &second) && known(&second, &first)).then_some(())
    })
    .await;
}

/// Notes at which of its addresses nodes announce themselves.
#[derive(Clone)]
struct Noting {
    address: SocketAddr,
    heard: Arc<Mutex<BTreeSet<SocketAddr>>>,
}

#[tonic::async_trait]
impl MemDs for Noting {
    type AnnounceStream = Pin<Box<dyn Stream<Item = Result<AnnouncementAnswer, Status>> + Send>>;
    type LookupStream = Pin<Box<dyn Stream<Item = Result<LookupAnswerFrame, Status>> + Send>>;

    async fn announce(
        &self,
        request: Request<Streaming<Announcement>>,
    ) -> Result<Response<Self::AnnounceStream>, Status> {
        let Noting { address, heard } = self.clone();
        let answers = request.into_inner().map(move |frame| {
            frame.map(|_announcement| {
                heard.lock().unwrap().insert(address);
                AnnouncementAnswer::default()
            })
        });
        Ok(Response::new(answers.boxed()))
    }

    async fn lookup(&self, _request: Request<Streaming<LookupFrame>>) -> Result<Response<Self::LookupStream>, Status> {
        Err(Status::unimplemented("only announcements are heard here"))
    }

    async fn list_tables(&self, _request: Request<ListTablesRequest>) -> Result<Response<ListTablesAnswer>, Status> {
        Err(Status::unimplemented("only announcements are heard here"))
    }

    async fn list_partitions(
        &self,
        _request: Request<ListPartitionsRequest>,
    ) -> Result<Response<ListPartitionsAnswer>, Status> {
        Err(Status::unimplemented("only announcements are heard here"))
    }

    async fn put_table(&self, _request: Request<PutTableRequest>) -> Result<Response<PutTableAnswer>, Status> {
        Err(Status::unimplemented("only announcements are heard here"))
    }

    async fn remove_table(&self, _request: Request<RemoveTableRequest>) -> Result<Response<RemoveTableAnswer>, Status> {
        Err(Status::unimplemented("only announcements are heard here"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_memds_server_behind_a_name_hears_of_a_node() {
    // As many servers as this machine's own name has addresses: often two.
    let first = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = first.local_addr().unwrap().port();
    let mut listeners = vec![first];
    for address in tokio::net::lookup_host(("localhost", port)).await.unwrap() {
        listeners.extend(tokio::net::TcpListener::bind(address).await.ok());
    }
    let heard: Arc<Mutex<BTreeSet<SocketAddr>>> = Arc::default();
    let mut servers = BTreeSet::new();
    for listener in listeners {
        let address = listener.local_addr().unwrap();
        servers.insert(address);
        let memds = Noting { address, heard: Arc::clone(&heard) };
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        tokio::spawn(wire::door::server().add_service(MemDsServer::new(memds)).serve_with_incoming(incoming));
    }
    let folder = TempDir::new().unwrap();
    let memds = vec!["nobody.invalid:7500".to_owned(), format!("localhost:{port}")];
    let _node = Node::start(Config { memds, ..config(&folder, 0, Vec::new()) }, Connector::Tonic).unwrap();
    eventually(async || (*heard.lock().unwrap() == servers).then_some(())).await;
}
