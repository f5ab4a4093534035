//! Replicas come and go.

use bytes::Bytes;
use model::{NodeId, ReplicaId, ReplicaKind, ReplicaRole, TableDescriptor, TableStatus, Zone};

use super::ZONES;
use crate::cluster::{Cluster, Disk};
use crate::eraftpb::MessageType;
use crate::fixture::{put, table};
use crate::{Answer, Change, Event, Input, Refusal};

fn add_learner(zone: &str) -> Change {
    Change::add(NodeId(104), Zone(zone.to_owned()), ReplicaKind::Storage)
}

fn swap(promote: u64, demote: u64) -> Change {
    Change::swap(ReplicaId(promote), ReplicaId(demote))
}

fn impossible(cluster: &Cluster, token: crate::Token, part: &str) {
    match cluster.answer(token) {
        Answer::Refused(Refusal::Impossible { reason }) => assert!(reason.contains(part), "{reason}"),
        other => panic!("not impossible: {other:?}"),
    }
}

/// Replica 4 has come as a learner and has everything.
fn with_learner(zones: &[&str], zone: &str) -> Cluster {
    let mut cluster = Cluster::led(zones);
    cluster.write(1, put("k", "v"));
    cluster.settle();
    cluster.add(4, Disk::default());
    let token = cluster.change(1, add_learner(zone));
    cluster.tick(6);
    assert_eq!(cluster.answer(token), &Answer::Done);
    cluster
}

#[test]
fn a_replica_moves_to_another_node_by_snapshot_swap_and_removal() {
    let mut cluster = with_learner(&ZONES, "c");
    assert!(cluster.sent.contains(&(1, 4, MessageType::MsgSnapshot)));
    assert!(cluster.host(4).disk.items.contains_key(&Bytes::from_static(b"k")));
    assert!(!cluster.replica(4).descriptor().unwrap().replicas.is_empty());

    let swapped = cluster.change(1, swap(4, 3));
    cluster.settle();
    assert_eq!(cluster.answer(swapped), &Answer::Done);
    assert!(!cluster.replica(1).status().in_joint_change);
    let removed = cluster.change(1, Change::remove(ReplicaId(3)));
    cluster.settle();
    assert_eq!(cluster.answer(removed), &Answer::Done);
    assert!(cluster.hosts[&3].events.contains(&Event::Removed));
    cluster.crash(3);

    cluster.tick(2);
    for id in [1, 2, 4] {
        let descriptor = cluster.replica(id).descriptor().unwrap();
        assert_eq!(descriptor.epoch, 6);
        assert_eq!(descriptor.next_replica, ReplicaId(5));
        assert_eq!(descriptor.replicas.iter().map(|replica| replica.id.0).collect::<Vec<_>>(), [1, 2, 4]);
        assert!(descriptor.replicas.iter().all(|replica| replica.role == ReplicaRole::Voter));
    }
    cluster.crash(2);
    let write = cluster.write(1, put("l", "w"));
    cluster.settle();
    assert!(matches!(cluster.answer(write), Answer::Written { .. }));
}

#[test]
fn a_learner_that_has_nothing_yet_is_not_promoted() {
    let mut cluster = Cluster::led(&ZONES);
    let added = cluster.change(1, add_learner("c"));
    cluster.settle();
    assert_eq!(cluster.answer(added), &Answer::Done);
    let swapped = cluster.change(1, swap(4, 3));
    cluster.settle();
    impossible(&cluster, swapped, "not caught up");
}

/// What came now would be there when the group is gone; one that is out of service is kept whole.
#[test]
fn nobody_comes_to_a_group_whose_table_is_being_deleted() {
    for status in [TableStatus::Deleting, TableStatus::Retained] {
        let mut cluster = Cluster::led(&ZONES);
        let set = cluster.set_table(1, TableDescriptor { version: table().version + 1, status, ..table() });
        cluster.settle();
        let added = cluster.change(1, add_learner("c"));
        cluster.settle();
        assert_eq!(cluster.answer(set), &Answer::Done);
        let refused = Answer::Refused(Refusal::TableGone);
        let answer = if status == TableStatus::Deleting { refused } else { Answer::Done };
        assert_eq!(cluster.answer(added), &answer);
    }
}

