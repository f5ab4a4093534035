//! A replica falls silent: it is stood in for, taken back, or rebuilt elsewhere; and what hinders that is told.

use model::{NodeId, ReplicaDescriptor, ReplicaId, ReplicaKind, ReplicaRole, Zone};

use super::ZONES;
use crate::cluster::{Cluster, Disk};
use crate::fixture::put;
use crate::{Answer, Change, Envelope, Event, Health, Input, MessageBody, NoPlace, Options, Purpose};

const SUSPECT: usize = 20;
const REPLACE: usize = 200;

fn cluster() -> Cluster {
    let ticks = |ticks: usize| ticks as u64;
    let options = Options {
        seed: 42,
        suspect_ticks: ticks(SUSPECT),
        planned_stop_ticks: 100,
        replace_after_ticks: ticks(REPLACE),
        ..Options::default()
    };
    let mut cluster = Cluster::born_with(&ZONES, options);
    cluster.elect(1);
    cluster.tick(2);
    cluster
}

fn zone(name: &str) -> Zone {
    Zone(name.to_owned())
}

fn member(cluster: &Cluster, id: u64) -> Option<(ReplicaRole, ReplicaKind)> {
    let described = cluster.replica(cluster.leader()).descriptor().unwrap().replica(ReplicaId(id));
    described.map(|ReplicaDescriptor { role, kind, .. }| (*role, *kind))
}

/// What was asked for last.
fn wanted(cluster: &Cluster) -> Purpose {
    cluster.places_wanted.last().expect("a place is wanted").1.purpose.clone()
}

fn health(cluster: &Cluster) -> Health {
    cluster.replica(cluster.leader()).status().health.unwrap().0
}

fn write(cluster: &mut Cluster, key: &str) {
    let leader = cluster.leader();
    let token = cluster.write(leader, put(key, "v"));
    cluster.settle();
    assert!(matches!(cluster.answer(token), Answer::Written { .. }));
}

/// Replica 3 is dead, and log replica 4 on node 104 of its zone stands in.
fn stood_in() -> Cluster {
    let mut cluster = cluster();
    cluster.crash(3);
    cluster.tick(SUSPECT + 1);
    cluster.add(4, Disk::default());
    cluster.place(Ok((NodeId(104), zone("c"))));
    cluster.tick(5);
    assert_eq!(member(&cluster, 4), Some((ReplicaRole::Voter, ReplicaKind::Log)));
    assert_eq!(member(&cluster, 3), Some((ReplicaRole::Learner, ReplicaKind::Storage)));
    cluster
}

#[test]
fn a_whole_group_wants_nothing() {
    let mut cluster = cluster();
    cluster.tick(3 * REPLACE);
    assert!(cluster.places_wanted.is_empty());
    assert_eq!(health(&cluster), Health::Whole);
    assert_eq!(cluster.replica(1).descriptor().unwrap().replicas.len(), 3);
}

#[test]
fn one_that_is_silent_for_the_suspicion_time_is_stood_in_for() {
    let mut cluster = cluster();
    cluster.crash(3);
    cluster.tick(SUSPECT - 2);
    assert!(cluster.places_wanted.is_empty());
    assert!(matches!(health(&cluster), Health::Missing { replica: ReplicaId(3), .. }));
    cluster.tick(3);
    assert_eq!(wanted(&cluster), Purpose::StandIn { lost: Some(zone("c")) });
    cluster.add(4, Disk::default());
    cluster.place(Ok((NodeId(104), zone("c"))));
    cluster.tick(5);
    assert!(matches!(health(&cluster), Health::StoodIn { log: ReplicaId(4), lost: Some(ReplicaId(3)), .. }));
    // With another one gone the log replica makes the quorum.
    cluster.isolate(2);
    write(&mut cluster, "k");
}

