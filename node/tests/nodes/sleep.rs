//! Groups with nothing to do sleep on real nodes, and no loss of a node is slept through.

use crate::many::Table;
use crate::world::{Way, World, attributes, eventually, get, is_applied, item_of, put};

const EPOCH: u64 = 3;

async fn all_asleep(world: &World) {
    eventually(async || {
        for number in (0..3).filter(|number| world.nodes[*number].is_some()) {
            if world.groups(number).await.iter().any(|group| !group.asleep) {
                return None;
            }
        }
        Some(())
    })
    .await;
}

async fn a_group_sleeps_and_wakes_for_a_request(way: Way) {
    let world = World::start(way, 3);
    world.create().await;
    let leader = world.leader().await;
    let client = world.client(leader).await;
    assert!(is_applied(&client.one(EPOCH, put("key", "first")).await));
    for text in ["second", "third"] {
        all_asleep(&world).await;
        let messages = world.node(leader).metrics().raft_messages.clone();
        let before = messages.get();
        assert!(is_applied(&client.one(EPOCH, put("key", text)).await));
        assert!(messages.get() > before);
        all_asleep(&world).await;
        assert_eq!(item_of(client.one(EPOCH, get("key")).await), Some(attributes("key", text)));
        assert_eq!(world.leader().await, leader, "nobody stood for election meanwhile");
    }
    all_asleep(&world).await;
    for number in 0..3 {
        // Ticks go on, and nobody gets one.
        let metrics = world.node(number).metrics();
        let (before, frames) = (metrics.group_ticks.get(), metrics.raft_frames_sent.get());
        eventually(async || (metrics.raft_frames_sent.get() >= frames + 10).then_some(())).await;
        assert_eq!(metrics.group_ticks.get(), before);
        assert_eq!(metrics.asleep.get(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_sleeps_and_wakes_for_a_request_over_grpc() {
    a_group_sleeps_and_wakes_for_a_request(Way::Tonic).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_sleeps_and_wakes_for_a_request_in_memory() {
    a_group_sleeps_and_wakes_for_a_request(Way::Memory).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_sleeps_through_the_loss_of_a_node() {
    let mut table = Table::start(Way::Tonic).await;
    table.leaders().await;
    for number in 0..3 {
        all_asleep(&table.world).await;
        table.world.kill(number);
        // Nobody asks anything of them.
        table.leaders().await;
        table.world.boot(number);
        table.leaders().await;
    }
    all_asleep(&table.world).await;
    table.world.stop(1).await;
    table.leaders().await;
}
