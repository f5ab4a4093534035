//! A partition is cut in two on real nodes, under writers, and whatever is down meanwhile.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use model::{PartitionDescriptor, PartitionId, TableStatus};
use tonic::{Code, Request};
use wire::admin::admin_server::Admin;
use wire::admin::{DestroyGroupRequest, SetTableRequest, SplitGroupRequest};
use wire::data::refused::Reason;
use wire::data::response::Result as Outcome;

use crate::world::{
    Client, PARTITION, Way, World, attributes, encoded_key, eventual_get, eventually, get, is_applied, item_of, put,
    refusal_of, scan, table,
};

const CHILD: PartitionId = PartitionId(0x1001);
const GRANDCHILD: PartitionId = PartitionId(0x1002);
const ITEMS: usize = 300;

fn name(number: usize) -> String {
    format!("key-{number}")
}

/// The encoded key in the middle of those in `range`.
fn middle(range: &model::KeyRange) -> Bytes {
    let mut keys: Vec<Bytes> = (0..ITEMS).map(|number| encoded_key(&name(number))).collect();
    keys.retain(|key| range.contains(key));
    keys.sort();
    keys[keys.len() / 2].clone()
}

/// Partitions by their start, as the leaders tell them.
async fn serving(world: &World, count: usize) -> BTreeMap<Bytes, (PartitionDescriptor, usize)> {
    eventually(async || {
        let mut found = BTreeMap::new();
        for number in (0..world.nodes.len()).filter(|number| world.nodes[*number].is_some()) {
            for group in world.groups(number).await.into_iter().filter(|group| group.serving) {
                let descriptor = PartitionDescriptor::decode(group.descriptor).unwrap();
                found.insert(descriptor.range.start.clone(), (descriptor, number));
            }
        }
        (found.len() == count).then_some(found)
    })
    .await
}

async fn split(world: &World, partition: PartitionId, child: PartitionId) -> PartitionDescriptor {
    eventually(async || {
        let number = leader_of(world, partition).await?;
        let group = world.groups(number).await.into_iter().find(|group| group.partition == partition.0)?;
        let before = PartitionDescriptor::decode(group.descriptor).unwrap();
        let (epoch, at) = (before.epoch, middle(&before.range));
        let request = SplitGroupRequest { partition: partition.0, epoch, at, child: child.0 };
        world.node(number).services().admin.split_group(Request::new(request)).await.ok()?;
        Some(before)
    })
    .await
}

async fn leader_of(world: &World, partition: PartitionId) -> Option<usize> {
    for number in (0..world.nodes.len()).filter(|number| world.nodes[*number].is_some()) {
        if world.groups(number).await.iter().any(|group| group.partition == partition.0 && group.serving) {
            return Some(number);
        }
    }
    None
}

/// Asks whoever leads the key's partition, as a router does that learns from refusals.
async fn ask(world: &World, clients: &[Client], name: &str, operation: wire::data::request::Operation) -> Outcome {
    let key = encoded_key(name);
    eventually(async || {
        for (number, client) in clients.iter().enumerate() {
            for group in world.groups(number).await.into_iter().filter(|group| group.serving) {
                let descriptor = PartitionDescriptor::decode(group.descriptor).unwrap();
                if !descriptor.range.contains(&key) {
                    continue;
                }
                let answers = client.ask_each(descriptor.epoch, vec![(descriptor.id, operation.clone())]).await;
                let answer = answers.into_iter().next().unwrap();
                if refusal_of(&answer).is_none() {
                    return Some(answer);
                }
                assert_ne!(refusal_of(&answer), Some(Reason::Unknown), "no leader was lost");
            }
        }
        None
    })
    .await
}

async fn all_there(world: &World, text: &str) {
    let mut counted = 0;
    for (descriptor, leader) in serving(world, 3).await.into_values() {
        let client = world.client(leader).await;
        let names = (0..ITEMS).map(name).filter(|name| descriptor.range.contains(&encoded_key(name)));
        for name in names {
            let answer = client.ask_each(descriptor.epoch, vec![(descriptor.id, get(&name))]).await.remove(0);
            assert_eq!(item_of(answer), Some(attributes(&name, text)), "{name}");
        }
        match client.ask_each(descriptor.epoch, vec![(descriptor.id, scan())]).await.remove(0) {
            Outcome::Scanned(page) => counted += page.scanned_count as usize,
            other => panic!("not a page: {other:?}"),
        }
    }
    assert_eq!(counted, ITEMS, "every item once, none of the other half");
}

