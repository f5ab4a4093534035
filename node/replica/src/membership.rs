//! Who may be in a group: changes planned against a descriptor, and zones as raft's commit groups. Values in, values out.

use std::collections::{BTreeMap, BTreeSet};

use model::{PartitionDescriptor, ReplicaDescriptor, ReplicaId, ReplicaKind, ReplicaRole, Zone};
use raft::prelude::{ConfChangeSingle, ConfChangeType, ConfChangeV2};

use crate::eraftpb::ConfState;
use crate::{Add, Change, Flaw, Mutant};

/// One configuration change entry: what raft does, and the descriptor that follows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Planned {
    pub descriptor: PartitionDescriptor,
    pub change: ConfChangeV2,
}

/// What must be known of the group beside its descriptor.
pub(crate) struct Situation<F> {
    pub flaw: Flaw,
    pub leader: ReplicaId,
    pub caught_up: F,
}

/// The change on that descriptor, or why it is impossible.
pub(crate) fn plan(
    change: &Change,
    descriptor: &PartitionDescriptor,
    situation: &Situation<impl Fn(ReplicaId) -> bool>,
) -> Result<Planned, String> {
    if *change == Change::default() {
        return Err("nothing is to be changed".to_owned());
    }
    let mut next = descriptor.clone();
    next.epoch += 1;
    let mut steps = Vec::new();
    if let Some(add) = &change.add {
        steps.push(add_replica(&mut next, add)?);
    }
    if let Some(id) = change.promote {
        let promoted = set_role(&mut next, id, ReplicaRole::Learner, ReplicaRole::Voter)?;
        if promoted.kind == ReplicaKind::Log {
            return Err(format!("replica {id} has no items"));
        }
        if !(situation.caught_up)(id) {
            return Err(format!("replica {id} has not caught up"));
        }
        steps.push((id, ConfChangeType::AddNode));
    }
    if let Some(id) = change.demote {
        if id == situation.leader {
            return Err("the leader is to be demoted: transfer leadership first".to_owned());
        }
        set_role(&mut next, id, ReplicaRole::Voter, ReplicaRole::Learner)?;
        steps.push((id, ConfChangeType::AddLearnerNode));
    }
    if let Some(id) = change.remove {
        set_role(&mut next, id, ReplicaRole::Learner, ReplicaRole::Learner)?;
        if change.demote == Some(id) || id == situation.leader {
            return Err(format!("replica {id} votes: it is demoted before anything else"));
        }
        next.replicas.retain(|replica| replica.id != id);
        steps.push((id, ConfChangeType::RemoveNode));
    }
    if !situation.flaw.is(Mutant::OneCopyEnough) {
        check_result(descriptor, &next)?;
    }
    Ok(Planned { descriptor: next, change: conf_change(&steps) })
}

/// A storage replica learns before it votes. A log replica is up to date in seconds and votes at once.
fn add_replica(next: &mut PartitionDescriptor, add: &Add) -> Result<(ReplicaId, ConfChangeType), String> {
    let Add { node, zone, kind } = add;
    if next.on_node(*node).is_some() {
        return Err(format!("node {node} already has a replica of this partition"));
    }
    let id = next.next_replica;
    next.next_replica = ReplicaId(id.0 + 1);
    let (role, step) = match kind {
        ReplicaKind::Storage => (ReplicaRole::Learner, ConfChangeType::AddLearnerNode),
        ReplicaKind::Log => (ReplicaRole::Voter, ConfChangeType::AddNode),
    };
    next.replicas.push(ReplicaDescriptor { id, node: *node, zone: zone.clone(), role, kind: *kind });
    next.replicas.sort_by_key(|replica| replica.id);
    Ok((id, step))
}

fn set_role(
    descriptor: &mut PartitionDescriptor,
    id: ReplicaId,
    from: ReplicaRole,
    to: ReplicaRole,
) -> Result<&ReplicaDescriptor, String> {
    let replica = descriptor.replicas.iter_mut().find(|replica| replica.id == id);
    let replica = replica.ok_or_else(|| format!("replica {id} is not in the group"))?;
    if replica.role != from {
        return Err(match from {
            ReplicaRole::Learner => format!("replica {id} votes: it is demoted before anything else"),
            ReplicaRole::Voter => format!("replica {id} does not vote"),
        });
    }
    replica.role = to;
    Ok(replica)
}

