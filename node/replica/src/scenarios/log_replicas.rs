//! A log replica stands in, hands on what only it has, and goes.

use bytes::Bytes;
use model::{NodeId, ReplicaId, ReplicaKind, ReplicaRole, Zone};

use super::ZONES;
use crate::cluster::{Cluster, Disk};
use crate::eraftpb::MessageType;
use crate::fixture::{put, table};
use crate::{Answer, Change, Event, GroupState, Input, Refusal};

fn stand_in(node: u64, zone: &str, demote: u64) -> Change {
    let demote = Some(ReplicaId(demote));
    Change { demote, ..Change::add(NodeId(node), Zone(zone.to_owned()), ReplicaKind::Log) }
}

fn write_many(cluster: &mut Cluster, leader: u64, count: usize) {
    for index in 0..count {
        let token = cluster.write(leader, put(&format!("k{index}"), "v"));
        cluster.settle();
        assert!(matches!(cluster.answer(token), Answer::Written { .. }));
    }
}

fn flush(cluster: &mut Cluster, id: u64) {
    let index = cluster.replica(id).status().applied;
    cluster.host(id).inputs.push(Input::Flushed { index });
    cluster.settle();
}

/// Replica 3 is gone, log replica 4 votes in its place.
fn with_stand_in() -> Cluster {
    with_stand_in_and_log_of(1 << 30)
}

fn with_stand_in_and_log_of(log_bytes: u64) -> Cluster {
    let mut cluster = Cluster::born(&ZONES);
    cluster.options.log_bytes = log_bytes;
    cluster.crash(1);
    cluster.start(1, false);
    cluster.elect(1);
    write_many(&mut cluster, 1, 10);
    cluster.tick(1);
    for id in 1..=3 {
        flush(&mut cluster, id);
    }
    write_many(&mut cluster, 1, 10);
    cluster.crash(3);
    cluster.add(4, Disk::default());
    let token = cluster.change(1, stand_in(104, "c", 3));
    cluster.tick(6);
    assert_eq!(cluster.answer(token), &Answer::Done);
    cluster
}

#[test]
fn a_log_replica_gets_the_log_and_no_items_and_votes_with_it() {
    let mut cluster = with_stand_in();
    let (leader, log) = (cluster.replica(1).status(), cluster.replica(4).status());
    assert_eq!((log.last_index, log.applied), (leader.last_index, leader.applied));
    assert!(cluster.host(4).disk.items.is_empty());
    let state = GroupState::decode(cluster.host(4).disk.state.clone().unwrap()).unwrap();
    assert_eq!(state.descriptor, *cluster.replica(1).descriptor().unwrap());
    assert!(state.settled > cluster.host(4).disk.truncated.0);
    // With the other storage replica gone it makes the quorum.
    cluster.isolate(2);
    write_many(&mut cluster, 1, 3);
    assert_eq!(cluster.replica(4).status().last_index, cluster.replica(1).status().last_index);
}

#[test]
fn what_only_a_log_replica_has_reaches_a_replica_with_items() {
    let mut cluster = with_stand_in();
    cluster.isolate(2);
    let written = cluster.write(1, put("tail", "v"));
    cluster.settle();
    assert!(matches!(cluster.answer(written), Answer::Written { .. }));
    cluster.crash(1);
    cluster.heal();
    for _ in 0..60 {
        cluster.tick(1);
        assert!(!cluster.replica(4).status().serving, "a log replica serves");
    }
    assert_eq!(cluster.leader(), 2);
    cluster.tick(2);
    assert!(cluster.host(2).disk.items.contains_key(&Bytes::from_static(b"tail")));
    assert!(
        cluster.host(4).events.iter().any(|event| matches!(event, Event::Leader { leader: Some(ReplicaId(4)), .. }))
    );
    write_many(&mut cluster, 2, 3);
}

/// The log replica leads with what replica 2 lacks; replica 1 has it, and may not vote in this term and the next.
fn with_an_heir_that_abstains() -> Cluster {
    let mut cluster = with_stand_in();
    cluster.isolate(2);
    write_many(&mut cluster, 1, 1);
    cluster.crash(1);
    cluster.heal();
    for _ in 0..1_000 {
        if cluster.replica(4).status().leader == Some(ReplicaId(4)) {
            break;
        }
        if !cluster.turn() {
            cluster.tick_once(&[]);
        }
    }
    cluster.cut.insert((4, 2));
    cluster.start(1, true);
    cluster.tick(8);
    assert_eq!(cluster.replica(1).status().last_index, cluster.replica(4).status().last_index);
    assert!(cluster.replica(2).status().last_index < cluster.replica(4).status().last_index);
    assert!(cluster.sent.contains(&(4, 1, MessageType::MsgTimeoutNow)));
    assert_eq!(cluster.replica(4).status().leader, Some(ReplicaId(4)));
    cluster
}

#[test]
fn an_heir_that_does_not_take_over_leaves_it_to_the_next() {
    let mut cluster = with_an_heir_that_abstains();
    cluster.heal();
    cluster.tick(20);
    assert_eq!(cluster.leader(), 2);
}

#[test]
fn where_no_heir_takes_over_the_log_replica_gives_up() {
    let mut cluster = with_an_heir_that_abstains();
    cluster.isolate(2);
    cluster.tick(100);
    assert_eq!(cluster.leader(), 1);
}

