//! A planned hand-over: it finds an heir that takes over, and waits for no tick.

use model::{NodeId, ReplicaId, ReplicaKind, Zone};

use super::ZONES;
use crate::cluster::{Cluster, Disk};
use crate::eraftpb::MessageType;
use crate::fixture::put;
use crate::{Answer, Change, Envelope, Input, MessageBody, Options, Token};

/// From the step in which the leader takes no more writes to the one in which the next takes them. Five messages one after another (the
/// heir is called, asks for votes, gets them, sends its first entry, hears of it), three syncs (its vote, another's, another's entry), and
/// an apply. A turn of this cluster is a step of everybody, with one of these at its end.
const TURNS: usize = 10;

fn write(cluster: &mut Cluster, id: u64) {
    let token = cluster.write(id, put("k", "v"));
    cluster.settle();
    assert!(matches!(cluster.answer(token), Answer::Written { .. }));
}

fn serving(cluster: &Cluster) -> Option<u64> {
    let serves = |id: &&u64| cluster.hosts[id].replica.as_ref().is_some_and(|replica| replica.status().serving);
    cluster.hosts.keys().find(serves).copied()
}

/// Turns until somebody other than replica 1 serves, all clocks standing still.
fn turns_to_hand_over(cluster: &mut Cluster) -> usize {
    cluster.host(1).inputs.push(Input::Resign);
    for turns in 1..100 {
        assert!(cluster.turn(), "nothing happens without a tick");
        if serving(cluster).is_some_and(|id| id != 1) {
            return turns;
        }
    }
    panic!("nobody takes over");
}

#[test]
fn a_planned_hand_over_is_ten_turns_and_no_tick() {
    let mut cluster = Cluster::led(&ZONES);
    write(&mut cluster, 1);
    assert_eq!(turns_to_hand_over(&mut cluster), TURNS);
}

#[test]
fn writes_on_their_way_are_waited_for_and_cost_no_tick_either() {
    let mut cluster = Cluster::led(&ZONES);
    let writes: Vec<Token> = (0..50).map(|n| cluster.write(1, put(&format!("k{n}"), "v"))).collect();
    while cluster.replica(1).status().last_index == cluster.replica(2).status().last_index {
        cluster.turn();
    }
    let turns = turns_to_hand_over(&mut cluster);
    assert!(turns <= TURNS + 2, "{turns} turns");
    cluster.settle();
    assert!(writes.iter().all(|token| matches!(cluster.answer(*token), Answer::Written { .. })));
}

#[test]
fn a_group_that_sleeps_is_handed_over_as_fast() {
    let mut cluster = Cluster::born_with(&ZONES, Options { seed: 42, sleep_ticks: 3, ..Options::default() });
    cluster.elect(1);
    cluster.tick(20);
    assert!((1..=3).all(|id| cluster.replica(id).is_asleep()));
    assert_eq!(turns_to_hand_over(&mut cluster), TURNS);
}

/// The change is not committed when the leader is asked to resign; it resigns with the step in which it is applied.
#[test]
fn a_change_under_way_is_waited_for_and_no_tick_after_it() {
    let mut cluster = Cluster::led(&ZONES);
    (2..=3).for_each(|id| cluster.host(id).hold.appends = true);
    cluster.change(1, Change::add(NodeId(104), Zone(String::from("c")), ReplicaKind::Storage));
    cluster.add(4, Disk::default());
    cluster.settle();
    cluster.host(1).inputs.push(Input::Resign);
    cluster.settle();
    assert_eq!(serving(&cluster), Some(1), "it waits");
    (2..=3).for_each(|id| cluster.host(id).hold.appends = false);
    cluster.settle();
    assert!(serving(&cluster).is_some_and(|id| id != 1));
}

/// Replica 2 lost the end of its log, has got it back, and may not stand in the term after this one.
fn with_an_heir_that_abstains() -> Cluster {
    let mut cluster = Cluster::led(&ZONES);
    write(&mut cluster, 1);
    cluster.crash(2);
    cluster.start(2, true);
    cluster.tick(3);
    write(&mut cluster, 1);
    assert_eq!(cluster.replica(2).status().last_index, cluster.replica(1).status().last_index);
    cluster
}

#[test]
fn a_leader_resigns_past_an_heir_that_must_abstain() {
    let mut cluster = with_an_heir_that_abstains();
    cluster.sent.clear();
    cluster.host(1).inputs.push(Input::Resign);
    cluster.settle();
    assert_eq!(cluster.leader(), 3);
    assert!(!cluster.sent.contains(&(1, 2, MessageType::MsgTimeoutNow)));
}

#[test]
fn an_heir_that_must_abstain_is_better_than_none() {
    let mut cluster = with_an_heir_that_abstains();
    cluster.isolate(3);
    cluster.tick(12);
    cluster.sent.clear();
    cluster.host(1).inputs.push(Input::Resign);
    cluster.settle();
    assert!(cluster.sent.contains(&(1, 2, MessageType::MsgTimeoutNow)));
}

fn is_call(envelope: &Envelope, to: u64) -> bool {
    let MessageBody::Raft(message) = &envelope.body else { return false };
    envelope.to == ReplicaId(to) && message.get_msg_type() == MessageType::MsgTimeoutNow
}

/// It answers as ever, and what calls it to lead is lost, again and again.
#[test]
fn whoever_did_not_take_over_comes_last_the_next_time() {
    let mut cluster = Cluster::led(&ZONES);
    write(&mut cluster, 1);
    cluster.host(1).inputs.push(Input::Resign);
    for _ in 0..25 {
        cluster.tick_once(&[]);
        for id in 1..=3 {
            cluster.step(id);
        }
        cluster.network.retain(|envelope| !is_call(envelope, 2));
        cluster.settle();
    }
    assert_eq!(cluster.leader(), 3);
}
