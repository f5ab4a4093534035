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
    while group.members().any(|member| !member.replica.is_asleep()) {
        group.tick();
    }
    group
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

/// A sleeping group may cost a node 20 KB, the host's part included. Measured: 8 KB.
const MOST_BYTES_ASLEEP: u64 = 10_000;

#[test]
fn a_sleeping_replica_is_smaller() {
    let asleep = held(asleep);
    assert!(asleep <= MOST_BYTES_ASLEEP, "{asleep} bytes");
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
