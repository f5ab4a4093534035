//! The groups of this node as the other rooms may see them: for announcements, for the rule that ranges never overlap, and
//! for whoever asks how many there are. Workers write it, once per turn at most.
//!
//! A range that no group here has yet, and that one is about to have, is claimed: by a birth, by a snapshot whose files have
//! arrived, by the child of a split from the moment its parent shrinks until it is told here itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use model::{KeyRange, NodeId, PartitionDescriptor, PartitionId, ReplicaId, ReplicaKind, TableDescriptor, TableId};
use tokio::sync::watch;

/// One group, as its replica here last told.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    pub replica: ReplicaId,
    /// None before the first snapshot.
    pub descriptor: Option<Arc<PartitionDescriptor>>,
    pub table: Option<Arc<TableDescriptor>>,
    pub leader: Option<ReplicaId>,
    pub term: u64,
    /// It leads and serves.
    pub serving: bool,
    /// Its items are whole: it neither installs a snapshot nor retires.
    pub readable: bool,
}

impl Summary {
    /// A log replica has none.
    pub fn has_items(&self) -> bool {
        let own = self.descriptor.as_ref().and_then(|descriptor| descriptor.replica(self.replica));
        own.is_none_or(|own| own.kind == ReplicaKind::Storage)
    }

    pub fn leads(&self) -> bool {
        self.leader == Some(self.replica)
    }

    /// The table, once the group has a descriptor.
    pub fn table_id(&self) -> Option<TableId> {
        self.descriptor.as_ref().map(|descriptor| descriptor.table)
    }

    /// The node of the leader, where both are known.
    pub fn leader_node(&self) -> Option<NodeId> {
        let descriptor = self.descriptor.as_ref()?;
        descriptor.replica(self.leader?).map(|replica| replica.node)
    }
}

/// What a read that waits for a pool was admitted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admitted {
    pub partition: PartitionId,
    pub replica: ReplicaId,
    pub epoch: u64,
}

/// All groups of the node.
#[derive(Default)]
pub struct Registry {
    state: Arc<Mutex<State>>,
    version: watch::Sender<u64>,
}

/// How many there are; kept with every change, since every tick asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub groups: usize,
    pub leaders: usize,
    /// Those without items.
    pub log_replicas: usize,
}

#[derive(Default)]
struct State {
    groups: BTreeMap<PartitionId, Summary>,
    counts: Counts,
    /// Groups that each node has a replica of beside the one here, this node too.
    on_nodes: BTreeMap<NodeId, usize>,
    /// Ranges of groups that are about to have them, by the claim's number.
    claims: BTreeMap<u64, Claimed>,
    next_claim: u64,
    /// What each listener has not been told yet, by its number.
    listeners: BTreeMap<u64, BTreeSet<PartitionId>>,
    next_listener: u64,
}

struct Claimed {
    partition: PartitionId,
    table: TableId,
    range: KeyRange,
}

/// Until it is dropped, nobody else begins to have any of its range.
pub struct Claim {
    state: Arc<Mutex<State>>,
    number: u64,
}

impl Drop for Claim {
    fn drop(&mut self) {
        lock(&self.state).claims.remove(&self.number);
    }
}

/// One listener's place in the registry.
pub struct Listener {
    number: u64,
    pub changes: watch::Receiver<u64>,
}

impl Registry {
    pub fn put(&self, partition: PartitionId, summary: Summary) {
        self.change(partition, Some(summary));
    }

    pub fn remove(&self, partition: PartitionId) {
        self.change(partition, None);
    }

    fn change(&self, partition: PartitionId, summary: Option<Summary>) {
        let mut state = self.lock();
        if let Some(summary) = &summary {
            state.count(summary);
        }
        let before = match summary {
            Some(summary) => state.groups.insert(partition, summary),
            None => state.groups.remove(&partition),
        };
        if let Some(before) = before {
            state.discount(&before);
        }
        for listener in state.listeners.values_mut() {
            listener.insert(partition);
        }
        drop(state);
        self.version.send_modify(|version| *version += 1);
    }

    pub fn get(&self, partition: PartitionId) -> Option<Summary> {
        self.lock().groups.get(&partition).cloned()
    }

    pub fn all(&self) -> Vec<(PartitionId, Summary)> {
        self.lock().groups.iter().map(|(partition, summary)| (*partition, summary.clone())).collect()
    }

