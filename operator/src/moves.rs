//! Which replica moves next: away from nodes that leave, then to nodes that have fewer than others of their zone. Pure.
//!
//! One node leaves after the other, and one replica moves at a time, while every group is whole: a move is no haste, a repair is. A node that
//! leaves first gives away what it leads, so that no client waits for one partition after the other.

use std::collections::{BTreeMap, BTreeSet};

use control::moves::Move;
use control::plan::{Observed, newest_descriptor};
use model::{NodeId, PartitionDescriptor, ReplicaDescriptor, ReplicaRole};

use crate::plan::Why;

#[cfg(test)]
mod properties;

/// A node as moves see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub node: NodeId,
    pub zone: String,
    /// It goes, and takes nothing new.
    pub leaving: Option<Why>,
    /// It serves.
    pub ready: bool,
}

/// One thing to ask of nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Whatever it leads goes to others.
    HandOver(NodeId),
    Move(Move),
}

/// Why a node cannot leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck {
    pub node: NodeId,
    pub message: String,
}

/// What comes next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Next {
    /// The node that leaves now; the others that are to leave wait.
    pub acting: Option<NodeId>,
    /// None while something is waited for: a group that is not whole, a node that starts.
    pub deed: Option<Deed>,
    pub stuck: Vec<Stuck>,
}

/// Only of what every node has said. `handed_over`: who has been asked to give away what it leads.
pub fn next(places: &[Place], observed: &Observed, whole: bool, handed_over: &BTreeSet<NodeId>) -> Next {
    let groups = newest(observed);
    let load = load(&groups);
    let mut leavers: Vec<(&Place, &PartitionDescriptor)> =
        places.iter().filter_map(|place| first(place, &groups)).collect();
    // A move that was cut short goes on first, so that no second one begins beside it.
    leavers.sort_by_key(|(place, group)| (begun(group, place).is_none(), &place.zone, place.node));
    let mut next = Next::default();
    if observed.complete
        && whole
        && let Some(removal) = forsaken(places, &groups)
    {
        return Next { deed: Some(Deed::Move(removal)), ..next };
    }
    for (leaver, group) in leavers {
        let deed = match begun(group, leaver).or_else(|| target(places, &load, leaver, group)) {
            Some(to) if handed_over.contains(&leaver.node) || !leads(observed, leaver.node) => {
                Some(Deed::Move(Move { partition: group.id, from: leaver.node, to: Some(to) }))
            }
            Some(_) => Some(Deed::HandOver(leaver.node)),
            None if is_awaited(places, leaver) => None,
            None => {
                next.stuck.push(stuck(leaver));
                continue;
            }
        };
        (next.acting, next.deed) = (Some(leaver.node), deed);
        break;
    }
    if next.acting.is_none() {
        next.deed = unfinished(places, &groups).or_else(|| balance(places, &groups, &load)).map(Deed::Move);
    }
    next.deed = next.deed.filter(|_| observed.complete && whole);
    next
}

/// What it has to give away first.
fn first<'a>(place: &'a Place, groups: &[&'a PartitionDescriptor]) -> Option<(&'a Place, &'a PartitionDescriptor)> {
    place.leaving?;
    let ours = || groups.iter().filter(|group| group.on_node(place.node).is_some());
    let group = ours().find(|group| begun(group, place).is_some()).or_else(|| ours().next())?;
    Some((place, *group))
}

/// Where a move was going that was cut short: to a learner beside the voter. A learner that is to leave has its voter already, whether they have
/// swapped or its move was taken back.
fn begun(group: &PartitionDescriptor, leaver: &Place) -> Option<NodeId> {
    let leaving = group.on_node(leaver.node)?;
    let later = |other: &&ReplicaDescriptor| leaving.role == ReplicaRole::Learner || other.id > leaving.id;
    let beside = || group.replicas.iter().filter(|other| other.role != leaving.role).filter(later);
    let same_zone = beside().find(|other| other.zone == leaving.zone);
    // A zone that goes has its replacements in another; the youngest of the group is the one.
    let any_zone = leaver.leaving == Some(Why::ZoneRemoved) || leaving.role == ReplicaRole::Learner;
    let elsewhere = beside().filter(|_| any_zone).max_by_key(|other| other.id);
    same_zone.or(elsewhere).map(|other| other.node)
}

fn leads(observed: &Observed, node: NodeId) -> bool {
    observed.groups.values().flatten().any(|report| report.node == node && report.serving)
}

/// Whether the place may take what the leaver has, as far as zones go.
fn may_follow(place: &Place, leaver: &Place) -> bool {
    let zone = place.zone == leaver.zone || leaver.leaving == Some(Why::ZoneRemoved);
    zone && place.leaving.is_none()
}

