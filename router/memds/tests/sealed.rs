//! A sealed MemDS server: nodes tell of themselves alone, routers look up, control writes tables.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "../../../wire/tests/seal/authority.rs"]
mod authority;

use authority::{Authority, Files};
use futures::StreamExt;
use memds::{Handle, Metrics};
use tokio::net::TcpListener;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use wire::memds::mem_ds_client::MemDsClient;
use wire::memds::{Announcement, DirectoryEntry, ListTablesRequest, RemoveTableRequest};
use wire::seal::connect::{self, Whom};
use wire::seal::{Pem, Seal};

fn seal(authority: &Authority, role: &str) -> Seal {
    let Files { ca, certificate, key } = authority.files(&format!("spiffe://trivet/shop/music/{role}"));
    Seal::from_pem(Pem { ca: ca.into(), certificate: certificate.into(), key: key.into() }).unwrap()
}

async fn start(seal: Seal) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let handle = Handle::new(Metrics::new(&prometheus::Registry::new()).unwrap());
    tokio::spawn(memds::serve(handle, listener, Some(seal), std::future::pending()));
    address
}

async fn client(address: &str, seal: &Seal) -> MemDsClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    MemDsClient::new(connect::connect(endpoint, Some(seal), Whom::MemDs).await.unwrap().channel)
}

#[tokio::test]
async fn a_node_announces_itself_and_nobody_else() {
    let authority = Authority::new("a");
    let address = start(seal(&authority, "memds")).await;
    let mut node = client(&address, &seal(&authority, "node/0000000000000007")).await;
    let mut told = async |node_id: Option<u64>| {
        let entry = |node| DirectoryEntry { node, zone: "z".into(), address: "there:1".into(), start_number: 1 };
        let announcement = Announcement { node: node_id.map(entry), ..Announcement::default() };
        let answers = node.announce(futures::stream::iter([announcement])).await.unwrap();
        answers.into_inner().next().await.unwrap().map(drop).map_err(|status| status.code())
    };
    assert_eq!(told(Some(7)).await, Ok(()));
    assert_eq!(told(Some(8)).await, Err(Code::PermissionDenied));
    assert_eq!(told(None).await, Err(Code::PermissionDenied));
    let denied = node.list_tables(ListTablesRequest::default()).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied, "{denied}");
    let mut router = client(&address, &seal(&authority, "router")).await;
    router.list_tables(ListTablesRequest::default()).await.unwrap();
    let denied = router.remove_table(RemoveTableRequest { table: 1 }).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied, "{denied}");
    let mut operator = client(&address, &seal(&authority, "operator")).await;
    operator.remove_table(RemoveTableRequest { table: 1 }).await.unwrap();
}
