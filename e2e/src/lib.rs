//! A whole Trivet seen from outside: its processes, a client, and what a history of operations must look like.
//!
//! Nothing here looks inside: everything goes through DynamoDB's API or through the operating system.

pub mod client;
pub mod history;
pub mod process;
pub mod random;
