//! Stale routers: a client's request is served in the epoch that it names, by a replica that stands in that epoch.

use crate::event::Group;
use crate::invariant::{Broken, Verdict};

/// The epoch that a request names, and the replica's when it came.
#[derive(Clone, Copy, Debug)]
pub struct Epochs {
    pub named: u64,
    pub at_arrival: u64,
}

/// It was not refused, and the replica stands in the epoch `now`.
pub fn served(group: Group, operation: u64, epochs: Epochs, now: u64) -> Verdict {
    let Epochs { named, at_arrival } = epochs;
    if (at_arrival..=now).contains(&named) {
        return Ok(());
    }
    let what = format!("operation {operation} names epoch {named} and was served between {at_arrival} and {now}");
    Err(Broken::new("stale routers", group, what))
}
