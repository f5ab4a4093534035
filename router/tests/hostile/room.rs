//! More connections than there is room for.
//!
//! A process has one table of files: the clients of the largest test are a process of their own, this very program, asked by
//! [`HOLD`] to hold connections and nothing else.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{DEADLINE, Server, eventually, request, until_closed};

/// Where this is set, the program is the clients: `address number`.
const HOLD: &str = "TRIVET_TEST_HOLD";
const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: here\r\n\r\n";
/// Files that a process needs beside its connections.
const OTHER_FILES: u64 = 200;
/// What an idle connection may take of the server's memory, in bytes: hyper's two buffers and the connection's task.
const CONNECTION_BYTES: usize = 24 * 1024;

/// Raises the limit of files as far as it goes; how many connections it leaves room for, of those that are wanted.
fn connections_allowed(wanted: usize) -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    let files = limit.maximum.map_or(wanted, |files| usize::try_from(files.saturating_sub(OTHER_FILES)).unwrap());
    wanted.min(files)
}

async fn greet(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(GET).await.unwrap();
    let mut answer = [0; 256];
    let read = tokio::time::timeout(DEADLINE, stream.read(&mut answer)).await.expect("an answer in time").unwrap();
    assert!(answer[..read].starts_with(b"HTTP/1.1 200 OK"), "{}", answer[..read].escape_ascii());
    stream
}

/// Does nothing by itself; for the tests below it is the clients.
#[tokio::test]
async fn clients_hold_their_connections_where_they_are_asked_to() {
    let Ok(asked) = std::env::var(HOLD) else { return };
    let (address, number) = asked.split_once(' ').unwrap();
    let (address, number): (SocketAddr, usize) = (address.parse().unwrap(), number.parse().unwrap());
    assert_eq!(connections_allowed(number), number);
    let mut held = Vec::new();
    for _ in 0..number {
        held.push(greet(address).await);
    }
    // Until whoever asked ends this process.
    std::future::pending::<()>().await;
}

struct Clients(Child);

impl Clients {
    fn hold(address: SocketAddr, number: usize) -> Clients {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "room::clients_hold_their_connections_where_they_are_asked_to"]);
        command.env(HOLD, format!("{address} {number}")).stdout(Stdio::null());
        Clients(command.spawn().unwrap())
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn ten_thousand_idle_connections_take_little_and_keep_nobody_out() {
    let number = connections_allowed(10_000);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let peak = fuzz::peak_bytes(|| {
        runtime.block_on(async {
            // One place is the test's own.
            let most = (number + 1).to_string();
            let server = Server::start(&["--max-connections", &most]).await;
            let clients = Clients::hold(server.address, number);
            eventually("all are connected", || server.open() == number).await;
            for _ in 0..10 {
                server.serves("ListTables", "{}").await;
            }
            assert_eq!(server.closed("room"), 0);
            // One more than there is room for: it is served, and the oldest idle ones make room.
            let own = [server.connect().await, server.connect().await];
            server.serves("ListTables", "{}").await;
            assert!(server.closed("room") > 0);
            drop((own, clients));
        });
    });
    let each = peak / number;
    assert!(each < CONNECTION_BYTES, "{each} bytes for each of {number} idle connections");
}

#[tokio::test]
async fn silent_connections_make_room_for_those_that_ask() {
    let server = Server::start(&["--max-connections", "20"]).await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(server.connect().await);
        if silent.len().is_multiple_of(10) {
            server.serves("ListTables", "{}").await;
        }
    }
    assert!(server.closed("room") >= 180);
    // The first has been closed long since.
    until_closed(&mut silent[0]).await;
}

#[tokio::test]
async fn a_request_under_way_is_not_closed_for_others() {
    let server = Server::start(&["--max-connections", "5", "--operation-deadline-ms", "60000"]).await;
    let body = r#"{"TableName":"Music","Item":{"Artist":{"S":"slow"}}}"#;
    let whole = request("PutItem", body);
    let mut slow = server.connect().await;
    slow.write_all(&whole[..whole.len() - 1]).await.unwrap();
    // It is at work once its head has been read, that is when others have been served.
    server.serves("ListTables", "{}").await;
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(server.connect().await);
    }
    server.serves("ListTables", "{}").await;
    assert!(server.closed("room") >= 40);
    slow.write_all(&whole[whole.len() - 1..]).await.unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(30), until_closed(&mut slow)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}