/// Whatever the change: two zones among the voters, two voters with items, and one without at most. A voter with items has
/// everything that is committed or can get it from the other: so the last full copy is never taken away. A group that was left
/// with one voter (`recovery`) lacks all that already: learners may come to it and go, until one of them can vote as well.
fn check_result(before: &PartitionDescriptor, after: &PartitionDescriptor) -> Result<(), String> {
    if voters(before).count() == 1 && voters(after).eq(voters(before)) {
        return Ok(());
    }
    if voter_zones(after).len() < 2 {
        return Err("all voters would be in one zone".to_owned());
    }
    if storage_voters(after).count() < FULL_COPIES {
        return Err(format!("fewer than {FULL_COPIES} voters would have the items"));
    }
    if voters(after).filter(|voter| voter.kind == ReplicaKind::Log).count() > 1 {
        return Err("more than one voter would have no items".to_owned());
    }
    Ok(())
}

fn conf_change(steps: &[(ReplicaId, ConfChangeType)]) -> ConfChangeV2 {
    let singles = steps.iter().map(|&(id, kind)| {
        let mut single = ConfChangeSingle { node_id: id.0, ..ConfChangeSingle::default() };
        single.set_change_type(kind);
        single
    });
    let mut change = ConfChangeV2::default();
    change.set_changes(singles.collect::<Vec<_>>().into());
    change
}

/// Voters with items that no change leaves fewer of.
const FULL_COPIES: usize = 2;

pub(crate) fn storage_voters(descriptor: &PartitionDescriptor) -> impl Iterator<Item = &ReplicaDescriptor> {
    voters(descriptor).filter(|voter| voter.kind == ReplicaKind::Storage)
}

pub(crate) fn voters(descriptor: &PartitionDescriptor) -> impl Iterator<Item = &ReplicaDescriptor> {
    descriptor.replicas.iter().filter(|replica| replica.role == ReplicaRole::Voter)
}

fn voter_zones(descriptor: &PartitionDescriptor) -> BTreeSet<&Zone> {
    voters(descriptor).map(|replica| &replica.zone).collect()
}

/// The voters in other zones than `replica`; none where there is but one zone.
pub(crate) fn voters_in_other_zones(
    descriptor: &PartitionDescriptor,
    replica: ReplicaId,
) -> impl Iterator<Item = ReplicaId> {
    let own = descriptor.replica(replica).map(|own| &own.zone);
    voters(descriptor).filter(move |other| Some(&other.zone) != own).map(|other| other.id)
}

/// (replica, number of its zone): every replica has one, since a voter without would silently change the rule.
pub(crate) fn commit_groups(descriptor: &PartitionDescriptor) -> Vec<(u64, u64)> {
    let zones: BTreeSet<&Zone> = descriptor.replicas.iter().map(|replica| &replica.zone).collect();
    let numbers: BTreeMap<&Zone, u64> = zones.into_iter().zip(1..).collect();
    descriptor.replicas.iter().map(|replica| (replica.id.0, numbers[&replica.zone])).collect()
}

/// Raft leaves ids in the order of its map.
pub(crate) fn sorted(mut configuration: ConfState) -> ConfState {
    configuration.mut_voters().sort_unstable();
    configuration.mut_learners().sort_unstable();
    configuration.mut_voters_outgoing().sort_unstable();
    configuration.mut_learners_next().sort_unstable();
    configuration
}

#[cfg(test)]
mod tests {
    use model::NodeId;

    use super::*;
    use crate::fixture::descriptor;

    fn planned(change: Change, descriptor: &PartitionDescriptor) -> Result<Planned, String> {
        plan(&change, descriptor, &Situation { flaw: Flaw::default(), leader: ReplicaId(1), caught_up: |_| true })
    }

    fn with_learner(zones: &[&str], zone: &str) -> PartitionDescriptor {
        let change = Change::add(NodeId(99), Zone(zone.to_owned()), ReplicaKind::Storage);
        planned(change, &descriptor(zones)).unwrap().descriptor
    }

    #[test]
    fn a_new_replica_gets_the_next_id_and_the_epoch_rises() {
        let before = descriptor(&["a", "b", "c"]);
        let after = with_learner(&["a", "b", "c"], "c");
        assert_eq!((after.epoch, after.next_replica), (before.epoch + 1, ReplicaId(5)));
        assert_eq!(after.replica(ReplicaId(4)).unwrap().role, ReplicaRole::Learner);
    }

    #[test]
    fn one_node_never_holds_two_replicas() {
        let before = descriptor(&["a", "b", "c"]);
        let node = before.replicas[1].node;
        let change = Change::add(node, Zone("b".to_owned()), ReplicaKind::Storage);
        assert!(planned(change, &before).unwrap_err().contains("already has a replica"));
    }

