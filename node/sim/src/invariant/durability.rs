//! Durability: what a leader holds committed is in the synced logs of a majority of its voters, in two zones.

use std::collections::{BTreeMap, BTreeSet};

use model::{NodeId, PartitionDescriptor, ReplicaRole};

use crate::event::{Group, Place};
use crate::host::Node;
use crate::invariant::{Broken, Verdict};

/// A leader has just moved its commit index.
pub struct Claim {
    pub group: Group,
    pub index: u64,
    pub term: u64,
    /// The configurations that may have been in force: before and after the step.
    pub descriptors: Vec<PartitionDescriptor>,
}

impl Claim {
    /// Looks into the disks of all nodes. A disk that is lost or rotten counts as one that holds it: losing it later is another fault.
    pub fn check(&self, nodes: &[Node], places: &BTreeMap<NodeId, Place>) -> Verdict {
        let holds = self.descriptors.iter().any(|descriptor| self.held(descriptor, nodes, places));
        if holds || self.descriptors.is_empty() {
            return Ok(());
        }
        let what = format!(
            "index {} of term {} is committed and not in the synced logs of a majority in two zones of {:?}",
            self.index, self.term, self.descriptors
        );
        Err(Broken::new("durability", self.group, what))
    }

    fn held(&self, descriptor: &PartitionDescriptor, nodes: &[Node], places: &BTreeMap<NodeId, Place>) -> bool {
        let voters: Vec<_> = descriptor.replicas.iter().filter(|r| r.role == ReplicaRole::Voter).collect();
        let mut zones = BTreeSet::new();
        let mut holders = 0;
        for voter in &voters {
            let Some(place) = places.get(&voter.node) else {
                holders += 1;
                zones.insert(None);
                continue;
            };
            let node = &nodes[*place];
            if node.log.rotted || node.log.holds_durably(self.group, self.index, self.term) {
                holders += 1;
                zones.insert(Some(node.zone));
            }
        }
        holders > voters.len() / 2 && zones.len() >= 2
    }
}
