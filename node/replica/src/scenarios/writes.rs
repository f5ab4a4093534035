//! What happens to a write, and what its answer promises.

use std::collections::BTreeMap;

use bytes::Bytes;
use model::TableStatus;
use model::expression::{Condition, Placeholders};

use super::ZONES;
use crate::cluster::Cluster;
use crate::eraftpb::MessageType;
use crate::fixture::{item_of, put, table, write_request};
use crate::{Action, Answer, Event, Input, Refusal, Token, WriteRequest};

fn key(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn returning_old(mut request: WriteRequest) -> WriteRequest {
    request.return_old = true;
    request
}

fn old_of(cluster: &Cluster, token: Token) -> Option<Bytes> {
    match cluster.answer(token) {
        Answer::Written { old, .. } => old.clone(),
        other => panic!("not written: {other:?}"),
    }
}

#[test]
fn a_newborn_group_elects_a_leader_and_replicates_a_write() {
    let mut cluster = Cluster::led(&ZONES);
    let token = cluster.write(1, put("k", "one"));
    cluster.settle();
    assert_eq!(cluster.answer(token), &Answer::Written { old: None, new: None, old_size: 0, new_size: 7 });
    cluster.tick(2);
    for id in 1..=3 {
        assert_eq!(cluster.host(id).disk.items[&key("k")], item_of(&[("pk", "k"), ("v", "one")]));
        assert_eq!(cluster.hosts[&id].events.contains(&Event::Serving { term: 6 }), id == 1);
    }
}

#[test]
fn a_commit_that_no_append_carries_is_told_when_the_host_asks_for_it() {
    let mut cluster = Cluster::led(&ZONES);
    cluster.tick(2);
    assert!(!cluster.host(1).commit_untold);
    cluster.write(1, put("k", "one"));
    cluster.settle();
    assert!(cluster.host(1).commit_untold);
    assert!(!cluster.host(2).disk.items.contains_key(&key("k")));
    cluster.host(1).inputs.push(Input::AnnounceCommit);
    cluster.settle();
    assert!(!cluster.host(1).commit_untold);
    for id in 2..=3 {
        assert_eq!(cluster.host(id).disk.items[&key("k")], item_of(&[("pk", "k"), ("v", "one")]));
    }
}

#[test]
fn many_writes_of_a_hot_key_share_an_entry_and_do_not_wait_for_the_engine() {
    let mut cluster = Cluster::led(&ZONES);
    cluster.host(1).hold.applies = true;
    let first = cluster.write(1, put("k", "v0"));
    cluster.settle();
    let last_index = cluster.replica(1).status().last_index;
    let values = ["v1", "v2", "v3", "v4", "v5"];
    let tokens = values.map(|value| cluster.write(1, returning_old(put("k", value))));
    cluster.settle();
    assert_eq!(cluster.replica(1).status().last_index, last_index + 1);
    assert!(cluster.answers.is_empty());
    cluster.host(1).hold.applies = false;
    cluster.settle();
    assert!(matches!(cluster.answer(first), Answer::Written { .. }));
    for (token, before) in tokens.iter().zip(["v0", "v1", "v2", "v3", "v4"]) {
        assert_eq!(old_of(&cluster, *token), Some(item_of(&[("pk", "k"), ("v", before)])));
    }
}

#[test]
fn writes_that_wait_for_one_old_item_are_carried_out_in_their_order() {
    let mut cluster = Cluster::led(&ZONES);
    cluster.host(1).hold.reads = true;
    let first = cluster.write(1, returning_old(put("k", "one")));
    cluster.settle();
    let second = cluster.write(1, returning_old(write_request("k", Action::Delete)));
    let third = cluster.write(1, returning_old(put("k", "three")));
    cluster.settle();
    assert!(cluster.answers.is_empty());
    cluster.host(1).hold.reads = false;
    cluster.settle();
    assert_eq!(old_of(&cluster, first), None);
    assert_eq!(old_of(&cluster, second), Some(item_of(&[("pk", "k"), ("v", "one")])));
    assert_eq!(old_of(&cluster, third), None);
    assert_eq!(cluster.host(1).disk.items[&key("k")], item_of(&[("pk", "k"), ("v", "three")]));
}

#[test]
fn a_read_from_an_earlier_leadership_brings_back_no_older_item() {
    let mut cluster = Cluster::led(&ZONES);
    cluster.host(1).hold.reads = true;
    let lost = cluster.write(1, put("k", "never"));
    cluster.turn();
    cluster.transfer(1, 2);
    cluster.settle();
    assert!(matches!(cluster.answer(lost), Answer::Refused(Refusal::NotLeader { .. })));
    cluster.write(2, put("k", "newer"));
    cluster.settle();
    cluster.transfer(2, 1);
    cluster.settle();
    let token = cluster.write(1, returning_old(put("k", "newest")));
    cluster.settle();
    assert!(!cluster.answers.contains_key(&token));
    cluster.host(1).hold.reads = false;
    cluster.settle();
    assert_eq!(old_of(&cluster, token), Some(item_of(&[("pk", "k"), ("v", "newer")])));
}

#[test]
fn a_deposed_leader_neither_forwards_nor_confirms_what_it_evaluated() {
    let mut cluster = Cluster::led(&ZONES);
    cluster.isolate(1);
    let proposed = cluster.write(1, put("k", "lost"));
    let nothing_changed = cluster.write(1, write_request("missing", Action::Delete));
    cluster.settle();
    cluster.host(1).hold.reads = true;
    let unread = cluster.write(1, put("other", "never evaluated"));
    cluster.settle();
    assert!(cluster.answers.is_empty());
    cluster.usurp(2);
    cluster.heal();
    cluster.tick(3);
    // Another entry has its place.
    assert!(matches!(cluster.answer(proposed), Answer::Refused(Refusal::NotLeader { .. })));
    assert!(matches!(cluster.answer(nothing_changed), Answer::Refused(Refusal::NotLeader { .. })));
    assert!(matches!(cluster.answer(unread), Answer::Refused(Refusal::NotLeader { .. })));
    let late = cluster.write(1, put("k", "late"));
    cluster.settle();
    assert!(
        matches!(cluster.answer(late), Answer::Refused(Refusal::NotLeader { leader: Some(leader) }) if leader.0 == 2)
    );
    assert!(cluster.sent.iter().all(|(_, _, kind)| *kind != MessageType::MsgPropose));
    assert!(cluster.hosts.values().all(|host| host.disk.items.is_empty()));
}

fn if_missing(mut request: WriteRequest) -> WriteRequest {
    let mut placeholders = Placeholders::new(BTreeMap::new(), BTreeMap::new());
    let text = "attribute_not_exists(pk)";
    request.condition = Some(Condition::parse("ConditionExpression", text, &mut placeholders).unwrap());
    request.return_old_on_failure = true;
    request
}

#[test]
fn one_of_many_conditional_writes_wins_and_the_others_see_its_item() {
    let mut cluster = Cluster::led(&ZONES);
    let values = ["one", "two", "three"];
    let tokens = values.map(|value| cluster.write(1, if_missing(put("k", value))));
    cluster.settle();
    let winner = item_of(&[("pk", "k"), ("v", "one")]);
    assert!(matches!(cluster.answer(tokens[0]), Answer::Written { .. }));
    for token in &tokens[1..] {
        assert_eq!(cluster.answer(*token), &Answer::ConditionFailed { old: Some(winner.clone()), old_size: 7 });
    }
}

#[test]
fn a_deposed_leader_does_not_answer_that_a_condition_failed() {
    let mut cluster = Cluster::led(&ZONES);
    cluster.write(1, put("k", "old"));
    cluster.settle();
    cluster.isolate(1);
    cluster.usurp(2);
    cluster.write(2, write_request("k", Action::Delete));
    cluster.settle();
    let token = cluster.write(1, if_missing(put("k", "new")));
    cluster.settle();
    assert!(!cluster.answers.contains_key(&token));
    cluster.heal();
    cluster.tick(3);
    assert!(matches!(cluster.answer(token), Answer::Refused(Refusal::NotLeader { .. })));
}

#[test]
fn a_write_that_changes_nothing_waits_for_the_writes_it_has_seen() {
    let mut cluster = Cluster::led(&ZONES);
    cluster.write(1, put("k", "one"));
    cluster.settle();
    cluster.host(1).hold.applies = true;
    let delete = cluster.write(1, write_request("k", Action::Delete));
    cluster.settle();
    let again = cluster.write(1, write_request("k", Action::Delete));
    cluster.settle();
    assert!(!cluster.answers.contains_key(&delete) && !cluster.answers.contains_key(&again));
    cluster.host(1).hold.applies = false;
    cluster.settle();
    assert!(matches!(cluster.answer(delete), Answer::Written { old_size: 7, .. }));
    assert!(matches!(cluster.answer(again), Answer::Written { old_size: 0, .. }));
}

#[test]
fn what_is_committed_when_leadership_is_lost_keeps_its_answer() {
    let mut cluster = Cluster::led(&ZONES);
    cluster.host(1).hold.applies = true;
    let token = cluster.write(1, put("k", "one"));
    cluster.settle();
    cluster.transfer(1, 2);
    cluster.settle();
    assert_eq!(cluster.leader(), 2);
    assert!(!cluster.answers.contains_key(&token));
    cluster.host(1).hold.applies = false;
    cluster.settle();
    assert!(matches!(cluster.answer(token), Answer::Written { .. }));
}

#[test]
fn a_full_queue_and_a_full_pipe_refuse_more() {
    let mut cluster = Cluster::born(&ZONES);
    cluster.options.queued_requests = 3;
    cluster.options.uncommitted_bytes = 1_000;
    cluster.crash(1);
    cluster.start(1, false);
    cluster.elect(1);
    cluster.host(1).hold.reads = true;
    let tokens: Vec<Token> = (0..5).map(|_| cluster.write(1, put("k", "v"))).collect();
    cluster.settle();
    let overloaded = Answer::Refused(Refusal::Overloaded);
    assert_eq!(cluster.answers.len(), 2);
    assert!(tokens[3..].iter().all(|token| cluster.answer(*token) == &overloaded));
    cluster.host(1).hold.reads = false;
    cluster.settle();
    assert!(tokens[..3].iter().all(|token| matches!(cluster.answer(*token), Answer::Written { .. })));

    cluster.isolate(1);
    let large = "x".repeat(600);
    let fits = cluster.write(1, put("a", &large));
    cluster.settle();
    let refused = cluster.write(1, put("b", &large));
    cluster.settle();
    assert_eq!(cluster.answer(refused), &overloaded);
    cluster.heal();
    cluster.tick(3);
    assert!(matches!(cluster.answer(fits), Answer::Written { .. }));
}

#[test]
fn a_router_with_an_old_descriptor_is_told_the_new_one() {
    let mut cluster = Cluster::led(&ZONES);
    let epoch = cluster.replica(1).descriptor().unwrap().epoch;
    let (write, read) = (cluster.token(), cluster.token());
    let request = Box::new(put("k", "v"));
    cluster.host(1).inputs.push(Input::Write { token: write, epoch: epoch - 1, request });
    cluster.host(1).inputs.push(Input::Confirm { token: read, epoch: epoch + 1 });
    cluster.settle();
    for token in [write, read] {
        let Answer::Refused(Refusal::StaleEpoch { descriptor }) = cluster.answer(token) else { panic!("not stale") };
        assert_eq!(descriptor.as_ref(), cluster.replica(1).descriptor().unwrap());
    }
}

#[test]
fn a_table_out_of_service_takes_no_requests_and_an_older_descriptor_changes_nothing() {
    for status in [TableStatus::Deleting, TableStatus::Retained] {
        refuses_all_but_newer_descriptors(status);
    }
}

fn refuses_all_but_newer_descriptors(status: TableStatus) {
    let mut cluster = Cluster::led(&ZONES);
    let mut newer = table();
    newer.version += 1;
    newer.status = status;
    let set = cluster.set_table(1, newer.clone());
    cluster.settle();
    let older = cluster.set_table(1, table());
    let (write, read) = (cluster.write(1, put("k", "v")), cluster.confirm(1));
    cluster.settle();
    assert_eq!((cluster.answer(set), cluster.answer(older)), (&Answer::Done, &Answer::Done));
    assert_eq!(cluster.answer(write), &Answer::Refused(Refusal::TableGone));
    assert_eq!(cluster.answer(read), &Answer::Refused(Refusal::TableGone));
    cluster.tick(2);
    for id in 1..=3 {
        assert_eq!(cluster.replica(id).table(), Some(&newer));
        assert!(cluster.hosts[&id].events.contains(&Event::Table(Box::new(newer.clone()))));
    }
}

#[test]
fn a_new_leader_lets_requests_wait_until_it_has_applied_its_first_entry() {
    let mut cluster = Cluster::led(&ZONES);
    cluster.host(2).hold.applies = true;
    cluster.transfer(1, 2);
    cluster.settle();
    assert!(cluster.replica(2).status().leader.is_some_and(|leader| leader.0 == 2));
    let (write, read) = (cluster.write(2, put("k", "v")), cluster.confirm(2));
    cluster.settle();
    assert!(!cluster.answers.contains_key(&write) && !cluster.confirmed.contains(&read));
    cluster.host(2).hold.applies = false;
    cluster.settle();
    assert!(matches!(cluster.answer(write), Answer::Written { .. }));
    assert!(cluster.confirmed.contains(&read));
}

#[test]
fn requests_do_not_wait_longer_than_an_election_for_a_leader_that_does_not_serve() {
    let mut cluster = Cluster::led(&ZONES);
    cluster.host(2).hold.applies = true;
    cluster.transfer(1, 2);
    cluster.settle();
    let write = cluster.write(2, put("k", "v"));
    cluster.tick(11);
    assert_eq!(cluster.answer(write), &Answer::Refused(Refusal::NotReady));
}

#[test]
fn what_waits_for_a_leader_to_serve_is_bounded_in_bytes() {
    let mut cluster = Cluster::born(&ZONES);
    cluster.options.queued_bytes = 1_000;
    for id in 1..=2 {
        cluster.crash(id);
        cluster.start(id, false);
    }
    cluster.elect(1);
    cluster.host(2).hold.applies = true;
    cluster.transfer(1, 2);
    cluster.settle();
    let large = "x".repeat(600);
    let tokens = ["a", "b", "c"].map(|key| cluster.write(2, put(key, &large)));
    cluster.settle();
    assert_eq!(cluster.answers.get(&tokens[2]), Some(&Answer::Refused(Refusal::Overloaded)));
    assert!(tokens[..2].iter().all(|token| !cluster.answers.contains_key(token)));
}

#[test]
fn a_read_that_fails_on_the_disk_refuses_the_writes_that_wait_for_it() {
    let mut cluster = Cluster::led(&ZONES);
    cluster.host(1).hold.reads = true;
    let tokens = [cluster.write(1, put("k", "one")), cluster.write(1, put("k", "two"))];
    cluster.settle();
    cluster.host(1).inputs.push(Input::ItemReadFailed { ticket: 1 });
    cluster.settle();
    assert!(tokens.iter().all(|token| cluster.answer(*token) == &Answer::Refused(Refusal::ReadFailed)));
}
