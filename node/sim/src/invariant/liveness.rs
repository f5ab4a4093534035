//! Liveness: after everything is healed, every group serves, is whole and agrees within a bound.

use model::{ReplicaKind, ReplicaRole};

use crate::core::Core;
use crate::event::Group;
use crate::host::Node;
use crate::invariant::Broken;

/// An administrative entry in every group after the healing: proposals of every kind go on.
pub const LAST_TABLE_VERSION: u64 = 1_000;

/// What one group still lacks; none when it is at peace.
pub fn lacks(core: &Core, nodes: &[Node], group: Group) -> Option<String> {
    let descriptor = &core.registry.descriptors[group];
    if core.oracle.history.served_since_heal(group).is_none() {
        return Some(String::from("no write and strong read was answered since the healing"));
    }
    let moved = core.plan.is_moved();
    if moved {
        let voters = descriptor.replicas.iter().filter(|replica| replica.role == ReplicaRole::Voter).count();
        let with_items = descriptor.replicas.iter().filter(|replica| replica.kind == ReplicaKind::Storage).count();
        if voters != 3 || with_items != 3 || descriptor.replicas.len() != 3 {
            return Some(String::from("not three voters with items and nothing else"));
        }
    }
    let mut applied = Vec::new();
    for replica in &descriptor.replicas {
        let Some(place) = core.registry.places.get(&replica.node) else {
            return Some(format!("replica {} is on a disk that was lost", replica.id));
        };
        let Some(running) = nodes[*place].running[group].as_ref().filter(|running| running.id == replica.id) else {
            return Some(format!("replica {} does not run", replica.id));
        };
        let status = &running.status;
        if status.in_joint_change {
            return Some(format!("replica {} is in a joint change", replica.id));
        }
        if running.descriptor.as_ref() != Some(descriptor) {
            return Some(format!("replica {} has not the newest descriptor", replica.id));
        }
        if moved && running.replica.table().is_none_or(|table| table.version < LAST_TABLE_VERSION) {
            return Some(format!("replica {} has not the table's last version", replica.id));
        }
        applied.push((status.applied, status.committed, status.last_index));
    }
    let newest = applied.first()?;
    if newest.0 != newest.2 || applied.iter().any(|state| state != newest) {
        return Some(format!("applied, committed, last differ: {applied:?}"));
    }
    None
}

/// The group as its replicas see it, line by line.
pub fn describe(core: &Core, nodes: &[Node], group: Group) -> String {
    let mut text = String::new();
    for replica in &core.registry.descriptors[group].replicas {
        let lost = if core.registry.places.contains_key(&replica.node) { "" } else { " lost" };
        text += &format!("\n  {} {:?} on {}{lost} in {}", replica.id, replica.role, replica.node, replica.zone);
    }
    for node in nodes {
        let Some(running) = &node.running[group] else { continue };
        let epoch = running.descriptor.as_ref().map(|descriptor| descriptor.epoch);
        text += &format!("\n  node {} ({}) epoch {epoch:?}: {:?}", node.place, node.id, running.status);
    }
    text
}

/// Requests that a living node has never answered.
pub fn unanswered(nodes: &[Node]) -> usize {
    nodes.iter().filter(|node| node.up).map(Node::unanswered).sum()
}

pub fn broken(group: Option<Group>, after_us: u64, what: &str) -> Broken {
    let what = format!("{} s after the healing: {what}", after_us / 1_000_000);
    Broken { group, ..Broken::somewhere("liveness", what) }
}
