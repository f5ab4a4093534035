//! Where a group's leader has a lost replica stood in for, and rebuilt.
//!
//! A log replica belongs into the zone that lost a storage replica; where that zone has no node to spare, any other will
//! do: the rule that commits need two zones guards them all the same. A rebuilt replica has items, so it never goes where
//! another voter with items is: its zone is the lost one, or else one that no storage replica votes in.

use std::collections::{BTreeMap, BTreeSet};

use model::{NodeId, PartitionDescriptor, ReplicaDescriptor, ReplicaKind, ReplicaRole, Zone};

use crate::{Blocked, NodeView, Place, rank};

/// What has been placed lately and does not show in the nodes' own counts yet.
pub type Given = BTreeMap<NodeId, u32>;

/// A node for a log replica in place of a replica in `lost`.
pub fn place_stand_in(
    nodes: &[NodeView],
    partition: &PartitionDescriptor,
    lost: Option<&Zone>,
    given: &Given,
) -> Result<Place, Blocked> {
    let in_zone = free(nodes, partition).filter(|node| lost == Some(&node.zone));
    best(in_zone, partition, given)
        .or_else(|| best(free(nodes, partition), partition, given))
        .ok_or_else(|| blocked(partition, lost))
}

/// A node for a log replica anywhere but in `avoided`: its node there is wanted for something else.
pub fn place_stand_in_elsewhere(
    nodes: &[NodeView],
    partition: &PartitionDescriptor,
    avoided: &Zone,
    given: &Given,
) -> Result<Place, Blocked> {
    let elsewhere = free(nodes, partition).filter(|node| node.zone != *avoided);
    best(elsewhere, partition, given).ok_or_else(|| blocked(partition, None))
}

/// A node for a new storage replica in place of one in `lost`.
pub fn place_rebuilt(
    nodes: &[NodeView],
    partition: &PartitionDescriptor,
    lost: Option<&Zone>,
    given: &Given,
) -> Result<Place, Blocked> {
    let covered: BTreeSet<&Zone> =
        partition.replicas.iter().filter(|replica| has_items_and_votes(replica)).map(|replica| &replica.zone).collect();
    let legal = |node: &&NodeView| !covered.contains(&node.zone);
    let in_zone = free(nodes, partition).filter(legal).filter(|node| lost == Some(&node.zone));
    if let Some(place) = best(in_zone, partition, given) {
        return Ok(place);
    }
    // A node of the lost zone that the group itself occupies can be freed; then no other zone is needed.
    let mut occupied = nodes.iter().filter(|node| node.accepts).filter(legal);
    let in_the_way =
        occupied.find_map(|node| partition.on_node(node.id).filter(|_| lost.is_none_or(|zone| node.zone == *zone)));
    if let Some(place) = best(free(nodes, partition).filter(legal), partition, given)
        && (in_the_way.is_none() || lost.is_none())
    {
        return Ok(place);
    }
    match in_the_way {
        Some(replica) => Err(Blocked::InTheWay { replica: replica.id, node: replica.node }),
        None => Err(blocked(partition, lost)),
    }
}

fn has_items_and_votes(replica: &ReplicaDescriptor) -> bool {
    replica.kind == ReplicaKind::Storage && replica.role == ReplicaRole::Voter
}

fn free<'a>(nodes: &'a [NodeView], partition: &'a PartitionDescriptor) -> impl Iterator<Item = &'a NodeView> {
    nodes.iter().filter(|node| node.accepts && partition.on_node(node.id).is_none())
}

fn best<'a>(
    nodes: impl Iterator<Item = &'a NodeView>,
    partition: &PartitionDescriptor,
    given: &Given,
) -> Option<Place> {
    let best = nodes.min_by_key(|node| rank(node, partition.id, given))?;
    Some(Place { node: best.id, zone: best.zone.clone() })
}

fn blocked(partition: &PartitionDescriptor, lost: Option<&Zone>) -> Blocked {
    match lost {
        Some(zone) => Blocked::NoSpareNode { zone: zone.clone() },
        None => Blocked::NoSpareNodes { replicas: partition.replicas.len() },
    }
}

#[cfg(test)]
mod tests {
    use model::{KeyRange, PartitionId, ReplicaId, TableId};
    use proptest::prelude::*;

    use super::*;
    use crate::REPLICAS;

    fn zone(name: u8) -> Zone {
        Zone(format!("zone-{name}"))
    }

    /// Nodes of up to five zones, some of which accept nothing.
    fn nodes() -> impl Strategy<Value = Vec<NodeView>> {
        prop::collection::vec((0u8..5, prop::bool::weighted(0.8), 0u32..40), 0..14).prop_map(|list| {
            let views = list.into_iter().zip(1u64..);
            views
                .map(|((name, accepts, replicas), id)| NodeView {
                    id: NodeId(id),
                    zone: zone(name),
                    accepts,
                    replicas,
                    free_bytes: 50 << 30,
                })
                .collect()
        })
    }

