//! MemDS: the partition map in memory. Nodes push what they have, routers look up on every request.
//!
//! Nothing here rests on a disk: a server killed and started empty knows everything again once the nodes have announced.
//! It knows neither JSON nor items, and asks nobody: it is told.

pub mod config;
pub mod map;
pub mod metrics;
pub mod server;
pub mod trie;

pub use config::Config;
pub use metrics::Metrics;
pub use server::{Handle, run, serve};
