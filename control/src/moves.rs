//! One complete move of a replica: a learner by snapshot, promoted as the old one is demoted, the old one removed.
//!
//! Every step carries the epoch it was planned against, and is planned again from what the nodes say: a move that was
//! interrupted is taken up where it was left.

use std::collections::BTreeSet;
use std::time::Duration;

use model::{NodeId, PartitionDescriptor, PartitionId, ReplicaDescriptor, ReplicaId, ReplicaRole};
use placement::{Blocked, Place};
use wire::admin::change_replicas_request::Change;
use wire::admin::{AddLearner, ChangeReplicasRequest, Remove, Swap, TransferLeaderRequest};

use crate::cluster::{Cluster, ClusterError};
use crate::observe;

/// Between two looks at a change that is not possible yet (a learner that catches up, a leader that hands over).
const RETRY: Duration = Duration::from_millis(200);

/// What is to be moved where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    pub partition: PartitionId,
    pub from: NodeId,
    /// None lets placement choose.
    pub to: Option<NodeId>,
}

#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    #[error(transparent)]
    Blocked(#[from] Blocked),
    #[error("partition {partition} has no replica on node {node}")]
    NotThere { partition: PartitionId, node: NodeId },
    #[error("not done before the deadline; the last refusal: {last}")]
    TimedOut { last: String },
}

/// The next step of a move, from the group's newest descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Next {
    Add(Place),
    Swap { promote: ReplicaId, demote: ReplicaId },
    Remove(ReplicaId),
    Done,
}

/// Carries a move out, telling `progress` what it does next, until `deadline` from now.
pub async fn carry_out(
    cluster: &Cluster,
    wish: Move,
    deadline: Duration,
    mut progress: impl FnMut(&str),
) -> Result<PartitionDescriptor, MoveError> {
    let nodes = observe::node_views(cluster).await;
    let mut target = None;
    let mut last = String::from("no leader was found");
    let steps = async {
        loop {
            if let Some((leader, descriptor)) = find_leader(cluster, wish.partition).await {
                if target.is_none() {
                    target = Some(choose(&nodes, &descriptor, wish)?);
                }
                let place = target.as_ref().expect("it was just set");
                let next = next_step(&descriptor, wish, place);
                if next == Next::Done {
                    return Ok(descriptor);
                }
                progress(&describe(&next, wish));
                if let Err(error) = apply(cluster, leader, &descriptor, next).await {
                    last = error.to_string();
                    tokio::time::sleep(RETRY).await;
                }
            } else {
                tokio::time::sleep(RETRY).await;
            }
        }
    };
    match tokio::time::timeout(deadline, steps).await {
        Ok(result) => result,
        Err(_) => Err(MoveError::TimedOut { last }),
    }
}

fn choose(nodes: &[placement::NodeView], descriptor: &PartitionDescriptor, wish: Move) -> Result<Place, MoveError> {
    let Some(leaving) = descriptor.on_node(wish.from) else {
        return Err(MoveError::NotThere { partition: wish.partition, node: wish.from });
    };
    if let Some(begun) = begun(descriptor, leaving, wish.to) {
        return Ok(Place { node: begun.node, zone: begun.zone.clone() });
    }
    match wish.to {
        Some(to) => Ok(placement::check_move(nodes, descriptor, leaving.id, to)?),
        None => Ok(placement::place_move(nodes, descriptor, leaving.id)?),
    }
}

/// A move that was begun earlier goes on to where it was going: to the learner of the leaving replica's zone, or, once they
/// have swapped roles, to the voter of that zone; or to the node that is named.
fn begun<'a>(
    descriptor: &'a PartitionDescriptor,
    leaving: &ReplicaDescriptor,
    to: Option<NodeId>,
) -> Option<&'a ReplicaDescriptor> {
    let wanted = match leaving.role {
        ReplicaRole::Voter => ReplicaRole::Learner,
        ReplicaRole::Learner => ReplicaRole::Voter,
    };
    // A learner beside its voter is only to be removed, whichever of them came first.
    let later = |other: &&ReplicaDescriptor| leaving.role == ReplicaRole::Learner || other.id > leaving.id;
    let mut beside = descriptor.replicas.iter().filter(|other| other.role == wanted).filter(later);
    // To another zone only where it was said that it goes there.
    beside.find(|other| to.map_or(other.zone == leaving.zone, |to| to == other.node))
}