#[test]
fn one_that_comes_back_in_time_votes_again_and_nothing_is_copied() {
    let mut cluster = stood_in();
    write(&mut cluster, "k");
    cluster.sent.clear();
    cluster.start(3, false);
    cluster.tick(40);
    assert_eq!(member(&cluster, 3), Some((ReplicaRole::Voter, ReplicaKind::Storage)));
    assert_eq!(member(&cluster, 4), None);
    assert!(cluster.hosts[&4].events.contains(&Event::Removed));
    assert_eq!(health(&cluster), Health::Whole);
    let snapshot = crate::eraftpb::MessageType::MsgSnapshot;
    assert!(cluster.sent.iter().all(|&(_, _, kind)| kind != snapshot));
    assert_eq!(cluster.hosts[&3].disk.items, cluster.hosts[&1].disk.items);
}

#[test]
fn one_that_is_heard_for_a_moment_only_is_not_taken_back() {
    let mut cluster = stood_in();
    cluster.start(3, false);
    cluster.tick(3);
    cluster.crash(3);
    cluster.tick(30);
    assert_eq!(member(&cluster, 3), Some((ReplicaRole::Learner, ReplicaKind::Storage)));
    assert_eq!(member(&cluster, 4), Some((ReplicaRole::Voter, ReplicaKind::Log)));
}

#[test]
fn one_that_stays_away_is_rebuilt_and_leaves() {
    let mut cluster = stood_in();
    cluster.tick(REPLACE - 2 * SUSPECT);
    assert!(cluster.places_wanted.is_empty());
    cluster.tick(2 * SUSPECT);
    assert_eq!(wanted(&cluster), Purpose::Rebuilt { lost: Some(zone("c")) });
    cluster.add(5, Disk::default());
    cluster.place(Ok((NodeId(105), zone("c"))));
    cluster.tick(3);
    assert_eq!(health(&cluster), Health::Rebuilding { replica: ReplicaId(5) });
    cluster.tick(40);
    assert_eq!(member(&cluster, 5), Some((ReplicaRole::Voter, ReplicaKind::Storage)));
    assert_eq!((member(&cluster, 3), member(&cluster, 4)), (None, None));
    assert_eq!(health(&cluster), Health::Whole);
}

#[test]
fn one_that_comes_back_during_its_rebuild_is_taken_and_the_other_leaves() {
    let mut cluster = stood_in();
    cluster.tick(REPLACE);
    // The new one never gets further than its name.
    cluster.place(Ok((NodeId(105), zone("c"))));
    cluster.tick(3);
    cluster.start(3, false);
    cluster.tick(40);
    assert_eq!(member(&cluster, 3), Some((ReplicaRole::Voter, ReplicaKind::Storage)));
    assert_eq!((member(&cluster, 4), member(&cluster, 5)), (None, None));
}

#[test]
fn a_rebuilt_one_that_is_lost_is_given_up_and_another_one_begun() {
    let mut cluster = stood_in();
    cluster.tick(REPLACE);
    cluster.place(Ok((NodeId(105), zone("c"))));
    cluster.tick(REPLACE + SUSPECT);
    assert_eq!(member(&cluster, 5), None);
    assert_eq!(member(&cluster, 3), Some((ReplicaRole::Learner, ReplicaKind::Storage)));
    cluster.add(6, Disk::default());
    cluster.place(Ok((NodeId(106), zone("c"))));
    cluster.tick(40);
    assert_eq!(member(&cluster, 6), Some((ReplicaRole::Voter, ReplicaKind::Storage)));
    assert_eq!(cluster.replica(1).descriptor().unwrap().replicas.len(), 3);
}

#[test]
fn a_new_leader_does_not_begin_to_wait_anew() {
    let mut cluster = stood_in();
    cluster.tick(REPLACE - 3 * SUSPECT);
    let moved = cluster.transfer(1, 2);
    cluster.tick(3);
    assert_eq!((cluster.answer(moved), cluster.leader()), (&Answer::Done, 2));
    cluster.tick(3 * SUSPECT);
    assert_eq!(cluster.places_wanted.last().unwrap().0, 2);
    assert_eq!(wanted(&cluster), Purpose::Rebuilt { lost: Some(zone("c")) });
}

