//! What a write costs in the replicas of one group: proposed, appended, committed and applied by all three, without disks
//! and network.

#[path = "../tests/memory/group.rs"]
mod group;

use divan::{AllocProfiler, Bencher};

use group::{Group, attributes};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// So many puts of 1 KB in one turn, on all three replicas.
#[divan::bench(args = [1, 64])]
fn puts_in_one_turn(bencher: Bencher<'_, '_>, puts: u64) {
    let attributes = attributes(1000);
    let mut group = Group::led();
    let mut next = 0;
    bencher.counter(divan::counter::ItemsCount::new(puts)).bench_local(|| {
        group.put(next..next + puts, &attributes);
        next += puts;
        // As the engine does now and then: the log is truncated behind it.
        if next.is_multiple_of(64 * 64) {
            group.flush();
        }
    });
    assert_eq!(group.written, next);
}

/// One tick of all three replicas when nothing happens.
#[divan::bench]
fn idle_tick(bencher: Bencher<'_, '_>) {
    let mut group = Group::led();
    bencher.bench_local(|| group.tick());
    assert_eq!(group.members().count(), 3);
}
