//! Sealed connections over real sockets: who gets in, who does not and why, what a new certificate changes.
#![expect(clippy::unwrap_used, reason = "a test says by panicking")]

mod authority;
mod doors;
mod folder;
mod refusals;
mod roles;
mod stranger;
mod world;
