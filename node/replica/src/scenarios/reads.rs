//! Strongly consistent reads.

use super::ZONES;
use crate::cluster::Cluster;
use crate::eraftpb::MessageType;
use crate::fixture::put;
use crate::{Answer, Refusal, Token};

fn heartbeats(cluster: &Cluster) -> usize {
    cluster.sent.iter().filter(|(from, to, kind)| (*from, *to, *kind) == (1, 2, MessageType::MsgHeartbeat)).count()
}

#[test]
fn reads_share_a_round_and_those_that_come_meanwhile_share_the_next() {
    let mut cluster = Cluster::led(&ZONES);
    cluster.tick(4);
    let before = heartbeats(&cluster);
    let first: Vec<Token> = (0..10).map(|_| cluster.confirm(1)).collect();
    cluster.turn();
    let second: Vec<Token> = (0..10).map(|_| cluster.confirm(1)).collect();
    cluster.settle();
    assert!(first.iter().chain(&second).all(|token| cluster.confirmed.contains(token)));
    assert_eq!(heartbeats(&cluster) - before, 2);
}

#[test]
fn a_leader_that_hears_nobody_confirms_nothing() {
    let mut cluster = Cluster::led(&ZONES);
    cluster.isolate(1);
    let read = cluster.confirm(1);
    cluster.tick(25);
    assert!(!cluster.confirmed.contains(&read));
    assert!(matches!(cluster.answer(read), Answer::Refused(Refusal::NotLeader { .. })));
}

#[test]
fn a_read_sees_what_was_committed_before_it() {
    let mut cluster = Cluster::led(&ZONES);
    cluster.host(1).hold.applies = true;
    cluster.write(1, put("k", "v"));
    cluster.settle();
    let read = cluster.confirm(1);
    cluster.settle();
    assert!(!cluster.confirmed.contains(&read));
    cluster.host(1).hold.applies = false;
    cluster.settle();
    assert!(cluster.confirmed.contains(&read));
}

#[test]
fn a_follower_refuses_and_names_its_leader() {
    let mut cluster = Cluster::led(&ZONES);
    let read = cluster.confirm(2);
    cluster.settle();
    let Answer::Refused(Refusal::NotLeader { leader: Some(leader) }) = cluster.answer(read) else { panic!("served") };
    assert_eq!(leader.0, 1);
}
