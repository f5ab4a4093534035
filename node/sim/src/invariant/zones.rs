//! Zones: no set of voters stands in one zone, no two replicas on one node.

use std::collections::BTreeSet;

use model::{PartitionDescriptor, ReplicaRole};

use crate::event::Group;
use crate::invariant::{Broken, Verdict};

pub fn check(group: Group, descriptor: &PartitionDescriptor) -> Verdict {
    let voters = descriptor.replicas.iter().filter(|replica| replica.role == ReplicaRole::Voter);
    let zones: BTreeSet<_> = voters.map(|replica| &replica.zone).collect();
    if zones.len() < 2 {
        return Err(Broken::new("zones", group, format!("the voters of {descriptor:?} are in one zone")));
    }
    let nodes: BTreeSet<_> = descriptor.replicas.iter().map(|replica| replica.node).collect();
    if nodes.len() < descriptor.replicas.len() {
        return Err(Broken::new("zones", group, format!("two replicas of {descriptor:?} are on one node")));
    }
    Ok(())
}
