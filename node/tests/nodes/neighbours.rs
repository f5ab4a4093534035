//! What nodes know of each other: by heartbeats, by silence, and by a word before a planned stop.

use std::collections::BTreeMap;

use model::NodeId;
use placement::NodeView;

use crate::world::{Way, World, eventually};

/// What that node knows, itself included.
fn views(world: &World, number: usize) -> BTreeMap<NodeId, NodeView> {
    world.node(number).neighbours().views().into_iter().map(|view| (view.id, view)).collect()
}

/// Until every living node says so of that one.
async fn all_say(world: &World, of: NodeId, accepts: bool) {
    for number in (0..world.nodes.len()).filter(|number| world.nodes[*number].is_some()) {
        eventually(async || {
            let views = views(world, number);
            views.get(&of).is_some_and(|view| view.accepts == accepts).then_some(())
        })
        .await;
    }
}

async fn nodes_tell_each_other_what_placement_asks(way: Way) {
    let world = World::start(way, 4);
    let ids: Vec<NodeId> = (0..4).map(|number| world.node(number).id()).collect();
    for id in &ids {
        all_say(&world, *id, true).await;
    }
    world.create().await;
    // The fourth shares no group with them, and hears of it all the same.
    for number in 0..4 {
        eventually(async || {
            let replicas: Vec<u32> = ids.iter().map(|id| views(&world, number)[id].replicas).collect();
            (replicas == [1, 1, 1, 0]).then_some(())
        })
        .await;
        let views = views(&world, number);
        assert!(ids.iter().all(|id| views[id].free_bytes > 0));
        assert_eq!(views[&ids[1]].zone.0, crate::world::zone(1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_tell_each_other_what_placement_asks_over_grpc() {
    nodes_tell_each_other_what_placement_asks(Way::Tonic).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_tell_each_other_what_placement_asks_in_memory() {
    nodes_tell_each_other_what_placement_asks(Way::Memory).await;
}

async fn a_node_that_stops_says_so_and_one_that_is_killed_falls_silent(way: Way) {
    let mut world = World::start(way, 4);
    world.create().await;
    let [stopped, killed] = [2, 3].map(|number| world.node(number).id());
    for node in [stopped, killed] {
        all_say(&world, node, true).await;
    }
    world.stop(2).await;
    // Known before it had gone.
    for number in [0, 1] {
        let neighbours = world.node(number).neighbours();
        assert!(neighbours.is_stopping(stopped) && !neighbours.is_stopping(killed));
        assert!(!views(&world, number)[&stopped].accepts);
    }
    world.kill(3);
    all_say(&world, killed, false).await;
    assert!(!world.node(0).neighbours().is_stopping(killed));
    for number in [2, 3] {
        world.boot(number);
    }
    for node in [stopped, killed] {
        all_say(&world, node, true).await;
        assert!(!world.node(0).neighbours().is_stopping(node), "a new start ends it");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_says_so_and_one_that_is_killed_falls_silent_over_grpc() {
    a_node_that_stops_says_so_and_one_that_is_killed_falls_silent(Way::Tonic).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_says_so_and_one_that_is_killed_falls_silent_in_memory() {
    a_node_that_stops_says_so_and_one_that_is_killed_falls_silent(Way::Memory).await;
}
