//! The tests of `nodes` with two workers in each node: groups, connections and disks are shared between threads.

#![expect(clippy::unwrap_used, reason = "a test panics rather than return an error")]

#[path = "../nodes/group.rs"]
mod group;
#[path = "../nodes/limits.rs"]
mod limits;
#[path = "../nodes/many.rs"]
mod many;
#[path = "../nodes/moves.rs"]
mod moves;
#[path = "../nodes/recovery.rs"]
mod recovery;
#[path = "../nodes/repair.rs"]
mod repair;
#[path = "../nodes/rot.rs"]
mod rot;
#[path = "../nodes/sleep.rs"]
mod sleep;
#[path = "../nodes/splits.rs"]
mod splits;
#[path = "../nodes/world.rs"]
mod world;

const WORKERS: usize = 2;
