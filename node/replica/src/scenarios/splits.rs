//! A partition is cut in two.

use bytes::Bytes;
use model::{KeyRange, NodeId, PartitionId, ReplicaId, ReplicaKind, Zone};

use super::ZONES;
use crate::cluster::{Cluster, Disk};
use crate::entry::{Body, LogEntry};
use crate::fixture::put;
use crate::{Answer, AppliedMark, Change, GroupState, Input, Refusal, Token};

fn key(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// Three items: a, m, z.
fn with_items() -> Cluster {
    let mut cluster = Cluster::led(&ZONES);
    for key in ["a", "m", "z"] {
        cluster.write(1, put(key, "old"));
    }
    cluster.settle();
    cluster
}

fn impossible(cluster: &Cluster, token: Token, part: &str) {
    match cluster.answer(token) {
        Answer::Refused(Refusal::Impossible { reason }) => assert!(reason.contains(part), "{reason}"),
        other => panic!("not impossible: {other:?}"),
    }
}

fn stale(cluster: &Cluster, token: Token) {
    match cluster.answer(token) {
        Answer::Refused(Refusal::StaleEpoch { descriptor }) => assert_eq!(descriptor.range.end, Some(key("m"))),
        other => panic!("not stale: {other:?}"),
    }
}

fn written(cluster: &Cluster, token: Token) {
    assert!(matches!(cluster.answer(token), Answer::Written { .. }), "{:?}", cluster.answer(token));
}

#[test]
fn both_halves_serve_with_the_items_that_were_there() {
    let mut cluster = with_items();
    let token = cluster.split(1, "m");
    cluster.tick(2);
    assert_eq!(cluster.answer(token), &Answer::Done);
    for id in 1..=3 {
        let left = cluster.replica(id).descriptor().unwrap();
        assert_eq!((left.epoch, &left.range), (4, &KeyRange { start: Bytes::new(), end: Some(key("m")) }));
        assert_eq!(cluster.host(id).disk.items.keys().collect::<Vec<_>>(), ["a"]);
        let (child, items) = &cluster.hosts[&id].disk.children[0];
        assert_eq!((child.descriptor.id, child.descriptor.epoch), (PartitionId(78), 4), "above the parent's before");
        assert_eq!(child.descriptor.range, KeyRange { start: key("m"), end: None });
        assert_eq!(child.descriptor.next_replica, ReplicaId(4));
        assert_eq!(items.keys().collect::<Vec<_>>(), ["m", "z"]);
        let parent = AppliedMark::decode(cluster.hosts[&id].disk.mark.clone().unwrap()).unwrap();
        let mark = AppliedMark::decode(child.mark.clone()).unwrap();
        assert_eq!(mark, AppliedMark { commit_time_us: parent.commit_time_us, ..AppliedMark::birth() });
    }
    let left = cluster.write(1, put("b", "new"));
    cluster.settle();
    written(&cluster, left);

    let mut child = cluster.child();
    child.elect(2);
    let right = child.write(2, put("m", "new"));
    child.settle();
    written(&child, right);
    assert_eq!(child.host(2).disk.items.len(), 2);
}

#[test]
fn replica_ids_of_the_child_follow_the_order_of_the_parents() {
    let mut cluster = Cluster::led(&ZONES);
    cluster.add(4, Disk::default());
    cluster.change(1, Change::add(NodeId(104), Zone("c".to_owned()), ReplicaKind::Storage));
    cluster.tick(6);
    cluster.change(1, Change::swap(ReplicaId(4), ReplicaId(3)));
    cluster.settle();
    cluster.change(1, Change::remove(ReplicaId(3)));
    cluster.settle();
    cluster.crash(3);
    cluster.split(1, "m");
    cluster.tick(2);
    let child = &cluster.hosts[&4].disk.children[0].0;
    assert_eq!(child.replica, ReplicaId(3));
    assert_eq!(child.descriptor.on_node(NodeId(104)).unwrap().id, ReplicaId(3));
    let state = GroupState::decode(child.state.clone()).unwrap();
    assert_eq!((state.replica, state.configuration.get_voters()), (ReplicaId(3), &[1, 2, 3][..]));
}

#[test]
fn writes_proposed_before_the_split_are_applied_and_later_ones_to_the_right_are_refused() {
    let mut cluster = with_items();
    cluster.host(1).hold.reads = true;
    let early = cluster.write(1, put("y", "early"));
    cluster.settle();
    cluster.host(1).finish_reads();
    cluster.host(1).hold.appends = true;
    cluster.settle();
    // This one waits for its old item when the split is proposed, and this one comes behind it.
    let queued = cluster.write(1, put("n", "queued"));
    cluster.settle();
    let split = cluster.split(1, "m");
    let late = cluster.write(1, put("o", "late"));
    let left = cluster.write(1, put("b", "left"));
    cluster.host(1).hold.reads = false;
    cluster.host(1).hold.appends = false;
    cluster.settle();
    written(&cluster, early);
    assert_eq!(cluster.answer(split), &Answer::Done);
    stale(&cluster, queued);
    stale(&cluster, late);
    written(&cluster, left);
    let (_, right) = &cluster.hosts[&1].disk.children[0];
    assert_eq!(right.keys().collect::<Vec<_>>(), ["m", "y", "z"]);
    assert_eq!(cluster.host(1).disk.items.keys().collect::<Vec<_>>(), ["a", "b"]);
    let entries = cluster.hosts[&1].disk.entries.values().filter(|entry| !entry.data.is_empty());
    let bodies = entries.map(|entry| LogEntry::decode(entry.data.clone()).unwrap().body);
    let behind = bodies.skip_while(|body| !matches!(body, Body::Split { .. }));
    let keys = behind.flat_map(|body| if let Body::Writes(writes) = body { writes } else { Vec::new() });
    assert_eq!(keys.map(|write| write.key).collect::<Vec<_>>(), ["b"]);
}

#[test]
fn strong_reads_under_way_are_refused_by_the_split() {
    let mut cluster = with_items();
    cluster.host(1).hold.applies = true;
    cluster.split(1, "m");
    let read = cluster.confirm(1);
    cluster.settle();
    stale(&cluster, read);
    cluster.host(1).hold.applies = false;
    cluster.settle();
    assert!(!cluster.confirmed.contains(&read));
    let read = cluster.confirm(1);
    cluster.settle();
    assert!(cluster.confirmed.contains(&read));
}

#[test]
fn a_split_that_the_group_cannot_carry_out_is_refused() {
    let mut cluster = with_items();
    let outside = cluster.split(1, "");
    let token = cluster.token();
    let epoch = cluster.replica(1).descriptor().unwrap().epoch;
    cluster.host(1).inputs.push(Input::Split { token, epoch: epoch - 1, at: key("m"), child: PartitionId(78) });
    let itself = cluster.token();
    cluster.host(1).inputs.push(Input::Split { token: itself, epoch, at: key("m"), child: PartitionId(77) });
    let follower = cluster.split(2, "m");
    cluster.settle();
    impossible(&cluster, outside, "not inside");
    impossible(&cluster, itself, "cannot be the new one");
    assert!(matches!(cluster.answer(token), Answer::Refused(Refusal::StaleEpoch { .. })));
    assert!(matches!(cluster.answer(follower), Answer::Refused(Refusal::NotLeader { .. })));

    let first = cluster.split(1, "m");
    let second = cluster.split(1, "c");
    let change = cluster.change(1, Change::add(NodeId(104), Zone("c".to_owned()), ReplicaKind::Storage));
    cluster.settle();
    assert_eq!(cluster.answer(first), &Answer::Done);
    impossible(&cluster, second, "a split is under way");
    impossible(&cluster, change, "a split is under way");

    cluster.add(4, Disk::default());
    cluster.change(1, Change::add(NodeId(104), Zone("c".to_owned()), ReplicaKind::Storage));
    cluster.tick(6);
    let learner = cluster.split(1, "c");
    cluster.settle();
    impossible(&cluster, learner, "made whole first");
}

#[test]
fn a_follower_that_applies_the_split_late_has_the_same_child() {
    let mut cluster = with_items();
    cluster.host(3).hold.applies = true;
    cluster.split(1, "m");
    cluster.tick(2);
    assert!(cluster.host(3).disk.children.is_empty());
    for text in ["b", "c"] {
        cluster.write(1, put(text, "later"));
    }
    cluster.tick(2);
    cluster.host(3).hold.applies = false;
    cluster.tick(2);
    let (first, right) = cluster.hosts[&1].disk.children[0].clone();
    let (third, same) = cluster.hosts[&3].disk.children[0].clone();
    assert_eq!((right, first.mark, first.descriptor), (same, third.mark, third.descriptor));
    assert_eq!(cluster.hosts[&1].disk.items, cluster.hosts[&3].disk.items);
}

#[test]
fn a_split_that_a_crash_takes_back_is_applied_again_alike() {
    let mut cluster = with_items();
    cluster.tick(2);
    cluster.host(2).disk.flush();
    cluster.split(1, "m");
    cluster.write(1, put("b", "later"));
    cluster.tick(2);
    let before = cluster.host(2).disk.children.pop().unwrap();
    cluster.crash(2);
    assert_eq!(cluster.host(2).disk.items.len(), 3);
    cluster.start(2, false);
    cluster.tick(4);
    assert_eq!(cluster.host(2).disk.children, [before]);
    // After a flush it is not applied again.
    cluster.host(2).disk.flush();
    cluster.crash(2);
    cluster.start(2, false);
    cluster.tick(4);
    assert_eq!(cluster.hosts[&2].disk.children.len(), 1);
    assert_eq!(cluster.hosts[&2].disk.items, cluster.hosts[&1].disk.items);
}

#[test]
fn a_split_that_no_quorum_has_is_forgotten_with_its_leader() {
    let mut cluster = with_items();
    cluster.isolate(1);
    let split = cluster.split(1, "m");
    let held = cluster.write(1, put("z", "held"));
    cluster.settle();
    for _ in 0..40 {
        cluster.tick_once(&[]);
        cluster.settle();
    }
    assert_eq!(cluster.answer(split), &Answer::Refused(Refusal::Unknown));
    assert!(matches!(cluster.answer(held), Answer::Refused(Refusal::NotLeader { .. })));
    cluster.heal();
    cluster.tick(30);
    let leader = cluster.leader();
    assert!((1..=3).all(|id| cluster.hosts[&id].disk.children.is_empty()));
    let write = cluster.write(leader, put("z", "new"));
    cluster.settle();
    written(&cluster, write);
}

#[test]
fn a_new_leader_that_inherits_a_split_serves_only_what_is_left() {
    let mut cluster = with_items();
    cluster.host(1).hold.applies = true;
    cluster.cut.insert((2, 1));
    cluster.cut.insert((3, 1));
    cluster.split(1, "m");
    cluster.settle();
    cluster.isolate(1);
    cluster.usurp(2);
    cluster.tick(2);
    assert_eq!(cluster.hosts[&2].disk.children.len(), 1);
    let epoch = cluster.replica(2).descriptor().unwrap().epoch;
    let token = cluster.token();
    cluster.host(2).inputs.push(Input::Write { token, epoch: epoch - 1, request: Box::new(put("z", "old epoch")) });
    let outside = cluster.write(2, put("z", "outside"));
    cluster.settle();
    stale(&cluster, token);
    stale(&cluster, outside);
}
