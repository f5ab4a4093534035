//! Which replica moves next: away from nodes that leave, then to nodes that have fewer than others of their zone. Pure.
//!
//! One at a time, and only while every group is whole: a move is no haste, a repair is. The leader of the group moved hands over where it
//! must (`control::moves`), so that no client sees it.

use std::collections::{BTreeMap, BTreeSet};

use control::moves::Move;
use control::plan::Observed;
use model::{NodeId, PartitionDescriptor};

/// A node as moves see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub node: NodeId,
    pub zone: String,
    /// It goes, and takes nothing new.
    pub leaving: bool,
    /// It serves.
    pub ready: bool,
}

/// Why nodes cannot leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoRoom {
    pub message: String,
}

/// The next move, if there is one. Only of what every node has said.
pub fn next(places: &[Place], observed: &Observed, whole: bool) -> Result<Option<Move>, NoRoom> {
    if !observed.complete || !whole {
        return Ok(None);
    }
    let groups = newest(observed);
    let load = load(&groups);
    let leaves = |place: &Place| {
        let group = groups.iter().find(|group| place.leaving && group.on_node(place.node).is_some())?;
        Some((place.clone(), *group))
    };
    let Some((leaver, group)) = places.iter().find_map(leaves) else { return Ok(balance(places, &groups, &load)) };
    if has_begun(group, &leaver) {
        return Ok(Some(Move { partition: group.id, from: leaver.node, to: None }));
    }
    let to = target(places, &load, &leaver, group).ok_or_else(|| NoRoom {
        message: format!(
            "node {} is to leave zone {}, and no other node of it takes its replicas: add one, or take the wish back",
            leaver.node, leaver.zone
        ),
    })?;
    Ok(Some(Move { partition: group.id, from: leaver.node, to: Some(to) }))
}

/// A move that was cut short goes on to where it was going.
fn has_begun(group: &PartitionDescriptor, leaver: &Place) -> bool {
    group.replicas.iter().any(|replica| replica.zone.0 == leaver.zone && replica.node != leaver.node)
}

fn newest(observed: &Observed) -> Vec<&PartitionDescriptor> {
    let groups = observed.groups.values();
    let newest = groups.filter_map(|reports| {
        reports.iter().filter_map(|report| report.descriptor.as_ref()).max_by_key(|descriptor| descriptor.epoch)
    });
    newest.collect()
}

/// Replicas of each node.
fn load(groups: &[&PartitionDescriptor]) -> BTreeMap<NodeId, usize> {
    let mut load = BTreeMap::new();
    for replica in groups.iter().flat_map(|group| &group.replicas) {
        *load.entry(replica.node).or_default() += 1;
    }
    load
}

/// The node of the zone that stays, serves, and has least.
fn target(
    places: &[Place],
    load: &BTreeMap<NodeId, usize>,
    from: &Place,
    group: &PartitionDescriptor,
) -> Option<NodeId> {
    let taken: BTreeSet<NodeId> = group.replicas.iter().map(|replica| replica.node).collect();
    let takes =
        |place: &&Place| place.zone == from.zone && !place.leaving && place.ready && !taken.contains(&place.node);
    let count = |place: &&Place| (load.get(&place.node).copied().unwrap_or(0), place.node);
    places.iter().filter(takes).min_by_key(count).map(|place| place.node)
}

/// A move between two nodes that stay, cut short: two replicas of a group in one zone, the younger one on its way in.
fn cut_short(groups: &[&PartitionDescriptor]) -> Option<Move> {
    groups.iter().find_map(|group| {
        let beside = |old: &&model::ReplicaDescriptor| {
            group.replicas.iter().any(|new| new.id > old.id && new.zone == old.zone && new.role != old.role)
        };
        let old = group.replicas.iter().find(beside)?;
        Some(Move { partition: group.id, from: old.node, to: None })
    })
}

/// Two more than another is worth a move; one more is not, or it would go back and forth.
fn balance(places: &[Place], groups: &[&PartitionDescriptor], load: &BTreeMap<NodeId, usize>) -> Option<Move> {
    if let Some(begun) = cut_short(groups) {
        return Some(begun);
    }
    let count = |place: &&Place| (load.get(&place.node).copied().unwrap_or(0), place.node);
    let zones: BTreeSet<&str> = places.iter().map(|place| place.zone.as_str()).collect();
    zones.into_iter().find_map(|zone| {
        let stays = || places.iter().filter(move |place| place.zone == zone && !place.leaving && place.ready);
        let (most, least) = (stays().max_by_key(count)?, stays().min_by_key(count)?);
        if count(&most).0 < count(&least).0 + 2 {
            return None;
        }
        let group =
            groups.iter().find(|group| group.on_node(most.node).is_some() && group.on_node(least.node).is_none())?;
        Some(Move { partition: group.id, from: most.node, to: Some(least.node) })
    })
}

