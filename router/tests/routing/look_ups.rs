//! What MemDS is asked, and what happens without it.

use bytes::Bytes;
use model::TableStatus;
use router::routing::Failure;

use crate::world::{NAME, World, deadline, got, partition, put, soon};

/// Ten reads of ten keys; how many look-ups and requests they cost.
async fn ten_reads(world: &World) -> (u64, usize) {
    let before = (world.metrics.lookups.get(), world.node(1).seen().len());
    for key in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"] {
        assert_eq!(world.get(key).await, Ok(Some(Bytes::from_static(b"item"))));
    }
    settle(world).await;
    (world.metrics.lookups.get() - before.0, world.node(1).seen().len() - before.1)
}

/// The stream keeps its order: once an answer that is waited for has come, those asked before have been answered. It
/// costs one look-up of a table that does not exist.
async fn settle(world: &World) {
    assert_eq!(world.routing.table("nowhere", deadline()).await, Err(Failure::TableNotFound));
}

#[tokio::test]
async fn a_cold_cache_and_a_hot_one_cost_memds_the_same() {
    let world = World::start().await;
    world
        .announce(TableStatus::Active, &[(partition(20, "", Some("e"), 1), 1, 4), (partition(21, "e", None, 1), 1, 4)]);
    world.node(1).acts(|_| got("item"));
    let cold = ten_reads(&world).await;
    let hot = ten_reads(&world).await;
    world.routing.wipe_cache();
    let wiped = ten_reads(&world).await;
    assert_eq!((cold, hot, wiped), ((11, 10), (11, 10), (11, 10)));
}

#[tokio::test]
async fn what_is_cached_goes_on_being_used_without_memds() {
    let mut world = World::with_one_partition().await;
    world.node(1).acts(|_| got("item"));
    assert!(world.get("k").await.is_ok());
    world.kill_memds().await;
    for _ in 0..5 {
        assert_eq!(world.get("k").await, Ok(Some(Bytes::from_static(b"item"))));
    }
    let missing = world.routing.table("another", soon()).await;
    assert_eq!(missing, Err(Failure::Unavailable("no answer from the partition map".to_owned())));

    // Started again, empty: what it does not know yet is not taken for absent.
    world.restart_memds().await;
    let missing = world.routing.table("another", soon()).await;
    assert!(matches!(missing, Err(Failure::Unavailable(_))), "{missing:?}");
    assert_eq!(world.get("k").await, Ok(Some(Bytes::from_static(b"item"))));
    world.announce(TableStatus::Active, &[(partition(20, "", None, 7), 1, 4)]);
    assert_eq!(world.routing.table("another", deadline()).await, Err(Failure::TableNotFound));
    world.routing.wipe_cache();
    assert_eq!(world.get("k").await, Ok(Some(Bytes::from_static(b"item"))));
}

#[tokio::test]
async fn a_background_answer_moves_the_next_request() {
    let world = World::with_one_partition().await;
    world.node(1).acts(|_| got("old leader"));
    world.node(3).acts(|_| got("new leader"));
    // The look-up that found the table was made for the second read.
    assert!(world.get("k").await.is_ok());
    assert!(world.get("k").await.is_ok());
    world.announce(TableStatus::Active, &[(partition(20, "", None, 7), 3, 6)]);
    assert_eq!(world.get("k").await, Ok(Some(Bytes::from_static(b"old leader"))));
    settle(&world).await;
    assert_eq!(world.get("k").await, Ok(Some(Bytes::from_static(b"new leader"))));
}

#[tokio::test]
async fn an_older_epoch_does_not_replace_a_newer_one() {
    let mut world = World::with_one_partition().await;
    world.node(1).acts(|_| got("item"));
    assert!(world.get("k").await.is_ok());
    // A server that is behind: started empty, told by nodes that have not applied the change.
    world.kill_memds().await;
    world.announce(TableStatus::Active, &[(partition(20, "", None, 6), 2, 3)]);
    world.restart_memds().await;
    settle(&world).await;
    assert!(world.get("k").await.is_ok());
    assert!(world.node(1).seen().iter().all(|request| request.epoch == 7));
}

#[tokio::test]
async fn a_table_that_is_being_created_takes_no_requests_until_it_is_active() {
    let world = World::start().await;
    world.announce(TableStatus::Creating, &[(partition(20, "", None, 1), 1, 4)]);
    let creating = world.table().await;
    assert_eq!(creating.status, TableStatus::Creating);
    assert_eq!(world.routing.write(&creating, put("k"), deadline()).await, Err(Failure::TableNotActive));
    world.announce(TableStatus::Active, &[(partition(20, "", None, 1), 1, 4)]);
    world.node(1).acts(|_| got("item"));
    let read = world.routing.get(&creating, Bytes::from_static(b"k"), true, deadline()).await;
    assert_eq!(read, Ok(Some(Bytes::from_static(b"item"))));
}

#[tokio::test]
async fn a_table_whose_partitions_are_not_known_yet_is_waited_for() {
    let world = World::start().await;
    world.announce(TableStatus::Active, &[]);
    let known = world.table().await;
    let early = world.routing.write(&known, put("k"), soon()).await;
    assert!(matches!(early, Err(Failure::Unavailable(_))), "{early:?}");
}

#[tokio::test]
async fn a_table_that_is_being_deleted_takes_no_requests() {
    let world = World::with_one_partition().await;
    let known = world.table().await;
    world.announce(TableStatus::Deleting, &[(partition(20, "", None, 7), 1, 4)]);
    assert_eq!(world.routing.table(NAME, deadline()).await.unwrap().status, TableStatus::Active);
    assert_eq!(world.routing.describe(NAME, deadline()).await.unwrap().status, TableStatus::Deleting);
    assert_eq!(world.routing.table(NAME, deadline()).await.unwrap().status, TableStatus::Deleting);
    assert_eq!(world.routing.write(&known, put("k"), deadline()).await, Err(Failure::TableNotActive));
    assert!(world.node(1).seen().is_empty());
}
