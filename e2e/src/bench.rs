//! What operations cost: closed loops over raw connections, and the operating system's own accounts beside them.
//!
//! The client shares the machine with what it measures, so it does as little as it can: requests are built and signed
//! before the clock runs, an answer's head is all that is read, and few threads drive all connections.
//!
//! - [`request`] builds and signs; [`connection`] sends and reads; [`load`] repeats that and counts.
//! - [`scenario`] says what is asked for; [`accounts`] reads `/proc`; [`histogram`] keeps latencies; [`report`] prints.

pub mod accounts;
pub mod connection;
pub mod histogram;
pub mod load;
pub mod report;
pub mod request;
pub mod scenario;
