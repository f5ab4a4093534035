//! What one replica holds in memory when nothing happens: a node has thousands of them.

#![expect(clippy::unwrap_used, reason = "a test panics rather than return an error")]

mod group;

use allocation_counter::measure;

use group::{Group, attributes};
use replica::Options;

/// Bytes that the heap holds for one of three replicas.
fn held(make: impl FnOnce() -> Group) -> u64 {
    let mut made = None;
    let info = measure(|| made = Some(make()));
    assert_eq!(made.as_ref().unwrap().members().count(), 3);
    u64::try_from(info.bytes_current).unwrap() / 3
}

fn idle(mut group: Group) -> Group {
    for _ in 0..30 {
        group.tick();
    }
    group
}

/// With a leader that served, and nothing to do since.
fn asleep() -> Group {
    let mut group = Group::born_with(&Options { sleep_ticks: 10, ..Options::default() });
    fall_asleep(&mut group);
    group
}

fn fall_asleep(group: &mut Group) {
    while group.members().any(|member| !member.replica.is_asleep()) {
        group.tick();
    }
}

/// Of what an idle group may cost a node (40 KB) the rest is the host's, its log's and its tables'. Measured: 5 KB newborn,
/// 9 KB led.
const MOST_BYTES: u64 = 12_000;

#[test]
fn an_idle_replica_is_small() {
    let born = held(Group::born);
    let led = held(|| idle(Group::led()));
    assert!(born <= MOST_BYTES && led <= MOST_BYTES, "{born} bytes newborn, {led} bytes led");
}

/// A sleeping group may cost a node 20 KB, the host's part included. Measured: 7.6 KB.
const MOST_BYTES_ASLEEP: u64 = 8_500;

#[test]
fn a_sleeping_replica_is_smaller() {
    let asleep = held(asleep);
    assert!(asleep <= MOST_BYTES_ASLEEP, "{asleep} bytes");
}

/// What is left of traffic when it is over. Measured: 0.5 KB.
const MOST_BYTES_MORE: u64 = 600;

/// What the traffic of a day has grown is given back in the first quiet moment.
#[test]
fn a_replica_that_sleeps_after_traffic_is_as_small_as_one_that_never_had_any() {
    let never = held(asleep);
    let used = held(|| {
        let mut group = asleep();
        let attributes = attributes(100);
        (0..20).for_each(|turn| group.put(turn * 8..(turn + 1) * 8, &attributes));
        group.flush();
        fall_asleep(&mut group);
        group
    });
    assert!(used <= never + MOST_BYTES_MORE, "{used} bytes, {never} before");
}

#[test]
fn a_replica_whose_writes_are_flushed_is_small_again() {
    let used = held(|| {
        let mut group = Group::led();
        let attributes = attributes(100);
        (0..20).for_each(|turn| group.put(turn * 8..(turn + 1) * 8, &attributes));
        assert_eq!(group.written, 160);
        assert!(group.members().all(|member| member.replica.status().applied >= 30));
        group.flush();
        idle(group)
    });
    assert!(used <= 2 * MOST_BYTES, "{used} bytes");
}