    #[test]
    fn a_voter_is_never_removed_and_the_leader_never_demoted() {
        let group = with_learner(&["a", "b", "c"], "c");
        assert!(planned(Change::remove(ReplicaId(3)), &group).unwrap_err().contains("votes"));
        let swap = Change::swap(ReplicaId(4), ReplicaId(1));
        assert!(planned(swap, &group).unwrap_err().contains("transfer leadership first"));
    }

    #[test]
    fn a_learner_that_lags_is_not_promoted() {
        let group = with_learner(&["a", "b", "c"], "c");
        let swap = Change::swap(ReplicaId(4), ReplicaId(3));
        let situation = Situation { flaw: Flaw::default(), leader: ReplicaId(1), caught_up: |_| false };
        assert!(plan(&swap, &group, &situation).unwrap_err().contains("not caught up"));
        let planned = planned(swap, &group).unwrap();
        assert_eq!(planned.change.enter_joint(), Some(true));
        assert_eq!(planned.descriptor.replica(ReplicaId(3)).unwrap().role, ReplicaRole::Learner);
    }

    #[test]
    fn a_configuration_in_one_zone_is_never_planned() {
        let group = with_learner(&["a", "a", "b"], "a");
        let swap = Change::swap(ReplicaId(4), ReplicaId(3));
        assert!(planned(swap, &group).unwrap_err().contains("one zone"));
    }

    fn stand_in(demote: u64) -> Change {
        let demote = Some(ReplicaId(demote));
        Change { demote, ..Change::add(NodeId(99), Zone("c".to_owned()), ReplicaKind::Log) }
    }

    #[test]
    fn a_log_replica_votes_from_the_beginning_in_place_of_the_one_that_is_demoted() {
        let after = planned(stand_in(3), &descriptor(&["a", "b", "c"])).unwrap();
        assert_eq!(after.change.enter_joint(), Some(true));
        let log = after.descriptor.replica(ReplicaId(4)).unwrap();
        assert_eq!((log.role, log.kind), (ReplicaRole::Voter, ReplicaKind::Log));
        assert_eq!(after.descriptor.replica(ReplicaId(3)).unwrap().role, ReplicaRole::Learner);
        let back = Change { promote: Some(ReplicaId(3)), demote: Some(ReplicaId(4)), ..Change::default() };
        let back = planned(back, &after.descriptor).unwrap().descriptor;
        let promoted = planned(Change::swap(ReplicaId(4), ReplicaId(3)), &back).unwrap_err();
        assert!(promoted.contains("no items"), "{promoted}");
        assert_eq!(planned(Change::remove(ReplicaId(4)), &back).unwrap().descriptor.replicas.len(), 3);
    }

    #[test]
    fn two_voters_keep_the_items_and_one_at_most_has_none() {
        let once = planned(stand_in(3), &descriptor(&["a", "b", "c"])).unwrap().descriptor;
        let again = Change { add: None, ..stand_in(2) };
        assert!(planned(again, &once).unwrap_err().contains("have the items"));
        let other = Change::add(NodeId(98), Zone("b".to_owned()), ReplicaKind::Log);
        assert!(planned(other.clone(), &once).unwrap_err().contains("no items"));
        let instead = Change { demote: Some(ReplicaId(4)), ..other };
        assert!(planned(instead, &once).is_ok());
        assert!(planned(Change::default(), &once).is_err());
    }

    #[test]
    fn a_group_of_one_voter_gets_learners_and_then_a_second_voter_with_items_in_another_zone() {
        let alone = descriptor(&["a"]);
        let add = |zone: &str, kind| Change::add(NodeId(99), Zone(zone.to_owned()), kind);
        let learned = planned(add("b", ReplicaKind::Storage), &alone).unwrap().descriptor;
        assert!(planned(Change::remove(ReplicaId(2)), &learned).is_ok());
        let promote = Change { promote: Some(ReplicaId(2)), ..Change::default() };
        let two = planned(promote.clone(), &learned).unwrap().descriptor;
        assert_eq!(voters(&two).count(), 2);
        // Never back to where it was, and no other way out.
        let demoted = Change { demote: Some(ReplicaId(2)), ..Change::default() };
        assert!(planned(demoted, &two).unwrap_err().contains("one zone"));
        assert!(planned(add("b", ReplicaKind::Log), &alone).unwrap_err().contains("have the items"));
        let beside = planned(add("a", ReplicaKind::Storage), &alone).unwrap().descriptor;
        assert!(planned(promote, &beside).unwrap_err().contains("one zone"));
    }

    #[test]
    fn every_replica_has_a_commit_group_and_zones_share_one() {
        assert_eq!(commit_groups(&descriptor(&["b", "a", "b"])), [(1, 2), (2, 1), (3, 2)]);
    }
}
