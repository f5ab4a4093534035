//! `trivet local` as a user has it: started, stopped, started twice, killed, over one data folder.
#![expect(clippy::unwrap_used, reason = "a test says by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, TableStatus, Tag,
};
use e2e::client::{self, Retries};
use e2e::port::Port;
use e2e::process::{Local, Mode, Role, kill};

/// What an idle house may use, in all.
const IDLE_BYTES: u64 = 250 << 20;
const WITHIN: Duration = Duration::from_secs(60);

/// Nodes that end by themselves, one after the other or together.
const ALL_ENDED_WITHIN: Duration = Duration::from_secs(300);

struct House {
    local: Local,
    client: Client,
    _port: Port,
    _folder: tempfile::TempDir,
}

fn house(mode: Mode) -> House {
    let folder = tempfile::tempdir().unwrap();
    let port = Port::reserve().unwrap();
    let local = Local {
        binary: PathBuf::from(env!("CARGO_BIN_EXE_trivet")),
        mode,
        listen: port.address.to_string(),
        data: folder.path().join("data"),
        arguments: Vec::new(),
        environment: Vec::new(),
    };
    let client = client::connect(&local.listen, Retries::Default, WITHIN);
    House { local, client, _port: port, _folder: folder }
}

async fn create_table(client: &Client, partitions: u32) {
    let attribute = AttributeDefinition::builder().attribute_name("key").attribute_type(ScalarAttributeType::S);
    client
        .create_table()
        .table_name("songs")
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(attribute.build().unwrap())
        .key_schema(KeySchemaElement::builder().attribute_name("key").key_type(KeyType::Hash).build().unwrap())
        .tags(Tag::builder().key("trivet.dev/partitions").value(partitions.to_string()).build().unwrap())
        .send()
        .await
        .unwrap();
    let deadline = Instant::now() + WITHIN;
    loop {
        let described = client.describe_table().table_name("songs").send().await.unwrap();
        if described.table().unwrap().table_status() == Some(&TableStatus::Active) {
            return;
        }
        assert!(Instant::now() < deadline, "the table never became active");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn try_put(client: &Client, number: u32) -> Result<(), String> {
    let put = client.put_item().table_name("songs").item("key", AttributeValue::S(format!("song-{number}")));
    let put = put.item("number", AttributeValue::N(number.to_string())).send().await;
    put.map(drop).map_err(|error| format!("{error:?}"))
}

async fn put(client: &Client, number: u32) {
    try_put(client, number).await.unwrap();
}

async fn assert_all_there(client: &Client, count: u32) {
    for number in 0..count {
        let get = client.get_item().table_name("songs").consistent_read(true);
        let got = get.key("key", AttributeValue::S(format!("song-{number}"))).send().await.unwrap();
        let item = got.item.unwrap_or_else(|| panic!("song-{number} is lost"));
        assert_eq!(item["number"], AttributeValue::N(number.to_string()));
    }
    let scanned = client.scan().table_name("songs").consistent_read(true).send().await.unwrap();
    assert_eq!(scanned.count, i32::try_from(count).unwrap());
}

#[tokio::test]
async fn what_was_written_is_there_after_an_orderly_stop() {
    let house = house(Mode::OneProcess);
    let running = house.local.start().await.unwrap();
    create_table(&house.client, 4).await;
    for number in 0..50 {
        put(&house.client, number).await;
    }
    running.stop().await.unwrap();
    let running = house.local.start().await.unwrap();
    assert_all_there(&house.client, 50).await;
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_table_tells_how_much_it_holds() {
    let house = house(Mode::OneProcess);
    let running = house.local.start().await.unwrap();
    create_table(&house.client, 3).await;
    for number in 0..50 {
        put(&house.client, number).await;
    }
    // Names and values: "key", "song-0" or "song-10"; "number", and one or two digits in two bytes, but for 0.
    let bytes = 50 * (3 + 6 + 6 + 2) + 40 - 1;
    let deadline = Instant::now() + 2 * WITHIN;
    loop {
        let described = house.client.describe_table().table_name("songs").send().await.unwrap();
        let table = described.table().unwrap();
        let told = (table.item_count(), table.table_size_bytes());
        if told == (Some(50), Some(bytes)) {
            break;
        }
        assert!(Instant::now() < deadline, "{told:?}, not 50 items of {bytes} bytes");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    running.stop().await.unwrap();
}

#[tokio::test]
async fn what_was_written_is_there_after_a_kill_of_everything() {
    let house = house(Mode::Processes);
    let running = house.local.start().await.unwrap();
    create_table(&house.client, 4).await;
    for number in 0..50 {
        put(&house.client, number).await;
    }
    running.kill_everything().await.unwrap();
    let running = house.local.start().await.unwrap();
    assert_all_there(&house.client, 50).await;
    running.stop().await.unwrap();
}

#[tokio::test]
async fn tables_are_known_again_after_memds_was_killed() {
    let house = house(Mode::Processes);
    let running = house.local.start().await.unwrap();
    create_table(&house.client, 3).await;
    put(&house.client, 0).await;
    let before = running.children(Role::MemDs);
    before.iter().for_each(|pid| kill(*pid));
    let deadline = Instant::now() + WITHIN;
    while running.children(Role::MemDs) == before || running.children(Role::MemDs).is_empty() {
        assert!(Instant::now() < deadline, "MemDS was not started again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // A router that was started after MemDS has nothing but what MemDS knows.
    running.children(Role::Router).iter().for_each(|pid| kill(*pid));
    while house.client.list_tables().send().await.map(|answer| answer.table_names().to_vec()).ok()
        != Some(vec!["songs".to_owned()])
    {
        assert!(Instant::now() < deadline, "the table is not known again");
    }
    assert_all_there(&house.client, 1).await;
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_node_whose_sync_fails_ends_and_comes_back_with_everything() {
    let mut house = house(Mode::Processes);
    // Every process of a node lives for so many syncs, then its log's next one fails.
    house.local.environment.push(("TRIVET_NODE_FAIL_SYNC".to_owned(), "150".to_owned()));
    let running = house.local.start().await.unwrap();
    create_table(&house.client, 2).await;
    let ended = || std::fs::read_to_string(house.local.log()).unwrap().matches("signal: 6 (SIGABRT)").count();
    let deadline = Instant::now() + ALL_ENDED_WITHIN;
    let mut acknowledged = 0;
    while ended() < 4 {
        assert!(Instant::now() < deadline, "{} nodes ended", ended());
        // All nodes come to that sync within a few puts of each other: while two are down, nothing is acknowledged.
        while let Err(error) = try_put(&house.client, acknowledged).await {
            assert!(Instant::now() < deadline, "{error}");
        }
        acknowledged += 1;
    }
    running.kill_everything().await.unwrap();
    house.local.environment.clear();
    let running = house.local.start().await.unwrap();
    assert_all_there(&house.client, acknowledged).await;
    running.stop().await.unwrap();
}

#[tokio::test]
async fn an_idle_house_is_small() {
    for mode in [Mode::OneProcess, Mode::Processes] {
        let house = house(mode);
        let running = house.local.start().await.unwrap();
        create_table(&house.client, 12).await;
        put(&house.client, 0).await;
        let bytes = running.resident_bytes();
        assert!(bytes > 0 && bytes <= IDLE_BYTES, "{mode:?}: {bytes} bytes");
        running.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_second_start_on_the_folder_says_who_holds_it() {
    let house = house(Mode::OneProcess);
    let running = house.local.start().await.unwrap();
    let second = refused_start(&house.local.data);
    assert!(second.contains(&format!("is in use by process {}", running.id().unwrap())), "{second}");
    running.stop().await.unwrap();
}

#[test]
fn a_folder_of_another_format_is_refused_untouched() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("format"), "trivet local 7\n").unwrap();
    let refusal = refused_start(folder.path());
    assert!(refusal.contains("is of format \"trivet local 7\""), "{refusal}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

fn refused_start(data: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_trivet"))
        .args(["local", "--listen", "127.0.0.1:0", "--data"])
        .arg(data)
        .output()
        .unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}