/// A node that would take it has yet to start.
fn is_awaited(places: &[Place], leaver: &Place) -> bool {
    places.iter().any(|place| may_follow(place, leaver) && !place.ready)
}

fn stuck(leaver: &Place) -> Stuck {
    let Place { node, zone, leaving, .. } = leaver;
    let undo = match leaving {
        Some(Why::Drained) => "take the annotation trivet.dev/drain away",
        Some(Why::ZoneRemoved) => "put its zone back into spec.zones",
        Some(Why::ScaledIn) => "raise the number of its zone's nodes again",
        Some(Why::ClaimDeleted | Why::VolumeLost) | None => "wait for the one that takes its place",
    };
    let message =
        format!("node {node} of zone {zone} is to leave, and no other node takes its replicas: add one, or {undo}");
    Stuck { node: *node, message }
}

fn newest(observed: &Observed) -> Vec<&PartitionDescriptor> {
    observed.groups.values().filter_map(|reports| newest_descriptor(reports)).collect()
}

/// Replicas of each node.
fn load(groups: &[&PartitionDescriptor]) -> BTreeMap<NodeId, usize> {
    let mut load = BTreeMap::new();
    for replica in groups.iter().flat_map(|group| &group.replicas) {
        *load.entry(replica.node).or_default() += 1;
    }
    load
}

/// The node that stays, serves, and has least: of the leaver's zone, or, if that goes, of one that the group leaves free.
fn target(
    places: &[Place],
    load: &BTreeMap<NodeId, usize>,
    leaver: &Place,
    group: &PartitionDescriptor,
) -> Option<NodeId> {
    let others = || group.replicas.iter().filter(|replica| replica.node != leaver.node);
    let free = |place: &&Place| others().all(|other| other.node != place.node && other.zone.0 != place.zone);
    let takes = |place: &&Place| place.ready && may_follow(place, leaver) && free(place);
    let count = |place: &&Place| (load.get(&place.node).copied().unwrap_or(0), place.node);
    places.iter().filter(takes).min_by_key(count).map(|place| place.node)
}

/// A learner whose node was lost before it had caught up: its leader leaves it to whoever has asked for it, and every move of its group would
/// wait for it for ever. A learner that moves to a voter is removed.
fn forsaken(places: &[Place], groups: &[&PartitionDescriptor]) -> Option<Move> {
    let is_lost = |node: NodeId| places.iter().all(|place| place.node != node);
    groups.iter().find_map(|group| {
        let with = |role| group.replicas.iter().filter(move |replica| replica.role == role);
        let learner = with(ReplicaRole::Learner).find(|learner| is_lost(learner.node))?;
        let same_zone = with(ReplicaRole::Voter).find(|voter| voter.zone == learner.zone);
        let voter = same_zone.or_else(|| with(ReplicaRole::Voter).next())?;
        Some(Move { partition: group.id, from: learner.node, to: Some(voter.node) })
    })
}

/// A move within a zone that was cut short, whoever began it: its learner would stay beside the voter for ever.
fn unfinished(places: &[Place], groups: &[&PartitionDescriptor]) -> Option<Move> {
    let serves = |node: NodeId| places.iter().any(|place| place.node == node && place.leaving.is_none() && place.ready);
    groups.iter().find_map(|group| {
        let learners = group.replicas.iter().filter(|replica| replica.role == ReplicaRole::Learner);
        let mut moves = learners.filter_map(|learner| {
            let voter =
                group.replicas.iter().find(|other| other.zone == learner.zone && other.role == ReplicaRole::Voter)?;
            // Before the two swap the voter leaves, after it the learner.
            let (from, to) = if learner.id > voter.id { (voter, learner) } else { (learner, voter) };
            serves(to.node).then_some(Move { partition: group.id, from: from.node, to: Some(to.node) })
        });
        moves.next()
    })
}

