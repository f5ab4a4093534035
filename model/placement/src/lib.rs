//! Where replicas go: pure decisions from what is known of nodes and partitions.
//!
//! Used by control (new partitions, moves) and by leaders (repair). Two rules are never bent: never two replicas of a
//! partition on one node, never two in one zone. Where no legal place exists the answer is a reason, not a worse place.
//! Among legal places the emptiest wins, by replicas first, then by free bytes; ties are broken by a hash of partition and
//! node, so that equal nodes fill evenly and the same question has the same answer everywhere.

pub mod repair;

use std::collections::{BTreeMap, BTreeSet};

use model::{NodeId, PartitionDescriptor, PartitionId, ReplicaId, Zone};

/// Replicas of one partition, each in its own zone.
pub const REPLICAS: usize = 3;

/// What is known of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    pub id: NodeId,
    pub zone: Zone,
    /// It answers, and its disk has room for new replicas.
    pub accepts: bool,
    pub replicas: u32,
    pub free_bytes: u64,
}

/// One place of one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub node: NodeId,
    pub zone: Zone,
}

/// Why there is no legal place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Blocked {
    #[error("{found} zones have a node that accepts replicas, {REPLICAS} are needed")]
    TooFewZones { found: usize },
    #[error("no other node of zone {zone} accepts replicas")]
    NoSpareNode { zone: Zone },
    #[error("no node beside those of its {replicas} replicas accepts another one")]
    NoSpareNodes { replicas: usize },
    #[error("the only node that could take it, {node}, has replica {replica} of the partition")]
    InTheWay { replica: ReplicaId, node: NodeId },
    #[error("the partition has no replica {replica}")]
    NoSuchReplica { replica: ReplicaId },
    #[error("node {node} is not known")]
    UnknownNode { node: NodeId },
    #[error("node {node} is in zone {zone}, where the partition has another replica already")]
    ZoneTaken { node: NodeId, zone: Zone },
    #[error("node {node} has a replica of the partition already")]
    NodeTaken { node: NodeId },
    #[error("node {node} accepts no replicas now")]
    NotAccepting { node: NodeId },
}

/// Places for several new partitions, each counting what the ones before it got.
pub fn place_new(nodes: &[NodeView], partitions: &[PartitionId]) -> Result<Vec<Vec<Place>>, Blocked> {
    let mut given: BTreeMap<NodeId, u32> = BTreeMap::new();
    partitions
        .iter()
        .map(|&partition| {
            let places = place_one(nodes, partition, &given)?;
            for place in &places {
                *given.entry(place.node).or_default() += 1;
            }
            Ok(places)
        })
        .collect()
}

fn place_one(nodes: &[NodeView], partition: PartitionId, given: &BTreeMap<NodeId, u32>) -> Result<Vec<Place>, Blocked> {
    let mut best_of_zone: BTreeMap<&Zone, &NodeView> = BTreeMap::new();
    for node in nodes.iter().filter(|node| node.accepts) {
        let best = best_of_zone.entry(&node.zone).or_insert(node);
        if rank(node, partition, given) < rank(best, partition, given) {
            *best = node;
        }
    }
    if best_of_zone.len() < REPLICAS {
        return Err(Blocked::TooFewZones { found: best_of_zone.len() });
    }
    let mut best: Vec<&NodeView> = best_of_zone.into_values().collect();
    best.sort_by_key(|node| rank(node, partition, given));
    Ok(best[..REPLICAS].iter().map(|node| Place { node: node.id, zone: node.zone.clone() }).collect())
}

/// Where a replica of this partition moves: to another node of its own zone, since its zone is the one that the others leave
/// free.
pub fn place_move(nodes: &[NodeView], partition: &PartitionDescriptor, from: ReplicaId) -> Result<Place, Blocked> {
    let Some(leaving) = partition.replica(from) else {
        return Err(Blocked::NoSuchReplica { replica: from });
    };
    let given = BTreeMap::new();
    nodes
        .iter()
        .filter(|node| node.accepts && node.zone == leaving.zone && partition.on_node(node.id).is_none())
        .min_by_key(|node| rank(node, partition.id, &given))
        .map(|node| Place { node: node.id, zone: node.zone.clone() })
        .ok_or_else(|| Blocked::NoSpareNode { zone: leaving.zone.clone() })
}

