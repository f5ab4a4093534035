//! Two nodes of three are lost for good: the group goes on from the third when people say so, and is whole again.

use model::{PartitionDescriptor, ReplicaRole};
use tonic::{Code, Request, Status};
use wire::admin::admin_server::Admin;
use wire::admin::health::State;
use wire::admin::{GroupStatus, RecoverGroupRequest};
use wire::data::response::Result as Outcome;

use crate::world::{PARTITION, World, attributes, eventual_get, eventually, get, is_applied, item_of, put};

const REASON: &str = "two zones burnt down";

fn descriptor_of(status: &GroupStatus) -> PartitionDescriptor {
    PartitionDescriptor::decode(status.descriptor.clone()).unwrap()
}

/// Exactly what the node says that it has.
async fn recover(world: &World, number: usize) -> Result<(), Status> {
    let status = world.group(number).await.unwrap();
    let request = RecoverGroupRequest {
        partition: PARTITION.0,
        replica: status.replica,
        epoch: descriptor_of(&status).epoch,
        last_term: status.last_term,
        last_index: status.last_index,
        answered: vec![status.replica],
        reason: REASON.to_owned(),
        code: "0a1b2c3d".to_owned(),
    };
    world.node(number).services().admin.recover_group(Request::new(request)).await.map(drop)
}

/// Writes of this one are acknowledged: it leads.
async fn write(world: &World, number: usize, name: &str) {
    eventually(async || {
        let epoch = descriptor_of(&world.group(number).await?).epoch;
        is_applied(&world.client(number).await.one(epoch, put(name, "text")).await).then_some(())
    })
    .await;
}

async fn read(world: &World, number: usize, name: &str) {
    let item = eventually(async || {
        let epoch = descriptor_of(&world.group(number).await?).epoch;
        let answer = world.client(number).await.one(epoch, get(name)).await;
        matches!(answer, Outcome::Got(_)).then(|| item_of(answer))
    })
    .await;
    assert_eq!(item, Some(attributes(name, "text")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_lost_two_of_three_goes_on_from_the_last_and_is_whole_again() {
    let mut world = World::repairing(6, 1_500, 3_000);
    let descriptor = world.create().await;
    let leader = world.leader().await;
    write(&world, leader, "acknowledged").await;
    let survivor = world.client(0).await;
    eventually(async || {
        let answer = survivor.one(descriptor.epoch, eventual_get("acknowledged")).await;
        matches!(&answer, Outcome::Got(got) if got.item.is_some()).then_some(())
    })
    .await;
    let refused = recover(&world, 0).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");

    let lost = [1, 2].map(|number| world.node(number).id());
    world.kill(1);
    world.kill(2);
    eventually(async || recover(&world, 0).await.ok()).await;
    assert_eq!(world.leader_among(&[1, 2]).await, 0);
    read(&world, 0, "acknowledged").await;
    write(&world, 0, "alone").await;
    let record = world.file(0, "recoveries");
    assert_eq!(record.lines().count(), 1, "{record}");
    for said in [REASON, "0a1b2c3d", &lost[0].to_string(), &lost[1].to_string()] {
        assert!(record.contains(said), "{record}");
    }
    // It is what it is after a restart, too.
    world.kill(0);
    world.boot(0);
    read(&world, 0, "alone").await;

    let whole = eventually(async || {
        let status = world.group(0).await?;
        let is_whole = status.health.as_ref().is_some_and(|health| health.state() == State::Whole);
        is_whole.then(|| descriptor_of(&status))
    })
    .await;
    for number in [0, 4, 5] {
        let member = whole.on_node(world.node(number).id());
        assert_eq!(member.map(|member| member.role), Some(ReplicaRole::Voter), "{whole:?}");
    }
    // One that was given up returns with its folder: it is told, and removes what it had.
    world.boot(2);
    eventually(async || world.group(2).await.is_none().then_some(())).await;
    // Two of the three are enough again.
    world.kill(0);
    let next = world.leader_among(&[0, 1]).await;
    read(&world, next, "acknowledged").await;
    read(&world, next, "alone").await;
}
