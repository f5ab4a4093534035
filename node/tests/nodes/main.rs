//! Several real nodes in one process: over gRPC on loopback and over the in-memory transport, which encodes and decodes
//! every frame here.

#![expect(clippy::unwrap_used, reason = "a test panics rather than return an error")]

#[path = "../../../wire/tests/seal/authority.rs"]
mod authority;
mod blank;
mod full_disk;
mod group;
mod limits;
mod many;
mod moves;
mod names;
mod neighbours;
mod recovery;
mod repair;
mod rot;
mod sealed;
mod sizes;
mod sleep;
#[path = "../../../e2e/src/small_disk.rs"]
mod small_disk;
mod splits;
mod world;

/// Of each node; `two_workers` runs the same tests with more.
const WORKERS: usize = 1;
