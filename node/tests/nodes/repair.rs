//! A node is lost: its replicas are stood in for, taken back, or rebuilt elsewhere, by the leaders alone.

use model::{PartitionDescriptor, ReplicaDescriptor, ReplicaKind, ReplicaRole};
use wire::admin::health::State;
use wire::admin::{GroupStatus, Health};

use crate::world::{World, attributes, eventual_get, eventually, get, is_applied, item_of, put};

/// Not in this test.
const NEVER_MS: u64 = 600_000;

fn descriptor_of(status: &GroupStatus) -> PartitionDescriptor {
    PartitionDescriptor::decode(status.descriptor.clone()).unwrap()
}

/// The group as its leader shows it, once it is in that state.
async fn until(world: &World, without: usize, state: State) -> (GroupStatus, Health) {
    eventually(async || {
        let leader = world.leader_among(&[without]).await;
        let status = world.group(leader).await?;
        let health = status.health.clone()?;
        (health.state() == state).then_some((status, health))
    })
    .await
}

async fn write(world: &World, without: usize, name: &str) {
    eventually(async || {
        let leader = world.leader_among(&[without]).await;
        let epoch = descriptor_of(&world.group(leader).await?).epoch;
        is_applied(&world.client(leader).await.one(epoch, put(name, "text")).await).then_some(())
    })
    .await;
}

async fn read(world: &World, without: usize, name: &str) {
    eventually(async || {
        let leader = world.leader_among(&[without]).await;
        let epoch = descriptor_of(&world.group(leader).await?).epoch;
        let answer = world.client(leader).await.one(epoch, get(name)).await;
        matches!(answer, wire::data::response::Result::Got(_)).then(|| item_of(answer).unwrap())
    })
    .await;
}

fn on(world: &World, number: usize, descriptor: &PartitionDescriptor) -> Option<(ReplicaRole, ReplicaKind)> {
    let described = descriptor.on_node(world.node(number).id());
    described.map(|ReplicaDescriptor { role, kind, .. }| (*role, *kind))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_node_is_stood_in_for_and_taken_back() {
    let mut world = World::repairing(6, 1_000, NEVER_MS);
    world.create().await;
    write(&world, 9, "before").await;
    let lost = (world.leader().await + 1) % 3;
    let id = world.node(lost).id();
    world.kill(lost);
    let (status, _) = until(&world, lost, State::StoodIn).await;
    let descriptor = descriptor_of(&status);
    // On the other node of its zone.
    assert_eq!(on(&world, lost + 3, &descriptor), Some((ReplicaRole::Voter, ReplicaKind::Log)));
    assert_eq!(descriptor.on_node(id).unwrap().role, ReplicaRole::Learner);
    write(&world, lost, "meanwhile").await;
    world.boot(lost);
    let descriptor = eventually(async || {
        let (status, _) = until(&world, 9, State::Whole).await;
        let descriptor = descriptor_of(&status);
        (descriptor.replicas.len() == 3).then_some(descriptor)
    })
    .await;
    assert_eq!(on(&world, lost, &descriptor), Some((ReplicaRole::Voter, ReplicaKind::Storage)));
    eventually(async || world.group(lost + 3).await.is_none().then_some(())).await;
    let client = world.client(lost).await;
    let expected = Some(attributes("meanwhile", "text"));
    eventually(async || {
        let answer = client.one(descriptor.epoch, eventual_get("meanwhile")).await;
        matches!(&answer, wire::data::response::Result::Got(got) if got.item == expected).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stays_away_is_replaced_and_told_so_when_it_returns() {
    let mut world = World::repairing(6, 600, 2_000);
    world.create().await;
    write(&world, 9, "before").await;
    let lost = world.leader().await;
    let id = world.node(lost).id();
    world.kill(lost);
    let whole = eventually(async || {
        let (status, _) = until(&world, lost, State::Whole).await;
        let descriptor = descriptor_of(&status);
        descriptor.on_node(id).is_none().then_some(descriptor)
    })
    .await;
    assert_eq!(on(&world, lost + 3, &whole), Some((ReplicaRole::Voter, ReplicaKind::Storage)));
    read(&world, lost, "before").await;
    world.boot(lost);
    eventually(async || world.group(lost).await.is_none().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_a_zone_has_one_node_to_spare_the_log_replica_leaves_it_to_the_rebuilt_one() {
    let mut world = World::repairing(4, 600, 2_500);
    world.create().await;
    write(&world, 9, "before").await;
    let id = world.node(0).id();
    world.kill(0);
    until(&world, 0, State::StoodIn).await;
    let whole = eventually(async || {
        let (status, _) = until(&world, 0, State::Whole).await;
        let descriptor = descriptor_of(&status);
        descriptor.on_node(id).is_none().then_some(descriptor)
    })
    .await;
    assert_eq!(on(&world, 3, &whole), Some((ReplicaRole::Voter, ReplicaKind::Storage)));
    assert_eq!(whole.replicas.len(), 3);
    read(&world, 0, "before").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_node_to_spare_the_group_says_so_and_goes_on_with_two() {
    let mut world = World::repairing(3, 600, 2_000);
    world.create().await;
    let lost = (world.leader().await + 1) % 3;
    world.kill(lost);
    let health = eventually(async || {
        let (_, health) = until(&world, lost, State::Missing).await;
        (!health.why.is_empty()).then_some(health)
    })
    .await;
    assert!(health.why.contains("accepts"), "{health:?}");
    write(&world, lost, "alone").await;
    world.boot(lost);
    until(&world, 9, State::Whole).await;
}
