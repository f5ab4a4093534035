//! Truncation: the log is kept from what a crash would leave of the items, and a leader keeps what fewer than two replicas with items
//! hold: else a log replica might hold the only other copy of an entry, and lose it.

use std::collections::BTreeMap;

use model::{NodeId, PartitionDescriptor, ReplicaKind};

use crate::event::{Group, Place};
use crate::host::Node;
use crate::invariant::{Broken, Verdict};

/// Replicas with items that hold an entry before a leader truncates it.
const COPIES: usize = 2;

/// Entries up to `index` are to be removed; the engine has flushed up to `flushed`.
pub fn check(group: Group, index: u64, flushed: u64) -> Verdict {
    if index <= flushed {
        return Ok(());
    }
    let what = format!("the log is to be truncated at {index}, but a crash keeps only {flushed} applied");
    Err(Broken::new("truncation", group, what))
}

/// A leader, or a log replica, has just truncated its log behind this entry.
pub struct Truncated {
    pub group: Group,
    pub index: u64,
    pub term: u64,
    /// As it had applied it.
    pub descriptor: PartitionDescriptor,
}

impl Truncated {
    /// Looks into the disks of all nodes. A disk that is lost or rotten counts as one that holds it, as it did.
    pub fn check(&self, nodes: &[Node], places: &BTreeMap<NodeId, Place>) -> Verdict {
        let holds = |node: &NodeId| {
            let Some(place) = places.get(node) else { return true };
            let log = &nodes[*place].log;
            log.rotted || log.holds_durably(self.group, self.index, self.term)
        };
        let with_items = self.descriptor.replicas.iter().filter(|replica| replica.kind == ReplicaKind::Storage);
        let copies = with_items.filter(|replica| holds(&replica.node)).count();
        if copies >= COPIES {
            return Ok(());
        }
        let what = format!("a log is truncated at {}, which {copies} of {:?} hold", self.index, self.descriptor);
        Err(Broken::new("truncation", self.group, what))
    }
}
