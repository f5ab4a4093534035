//! The directory of nodes, and who has announced everything since this server started.

use std::collections::{BTreeMap, BTreeSet};

use model::{NodeId, PartitionId, Zone};
use wire::memds::DirectoryEntry;

use super::Patience;

#[derive(Debug, Default)]
pub(super) struct Nodes {
    nodes: BTreeMap<NodeId, Node>,
    version: u64,
    complete: bool,
    /// Complete but for nodes that only directories name.
    complete_by_descriptors: bool,
}

#[derive(Debug, Default)]
struct Node {
    /// None while only descriptors have named it.
    entry: Option<DirectoryEntry>,
    zone: Zone,
    /// A descriptor names it as the place of a replica, or it has spoken itself.
    is_witnessed: bool,
    /// It has ended a full announcement.
    has_announced: bool,
    /// What it has reported since its full announcement began.
    full: Option<BTreeSet<PartitionId>>,
}

impl Nodes {
    /// By hearsay: the newest start number wins.
    pub fn hear(&mut self, entry: DirectoryEntry) {
        self.take(entry, |known, new| known.start_number < new.start_number);
    }

    /// The node's own word, which may correct its address without a restart. False if it comes from an older start.
    pub fn hear_itself(&mut self, entry: DirectoryEntry) -> bool {
        let id = NodeId(entry.node);
        let start_number = entry.start_number;
        self.take(entry, |known, new| known.start_number <= new.start_number);
        let node = self.nodes.entry(id).or_default();
        node.is_witnessed = true;
        node.entry.as_ref().is_some_and(|known| known.start_number == start_number)
    }

    fn take(&mut self, entry: DirectoryEntry, replaces: impl Fn(&DirectoryEntry, &DirectoryEntry) -> bool) {
        let node = self.nodes.entry(NodeId(entry.node)).or_default();
        let is_news = match &node.entry {
            None => true,
            Some(known) => replaces(known, &entry) && *known != entry,
        };
        if is_news {
            node.zone = Zone(entry.zone.clone());
            node.entry = Some(entry);
            self.version += 1;
        }
    }

    pub fn named(&mut self, id: NodeId, zone: &Zone) {
        let node = self.nodes.entry(id).or_default();
        node.is_witnessed = true;
        if node.entry.is_none() {
            node.zone = zone.clone();
        }
    }

    pub fn full_begins(&mut self, id: NodeId) {
        self.nodes.entry(id).or_default().full = Some(BTreeSet::new());
    }

    pub fn seen(&mut self, id: NodeId, partition: PartitionId) {
        if let Some(full) = self.nodes.get_mut(&id).and_then(|node| node.full.as_mut()) {
            full.insert(partition);
        }
    }

    pub fn not_seen(&mut self, id: NodeId, partition: PartitionId) {
        if let Some(full) = self.nodes.get_mut(&id).and_then(|node| node.full.as_mut()) {
            full.remove(&partition);
        }
    }

    /// What was reported since it began; none if it never did (its beginning went to another server, or was lost).
    pub fn full_ends(&mut self, id: NodeId) -> Option<BTreeSet<PartitionId>> {
        let node = self.nodes.get_mut(&id)?;
        let full = node.full.take()?;
        node.has_announced = true;
        self.complete |= self.at_most_one_zone_is_silent(|_| true);
        self.complete_by_descriptors |= self.at_most_one_zone_is_silent(|node| node.is_witnessed);
        Some(full)
    }

    fn at_most_one_zone_is_silent(&self, counts: impl Fn(&Node) -> bool) -> bool {
        let silent: BTreeSet<&Zone> =
            self.nodes.values().filter(|node| counts(node) && !node.has_announced).map(|node| &node.zone).collect();
        match silent.first() {
            None => true,
            Some(zone) if silent.len() == 1 => {
                self.nodes.values().any(|node| node.has_announced && node.zone != **zone)
            }
            Some(_) => false,
        }
    }

    pub fn is_complete(&self, patience: Patience) -> bool {
        match patience {
            Patience::Left => self.complete,
            Patience::Over => self.complete || self.complete_by_descriptors,
        }
    }

    pub fn entry(&self, id: NodeId) -> Option<&DirectoryEntry> {
        self.nodes.get(&id)?.entry.as_ref()
    }

    pub fn directory(&self) -> Vec<DirectoryEntry> {
        self.nodes.values().filter_map(|node| node.entry.clone()).collect()
    }

    pub fn version(&self) -> u64 {
        self.version
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }
}
