//! What a node refuses, and how much work it makes of a write.

use std::time::Instant;

use bytes::Bytes;
use futures::StreamExt;
use wire::data::data_client::DataClient;
use wire::data::refused::Reason;
use wire::data::response::Result as Outcome;
use wire::data::{Request, RequestFrame};
use wire::raft::{Entry, Frame, Message};
use wire::seal::callers::Voice;

use crate::world::{
    PARTITION, TICK_MS, Way, World, attributes, config, descriptor, eventual_get, eventually, get, is_applied, item_of,
    put, refusal_of,
};
use node::config::ByteSize;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_folder_takes_no_identity_by_itself() {
    let folder = tempfile::TempDir::new().unwrap();
    let blank = node::Config { format: false, ..config(&folder, 0, Vec::new()) };
    let refused = node::Node::start(blank, node::transport::Connector::Tonic).err().expect("it does not start");
    assert!(format!("{refused:#}").contains("has no identity"), "{refused:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_much_at_once_is_shed_and_the_rest_is_answered() {
    let world = World::start(Way::Memory, 3);
    let epoch = world.create().await.epoch;
    let client = world.client(world.leader().await).await;
    let puts = (0..3000).map(|n| put(&format!("key-{n}"), "text")).collect();
    let answers = client.ask(epoch, puts).await;
    let applied = answers.iter().filter(|answer| is_applied(answer)).count();
    let shed = answers.iter().filter(|answer| refusal_of(answer) == Some(Reason::Overloaded)).count();
    assert_eq!(applied + shed, 3000, "nothing else is answered");
    assert!(shed > 0 && applied >= 512, "{applied} applied, {shed} shed");
    // Nothing of it is left behind.
    assert!(is_applied(&client.one(epoch, put("after", "text")).await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_writes_and_goes_on_reading() {
    let mut world = World::start(Way::Memory, 3);
    let epoch = world.create().await.epoch;
    let client = world.client(world.leader().await).await;
    assert!(is_applied(&client.one(epoch, put("key", "text")).await));
    // Started again, every node finds less room than it is to keep free.
    world.reserve = ByteSize(u64::MAX / 2);
    for number in 0..3 {
        world.kill(number);
    }
    for number in 0..3 {
        world.boot(number);
    }
    eventually(async || {
        let client = world.client(world.leader().await).await;
        let refused = refusal_of(&client.one(epoch, put("key", "other")).await) == Some(Reason::DiskFull);
        refused.then_some(())
    })
    .await;
    eventually(async || {
        let client = world.client(world.leader().await).await;
        let Outcome::Got(got) = client.one(epoch, get("key")).await else { return None };
        assert_eq!(got.item, Some(attributes("key", "text")));
        Some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_with_a_full_disk_stays_up_and_catches_up_later() {
    let mut world = World::start(Way::Memory, 3);
    let epoch = world.create().await.epoch;
    let leader = world.leader().await;
    let client = world.client(leader).await;
    assert!(is_applied(&client.one(epoch, put("before", "text")).await));
    let full = (leader + 1) % 3;
    let applied = world.group(leader).await.unwrap().applied;
    eventually(async || world.group(full).await.filter(|group| group.applied >= applied)).await;
    // Started again, this one finds less room than it is to keep free.
    world.kill(full);
    world.reserve = ByteSize(u64::MAX / 2);
    world.boot(full);
    eventually(async || (world.node(full).metrics().free_bytes.get() > 0).then_some(())).await;

    let writer = async |name: &str, text: &str| {
        let leader = world.leader_among(&[full]).await;
        let client = world.client(leader).await;
        is_applied(&client.one(epoch, put(name, text)).await)
    };
    // It takes a bounded rest of what others have under way, and then nothing.
    let large = "x".repeat(300 << 10);
    eventually(async || {
        let written = writer("meanwhile", &large).await;
        (written && world.node(full).metrics().disk_full_dropped.get() > 0).then_some(())
    })
    .await;
    assert!(writer("after", "text").await, "two go on");
    // It reads what it has, and only that.
    let reader = world.client(full).await;
    assert_eq!(item_of(reader.one(epoch, eventual_get("before")).await), Some(attributes("before", "text")));
    assert_eq!(item_of(reader.one(epoch, eventual_get("after")).await), None);

    world.kill(full);
    world.reserve = ByteSize(1 << 20);
    world.boot(full);
    let reader = world.client(full).await;
    eventually(async || {
        let Outcome::Got(got) = reader.one(epoch, eventual_get("after")).await else { return None };
        got.item.filter(|item| *item == attributes("after", "text"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_epoch_is_told_the_newest_descriptor() {
    let world = World::start(Way::Memory, 3);
    let newest = world.create().await;
    let client = world.client(world.leader().await).await;
    for operation in [put("key", "text"), get("key")] {
        let Outcome::Refused(refused) = client.one(newest.epoch - 1, operation).await else { panic!("answered") };
        assert_eq!(refused.reason(), Reason::StaleEpoch);
        assert_eq!(refused.descriptor, Some(newest.encode()));
    }
    let other = World::start(Way::Memory, 1);
    let nowhere = other.client(0).await.one(3, get("key")).await;
    assert_eq!(refusal_of(&nowhere), Some(Reason::UnknownPartition));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_of_garbage_are_refused_and_change_nothing() {
    let world = World::start(Way::Tonic, 3);
    let epoch = world.create().await.epoch;
    let leader = world.leader().await;
    let node = world.node(leader);
    let garbage = || node.metrics().garbage.get();
    let before = garbage();
    let message = Message { partition: PARTITION.0, from: 2, to: 1, term: 99, ..Default::default() };
    let entry = Entry { term: 99, index: 11, data: Bytes::from_static(b"?"), crc32c: 1, ..Default::default() };
    let messages = vec![
        // A proposal, a kind that does not exist, an entry that fails its checksum.
        Message { kind: 2, ..message.clone() },
        Message { kind: 55, ..message.clone() },
        Message { kind: 3, entries: vec![entry], ..message },
    ];
    let frame = Frame { from_node: 1, to_node: node.id().0, start_number: 1, messages, ..Default::default() };
    let raft = node.services().raft.clone();
    raft.receive(Voice::Anybodys, futures::stream::iter([Ok(frame.clone())]).boxed()).await.unwrap();
    assert_eq!(garbage() - before, 3);
    // A frame for another node: its address was reused.
    let elsewhere = Frame { to_node: 12345, ..frame };
    let raft = node.services().raft.clone();
    assert!(raft.receive(Voice::Anybodys, futures::stream::iter([Ok(elsewhere)]).boxed()).await.is_err());
    let client = world.client(leader).await;
    assert!(is_applied(&client.one(epoch, put("key", "text")).await));
    assert_eq!(world.leader().await, leader);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_for_a_retired_replica_creates_nothing() {
    let world = World::start(Way::Memory, 1);
    let node = world.node(0);
    let vote = |to: u64| {
        let message = Message { partition: PARTITION.0, from: 2, to, kind: 5, term: 9, ..Default::default() };
        Frame { from_node: 1, to_node: node.id().0, start_number: 1, messages: vec![message], ..Default::default() }
    };
    let send = async |frame| {
        node.services()
            .raft
            .clone()
            .receive(Voice::Anybodys, futures::stream::iter([Ok(frame)]).boxed())
            .await
            .unwrap();
    };
    send(vote(7)).await;
    eventually(async || world.group(0).await.filter(|group| group.replica == 7)).await;
    // An older id is dropped; the replica stays.
    send(vote(6)).await;
    assert_eq!(world.group(0).await.map(|group| group.replica), Some(7));
    // A newer one says that this one has been removed.
    send(vote(8)).await;
    eventually(async || world.group(0).await.is_none().then_some(())).await;
    send(vote(7)).await;
    send(vote(8)).await;
    eventually(async || world.group(0).await.filter(|group| group.replica == 8)).await;
    let created = wire::admin::CreateGroupRequest {
        descriptor: descriptor(&[node.id()]).encode(),
        table: crate::world::table(model::TableStatus::Active).encode(),
    };
    use wire::admin::admin_server::Admin;
    let refused = node.services().admin.create_group(tonic::Request::new(created)).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition, "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_in_flight_share_frames_wakes_messages_and_syncs() {
    const ROUNDS: u64 = 30;
    const IN_FLIGHT: u64 = 64;
    let world = World::start(Way::Memory, 3);
    let epoch = world.create().await.epoch;
    let leader = world.leader().await;
    let client = world.client(leader).await;
    let node = world.node(leader);
    let metrics = node.metrics();
    let counts = || {
        [
            metrics.response_frames.get(),
            metrics.raft_frames_sent.get(),
            metrics.raft_messages.get(),
            metrics.wakes.get(),
            metrics.entries.get(),
            node.log_counters().syncs,
        ]
    };
    let (before, began) = (counts(), Instant::now());
    for round in 0..ROUNDS {
        let puts = (0..IN_FLIGHT).map(|n| put(&format!("key-{round}-{n}"), "text")).collect();
        assert!(client.ask(epoch, puts).await.iter().all(is_applied));
    }
    let (after, ticks) = (counts(), u64::try_from(began.elapsed().as_millis()).unwrap() / TICK_MS + 1);
    let names = ["answer frames", "raft frames", "raft messages", "wakes", "entries", "syncs"];
    let bounds = [3, 6, 8, 12, 3, 3];
    // Time makes some alone: of every two ticks a heartbeat of the node and one of the group to each of two others, and their answers.
    let by_tick = [0, 2, 1, 2, 0, 0];
    let counted = after.into_iter().zip(before).zip(by_tick);
    for ((name, bound), ((after, before), by_tick)) in names.into_iter().zip(bounds).zip(counted) {
        let per_round = (after - before).saturating_sub(ticks * by_tick).div_ceil(ROUNDS);
        assert!(per_round <= bound, "{per_round} {name} for {IN_FLIGHT} puts, {bound} allowed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_ends_its_side_is_answered_what_it_has_sent() {
    let world = World::start(Way::Tonic, 3);
    let epoch = world.create().await.epoch;
    let address = world.node(world.leader().await).address().to_owned();
    let requests = (1..=100).map(|id| Request {
        id,
        partition: PARTITION.0,
        epoch,
        deadline_ms: 30_000,
        table_version: 4,
        operation: Some(put(&format!("key-{id}"), "text")),
    });
    let frame = RequestFrame { requests: requests.collect() };
    let mut client = DataClient::new(node::transport::connector::channel(&address).await.unwrap());
    let mut answers = client.exchange(tokio_stream::iter([frame])).await.unwrap().into_inner();
    let mut outcomes = Vec::new();
    while let Some(frame) = answers.next().await {
        outcomes.extend(frame.unwrap().responses.into_iter().map(|response| response.result.unwrap()));
    }
    assert!(outcomes.iter().all(is_applied), "{outcomes:?}");
    assert_eq!(outcomes.len(), 100);
}
