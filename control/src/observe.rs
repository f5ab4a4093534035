//! What the nodes say, in the words of `plan` and `placement`. Observing never changes anything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

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
    let (reached, observed) = everything(cluster).await;
    (views(cluster, &reached), observed)
}

fn views(cluster: &Cluster, reached: &[Option<Reached>]) -> Vec<NodeView> {
    let named = reached.iter().flatten().filter(|node| node.status.node != 0);
    let views = named.map(view);
    views.map(|view| NodeView { accepts: view.accepts && !cluster.is_closed(view.id), ..view }).collect()
}

/// Everything all nodes have.
pub async fn groups(cluster: &Cluster) -> Observed {
    everything(cluster).await.1
}

/// What all nodes say of themselves, and everything they have, which is taken out of their answers.
pub async fn everything(cluster: &Cluster) -> (Vec<Option<Reached>>, Observed) {
    let mut told = Told::default();
    let reached = cluster.ask_each(true, |answer| told.hear(answer)).await;
    (reached, located(told.observed(), &cluster.homes()))
}

/// What the nodes told that were asked for their groups.
pub fn told(answers: &mut [Option<Reached>]) -> Observed {
    let mut told = Told::default();
    answers.iter_mut().for_each(|answer| told.hear(answer));
    told.observed()
}

/// What was told so far.
#[derive(Default)]
struct Told {
    observed: Observed,
    /// Somebody answered, if only a blank disk: of nobody known nothing is known.
    heard: bool,
    partitions: Alike<PartitionDescriptor>,
    tables: Alike<TableDescriptor>,
}

impl Told {
    /// Groups are taken out of the answer: its bytes are kept by nothing afterwards.
    fn hear(&mut self, answer: &mut Option<Reached>) {
        let told = answer.as_mut().and_then(|node| Some((NodeId(node.status.node), node.groups.take()?)));
        let Some((node, groups)) = told else {
            self.observed.silent += 1;
            return;
        };
        self.heard = true;
        // A blank disk has no id and no groups.
        if node != NodeId(0) {
            self.observed.reached.insert(node);
        }
        for group in groups {
            let (partition, report) = (PartitionId(group.partition), self.report(node, group));
            self.observed.groups.entry(partition).or_default().push(report);
        }
    }

    fn report(&mut self, node: NodeId, group: GroupStatus) -> ReplicaReport {
        ReplicaReport {
            node,
            descriptor: self.partitions.read(group.descriptor, PartitionDescriptor::decode),
            table: self.tables.read(group.table, TableDescriptor::decode),
            serving: group.serving,
            health: group.health,
            size: group.items.zip(group.bytes).map(|(items, bytes)| Size { items, bytes }),
            consumption: Consumption {
                read_milliunits: group.read_milliunits.unwrap_or_default(),
                write_milliunits: group.write_milliunits.unwrap_or_default(),
            },
        }
    }

    /// The same, whoever answered first.
    fn observed(self) -> Observed {
        let Told { mut observed, heard, partitions: _, tables: _ } = self;
        observed.groups.values_mut().for_each(|reports| reports.sort_by_key(|report| report.node));
        observed.complete = heard && observed.silent == 0;
        observed.silent_zones = observed.silent;
        observed
    }
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

/// What many replicas tell in the same bytes is read once and held once.
struct Alike<T> {
    /// None for what cannot be read.
    read: BTreeMap<Bytes, Option<Arc<T>>>,
}

impl<T> Default for Alike<T> {
    fn default() -> Alike<T> {
        Alike { read: BTreeMap::new() }
    }
}

impl<T> Alike<T> {
    /// From a copy: what is read may hold on to its bytes, and these are part of everything that a node told.
    fn read<E: std::fmt::Display>(&mut self, told: Bytes, decode: impl Fn(Bytes) -> Result<T, E>) -> Option<Arc<T>> {
        if let Some(known) = self.read.get(&told) {
            return known.clone();
        }
        let own = Bytes::copy_from_slice(&told);
        let read = self::decode(own.clone(), decode).map(Arc::new);
        self.read.insert(own, read.clone());
        read
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
    use model::TableStatus;
    use wire::admin::NodeStatus;

    use super::*;
    use crate::plan::tests::{partition, table};

    fn answer(node: u64, groups: Vec<GroupStatus>) -> Option<Reached> {
        let status = NodeStatus { node, ..NodeStatus::default() };
        Some(Reached { address: String::new(), status, groups: Some(groups) })
    }

    fn group(id: u64, table: &TableDescriptor) -> GroupStatus {
        let descriptor = partition(id, 7).encode();
        GroupStatus { partition: id, descriptor, table: table.encode(), ..GroupStatus::default() }
    }

    #[test]
    fn what_replicas_tell_alike_is_held_once_and_what_differs_is_not_mixed_up() {
        let older = table("music");
        let newer = TableDescriptor { version: older.version + 1, status: TableStatus::Updating, ..older.clone() };
        let both = |table| vec![group(3, table), group(4, table)];
        let mut answers = [answer(33, both(&older)), answer(11, both(&older)), answer(22, both(&newer)), None];
        let observed = told(&mut answers);
        assert_eq!((observed.silent, observed.complete), (1, false));
        assert!(answers.iter().flatten().all(|answer| answer.groups.is_none()));
        let [first, second] = [3, 4].map(|id| &observed.groups[&PartitionId(id)]);
        assert_eq!(first.iter().map(|report| report.node.0).collect::<Vec<_>>(), [11, 22, 33]);
        let tables = |reports: &[ReplicaReport]| reports.iter().map(|r| r.table.clone().unwrap()).collect::<Vec<_>>();
        let (of_first, of_second) = (tables(first), tables(second));
        assert_eq!(
            of_first.iter().map(|table| table.version).collect::<Vec<_>>(),
            [older.version, newer.version, older.version]
        );
        assert!(Arc::ptr_eq(&of_first[0], &of_first[2]) && Arc::ptr_eq(&of_first[0], &of_second[0]));
        let descriptors =
            |reports: &[ReplicaReport]| reports.iter().map(|r| r.descriptor.clone().unwrap()).collect::<Vec<_>>();
        let (of_first, of_second) = (descriptors(first), descriptors(second));
        assert!(of_first.iter().all(|other| Arc::ptr_eq(&of_first[0], other)));
        assert_eq!((&*of_first[0], &*of_second[0]), (&partition(3, 7), &partition(4, 7)));
    }

    /// As an operator that has just begun, and has not seen a Pod yet: else it would take every table's groups for gone.
    #[test]
    fn nobody_asked_is_not_everything_told() {
        assert!(!told(&mut []).complete);
        assert!(!told(&mut [None]).complete);
        assert!(told(&mut [answer(0, Vec::new())]).complete, "a blank disk has nothing, and says so");
    }

    #[test]
    fn what_cannot_be_read_is_none() {
        let broken = GroupStatus { partition: 3, table: Bytes::from_static(&[255]), ..GroupStatus::default() };
        let observed = told(&mut [answer(11, vec![broken.clone()]), answer(22, vec![broken])]);
        let reports = &observed.groups[&PartitionId(3)];
        assert!(reports.iter().all(|report| report.table.is_none() && report.descriptor.is_none()));
        assert_eq!(reports.len(), 2);
    }

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