#[test]
fn one_that_comes_back_is_promoted_again_without_a_snapshot() {
    let mut cluster = with_stand_in();
    write_many(&mut cluster, 1, 30);
    for id in [1, 2, 4] {
        flush(&mut cluster, id);
    }
    cluster.tick(2);
    cluster.sent.clear();
    cluster.start(3, false);
    cluster.tick(6);
    let change = Change { promote: Some(ReplicaId(3)), demote: Some(ReplicaId(4)), ..Change::default() };
    let promoted = cluster.change(1, change);
    cluster.tick(3);
    assert_eq!(cluster.answer(promoted), &Answer::Done);
    let removed = cluster.change(1, Change::remove(ReplicaId(4)));
    cluster.tick(3);
    assert_eq!(cluster.answer(removed), &Answer::Done);
    assert!(cluster.hosts[&4].events.contains(&Event::Removed));
    assert!(cluster.sent.iter().all(|&(_, _, kind)| kind != MessageType::MsgSnapshot));
    assert_eq!(cluster.hosts[&3].disk.items, cluster.hosts[&1].disk.items);
}

#[test]
fn a_log_replica_keeps_what_fewer_than_two_replicas_with_items_have() {
    let mut cluster = with_stand_in_and_log_of(1_000);
    cluster.isolate(2);
    let before = cluster.replica(2).status().last_index;
    write_many(&mut cluster, 1, 60);
    for _ in 0..3 {
        flush(&mut cluster, 1);
        flush(&mut cluster, 4);
        cluster.tick(1);
    }
    assert!(cluster.host(1).disk.truncated.0 <= before && cluster.host(4).disk.truncated.0 <= before);
    cluster.heal();
    cluster.tick(4);
    write_many(&mut cluster, 1, 1);
    cluster.tick(1);
    for _ in 0..3 {
        [1, 2, 4].into_iter().for_each(|id| flush(&mut cluster, id));
        cluster.tick(1);
    }
    // Two have it: the limit takes it from the third.
    assert!(cluster.host(1).disk.truncated.0 > before);
    assert_eq!(cluster.hosts[&4].disk.truncated, cluster.hosts[&1].disk.truncated);
}

#[test]
fn administrative_entries_before_its_state_are_not_applied_again() {
    let mut cluster = Cluster::led(&ZONES);
    // Everything stays in the log: joint changes forth and back, a table, then the stand-in.
    cluster.add(4, Disk::default());
    let added = cluster.change(1, Change::add(NodeId(104), Zone("c".to_owned()), ReplicaKind::Storage));
    cluster.tick(6);
    assert_eq!(cluster.answer(added), &Answer::Done);
    for (promote, demote) in [(4, 3), (3, 4), (4, 3)] {
        let swapped = cluster.change(1, Change::swap(ReplicaId(promote), ReplicaId(demote)));
        cluster.tick(2);
        assert_eq!(cluster.answer(swapped), &Answer::Done);
    }
    let mut newer = table();
    newer.version += 1;
    cluster.set_table(1, newer.clone());
    cluster.settle();
    cluster.add(5, Disk::default());
    // The change stays in its joint configuration while the newcomer gets its log.
    cluster.isolate(2);
    cluster.change(1, stand_in(105, "b", 2));
    cluster.settle();
    cluster.cut.retain(|&(from, to)| (from, to) != (1, 5) && (from, to) != (5, 1));
    cluster.tick(5);
    let joint = cluster.replica(1).status().in_joint_change;
    assert_eq!(cluster.replica(5).status().in_joint_change, joint);
    cluster.heal();
    cluster.tick(6);
    let descriptor = cluster.replica(1).descriptor().unwrap().clone();
    assert_eq!(cluster.replica(5).descriptor(), Some(&descriptor));
    assert_eq!(cluster.replica(5).table(), Some(&newer));
    assert!(!cluster.replica(5).status().in_joint_change);
    assert_eq!(descriptor.replica(ReplicaId(2)).unwrap().role, ReplicaRole::Learner);
}

#[test]
fn a_crash_in_the_middle_of_its_log_is_gone_on_from() {
    let mut cluster = Cluster::led(&ZONES);
    write_many(&mut cluster, 1, 20);
    cluster.crash(3);
    cluster.add(4, Disk::default());
    cluster.host(4).disk.flush();
    cluster.host(4).hold.applies = true;
    cluster.change(1, stand_in(104, "c", 3));
    for _ in 0..8 {
        cluster.tick(1);
        if cluster.replica(4).descriptor().is_some() {
            cluster.crash(4);
            cluster.start(4, false);
        }
    }
    cluster.host(4).hold.applies = false;
    cluster.tick(6);
    let (leader, log) = (cluster.replica(1).status(), cluster.replica(4).status());
    assert_eq!((log.last_index, log.applied), (leader.last_index, leader.applied));
    assert_eq!(cluster.replica(4).descriptor(), cluster.replica(1).descriptor());
}

#[test]
fn leadership_is_never_sent_to_a_log_replica() {
    let mut cluster = with_stand_in();
    let refused = cluster.transfer(1, 4);
    cluster.settle();
    assert!(matches!(cluster.answer(refused), Answer::Refused(Refusal::Impossible { .. })));
    cluster.host(1).inputs.push(Input::Resign);
    cluster.tick(3);
    assert_eq!(cluster.leader(), 2);
}

#[test]
fn replicas_with_items_have_time_to_be_elected_before_a_log_replica_stands() {
    let mut cluster = with_stand_in();
    for id in [1, 2, 4] {
        flush(&mut cluster, id);
    }
    for _ in 0..10 {
        let leader = cluster.leader();
        cluster.crash(leader);
        cluster.tick(50);
        assert_eq!(cluster.leader(), 3 - leader);
        cluster.start(leader, false);
        cluster.tick(5);
    }
    assert!(
        !cluster.host(4).events.iter().any(|event| matches!(event, Event::Leader { leader: Some(ReplicaId(4)), .. }))
    );
}
