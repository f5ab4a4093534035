//! `trivet local` on a disk that is really full: a small file system of its own, filled as fast as one client can.
#![expect(clippy::unwrap_used, reason = "a test says by panicking")]
#![expect(clippy::print_stdout, reason = "what took a restart is told with a failure")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use control::resources::file::FileResources;
use control::resources::{ResourceError, Resources, TableResource};
use e2e::client::{self, Retries, create_table};
use e2e::port::Port;
use e2e::process::{Local, Mode, Running};
use e2e::random::Random;
use e2e::small_disk::SmallDisk;
use futures::future::join_all;
use model::{KeyRange, KeySchema, KeyType, NodeId, PartitionId, TableDescriptor, TableId, Zone};
use node::disk::{Disk, Identity, RESERVE_STEP_BYTES};
use node::items::{Items, ItemsOptions, TurnBatch, WriteOutcome};
use node::log::{Done, Log, LogListener, LogOptions};
use node::server::salvage;
use replica::entry::WriteKind;
use replica::{AppliedMark, AppliedWrite, ApplyBatch};

const DISK_MEGABYTES: u64 = 400;
/// Writes are refused when half of it is left.
const RESERVE: &str = "64MiB";
/// Close to the largest item.
const BLOB_BYTES: usize = 380 << 10;
/// Puts at once.
const WRITERS: u64 = 4;
/// Far more than fit.
const MOST_ITEMS: usize = 2_000;
/// The disk is full when nothing was taken for so long: longer than a node that has found it full stays careful.
const REFUSED_FOR: Duration = Duration::from_secs(15);
const AGAIN_AFTER: Duration = Duration::from_millis(100);
/// What the disk is to take before it is full, at least.
const LEAST_ITEMS: usize = 20;
const WITHIN: Duration = Duration::from_secs(60);
const PARTITION: PartitionId = PartitionId(7);
const TABLE: TableId = TableId(8);

struct House {
    local: Local,
    client: Client,
    disk: SmallDisk,
    _port: Port,
    _folder: tempfile::TempDir,
}

fn house() -> House {
    let folder = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(folder.path(), DISK_MEGABYTES).unwrap();
    let port = Port::reserve().unwrap();
    let local = Local {
        binary: PathBuf::from(env!("CARGO_BIN_EXE_trivet")),
        mode: Mode::OneProcess,
        listen: port.address.to_string(),
        // What it logs stands on the same disk.
        data: folder.path().join("data"),
        arguments: Vec::new(),
        environment: vec![("TRIVET_NODE_RESERVE".to_owned(), RESERVE.to_owned())],
    };
    // What is refused is to be seen, not tried again by the SDK.
    let client = client::connect(&local.listen, Retries::None, WITHIN);
    House { local, client, disk, _port: port, _folder: folder }
}

/// Nothing compresses it.
fn blob(number: u64) -> Blob {
    let mut random = Random(number);
    let words = BLOB_BYTES / 8;
    Blob::new((0..words).flat_map(|_| random.below(u64::MAX).to_be_bytes()).collect::<Vec<u8>>())
}

