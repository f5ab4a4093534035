//! The partition map: tables, partitions and nodes, as nodes and the control service told them.
//!
//! Plain data under one owner: no I/O, no clock, no lock. Everything is versioned (tables by version, partitions by epoch,
//! leaders by term, nodes by start number) and older never replaces newer, so announcements may arrive in any order, late
//! or twice.

mod nodes;
mod partitions;
mod tables;

use bytes::Bytes;
use model::codec::DecodeError;
use model::{NodeId, PartitionDescriptor, PartitionId, Size, TableDescriptor, TableId};
use wire::memds::{
    Announcement, DirectoryEntry, ListPartitionsAnswer, ListTablesAnswer, Lookup, LookupAnswer, LookupAnswerFrame,
    LookupFrame, PartitionReport,
};

use nodes::Nodes;
use partitions::{Partitions, Report};
use tables::Tables;

#[derive(Debug, Default)]
pub struct Map {
    tables: Tables,
    partitions: Partitions,
    nodes: Nodes,
}

/// Whether the server has waited long enough for nodes of which it knows by hearsay only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    Left,
    Over,
}

/// How much the map holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    pub tables: usize,
    pub partitions: usize,
    pub nodes: usize,
}

impl Map {
    /// Takes in what a node told. What cannot be decoded is left out and returned; the rest counts.
    pub fn announce(&mut self, announcement: Announcement) -> Vec<DecodeError> {
        let Announcement { node, partitions, tables, gone, full_begins, full_ends, directory } = announcement;
        let mut malformed = Vec::new();
        for entry in directory {
            self.nodes.hear(entry);
        }
        for table in tables {
            malformed.extend(self.put_table(table).err());
        }
        let Some(node) = node else {
            // Without a sender, reports have no owner: only what stands for itself is taken.
            return malformed;
        };
        let from = NodeId(node.node);
        if !self.nodes.hear_itself(node) {
            return malformed;
        }
        if full_begins {
            self.nodes.full_begins(from);
        }
        for report in partitions {
            malformed.extend(self.report(from, report).err());
        }
        for id in gone.into_iter().map(PartitionId) {
            self.nodes.not_seen(from, id);
            self.withdraw(from, id);
        }
        if full_ends && let Some(seen) = self.nodes.full_ends(from) {
            for id in self.partitions.reported_by(from) {
                if !seen.contains(&id) {
                    self.withdraw(from, id);
                }
            }
        }
        malformed
    }

    fn report(&mut self, from: NodeId, report: PartitionReport) -> Result<(), DecodeError> {
        let PartitionReport { descriptor: encoded, leader, term, items, bytes } = report;
        // A copy of its own: announced bytes hold their whole frame in memory.
        let encoded = Bytes::copy_from_slice(&encoded);
        let descriptor = PartitionDescriptor::decode(encoded.clone())?;
        // It would meet no other range, and yet stand in the place of one.
        if descriptor.range.end.as_ref().is_some_and(|end| *end <= descriptor.range.start) {
            return Err(DecodeError::Malformed("partition: a range of nothing"));
        }
        self.nodes.seen(from, descriptor.id);
        for replica in &descriptor.replicas {
            self.nodes.named(replica.node, &replica.zone);
        }
        if self.tables.is_removed(descriptor.table) {
            return Ok(());
        }
        let size = items.zip(bytes).map(|(items, bytes)| Size { items, bytes });
        self.partitions.report(from, Report { descriptor, encoded, leader: NodeId(leader), term, size });
        Ok(())
    }

    fn withdraw(&mut self, from: NodeId, id: PartitionId) {
        if let Some(table) = self.partitions.withdraw(from, id)
            && !self.partitions.any_of(table)
        {
            // The last group of a table that is being deleted is gone; any other table stays until it is removed.
            self.tables.forget_if_deleting(table);
        }
    }

    pub fn put_table(&mut self, encoded: Bytes) -> Result<(), DecodeError> {
        let encoded = Bytes::copy_from_slice(&encoded);
        let descriptor = TableDescriptor::decode(encoded.clone())?;
        self.tables.put(descriptor, encoded);
        Ok(())
    }

    /// For good: what is announced later of a table of this id is not taken in.
    pub fn remove_table(&mut self, table: TableId) {
        self.tables.remove(table);
        self.partitions.remove_table(table);
    }

