//! Several real nodes in one process: over gRPC on loopback and over the in-memory transport, which encodes and decodes
//! every frame here.

#![expect(clippy::unwrap_used, reason = "a test panics rather than return an error")]

mod group;
mod limits;
mod many;
mod moves;
mod world;

/// Of each node; `two_workers` runs the same tests with more.
const WORKERS: usize = 1;
