//! Hostile connections to MemDS's port: nobody but the hostile one notices.
#![expect(clippy::unwrap_used, reason = "a test says by panicking")]

use std::net::SocketAddr;
use std::time::Duration;

use memds::{Handle, Metrics};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use wire::memds::mem_ds_client::MemDsClient;
use wire::memds::{ListTablesRequest, LookupFrame};

const DEADLINE: Duration = Duration::from_secs(60);

async fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let handle = Handle::new(Metrics::new(&prometheus::Registry::new()).unwrap());
    tokio::spawn(async move { memds::serve(handle, listener, None, std::future::pending()).await.unwrap() });
    address
}

async fn serves(address: SocketAddr) {
    let mut client = MemDsClient::connect(format!("http://{address}")).await.unwrap();
    client.list_tables(ListTablesRequest::default()).await.unwrap();
}

/// Says `bytes` and waits until the server closes.
async fn closes(address: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    drop(stream.write_all(bytes).await);
    let closed = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut Vec::new())).await;
    drop(closed.expect("the server closes"));
}

#[tokio::test]
async fn silence_and_nonsense_are_closed() {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let address = start().await;
    let settings_of_odd_length = [PREFACE, &[0, 0, 5, 4, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5]].concat();
    let huge_frame = [PREFACE, &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]].concat();
    let spoken: [&[u8]; 6] =
        [b"", b"PRI * HT", b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\0", &settings_of_odd_length, &huge_frame];
    let closing = futures::future::join_all(spoken.map(|bytes| closes(address, bytes)));
    tokio::join!(closing, async {
        for _ in 0..20 {
            serves(address).await;
        }
    });
}

#[tokio::test]
async fn more_connections_than_there_may_be_are_closed_at_once() {
    let address = start().await;
    let mut open = Vec::new();
    // A connection that was closed is seen when it is read; those that are in are silent.
    let mut refused = 0;
    while refused == 0 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        if open.len() >= 2048 {
            let closed = tokio::time::timeout(DEADLINE, stream.read(&mut [0])).await.expect("it is closed");
            refused += usize::from(matches!(closed, Ok(0) | Err(_)));
        }
        open.push(stream);
        assert!(open.len() < 5000, "everybody is let in");
    }
    drop(open);
    // What has been closed makes room, as soon as the server has seen it.
    let served = async {
        while MemDsClient::connect(format!("http://{address}")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, served).await.expect("there is room again");
}

#[tokio::test]
async fn streams_beyond_what_a_connection_may_have_wait() {
    let address = start().await;
    let client = MemDsClient::connect(format!("http://{address}")).await.unwrap();
    let mut open = Vec::new();
    for _ in 0..128 {
        let (sender, frames) = mpsc::channel::<LookupFrame>(1);
        let answers = client.clone().lookup(ReceiverStream::new(frames)).await.unwrap();
        open.push((sender, answers));
    }
    let mut other = client.clone();
    let (_sender, frames) = mpsc::channel::<LookupFrame>(1);
    let mut next = std::pin::pin!(other.lookup(ReceiverStream::new(frames)));
    let waits = futures::poll!(next.as_mut());
    assert!(waits.is_pending());
    serves(address).await;
    assert!(futures::poll!(next.as_mut()).is_pending(), "the server allows streams without end");
    open.clear();
    tokio::time::timeout(DEADLINE, next).await.expect("there is room again").unwrap();
}
