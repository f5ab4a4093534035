//! A majority is gone for good: one replica goes on alone, and gets others again.

use bytes::Bytes;
use model::{NodeId, PartitionDescriptor, ReplicaDescriptor, ReplicaId, ReplicaKind, ReplicaRole, Zone};

use super::ZONES;
use crate::cluster::{Cluster, Disk};
use crate::fixture::put;
use crate::{Answer, Change, GroupState, Health, NotRecoverable, Options, Purpose, STRIDE, recovered};

/// Longer than elections take.
const LONG: usize = 50;

fn cluster() -> Cluster {
    let options = Options { seed: 42, suspect_ticks: 20, replace_after_ticks: 200, ..Options::default() };
    let mut cluster = Cluster::born_with(&ZONES, options);
    cluster.elect(1);
    cluster.tick(2);
    cluster
}

fn zone(name: &str) -> Zone {
    Zone(name.to_owned())
}

/// As a host does it: the replica is stopped, its state rewritten, and what goes on has its new id.
fn recover(cluster: &mut Cluster, id: u64) -> u64 {
    let mut host = cluster.hosts.remove(&id).unwrap();
    host.finish_appends();
    host.finish_applies();
    let mut disk = host.disk;
    let state = recovered(&GroupState::decode(disk.state.clone().unwrap()).unwrap()).unwrap();
    disk.state = Some(state.encode());
    // What only the lost ones had is lost.
    let last = disk.entries.last_key_value().map_or(disk.truncated.0, |(&index, _)| index);
    cluster.history.retain(|&index, _| index <= last);
    cluster.add(state.replica.0, disk);
    state.replica.0
}

/// Replica 3 goes on alone, and serves.
fn recovered_from_3(cluster: &mut Cluster) -> u64 {
    cluster.hosts.remove(&1);
    cluster.hosts.remove(&2);
    let alone = recover(cluster, 3);
    cluster.tick(LONG);
    assert_eq!(cluster.leader(), alone);
    alone
}

fn descriptor(cluster: &Cluster) -> &PartitionDescriptor {
    cluster.replica(cluster.leader()).descriptor().unwrap()
}

fn write(cluster: &mut Cluster, key: &str) {
    let leader = cluster.leader();
    let token = cluster.write(leader, put(key, "v"));
    cluster.settle();
    assert!(matches!(cluster.answer(token), Answer::Written { .. }), "{:?}", cluster.answer(token));
}

fn has(cluster: &Cluster, id: u64, key: &'static str) -> bool {
    cluster.hosts[&id].disk.items.contains_key(&Bytes::from_static(key.as_bytes()))
}

/// A replica comes to the place that the leader asks for, and votes.
fn filled(cluster: &mut Cluster, node: u64, in_zone: &str) {
    assert_eq!(cluster.places_wanted.last().unwrap().1.purpose, Purpose::Rebuilt { lost: None });
    let id = descriptor(cluster).next_replica.0;
    cluster.add(id, Disk::default());
    cluster.place(Ok((NodeId(node), zone(in_zone))));
    cluster.tick(LONG);
    let member = descriptor(cluster).replica(ReplicaId(id)).cloned();
    let (role, kind) = (ReplicaRole::Voter, ReplicaKind::Storage);
    assert_eq!(
        member,
        Some(ReplicaDescriptor { id: ReplicaId(id), node: NodeId(node), zone: zone(in_zone), role, kind })
    );
}

#[test]
fn the_last_of_three_leads_serves_and_gets_two_others() {
    let mut cluster = cluster();
    write(&mut cluster, "acknowledged");
    cluster.tick(2);
    let epoch = descriptor(&cluster).epoch;
    let alone = recovered_from_3(&mut cluster);
    assert_eq!((alone, descriptor(&cluster).epoch), (4 + STRIDE, epoch + STRIDE));
    assert!(has(&cluster, alone, "acknowledged"));
    write(&mut cluster, "alone");
    let read = cluster.confirm(alone);
    cluster.settle();
    assert!(cluster.confirmed.contains(&read));
    assert!(matches!(cluster.replica(alone).health(), Some((Health::Short { .. }, _))));

    filled(&mut cluster, 101, "a");
    filled(&mut cluster, 102, "b");
    assert_eq!(cluster.replica(alone).health().unwrap().0, Health::Whole);
    assert!(cluster.places_wanted.is_empty());
    // Commits need two of them again.
    let others: Vec<u64> = cluster.hosts.keys().copied().filter(|id| *id != alone).collect();
    cluster.crash(alone);
    cluster.tick(LONG);
    assert!(others.iter().all(|id| has(&cluster, *id, "acknowledged") && has(&cluster, *id, "alone")));
    write(&mut cluster, "later");
}

#[test]
fn what_was_logged_and_not_known_to_be_committed_is_kept() {
    let mut cluster = cluster();
    // Replica 3 has the entry and nobody tells it more.
    cluster.cut.extend([(3, 1), (1, 2), (2, 1)]);
    cluster.write(1, put("logged", "v"));
    cluster.settle();
    assert!(!has(&cluster, 3, "logged"));
    let alone = recovered_from_3(&mut cluster);
    assert!(has(&cluster, alone, "logged"));
}

