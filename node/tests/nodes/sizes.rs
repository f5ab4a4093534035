//! What nodes tell of how much their groups hold, and of what is asked of them.

use model::{PartitionDescriptor, PartitionId, item};
use tonic::Request;
use wire::admin::SplitGroupRequest;
use wire::admin::admin_server::Admin;
use wire::data::request::Operation;
use wire::data::{self, Write};

use crate::world::{PARTITION, Way, World, attributes, encoded_key, eventual_get, eventually, get, is_applied, put};

const EPOCH: u64 = 3;
const CHILD: PartitionId = PartitionId(0x1001);
const ITEMS: usize = 40;

fn name(number: usize) -> String {
    // All of one length.
    format!("key-{:02}", number % 100)
}

fn bytes(text: &str) -> u64 {
    u64::try_from(item::attributes_size(&attributes(&name(0), text)).unwrap()).unwrap()
}

fn delete(name: &str) -> Operation {
    let action = Some(data::write::Action::Delete(data::Delete {}));
    Operation::Write(Write { key: encoded_key(name), action, ..Default::default() })
}

/// Items and bytes of each group, as whoever leads it tells; none that is not counted.
async fn told(world: &World) -> Vec<(u64, u64, u64)> {
    let mut told = Vec::new();
    for number in (0..3).filter(|number| world.nodes[*number].is_some()) {
        for group in world.groups(number).await {
            assert!(group.serving || group.items.is_none(), "only leaders count");
            told.extend(group.items.zip(group.bytes).map(|(items, bytes)| (group.partition, items, bytes)));
        }
    }
    told.sort_unstable();
    told
}

async fn eventually_told(world: &World, expected: &[(PartitionId, usize, u64)]) {
    let mut expected: Vec<_> =
        expected.iter().map(|(id, items, one)| (id.0, *items as u64, *items as u64 * one)).collect();
    expected.sort_unstable();
    let mut last = Vec::new();
    let until = async || {
        last = told(world).await;
        (last == expected).then_some(())
    };
    tokio::time::timeout(crate::world::PATIENCE, eventually(until)).await.expect("counted in time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_put_overwritten_and_deleted_is_counted_and_so_it_is_after_a_restart() {
    let mut world = World::start(Way::Memory, 3);
    world.create().await;
    let leader = world.leader().await;
    eventually_told(&world, &[(PARTITION, 0, 0)]).await;
    let client = world.client(leader).await;
    let puts = (0..ITEMS).map(|number| put(&name(number), "a long text")).collect();
    assert!(client.ask(EPOCH, puts).await.iter().all(is_applied));
    eventually_told(&world, &[(PARTITION, ITEMS, bytes("a long text"))]).await;
    let mut writes: Vec<Operation> = (0..ITEMS).map(|number| put(&name(number), "short")).collect();
    writes.extend((0..10).map(|number| delete(&name(number))));
    assert!(client.ask(EPOCH, writes).await.iter().all(is_applied));
    // Its rest is longer than what is left of its day: it is counted in its sleep.
    eventually(async || world.group(leader).await.filter(|group| group.asleep).map(drop)).await;
    let ticks = world.node(leader).metrics().group_ticks.clone();
    let before = ticks.get();
    eventually_told(&world, &[(PARTITION, ITEMS - 10, bytes("short"))]).await;
    assert_eq!(ticks.get(), before, "nobody was woken for it");
    for number in 0..3 {
        world.stop(number).await;
    }
    for number in 0..3 {
        world.boot(number);
    }
    world.leader().await;
    eventually_told(&world, &[(PARTITION, ITEMS - 10, bytes("short"))]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_halves_of_a_split_are_counted() {
    let world = World::start(Way::Memory, 3);
    world.create().await;
    let leader = world.leader().await;
    let client = world.client(leader).await;
    let puts = (0..ITEMS).map(|number| put(&name(number), "text")).collect();
    assert!(client.ask(EPOCH, puts).await.iter().all(is_applied));
    eventually_told(&world, &[(PARTITION, ITEMS, bytes("text"))]).await;
    let mut keys: Vec<_> = (0..ITEMS).map(|number| encoded_key(&name(number))).collect();
    keys.sort();
    let at = keys[ITEMS / 4].clone();
    eventually(async || {
        let number = world.leader().await;
        let group = world.group(number).await?;
        let epoch = PartitionDescriptor::decode(group.descriptor).unwrap().epoch;
        let request = SplitGroupRequest { partition: PARTITION.0, epoch, at: at.clone(), child: CHILD.0 };
        world.node(number).services().admin.split_group(Request::new(request)).await.ok()
    })
    .await;
    let (left, right) = (ITEMS / 4, ITEMS - ITEMS / 4);
    eventually_told(&world, &[(PARTITION, left, bytes("text")), (CHILD, right, bytes("text"))]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_replica_tells_what_its_own_clients_consume() {
    let world = World::start(Way::Memory, 3);
    world.create().await;
    let leader = world.leader().await;
    let (follower, idle) = ((leader + 1) % 3, (leader + 2) % 3);
    let puts = (0..ITEMS).map(|number| put(&name(number), "text")).collect();
    assert!(world.client(leader).await.ask(EPOCH, puts).await.iter().all(is_applied));
    let gets = (0..ITEMS).map(|number| get(&name(number))).collect();
    world.client(leader).await.ask(EPOCH, gets).await;
    world.client(follower).await.ask(EPOCH, vec![eventual_get(&name(0)); ITEMS]).await;
    let units = async |number| {
        let group = world.group(number).await.unwrap();
        group.read_milliunits.zip(group.write_milliunits)
    };
    // In the first second nothing is known of a second.
    let (read, written) = eventually(async || units(leader).await.filter(|(read, _)| *read > 0)).await;
    assert!(read.abs_diff(written) <= 1, "a small item costs one unit either way: {read} and {written}");
    let followed = eventually(async || units(follower).await.filter(|(read, _)| *read > 0)).await;
    assert_eq!(followed.1, 0);
    assert_eq!(units(idle).await, None);
}
