//! How nodes reach each other: one outgoing stream per other node, frames that gather while the one before them leaves.
//!
//! ```text
//! workers ─ envelopes ─► Links ─► Outbox per node ─► Connector (tonic, or memory in one process) ─► the other's service
//! ```
//! A message that does not fit or finds no connection is dropped, and its replica told: raft sends again what matters.
//! Nodes are known by id; the directory turns ids into addresses.

pub mod connector;
pub mod convert;
pub mod links;
pub mod memory;
pub mod outbox;

pub use connector::{Connector, LinkError};
pub use links::Links;
pub use memory::Memory;
pub use outbox::{Outbox, OutboxStream};

/// Stream windows as large as what may be under way: 64 KiB of default would stop a stream on every large item.
pub const STREAM_WINDOW_BYTES: u32 = 8 << 20;
pub const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// A frame is 1 MiB, or one message: 64 entries of 400 KB at most, far below.
pub const DECODE_LIMIT_BYTES: usize = 64 << 20;
