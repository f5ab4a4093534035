//! Groups that sleep, and what wakes them.

use model::{NodeId, ReplicaId, ReplicaKind, Zone};

use super::ZONES;
use crate::cluster::Cluster;
use crate::eraftpb::MessageType;
use crate::fixture::put;
use crate::{Answer, Change, Envelope, Health, Input, MessageBody, Options, Refusal};

const SLEEP_TICKS: u64 = 5;
/// Long enough for an idle group to fall asleep, too short for an election.
const A_WHILE: usize = 9;

fn led() -> Cluster {
    let options = Options { seed: 42, sleep_ticks: SLEEP_TICKS, ..Options::default() };
    let mut cluster = Cluster::born_with(&ZONES, options);
    cluster.elect(1);
    cluster
}

fn asleep() -> Cluster {
    let mut cluster = led();
    cluster.write(1, put("k", "v"));
    cluster.tick(A_WHILE);
    assert_eq!(sleepers(&cluster), [1, 2, 3]);
    cluster
}

fn sleepers(cluster: &Cluster) -> Vec<u64> {
    let asleep = |id: &u64| cluster.hosts[id].replica.as_ref().is_some_and(crate::Replica::is_asleep);
    cluster.hosts.keys().copied().filter(asleep).collect()
}

fn lost(cluster: &mut Cluster, by: u64, lost: u64) {
    cluster.host(by).inputs.push(Input::Lost(ReplicaId(lost)));
    cluster.settle();
}

fn send(cluster: &mut Cluster, from: u64, to: u64, body: MessageBody) {
    let envelope = Envelope { from: ReplicaId(from), to: ReplicaId(to), body };
    cluster.host(to).inputs.push(Input::Message(envelope));
    cluster.settle();
}

fn written(cluster: &mut Cluster, by: u64) {
    let write = cluster.write(by, put("k", "w"));
    cluster.settle();
    assert!(matches!(cluster.answer(write), Answer::Written { .. }), "{:?}", cluster.answer(write));
}

#[test]
fn a_group_with_nothing_to_do_falls_asleep_and_nothing_travels_for_it() {
    let mut cluster = asleep();
    let sent = cluster.sent.len();
    cluster.tick(100);
    assert_eq!((cluster.sent.len(), sleepers(&cluster).len(), cluster.leader()), (sent, 3, 1));
}

#[test]
fn a_request_wakes_everybody_and_is_answered_and_then_they_sleep_again() {
    let mut cluster = asleep();
    let read = cluster.confirm(1);
    cluster.settle();
    assert!(cluster.confirmed.contains(&read) && sleepers(&cluster).is_empty());
    written(&mut cluster, 1);
    cluster.tick(A_WHILE);
    assert_eq!((sleepers(&cluster).len(), cluster.leader()), (3, 1));
    let write = cluster.write(3, put("k", "x"));
    cluster.settle();
    let not_leader = Answer::Refused(Refusal::NotLeader { leader: Some(ReplicaId(1)) });
    assert_eq!(cluster.answer(write), &not_leader);
    assert!(sleepers(&cluster).is_empty());
}

#[test]
fn a_group_stays_awake_while_somebody_does_not_answer() {
    let mut cluster = led();
    cluster.tick(1);
    cluster.isolate(3);
    for _ in 0..40 {
        cluster.tick_once(&[3]);
        cluster.settle();
        assert!(!sleepers(&cluster).contains(&1));
    }
    assert_eq!(cluster.leader(), 1);
    written(&mut cluster, 1);
}

/// However the return of one that was away meets the leader's question: what a sleeping leader says of its group stays said.
#[test]
fn a_group_that_falls_asleep_says_that_it_is_whole() {
    for away in 15..30 {
        let mut cluster = led();
        cluster.tick(1);
        cluster.isolate(3);
        for _ in 0..away {
            cluster.tick_once(&[3]);
            cluster.settle();
        }
        cluster.heal();
        cluster.tick(6 * A_WHILE);
        assert_eq!(sleepers(&cluster), [1, 2, 3], "away for {away} ticks");
        let (health, _) = cluster.replica(1).health().unwrap();
        assert_eq!(health, Health::Whole, "away for {away} ticks");
    }
}