#[test]
fn a_change_that_stands_in_its_log_is_skipped() {
    let mut cluster = cluster();
    cluster.cut.extend([(3, 1), (1, 2), (2, 1)]);
    cluster.change(1, Change::add(NodeId(104), zone("a"), ReplicaKind::Storage));
    cluster.settle();
    let last = cluster.replica(3).status().last_index;
    let alone = recovered_from_3(&mut cluster);
    assert!(cluster.replica(alone).status().applied > last);
    assert_eq!(descriptor(&cluster).replicas.len(), 1);
    assert_eq!(descriptor(&cluster).next_replica, ReplicaId(5 + STRIDE));
}

#[test]
fn a_joint_configuration_is_left_behind() {
    let mut cluster = cluster();
    cluster.add(4, Disk::default());
    let added = cluster.change(1, Change::add(NodeId(104), zone("b"), ReplicaKind::Storage));
    cluster.tick(6);
    assert_eq!(cluster.answer(added), &Answer::Done);
    // Replica 3 enters the joint configuration; the entry that leaves it does not come any more.
    cluster.host(1).hold.applies = true;
    cluster.change(1, Change::swap(ReplicaId(4), ReplicaId(2)));
    cluster.tick(3);
    assert!(cluster.replica(3).status().in_joint_change);
    cluster.hosts.remove(&4);
    let alone = recovered_from_3(&mut cluster);
    assert!(!cluster.replica(alone).status().in_joint_change);
    assert_eq!(descriptor(&cluster).replicas.len(), 1);
    write(&mut cluster, "k");
}

#[test]
fn a_doubted_tail_is_what_there_is() {
    let mut cluster = cluster();
    write(&mut cluster, "k");
    cluster.tick(2);
    cluster.hosts.remove(&1);
    cluster.hosts.remove(&2);
    cluster.crash(3);
    cluster.start(3, true);
    cluster.tick(LONG);
    assert!(cluster.replica(3).standing().tail_doubted);
    let alone = recover(&mut cluster, 3);
    // After a crash in between, too.
    cluster.crash(alone);
    cluster.start(alone, true);
    cluster.tick(LONG);
    assert_eq!(cluster.leader(), alone);
    assert!(has(&cluster, alone, "k"));
}

#[test]
fn nothing_is_recovered_from_while_a_majority_follows_a_leader_or_may_soon() {
    let mut cluster = cluster();
    cluster.tick(LONG);
    assert_eq!(cluster.replica(1).may_be_recovered(), Err(NotRecoverable::Leads));
    assert_eq!(cluster.replica(3).may_be_recovered(), Err(NotRecoverable::Led));
    cluster.crash(1);
    cluster.crash(2);
    cluster.tick(20);
    assert_eq!(cluster.replica(3).may_be_recovered(), Err(NotRecoverable::Led));
    cluster.tick(LONG);
    assert_eq!(cluster.replica(3).may_be_recovered(), Ok(()));
    // One of the others is back: one leads, and one follows.
    cluster.start(1, false);
    cluster.tick(LONG);
    for id in [1, 3] {
        let refused = if id == cluster.leader() { NotRecoverable::Leads } else { NotRecoverable::Led };
        assert_eq!(cluster.replica(id).may_be_recovered(), Err(refused));
    }
}

#[test]
fn a_leader_that_reaches_one_zone_alone_is_no_leader() {
    let options = Options { seed: 42, suspect_ticks: 20, ..Options::default() };
    let mut cluster = Cluster::born_with(&["a", "b", "a"], options);
    cluster.elect(1);
    cluster.tick(2);
    cluster.crash(2);
    // They elect each other in turns, and cannot commit.
    cluster.tick(3 * LONG);
    for id in [1, 3] {
        assert_eq!(cluster.replica(id).may_be_recovered(), Ok(()));
        assert!(matches!(cluster.replica(id).health(), Some((Health::Leaderless, _))));
    }
    cluster.hosts.remove(&2);
    let alone = recover(&mut cluster, 3);
    // Whom it has given up still asks for votes, and sends to its old id.
    cluster.tick(LONG);
    assert_eq!(cluster.leader(), alone);
    write(&mut cluster, "k");
    assert!(!has(&cluster, 1, "k"));
}

#[test]
fn an_old_majority_that_returns_does_not_reach_it() {
    let mut cluster = cluster();
    write(&mut cluster, "k");
    cluster.tick(2);
    cluster.crash(1);
    cluster.crash(2);
    let alone = recover(&mut cluster, 3);
    cluster.tick(LONG);
    assert!(cluster.replica(alone).status().serving);
    cluster.start(1, false);
    cluster.start(2, false);
    cluster.tick(2 * LONG);
    assert!(cluster.replica(alone).status().serving);
    let members: Vec<u64> = cluster.replica(alone).descriptor().unwrap().replicas.iter().map(|r| r.id.0).collect();
    assert_eq!(members, [alone]);
}
