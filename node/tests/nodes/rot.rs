//! Bytes of a node's files are not what was written.

use model::{PartitionDescriptor, ReplicaKind, ReplicaRole};
use wire::admin::GroupStatus;
use wire::admin::health::State;
use wire::data::response::Result as Outcome;

use crate::world::{ANSWERED_WITHIN, World, attributes, eventually, get, is_applied, item_of, put};

/// So late that a stall takes the lead from nobody.
const SUSPECT_MS: u64 = 2_000;
/// Not in these tests.
const NEVER_MS: u64 = 600_000;

fn descriptor_of(status: &GroupStatus) -> PartitionDescriptor {
    PartitionDescriptor::decode(status.descriptor.clone()).unwrap()
}

/// Changes a byte of that text wherever a file of the node's items has it; whether one had it.
fn rot(world: &World, number: usize, text: &str) -> bool {
    let mut found = false;
    for path in world.item_files(number) {
        // RocksDB may have removed it meanwhile.
        let Ok(mut bytes) = std::fs::read(&path) else { continue };
        let mut places = bytes.windows(text.len()).enumerate().filter(|(_, part)| *part == text.as_bytes());
        let Some((at, _)) = places.next_back() else { continue };
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        found = true;
    }
    found
}

/// Whoever leads answers, perhaps not the first time.
async fn read(world: &World, name: &str, expected: &str) {
    let item = eventually(async || {
        let leader = world.leader().await;
        let epoch = descriptor_of(&world.group(leader).await?).epoch;
        let client = world.client(leader).await;
        // It may end meanwhile.
        let answer = tokio::time::timeout(ANSWERED_WITHIN, client.one(epoch, get(name))).await.ok()?;
        matches!(answer, Outcome::Got(_)).then(|| item_of(answer))
    })
    .await;
    assert_eq!(item, Some(attributes(name, expected)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_items_rot_leaves_and_is_rebuilt() {
    rots_and_is_rebuilt(World::repairing(6, SUSPECT_MS, NEVER_MS)).await;
}

/// As small clusters are: no other node could stand in for it, or take the rebuilt one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_one_node_a_zone_it_is_rebuilt_on_its_own() {
    rots_and_is_rebuilt(World::repairing(3, SUSPECT_MS, NEVER_MS)).await;
}

async fn rots_and_is_rebuilt(mut world: World) {
    let descriptor = world.create().await;
    let leader = world.leader().await;
    let client = world.client(leader).await;
    let rotten = format!("an-item-that-rots{}", "x".repeat(8 << 10));
    assert!(is_applied(&client.one(descriptor.epoch, put("rotten", &rotten)).await));
    // More than a memtable.
    for number in 0..20 {
        let filler = put(&format!("filler-{number}"), &"y".repeat(300 << 10));
        assert!(is_applied(&client.one(descriptor.epoch, filler).await));
    }
    eventually(async || rot(&world, leader, "an-item-that-rots").then_some(())).await;
    // What is cached is read still. A compaction may meet it before a read does.
    eventually(async || {
        read(&world, "rotten", &rotten).await;
        let ended = !world.file(leader, "damage").is_empty();
        (ended || world.node(leader).metrics().corrupted.get() == 1).then_some(())
    })
    .await;

    // On the way a compaction may meet the same file: the process ends, and is started again.
    let id = world.node(leader).id();
    let whole = loop {
        let ends = async || (!world.file(leader, "damage").is_empty()).then_some(None);
        let whole = async || {
            let status = world.group(world.leader().await).await?;
            let descriptor = descriptor_of(&status);
            let is_whole = status.health.as_ref()?.state() == State::Whole && descriptor.replicas.len() == 3;
            (is_whole && world.node(leader).metrics().corrupt.get() == 0).then_some(Some(descriptor))
        };
        match eventually(async || if let Some(ended) = ends().await { Some(ended) } else { whole().await }).await {
            Some(whole) => break whole,
            None => {
                world.kill(leader);
                world.boot(leader);
            }
        }
    };
    let is_voter = |role, kind| role == ReplicaRole::Voter && kind == ReplicaKind::Storage;
    assert!(whole.replicas.iter().all(|replica| is_voter(replica.role, replica.kind)), "{whole:?}");
    assert_ne!(whole.on_node(id).map(|again| again.id.0), Some(leader as u64 + 1), "the corrupt one is gone");
    read(&world, "rotten", &rotten).await;
}
