//! What one replica holds in memory when nothing happens: a node has thousands of them.

#![expect(clippy::unwrap_used, reason = "a test panics rather than return an error")]

mod group;

use allocation_counter::measure;

use group::{Group, attributes};

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

/// Half of what an idle group may cost a node (40 KB): the other half is the host's, its log's and its tables'. Measured:
/// 13 KB newborn, 17 KB led.
const MOST_BYTES: u64 = 20_000;

#[test]
fn an_idle_replica_is_small() {
    let born = held(Group::born);
    let led = held(|| idle(Group::led()));
    assert!(born <= MOST_BYTES && led <= MOST_BYTES, "{born} bytes newborn, {led} bytes led");
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
