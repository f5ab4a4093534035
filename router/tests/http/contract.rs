//! DynamoDB's HTTP contract: methods, content types, sizes, headers, the order of the first checks.

use std::time::Duration;

use router::routing::Failure;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{Server, with_music};

/// What a test waits for at most.
const DEADLINE: Duration = Duration::from_secs(20);

const UNKNOWN: &str = r#"{"__type":"com.amazon.coral.service#UnknownOperationException"}"#;
const NOT_JSON: &str = r#"{"__type":"com.amazon.coral.service#SerializationException"}"#;

#[tokio::test]
async fn a_get_is_answered_healthy() {
    let server = Server::signed().await;
    let answer = server.raw(b"GET / HTTP/1.1\r\nhost: here:1\r\nconnection: close\r\n\r\n").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "healthy: here:1 "));
}

#[tokio::test]
async fn every_answer_has_an_id_and_a_checksum() {
    let server = Server::open().await;
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..10 {
        let answer = server.post("ListTables", "{}").await;
        assert_eq!(answer.body, r#"{"TableNames":[]}"#);
        assert!(answer.head.contains("content-type: application/x-amz-json-1.0"), "{}", answer.head);
        let crc = crc32fast::hash(answer.body.as_bytes());
        assert!(answer.head.contains(&format!("x-amz-crc32: {crc}")), "{}", answer.head);
        let (_, rest) = answer.head.split_once("x-amzn-requestid: ").unwrap();
        let id = rest.lines().next().unwrap().to_owned();
        assert!(id.len() == 52 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
        ids.insert(id);
    }
    assert_eq!(ids.len(), 10);
}

#[tokio::test]
async fn other_methods_and_content_types_are_not_found() {
    let server = Server::open().await;
    for request in [
        "PUT / HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 2\r\ncontent-type: application/json\r\n\r\n{}",
        "POST / HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}",
        "POST / HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 2\r\ncontent-type: text/json\r\n\r\n{}",
    ] {
        let answer = server.raw(request.as_bytes()).await;
        assert_eq!((answer.status, answer.body.as_str()), (404, "<UnknownOperationException/>\n"), "{request}");
        assert!(answer.head.contains("x-amz-crc32: 3552371480"), "{}", answer.head);
    }
    let plain = "POST / HTTP/1.1\r\nhost: h\r\nconnection: close\r\nx-amz-target: DynamoDB_20120810.ListTables\r\n\
                 content-type: application/json; charset=utf-8\r\ncontent-length: 2\r\n\r\n{}";
    let answer = server.raw(plain.as_bytes()).await;
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("content-type: application/json\r\n"), "{}", answer.head);
}

#[tokio::test]
async fn unknown_operations_are_refused_before_anything_else() {
    let server = Server::signed().await;
    for target in ["", "ListTables", "DynamoDB_20120810", "DynamoDB_20120810.", "DynamoDB_20120810.listTables"] {
        let request = format!(
            "POST / HTTP/1.1\r\nhost: h\r\nconnection: close\r\nx-amz-target: {target}\r\ncontent-length: 1\r\n\
             content-type: application/json\r\n\r\n["
        );
        let answer = server.raw(request.as_bytes()).await;
        assert_eq!((answer.status, answer.body.as_str()), (400, UNKNOWN), "{target}");
    }
    for operation in ["TransactWriteItems", "ExecuteStatement", "UpdateTimeToLive", "TagResource", "CreateBackup"] {
        let server = Server::open().await;
        server.expect(operation, "{}", UNKNOWN).await;
    }
}

#[tokio::test]
async fn bodies_that_are_no_json_objects_are_refused() {
    let server = Server::open().await;
    for body in ["", "[]", "\"x\"", "{", "{]", "{\"Limit\":1", "{\"Limit\":01}", "nul", "{}x", "{\"a\":\u{1}}"] {
        server.expect("ListTables", body, NOT_JSON).await;
    }
    let bomb = format!("{{\"a\":{}", "[".repeat(100_000));
    server.expect("ListTables", &bomb, NOT_JSON).await;
    let invalid_utf8 =
        b"POST / HTTP/1.1\r\nhost: h\r\nconnection: close\r\nx-amz-target: DynamoDB_20120810.ListTables\r\n\
        content-type: application/json\r\ncontent-length: 35\r\n\r\n{\"ExclusiveStartTableName\":\"abc\xff\xfe\xfd\"}";
    let answer = server.raw(invalid_utf8).await;
    assert_eq!((answer.status, answer.body.as_str()), (400, NOT_JSON));
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_unread() {
    let server = Server::signed().await;
    let declared = "POST / HTTP/1.1\r\nhost: h\r\nx-amz-target: DynamoDB_20120810.PutItem\r\n\
                    content-type: application/x-amz-json-1.0\r\ncontent-length: 16777217\r\n\r\n";
    let answer = server.raw(declared.as_bytes()).await;
    assert_eq!((answer.status, answer.body.as_str()), (413, ""));

    let mut chunked = b"POST / HTTP/1.1\r\nhost: h\r\nx-amz-target: DynamoDB_20120810.PutItem\r\n\
                        content-type: application/x-amz-json-1.0\r\ntransfer-encoding: chunked\r\n\r\n1000001\r\n"
        .to_vec();
    chunked.resize(chunked.len() + 0x0100_0001, b' ');
    let answer = server.raw(&chunked).await;
    assert_eq!(answer.status, 413);
}

#[tokio::test]
async fn a_chunked_body_is_put_together() {
    let server = Server::open().await;
    let request = b"POST / HTTP/1.1\r\nhost: h\r\nconnection: close\r\nx-amz-target: DynamoDB_20120810.ListTables\r\n\
                    content-type: application/x-amz-json-1.0\r\ntransfer-encoding: chunked\r\n\r\n\
                    4\r\n{\"Li\r\n4\r\nmit\"\r\n4\r\n:5} \r\n0\r\n\r\n";
    let answer = server.raw(request).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"TableNames":[]}"#));
}

#[tokio::test]
async fn heads_that_are_too_long_are_refused() {
    let server = Server::open().await;
    let long = format!("GET / HTTP/1.1\r\nhost: h\r\nx: {}\r\n\r\n", "y".repeat(100_000));
    assert_eq!(server.raw(long.as_bytes()).await.status, 431);
    let many = format!("GET / HTTP/1.1\r\nhost: h\r\n{}\r\n", "x: y\r\n".repeat(200));
    assert_eq!(server.raw(many.as_bytes()).await.status, 431);
}

#[tokio::test]
async fn failures_of_routing_become_retryable_errors() {
    let server = with_music().await;
    let get = r#"{"TableName":"Music","Key":{"Artist":{"S":"a"},"Song":{"S":"b"}}}"#;
    for (failure, status, kind) in [
        (Failure::Unavailable("no leader".to_owned()), 500, "com.amazonaws.dynamodb.v20120810#InternalServerError"),
        (Failure::Unknown, 500, "com.amazonaws.dynamodb.v20120810#InternalServerError"),
        (Failure::Overloaded("full".to_owned()), 503, "com.amazon.coral.availability#ServiceUnavailableException"),
        (Failure::TableNotActive, 400, "com.amazonaws.dynamodb.v20120810#ResourceNotFoundException"),
    ] {
        server.backend.fail_next([failure]);
        let answer = server.post("GetItem", get).await;
        assert_eq!(answer.status, status);
        assert!(answer.body.starts_with(&format!(r#"{{"__type":"{kind}""#)), "{}", answer.body);
    }
}

#[tokio::test]
async fn a_read_is_given_up_when_its_client_goes_away() {
    let server = with_music().await;
    let mut hanging = server.backend.hang();
    let body = r#"{"TableName":"Music","Key":{"Artist":{"S":"a"},"Song":{"S":"b"}}}"#;
    let length = body.len();
    let request = format!(
        "POST / HTTP/1.1\r\nhost: h\r\nx-amz-target: DynamoDB_20120810.GetItem\r\n\
         content-type: application/x-amz-json-1.0\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    let mut client = TcpStream::connect(server.address).await.unwrap();
    client.write_all(request.as_bytes()).await.unwrap();
    timeout(DEADLINE, hanging.wait_for(|&count| count == 1)).await.unwrap().unwrap();
    drop(client);
    timeout(DEADLINE, hanging.wait_for(|&count| count == 0)).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_not_waited_for() {
    let server = Server::start(&["--no-auth", "--operation-deadline-ms", "50"]).await;
    let request = b"POST / HTTP/1.1\r\nhost: h\r\nx-amz-target: DynamoDB_20120810.ListTables\r\n\
                    content-type: application/x-amz-json-1.0\r\ncontent-length: 2\r\n\r\n{";
    let answer = timeout(DEADLINE, server.raw(request)).await.unwrap();
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("ServiceUnavailableException"), "{}", answer.body);
}

#[tokio::test]
async fn bodies_wait_for_memory_and_are_all_read() {
    // Room for the one largest body there may be.
    let server = Server::start(&["--no-auth", "--max-body-memory-bytes", "1"]).await;
    let body = format!(r#"{{"x":"{}"}}"#, "y".repeat(15 * 1024 * 1024));
    let answers = futures::future::join_all((0..4).map(|_| server.post("ListTables", &body))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
}

#[tokio::test]
async fn large_bodies_that_never_come_keep_nobody_else_waiting() {
    let unsent = |target: &str| {
        format!(
            "POST / HTTP/1.1\r\nhost: h\r\nx-amz-target: DynamoDB_20120810.{target}\r\n\
             content-type: application/x-amz-json-1.0\r\ncontent-length: 16777216\r\n\r\n{{"
        )
    };
    for (server, target) in [
        (Server::start(&["--no-auth", "--operation-deadline-ms", "3600000"]).await, "PutItem"),
        (Server::start(&["--no-auth", "--operation-deadline-ms", "3600000"]).await, "Nonsense"),
    ] {
        let mut slow = Vec::new();
        for _ in 0..20 {
            let mut client = TcpStream::connect(server.address).await.unwrap();
            client.write_all(unsent(target).as_bytes()).await.unwrap();
            slow.push(client);
        }
        let answer = timeout(DEADLINE, server.post("ListTables", "{}")).await.unwrap();
        assert_eq!(answer.status, 200);
    }
}

#[tokio::test]
async fn strangers_with_large_bodies_take_no_memory() {
    let server = Server::start(&["--access-key", "a", "--secret-key", "b", "--max-body-memory-bytes", "1"]).await;
    let mut stranger = TcpStream::connect(server.address).await.unwrap();
    let head = "POST / HTTP/1.1\r\nhost: h\r\nconnection: close\r\nx-amz-target: DynamoDB_20120810.ListTables\r\n\
                content-type: application/x-amz-json-1.0\r\n";
    stranger.write_all(format!("{head}content-length: 16777216\r\n\r\n{{").as_bytes()).await.unwrap();
    let large = format!("{head}content-length: 1000000\r\n\r\n{}", " ".repeat(1_000_000));
    let answer = timeout(Duration::from_secs(4), server.raw(large.as_bytes())).await.unwrap();
    assert!(answer.body.contains("MissingAuthenticationTokenException"), "{}", answer.body);
}
