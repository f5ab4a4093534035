//! What the nodes say, in the words of `plan` and `placement`. Observing never changes anything.

use bytes::Bytes;
use model::units::Consumption;
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
    (views(cluster, &reached), told(&mut reached))
}

fn views(cluster: &Cluster, reached: &[Option<Reached>]) -> Vec<NodeView> {
    let named = reached.iter().flatten().filter(|node| node.status.node != 0);
    let views = named.map(view);
    views.map(|view| NodeView { accepts: view.accepts && !cluster.is_closed(view.id), ..view }).collect()
}

/// Everything all nodes have.
pub async fn groups(cluster: &Cluster) -> Observed {
    told(&mut cluster.ask_all(true).await)
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
    observed
}

fn report(node: NodeId, group: GroupStatus) -> ReplicaReport {
    ReplicaReport {
        node,
        descriptor: decode(group.descriptor, PartitionDescriptor::decode),
        table: decode(group.table, TableDescriptor::decode),
        serving: group.serving,
        health: group.health,
        size: group.items.zip(group.bytes).map(|(items, bytes)| Size { items, bytes }),
        consumption: Consumption {
            read_milliunits: group.read_milliunits.unwrap_or_default(),
            write_milliunits: group.write_milliunits.unwrap_or_default(),
        },
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