/// Whether a replica of this partition may move to that node.
pub fn check_move(
    nodes: &[NodeView],
    partition: &PartitionDescriptor,
    from: ReplicaId,
    to: NodeId,
) -> Result<Place, Blocked> {
    if partition.replica(from).is_none() {
        return Err(Blocked::NoSuchReplica { replica: from });
    }
    let Some(node) = nodes.iter().find(|node| node.id == to) else {
        return Err(Blocked::UnknownNode { node: to });
    };
    if partition.on_node(to).is_some() {
        return Err(Blocked::NodeTaken { node: to });
    }
    if partition.replicas.iter().any(|replica| replica.id != from && replica.zone == node.zone) {
        return Err(Blocked::ZoneTaken { node: to, zone: node.zone.clone() });
    }
    if !node.accepts {
        return Err(Blocked::NotAccepting { node: to });
    }
    Ok(Place { node: to, zone: node.zone.clone() })
}

/// Whether these places keep both rules.
pub fn is_legal(places: &[Place]) -> bool {
    let nodes: BTreeSet<NodeId> = places.iter().map(|place| place.node).collect();
    let zones: BTreeSet<&Zone> = places.iter().map(|place| &place.zone).collect();
    nodes.len() == places.len() && zones.len() == places.len()
}

/// Least first. Free bytes count in steps of 1 GiB, so that small differences do not outweigh the tie-break.
fn rank(node: &NodeView, partition: PartitionId, given: &BTreeMap<NodeId, u32>) -> (u32, std::cmp::Reverse<u64>, u64) {
    let replicas = node.replicas + given.get(&node.id).copied().unwrap_or(0);
    (replicas, std::cmp::Reverse(node.free_bytes >> 30), tie_break(partition, node.id))
}