#[cfg(test)]
mod tests {
    use control::plan::ReplicaReport;
    use model::{KeyRange, PartitionId, TableId, Zone};

    use super::*;

    fn place(node: u64, zone: &str) -> Place {
        Place { node: NodeId(node), zone: zone.to_owned(), leaving: false, ready: true }
    }

    /// Partitions with these nodes of zones a, b and c.
    fn observed(groups: &[[u64; 3]]) -> Observed {
        let mut observed = Observed { complete: true, ..Observed::default() };
        for (id, nodes) in (1..).zip(groups) {
            let zones = ["a", "b", "c"].map(|zone| Zone(zone.to_owned()));
            let places = nodes.iter().map(|node| NodeId(*node)).zip(zones);
            let descriptor = PartitionDescriptor::birth(PartitionId(id), TableId(1), KeyRange::ALL, places);
            let report = ReplicaReport {
                node: NodeId(nodes[0]),
                descriptor: Some(descriptor),
                table: None,
                serving: true,
                health: None,
            };
            observed.groups.insert(PartitionId(id), vec![report]);
        }
        observed
    }

    fn shown(found: Result<Option<Move>, NoRoom>) -> Option<(u64, u64, u64)> {
        found.unwrap().map(|wish| (wish.partition.0, wish.from.0, wish.to.unwrap().0))
    }

    #[test]
    fn replicas_leave_a_node_one_by_one_for_the_emptiest_of_its_zone() {
        let mut places = vec![place(1, "a"), place(2, "b"), place(3, "c"), place(4, "a"), place(5, "a")];
        places[0].leaving = true;
        let seen = observed(&[[4, 2, 3], [1, 2, 3], [1, 2, 3]]);
        assert_eq!(shown(next(&places, &seen, true)), Some((2, 1, 5)));
        assert_eq!(shown(next(&places, &seen, false)), None);
        let unsure = Observed { complete: false, ..seen.clone() };
        assert_eq!(shown(next(&places, &unsure, true)), None);
        // One was on its way when the last look ended.
        let mut begun = observed(&[[1, 2, 3]]);
        let group = begun.groups.get_mut(&PartitionId(1)).unwrap()[0].descriptor.as_mut().unwrap();
        let learner = model::ReplicaDescriptor {
            id: model::ReplicaId(4),
            node: NodeId(5),
            role: model::ReplicaRole::Learner,
            ..group.replicas[0].clone()
        };
        group.replicas.push(learner);
        let wish = next(&places, &begun, true).unwrap().unwrap();
        assert_eq!((wish.from, wish.to), (NodeId(1), None));
        places.truncate(3);
        assert!(next(&places, &seen, true).is_err());
    }

    #[test]
    fn a_move_to_a_new_node_that_was_cut_short_is_ended_before_another_begins() {
        let places = vec![place(1, "a"), place(2, "b"), place(3, "c"), place(4, "a")];
        let mut begun = observed(&[[1, 2, 3], [1, 2, 3], [1, 2, 3]]);
        let group = begun.groups.get_mut(&PartitionId(2)).unwrap()[0].descriptor.as_mut().unwrap();
        let (id, node) = (model::ReplicaId(4), NodeId(4));
        let learner =
            model::ReplicaDescriptor { id, node, role: model::ReplicaRole::Learner, ..group.replicas[0].clone() };
        group.replicas.push(learner);
        let wish = next(&places, &begun, true).unwrap().unwrap();
        assert_eq!((wish.partition, wish.from, wish.to), (PartitionId(2), NodeId(1), None));
        // The new one votes already, and the old one is still there.
        let group = begun.groups.get_mut(&PartitionId(2)).unwrap()[0].descriptor.as_mut().unwrap();
        group.replicas[0].role = model::ReplicaRole::Learner;
        group.replicas[3].role = model::ReplicaRole::Voter;
        let wish = next(&places, &begun, true).unwrap().unwrap();
        assert_eq!((wish.partition, wish.from, wish.to), (PartitionId(2), NodeId(1), None));
    }

    #[test]
    fn a_new_node_gets_replicas_until_the_zone_is_even() {
        let places = vec![place(1, "a"), place(2, "b"), place(3, "c"), place(4, "a")];
        assert_eq!(shown(next(&places, &observed(&[[1, 2, 3], [1, 2, 3], [1, 2, 3]]), true)), Some((1, 1, 4)));
        assert_eq!(shown(next(&places, &observed(&[[4, 2, 3], [1, 2, 3], [1, 2, 3]]), true)), None);
        let mut silent = places;
        silent[3].ready = false;
        assert_eq!(shown(next(&silent, &observed(&[[1, 2, 3], [1, 2, 3]]), true)), None);
    }
}
