//! A whole Trivet seen from outside: its processes, a client, what a history of operations must look like, what
//! operations cost, and where that goes.
//!
//! Nothing here looks inside: everything goes through DynamoDB's API, through the operating system, or through what nodes tell
//! administrators.

pub mod bench;
pub mod chaos;
pub mod client;
pub mod cluster;
pub mod failures;
pub mod groups;
pub mod history;
pub mod port;
pub mod process;
pub mod profile;
pub mod random;
pub mod small_disk;
pub mod splits;
