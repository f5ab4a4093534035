//! Partitions by id, and by table and range in the trie.
//!
//! The ranges in the trie never overlap within a table: a newer epoch displaces what it overlaps, and what a newer epoch
//! overlaps is not taken in. (Overlap means that one is an ancestor of the other before a split, and every descendant's
//! epoch is above its ancestor's.)

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use model::{NodeId, PartitionDescriptor, PartitionId, ReplicaDescriptor, ReplicaKind, ReplicaRole, Size, TableId};

use crate::trie::{Digest, Trie};

/// Voters with items that a partition is to have.
const COPIES: usize = 3;

#[derive(Debug, Default)]
pub(super) struct Partitions {
    by_id: BTreeMap<PartitionId, Partition>,
    /// Keyed by table id, then the range's start.
    ranges: Trie<Placed>,
}

#[derive(Debug)]
pub(super) struct Partition {
    pub descriptor: PartitionDescriptor,
    pub encoded: Bytes,
    /// 0 for unknown.
    pub leader: NodeId,
    pub term: u64,
    /// As a leader has last told it; whoever leads next has to count first.
    pub size: Option<Size>,
    /// The nodes that say they have a replica.
    reporters: BTreeSet<NodeId>,
}

/// What one node says of one partition.
pub(super) struct Report {
    pub descriptor: PartitionDescriptor,
    pub encoded: Bytes,
    pub leader: NodeId,
    pub term: u64,
    pub size: Option<Size>,
}

#[derive(Clone, Copy, Debug)]
struct Placed {
    id: PartitionId,
    epoch: u64,
    leader: NodeId,
    term: u64,
}

impl Digest for Placed {
    fn digest(&self) -> u64 {
        let Placed { id, epoch, leader, term } = self;
        id.0 ^ epoch.rotate_left(16) ^ leader.0.rotate_left(32) ^ term.rotate_left(48)
    }
}

impl Partition {
    fn placed(&self) -> Placed {
        Placed { id: self.descriptor.id, epoch: self.descriptor.epoch, leader: self.leader, term: self.term }
    }

    /// Whether anything changed that routers see beside the descriptor.
    fn hear_leader(&mut self, leader: NodeId, term: u64) -> bool {
        let is_newer = term > self.term || (term == self.term && self.leader == NodeId(0) && leader != NodeId(0));
        if is_newer {
            self.leader = leader;
            self.term = term;
        }
        is_newer
    }
}

impl Partitions {
    pub fn leaderless(&self) -> usize {
        self.by_id.values().filter(|partition| partition.leader == NodeId(0)).count()
    }

    pub fn under_replicated(&self) -> usize {
        let has_items =
            |replica: &&ReplicaDescriptor| replica.role == ReplicaRole::Voter && replica.kind == ReplicaKind::Storage;
        let copies = |partition: &&Partition| partition.descriptor.replicas.iter().filter(has_items).count();
        self.by_id.values().filter(|partition| copies(partition) < COPIES).count()
    }

    pub fn report(&mut self, from: NodeId, report: Report) {
        let Report { descriptor, encoded, leader, term, size } = report;
        let id = descriptor.id;
        let mut changed = self.take_descriptor(descriptor, encoded);
        let Some(partition) = self.by_id.get_mut(&id) else {
            return;
        };
        partition.reporters.insert(from);
        changed |= partition.hear_leader(leader, term);
        if leader == from && term >= partition.term {
            partition.size = size.or(partition.size);
        }
        if changed {
            let placed = partition.placed();
            let key = trie_key(partition.descriptor.table, &partition.descriptor.range.start);
            self.ranges.insert(&key, placed);
        }
    }