/// Two more than another is worth a move; one more is not, or it would go back and forth.
fn balance(places: &[Place], groups: &[&PartitionDescriptor], load: &BTreeMap<NodeId, usize>) -> Option<Move> {
    let count = |place: &&Place| (load.get(&place.node).copied().unwrap_or(0), place.node);
    let zones: BTreeSet<&str> = places.iter().map(|place| place.zone.as_str()).collect();
    zones.into_iter().find_map(|zone| {
        let stays = || places.iter().filter(move |place| place.zone == zone && place.leaving.is_none() && place.ready);
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
    use std::sync::Arc;

    use control::plan::ReplicaReport;
    use model::units::Consumption;
    use model::{KeyRange, PartitionId, ReplicaId, TableId, Zone};

    use super::*;

    fn place(node: u64, zone: &str) -> Place {
        Place { node: NodeId(node), zone: zone.to_owned(), leaving: None, ready: true }
    }

    /// Partitions with these nodes of zones a, b and c; the first one leads.
    fn observed(groups: &[[u64; 3]]) -> Observed {
        let mut observed = Observed { complete: true, ..Observed::default() };
        for (id, nodes) in (1..).zip(groups) {
            let zones = ["a", "b", "c"].map(|zone| Zone(zone.to_owned()));
            let places = nodes.iter().map(|node| NodeId(*node)).zip(zones);
            let descriptor = PartitionDescriptor::birth(PartitionId(id), TableId(1), KeyRange::ALL, places);
            let report = ReplicaReport {
                node: NodeId(nodes[0]),
                descriptor: Some(descriptor.into()),
                table: None,
                serving: true,
                health: None,
                size: None,
                consumption: Consumption::default(),
            };
            observed.groups.insert(PartitionId(id), vec![report]);
        }
        observed
    }

    /// The partition's group as its leader has it.
    fn group(observed: &mut Observed, id: u64) -> &mut PartitionDescriptor {
        Arc::make_mut(observed.groups.get_mut(&PartitionId(id)).unwrap()[0].descriptor.as_mut().unwrap())
    }

    fn add(observed: &mut Observed, id: u64, node: u64, zone: &str, role: ReplicaRole) {
        let group = group(observed, id);
        let (node, zone) = (NodeId(node), Zone(zone.to_owned()));
        let more = ReplicaDescriptor { id: ReplicaId(4), node, zone, role, ..group.replicas[0].clone() };
        group.replicas.push(more);
    }

    /// (partition, from, to), or (0, node, 0) for a hand-over.
    fn deed(next: &Next) -> Option<(u64, u64, u64)> {
        next.deed.as_ref().map(|deed| match deed {
            Deed::HandOver(node) => (0, node.0, 0),
            Deed::Move(wish) => (wish.partition.0, wish.from.0, wish.to.unwrap().0),
        })
    }

    fn leave(places: &mut [Place], index: usize, why: Why) {
        places[index].leaving = Some(why);
    }

    fn handed(nodes: &[u64]) -> BTreeSet<NodeId> {
        nodes.iter().copied().map(NodeId).collect()
    }

    #[test]
    fn leaders_go_first_then_replicas_one_by_one_to_the_emptiest_of_the_zone() {
        let mut places = vec![place(1, "a"), place(2, "b"), place(3, "c"), place(4, "a"), place(5, "a")];
        leave(&mut places, 0, Why::ScaledIn);
        let seen = observed(&[[4, 2, 3], [1, 2, 3], [1, 2, 3]]);
        assert_eq!(deed(&next(&places, &seen, true, &handed(&[]))), Some((0, 1, 0)));
        let found = next(&places, &seen, true, &handed(&[1]));
        assert_eq!((found.acting, deed(&found)), (Some(NodeId(1)), Some((2, 1, 5))));
        // While something is not whole, or somebody silent, nothing moves; whose turn it is, is known.
        let found = next(&places, &seen, false, &handed(&[1]));
        assert_eq!((found.acting, deed(&found)), (Some(NodeId(1)), None));
        let unsure = Observed { complete: false, ..seen };
        assert_eq!(deed(&next(&places, &unsure, true, &handed(&[1]))), None);
    }

    #[test]
    fn a_move_that_was_cut_short_goes_on_before_another_begins() {
        let mut places = vec![place(1, "a"), place(2, "b"), place(3, "c"), place(4, "a"), place(5, "b")];
        leave(&mut places, 0, Why::Drained);
        leave(&mut places, 1, Why::Drained);
        let mut seen = observed(&[[1, 2, 3], [1, 2, 3]]);
        assert_eq!(deed(&next(&places, &seen, true, &handed(&[1, 2]))), Some((1, 1, 4)));
        add(&mut seen, 2, 5, "b", ReplicaRole::Learner);
        let found = next(&places, &seen, true, &handed(&[1, 2]));
        assert_eq!((found.acting, deed(&found)), (Some(NodeId(2)), Some((2, 2, 5))));
    }

    #[test]
    fn a_learner_whose_move_was_taken_back_is_removed() {
        let mut places = vec![place(1, "a"), place(2, "b"), place(3, "c"), place(4, "a")];
        leave(&mut places, 3, Why::ScaledIn);
        let mut seen = observed(&[[1, 2, 3]]);
        add(&mut seen, 1, 4, "a", ReplicaRole::Learner);
        assert_eq!(deed(&next(&places, &seen, true, &handed(&[]))), Some((1, 4, 1)));
    }

    #[test]
    fn a_learner_whose_node_is_lost_is_removed_before_anything_else_moves() {
        let mut places = vec![place(1, "a"), place(2, "b"), place(3, "c"), place(4, "a"), place(5, "a")];
        leave(&mut places, 0, Why::Drained);
        let mut seen = observed(&[[1, 2, 3]]);
        add(&mut seen, 1, 4, "a", ReplicaRole::Learner);
        places.remove(3);
        let found = next(&places, &seen, true, &handed(&[1]));
        assert_eq!((found.acting, deed(&found)), (None, Some((1, 4, 1))));
        assert_eq!(deed(&next(&places, &seen, false, &handed(&[1]))), None);
        // Of a zone that goes it was on its way to another one, where no voter is.
        let mut seen = observed(&[[1, 2, 3]]);
        add(&mut seen, 1, 4, "d", ReplicaRole::Learner);
        assert_eq!(deed(&next(&places, &seen, true, &handed(&[1]))), Some((1, 4, 1)));
    }

    #[test]
    fn who_cannot_leave_hinders_nobody_else() {
        let mut places = vec![place(1, "a"), place(2, "b"), place(3, "c"), place(4, "b")];
        leave(&mut places, 0, Why::Drained);
        leave(&mut places, 1, Why::ClaimDeleted);
        let seen = observed(&[[1, 2, 3]]);
        let found = next(&places, &seen, true, &handed(&[1, 2]));
        assert_eq!((found.acting, deed(&found)), (Some(NodeId(2)), Some((1, 2, 4))));
        assert!(found.stuck[0].message.contains("add one, or take the annotation trivet.dev/drain away"));
        // Of one that starts it is not said that there is none.
        places.push(Place { ready: false, ..place(6, "a") });
        let found = next(&places, &seen, true, &handed(&[1, 2]));
        assert_eq!((found.acting, found.deed, found.stuck), (Some(NodeId(1)), None, vec![]));
    }

    #[test]
    fn replicas_of_a_zone_that_goes_move_to_one_that_the_group_leaves_free() {
        let mut places = vec![place(1, "a"), place(2, "b"), place(3, "c"), place(4, "d"), place(5, "b")];
        leave(&mut places, 0, Why::ZoneRemoved);
        let mut seen = observed(&[[1, 2, 3]]);
        assert_eq!(deed(&next(&places, &seen, true, &handed(&[1]))), Some((1, 1, 4)));
        // Taken up again at each of its steps: a learner beside the voter, then the two swapped.
        add(&mut seen, 1, 4, "d", ReplicaRole::Learner);
        assert_eq!(deed(&next(&places, &seen, true, &handed(&[1]))), Some((1, 1, 4)));
        let swapped = group(&mut seen, 1);
        (swapped.replicas[0].role, swapped.replicas[3].role) = (ReplicaRole::Learner, ReplicaRole::Voter);
        assert_eq!(deed(&next(&places, &seen, true, &handed(&[1]))), Some((1, 1, 4)));
        places.truncate(3);
        let found = next(&places, &observed(&[[1, 2, 3]]), true, &handed(&[1]));
        assert!(found.stuck[0].message.contains("put its zone back into spec.zones"));
    }

    #[test]
    fn a_move_that_nobody_needs_any_more_is_finished_all_the_same() {
        let places = vec![place(1, "a"), place(2, "b"), place(3, "c"), place(4, "a")];
        let mut seen = observed(&[[1, 2, 3]]);
        add(&mut seen, 1, 4, "a", ReplicaRole::Learner);
        assert_eq!(deed(&next(&places, &seen, true, &handed(&[]))), Some((1, 1, 4)));
        let swapped = group(&mut seen, 1);
        (swapped.replicas[0].role, swapped.replicas[3].role) = (ReplicaRole::Learner, ReplicaRole::Voter);
        assert_eq!(deed(&next(&places, &seen, true, &handed(&[]))), Some((1, 1, 4)));
    }

    #[test]
    fn a_new_node_gets_replicas_until_the_zone_is_even() {
        let places = vec![place(1, "a"), place(2, "b"), place(3, "c"), place(4, "a")];
        let moved = |places: &[Place], groups: &[[u64; 3]]| deed(&next(places, &observed(groups), true, &handed(&[])));
        assert_eq!(moved(&places, &[[1, 2, 3], [1, 2, 3], [1, 2, 3]]), Some((1, 1, 4)));
        assert_eq!(moved(&places, &[[4, 2, 3], [1, 2, 3], [1, 2, 3]]), None);
        let mut silent = places;
        silent[3].ready = false;
        assert_eq!(moved(&silent, &[[1, 2, 3], [1, 2, 3]]), None);
    }
}
