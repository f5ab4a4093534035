//! Writes under way while leadership goes elsewhere: each hears what became of it, as far as anybody can know.

use super::ZONES;
use crate::cluster::Cluster;
use crate::eraftpb::MessageType;
use crate::fixture::{item_of, put};
use crate::{Answer, Input, Refusal, Token};

fn is_written(cluster: &Cluster, token: Token) -> bool {
    matches!(cluster.answer(token), Answer::Written { .. })
}

fn is_refused_for_sure(cluster: &Cluster, token: Token) -> bool {
    matches!(cluster.answer(token), Answer::Refused(Refusal::NotLeader { .. }))
}

/// Evaluated, and on their way to the logs.
fn propose(cluster: &mut Cluster, id: u64) {
    let before = cluster.replica(id).status().last_index;
    while cluster.replica(id).status().last_index == before {
        assert!(cluster.turn());
    }
}

/// What the items hold at that replica, once it has heard of all commits.
fn value(cluster: &mut Cluster, id: u64, key: &'static str) -> Option<bytes::Bytes> {
    cluster.tick(3);
    cluster.host(id).disk.items.get(key.as_bytes()).cloned()
}

#[test]
fn a_planned_hand_over_leaves_no_write_unknown() {
    let mut cluster = Cluster::led(&ZONES);
    let before: Vec<Token> = (0..10).map(|n| cluster.write(1, put(&format!("k{n}"), "v"))).collect();
    propose(&mut cluster, 1);
    cluster.host(1).inputs.push(Input::Resign);
    let after: Vec<Token> = (0..10).map(|n| cluster.write(1, put(&format!("l{n}"), "v"))).collect();
    cluster.settle();
    assert_ne!(cluster.leader(), 1);
    assert!(before.iter().all(|token| is_written(&cluster, *token)));
    assert!(after.iter().all(|token| is_refused_for_sure(&cluster, *token)));
}

/// Replica 2 leads by the vote of replica 3, and has what replica 1 proposed, which nobody has committed.
fn handed_over_uncommitted(cluster: &mut Cluster) -> Token {
    cluster.host(1).hold.appends = true;
    cluster.host(3).hold.appends = true;
    let token = cluster.write(1, put("k", "v"));
    propose(cluster, 1);
    cluster.transfer(1, 2);
    cluster.settle();
    assert!(!cluster.answers.contains_key(&token));
    cluster.host(3).hold.appends = false;
    token
}

#[test]
fn a_write_that_the_next_leader_commits_is_answered_by_the_last_one() {
    let mut cluster = Cluster::led(&ZONES);
    let token = handed_over_uncommitted(&mut cluster);
    // Leadership is lost with the request for its vote, before anything else is known.
    cluster.turn();
    assert!(!cluster.answers.contains_key(&token));
    cluster.settle();
    cluster.host(1).hold.appends = false;
    cluster.tick(3);
    assert_eq!(cluster.leader(), 2);
    assert!(is_written(&cluster, token));
    assert_eq!(value(&mut cluster, 3, "k"), Some(item_of(&[("pk", "k"), ("v", "v")])));
}

#[test]
fn a_committed_write_is_not_answered_before_the_engine_has_it() {
    let mut cluster = Cluster::led(&ZONES);
    let token = handed_over_uncommitted(&mut cluster);
    cluster.host(1).hold.appends = false;
    cluster.host(1).hold.applies = true;
    cluster.tick(3);
    assert!(!cluster.answers.contains_key(&token));
    // Committed, it is not given up with time.
    cluster.tick(30);
    assert!(!cluster.answers.contains_key(&token));
    cluster.host(1).hold.applies = false;
    cluster.settle();
    assert!(is_written(&cluster, token));
}

#[test]
fn a_write_whose_place_another_entry_takes_was_surely_not_carried_out() {
    let mut cluster = Cluster::led(&ZONES);
    cluster.isolate(1);
    let token = cluster.write(1, put("k", "never"));
    cluster.settle();
    cluster.usurp(2);
    let other = cluster.write(2, put("k", "v"));
    cluster.settle();
    assert!(is_written(&cluster, other));
    assert!(!cluster.answers.contains_key(&token));
    cluster.heal();
    cluster.tick(3);
    assert!(is_refused_for_sure(&cluster, token));
    assert_eq!(value(&mut cluster, 1, "k"), Some(item_of(&[("pk", "k"), ("v", "v")])));
}

#[test]
fn nobody_waits_longer_than_an_election_for_what_nobody_can_tell() {
    let mut cluster = Cluster::led(&ZONES);
    cluster.isolate(1);
    let token = cluster.write(1, put("k", "lost"));
    cluster.settle();
    let patience = cluster.options.election_ticks;
    let mut ticks = 0;
    while cluster.replica(1).status().leader.is_some() {
        assert!(!cluster.answers.contains_key(&token));
        cluster.tick(1);
        ticks += 1;
        assert!(ticks < 5 * patience, "a leader without followers steps down");
    }
    cluster.tick(patience - 1);
    assert!(!cluster.answers.contains_key(&token));
    cluster.tick(1);
    assert_eq!(cluster.answer(token), &Answer::Refused(Refusal::Unknown));
    // Known later, it is not told again.
    cluster.heal();
    cluster.tick(3 * patience);
}

#[test]
fn a_write_whose_entries_are_replaced_by_a_snapshot_stays_unknown() {
    let mut cluster = Cluster::born(&ZONES);
    cluster.options.log_bytes = 4_000;
    for id in 1..=3 {
        cluster.crash(id);
        cluster.start(id, false);
    }
    cluster.elect(1);
    cluster.isolate(1);
    let token = cluster.write(1, put("k", "lost"));
    cluster.settle();
    cluster.usurp(2);
    for n in 0..40 {
        cluster.write(2, put(&format!("k{n}"), &"v".repeat(500)));
        cluster.settle();
    }
    for id in [2, 3] {
        let index = cluster.replica(id).status().applied;
        cluster.host(id).inputs.push(Input::Flushed { index });
    }
    cluster.settle();
    let log_begins = cluster.host(2).disk.truncated.0;
    assert!(log_begins > cluster.replica(1).status().last_index, "the log begins at {log_begins}");
    cluster.heal();
    while !cluster.answers.contains_key(&token) {
        // Time stands still where the write waits.
        cluster.tick_once(&[1]);
        cluster.settle();
    }
    assert!(cluster.sent.iter().any(|(_, to, kind)| (*to, *kind) == (1, MessageType::MsgSnapshot)));
    assert_eq!(cluster.answer(token), &Answer::Refused(Refusal::Unknown));
}
