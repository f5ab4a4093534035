//! How a room is held against its model: seeded worlds in which both are told the same, and the story of one that differs.

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs the usual seeds, or those that `TRIVET_REFINE_FIRST` and `TRIVET_REFINE_SEEDS` ask for.
pub fn seeds<World>(
    usual: u64,
    steps: usize,
    new: impl Fn(u64) -> World,
    step: impl Fn(&mut World),
    story: impl Fn(&World) -> &[String],
) {
    let asked = |name| env::var(name).ok().map(|number| number.parse().expect("a number of seeds"));
    let first: u64 = asked("TRIVET_REFINE_FIRST").unwrap_or(1);
    for seed in first..first + asked("TRIVET_REFINE_SEEDS").unwrap_or(usual) {
        let mut world = new(seed);
        let run = AssertUnwindSafe(|| (0..steps).for_each(|_| step(&mut world)));
        if catch_unwind(run).is_err() {
            let story = story(&world);
            panic!("seed {seed}, after:\n{}", story[story.len().saturating_sub(12)..].join("\n"));
        }
    }
}
