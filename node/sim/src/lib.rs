//! A seeded, deterministic world for many replicas: network, disks, clocks, crashes, clients, and an oracle.
//!
//! ```text
//!  faults ─┐                     ┌─ clients (puts, deletes, updates, increments, strong reads)
//!          ▼                     ▼
//!   network ◄──frames──► host ──step──► replica        mover (membership, leaders)
//!                         │                               │        splitter (ranges)
//!                   disk: log, engine                     │
//!                         └────── every fact ──► oracle ◄─┘ ──► invariant/*: one file each
//! ```
//! One virtual clock and one queue of events; nothing here reads a clock, a file or the network, and nothing iterates in an
//! order that differs between two runs. The host is a model: it must be no kinder to a replica than the real node.

pub mod birth;
pub mod case;
pub mod client;
pub mod core;
pub mod directed;
pub mod disk;
pub mod event;
pub mod faults;
pub mod host;
pub mod invariant;
pub mod ledger;
pub mod mover;
pub mod mutant;
pub mod network;
pub mod oracle;
pub mod plan;
pub mod queue;
pub mod rng;
pub mod runner;
pub mod shrink;
pub mod splitter;
pub mod story;
pub mod trace;
pub mod world;