fn next_step(descriptor: &PartitionDescriptor, wish: Move, target: &Place) -> Next {
    let old: Option<&ReplicaDescriptor> = descriptor.on_node(wish.from);
    let new = descriptor.on_node(target.node);
    match (old, new) {
        (Some(_), None) => Next::Add(target.clone()),
        (Some(old), Some(new)) if new.role == ReplicaRole::Learner => Next::Swap { promote: new.id, demote: old.id },
        (Some(old), Some(_)) => Next::Remove(old.id),
        // It has moved, or its leader had it rebuilt elsewhere meanwhile.
        (None, _) => Next::Done,
    }
}

fn describe(next: &Next, wish: Move) -> String {
    let partition = wish.partition;
    match next {
        Next::Add(place) => format!("partition {partition}: add a learner on node {} in {}", place.node, place.zone),
        Next::Swap { promote, demote } => {
            format!("partition {partition}: promote replica {promote}, demote replica {demote}")
        }
        Next::Remove(replica) => format!("partition {partition}: remove replica {replica}"),
        Next::Done => format!("partition {partition}: done"),
    }
}

async fn find_leader(cluster: &Cluster, partition: PartitionId) -> Option<(NodeId, PartitionDescriptor)> {
    let observed = observe::groups(cluster).await;
    let reports = observed.groups.get(&partition)?;
    let leader = reports.iter().find(|report| report.serving)?;
    leader.descriptor.as_ref().map(|descriptor| (leader.node, PartitionDescriptor::clone(descriptor)))
}

async fn apply(
    cluster: &Cluster,
    leader: NodeId,
    descriptor: &PartitionDescriptor,
    next: Next,
) -> Result<(), ClusterError> {
    let leading = descriptor.on_node(leader).map(|replica| replica.id);
    let change = match next {
        Next::Add(place) => Change::AddLearner(AddLearner { node: place.node.0, zone: place.zone.0 }),
        // A leader hands over before it stops voting.
        Next::Swap { demote, promote } if leading == Some(demote) => {
            return hand_over(cluster, leader, descriptor, &[demote, promote]).await;
        }
        Next::Swap { promote, demote } => Change::Swap(Swap { promote: promote.0, demote: demote.0 }),
        Next::Remove(replica) => Change::Remove(Remove { replica: replica.0 }),
        Next::Done => return Ok(()),
    };
    let request = ChangeReplicasRequest { partition: descriptor.id.0, epoch: descriptor.epoch, change: Some(change) };
    cluster.node(leader)?.change_replicas(request).await?;
    Ok(())
}

/// Whatever the node leads goes to others, and not to those that leave, too, where there is a choice. What nobody takes now, is left.
pub async fn hand_all_over(cluster: &Cluster, node: NodeId, leaving: &BTreeSet<NodeId>) {
    let observed = observe::groups(cluster).await;
    for report in observed.groups.values().flatten().filter(|report| report.node == node && report.serving) {
        let Some(descriptor) = &report.descriptor else { continue };
        if let Err(error) = hand_over(cluster, node, descriptor, &not_heirs(descriptor, node, leaving)).await {
            tracing::warn!(partition = %descriptor.id, %node, %error, "nobody takes the lead over");
        }
    }
}

fn not_heirs(descriptor: &PartitionDescriptor, node: NodeId, leaving: &BTreeSet<NodeId>) -> Vec<ReplicaId> {
    let goes = |replica: &&ReplicaDescriptor| replica.node == node || leaving.contains(&replica.node);
    let all: Vec<ReplicaId> = descriptor.replicas.iter().filter(goes).map(|replica| replica.id).collect();
    let voters = descriptor.replicas.iter().filter(|replica| replica.role == ReplicaRole::Voter);
    if voters.into_iter().any(|voter| !all.contains(&voter.id)) {
        return all;
    }
    descriptor.on_node(node).map(|own| own.id).into_iter().collect()
}

/// To the first voter that can take over: one may be dead.
async fn hand_over(
    cluster: &Cluster,
    leader: NodeId,
    descriptor: &PartitionDescriptor,
    not_to: &[ReplicaId],
) -> Result<(), ClusterError> {
    let mut refused = Ok(());
    for heir in descriptor.replicas.iter().filter(|r| r.role == ReplicaRole::Voter && !not_to.contains(&r.id)) {
        let request = TransferLeaderRequest { partition: descriptor.id.0, to_replica: heir.id.0 };
        match cluster.node(leader)?.transfer_leader(request).await {
            Ok(_) => return Ok(()),
            Err(status) => refused = Err(status.into()),
        }
    }
    refused
}

