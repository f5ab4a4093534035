//! The router's public face over real HTTP: the SDK and raw requests against a server whose backend is a model in memory.
#![expect(clippy::unwrap_used, reason = "a test says by panicking")]

mod audit;
mod auth;
mod batches;
mod contract;
mod harness;
mod items;
mod malformed;
mod memory;
mod noise;
mod pages;
mod signature;
mod tables;
