//! Many groups on the same nodes: each is answered by its own leader, whichever worker has it.

use std::collections::{BTreeMap, BTreeSet};

use model::{KeyRange, PartitionDescriptor, PartitionId, TableStatus};
use tonic::Request;
use wire::admin::admin_server::Admin;
use wire::admin::{CreateGroupRequest, DestroyGroupRequest, SetTableRequest};

use crate::world::{
    Way, World, attributes, descriptor, encoded_key, eventually, get, is_applied, item_of, put, refusal_of, table,
};

const GROUPS: u32 = 10;
const EPOCH: u64 = 3;

/// One table in several partitions, on three nodes.
pub struct Table {
    pub world: World,
    partitions: Vec<PartitionDescriptor>,
}

impl Table {
    pub async fn start(way: Way) -> Table {
        let world = World::start(way, 3);
        let nodes = [world.node(0).id(), world.node(1).id(), world.node(2).id()];
        let partition = |(number, range): (u64, KeyRange)| PartitionDescriptor {
            // Odd ids and even ones: of every worker some.
            id: PartitionId(0x1000 + number),
            range,
            ..descriptor(&nodes)
        };
        let partitions: Vec<_> = (0..).zip(KeyRange::even(GROUPS)).map(partition).collect();
        let create = async |number: usize, descriptor: &PartitionDescriptor| {
            let table = table(TableStatus::Active).encode();
            let request = CreateGroupRequest { descriptor: descriptor.encode(), table };
            world.node(number).services().admin.create_group(Request::new(request)).await.unwrap();
        };
        // All at once, so that the workers of a node are at it together.
        let creations = partitions.iter().flat_map(|descriptor| (0..3).map(move |number| (number, descriptor)));
        futures::future::join_all(creations.map(|(number, descriptor)| create(number, descriptor))).await;
        Table { world, partitions }
    }

    /// The node that leads and serves, by partition; of all of them.
    pub async fn leaders(&self) -> BTreeMap<PartitionId, usize> {
        eventually(async || {
            let mut leaders = BTreeMap::new();
            for number in (0..3).filter(|number| self.world.nodes[*number].is_some()) {
                let serving = self.world.groups(number).await.into_iter().filter(|group| group.serving);
                leaders.extend(serving.map(|group| (PartitionId(group.partition), number)));
            }
            (leaders.len() == self.partitions.len()).then_some(leaders)
        })
        .await
    }

    fn partition_of(&self, name: &str) -> PartitionId {
        let key = encoded_key(name);
        self.partitions.iter().find(|partition| partition.range.contains(&key)).unwrap().id
    }

    /// Every name is put, all names of one node in one frame, until each has been applied.
    async fn put_all(&self, names: &[String], text: &str) {
        let mut left: BTreeSet<&String> = names.iter().collect();
        eventually(async || {
            let leaders = self.leaders().await;
            for number in 0..3 {
                let here = |name: &&&String| leaders[&self.partition_of(name)] == number;
                let asked: Vec<&String> = left.iter().filter(here).copied().collect();
                for applied in self.put_some(number, &asked, text).await {
                    left.remove(applied);
                }
            }
            left.is_empty().then_some(())
        })
        .await;
    }

    /// Which of them were applied by that node; the others were refused.
    async fn put_some<'a>(&self, number: usize, names: &[&'a String], text: &str) -> Vec<&'a String> {
        if names.is_empty() {
            return Vec::new();
        }
        let puts = names.iter().map(|name| (self.partition_of(name), put(name, text))).collect();
        let answers = self.world.client(number).await.ask_each(EPOCH, puts).await;
        assert!(answers.iter().all(|answer| is_applied(answer) || refusal_of(answer).is_some()), "{answers:?}");
        names.iter().zip(answers).filter(|(_, answer)| is_applied(answer)).map(|(name, _)| *name).collect()
    }

    async fn has_all(&self, names: &[String], text: &str) {
        for name in names {
            eventually(async || {
                let partition = self.partition_of(name);
                let client = self.world.client(self.leaders().await[&partition]).await;
                let answer = client.ask_each(EPOCH, vec![(partition, get(name))]).await.remove(0);
                if refusal_of(&answer).is_some() {
                    return None;
                }
                assert_eq!(item_of(answer), Some(attributes(name, text)), "{name}");
                Some(())
            })
            .await;
        }
    }
}

fn names() -> Vec<String> {
    (0..200).map(|n| format!("key-{n}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_groups_answer_and_outlive_their_nodes() {
    let mut table = Table::start(Way::Tonic).await;
    let names = names();
    table.put_all(&names, "first").await;
    for number in 0..3 {
        table.world.kill(number);
        table.put_all(&names[..50], "second").await;
        table.world.boot(number);
    }
    table.has_all(&names[..50], "second").await;
    table.has_all(&names[50..], "first").await;
    let groups: BTreeSet<u64> = table.world.groups(1).await.iter().map(|group| group.partition).collect();
    assert_eq!(groups.len(), table.partitions.len());
    // Stopped with a word, a node hands all its leaders over.
    table.world.stop(1).await;
    table.has_all(&names[..10], "second").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tables_groups_are_destroyed_together() {
    let table = Table::start(Way::Memory).await;
    table.put_all(&names(), "text").await;
    let deleting = crate::world::table(TableStatus::Deleting);
    for partition in &table.partitions {
        eventually(async || {
            let leader = table.leaders().await[&partition.id];
            let request = SetTableRequest { partition: partition.id.0, table: deleting.encode() };
            table.world.node(leader).services().admin.set_table(Request::new(request)).await.ok()
        })
        .await;
    }
    let destroy = async |number: usize, partition: u64| {
        eventually(async || {
            let request = Request::new(DestroyGroupRequest { partition, table: deleting.encode() });
            table.world.node(number).services().admin.destroy_group(request).await.ok()
        })
        .await;
    };
    let all = table.partitions.iter().flat_map(|partition| (0..3).map(move |number| (number, partition.id.0)));
    futures::future::join_all(all.map(|(number, partition)| destroy(number, partition))).await;
    for number in 0..3 {
        assert_eq!(table.world.groups(number).await, Vec::new());
    }
}