#[test]
fn a_log_replica_in_the_way_goes_elsewhere() {
    let mut cluster = stood_in();
    cluster.tick(REPLACE);
    cluster.place(Err(NoPlace::InTheWay(ReplicaId(4))));
    cluster.tick(1);
    assert_eq!(wanted(&cluster), Purpose::StandInElsewhere { avoided: zone("c") });
    cluster.add(5, Disk::default());
    cluster.place(Ok((NodeId(105), zone("b"))));
    cluster.tick(30);
    assert_eq!(member(&cluster, 5), Some((ReplicaRole::Voter, ReplicaKind::Log)));
    assert_eq!(member(&cluster, 4), None);
    assert_eq!(wanted(&cluster), Purpose::Rebuilt { lost: Some(zone("c")) });
    let short = Health::ShortOfZone { log: ReplicaId(5), lost: Some(ReplicaId(3)), why: String::new() };
    assert_eq!(health(&cluster), short, "replica 2 is in zone b, too");
}

#[test]
fn with_no_other_node_the_log_replica_leaves_before_the_rebuild() {
    let mut cluster = stood_in();
    cluster.tick(REPLACE);
    cluster.place(Err(NoPlace::InTheWay(ReplicaId(4))));
    cluster.tick(1);
    cluster.place(Err(NoPlace::Nowhere("one node a zone".to_owned())));
    cluster.tick(30);
    assert_eq!(member(&cluster, 4), None);
    assert!(matches!(health(&cluster), Health::Short { .. }));
    cluster.hosts.remove(&4);
    assert_eq!(wanted(&cluster), Purpose::Rebuilt { lost: Some(zone("c")) });
    cluster.add(5, Disk::default());
    cluster.place(Ok((NodeId(104), zone("c"))));
    cluster.tick(40);
    assert_eq!(member(&cluster, 5), Some((ReplicaRole::Voter, ReplicaKind::Storage)));
    assert_eq!((member(&cluster, 3), health(&cluster)), (None, Health::Whole));
}

#[test]
fn a_log_replica_that_falls_silent_is_replaced() {
    let mut cluster = stood_in();
    cluster.crash(4);
    cluster.tick(SUSPECT + 2);
    assert_eq!(wanted(&cluster), Purpose::StandIn { lost: Some(zone("c")) });
    cluster.add(5, Disk::default());
    cluster.place(Ok((NodeId(105), zone("c"))));
    cluster.tick(20);
    assert_eq!(member(&cluster, 5), Some((ReplicaRole::Voter, ReplicaKind::Log)));
    assert_eq!(member(&cluster, 4), None);
    assert_eq!(member(&cluster, 3), Some((ReplicaRole::Learner, ReplicaKind::Storage)));
}

#[test]
fn what_hinders_is_told_and_tried_again() {
    let mut cluster = cluster();
    cluster.crash(3);
    cluster.tick(SUSPECT + 1);
    cluster.place(Err(NoPlace::Nowhere("no node of zone c".to_owned())));
    cluster.tick(1);
    let told = Health::Missing { replica: ReplicaId(3), why: "no node of zone c".to_owned() };
    assert_eq!(health(&cluster), told);
    assert!(cluster.places_wanted.is_empty());
    cluster.tick(12);
    assert_eq!(cluster.places_wanted.len(), 1);
}

#[test]
fn two_silent_ones_leave_nothing_to_decide() {
    let mut cluster = stood_in();
    cluster.isolate(2);
    cluster.tick(SUSPECT + 5);
    assert!(cluster.places_wanted.is_empty());
    assert!(matches!(health(&cluster), Health::Missing { replica: ReplicaId(2), .. }));
    cluster.heal();
    cluster.tick(20);
    assert!(matches!(health(&cluster), Health::StoodIn { .. }));
}

#[test]
fn a_planned_stop_is_waited_for() {
    let mut cluster = cluster();
    for id in [1, 2] {
        cluster.host(id).inputs.push(Input::Stopping(ReplicaId(3)));
    }
    cluster.tick(3);
    cluster.crash(3);
    cluster.tick(3 * SUSPECT);
    assert!(cluster.places_wanted.is_empty());
    cluster.start(3, false);
    cluster.tick(20);
    // It came back: the excuse is over.
    cluster.crash(3);
    cluster.tick(SUSPECT + 1);
    assert_eq!(cluster.places_wanted.len(), 1);
}

