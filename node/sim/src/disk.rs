//! The model disks of a node: its log and its engine, each with what a crash would leave of it.

pub mod engine;
pub mod log;
