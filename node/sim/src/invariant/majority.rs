//! Majority: while one node is away and nothing else is wrong, every group that has a quorum in two zones without it serves.

use std::collections::BTreeSet;

use model::ReplicaRole;

use crate::core::Core;
use crate::event::{Group, Place};
use crate::host::Node;
use crate::invariant::Broken;

/// Whether the group must serve without that node.
pub fn must_serve(core: &Core, nodes: &[Node], group: Group, away: Place) -> bool {
    let descriptor = &core.registry.descriptors[group];
    let voters = descriptor.replicas.iter().filter(|replica| replica.role == ReplicaRole::Voter);
    let mut zones = BTreeSet::new();
    let (mut all, mut here) = (0, 0);
    for voter in voters {
        all += 1;
        let Some(place) = core.registry.places.get(&voter.node).filter(|place| **place != away) else { continue };
        let node = &nodes[*place];
        let Some(running) = node.running[group].as_ref().filter(|running| running.id == voter.id) else { continue };
        // A change that nobody remembers to be committed, or a joint one, may need the node that is away; a torn tail may wait
        // for what only it knows.
        let behind = running.epoch() < descriptor.epoch;
        if behind || running.status.in_joint_change || node.log.uncertain.contains(&group) {
            return false;
        }
        here += 1;
        zones.insert(&voter.zone);
    }
    here > all / 2 && zones.len() > 1
}

pub fn broken(group: Group, away: Place, after_us: u64, state: &str) -> Broken {
    let seconds = after_us / 1_000_000;
    Broken::new("majority", group, format!("it does not serve, {seconds} s after only node {away} is away{state}"))
}
