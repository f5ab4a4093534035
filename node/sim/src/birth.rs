//! How the world is before anything happens: nodes in three zones, groups of three replicas, their keys.

use bytes::Bytes;
use model::{
    KeyRange, KeySchema, KeyType, NodeId, PartitionDescriptor, PartitionId, TableDescriptor, TableId, TableStatus,
    Value, Zone,
};

use crate::event::{Group, Place};
use crate::host::Node;
use crate::mutant::Mutant;
use crate::plan::Plan;
use crate::rng::Rng;

const HASH_SEED: u64 = 77;

pub fn partition(group: Group) -> PartitionId {
    PartitionId(group as u64 + 1)
}

pub fn zone(number: usize) -> Zone {
    Zone(format!("zone-{number}"))
}

/// The zone that descriptors say a node stands in.
pub fn told_zone(plan: &Plan, node: &Node) -> Zone {
    if plan.has(Mutant::WrongZones) { zone(node.place) } else { zone(node.zone) }
}

/// The same of the node in that place.
pub fn told_zone_of(plan: &Plan, place: Place) -> Zone {
    if plan.has(Mutant::WrongZones) { zone(place) } else { zone(place % 3) }
}

pub fn table() -> TableDescriptor {
    let wish = TableDescriptor::wish("simulated", KeySchema::simple("pk", KeyType::S));
    TableDescriptor { id: TableId(9), version: 1, status: TableStatus::Active, hash_seed: HASH_SEED, ..wish }
}

/// The keys of every group, encoded.
pub fn keys(plan: &Plan) -> Vec<Vec<Bytes>> {
    let key = |number: usize| model::key::encode_key(HASH_SEED, &Value::S(key_name(number)), None);
    (0..plan.groups).map(|_| (0..plan.keys).map(key).collect()).collect()
}

pub fn key_name(number: usize) -> String {
    format!("key-{number}")
}

/// What stands in the map for a group that is not born: nothing.
pub fn nothing(group: Group) -> PartitionDescriptor {
    PartitionDescriptor { epoch: 0, ..PartitionDescriptor::birth(partition(group), TableId(9), KeyRange::ALL, []) }
}

/// The group that a partition's id stands for.
pub fn group(partition: PartitionId) -> Group {
    usize::try_from(partition.0 - 1).expect("the world's partitions are few")
}

/// Three replicas on nodes of different zones.
pub fn descriptor(plan: &Plan, rng: &mut Rng, group: Group, nodes: &[Node]) -> PartitionDescriptor {
    let place = |zone| {
        let there: Vec<&Node> = nodes.iter().filter(|node| node.place % 3 == zone).collect();
        let node = rng.pick(&there).expect("every zone has a node");
        (node.id, told_zone(plan, node))
    };
    PartitionDescriptor::birth(partition(group), TableId(9), KeyRange::ALL, (0..3).map(place))
}

/// The id of the disk that is put into a place for the n-th time.
pub fn node_id(place: usize, disk: u64) -> NodeId {
    NodeId(1_000 * (place as u64 + 1) + disk)
}
