//! Who leads: zones, transfers, uncertain tails, restarts.

use bytes::Bytes;
use model::ReplicaId;

use super::ZONES;
use crate::cluster::Cluster;
use crate::eraftpb::MessageType;
use crate::fixture::put;
use crate::{Answer, Envelope, Input, MessageBody, Refusal};

#[test]
fn two_replicas_in_one_zone_do_not_commit_and_still_not_after_a_restart() {
    let mut cluster = Cluster::led(&["a", "a", "b"]);
    cluster.isolate(3);
    let write = cluster.write(1, put("k", "v"));
    cluster.settle();
    assert!(!cluster.answers.contains_key(&write));
    let committed = cluster.replica(1).status().committed;
    for id in [1, 2] {
        cluster.crash(id);
        cluster.start(id, false);
    }
    for _ in 0..30 {
        cluster.tick_once(&[2, 3]);
        cluster.settle();
    }
    assert!(cluster.hosts.values().all(|host| host.replica.as_ref().unwrap().status().committed <= committed));
    cluster.heal();
    cluster.tick(40);
    let leader = cluster.leader();
    let write = cluster.write(leader, put("k", "w"));
    cluster.settle();
    assert!(matches!(cluster.answer(write), Answer::Written { .. }));
}

#[test]
fn a_leader_that_reaches_no_second_zone_hands_over_to_one_that_does() {
    let mut cluster = Cluster::led(&["a", "a", "b"]);
    cluster.cut.extend([(1, 3), (3, 1)]);
    cluster.tick(40);
    assert_eq!(cluster.leader(), 2);
    let write = cluster.write(2, put("k", "v"));
    cluster.settle();
    assert!(matches!(cluster.answer(write), Answer::Written { .. }));
}

#[test]
fn leadership_goes_where_it_is_sent_and_a_resigning_leader_finds_an_heir() {
    let mut cluster = Cluster::led(&ZONES);
    let token = cluster.transfer(1, 3);
    cluster.settle();
    assert_eq!((cluster.answer(token), cluster.leader()), (&Answer::Done, 3));
    cluster.host(3).inputs.push(Input::Resign);
    cluster.settle();
    assert_ne!(cluster.leader(), 3);
    let leader = cluster.leader();
    let own = cluster.transfer(leader, leader);
    cluster.settle();
    assert_eq!(cluster.answer(own), &Answer::Done);
}

#[test]
fn writes_during_a_transfer_are_refused_and_a_silent_heir_ends_it() {
    let mut cluster = Cluster::led(&ZONES);
    cluster.isolate(3);
    let token = cluster.transfer(1, 3);
    cluster.settle();
    let write = cluster.write(1, put("k", "v"));
    cluster.settle();
    assert!(matches!(cluster.answer(write), Answer::Refused(Refusal::NotLeader { leader: Some(ReplicaId(3)) })));
    cluster.tick(12);
    assert!(matches!(cluster.answer(token), Answer::Refused(Refusal::Impossible { .. })));
    let write = cluster.write(1, put("k", "v"));
    cluster.settle();
    assert!(matches!(cluster.answer(write), Answer::Written { .. }));
}

#[test]
fn nothing_acknowledged_is_lost_when_all_nodes_crash() {
    let mut cluster = Cluster::led(&ZONES);
    for index in 0..20 {
        let token = cluster.write(1, put(&format!("k{index}"), "v"));
        cluster.settle();
        assert!(matches!(cluster.answer(token), Answer::Written { .. }));
    }
    for id in 1..=3 {
        cluster.crash(id);
        cluster.start(id, false);
    }
    cluster.tick(40);
    let leader = cluster.leader();
    cluster.tick(2);
    assert_eq!(cluster.host(leader).disk.items.len(), 20);
}

#[test]
fn an_engine_that_is_ahead_of_the_logs_commit_index_starts() {
    let mut cluster = Cluster::led(&ZONES);
    cluster.write(1, put("k", "v"));
    cluster.settle();
    cluster.tick(2);
    cluster.crash(2);
    cluster.host(2).disk.hard_state.commit = 0;
    cluster.start(2, false);
    assert_eq!(cluster.replica(2).status().committed, cluster.replica(2).status().applied);
}