    /// Whether what was read meanwhile is that replica's: a group is unreadable here before its items are touched.
    pub fn still_admits(&self, admitted: Admitted) -> bool {
        let Admitted { partition, replica, epoch } = admitted;
        self.lock().groups.get(&partition).is_some_and(|summary| {
            let same_epoch = summary.descriptor.as_ref().is_some_and(|descriptor| descriptor.epoch == epoch);
            summary.readable && summary.has_items() && summary.replica == replica && same_epoch
        })
    }

    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// Whether that node has a replica of a group that has one here.
    pub fn shares(&self, node: NodeId) -> bool {
        self.lock().on_nodes.contains_key(&node)
    }

    /// The groups that lead, each with the term in which it does.
    pub fn led(&self) -> BTreeSet<(PartitionId, u64)> {
        let state = self.lock();
        let leads = state.groups.iter().filter(|(_, summary)| summary.leads());
        leads.map(|(partition, summary)| (*partition, summary.term)).collect()
    }

    /// Whether the group still leads in that term.
    pub fn leads(&self, partition: PartitionId, term: u64) -> bool {
        self.lock().groups.get(&partition).is_some_and(|summary| summary.leads() && summary.term == term)
    }

    /// Another group of this table that holds a part of the range here, or whoever has claimed a part.
    pub fn overlapping(&self, own: PartitionId, table: TableId, range: &KeyRange) -> Option<PartitionId> {
        self.lock().overlapping(own, table, range)
    }

    /// For a group that is about to have that range; or who has a part of it.
    pub fn claim(&self, descriptor: &PartitionDescriptor) -> Result<Claim, PartitionId> {
        let PartitionDescriptor { id, table, range, .. } = descriptor;
        let mut state = self.lock();
        match state.overlapping(*id, *table, range) {
            Some(other) => Err(other),
            None => Ok(self.add_claim(&mut state, descriptor)),
        }
    }

    /// For the child of a split, while its parent still stands here with the whole range.
    pub fn claim_for_child(&self, descriptor: &PartitionDescriptor) -> Claim {
        self.add_claim(&mut self.lock(), descriptor)
    }

    fn add_claim(&self, state: &mut State, descriptor: &PartitionDescriptor) -> Claim {
        let PartitionDescriptor { id, table, range, .. } = descriptor;
        let number = state.next_claim;
        state.next_claim += 1;
        state.claims.insert(number, Claimed { partition: *id, table: *table, range: range.clone() });
        Claim { state: Arc::clone(&self.state), number }
    }

    /// Hears of every change from now on.
    pub fn listen(&self) -> Listener {
        let mut state = self.lock();
        let number = state.next_listener;
        state.next_listener += 1;
        state.listeners.insert(number, BTreeSet::new());
        Listener { number, changes: self.version.subscribe() }
    }

    /// It asks no more: nothing gathers for it.
    pub fn leave(&self, listener: &Listener) {
        self.lock().listeners.remove(&listener.number);
    }