async fn a_partition_is_split_and_its_child_too(way: Way) {
    let mut world = World::start(way, 3);
    let descriptor = world.create().await;
    let leader = world.leader().await;
    let clients = futures::future::join_all((0..3).map(|number| world.client(number))).await;
    let puts = (0..ITEMS).map(|number| put(&name(number), "old")).collect();
    assert!(clients[leader].ask(descriptor.epoch, puts).await.iter().all(is_applied));

    // Writers never stop; every write is acknowledged in the end.
    let done = AtomicBool::new(false);
    let write = async |from: usize| {
        let mut round = 0;
        while round == 0 || !done.load(Ordering::Relaxed) {
            for number in (from..ITEMS).step_by(4) {
                assert!(is_applied(&ask(&world, &clients, &name(number), put(&name(number), "new")).await));
            }
            round += 1;
        }
    };
    let splits = async {
        split(&world, PARTITION, CHILD).await;
        serving(&world, 2).await;
        split(&world, CHILD, GRANDCHILD).await;
        serving(&world, 3).await;
        done.store(true, Ordering::Relaxed);
    };
    futures::join!(splits, futures::future::join_all((0..4).map(write)));

    let partitions: Vec<_> = serving(&world, 3).await.into_values().map(|(descriptor, _)| descriptor).collect();
    assert_eq!(
        partitions.iter().map(|p| (p.id, p.epoch)).collect::<Vec<_>>(),
        [(PARTITION, 4), (CHILD, 5), (GRANDCHILD, 5)]
    );
    assert!(partitions.windows(2).all(|pair| pair[0].range.end.as_ref() == Some(&pair[1].range.start)));
    all_there(&world, "new").await;
    assert!(world.nodes.iter().flatten().all(|node| node.metrics().snapshots_sent.get() == 0), "no data was moved");
    // Followers have all of it, too.
    for client in &clients {
        for partition in &partitions {
            let name = (0..ITEMS).map(name).find(|name| partition.range.contains(&encoded_key(name))).unwrap();
            eventually(async || {
                let asked = vec![(partition.id, eventual_get(&name))];
                let answer = client.ask_each(partition.epoch, asked).await.remove(0);
                matches!(&answer, Outcome::Got(got) if got.item == Some(attributes(&name, "new"))).then_some(())
            })
            .await;
        }
    }
    // A router that knows the partition as it was is told what became of it.
    let leader = leader_of(&world, PARTITION).await.unwrap();
    match clients[leader].one(descriptor.epoch, get(&name(0))).await {
        Outcome::Refused(refused) => {
            assert_eq!(refused.reason(), Reason::StaleEpoch);
            let told = PartitionDescriptor::decode(refused.descriptor.unwrap()).unwrap();
            assert_eq!(told.range, partitions[0].range);
        }
        other => panic!("not refused: {other:?}"),
    }
    drop(clients);
    for number in 0..3 {
        world.kill(number);
    }
    for number in 0..3 {
        world.boot(number);
    }
    all_there(&world, "new").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_is_split_and_its_child_too_over_grpc() {
    a_partition_is_split_and_its_child_too(Way::Tonic).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_is_split_and_its_child_too_in_memory() {
    a_partition_is_split_and_its_child_too(Way::Memory).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_away_while_a_partition_was_split_bears_the_child_without_a_snapshot() {
    let mut world = World::start(Way::Memory, 3);
    let descriptor = world.create().await;
    let leader = world.leader().await;
    let client = world.client(leader).await;
    let puts = (0..ITEMS).map(|number| put(&name(number), "old")).collect();
    assert!(client.ask(descriptor.epoch, puts).await.iter().all(is_applied));
    let away = (leader + 1) % 3;
    world.kill(away);
    split(&world, PARTITION, CHILD).await;
    let halves = serving(&world, 2).await;
    for (descriptor, leader) in halves.values() {
        let names = (0..ITEMS).map(name).filter(|name| descriptor.range.contains(&encoded_key(name)));
        let puts = names.map(|name| (descriptor.id, put(&name, "new"))).collect();
        let client = world.client(*leader).await;
        assert!(client.ask_each(descriptor.epoch, puts).await.iter().all(is_applied));
    }
    world.boot(away);
    let client = world.client(away).await;
    for (descriptor, _) in halves.values() {
        let name = (0..ITEMS).rev().map(name).find(|name| descriptor.range.contains(&encoded_key(name))).unwrap();
        eventually(async || {
            let answer = client.ask_each(descriptor.epoch, vec![(descriptor.id, eventual_get(&name))]).await.remove(0);
            matches!(&answer, Outcome::Got(got) if got.item == Some(attributes(&name, "new"))).then_some(())
        })
        .await;
    }
    assert!(world.nodes.iter().flatten().all(|node| node.metrics().snapshots_sent.get() == 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_split_planned_on_another_epoch_or_outside_the_range_is_refused() {
    let world = World::start(Way::Memory, 3);
    let descriptor = world.create().await;
    let leader = world.leader().await;
    let ask = async |number: usize, epoch: u64, at: Bytes| {
        let request = SplitGroupRequest { partition: PARTITION.0, epoch, at, child: CHILD.0 };
        world.node(number).services().admin.split_group(Request::new(request)).await.unwrap_err()
    };
    let at = middle(&descriptor.range);
    for (number, epoch, at) in [
        (leader, descriptor.epoch - 1, at.clone()),
        (leader, descriptor.epoch, Bytes::new()),
        ((leader + 1) % 3, descriptor.epoch, at),
    ] {
        assert_eq!(ask(number, epoch, at).await.code(), Code::FailedPrecondition);
    }
    assert_eq!(world.groups(leader).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_halves_of_a_deleted_table_are_destroyed_for_good() {
    let mut world = World::start(Way::Memory, 3);
    world.create().await;
    world.leader().await;
    split(&world, PARTITION, CHILD).await;
    serving(&world, 2).await;
    let deleting = || table(TableStatus::Deleting).encode();
    for partition in [PARTITION, CHILD] {
        eventually(async || {
            let leader = leader_of(&world, partition).await?;
            let request = Request::new(SetTableRequest { partition: partition.0, table: deleting() });
            world.node(leader).services().admin.set_table(request).await.ok()
        })
        .await;
        for number in 0..3 {
            eventually(async || {
                let request = Request::new(DestroyGroupRequest { partition: partition.0, table: deleting() });
                world.node(number).services().admin.destroy_group(request).await.ok()
            })
            .await;
        }
    }
    for number in 0..3 {
        world.kill(number);
        world.boot(number);
        assert_eq!(world.groups(number).await.len(), 0);
    }
}
