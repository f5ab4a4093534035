//! One group on three nodes: it answers, survives the loss of its leader, and keeps what it acknowledged.

use wire::data::response::Result as Outcome;

use crate::world::{
    Client, Way, World, attributes, eventual_get, eventually, get, is_applied, item_of, put, refusal_of, scan,
};

const EPOCH: u64 = 3;

async fn put_all(client: &Client, names: std::ops::Range<u32>) {
    let puts = names.clone().map(|n| put(&format!("key-{n}"), "first")).collect();
    let answers = client.ask(EPOCH, puts).await;
    assert!(answers.iter().all(is_applied), "{answers:?}");
}

async fn has_all(client: &Client, names: std::ops::Range<u32>) {
    let gets = names.clone().map(|n| get(&format!("key-{n}"))).collect();
    for (n, answer) in names.zip(client.ask(EPOCH, gets).await) {
        let name = format!("key-{n}");
        assert_eq!(item_of(answer), Some(attributes(&name, "first")), "{name}");
    }
}

async fn writes_are_read_and_scanned(way: Way) {
    let world = World::start(way, 3);
    world.create().await;
    let leader = world.leader().await;
    let client = world.client(leader).await;
    put_all(&client, 0..100).await;
    has_all(&client, 0..100).await;
    assert_eq!(item_of(client.one(EPOCH, get("nobody")).await), None);

    let Outcome::Scanned(page) = client.one(EPOCH, scan()).await else { panic!("not a page") };
    assert_eq!((page.count, page.scanned_count, page.finished), (100, 100, true));

    // A follower answers what it has applied, and refuses what only the leader may answer.
    let follower = world.client((leader + 1) % 3).await;
    let expected = Some(attributes("key-7", "first"));
    eventually(async || (item_of(follower.one(EPOCH, eventual_get("key-7")).await) == expected).then_some(())).await;
    let Outcome::Refused(refused) = follower.one(EPOCH, get("key-7")).await else { panic!("a follower answered") };
    assert_eq!(refused.leader, world.node(leader).id().0);
    assert_eq!(refusal_of(&Outcome::Refused(refused)), Some(wire::data::refused::Reason::NotLeader));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_are_read_and_scanned_over_grpc() {
    writes_are_read_and_scanned(Way::Tonic).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_are_read_and_scanned_in_memory() {
    writes_are_read_and_scanned(Way::Memory).await;
}

async fn the_group_outlives_its_leader(way: Way) {
    let mut world = World::start(way, 3);
    world.create().await;
    let first = world.leader().await;
    put_all(&world.client(first).await, 0..50).await;

    world.kill(first);
    let second = world.leader_among(&[first]).await;
    let client = world.client(second).await;
    has_all(&client, 0..50).await;
    put_all(&client, 50..80).await;

    world.boot(first);
    let applied = world.group(second).await.unwrap().applied;
    eventually(async || world.group(first).await.filter(|group| group.applied >= applied)).await;
    let returned = world.client(first).await;
    let expected = Some(attributes("key-79", "first"));
    eventually(async || (item_of(returned.one(EPOCH, eventual_get("key-79")).await) == expected).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_outlives_its_leader_over_grpc() {
    the_group_outlives_its_leader(Way::Tonic).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_outlives_its_leader_in_memory() {
    the_group_outlives_its_leader(Way::Memory).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_started_again_have_what_was_written() {
    let mut world = World::start(Way::Tonic, 3);
    world.create().await;
    let leader = world.leader().await;
    put_all(&world.client(leader).await, 0..200).await;
    for number in 0..3 {
        world.kill(number);
    }
    for number in 0..3 {
        world.boot(number);
    }
    let leader = world.leader().await;
    has_all(&world.client(leader).await, 0..200).await;
    // Stopped with a word, a leader hands over first.
    world.stop(leader).await;
    let next = world.leader_among(&[leader]).await;
    has_all(&world.client(next).await, 0..200).await;
}
