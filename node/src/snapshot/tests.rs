//! Snapshots between two real engines.
