//! Stale routers: a client's request is served in the epoch that it names, by a replica that stands in that epoch.

use bytes::Bytes;
use model::PartitionDescriptor;

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

/// A strong read may look: its key is the group's. One that is under way when a split takes the key away is refused.
pub fn confirmed(group: Group, operation: u64, key: &Bytes, descriptor: Option<&PartitionDescriptor>) -> Verdict {
    if descriptor.is_some_and(|descriptor| descriptor.range.contains(key)) {
        return Ok(());
    }
    let what = format!("operation {operation} is confirmed, and its key is beyond {descriptor:?}");
    Err(Broken::new("stale routers", group, what))
}
