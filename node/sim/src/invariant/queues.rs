//! Bounds: what waits in a replica never exceeds what its options allow.

use replica::Options;

use crate::event::Group;
use crate::host::Running;
use crate::invariant::{Broken, Verdict};

/// Requests that are neither queued nor being proposed: reads that wait for a round, writes on their way in the log.
const ON_THEIR_WAY: usize = 2_000;

pub fn check(group: Group, running: &Running, options: &Options) -> Verdict {
    if running.reading > options.queued_requests {
        let what = format!("{} old items are being read, {} allowed", running.reading, options.queued_requests);
        return Err(Broken::new("queues", group, what));
    }
    if running.asked.len() > options.queued_requests + ON_THEIR_WAY {
        return Err(Broken::new("queues", group, format!("{} requests wait", running.asked.len())));
    }
    Ok(())
}