#[cfg(test)]
mod tests {
    use model::{ReplicaKind, Zone};

    use super::*;
    use crate::plan::tests::partition;

    #[test]
    fn a_move_that_was_begun_goes_on_to_its_learner_and_an_ordinary_voter_is_none() {
        let mut group = partition(3, 7);
        let leaving = group.replicas[1].clone();
        assert_eq!(begun(&group, &leaving, None), None);
        assert_eq!(begun(&group, &leaving, Some(NodeId(33))), None);
        group.replicas.push(ReplicaDescriptor {
            id: ReplicaId(4),
            node: NodeId(55),
            zone: Zone("b".into()),
            role: ReplicaRole::Learner,
            kind: ReplicaKind::Storage,
        });
        assert_eq!(begun(&group, &leaving, None).map(|replica| replica.node), Some(NodeId(55)));
        assert_eq!(begun(&group, &leaving, Some(NodeId(44))), None);
        group.replicas[3].role = ReplicaRole::Voter;
        group.replicas[1].role = ReplicaRole::Learner;
        assert_eq!(begun(&group, &group.replicas[1].clone(), None).map(|replica| replica.id), Some(ReplicaId(4)));
    }

    #[test]
    fn a_move_to_another_zone_goes_on_to_the_node_that_is_named() {
        let mut group = partition(3, 7);
        let leaving = group.replicas[0].clone();
        let elsewhere = ReplicaDescriptor {
            id: ReplicaId(4),
            node: NodeId(55),
            zone: Zone("d".into()),
            role: ReplicaRole::Learner,
            kind: ReplicaKind::Storage,
        };
        group.replicas.push(elsewhere);
        assert_eq!(begun(&group, &leaving, Some(NodeId(55))).map(|replica| replica.id), Some(ReplicaId(4)));
        assert_eq!(begun(&group, &leaving, None), None);
        // Taken back: the learner goes, its voter stays.
        let learner = group.replicas[3].clone();
        assert_eq!(begun(&group, &learner, Some(NodeId(11))).map(|replica| replica.id), Some(ReplicaId(1)));
        let target = Place { node: NodeId(11), zone: Zone("a".into()) };
        let back = Move { partition: PartitionId(3), from: NodeId(55), to: Some(NodeId(11)) };
        assert_eq!(next_step(&group, back, &target), Next::Remove(ReplicaId(4)));
    }

    #[test]
    fn leaders_are_not_given_to_who_leaves_too_unless_nobody_else_is_left() {
        let group = partition(3, 7);
        let nodes: Vec<NodeId> = group.replicas.iter().map(|replica| replica.node).collect();
        let ids = |leaving: &[NodeId]| not_heirs(&group, nodes[0], &leaving.iter().copied().collect());
        assert_eq!(ids(&[nodes[0]]), [ReplicaId(1)]);
        assert_eq!(ids(&[nodes[0], nodes[2]]), [ReplicaId(1), ReplicaId(3)]);
        assert_eq!(ids(&nodes), [ReplicaId(1)]);
    }

    #[test]
    fn a_move_adds_swaps_removes_and_ends() {
        let wish = Move { partition: PartitionId(3), from: NodeId(22), to: None };
        let target = Place { node: NodeId(55), zone: Zone("b".into()) };
        let mut group = partition(3, 7);
        assert_eq!(next_step(&group, wish, &target), Next::Add(target.clone()));
        group.replicas.push(ReplicaDescriptor {
            id: ReplicaId(4),
            node: NodeId(55),
            zone: Zone("b".into()),
            role: ReplicaRole::Learner,
            kind: ReplicaKind::Storage,
        });
        let swap = Next::Swap { promote: ReplicaId(4), demote: ReplicaId(2) };
        assert_eq!(next_step(&group, wish, &target), swap);
        group.replicas[3].role = ReplicaRole::Voter;
        group.replicas[1].role = ReplicaRole::Learner;
        assert_eq!(next_step(&group, wish, &target), Next::Remove(ReplicaId(2)));
        group.replicas.remove(1);
        assert_eq!(next_step(&group, wish, &target), Next::Done);
        // Its leader had it rebuilt elsewhere: another one would be one too many.
        group.replicas.retain(|replica| replica.id != ReplicaId(4));
        assert_eq!(next_step(&group, wish, &target), Next::Done);
    }
}
