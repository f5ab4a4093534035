//! The groups of this node as the other rooms may see them: for announcements, for the rule that ranges never overlap, and
//! for whoever asks how many there are. Workers write it, once per turn at most.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use model::{KeyRange, NodeId, PartitionDescriptor, PartitionId, ReplicaId, ReplicaKind, TableDescriptor, TableId};
use tokio::sync::watch;

use crate::items::Estimate;

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
    /// Measured now and then, where it leads.
    pub estimate: Estimate,
}

impl Summary {
    /// A log replica has none.
    pub fn has_items(&self) -> bool {
        let own = self.descriptor.as_ref().and_then(|descriptor| descriptor.replica(self.replica));
        own.is_none_or(|own| own.kind == ReplicaKind::Storage)
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
    state: Mutex<State>,
    version: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    groups: BTreeMap<PartitionId, Summary>,
    /// What each listener has not been told yet.
    listeners: Vec<BTreeSet<PartitionId>>,
}

/// One listener's place in the registry.
pub struct Listener {
    number: usize,
    pub changes: watch::Receiver<u64>,
}

impl Registry {
    pub fn put(&self, partition: PartitionId, summary: Summary) {
        self.change(partition, |groups| {
            groups.insert(partition, summary);
        });
    }

    pub fn remove(&self, partition: PartitionId) {
        self.change(partition, |groups| {
            groups.remove(&partition);
        });
    }

    /// Not told to anyone: it rides along with the next announcement.
    pub fn measured(&self, partition: PartitionId, estimate: Estimate) {
        if let Some(summary) = self.lock().groups.get_mut(&partition) {
            summary.estimate = estimate;
        }
    }

    fn change(&self, partition: PartitionId, change: impl FnOnce(&mut BTreeMap<PartitionId, Summary>)) {
        let mut state = self.lock();
        change(&mut state.groups);
        for listener in &mut state.listeners {
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

    /// Groups, and those of them that lead.
    pub fn counts(&self) -> (usize, usize) {
        let state = self.lock();
        (state.groups.len(), state.groups.values().filter(|summary| summary.leader == Some(summary.replica)).count())
    }

    /// The groups that lead, each with the term in which it does.
    pub fn led(&self) -> BTreeSet<(PartitionId, u64)> {
        let state = self.lock();
        let leads = state.groups.iter().filter(|(_, summary)| summary.leader == Some(summary.replica));
        leads.map(|(partition, summary)| (*partition, summary.term)).collect()
    }

    /// Another group of this table that holds a part of the range here.
    pub fn overlapping(&self, own: PartitionId, table: TableId, range: &KeyRange) -> Option<PartitionId> {
        let state = self.lock();
        let overlaps = |summary: &Summary| {
            summary.descriptor.as_ref().is_some_and(|d| d.table == table && d.range.intersect(range).is_some())
        };
        state.groups.iter().find(|(id, summary)| **id != own && overlaps(summary)).map(|(id, _)| *id)
    }

    /// Hears of every change from now on.
    pub fn listen(&self) -> Listener {
        let mut state = self.lock();
        state.listeners.push(BTreeSet::new());
        Listener { number: state.listeners.len() - 1, changes: self.version.subscribe() }
    }

    /// What changed since this listener asked last; none for a group that is gone.
    pub fn changed(&self, listener: &Listener) -> Vec<(PartitionId, Option<Summary>)> {
        let mut state = self.lock();
        let changed = std::mem::take(&mut state.listeners[listener.number]);
        changed.into_iter().map(|partition| (partition, state.groups.get(&partition).cloned())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the registry's lock panics")
    }
}