#[test]
fn an_excuse_does_not_last_for_ever() {
    let mut cluster = cluster();
    cluster.host(1).inputs.push(Input::Stopping(ReplicaId(3)));
    cluster.tick(1);
    cluster.crash(3);
    cluster.tick(105);
    assert_eq!(cluster.places_wanted.len(), 1);
}

/// Replica 3's host has said that it has lost what it had acknowledged.
fn one_is_unfit() -> Cluster {
    let mut cluster = cluster();
    cluster.crash(3);
    let body = MessageBody::Unfit;
    cluster.host(1).inputs.push(Input::Message(Envelope { from: ReplicaId(3), to: ReplicaId(1), body }));
    cluster.tick(2);
    cluster
}

#[test]
fn an_unfit_one_is_stood_in_for_and_removed_at_once() {
    let mut cluster = one_is_unfit();
    cluster.add(4, Disk::default());
    cluster.place(Ok((NodeId(104), zone("c"))));
    cluster.tick(30);
    assert_eq!(member(&cluster, 3), None);
    assert_eq!(wanted(&cluster), Purpose::Rebuilt { lost: Some(zone("c")) });
}

/// One node a zone, as small clusters have it.
#[test]
fn an_unfit_one_for_which_nobody_can_stand_in_is_rebuilt_on_its_own_node() {
    let mut cluster = one_is_unfit();
    assert_eq!(wanted(&cluster), Purpose::StandIn { lost: Some(zone("c")) });
    cluster.place(Err(NoPlace::Nowhere("one node a zone".to_owned())));
    cluster.tick(12);
    // Another node may have been away for a moment.
    assert_eq!(member(&cluster, 3), Some((ReplicaRole::Voter, ReplicaKind::Storage)));
    cluster.place(Err(NoPlace::Nowhere("one node a zone".to_owned())));
    cluster.tick(30);
    assert_eq!(member(&cluster, 3), None);
    assert!(matches!(health(&cluster), Health::Short { .. }));
    cluster.hosts.remove(&3);
    assert_eq!(wanted(&cluster), Purpose::Rebuilt { lost: None });
    cluster.add(4, Disk::default());
    cluster.place(Ok((NodeId(103), zone("c"))));
    cluster.tick(40);
    assert_eq!(member(&cluster, 4), Some((ReplicaRole::Voter, ReplicaKind::Storage)));
    assert_eq!(health(&cluster), Health::Whole);
}

/// It may come back with everything.
#[test]
fn a_silent_one_for_which_nobody_can_stand_in_goes_on_to_vote() {
    let mut cluster = cluster();
    cluster.crash(3);
    cluster.tick(SUSPECT + 1);
    cluster.place(Err(NoPlace::Nowhere("one node a zone".to_owned())));
    cluster.tick(REPLACE);
    assert_eq!(member(&cluster, 3), Some((ReplicaRole::Voter, ReplicaKind::Storage)));
}

#[test]
fn a_move_is_let_alone() {
    let mut cluster = cluster();
    cluster.add(4, Disk::default());
    let added = cluster.change(1, Change::add(NodeId(104), zone("c"), ReplicaKind::Storage));
    cluster.tick(30);
    assert_eq!(cluster.answer(added), &Answer::Done);
    assert_eq!(member(&cluster, 4), Some((ReplicaRole::Learner, ReplicaKind::Storage)));
    let swapped = cluster.change(1, Change::swap(ReplicaId(4), ReplicaId(3)));
    cluster.tick(30);
    assert_eq!(cluster.answer(swapped), &Answer::Done);
    // What was replaced leaves, whoever asks for it.
    assert_eq!(member(&cluster, 3), None);
    assert!(cluster.places_wanted.is_empty());
}

#[test]
fn without_a_leader_the_quorum_is_missed() {
    let mut cluster = cluster();
    cluster.crash(1);
    cluster.crash(2);
    cluster.tick(60);
    assert!(matches!(cluster.replica(3).status().health, Some((Health::Leaderless, 40..))));
}
