//! Clients that ask for much and never read.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::{Server, eventually, head};

/// Bytes of one page of the table, about.
const PAGE: usize = 900_000;
const SCAN: &str = r#"{"TableName":"Music"}"#;

/// A server with a page of items.
async fn with_a_page(flags: &[&str]) -> Server {
    let server = Server::start(flags).await;
    let text = "x".repeat(PAGE / 3);
    for artist in ["a", "b", "c"] {
        let body = format!(r#"{{"TableName":"Music","Item":{{"Artist":{{"S":"{artist}"}},"x":{{"S":"{text}"}}}}}}"#);
        server.serves("PutItem", &body).await;
    }
    server
}

/// Asks for `pages` and keeps quiet.
async fn ask_and_never_read(server: &Server, pages: usize) -> TcpStream {
    let mut stream = server.connect().await;
    let asked = [head("Scan", SCAN.len(), ""), SCAN.to_owned()].concat().repeat(pages);
    stream.write_all(asked.as_bytes()).await.unwrap();
    stream
}

#[test]
fn who_asks_for_many_pages_and_reads_none_is_held_one_answer_and_then_given_up() {
    const READERS: u64 = 10;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // The server runs on this thread between the awaits of its clients.
    let peak = fuzz::peak_bytes(|| {
        runtime.block_on(async {
            let server = with_a_page(&[]).await;
            let mut readers = Vec::new();
            for _ in 0..READERS {
                readers.push(ask_and_never_read(&server, 50).await);
            }
            eventually("all are given up", || server.closed("slow_reader") == READERS).await;
            server.serves("Scan", SCAN).await;
        });
    });
    // A page for each, and what making the pages of one request takes.
    let most = 10 * PAGE + 20 * PAGE;
    assert!(peak < most, "{peak} bytes were taken where {READERS} clients are owed a page of {PAGE} each");
}

#[tokio::test]
async fn others_answers_have_memory_while_some_do_not_read() {
    let server = with_a_page(&["--max-answer-memory-bytes", "8000000"]).await;
    let mut readers = Vec::new();
    for _ in 0..40 {
        readers.push(ask_and_never_read(&server, 20).await);
    }
    eventually("some are closed for the others' memory", || server.closed("memory") > 0).await;
    for _ in 0..10 {
        server.serves("Scan", SCAN).await;
    }
    assert!(server.closed("memory") >= 30 - 8, "those that do not read hold more than they may");
}
