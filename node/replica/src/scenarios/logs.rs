//! How long logs are, and what followers get that the leader has no longer in memory.

use super::ZONES;
use crate::cluster::Cluster;
use crate::eraftpb::MessageType;
use crate::fixture::put;
use crate::{Input, Token};

fn write_many(cluster: &mut Cluster, count: usize) {
    for index in 0..count {
        let token: Token = cluster.write(1, put(&format!("k{index}"), &"v".repeat(500)));
        cluster.settle();
        cluster.answer(token);
    }
}

fn flush(cluster: &mut Cluster) {
    for host in cluster.hosts.values_mut() {
        if let Some(replica) = &host.replica {
            let index = replica.status().applied;
            host.inputs.push(Input::Flushed { index });
        }
    }
    cluster.settle();
}

fn got_snapshot(cluster: &Cluster, id: u64) -> bool {
    cluster.sent.iter().any(|&(_, to, kind)| to == id && kind == MessageType::MsgSnapshot)
}

#[test]
fn entries_that_left_memory_are_fetched_for_a_follower_that_lags() {
    let mut cluster = Cluster::born(&ZONES);
    cluster.options.cache_bytes = 2_000;
    cluster.crash(1);
    cluster.start(1, false);
    cluster.elect(1);
    cluster.isolate(3);
    write_many(&mut cluster, 40);
    cluster.heal();
    cluster.tick(4);
    assert_eq!(cluster.host(3).disk.items.len(), 40);
    assert!(!got_snapshot(&cluster, 3));
}

#[test]
fn the_log_is_kept_for_a_silent_follower_while_it_fits_the_budget() {
    let mut cluster = Cluster::led(&ZONES);
    cluster.isolate(3);
    write_many(&mut cluster, 20);
    flush(&mut cluster);
    cluster.heal();
    cluster.tick(6);
    assert_eq!(cluster.host(3).disk.items.len(), 20);
    assert!(!got_snapshot(&cluster, 3));
    write_many(&mut cluster, 1);
    cluster.tick(1);
    flush(&mut cluster);
    let status = cluster.replica(1).status();
    assert_eq!(cluster.host(1).disk.truncated.0, status.applied);
}

#[test]
fn a_follower_that_lags_beyond_the_budget_gets_a_snapshot() {
    let mut cluster = Cluster::born(&ZONES);
    cluster.options.log_bytes = 4_000;
    cluster.crash(1);
    cluster.start(1, false);
    cluster.elect(1);
    cluster.isolate(3);
    write_many(&mut cluster, 40);
    flush(&mut cluster);
    assert!(cluster.host(1).disk.truncated.0 > 30);
    cluster.heal();
    cluster.tick(6);
    assert!(got_snapshot(&cluster, 3));
    assert_eq!(cluster.host(3).disk.items.len(), 40);
    write_many(&mut cluster, 3);
    cluster.tick(1);
    assert_eq!(cluster.replica(3).status().applied, cluster.replica(1).status().applied);
}

#[test]
fn nothing_is_truncated_that_a_crash_could_take_back_from_the_engine() {
    let mut cluster = Cluster::led(&ZONES);
    write_many(&mut cluster, 10);
    cluster.tick(10);
    assert_eq!(cluster.host(1).disk.truncated.0, crate::state::BIRTH_INDEX);
    cluster.host(1).inputs.push(Input::Flushed { index: 15 });
    cluster.settle();
    assert_eq!(cluster.host(1).disk.truncated.0, 15);
}
