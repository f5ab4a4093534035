//! Several real nodes in one process: over gRPC on loopback and over the in-memory transport, which encodes and decodes
//! every frame here.

#![expect(clippy::unwrap_used, reason = "a test panics rather than return an error")]

mod group;
mod limits;
mod moves;
mod world;