    /// A group whose storage voters stand in distinct zones, on some of the nodes; learners and a log voter anywhere.
    fn group(nodes: &[NodeView], picks: &[(usize, u8)]) -> PartitionDescriptor {
        let mut replicas: Vec<ReplicaDescriptor> = Vec::new();
        for &(pick, what) in picks {
            let Some(node) = nodes.get(pick % nodes.len().max(1)) else { continue };
            let (role, kind) = match what % 4 {
                0 | 1 => (ReplicaRole::Voter, ReplicaKind::Storage),
                2 => (ReplicaRole::Learner, ReplicaKind::Storage),
                _ => (ReplicaRole::Voter, ReplicaKind::Log),
            };
            let id = ReplicaId(replicas.len() as u64 + 1);
            let replica = ReplicaDescriptor { id, node: node.id, zone: node.zone.clone(), role, kind };
            let taken = replicas.iter().any(|other| other.node == node.id);
            let covered = replicas.iter().any(|other| has_items_and_votes(other) && other.zone == node.zone);
            let beside = has_items_and_votes(&replica) && covered;
            if !taken && !beside {
                replicas.push(replica);
            }
        }
        PartitionDescriptor {
            id: PartitionId(9),
            table: TableId(7),
            range: KeyRange::ALL,
            epoch: 1,
            next_replica: ReplicaId(replicas.len() as u64 + 1),
            replicas,
        }
    }

    fn is_free_and_real(nodes: &[NodeView], group: &PartitionDescriptor, place: &Place) -> bool {
        let real = nodes.iter().any(|node| node.id == place.node && node.zone == place.zone && node.accepts);
        real && group.on_node(place.node).is_none()
    }

    proptest! {
        #[test]
        fn a_stand_in_never_shares_a_node_and_stays_in_its_zone_where_it_can(
            nodes in nodes(), picks in prop::collection::vec((0usize..14, any::<u8>()), 0..6), lost in 0u8..5,
        ) {
            let (group, lost) = (group(&nodes, &picks), zone(lost));
            let spare = |wanted: Option<&Zone>| free(&nodes, &group).any(|node| wanted.is_none_or(|z| node.zone == *z));
            match place_stand_in(&nodes, &group, Some(&lost), &Given::new()) {
                Ok(place) => {
                    prop_assert!(is_free_and_real(&nodes, &group, &place));
                    prop_assert!(place.zone == lost || !spare(Some(&lost)));
                }
                Err(_) => prop_assert!(!spare(None)),
            }
            match place_stand_in_elsewhere(&nodes, &group, &lost, &Given::new()) {
                Ok(place) => prop_assert!(is_free_and_real(&nodes, &group, &place) && place.zone != lost),
                Err(_) => prop_assert!(free(&nodes, &group).all(|node| node.zone == lost)),
            }
        }

        #[test]
        fn a_rebuilt_replica_never_stands_beside_a_voter_with_items(
            nodes in nodes(), picks in prop::collection::vec((0usize..14, any::<u8>()), 0..6), lost in 0u8..5,
        ) {
            let (group, lost) = (group(&nodes, &picks), zone(lost));
            let covered = |zone: &Zone| group.replicas.iter().any(|r| has_items_and_votes(r) && r.zone == *zone);
            let legal = |node: &&NodeView| !covered(&node.zone);
            match place_rebuilt(&nodes, &group, Some(&lost), &Given::new()) {
                Ok(place) => {
                    prop_assert!(is_free_and_real(&nodes, &group, &place) && !covered(&place.zone));
                    let at_home = free(&nodes, &group).filter(legal).any(|node| node.zone == lost);
                    prop_assert!(place.zone == lost || !at_home);
                }
                Err(Blocked::InTheWay { replica, node }) => {
                    prop_assert_eq!(group.on_node(node).map(|found| found.id), Some(replica));
                    prop_assert!(nodes.iter().any(|n| n.id == node && n.accepts && n.zone == lost));
                    prop_assert!(!free(&nodes, &group).filter(legal).any(|node| node.zone == lost));
                }
                Err(_) => prop_assert!(!free(&nodes, &group).any(|node| legal(&node))),
            }
        }

        #[test]
        fn many_groups_that_lose_one_node_spread_over_the_zones_others(spare in 2u64..6, groups in 1u64..80) {
            let spares: Vec<NodeView> = (0..spare)
                .map(|id| NodeView { id: NodeId(10 + id), zone: zone(2), accepts: true, replicas: 5, free_bytes: 1 << 40 })
                .collect();
            let mut given = Given::new();
            for id in 0..groups {
                let mut group = group(&[], &[]);
                group.id = PartitionId(id * 7919);
                let place = place_stand_in(&spares, &group, Some(&zone(2)), &given).unwrap();
                *given.entry(place.node).or_default() += 1;
            }
            let most = given.values().max().copied().unwrap_or_default();
            let least = if given.len() as u64 == spare { given.values().min().copied().unwrap_or_default() } else { 0 };
            prop_assert!(most - least <= 1, "{given:?}");
        }
    }

    #[test]
    fn what_stands_on_the_zones_only_spare_node_is_named() {
        let views: Vec<NodeView> = [(1, 0), (2, 1), (3, 2), (4, 2)]
            .map(|(id, name)| NodeView {
                id: NodeId(id),
                zone: zone(name),
                accepts: id != 3,
                replicas: 1,
                free_bytes: 1 << 40,
            })
            .to_vec();
        // Replica 3 on node 3 is lost, and log replica 4 stands in for it on node 4.
        let mut lost = group(&views, &[(0, 0), (1, 0), (2, 2), (3, 3)]);
        assert_eq!(lost.replicas.len(), REPLICAS + 1);
        let wanted = Err(Blocked::InTheWay { replica: ReplicaId(4), node: NodeId(4) });
        assert_eq!(place_rebuilt(&views, &lost, Some(&zone(2)), &Given::new()), wanted);
        lost.replicas.pop();
        assert_eq!(place_rebuilt(&views, &lost, Some(&zone(2)), &Given::new()).unwrap().node, NodeId(4));
    }
}