#[test]
fn an_entry_is_acknowledged_only_when_it_is_synced_in_two_logs() {
    let mut cluster = Cluster::led(&ZONES);
    for id in 2..=3 {
        cluster.host(id).hold.appends = true;
    }
    let write = cluster.write(1, put("k", "v"));
    cluster.settle();
    assert!(!cluster.answers.contains_key(&write));
    cluster.host(2).hold.appends = false;
    cluster.settle();
    assert!(matches!(cluster.answer(write), Answer::Written { .. }));
}

#[test]
fn a_leaders_own_log_counts_only_when_it_is_synced() {
    let mut cluster = Cluster::led(&ZONES);
    cluster.host(1).hold.appends = true;
    cluster.isolate(3);
    let write = cluster.write(1, put("k", "v"));
    cluster.settle();
    assert!(!cluster.answers.contains_key(&write));
    cluster.host(1).hold.appends = false;
    cluster.settle();
    assert!(matches!(cluster.answer(write), Answer::Written { .. }));
}

#[test]
fn a_replica_that_is_not_sure_of_its_tail_does_not_help_to_elect_one_that_has_less() {
    let mut cluster = Cluster::led(&ZONES);
    cluster.isolate(3);
    let write = cluster.write(1, put("k", "v"));
    cluster.settle();
    assert!(matches!(cluster.answer(write), Answer::Written { .. }));
    // Replica 2 loses what it has acknowledged; the leader is gone, and replica 3 never had it.
    cluster.crash(1);
    cluster.crash(2);
    let last = *cluster.host(2).disk.entries.last_key_value().unwrap().0;
    cluster.host(2).disk.entries.remove(&last);
    cluster.heal();
    cluster.start(2, true);
    cluster.tick(100);
    assert!(cluster.hosts.values().all(|host| host.replica.as_ref().is_none_or(|replica| !replica.status().serving)));
    cluster.start(1, false);
    cluster.tick(60);
    let leader = cluster.leader();
    cluster.tick(3);
    assert!(cluster.host(leader).disk.items.contains_key(&Bytes::from_static(b"k")));
    assert!((1..=3).all(|id| cluster.host(id).disk.items.contains_key(&Bytes::from_static(b"k"))));
}

#[test]
fn a_vote_does_not_end_the_doubt_of_a_replica_that_still_lacks_what_it_lost() {
    let mut cluster = Cluster::led(&ZONES);
    cluster.isolate(3);
    cluster.write(1, put("k", "v"));
    cluster.settle();
    cluster.crash(1);
    cluster.crash(2);
    let last = *cluster.host(2).disk.entries.last_key_value().unwrap().0;
    cluster.host(2).disk.entries.remove(&last);
    cluster.heal();
    cluster.start(1, false);
    cluster.start(2, true);
    cluster.host(2).hold.appends = true;
    cluster.tick(6);
    // Both others have told: it may vote again, and has abstained, but does not have the write.
    let voted = |host: &crate::cluster::Host| {
        let votes = host.appends.iter().filter(|append| append.hard_state.as_ref().is_some_and(|hard| hard.vote != 0));
        votes.map(|append| append.doubted).collect::<Vec<bool>>()
    };
    let doubted = voted(cluster.host(2));
    assert!(!doubted.is_empty() && doubted.iter().all(|doubted| *doubted), "{doubted:?}");
    cluster.host(2).hold.appends = false;
    cluster.tick(60);
    assert!(cluster.host(2).disk.items.contains_key(&Bytes::from_static(b"k")));
    cluster.host(2).hold.appends = true;
    let leader = cluster.leader();
    cluster.write(leader, put("k", "w"));
    cluster.settle();
    let host = cluster.host(2);
    assert!(!host.appends.is_empty() && host.appends.iter().all(|append| !append.doubted));
}

