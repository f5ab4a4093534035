//! Which replicas of a group are enough to take a write. Pure.

use std::collections::BTreeMap;

use model::{PartitionDescriptor, ReplicaDescriptor, ReplicaRole, Zone};

/// A majority of the voters, in two zones.
pub fn has_quorum(descriptor: &PartitionDescriptor, takes: impl Fn(&ReplicaDescriptor) -> bool) -> bool {
    let voters = || descriptor.replicas.iter().filter(|replica| replica.role == ReplicaRole::Voter);
    let mut zones: BTreeMap<&Zone, usize> = BTreeMap::new();
    for voter in voters().filter(|voter| takes(voter)) {
        *zones.entry(&voter.zone).or_default() += 1;
    }
    zones.len() >= 2 && zones.values().sum::<usize>() * 2 > voters().count()
}

#[cfg(test)]
mod tests {
    use model::{KeyRange, NodeId, PartitionId, TableId};

    use super::*;

    fn descriptor(zones: &[&str]) -> PartitionDescriptor {
        let places = (1..).zip(zones).map(|(number, zone)| (NodeId(number), Zone((*zone).to_owned())));
        PartitionDescriptor::birth(PartitionId(7), TableId(8), KeyRange::ALL, places)
    }

    fn without(descriptor: &PartitionDescriptor, full: &[u64]) -> bool {
        has_quorum(descriptor, |voter| !full.contains(&voter.node.0))
    }

    #[test]
    fn a_write_needs_a_majority_with_room_in_two_zones() {
        let (spread, close) = (descriptor(&["a", "b", "c"]), descriptor(&["a", "a", "b"]));
        assert!(without(&spread, &[]) && without(&close, &[]));
        assert!(without(&spread, &[3]));
        assert!(!without(&close, &[3]), "the other two stand in one zone");
        assert!(!without(&spread, &[3, 1]));
    }

    #[test]
    fn who_only_learns_is_not_counted() {
        let mut learning = descriptor(&["a", "b", "c", "d"]);
        learning.replicas[3].role = ReplicaRole::Learner;
        assert!(without(&learning, &[2]));
        assert!(!without(&learning, &[2, 3]));
    }
}