    /// Whether it was news. The caller places it in the trie.
    fn take_descriptor(&mut self, descriptor: PartitionDescriptor, encoded: Bytes) -> bool {
        let known_epoch = self.by_id.get(&descriptor.id).map(|known| known.descriptor.epoch);
        if known_epoch.is_some_and(|epoch| epoch >= descriptor.epoch) {
            return false;
        }
        let overlapped = self.overlapped_by(&descriptor);
        if overlapped.iter().any(|other| self.by_id[other].descriptor.epoch >= descriptor.epoch) {
            return false;
        }
        for other in overlapped {
            self.remove(other);
        }
        match self.by_id.get_mut(&descriptor.id) {
            Some(known) => {
                let old_start = trie_key(known.descriptor.table, &known.descriptor.range.start);
                known.descriptor = descriptor;
                known.encoded = encoded;
                self.ranges.remove(&old_start);
            }
            None => {
                let partition = Partition {
                    encoded,
                    leader: NodeId(0),
                    term: 0,
                    size: None,
                    reporters: BTreeSet::new(),
                    descriptor,
                };
                self.by_id.insert(partition.descriptor.id, partition);
            }
        }
        true
    }

    /// The other partitions whose ranges meet this one's.
    fn overlapped_by(&self, descriptor: &PartitionDescriptor) -> Vec<PartitionId> {
        let start = trie_key(descriptor.table, &descriptor.range.start);
        let table = descriptor.table.0.to_be_bytes();
        let before = self.ranges.floor_value(&start);
        let within = self
            .ranges
            .between(&start, None)
            .take_while(|(key, _)| key.starts_with(&table))
            .take_while(|(key, _)| descriptor.range.end.as_ref().is_none_or(|end| key[table.len()..] < end[..]))
            .map(|(_, placed)| placed);
        let mut found: Vec<PartitionId> = before
            .into_iter()
            .chain(within)
            .map(|placed| placed.id)
            .filter(|id| *id != descriptor.id)
            .filter(|id| {
                let other = &self.by_id[id].descriptor;
                other.table == descriptor.table && other.range.intersect(&descriptor.range).is_some()
            })
            .collect();
        found.dedup();
        found
    }

    /// The table, if this was the last node that had a replica.
    pub fn withdraw(&mut self, from: NodeId, id: PartitionId) -> Option<TableId> {
        let partition = self.by_id.get_mut(&id)?;
        partition.reporters.remove(&from);
        if !partition.reporters.is_empty() {
            return None;
        }
        let table = partition.descriptor.table;
        self.remove(id);
        Some(table)
    }

    fn remove(&mut self, id: PartitionId) {
        if let Some(partition) = self.by_id.remove(&id) {
            self.ranges.remove(&trie_key(partition.descriptor.table, &partition.descriptor.range.start));
        }
    }

    pub fn remove_table(&mut self, table: TableId) {
        let ids: Vec<PartitionId> = self.of(table).map(|partition| partition.descriptor.id).collect();
        for id in ids {
            self.remove(id);
        }
    }

    pub fn reported_by(&self, node: NodeId) -> Vec<PartitionId> {
        let reported = |partition: &&Partition| partition.reporters.contains(&node);
        self.by_id.values().filter(reported).map(|partition| partition.descriptor.id).collect()
    }

    pub fn any_of(&self, table: TableId) -> bool {
        self.of(table).next().is_some()
    }

    /// In the order of their ranges.
    pub fn of(&self, table: TableId) -> impl Iterator<Item = &Partition> {
        self.ranges.prefix(&table.0.to_be_bytes()).map(|(_, placed)| &self.by_id[&placed.id])
    }

    /// The partition that holds the key; `scratch` is reused memory.
    pub fn at(&self, table: TableId, key: &[u8], scratch: &mut Vec<u8>) -> Option<&Partition> {
        scratch.clear();
        scratch.extend_from_slice(&table.0.to_be_bytes());
        scratch.extend_from_slice(key);
        let partition = self.by_id.get(&self.ranges.floor_value(scratch)?.id)?;
        let holds = partition.descriptor.table == table && partition.descriptor.range.contains(key);
        holds.then_some(partition)
    }

    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    pub fn hash(&self) -> u64 {
        self.ranges.hash()
    }
}

fn trie_key(table: TableId, start: &[u8]) -> Vec<u8> {
    let mut key = table.0.to_be_bytes().to_vec();
    key.extend_from_slice(start);
    key
}
