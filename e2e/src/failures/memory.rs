//! How much memory nodes take through all of it: the kernel keeps the most that a process has had.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::row::Row;
use crate::process::{Role, Running, peak_resident_bytes};

/// A process that is killed was looked at so long before, at most.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// `--cache` of a node: what cached items and those not yet flushed may take.
const CACHE_MIB: u64 = 512;
/// What else there is: the log's writer, entries under way, frames, snapshots, the program.
const ELSE_MIB: u64 = 256;

/// The largest node so far, and in which part.
#[derive(Clone, Default)]
pub struct Memory {
    largest: Arc<Mutex<(u64, String)>>,
}

impl Memory {
    /// Watches the nodes of a house until it is aborted.
    pub fn watch(&self, running: Arc<Running>, part: &str) -> JoinHandle<()> {
        let (memory, part) = (self.clone(), part.to_owned());
        tokio::spawn(async move {
            loop {
                let largest = running.children(Role::Node).into_iter().map(peak_resident_bytes).max();
                memory.note(largest.unwrap_or(0), &part);
                tokio::time::sleep(LOOK_EVERY).await;
            }
        })
    }

    fn note(&self, bytes: u64, part: &str) {
        let mut largest = self.largest.lock().unwrap_or_else(PoisonError::into_inner);
        if largest.0 < bytes {
            *largest = (bytes, part.to_owned());
        }
    }

    pub fn row(&self) -> Row {
        let (bytes, part) = self.largest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Row {
            what: "memory of the largest node through all of this".to_owned(),
            promise: format!("≤ its `--cache` of {CACHE_MIB} MiB and {ELSE_MIB} MiB"),
            measured: format!("{} MiB, in `{part}`", bytes >> 20),
            times: 1,
            kept: (bytes <= (CACHE_MIB + ELSE_MIB) << 20).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failures::row::Kept;

    #[test]
    fn the_largest_node_of_all_parts_is_remembered() {
        let memory = Memory::default();
        for (mebibytes, part) in [(100, "lost"), (900, "many"), (300, "away")] {
            memory.note(mebibytes << 20, part);
        }
        let row = memory.row();
        assert_eq!((row.measured.as_str(), row.kept), ("900 MiB, in `many`", Kept::No));
    }
}
