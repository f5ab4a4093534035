//! Hostile clients and hostile bytes against the router: nobody but the hostile one notices.
#![expect(clippy::unwrap_used, reason = "a test says by panicking")]

mod clients;
mod fuzz;
mod harness;
#[path = "../http/memory.rs"]
#[expect(dead_code, reason = "a part of what the other tests ask of it is asked here")]
mod memory;
mod never_reading;
mod room;
