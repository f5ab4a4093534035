//! The storage daemon: workers, services and transport on top of a log, items and snapshots.
//!
//! ```text
//!   service ── requests, frames ──► worker (inbox, turns, groups) ── effects ──► log, items, snapshot, transport
//!                                        ▲                                            │
//!                                        └───────────── what is done ─────────────────┘
//! ```
//! The data plane asks nobody outside the nodes for permission: no Kubernetes, no operator, no MemDS.

pub mod announce;
pub mod config;
pub mod context;
pub mod directory;
pub mod disk;
pub mod items;
pub mod log;
pub mod meter;
pub mod metrics;
pub mod names;
pub mod neighbours;
pub mod pool;
#[cfg(test)]
mod refinement;
pub mod registry;
pub mod room;
pub mod server;
pub mod service;
pub mod snapshot;
pub mod tally;
pub mod transport;
pub mod worker;

pub use config::Config;
pub use server::{Node, run};