#[test]
fn a_follower_that_lacks_the_end_of_the_log_does_not_agree() {
    let mut cluster = led();
    cluster.host(3).hold.appends = true;
    cluster.write(1, put("k", "v"));
    cluster.tick(30);
    assert!(!sleepers(&cluster).contains(&1) && !sleepers(&cluster).contains(&3));
    cluster.host(3).hold.appends = false;
    cluster.tick(A_WHILE + 4);
    assert_eq!(sleepers(&cluster).len(), 3);
}

#[test]
fn a_question_or_an_agreement_that_is_lost_is_made_good() {
    for direction in [(1, 3), (3, 1)] {
        let mut cluster = led();
        cluster.write(1, put("k", "v"));
        cluster.tick(4);
        cluster.cut.insert(direction);
        cluster.tick(6);
        assert!(!sleepers(&cluster).contains(&1));
        cluster.heal();
        cluster.tick(2 * A_WHILE);
        assert_eq!((sleepers(&cluster).len(), cluster.leader()), (3, 1));
    }
}

#[test]
fn a_leader_that_is_gone_is_replaced_as_soon_as_its_silence_is_noticed() {
    let mut cluster = asleep();
    cluster.crash(1);
    lost(&mut cluster, 2, 1);
    lost(&mut cluster, 3, 1);
    cluster.tick(2);
    let leader = cluster.leader();
    assert_ne!(leader, 1);
    written(&mut cluster, leader);
}

#[test]
fn sleepers_that_have_not_noticed_the_silence_vote_for_who_has() {
    for aware in [2, 3] {
        let mut cluster = asleep();
        cluster.crash(1);
        lost(&mut cluster, aware, 1);
        cluster.tick(15);
        let leader = cluster.leader();
        written(&mut cluster, leader);
    }
}

#[test]
fn one_follower_campaigns_first() {
    let mut cluster = asleep();
    cluster.crash(1);
    lost(&mut cluster, 2, 1);
    lost(&mut cluster, 3, 1);
    cluster.sent.clear();
    cluster.tick(6);
    let candidates = cluster.sent.iter().filter(|(.., kind)| *kind == MessageType::MsgRequestPreVote);
    let candidates: std::collections::BTreeSet<u64> = candidates.map(|(from, ..)| *from).collect();
    assert_eq!(candidates.len(), 1);
}

#[test]
fn the_silence_of_another_follower_wakes_only_the_leader() {
    let mut cluster = asleep();
    cluster.isolate(3);
    lost(&mut cluster, 2, 3);
    assert_eq!(sleepers(&cluster), [1, 2, 3]);
    lost(&mut cluster, 1, 3);
    assert_eq!(sleepers(&cluster), [3]);
    for _ in 0..30 {
        cluster.tick_once(&[3]);
        cluster.settle();
    }
    assert_eq!((cluster.leader(), sleepers(&cluster).contains(&1)), (1, false));
}

#[test]
fn whoever_is_woken_by_chance_wakes_its_leader_and_does_not_depose_it() {
    let mut cluster = asleep();
    let term = cluster.replica(1).status().term;
    send(&mut cluster, 3, 2, MessageBody::WakeAsked);
    assert!(sleepers(&cluster).is_empty());
    cluster.tick(3 * A_WHILE);
    assert_eq!((cluster.leader(), cluster.replica(1).status().term, sleepers(&cluster).len()), (1, term, 3));
}

#[test]
fn a_follower_that_started_anew_is_told_who_leads_and_takes_nothing_over() {
    let mut cluster = asleep();
    let term = cluster.replica(1).status().term;
    cluster.crash(3);
    cluster.start(3, false);
    lost(&mut cluster, 1, 3);
    cluster.tick(3 * A_WHILE);
    assert_eq!((cluster.leader(), cluster.replica(1).status().term, sleepers(&cluster).len()), (1, term, 3));
}

