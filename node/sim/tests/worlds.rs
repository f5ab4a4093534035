//! Seeds as tests: worlds that must hold, the same world twice, and worlds with a mistake that the oracle must find.

use sim::event::Event;
use sim::faults::Fault;
use sim::plan::{self, Mutant, SECOND};
use sim::runner::{run_many, run_twice};
use sim::world::World;

const JOBS: usize = 2;

/// Quiet: a replica's panic is told with its seed's story.
fn quiet() {
    std::panic::set_hook(Box::new(|_| {}));
}

/// Panics with the story of the first failing seed.
fn hold(first: u64, seeds: u64) {
    quiet();
    let summary = run_many(first, seeds, JOBS, None, 1, &|_, _| {});
    if let Some(failure) = summary.failures.first() {
        drop(std::panic::take_hook());
        panic!("{failure}");
    }
    assert!(summary.stats.counts["operations"] > seeds * 100, "{:?}", summary.stats);
}

/// Some seed among the first ones fails, by one of these invariants.
fn bitten(mutant: Mutant, by: &[&str]) {
    const SEEDS: u64 = 300;
    quiet();
    let summary = run_many(1, SEEDS, JOBS, Some(mutant), 1, &|_, _| {});
    let Some(failure) = summary.failures.first() else { panic!("{mutant:?} survives {SEEDS} seeds") };
    let invariant = failure.broken.invariant;
    assert!(by.contains(&invariant), "{mutant:?} was found by another invariant: {failure}");
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

/// Faults.md, row 7: three seconds after one node is cut off, at the 99th percentile.
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

#[test]
fn a_log_that_answers_before_it_syncs_is_found() {
    bitten(Mutant::AckUnsynced, &["durability"]);
}

#[test]
fn an_applied_mark_ahead_of_its_items_is_found() {
    bitten(Mutant::MarkBeforeItems, &["state machine equality"]);
}

#[test]
fn descriptors_that_lie_about_zones_are_found() {
    bitten(Mutant::WrongZones, &["durability"]);
}

#[test]
fn strong_reads_that_nobody_confirmed_are_found() {
    bitten(Mutant::ReadUnconfirmed, &["linearizability"]);
}

#[test]
fn a_snapshot_without_one_of_its_items_is_found() {
    bitten(Mutant::SnapshotLosesItem, &["state machine equality"]);
}

#[test]
fn a_retired_replica_that_comes_back_is_found() {
    bitten(Mutant::ForgetRetired, &["identity"]);
}

#[test]
fn an_apply_that_skips_a_write_is_found() {
    bitten(Mutant::ApplySkips, &["state machine equality"]);
}

#[test]
fn votes_that_a_crash_forgets_are_found() {
    bitten(Mutant::ForgetVotes, &["one vote", "election safety"]);
}
