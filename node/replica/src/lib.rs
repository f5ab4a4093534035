//! One partition's replica: a pure, deterministic state machine around `raft`.
//!
//! Everything that happens to a replica is an [`Input`]; everything it wants is in the [`Effects`] of the step. A step takes
//! all inputs that wait (a turn), so that one entry carries many writes. No clock, no randomness, no I/O, no async here:
//! the host reads and writes disks, sends, measures time. The rules are in ARCHITECTURE.md, "Replication, exactly".
//!
//! ```text
//!            ┌───────────── host (node, or the simulator) ─────────────┐
//!  messages, │  step(now, inputs) ──► Effects: read these old items,   │ frames, log batches,
//!  requests, │                        append, send, apply, answer, …   │ write batches, answers
//!  ticks ───►│  Input::{ItemRead, Persisted, Applied, …} ◄── done      │──►
//!            └─────────────────────────────────────────────────────────┘
//! ```

pub mod effect;
mod election;
pub mod entry;
pub mod input;
pub mod mutant;
pub mod replica;
pub mod state;

mod administration;
mod apply;
mod batch;
mod evaluate;
mod leading;
mod log_replica;
mod log_view;
mod membership;
mod overlay;
mod oversight;
mod persistence;
mod queue;
mod raft_core;
mod reads;
mod recovery;
mod repair;
mod sleep;
mod slowness;
mod snapshot;
mod split;
mod start;
mod status;
mod tail;
mod truncation;
mod unsettled;

#[cfg(test)]
mod cluster;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod scenarios;

pub use effect::{
    Answer, Append, AppliedWrite, ApplyBatch, Effects, Envelope, Event, FetchRequest, Install, MessageBody, ReadItem,
    Refusal,
};
pub use input::{Action, Add, Change, Input, WriteRequest};
pub use mutant::{Flaw, Mutant};
pub use raft::eraftpb;
pub use recovery::{NotRecoverable, STRIDE, Standing, recovered};
pub use repair::{Health, NoPlace, Purpose, Wanted};
pub use replica::Replica;
pub use snapshot::{Welcome, has_items};
pub use split::Child;
pub use start::StartError;
pub use state::{AppliedMark, GroupState, LogStart, Options, SnapshotContent, Start};
pub use status::{Progress, Status};

/// The host's name for a request that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// What a step may know of time: the host's clock, microseconds since the epoch. Only stamps entries with it (commit time,
/// version timestamps), never decides by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now(pub u64);
