//! Who may be in a group: changes planned against a descriptor, and zones as raft's commit groups. Values in, values out.

use std::collections::{BTreeMap, BTreeSet};

use model::{PartitionDescriptor, ReplicaDescriptor, ReplicaId, ReplicaKind, ReplicaRole, Zone};
use raft::prelude::{ConfChangeSingle, ConfChangeType, ConfChangeV2};

use crate::Change;

/// One configuration change entry: what raft does, and the descriptor that follows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Planned {
    pub descriptor: PartitionDescriptor,
    pub change: ConfChangeV2,
}

/// What must be known of the group beside its descriptor.
pub(crate) struct Situation<F> {
    pub leader: ReplicaId,
    pub caught_up: F,
}

/// The change on that descriptor, or why it is impossible.
pub(crate) fn plan(
    change: &Change,
    descriptor: &PartitionDescriptor,
    situation: &Situation<impl Fn(ReplicaId) -> bool>,
) -> Result<Planned, String> {
    let mut next = descriptor.clone();
    next.epoch += 1;
    let steps = match change {
        Change::AddLearner { node, zone } => {
            if descriptor.on_node(*node).is_some() {
                return Err(format!("node {node} already has a replica of this partition"));
            }
            let id = descriptor.next_replica;
            next.next_replica = ReplicaId(id.0 + 1);
            next.replicas.push(ReplicaDescriptor {
                id,
                node: *node,
                zone: zone.clone(),
                role: ReplicaRole::Learner,
                kind: ReplicaKind::Storage,
            });
            next.replicas.sort_by_key(|replica| replica.id);
            vec![(id, ConfChangeType::AddLearnerNode)]
        }
        Change::Swap { promote, demote } => {
            if *demote == situation.leader {
                return Err("the leader is to be demoted: transfer leadership first".to_owned());
            }
            set_role(&mut next, *promote, ReplicaRole::Learner, ReplicaRole::Voter)?;
            set_role(&mut next, *demote, ReplicaRole::Voter, ReplicaRole::Learner)?;
            if !(situation.caught_up)(*promote) {
                return Err(format!("replica {promote} has not caught up"));
            }
            vec![(*promote, ConfChangeType::AddNode), (*demote, ConfChangeType::AddLearnerNode)]
        }
        Change::Remove { replica } => {
            set_role(&mut next, *replica, ReplicaRole::Learner, ReplicaRole::Learner)?;
            next.replicas.retain(|r| r.id != *replica);
            vec![(*replica, ConfChangeType::RemoveNode)]
        }
    };
    check_result(&next)?;
    Ok(Planned { descriptor: next, change: conf_change(&steps) })
}

fn set_role(
    descriptor: &mut PartitionDescriptor,
    id: ReplicaId,
    from: ReplicaRole,
    to: ReplicaRole,
) -> Result<(), String> {
    let replica = descriptor.replicas.iter_mut().find(|replica| replica.id == id);
    let replica = replica.ok_or_else(|| format!("replica {id} is not in the group"))?;
    if replica.role != from {
        return Err(match from {
            ReplicaRole::Learner => format!("replica {id} votes: it is demoted before anything else"),
            ReplicaRole::Voter => format!("replica {id} does not vote"),
        });
    }
    replica.role = to;
    Ok(())
}

/// Whatever the change: two zones among the voters, and a voter with items.
fn check_result(descriptor: &PartitionDescriptor) -> Result<(), String> {
    if voter_zones(descriptor).len() < 2 {
        return Err("all voters would be in one zone".to_owned());
    }
    if !voters(descriptor).any(|replica| replica.kind == ReplicaKind::Storage) {
        return Err("no voter would have the items".to_owned());
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

#[cfg(test)]
mod tests {
    use model::NodeId;

    use super::*;
    use crate::fixture::descriptor;

    fn planned(change: Change, descriptor: &PartitionDescriptor) -> Result<Planned, String> {
        plan(&change, descriptor, &Situation { leader: ReplicaId(1), caught_up: |_| true })
    }

    fn with_learner(zones: &[&str], zone: &str) -> PartitionDescriptor {
        let change = Change::AddLearner { node: NodeId(99), zone: Zone(zone.to_owned()) };
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
        let change = Change::AddLearner { node, zone: Zone("b".to_owned()) };
        assert!(planned(change, &before).unwrap_err().contains("already has a replica"));
    }

    #[test]
    fn a_voter_is_never_removed_and_the_leader_never_demoted() {
        let group = with_learner(&["a", "b", "c"], "c");
        assert!(planned(Change::Remove { replica: ReplicaId(3) }, &group).unwrap_err().contains("votes"));
        let swap = Change::Swap { promote: ReplicaId(4), demote: ReplicaId(1) };
        assert!(planned(swap, &group).unwrap_err().contains("transfer leadership first"));
    }

    #[test]
    fn a_learner_that_lags_is_not_promoted() {
        let group = with_learner(&["a", "b", "c"], "c");
        let swap = Change::Swap { promote: ReplicaId(4), demote: ReplicaId(3) };
        let situation = Situation { leader: ReplicaId(1), caught_up: |_| false };
        assert!(plan(&swap, &group, &situation).unwrap_err().contains("not caught up"));
        let planned = planned(swap, &group).unwrap();
        assert_eq!(planned.change.enter_joint(), Some(true));
        assert_eq!(planned.descriptor.replica(ReplicaId(3)).unwrap().role, ReplicaRole::Learner);
    }

    #[test]
    fn a_configuration_in_one_zone_is_never_planned() {
        let group = with_learner(&["a", "a", "b"], "a");
        let swap = Change::Swap { promote: ReplicaId(4), demote: ReplicaId(3) };
        assert!(planned(swap, &group).unwrap_err().contains("one zone"));
    }

    #[test]
    fn every_replica_has_a_commit_group_and_zones_share_one() {
        assert_eq!(commit_groups(&descriptor(&["b", "a", "b"])), [(1, 2), (2, 1), (3, 2)]);
    }
}
