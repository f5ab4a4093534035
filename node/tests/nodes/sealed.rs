//! Nodes with a certificate: each speaks for itself alone, and takes no other identity.

use std::fs;
use std::path::Path;

use futures::StreamExt;
use model::NodeId;
use node::transport::{Connector, connector};
use node::{Config, Node};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tonic::transport::Channel;
use tonic::{Code, Status};
use wire::admin::admin_client::AdminClient;
use wire::admin::{FormatRequest, RecoverGroupRequest, StatusRequest};
use wire::raft::raft_client::RaftClient;
use wire::raft::snapshot_chunk::Part;
use wire::raft::{Frame, SnapshotChunk, SnapshotHeader};
use wire::seal::connect::Whom;
use wire::seal::{Pem, Seal};

use crate::authority::{Authority, Files};
use crate::world::{config, eventually};

fn uri(role: &str) -> String {
    format!("spiffe://trivet/shop/music/{role}")
}

fn node_role(node: u64) -> String {
    format!("node/{node:016x}")
}

fn write(files: &Files, folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    for (name, text) in [("ca.crt", &files.ca), ("tls.crt", &files.certificate), ("tls.key", &files.key)] {
        fs::write(folder.join(name), text).unwrap();
    }
}

fn seal(authority: &Authority, role: &str) -> Seal {
    let Files { ca, certificate, key } = authority.files(&uri(role));
    Seal::from_pem(Pem { ca: ca.into(), certificate: certificate.into(), key: key.into() }).unwrap()
}

/// A folder whose process has this role's certificate.
fn sealed(authority: &Authority, role: &str, folder: &TempDir) -> Config {
    let tls = folder.path().join("tls");
    write(&authority.files(&uri(role)), &tls);
    Config { tls: Some(tls), ..config(folder, 0, Vec::new()) }
}

async fn channel(address: &str, seal: &Seal) -> Channel {
    eventually(async || connector::line(address, Some(seal), Whom::AnyNode).await.ok()).await.channel
}

fn denied<T>(answer: Result<T, Status>, why: &str) {
    let status = answer.err().expect("it is denied");
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    assert!(status.message().contains(why), "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_speaks_for_itself_alone() {
    let (authority, folder) = (Authority::new("a"), TempDir::new().unwrap());
    let node = Node::start(sealed(&authority, &node_role(7), &folder), Connector::Tonic).unwrap();
    assert_eq!(node.id(), NodeId(7), "its identity is the certificate's");
    let other = seal(&authority, &node_role(8));
    let mut client = RaftClient::new(channel(node.address(), &other).await);
    let said = async |client: &mut RaftClient<Channel>, from_node| {
        let frame = Frame { from_node, to_node: 7, start_number: 1, ..Frame::default() };
        client.exchange(tokio_stream::iter([frame])).await.unwrap().into_inner().next().await.transpose()
    };
    assert!(said(&mut client, 8).await.unwrap().is_none());
    denied(said(&mut client, 9).await, "node/0000000000000008 does not speak for node 0000000000000009");
    let header = SnapshotHeader { from_node: 9, ..SnapshotHeader::default() };
    let chunk = SnapshotChunk { part: Some(Part::Header(header)) };
    denied(client.send_snapshot(tokio_stream::iter([chunk])).await, "does not speak for node 0000000000000009");
    let mut admin = AdminClient::new(channel(node.address(), &other).await);
    denied(admin.status(StatusRequest {}).await, "may not call /trivet.admin.v1.Admin/Status");
    let mut admin = AdminClient::new(channel(node.address(), &seal(&authority, "operator")).await);
    assert_eq!(admin.status(StatusRequest {}).await.unwrap().into_inner().node, 7);
    denied(admin.recover_group(RecoverGroupRequest::default()).await, "operator may not call");
    assert!(connector::line(node.address(), Some(&other), Whom::Node(NodeId(9))).await.is_err());
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blank_node_is_given_its_certificates_identity_alone() {
    let (authority, folder) = (Authority::new("a"), TempDir::new().unwrap());
    let config = sealed(&authority, &node_role(7), &folder);
    // All of 127/8 is this machine; another run of the tests has another address.
    let [high, low] = u16::try_from(std::process::id() % (1 << 16)).unwrap().to_be_bytes();
    let free = std::net::SocketAddr::from(([127, high, low, 50], 7400));
    let config = Config { format: false, listen: free, ..config };
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(node::run(config, async { drop(stopped.await) }));
    let operator = seal(&authority, "operator");
    let mut admin = AdminClient::new(channel(&free.to_string(), &operator).await);
    let store = admin.status(StatusRequest {}).await.unwrap().into_inner().store;
    let refused = admin.format(FormatRequest { node: 8, store }).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    let why = "the certificate here is spiffe://trivet/shop/music/node/0000000000000007's, not node 0000000000000008's";
    assert_eq!(refused.message(), why);
    let mut admin_of_people = AdminClient::new(channel(&free.to_string(), &seal(&authority, "admin")).await);
    denied(admin_of_people.format(FormatRequest { node: 7, store }).await, "may not call");
    admin.format(FormatRequest { node: 7, store }).await.unwrap();
    let node = eventually(async || {
        let mut admin = AdminClient::new(channel(&free.to_string(), &operator).await);
        let status = admin.status(StatusRequest {}).await.ok()?.into_inner();
        status.ready.then_some(status.node)
    });
    assert_eq!(node.await, 7);
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_does_not_start_with_another_ones_certificate() {
    let (authority, folder) = (Authority::new("a"), TempDir::new().unwrap());
    let start = |role: &str| Node::start(sealed(&authority, role, &folder), Connector::Tonic);
    start(&node_role(7)).unwrap().stop().await.unwrap();
    let error = format!("{:#}", start(&node_role(8)).err().unwrap());
    assert_eq!(error, "the data folder is node 0000000000000007's, and the certificate node 0000000000000008's");
    let error = format!("{:#}", start("router").err().unwrap());
    assert!(
        error.ends_with("the certificate speaks for spiffe://trivet/shop/music/router, which is no node"),
        "{error}"
    );
    fs::remove_file(folder.path().join("tls/tls.key")).unwrap();
    let tls = folder.path().join("tls");
    let without = Config { tls: Some(tls), ..config(&folder, 0, Vec::new()) };
    let error = format!("{:#}", Node::start(without, Connector::Tonic).err().unwrap());
    assert!(error.contains("tls/tls.key"), "{error}");
}