#[test]
fn a_change_planned_against_another_epoch_is_refused() {
    let mut cluster = Cluster::led(&ZONES);
    let token = cluster.token();
    cluster.host(1).inputs.push(Input::Change { token, epoch: 2, change: add_learner("c") });
    cluster.settle();
    assert!(matches!(cluster.answer(token), Answer::Refused(Refusal::StaleEpoch { .. })));
}

#[test]
fn one_change_is_under_way_at_a_time_and_leadership_stays_meanwhile() {
    let mut cluster = Cluster::led(&ZONES);
    let first = cluster.change(1, add_learner("c"));
    let second = cluster.change(1, Change::add(NodeId(105), Zone("b".to_owned()), ReplicaKind::Storage));
    let transfer = cluster.transfer(1, 2);
    cluster.settle();
    assert_eq!(cluster.answer(first), &Answer::Done);
    impossible(&cluster, second, "under way");
    impossible(&cluster, transfer, "under way");
}

#[test]
fn the_leader_is_demoted_only_after_it_has_handed_leadership_on() {
    let mut cluster = with_learner(&ZONES, "a");
    let refused = cluster.change(1, swap(4, 1));
    cluster.settle();
    impossible(&cluster, refused, "transfer leadership first");
    cluster.transfer(1, 2);
    cluster.settle();
    let swapped = cluster.change(2, swap(4, 1));
    cluster.settle();
    assert_eq!(cluster.answer(swapped), &Answer::Done);
}

#[test]
fn a_voter_is_never_removed_and_one_zone_never_left_alone() {
    let mut cluster = with_learner(&["a", "a", "b"], "a");
    let removed = cluster.change(1, Change::remove(ReplicaId(3)));
    let swapped = cluster.change(1, swap(4, 3));
    cluster.settle();
    impossible(&cluster, removed, "votes");
    impossible(&cluster, swapped, "one zone");
}

#[test]
fn a_new_leader_leaves_the_joint_configuration_that_the_old_one_entered() {
    let mut cluster = with_learner(&ZONES, "c");
    cluster.host(1).hold.applies = true;
    let swapped = cluster.change(1, swap(4, 3));
    cluster.settle();
    assert!(cluster.replica(1).status().in_joint_change);
    cluster.crash(1);
    assert_eq!(cluster.answers.get(&swapped), None);
    cluster.tick(60);
    let leader = cluster.leader();
    assert!(!cluster.replica(leader).status().in_joint_change);
    let descriptor = cluster.replica(leader).descriptor().unwrap();
    assert_eq!(descriptor.replica(ReplicaId(4)).unwrap().role, ReplicaRole::Voter);
    assert_eq!(descriptor.replica(ReplicaId(3)).unwrap().role, ReplicaRole::Learner);
}

#[test]
fn a_leader_that_inherits_its_own_demotion_hands_leadership_on() {
    let mut cluster = with_learner(&ZONES, "b");
    // The change reaches replica 2, which it demotes; then the old leader is gone.
    cluster.cut.extend([(1, 3), (1, 4), (2, 1), (3, 1)]);
    let swapped = cluster.change(1, swap(4, 2));
    cluster.settle();
    assert!(!cluster.answers.contains_key(&swapped));
    cluster.heal();
    cluster.crash(1);
    cluster.usurp(2);
    cluster.tick(40);
    assert_ne!(cluster.leader(), 2);
    let leader = cluster.leader();
    assert_eq!(cluster.replica(leader).descriptor().unwrap().replica(ReplicaId(2)).unwrap().role, ReplicaRole::Learner);
    assert!(!cluster.replica(leader).status().in_joint_change);
}
