//! The storage daemon: workers, services and transport on top of a log, items and snapshots.

pub mod disk;
pub mod items;
pub mod log;
pub mod snapshot;
