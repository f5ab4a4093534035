//! Which other nodes have no room for clients' writes, as their frames last told.
//!
//! A leader proposes nothing that no quorum would take: what is refused before it is proposed is surely not applied, and told
//! at once; what was proposed is unknown until there is room, and its client waits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use model::{NodeId, PartitionDescriptor, ReplicaDescriptor, ReplicaRole, Zone};

#[derive(Default)]
pub struct FullNodes {
    /// Most of the time there is none: nobody takes the lock then.
    any: AtomicBool,
    nodes: Mutex<BTreeSet<NodeId>>,
}

impl FullNodes {
    /// What a frame of that node said of its disk.
    pub fn told(&self, node: NodeId, full: bool) {
        if !full && !self.any.load(Ordering::Relaxed) {
            return;
        }
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let news = if full { nodes.insert(node) } else { nodes.remove(&node) };
        self.any.store(!nodes.is_empty(), Ordering::Relaxed);
        drop(nodes);
        if news {
            tracing::info!(%node, full, "another node's room changed");
        }
    }

    /// Whether a majority of the voters in two zones can take a write.
    pub fn leave_a_quorum(&self, descriptor: &PartitionDescriptor) -> bool {
        if !self.any.load(Ordering::Relaxed) {
            return true;
        }
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        has_quorum(descriptor, |voter| !nodes.contains(&voter.node))
    }
}

fn has_quorum(descriptor: &PartitionDescriptor, takes: impl Fn(&ReplicaDescriptor) -> bool) -> bool {
    let voters = || descriptor.replicas.iter().filter(|replica| replica.role == ReplicaRole::Voter);
    let mut zones: BTreeMap<&Zone, usize> = BTreeMap::new();
    for voter in voters().filter(|voter| takes(voter)) {
        *zones.entry(&voter.zone).or_default() += 1;
    }
    zones.len() >= 2 && zones.values().sum::<usize>() * 2 > voters().count()
}

#[cfg(test)]
mod tests {
    use model::{KeyRange, PartitionId, TableId};

    use super::*;

    fn descriptor(zones: &[&str]) -> PartitionDescriptor {
        let places = (1..).zip(zones).map(|(number, zone)| (NodeId(number), Zone((*zone).to_owned())));
        PartitionDescriptor::birth(PartitionId(7), TableId(8), KeyRange::ALL, places)
    }

    #[test]
    fn a_write_needs_a_majority_with_room_in_two_zones() {
        let (spread, close) = (descriptor(&["a", "b", "c"]), descriptor(&["a", "a", "b"]));
        let full = FullNodes::default();
        full.told(NodeId(3), false);
        assert!(full.leave_a_quorum(&spread) && full.leave_a_quorum(&close));
        full.told(NodeId(3), true);
        assert!(full.leave_a_quorum(&spread));
        assert!(!full.leave_a_quorum(&close), "the other two stand in one zone");
        full.told(NodeId(1), true);
        assert!(!full.leave_a_quorum(&spread));
        full.told(NodeId(3), false);
        full.told(NodeId(1), false);
        assert!(full.leave_a_quorum(&spread) && full.leave_a_quorum(&close));
    }

    #[test]
    fn who_only_learns_is_not_counted() {
        let mut learning = descriptor(&["a", "b", "c", "d"]);
        learning.replicas[3].role = ReplicaRole::Learner;
        let full = FullNodes::default();
        full.told(NodeId(2), true);
        assert!(full.leave_a_quorum(&learning));
        full.told(NodeId(3), true);
        assert!(!full.leave_a_quorum(&learning));
    }
}
