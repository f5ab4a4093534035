//! Seeds as tests: worlds that must hold, the same world twice, and worlds with a mistake that the oracle must find.

use sim::case::Case;
use sim::event::Event;
use sim::faults::Fault;
use sim::ledger::Done;
use sim::plan::{self, SECOND};
use sim::runner::{Many, run_many, run_twice};
use sim::shrink::shrink;
use sim::world::World;

const JOBS: usize = 2;

/// Quiet: a replica's panic is told with its seed's story.
fn quiet() {
    std::panic::set_hook(Box::new(|_| {}));
}

/// Panics with the story of the first failing seed.
fn hold(first: u64, seeds: u64) {
    quiet();
    let many = Many { first, seeds, jobs: JOBS, like: Case::default(), most_failures: 1, done: Done::default() };
    let summary = run_many(&many, &|_| {});
    if let Some(failure) = summary.failures.into_iter().next() {
        let failure = shrink(failure, 100, 80);
        drop(std::panic::take_hook());
        panic!("{failure}");
    }
    let counts = &summary.stats.counts;
    assert!(counts["operations"] > seeds * 100, "{counts:?}");
    assert!(counts["children born"] > seeds && counts["replicas fallen asleep"] > seeds * 10, "{counts:?}");
}

#[test]
fn two_hundred_worlds_hold() {
    hold(1, 200);
}

#[test]
fn the_same_seed_twice_is_the_same_world() {
    quiet();
    for seed in 1..=20 {
        run_twice(seed).unwrap();
    }
}

#[test]
fn a_quiet_world_elects_one_leader_in_each_group() {
    for seed in 1..=20 {
        let (plan, rng) = plan::quiet(seed);
        let groups = plan.groups;
        let mut world = World::planned(plan, rng);
        world.run().unwrap();
        assert_eq!(world.core.oracle.elections.count(), groups, "seed {seed}");
        assert!(world.core.oracle.history.longest_silence() < SECOND, "seed {seed}");
    }
}

/// Three seconds after one node is cut off, at the 99th percentile.
#[test]
fn a_majority_writes_again_three_seconds_after_a_partition() {
    let mut silences: Vec<u64> = (1..=100)
        .map(|seed| {
            let (plan, rng) = plan::quiet(seed);
            let mut world = World::planned(plan, rng);
            world.core.queue.at(5 * SECOND, Event::Fault(Fault::CutOff(0)));
            world.run().unwrap();
            world.core.oracle.history.longest_silence()
        })
        .collect();
    silences.sort_unstable();
    assert!(silences[98] <= 3 * SECOND, "microseconds: {:?}", &silences[75..]);
}

/// The node ails from the third second on, for half a minute. In how many worlds it still leads in the end; there is not more
/// than one election a group for it.
fn worlds_still_led_by(ailing: usize, fault: &Fault, seeds: u64) -> u64 {
    let mut kept = 0;
    for seed in 1..=seeds {
        let (plan, rng) = plan::quiet(seed);
        let plan = plan::Plan { drawn_us: 30 * SECOND, troubled_us: 30 * SECOND, ..plan };
        let groups = plan.groups;
        let mut world = World::planned(plan, rng);
        world.core.queue.at(3 * SECOND, Event::Fault(fault.clone()));
        world.run().unwrap_or_else(|broken| panic!("seed {seed}: {broken:?}"));
        let mut leaders = world.core.registry.leaders.iter().flatten();
        kept += u64::from(leaders.any(|(_, place, _)| *place == ailing));
        let elections = world.core.oracle.elections.count();
        assert!(elections <= 2 * groups, "seed {seed}: {elections} elections in {groups} groups");
    }
    kept
}

#[test]
fn leaders_leave_a_node_whose_disk_is_dying_and_stay_away() {
    assert_eq!(worlds_still_led_by(0, &Fault::DyingDisk(0), 50), 0);
}

#[test]
fn leaders_leave_a_node_that_loses_messages_and_stay_away() {
    // Chance may let its messages through, and lose the one that hands over.
    assert!(worlds_still_led_by(0, &Fault::LossyNode(0), 50) <= 5);
}
