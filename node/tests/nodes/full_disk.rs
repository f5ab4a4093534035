//! Nodes on a disk that is really full: one small file system for all three.

use std::collections::BTreeMap;
use std::fs;

use bytes::Bytes;
use futures::future::join_all;
use model::{Item, Value, item};
use tempfile::TempDir;
use tonic::Request;
use wire::admin::TransferLeaderRequest;
use wire::admin::admin_server::Admin;
use wire::data::refused::Reason;
use wire::data::request::Operation;
use wire::data::response::Result as Outcome;
use wire::data::{Write, write};

use crate::small_disk::SmallDisk;
use crate::world::{
    Way, World, attributes, encoded_key, eventual_get, eventually, get, is_applied, item_of, put, refusal_of,
};
use node::config::ByteSize;

const EPOCH: u64 = 3;
const DISK_MEGABYTES: u64 = 320;
/// Writes are refused when half of it is left.
const RESERVE: ByteSize = ByteSize(32 << 20);
/// Close to the largest item.
const BLOB_BYTES: usize = 380 << 10;
/// Puts at once.
const WRITERS: u64 = 4;
/// Of leadership, while nothing is free.
const HAND_OVERS: usize = 6;
/// Far more than fit.
const ROUNDS: u64 = 500;

/// A world on a small disk; the world ends first, the folder last.
fn small_world() -> (TempDir, SmallDisk, World) {
    let folder = TempDir::new().unwrap();
    let disk = SmallDisk::mount(folder.path(), DISK_MEGABYTES).unwrap();
    let world = World::on(disk.path(), Way::Memory, 3, RESERVE);
    (folder, disk, world)
}

/// Nothing compresses it.
fn blob(number: u64) -> Bytes {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(BLOB_BYTES + 8);
    while bytes.len() < BLOB_BYTES {
        // Marsaglia's xorshift64.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_be_bytes());
    }
    Bytes::from(bytes)
}

fn large(number: u64) -> (String, Bytes) {
    let name = format!("large-{number}");
    let item: Item = [("pk".to_owned(), Value::S(name.clone())), ("blob".to_owned(), Value::B(blob(number)))].into();
    (name, Bytes::from(item::encode_attributes(&item)))
}

fn put_large(number: u64) -> Operation {
    let (name, attributes) = large(number);
    Operation::Write(Write {
        key: encoded_key(&name),
        action: Some(write::Action::Put(attributes)),
        ..Default::default()
    })
}

/// Writes as fast as it can until the disk is said to be full; what was acknowledged.
async fn fill(world: &World) -> BTreeMap<u64, Bytes> {
    let mut acknowledged = BTreeMap::new();
    for round in 0..ROUNDS {
        let leader = world.leader().await;
        let client = world.client(leader).await;
        let numbers = round * WRITERS..(round + 1) * WRITERS;
        let puts = numbers.clone().map(|number| client.one(EPOCH, put_large(number)));
        let mut full = false;
        for (number, answer) in numbers.zip(join_all(puts).await) {
            match &answer {
                answer if is_applied(answer) => drop(acknowledged.insert(number, large(number).1)),
                Outcome::Refused(refused) => full |= refused.reason() == Reason::DiskFull,
                other => panic!("neither written nor refused: {other:?}"),
            }
        }
        if full {
            return acknowledged;
        }
    }
    panic!("{} items of {BLOB_BYTES} bytes were written to {DISK_MEGABYTES} MB", acknowledged.len());
}

async fn has_all(world: &World, acknowledged: &BTreeMap<u64, Bytes>) {
    for (number, expected) in acknowledged {
        let name = large(*number).0;
        let item = eventually(async || {
            let client = world.client(world.leader().await).await;
            // Refused while another takes the lead.
            let Outcome::Got(got) = client.one(EPOCH, get(&name)).await else { return None };
            Some(got.item)
        })
        .await;
        assert!(item.as_ref() == Some(expected), "{name} is lost or another's");
    }
}

/// As soon as it is noticed: until then a write is taken, and kept.
async fn refuses(world: &World, number: u64) {
    eventually(async || {
        let client = world.client(world.leader().await).await;
        let answer = client.one(EPOCH, put_large(number)).await;
        (refusal_of(&answer) == Some(Reason::DiskFull)).then_some(())
    })
    .await;
}

/// The replica with the next id leads, if it is willing.
async fn hand_over(world: &World) {
    let leader = world.leader().await;
    let group = world.group(leader).await.unwrap();
    let request = TransferLeaderRequest { partition: group.partition, to_replica: group.replica % 3 + 1 };
    // Refused where it has not caught up: its log may wait for room.
    drop(world.node(leader).services().admin.transfer_leader(Request::new(request)).await);
}

