//! Tables by id and by name.
//!
//! The newest version of a table wins, whoever told it. Of two tables with one name (one is being deleted while the next is
//! already there) the name means the one that is not being deleted, then the younger.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use model::{TableDescriptor, TableId, TableStatus};

use crate::trie::{Digest, Trie};

/// How many removed tables are remembered. Ids are never used again, so more would do no harm but cost memory; an
/// announcement that is 100,000 deletions late is not expected.
const REMOVED_TABLES_MAX: usize = 100_000;

#[derive(Debug, Default)]
pub(super) struct Tables {
    by_id: BTreeMap<TableId, Table>,
    by_name: Trie<Named>,
    /// All tables that bear a name.
    bearers: BTreeMap<String, BTreeSet<TableId>>,
    removed: BTreeSet<TableId>,
    /// In the order of their removal.
    removals: VecDeque<TableId>,
}

#[derive(Debug)]
pub(super) struct Table {
    pub descriptor: TableDescriptor,
    pub encoded: Bytes,
}

#[derive(Clone, Copy, Debug)]
struct Named {
    id: TableId,
    version: u64,
}

impl Digest for Named {
    fn digest(&self) -> u64 {
        self.id.0 ^ self.version.rotate_left(32)
    }
}

impl Tables {
    pub fn put(&mut self, descriptor: TableDescriptor, encoded: Bytes) {
        let id = descriptor.id;
        if self.removed.contains(&id) {
            return;
        }
        let is_older = |known: &Table| known.descriptor.version >= descriptor.version;
        // A table keeps its name for life; whoever tells of another lies.
        let is_renamed = |known: &Table| known.descriptor.name != descriptor.name;
        if self.by_id.get(&id).is_some_and(|known| is_older(known) || is_renamed(known)) {
            return;
        }
        let name = descriptor.name.clone();
        self.bearers.entry(name.clone()).or_default().insert(id);
        self.by_id.insert(id, Table { descriptor, encoded });
        self.settle(&name);
    }

    /// Lets `name` mean the right one of the tables that bear it.
    fn settle(&mut self, name: &str) {
        let best = self
            .bearers
            .get(name)
            .into_iter()
            .flatten()
            .map(|id| &self.by_id[id].descriptor)
            // To clients there is no such table.
            .filter(|table| table.status != TableStatus::Retained)
            .max_by_key(|table| (table.status != TableStatus::Deleting, table.created_ms, table.id));
        match best {
            Some(best) => self.by_name.insert(name.as_bytes(), Named { id: best.id, version: best.version }),
            None => self.by_name.remove(name.as_bytes()),
        };
    }

    pub fn remove(&mut self, id: TableId) {
        if self.removed.insert(id) {
            self.removals.push_back(id);
            if self.removals.len() > REMOVED_TABLES_MAX
                && let Some(oldest) = self.removals.pop_front()
            {
                self.removed.remove(&oldest);
            }
        }
        if let Some(table) = self.by_id.remove(&id) {
            let name = &table.descriptor.name;
            if let Some(bearers) = self.bearers.get_mut(name) {
                bearers.remove(&id);
                if bearers.is_empty() {
                    self.bearers.remove(name);
                }
            }
            self.settle(name);
        }
    }

    pub fn forget_if_deleting(&mut self, id: TableId) {
        if self.by_id.get(&id).is_some_and(|table| table.descriptor.status == TableStatus::Deleting) {
            self.remove(id);
        }
    }

    pub fn is_removed(&self, id: TableId) -> bool {
        self.removed.contains(&id)
    }

    pub fn by_name(&self, name: &str) -> Option<&Table> {
        self.by_id.get(&self.by_name.get(name.as_bytes())?.id)
    }

    pub fn names_after(&self, exclusive_start: &str) -> impl Iterator<Item = String> {
        let start = exclusive_start.to_owned();
        self.by_name
            .between(exclusive_start.as_bytes(), None)
            .filter_map(|(name, _)| String::from_utf8(name).ok())
            .filter(move |name| *name != start)
    }

    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    pub fn hash(&self) -> u64 {
        self.by_name.hash()
    }
}
