//! A replica moves to another node, and groups end.

use model::{PartitionDescriptor, TableStatus, Zone};
use tonic::{Code, Request};
use wire::admin::admin_server::Admin;
use wire::admin::change_replicas_request::Change;
use wire::admin::{
    AddLearner, ChangeReplicasRequest, CreateGroupRequest, DestroyGroupRequest, GroupStatus, Remove, SetTableRequest,
    Swap,
};

use crate::world::{
    PARTITION, Way, World, attributes, descriptor, eventual_get, eventually, get, is_applied, item_of, put, table, zone,
};

/// Asks the leader, whoever it is by then, until the change is carried out.
async fn change(world: &World, epoch: u64, change: Change) -> GroupStatus {
    eventually(async || {
        let leader = world.leader().await;
        let change = Some(change.clone());
        let request = Request::new(ChangeReplicasRequest { partition: PARTITION.0, epoch, change });
        match world.node(leader).services().admin.change_replicas(request).await {
            Ok(status) => Some(status.into_inner()),
            Err(status) => {
                // The learner is behind yet, or the leader changed.
                assert!(matches!(status.code(), Code::FailedPrecondition | Code::Unavailable), "{status}");
                None
            }
        }
    })
    .await
}

fn epoch_of(status: &GroupStatus) -> u64 {
    PartitionDescriptor::decode(status.descriptor.clone()).unwrap().epoch
}

async fn a_replica_moves(way: Way) {
    let world = World::start(way, 4);
    let descriptor = world.create().await;
    let leader = world.leader().await;
    let client = world.client(leader).await;
    let puts = (0..300).map(|n| put(&format!("key-{n}"), &"x".repeat(500))).collect();
    assert!(client.ask(descriptor.epoch, puts).await.iter().all(is_applied));

    let leaves = (leader + 1) % 3;
    let add = AddLearner { node: world.node(3).id().0, zone: zone(leaves) };
    let status = change(&world, descriptor.epoch, Change::AddLearner(add)).await;
    let swap = Swap { promote: 4, demote: leaves as u64 + 1 };
    let status = change(&world, epoch_of(&status), Change::Swap(swap)).await;
    let remove = Remove { replica: leaves as u64 + 1 };
    let status = change(&world, epoch_of(&status), Change::Remove(remove)).await;
    let epoch = epoch_of(&status);
    assert!(epoch > descriptor.epoch);

    // The removed replica is told, gives its data up, and the newcomer answers from its own disk.
    eventually(async || world.group(leaves).await.is_none().then_some(())).await;
    let newcomer = world.client(3).await;
    let expected = Some(attributes("key-299", &"x".repeat(500)));
    eventually(async || {
        let answer = newcomer.one(epoch, eventual_get("key-299")).await;
        matches!(&answer, wire::data::response::Result::Got(got) if got.item == expected).then_some(())
    })
    .await;
    let leader = world.leader().await;
    let client = world.client(leader).await;
    assert_eq!(item_of(client.one(epoch, get("key-0")).await), Some(attributes("key-0", &"x".repeat(500))));
    // What was planned against the old epoch is refused.
    let request = Request::new(ChangeReplicasRequest {
        partition: PARTITION.0,
        epoch: descriptor.epoch,
        change: Some(Change::Remove(remove)),
    });
    let refused = world.node(leader).services().admin.change_replicas(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_moves_over_grpc() {
    a_replica_moves(Way::Tonic).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_moves_in_memory() {
    a_replica_moves(Way::Memory).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_is_destroyed_only_when_its_table_is_being_deleted() {
    let mut world = World::start(Way::Memory, 3);
    let descriptor = world.create().await;
    let leader = world.leader().await;
    let client = world.client(leader).await;
    assert!(is_applied(&client.one(3, put("key", "text")).await));
    // Created again, it is there already.
    world.create().await;

    let destroy = |status| Request::new(DestroyGroupRequest { partition: PARTITION.0, table: table(status).encode() });
    let refused = world.node(leader).services().admin.destroy_group(destroy(TableStatus::Active)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);

    eventually(async || {
        let leader = world.leader().await;
        let table = table(TableStatus::Deleting).encode();
        let request = Request::new(SetTableRequest { partition: PARTITION.0, table });
        world.node(leader).services().admin.set_table(request).await.ok()
    })
    .await;
    for number in 0..3 {
        eventually(async || {
            world.node(number).services().admin.destroy_group(destroy(TableStatus::Deleting)).await.ok()
        })
        .await;
        assert_eq!(world.group(number).await, None);
    }
    // Its replicas' ids are never accepted again, not even after a restart.
    world.kill(0);
    world.boot(0);
    let request = CreateGroupRequest { descriptor: descriptor.encode(), table: table(TableStatus::Active).encode() };
    let refused = world.node(0).services().admin.create_group(Request::new(request)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_not_born_in_one_zone() {
    let world = World::start(Way::Memory, 3);
    let mut descriptor = descriptor(&[world.node(0).id(), world.node(1).id(), world.node(2).id()]);
    for replica in &mut descriptor.replicas {
        replica.zone = Zone(zone(0));
    }
    let request = CreateGroupRequest { descriptor: descriptor.encode(), table: table(TableStatus::Active).encode() };
    let refused = world.node(0).services().admin.create_group(Request::new(request)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    assert_eq!(world.group(0).await, None);
}