#[test]
fn a_replica_that_lost_its_tail_is_brought_level_by_the_leader_that_believes_it_has_it() {
    let mut cluster = Cluster::led(&ZONES);
    cluster.write(1, put("k", "v"));
    cluster.settle();
    cluster.crash(2);
    let last = *cluster.host(2).disk.entries.last_key_value().unwrap().0;
    cluster.host(2).disk.entries.remove(&last);
    cluster.host(2).disk.hard_state.commit = last - 1;
    cluster.host(2).disk.mark = Some(crate::AppliedMark::birth().encode());
    cluster.host(2).disk.items.clear();
    cluster.start(2, true);
    cluster.tick(10);
    assert!(cluster.host(2).disk.items.contains_key(&Bytes::from_static(b"k")));
    cluster.crash(1);
    cluster.tick(60);
    assert_ne!(cluster.leader(), 1);
}

#[test]
fn all_replicas_unsure_of_their_tails_find_a_leader_again() {
    let mut cluster = Cluster::led(&ZONES);
    cluster.write(1, put("k", "v"));
    cluster.settle();
    for id in 1..=3 {
        cluster.crash(id);
        cluster.start(id, true);
    }
    cluster.tick(60);
    cluster.leader();
}

#[test]
fn a_leader_learns_from_its_followers_what_was_committed_before_it_led() {
    let mut cluster = Cluster::led(&["a", "b", "a"]);
    cluster.write(1, put("k", "v"));
    cluster.tick(4);
    // It starts with a commit index that was not written, and without the zone that could commit anything new.
    (1..=3).for_each(|id| cluster.crash(id));
    let disk = &mut cluster.host(1).disk;
    disk.hard_state.commit = crate::state::BIRTH_INDEX;
    disk.mark = Some(crate::AppliedMark::birth().encode());
    disk.items.clear();
    cluster.start(1, false);
    cluster.start(3, false);
    for _ in 0..24 {
        cluster.tick_once(&[2, 3]);
        cluster.settle();
    }
    let (leads, follows) = (cluster.replica(1).status(), cluster.replica(3).status());
    assert!(cluster.host(1).disk.items.contains_key(&Bytes::from_static(b"k")), "{leads:?} {follows:?}");
}

#[test]
fn followers_hear_of_a_commit_with_the_next_tick() {
    let mut cluster = Cluster::led(&ZONES);
    cluster.tick(4);
    cluster.write(1, put("k", "v"));
    cluster.settle();
    assert!(!cluster.host(2).disk.items.contains_key(&Bytes::from_static(b"k")));
    cluster.tick(1);
    assert!(cluster.host(2).disk.items.contains_key(&Bytes::from_static(b"k")));
}

#[test]
fn what_raft_would_forward_is_not_accepted_from_others() {
    let mut cluster = Cluster::led(&ZONES);
    let last_index = cluster.replica(1).status().last_index;
    for kind in [MessageType::MsgPropose, MessageType::MsgTransferLeader, MessageType::MsgReadIndex] {
        let mut message = crate::eraftpb::Message::default();
        message.set_msg_type(kind);
        message.from = 2;
        message.to = 1;
        message.set_entries(vec![crate::eraftpb::Entry::default()].into());
        let body = MessageBody::Raft(message);
        cluster.host(1).inputs.push(Input::Message(Envelope { from: ReplicaId(2), to: ReplicaId(1), body }));
    }
    cluster.settle();
    assert_eq!((cluster.replica(1).status().last_index, cluster.leader()), (last_index, 1));
}

#[test]
fn the_same_story_twice_sends_the_same_messages() {
    let story = || {
        let mut cluster = Cluster::led(&ZONES);
        for index in 0..10 {
            cluster.write(1, put(&format!("k{index}"), "v"));
            cluster.tick(1);
        }
        cluster.isolate(1);
        cluster.tick(60);
        cluster.heal();
        cluster.tick(20);
        cluster.sent
    };
    assert_eq!(story(), story());
}