#[test]
fn a_leader_that_started_anew_finds_voters_even_if_nobody_noticed() {
    let mut cluster = asleep();
    cluster.crash(1);
    cluster.start(1, false);
    cluster.tick(45);
    let leader = cluster.leader();
    written(&mut cluster, leader);
}

#[test]
fn a_leader_that_was_deposed_in_its_sleep_serves_nobody() {
    let mut cluster = asleep();
    cluster.isolate(1);
    lost(&mut cluster, 2, 1);
    lost(&mut cluster, 3, 1);
    for _ in 0..15 {
        cluster.tick_once(&[1]);
        cluster.settle();
    }
    assert_eq!(sleepers(&cluster), [1]);
    assert!(cluster.replica(1).status().serving);
    cluster.heal();
    let (read, write) = (cluster.confirm(1), cluster.write(1, put("k", "old")));
    cluster.settle();
    assert!(!cluster.confirmed.contains(&read) && matches!(cluster.answer(read), Answer::Refused(_)));
    cluster.tick(3);
    assert!(matches!(cluster.answer(write), Answer::Refused(_)));
    assert_ne!(cluster.leader(), 1);
}

#[test]
fn a_group_on_its_way_to_another_membership_does_not_sleep() {
    let mut cluster = led();
    let change = Change::add(NodeId(204), Zone("c".to_owned()), ReplicaKind::Storage);
    let added = cluster.change(1, change);
    cluster.settle();
    assert_eq!(cluster.answer(added), &Answer::Done);
    cluster.tick(30);
    assert_eq!(sleepers(&cluster), []);
    let removed = cluster.change(1, Change::remove(ReplicaId(4)));
    cluster.settle();
    assert_eq!(cluster.answer(removed), &Answer::Done);
    cluster.tick(A_WHILE);
    assert_eq!(sleepers(&cluster), [1, 2, 3]);
}

#[test]
fn who_doubts_its_tail_does_not_sleep_and_wakes_whom_it_asks() {
    let mut cluster = asleep();
    cluster.crash(3);
    cluster.start(3, true);
    cluster.host(3).inputs.push(Input::Tick);
    cluster.settle();
    cluster.host(3).inputs.push(Input::Tick);
    cluster.settle();
    assert_eq!(sleepers(&cluster), []);
    cluster.tick(2 * A_WHILE);
    assert_eq!((cluster.leader(), sleepers(&cluster).len()), (1, 3));
}

#[test]
fn leadership_is_handed_on_in_the_middle_of_the_night() {
    let mut cluster = asleep();
    cluster.host(1).inputs.push(Input::Resign);
    cluster.settle();
    assert_ne!(cluster.leader(), 1);
    cluster.tick(2 * A_WHILE);
    assert_eq!(sleepers(&cluster).len(), 3);
}

#[test]
fn a_late_question_of_another_term_or_length_puts_nobody_to_sleep() {
    let mut cluster = led();
    cluster.tick(2);
    let status = cluster.replica(1).status();
    for (term, index) in [(status.term - 1, status.last_index), (status.term, status.last_index + 1)] {
        send(&mut cluster, 1, 2, MessageBody::SleepAsked { term, index });
    }
    send(&mut cluster, 3, 2, MessageBody::SleepAsked { term: status.term, index: status.last_index });
    send(&mut cluster, 2, 1, MessageBody::SleepAgreed { term: status.term, index: status.last_index });
    assert_eq!(sleepers(&cluster), []);
}

#[test]
fn a_sleeper_keeps_no_entries_in_memory_and_still_helps_who_lags() {
    let mut cluster = asleep();
    cluster.isolate(3);
    written(&mut cluster, 1);
    cluster.heal();
    cluster.tick(2 * A_WHILE);
    assert_eq!(sleepers(&cluster), [1, 2, 3]);
    assert_eq!(cluster.hosts[&3].disk.items, cluster.hosts[&1].disk.items);
}