    /// Whether this server has heard of everything: what it does not know then does not exist.
    ///
    /// There is no static list of nodes to wait for. A server is complete once at least one node has ended a full
    /// announcement, and every node of which it has heard (in a directory, or as the place of a replica) has ended one,
    /// but for the nodes of a single zone: replicas of a partition live in different zones, so what a silent zone knows,
    /// others have told too. When patience is over, nodes that only directories name are not waited for: they may have been
    /// gone for years. Once complete, a server stays so.
    pub fn is_complete(&self, patience: Patience) -> bool {
        self.nodes.is_complete(patience)
    }

    /// One answer per look-up, in order.
    pub fn lookup(&self, frame: LookupFrame, patience: Patience) -> LookupAnswerFrame {
        let complete = self.is_complete(patience);
        let mut named = Vec::new();
        let mut scratch = Vec::new();
        let answers =
            frame.lookups.into_iter().map(|lookup| self.answer(lookup, complete, &mut named, &mut scratch)).collect();
        LookupAnswerFrame { answers, nodes: self.entries(named) }
    }

    fn answer(&self, lookup: Lookup, complete: bool, named: &mut Vec<NodeId>, scratch: &mut Vec<u8>) -> LookupAnswer {
        let mut answer = LookupAnswer { id: lookup.id, complete, ..LookupAnswer::default() };
        let Some(table) = self.tables.by_name(&lookup.table) else {
            return answer;
        };
        answer.table = Some(table.encoded.clone());
        let partition = lookup.key.and_then(|key| self.partitions.at(table.descriptor.id, &key, scratch));
        if let Some(partition) = partition {
            answer.partition = Some(partition.encoded.clone());
            answer.leader = partition.leader.0;
            answer.term = partition.term;
            named.extend(partition.descriptor.replicas.iter().map(|replica| replica.node));
        }
        answer
    }

    /// Table names in order after `exclusive_start`; a limit of 0 is none.
    pub fn list_tables(&self, exclusive_start: &str, limit: u32, patience: Patience) -> ListTablesAnswer {
        let limit = if limit == 0 { usize::MAX } else { usize::try_from(limit).unwrap_or(usize::MAX) };
        let mut names = self.tables.names_after(exclusive_start);
        let page: Vec<String> = names.by_ref().take(limit).collect();
        ListTablesAnswer { names: page, more: names.next().is_some(), complete: self.is_complete(patience) }
    }

    pub fn list_partitions(&self, table: TableId, patience: Patience) -> ListPartitionsAnswer {
        let mut named = Vec::new();
        let partitions = self
            .partitions
            .of(table)
            .map(|partition| {
                named.extend(partition.descriptor.replicas.iter().map(|replica| replica.node));
                PartitionReport {
                    descriptor: partition.encoded.clone(),
                    leader: partition.leader.0,
                    term: partition.term,
                    items: partition.size.map(|size| size.items),
                    bytes: partition.size.map(|size| size.bytes),
                }
            })
            .collect();
        ListPartitionsAnswer { partitions, nodes: self.entries(named), complete: self.is_complete(patience) }
    }

    /// Everyone this server knows.
    pub fn directory(&self) -> Vec<DirectoryEntry> {
        self.nodes.directory()
    }

    /// Rises whenever [`Map::directory`] answers something new.
    pub fn directory_version(&self) -> u64 {
        self.nodes.version()
    }

    /// Partitions of which nobody has said who leads.
    pub fn leaderless(&self) -> usize {
        self.partitions.leaderless()
    }

    /// Partitions that fewer than three voters with items have.
    pub fn under_replicated(&self) -> usize {
        self.partitions.under_replicated()
    }

    pub fn counts(&self) -> Counts {
        Counts { tables: self.tables.len(), partitions: self.partitions.len(), nodes: self.nodes.len() }
    }

    /// Equal for servers that hold the same tables, partitions and leaders.
    pub fn hashes(&self) -> (u64, u64) {
        (self.tables.hash(), self.partitions.hash())
    }

    fn entries(&self, mut named: Vec<NodeId>) -> Vec<DirectoryEntry> {
        named.sort_unstable();
        named.dedup();
        named.into_iter().filter_map(|node| self.nodes.entry(node).cloned()).collect()
    }
}

#[cfg(test)]
mod tests;