    /// What changed since this listener asked last; none for a group that is gone.
    pub fn changed(&self, listener: &Listener) -> Vec<(PartitionId, Option<Summary>)> {
        let mut state = self.lock();
        let changed = state.listeners.get_mut(&listener.number).map(std::mem::take).unwrap_or_default();
        changed.into_iter().map(|partition| (partition, state.groups.get(&partition).cloned())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no holder of the registry's lock panics")
}

impl State {
    fn overlapping(&self, own: PartitionId, table: TableId, range: &KeyRange) -> Option<PartitionId> {
        let overlaps = |summary: &Summary| {
            summary.descriptor.as_ref().is_some_and(|d| d.table == table && d.range.intersect(range).is_some())
        };
        let group = self.groups.iter().find(|(id, summary)| **id != own && overlaps(summary)).map(|(id, _)| *id);
        let claimed = |claim: &&Claimed| claim.table == table && claim.range.intersect(range).is_some();
        group.or_else(|| self.claims.values().find(claimed).map(|claim| claim.partition))
    }

    fn count(&mut self, summary: &Summary) {
        self.counts.groups += 1;
        self.counts.leaders += usize::from(summary.leads());
        self.counts.log_replicas += usize::from(!summary.has_items());
        for replica in summary.descriptor.iter().flat_map(|descriptor| &descriptor.replicas) {
            *self.on_nodes.entry(replica.node).or_default() += 1;
        }
    }

    /// The opposite.
    fn discount(&mut self, summary: &Summary) {
        self.counts.groups -= 1;
        self.counts.leaders -= usize::from(summary.leads());
        self.counts.log_replicas -= usize::from(!summary.has_items());
        for replica in summary.descriptor.iter().flat_map(|descriptor| &descriptor.replicas) {
            if let Some(groups) = self.on_nodes.get_mut(&replica.node) {
                *groups -= 1;
                if *groups == 0 {
                    self.on_nodes.remove(&replica.node);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use model::{ReplicaDescriptor, ReplicaRole, Zone};

    use super::*;

    fn summary(nodes: &[u64]) -> Summary {
        let places = nodes.iter().map(|node| (NodeId(*node), Zone(format!("zone-{node}"))));
        let descriptor = PartitionDescriptor::birth(PartitionId(7), TableId(8), KeyRange::ALL, places);
        Summary { replica: ReplicaId(1), descriptor: Some(Arc::new(descriptor)), ..Summary::default() }
    }

    #[test]
    fn counts_follow_every_change() {
        let registry = Registry::default();
        registry.put(PartitionId(7), summary(&[1, 2, 3]));
        registry.put(PartitionId(9), Summary { leader: Some(ReplicaId(1)), term: 6, ..summary(&[1, 2, 4]) });
        assert_eq!(registry.counts(), Counts { groups: 2, leaders: 1, log_replicas: 0 });
        assert!([1, 2, 3, 4].map(|node| registry.shares(NodeId(node))).iter().all(|shares| *shares));
        assert!(registry.leads(PartitionId(9), 6) && !registry.leads(PartitionId(9), 5));

        let mut moved = summary(&[1, 2, 5]);
        let own = ReplicaDescriptor {
            id: ReplicaId(1),
            node: NodeId(1),
            zone: Zone("zone-1".to_owned()),
            role: ReplicaRole::Voter,
            kind: ReplicaKind::Log,
        };
        Arc::make_mut(moved.descriptor.as_mut().unwrap()).replicas[0] = own;
        registry.put(PartitionId(9), moved);
        assert_eq!(registry.counts(), Counts { groups: 2, leaders: 0, log_replicas: 1 });
        assert!(!registry.shares(NodeId(4)) && registry.shares(NodeId(5)));

        registry.remove(PartitionId(7));
        registry.remove(PartitionId(7));
        assert_eq!(registry.counts(), Counts { groups: 1, leaders: 0, log_replicas: 1 });
        assert!(!registry.shares(NodeId(3)) && registry.shares(NodeId(2)));
        registry.remove(PartitionId(9));
        assert_eq!(registry.counts(), Counts::default());
        assert!(!registry.shares(NodeId(1)));
    }

    #[test]
    fn each_listener_hears_what_changed_until_it_leaves() {
        let registry = Registry::default();
        let (first, second) = (registry.listen(), registry.listen());
        registry.put(PartitionId(7), summary(&[1, 2, 3]));
        let heard = |listener: &Listener| registry.changed(listener).into_iter().map(|(id, _)| id).collect::<Vec<_>>();
        assert_eq!((heard(&first), heard(&first)), (vec![PartitionId(7)], vec![]));
        registry.leave(&first);
        registry.remove(PartitionId(7));
        assert_eq!((heard(&first), heard(&second)), (vec![], vec![PartitionId(7)]));
        assert_ne!(registry.listen().number, second.number);
    }

    fn descriptor(id: u64, start: &'static str, end: Option<&'static str>) -> PartitionDescriptor {
        let range = KeyRange { start: Bytes::from(start), end: end.map(Bytes::from) };
        let places = (1..=3).map(|number| (NodeId(number), Zone(format!("zone-{number}"))));
        PartitionDescriptor::birth(PartitionId(id), TableId(8), range, places)
    }

    #[test]
    fn a_claimed_range_is_nobody_elses_until_the_claim_is_dropped() {
        let registry = Registry::default();
        let claim = registry.claim(&descriptor(1, "m", None)).ok().unwrap();
        assert_eq!(registry.claim(&descriptor(2, "a", Some("n"))).err(), Some(PartitionId(1)));
        assert!(registry.claim(&descriptor(2, "a", Some("m"))).is_ok());
        assert_eq!(registry.claim(&descriptor(1, "x", None)).err(), Some(PartitionId(1)), "not even its own again");
        drop(claim);
        assert!(registry.claim(&descriptor(2, "a", Some("n"))).is_ok());
    }

    #[test]
    fn a_child_claims_what_its_parent_still_has() {
        let registry = Registry::default();
        let put = |descriptor: PartitionDescriptor| {
            let summary = Summary { descriptor: Some(Arc::new(descriptor.clone())), ..Summary::default() };
            registry.put(descriptor.id, summary);
        };
        put(descriptor(1, "", None));
        let (left, right) = (descriptor(1, "", Some("m")), descriptor(2, "m", None));
        let third = descriptor(3, "x", None);
        assert_eq!(registry.claim(&third).err(), Some(PartitionId(1)));
        let claim = registry.claim_for_child(&right);
        put(left);
        assert_eq!(registry.claim(&third).err(), Some(PartitionId(2)));
        put(right);
        drop(claim);
        assert_eq!(registry.claim(&third).err(), Some(PartitionId(2)));
    }
}
