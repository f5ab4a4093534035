//! What the nodes say, in the words of `plan` and `placement`. Observing never changes anything.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use model::{NodeId, PartitionDescriptor, PartitionId, Size, TableDescriptor, Zone};
use placement::NodeView;
use wire::admin::GroupStatus;

use crate::cluster::{Cluster, Reached};
use crate::plan::{Observed, ReplicaReport};

/// A node takes no new replicas below this share of free disk, one part in ten, where that is less than a partition's worth
/// (10 GB, DynamoDB's largest).
const FREE_SHARE: u64 = 10;
const PARTITION_BYTES: u64 = 10 << 30;

/// Nodes that answered, as `placement` sees them.
pub async fn node_views(cluster: &Cluster) -> Vec<NodeView> {
    views(cluster, &cluster.ask_all(false).await)
}

/// The same, and everything they have: by one question.
pub async fn nodes_and_groups(cluster: &Cluster) -> (Vec<NodeView>, Observed) {
    let mut reached = cluster.ask_all(true).await;
    let views = views(cluster, &reached);
    (views, located(told(&mut reached), &cluster.homes()))
}

fn views(cluster: &Cluster, reached: &[Option<Reached>]) -> Vec<NodeView> {
    let named = reached.iter().flatten().filter(|node| node.status.node != 0);
    let views = named.map(view);
    views.map(|view| NodeView { accepts: view.accepts && !cluster.is_closed(view.id), ..view }).collect()
}

/// Everything all nodes have.
pub async fn groups(cluster: &Cluster) -> Observed {
    located(told(&mut cluster.ask_all(true).await), &cluster.homes())
}

/// What the nodes told that were asked for their groups, which are taken out of their answers.
pub fn told(answers: &mut [Option<Reached>]) -> Observed {
    let mut observed = Observed::default();
    for answer in answers {
        let told = answer.as_mut().and_then(|node| Some((NodeId(node.status.node), node.groups.take()?)));
        let Some((node, groups)) = told else {
            observed.silent += 1;
            continue;
        };
        // A blank disk has no id and no groups.
        if node != NodeId(0) {
            observed.reached.insert(node);
        }
        for group in groups {
            observed.groups.entry(PartitionId(group.partition)).or_default().push(report(node, group));
        }
    }
    observed.complete = observed.silent == 0;
    observed.silent_zones = observed.silent;
    observed
}

/// The same, by who knows which node is in which zone. A silent one of which that is not known may be anywhere.
pub fn located(observed: Observed, homes: &BTreeMap<NodeId, Zone>) -> Observed {
    let away = || homes.iter().filter(|(node, _)| !observed.reached.contains(node));
    let zones: BTreeSet<&Zone> = away().map(|(_, zone)| zone).collect();
    let silent_zones = zones.len() + observed.silent.saturating_sub(away().count());
    // One whose disk is blank has answered, though not by its name.
    let silent_zones = silent_zones.min(observed.silent);
    Observed { silent_zones, ..observed }
}

fn report(node: NodeId, group: GroupStatus) -> ReplicaReport {
    ReplicaReport {
        node,
        descriptor: decode(group.descriptor, PartitionDescriptor::decode),
        table: decode(group.table, TableDescriptor::decode),
        serving: group.serving,
        health: group.health,
        size: group.items.zip(group.bytes).map(|(items, bytes)| Size { items, bytes }),
    }
}

fn view(node: &Reached) -> NodeView {
    let status = &node.status;
    NodeView {
        id: NodeId(status.node),
        zone: Zone(status.zone.clone()),
        accepts: status.ready
            && status.accepts_replicas
            && status.free_bytes >= (status.total_bytes / FREE_SHARE).min(PARTITION_BYTES),
        replicas: status.groups,
        free_bytes: status.free_bytes,
    }
}

fn decode<T, E: std::fmt::Display>(bytes: Bytes, decode: impl Fn(Bytes) -> Result<T, E>) -> Option<T> {
    if bytes.is_empty() {
        return None;
    }
    let decoded = decode(bytes);
    if let Err(error) = &decoded {
        tracing::error!(%error, "a node reported a descriptor that cannot be read");
    }
    decoded.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn homes(of: &[(u64, &str)]) -> BTreeMap<NodeId, Zone> {
        of.iter().map(|(node, zone)| (NodeId(*node), Zone((*zone).to_owned()))).collect()
    }

    /// Of six nodes in three zones these have answered, and so many have not.
    fn hides(reached: &[u64], silent: usize, homes: &BTreeMap<NodeId, Zone>) -> bool {
        let reached = reached.iter().copied().map(NodeId).collect();
        located(Observed { reached, silent, silent_zones: silent, ..Observed::default() }, homes).may_hide_a_table()
    }

    #[test]
    fn silent_nodes_of_one_zone_hide_no_table() {
        let homes = homes(&[(1, "a"), (2, "a"), (3, "b"), (4, "b"), (5, "c"), (6, "c")]);
        assert!(!hides(&[1, 2, 3, 4, 5, 6], 0, &homes));
        assert!(!hides(&[3, 4, 5, 6], 2, &homes), "both are of a");
        assert!(hides(&[2, 4, 5, 6], 2, &homes), "one of a, and one of b");
        assert!(hides(&[], 6, &homes));
    }

    #[test]
    fn a_node_whose_disk_is_blank_is_not_silent() {
        let homes = homes(&[(1, "a"), (2, "b"), (3, "c")]);
        assert!(!hides(&[3], 0, &homes));
        assert!(!hides(&[3], 1, &homes));
        assert!(hides(&[3], 2, &homes));
    }

    #[test]
    fn a_silent_node_of_no_known_zone_may_be_of_any() {
        let homes = homes(&[(1, "a"), (2, "a"), (3, "b")]);
        assert!(hides(&[2, 3], 2, &homes), "one of a, and somebody");
        assert!(!hides(&[1, 2, 3], 1, &homes), "somebody alone");
        assert!(hides(&[1], 2, &BTreeMap::new()), "nobody is known");
        assert!(!hides(&[1], 1, &BTreeMap::new()));
    }
}