async fn takes_again(world: &World, name: &str) {
    eventually(async || {
        let client = world.client(world.leader().await).await;
        is_applied(&client.one(EPOCH, put(name, "text")).await).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fills_at_once_refuses_writes_and_loses_nothing() {
    let (_folder, disk, mut world) = small_world();
    world.create().await;
    let acknowledged = fill(&world).await;
    assert!(acknowledged.len() > 20, "{} items fit on {DISK_MEGABYTES} MB", acknowledged.len());
    has_all(&world, &acknowledged).await;

    // Somebody else takes the rest: reads go on.
    let taken = disk.fill("taken").unwrap();
    has_all(&world, &acknowledged).await;
    refuses(&world, 1_000_000).await;

    // One starts with nothing left. The others follow when there is room: on a shared disk they might take what it gives up.
    for number in 0..3 {
        world.kill(number);
    }
    disk.fill("the-rest").unwrap();
    world.boot(0);
    fs::remove_file(taken).unwrap();
    fs::remove_file(disk.path().join("the-rest")).unwrap();
    for number in 1..3 {
        world.boot(number);
    }
    has_all(&world, &acknowledged).await;
    disk.resize(2 * DISK_MEGABYTES).unwrap();
    takes_again(&world, "afterwards").await;
    has_all(&world, &acknowledged).await;
    for number in 0..3 {
        world.stop(number).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_full_in_the_middle_of_a_write_ends_no_node() {
    let (_folder, disk, mut world) = small_world();
    world.create().await;
    takes_again(&world, "before").await;
    // Nothing is left between two looks at the room: the log itself is refused.
    let taken = disk.fill("taken").unwrap();
    let client = world.client(world.leader().await).await;
    let under_way: Vec<Operation> = (0..WRITERS).map(put_large).collect();
    let answers = tokio::spawn(async move { client.ask(EPOCH, under_way).await });
    // A strong read may have to wait for what is committed and not applied yet.
    eventually(async || {
        let client = world.client(world.leader().await).await;
        let Outcome::Got(got) = client.one(EPOCH, eventual_get("before")).await else { return None };
        got.item.filter(|item| *item == attributes("before", "text"))
    })
    .await;
    refuses(&world, 1_000_000).await;
    // Whoever is to lead finds a disk on which its first entry and its vote have room.
    for _ in 0..HAND_OVERS {
        hand_over(&world).await;
        refuses(&world, 1_000_000).await;
    }
    fs::remove_file(taken).unwrap();
    takes_again(&world, "after").await;
    // What was proposed has become known one way or the other.
    let applied = answers.await.unwrap().iter().map(is_applied).collect::<Vec<_>>();
    for (number, _) in (0..WRITERS).zip(applied).filter(|(_, applied)| *applied) {
        let client = world.client(world.leader().await).await;
        assert_eq!(item_of(client.one(EPOCH, get(&large(number).0)).await), Some(large(number).1));
    }
    for number in 0..3 {
        world.stop(number).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_two_full_disks_would_not_take_is_surely_refused_at_once() {
    let mut world = World::start(Way::Memory, 3);
    world.create().await;
    let roomy = world.leader().await;
    takes_again(&world, "before").await;
    let full: Vec<usize> = (0..3).filter(|number| *number != roomy).collect();
    for number in &full {
        world.kill(*number);
    }
    let usual = std::mem::replace(&mut world.reserve, ByteSize(u64::MAX / 2));
    for number in &full {
        world.boot(*number);
    }
    // Asked of the one with room: its followers would never acknowledge it.
    let mut attempt = 0;
    let never = eventually(async || {
        attempt += 1;
        let name = format!("attempt-{attempt}");
        let client = world.client(world.leader_among(&full).await).await;
        (refusal_of(&client.one(EPOCH, put(&name, "text")).await) == Some(Reason::DiskFull)).then_some(name)
    })
    .await;
    let asked = world.leader_among(&full).await;
    assert_eq!(item_of(world.client(asked).await.one(EPOCH, get(&never)).await), None);
    for number in &full {
        world.kill(*number);
    }
    world.reserve = usual;
    for number in &full {
        world.boot(*number);
    }
    takes_again(&world, "after").await;
    let client = world.client(world.leader().await).await;
    assert_eq!(item_of(client.one(EPOCH, get(&never)).await), None);
    assert_eq!(item_of(client.one(EPOCH, eventual_get("after")).await), Some(attributes("after", "text")));
}
