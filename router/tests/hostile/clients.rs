//! Clients that are slow on purpose, or silent, or talk nonsense.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use crate::harness::{DEADLINE, Server, head, until_closed};

/// How many of each kind there are.
const MANY: usize = 100;
/// A byte now and then keeps a naive server waiting for ever.
const NOW_AND_THEN: Duration = Duration::from_millis(200);

/// Sends `bytes` one by one for ever, at the hostile pace, until the server has closed; what the server said.
async fn drip(server: &Server, first: &str) -> String {
    let mut stream = server.connect().await;
    stream.write_all(first.as_bytes()).await.unwrap();
    let (mut read, mut write) = stream.split();
    let mut heard = Vec::new();
    let dripping = async {
        let mut pace = tokio::time::interval(NOW_AND_THEN);
        loop {
            pace.tick().await;
            if write.write_all(b"a").await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        () = dripping => {}
        closed = tokio::time::timeout(DEADLINE, tokio::io::copy(&mut read, &mut heard)) => {
            drop(closed.expect("the server gives the client up in time"));
        }
    }
    String::from_utf8(heard).unwrap()
}

/// Runs `hostile` while an honest client asks again and again.
async fn beside_an_honest_client<T>(server: &Server, hostile: impl Future<Output = T>) -> T {
    let honest = async {
        loop {
            server.serves("PutItem", r#"{"TableName":"Music","Item":{"Artist":{"S":"a"}}}"#).await;
            server.serves("GetItem", r#"{"TableName":"Music","Key":{"Artist":{"S":"a"}}}"#).await;
        }
    };
    tokio::select! {
        outcome = hostile => outcome,
        () = honest => unreachable!("it asks for ever"),
    }
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_is_given_up() {
    let server = Server::start(&[]).await;
    let starts = ["", "POST / HTTP/1.1\r\n", "POST / HTTP/1.1\r\nhost: here\r\nx-amz-target: ", "\r\n\r\n"];
    let hostile = (0..MANY).map(|number| drip(&server, starts[number % starts.len()]));
    let answers = beside_an_honest_client(&server, futures::future::join_all(hostile)).await;
    assert!(answers.iter().all(|answer| !answer.contains("200 OK")), "{answers:?}");
    assert_eq!(server.closed("slow_head"), u64::try_from(MANY).unwrap());
}

#[tokio::test]
async fn a_body_that_comes_byte_by_byte_is_given_up() {
    // So many that their bodies together fill the memory of the small ones twice.
    let server = Server::start(&["--operation-deadline-ms", "1000", "--max-body-memory-bytes", "65536"]).await;
    let first = head("PutItem", 10_000, "");
    let hostile = (0..MANY).map(|_| drip(&server, &first));
    let answers = futures::future::join_all(hostile).await;
    for answer in answers {
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("ServiceUnavailableException"), "{answer}");
    }
    server.serves("ListTables", "{}").await;
}

#[tokio::test]
async fn slow_bodies_keep_nobody_waiting() {
    let server = Server::start(&["--operation-deadline-ms", "2000"]).await;
    let first = head("PutItem", 1_000_000, "");
    let hostile = (0..MANY).map(|_| drip(&server, &first));
    let answers = beside_an_honest_client(&server, futures::future::join_all(hostile)).await;
    assert!(answers.iter().all(|answer| answer.starts_with("HTTP/1.1 503 ")), "{answers:?}");
}

#[tokio::test]
async fn who_says_no_more_is_let_go() {
    let server = Server::start(&[]).await;
    for begun in
        ["", "POST", "POST / HTTP/1.1\r\nhost: here\r\n", &head("ListTables", 100, ""), "GET / HTTP/1.1\r\n\r\n"]
    {
        let mut stream = server.connect().await;
        stream.write_all(begun.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        until_closed(&mut stream).await;
    }
}

#[tokio::test]
async fn nonsense_is_refused_and_the_connection_closed() {
    let server = Server::start(&[]).await;
    let long_header = format!("POST / HTTP/1.1\r\nhost: here\r\nx: {}\r\n\r\n", "a".repeat(100_000));
    let many_headers = format!("POST / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(1000));
    let long_path = format!("POST /{} HTTP/1.1\r\n\r\n", "a".repeat(100_000));
    let two_lengths = "POST / HTTP/1.1\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}";
    let http2 = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let tls = "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}\r\n\r\n";
    for nonsense in
        [&long_header, &many_headers, &long_path, two_lengths, http2, tls, "\0\0\0\0", "\r\n\r\n\r\nabc \r\n\r\n"]
    {
        let mut stream = server.connect().await;
        // The server may have refused before it has heard everything.
        drop(stream.write_all(nonsense.as_bytes()).await);
        drop(stream.shutdown().await);
        let answer = until_closed(&mut stream).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    let chunks = "POST / HTTP/1.1\r\nhost: here\r\nx-amz-target: DynamoDB_20120810.ListTables\r\ntransfer-encoding: chunked\r\n\r\n\
                  ffffffffffffffff\r\n{}";
    let mut stream = server.connect().await;
    stream.write_all(chunks.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let answer = until_closed(&mut stream).await;
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    server.serves("ListTables", "{}").await;
}