fn key(number: u64) -> AttributeValue {
    AttributeValue::S(format!("blob-{number}"))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Put {
    Acknowledged,
    Refused,
}

/// A refusal that an SDK would not try again fails the test.
async fn put(client: &Client, table: &str, number: u64) -> Put {
    let put = client.put_item().table_name(table).item("key", key(number));
    match put.item("blob", AttributeValue::B(blob(number))).send().await {
        Ok(_) => Put::Acknowledged,
        Err(SdkError::ServiceError(refused)) => {
            let status = refused.raw().status().as_u16();
            assert!((500..600).contains(&status), "{status}: {:?}", refused.err());
            Put::Refused
        }
        Err(error) => panic!("no answer: {error:?}"),
    }
}

/// Writes as fast as it can until nothing is taken any more; what was acknowledged.
async fn fill(client: &Client, table: &str) -> Vec<u64> {
    let mut acknowledged = Vec::new();
    let mut refused_since: Option<Instant> = None;
    for round in 0.. {
        assert!(acknowledged.len() < MOST_ITEMS, "{MOST_ITEMS} items were written to {DISK_MEGABYTES} MB");
        let numbers: Vec<u64> = (round * WRITERS..(round + 1) * WRITERS).collect();
        let puts = join_all(numbers.iter().map(|number| put(client, table, *number))).await;
        let taken = numbers.into_iter().zip(&puts).filter(|(_, put)| **put == Put::Acknowledged);
        acknowledged.extend(taken.map(|(number, _)| number));
        if puts.contains(&Put::Acknowledged) {
            refused_since = None;
            continue;
        }
        // While leaders are handed on, or a node is not calm yet, everybody may be refused though there is room.
        if refused_since.get_or_insert_with(Instant::now).elapsed() > REFUSED_FOR {
            break;
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
    acknowledged
}

async fn has_all(client: &Client, table: &str, acknowledged: &[u64]) {
    for number in acknowledged {
        let deadline = Instant::now() + WITHIN;
        let item = loop {
            let get = client.get_item().table_name(table).consistent_read(true).key("key", key(*number));
            match get.send().await {
                Ok(got) => break got.item.unwrap_or_else(|| panic!("blob-{number} is lost")),
                Err(error) => assert!(Instant::now() < deadline, "{error:?}"),
            }
        };
        assert!(item["blob"] == AttributeValue::B(blob(*number)), "blob-{number} is another's");
    }
}

/// Whether it is gone in time.
async fn is_gone(client: &Client, table: &str, within: Duration) -> bool {
    let deadline = Instant::now() + within;
    loop {
        match client.describe_table().table_name(table).send().await {
            Err(error) if error.code() == Some("ResourceNotFoundException") => return true,
            described if Instant::now() > deadline => {
                println!("{table} is still there: {described:?}");
                return false;
            }
            _ => tokio::time::sleep(AGAIN_AFTER).await,
        }
    }
}

/// Whether there was room for it in time.
async fn is_made(client: &Client, table: &str, within: Duration) -> bool {
    let deadline = Instant::now() + within;
    while let Err(error) = create_table(client, table, 1, within).await {
        if Instant::now() > deadline {
            println!("{table} is not made: {error:#}");
            return false;
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
    true
}

/// Room comes back with a table that is deleted: at once as a rule, and after a restart where it does not (ARCHITECTURE, *A full disk*).
async fn replace(house: &House, mut running: Running, full: &str, next: &str) -> Running {
    house.client.delete_table().table_name(full).send().await.unwrap();
    if !is_gone(&house.client, full, WITHIN).await {
        running.kill_everything().await.unwrap();
        running = house.local.start().await.unwrap();
        assert!(is_gone(&house.client, full, WITHIN).await, "{full} stays after a restart, too");
    }
    if !is_made(&house.client, next, WITHIN).await {
        running.kill_everything().await.unwrap();
        running = house.local.start().await.unwrap();
        assert!(is_made(&house.client, next, WITHIN).await, "no room for {next} after a restart");
    }
    running
}

#[tokio::test]
async fn a_disk_that_fills_at_once_is_survived() {
    let house = house();
    let running = house.local.start().await.unwrap();
    let id = running.id().unwrap();
    create_table(&house.client, "blobs", 1, WITHIN).await.unwrap();
    let mut acknowledged = fill(&house.client, "blobs").await;
    assert!(acknowledged.len() >= LEAST_ITEMS, "{} items fit on {DISK_MEGABYTES} MB", acknowledged.len());
    has_all(&house.client, "blobs", &acknowledged).await;

    // Somebody else takes the rest: reads go on.
    let taken = house.disk.fill("taken").unwrap();
    has_all(&house.client, "blobs", &acknowledged).await;
    // The log may still have had room in its files: what is acknowledged is kept, and soon nothing is.
    let deadline = Instant::now() + WITHIN;
    for number in 1_000_000.. {
        assert!(Instant::now() < deadline, "nothing is free, and puts are still acknowledged");
        if put(&house.client, "blobs", number).await == Put::Refused {
            break;
        }
        acknowledged.push(number);
    }
    assert!(Path::new(&format!("/proc/{id}/exe")).exists() && running.id() == Some(id), "it is another process");

    // Room comes back, after a crash: by what others remove, and by the user's own way out, more than once.
    running.kill_everything().await.unwrap();
    std::fs::remove_file(taken).unwrap();
    let mut running = house.local.start().await.unwrap();
    has_all(&house.client, "blobs", &acknowledged).await;
    let mut full = "blobs";
    for next in ["again", "once-more"] {
        running = replace(&house, running, full, next).await;
        let acknowledged = fill(&house.client, next).await;
        assert!(acknowledged.len() >= LEAST_ITEMS, "{next}: only {} items fit", acknowledged.len());
        has_all(&house.client, next, &acknowledged).await;
        full = next;
    }
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_table_is_deleted_with_no_byte_left() {
    let folder = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(folder.path(), 1).unwrap();
    let file = FileResources::open(&folder.path().join("resources.json")).unwrap();
    let table = TableDescriptor::wish("blobs", KeySchema::simple("key", KeyType::S));
    let blobs = TableResource { table, partitions: Vec::new() };
    let write = async |resource| file.write(&file.read().await.unwrap(), "blobs", resource).await;
    write(Some(blobs.clone())).await.unwrap();
    // What a change gives up is taken back at once, as far as there is room for it.
    disk.fill("taken").unwrap();
    for _ in 0..20 {
        write(None).await.unwrap();
        write(Some(blobs.clone())).await.unwrap();
    }
    std::fs::remove_file(folder.path().join("resources.spare")).unwrap();
    disk.fill("the-rest").unwrap();
    let refused = write(None).await;
    assert!(matches!(refused, Err(ResourceError::Io(_))), "{refused:?}");
    assert!(file.read().await.unwrap().tables.contains_key("blobs"));
}

/// Nobody waits for this log.
struct Nobody;

impl LogListener for Nobody {
    fn durable(&self, _worker: usize, _done: Vec<Done>) {}

    fn holds_old_files(&self, _groups: Vec<PartitionId>) {}

    fn await_room(&self) -> bool {
        false
    }
}

#[test]
fn items_open_though_another_has_taken_what_was_given_up_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let small = SmallDisk::mount(folder.path(), 24).unwrap();
    let open = || {
        let disk = Disk::open(&folder.path().join("node")).unwrap();
        disk.take_identity(Identity { node: NodeId(1), zone: Zone("a".to_owned()) }).unwrap();
        let log = Log::open(LogOptions::for_disk(disk.log_dir(), 24 << 20), Arc::new(Nobody)).unwrap();
        (disk, log)
    };
    let items = |(disk, log): (Disk, Log)| {
        let options = ItemsOptions::new(disk.items_dir(), 0);
        salvage::open_items(&disk, &log, options).map(drop).map(|()| disk.reserve_bytes().unwrap())
    };
    let started = open();
    started.0.fill_reserve(2 * RESERVE_STEP_BYTES).unwrap();
    assert_eq!(items(started).unwrap(), 2 * RESERVE_STEP_BYTES);

    small.fill("others").unwrap();
    let started = open();
    small.fill("another").unwrap();
    assert_eq!(items(started).unwrap(), 0);
    let started = open();
    small.fill("a-third").unwrap();
    let refused = items(started).unwrap_err();
    assert!(format!("{refused:#}").contains("No space left"), "{refused:#}");
}

fn big_item(number: u64) -> TurnBatch {
    let write = AppliedWrite {
        index: number,
        space: 0,
        key: format!("blob-{number}").into_bytes().into(),
        kind: WriteKind::Put,
        attributes: blob(number).into_inner().into(),
        version_timestamp_us: 1,
    };
    let mark = AppliedMark { index: number, term: 5, commit_time_us: 1 }.encode();
    let mut turn = TurnBatch::default();
    turn.add(
        PARTITION,
        TABLE,
        ApplyBatch { index: number, writes: vec![write], mark, state: None, children: Vec::new() },
    );
    turn
}

/// What a compaction gives back when it ends, too: nothing has been free for a second.
async fn take_all(small: &SmallDisk) {
    let (deadline, mut full_since) = (Instant::now() + WITHIN, Instant::now());
    for number in 0.. {
        assert!(Instant::now() < deadline, "something comes free for ever");
        let taken = small.fill(&format!("others-{number}")).unwrap();
        if std::fs::metadata(taken).unwrap().len() > 0 {
            full_since = Instant::now();
        }
        if full_since.elapsed() > Duration::from_secs(1) {
            return;
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

#[tokio::test]
async fn a_range_is_cleared_with_no_byte_left() {
    let folder = tempfile::tempdir().unwrap();
    let small = SmallDisk::mount(folder.path(), 160).unwrap();
    let options = ItemsOptions { disk_bytes: 64 << 20, ..ItemsOptions::new(folder.path().join("items"), 8 << 20) };
    let items = Items::open(options).unwrap();
    let deadline = Instant::now() + WITHIN;
    // More files than level 0 may have: some are below.
    for number in 1..=120 {
        while items.write(&big_item(number)).unwrap() == WriteOutcome::Stalled {
            assert!(Instant::now() < deadline, "the items stall for ever");
            std::thread::yield_now();
        }
    }
    items.flush().unwrap();
    take_all(&small).await;
    items.clear(PARTITION, TABLE, &KeyRange::ALL).unwrap();
    small.fill("what-is-free").unwrap();
    let freed = std::fs::metadata(folder.path().join("what-is-free")).unwrap().len();
    assert!(freed >= 8 << 20, "{freed} bytes came back");
    assert!(items.groups().unwrap().is_empty());
}