/// SplitMix64's finaliser over both ids.
fn tie_break(partition: PartitionId, node: NodeId) -> u64 {
    let mut x = partition.0 ^ node.0.rotate_left(32);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use model::{KeyRange, TableId};
    use proptest::prelude::*;

    use super::*;

    fn node(id: u64, zone: &str, replicas: u32) -> NodeView {
        NodeView { id: NodeId(id), zone: Zone(zone.into()), accepts: true, replicas, free_bytes: 50 << 30 }
    }

    fn nodes() -> impl Strategy<Value = Vec<NodeView>> {
        prop::collection::vec((0u8..5, prop::bool::weighted(0.9), 0u32..40, 0u64..(100 << 30)), 0..16).prop_map(
            |list| {
                let views = list.into_iter().zip(1u64..);
                views
                    .map(|((zone, accepts, replicas, free_bytes), id)| NodeView {
                        id: NodeId(id),
                        zone: Zone(format!("zone-{zone}")),
                        accepts,
                        replicas,
                        free_bytes,
                    })
                    .collect()
            },
        )
    }

    fn partition(id: u64, places: &[Place]) -> PartitionDescriptor {
        let places = places.iter().map(|place| (place.node, place.zone.clone()));
        PartitionDescriptor::birth(PartitionId(id), TableId(7), KeyRange::ALL, places)
    }

    proptest! {
        #[test]
        fn never_two_replicas_in_one_zone_or_on_one_node(nodes in nodes(), ids in prop::collection::vec(any::<u64>(), 1..20)) {
            let ids: Vec<PartitionId> = ids.into_iter().map(PartitionId).collect();
            let zones: BTreeSet<&Zone> = nodes.iter().filter(|n| n.accepts).map(|n| &n.zone).collect();
            match place_new(&nodes, &ids) {
                Ok(all) => {
                    prop_assert_eq!(all.len(), ids.len());
                    for places in all {
                        prop_assert_eq!(places.len(), REPLICAS);
                        prop_assert!(is_legal(&places));
                        for place in places {
                            prop_assert!(nodes.iter().any(|n| n.id == place.node && n.zone == place.zone && n.accepts));
                        }
                    }
                }
                Err(blocked) => prop_assert_eq!(blocked, Blocked::TooFewZones { found: zones.len() }),
            }
        }

        /// However many zones there are and nodes in each, also where some partitions were born before.
        #[test]
        fn equal_nodes_of_a_zone_get_equally_many(
            zones in prop::collection::vec(1usize..6, REPLICAS..6), first in 0u64..40, then in 0u64..40,
        ) {
            let homes = zones.iter().enumerate().flat_map(|(zone, nodes)| vec![format!("zone-{zone}"); *nodes]);
            let mut nodes: Vec<NodeView> = homes.zip(1..).map(|(zone, id)| node(id, &zone, 0)).collect();
            for ids in [0..first, first..first + then] {
                let ids: Vec<PartitionId> = ids.map(|id| PartitionId(id.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
                for place in place_new(&nodes, &ids).unwrap().into_iter().flatten() {
                    nodes.iter_mut().find(|node| node.id == place.node).unwrap().replicas += 1;
                }
                for zone in nodes.iter().map(|node| &node.zone) {
                    let counts = || nodes.iter().filter(|node| node.zone == *zone).map(|node| node.replicas);
                    prop_assert!(counts().max().unwrap() - counts().min().unwrap() <= 1, "{:?}", nodes);
                }
            }
        }

        #[test]
        fn a_move_keeps_both_rules(nodes in nodes(), id in any::<u64>(), from in 1u64..=3) {
            let Ok(places) = place_new(&nodes, &[PartitionId(id)]) else { return Ok(()) };
            let descriptor = partition(id, &places[0]);
            if let Ok(place) = place_move(&nodes, &descriptor, ReplicaId(from)) {
                let mut after: Vec<Place> = places[0].clone();
                let index = usize::try_from(from - 1).unwrap();
                prop_assert_ne!(after[index].node, place.node);
                prop_assert_eq!(check_move(&nodes, &descriptor, ReplicaId(from), place.node), Ok(place.clone()));
                after[index] = place;
                prop_assert!(is_legal(&after));
            }
        }
    }

    #[test]
    fn partitions_fill_equal_nodes_evenly() {
        let nodes: Vec<NodeView> = ["a", "b", "c"]
            .iter()
            .flat_map(|zone| (0..4).map(move |_| *zone))
            .zip(1..)
            .map(|(z, id)| node(id, z, 0))
            .collect();
        let ids: Vec<PartitionId> = (0..40).map(|i| PartitionId(i * 7919)).collect();
        let mut count: BTreeMap<NodeId, u32> = BTreeMap::new();
        for place in place_new(&nodes, &ids).unwrap().into_iter().flatten() {
            *count.entry(place.node).or_default() += 1;
        }
        assert!(count.values().all(|&n| n == 10), "{count:?}");
    }

    #[test]
    fn a_move_stays_in_its_zone_and_says_when_it_cannot() {
        let nodes = [node(1, "a", 1), node(2, "b", 1), node(3, "c", 1), node(4, "b", 9)];
        let places = place_new(&nodes[..3], &[PartitionId(5)]).unwrap().remove(0);
        let descriptor = partition(5, &places);
        let in_b = descriptor.replicas.iter().find(|r| r.zone.0 == "b").unwrap().id;
        let in_c = descriptor.replicas.iter().find(|r| r.zone.0 == "c").unwrap().id;
        assert_eq!(place_move(&nodes, &descriptor, in_b).unwrap().node, NodeId(4));
        assert_eq!(place_move(&nodes, &descriptor, in_c), Err(Blocked::NoSpareNode { zone: Zone("c".into()) }));
        let zone = Zone("b".into());
        assert_eq!(check_move(&nodes, &descriptor, in_c, NodeId(4)), Err(Blocked::ZoneTaken { node: NodeId(4), zone }));
    }

    #[test]
    fn two_zones_are_not_enough() {
        let nodes = [node(1, "a", 0), node(2, "b", 0), node(3, "b", 0)];
        assert_eq!(place_new(&nodes, &[PartitionId(1)]), Err(Blocked::TooFewZones { found: 2 }));
    }
}
