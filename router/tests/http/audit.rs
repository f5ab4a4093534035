//! The audit log: a line for what is done with tables and for who is not let in, none for items.

use std::path::Path;
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::AttributeValue;

use crate::harness::Server;

use crate::signature::{ACCESS_KEY, REGION, SECRET_KEY};

const SOON: Duration = Duration::from_secs(60);

/// Its lines, once there are so many.
async fn lines(path: &Path, count: usize) -> Vec<serde_json::Value> {
    let begun = Instant::now();
    loop {
        let text = std::fs::read_to_string(path).unwrap();
        let whole: Vec<_> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        if whole.len() >= count {
            return whole;
        }
        assert!(begun.elapsed() < SOON, "{text}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn every_call_about_tables_and_every_stranger_has_a_line() {
    let file = std::env::temp_dir().join(format!("trivet-audit-{}", std::process::id()));
    std::fs::write(&file, "").unwrap();
    let path = file.to_str().unwrap();
    let flags = ["--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY, "--region", REGION, "--audit", path];
    let server = Server::start(&flags).await;
    let client = server.client();
    client.describe_table().table_name("nowhere").send().await.unwrap_err();
    // Nothing about items.
    client.get_item().table_name("nowhere").key("id", AttributeValue::S("1".to_owned())).send().await.unwrap_err();
    server.client_with("AKIDSTRANGER", SECRET_KEY).list_tables().send().await.unwrap_err();
    server.client_with(ACCESS_KEY, "wrong").get_item().table_name("Music").send().await.unwrap_err();
    client.list_tables().send().await.unwrap();
    let lines = lines(&file, 4).await;
    std::fs::remove_file(&file).unwrap();
    let told = |line: &serde_json::Value| {
        let field = |name: &str| line[name].as_str().unwrap_or("-").to_owned();
        (
            field("event"),
            field("operation"),
            field("table"),
            field("access_key"),
            field("error"),
            line["status"].as_u64(),
        )
    };
    let expected = [
        ("call", "DescribeTable", "nowhere", ACCESS_KEY, "ResourceNotFoundException", 400),
        ("refusal", "ListTables", "-", "AKIDSTRANGER", "UnrecognizedClientException", 400),
        ("refusal", "GetItem", "-", ACCESS_KEY, "InvalidSignatureException", 400),
        ("call", "ListTables", "-", ACCESS_KEY, "-", 200),
    ];
    let own = |(event, operation, table, key, error, status): (&str, &str, &str, &str, &str, u64)| {
        (event.to_owned(), operation.to_owned(), table.to_owned(), key.to_owned(), error.to_owned(), Some(status))
    };
    assert_eq!(lines.iter().map(told).collect::<Vec<_>>(), expected.map(own));
    for line in &lines {
        assert_eq!((&line["audit"], &line["omitted"]), (&1.into(), &0.into()));
        assert!(line["client"].as_str().unwrap().starts_with("127.0.0.1:"));
        assert!(line["request_id"].as_str().unwrap().len() > 10 && line["time"].as_str().unwrap().ends_with('Z'));
    }
}
