//! Who is where: processes know each other by id, and this is where ids become addresses.
//!
//! The newest start number wins. Seeds and DNS only bring the first entries; nothing that fails ever empties the list. It is kept
//! in the node's folder, so that a node which starts again needs neither.

pub mod file;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use model::{NodeId, Zone};
use tokio::sync::watch;

/// One node, as it told of itself at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryEntry {
    pub node: NodeId,
    pub zone: Zone,
    /// host:port of its internal services.
    pub address: String,
    /// Rises with every start of that node.
    pub start_number: u64,
}

/// Everyone this node knows, itself included.
pub struct Directory {
    own: NodeId,
    entries: Mutex<BTreeMap<NodeId, DirectoryEntry>>,
    /// Rises with every change.
    version: watch::Sender<u64>,
}

impl Directory {
    pub fn new(own: DirectoryEntry) -> Directory {
        let node = own.node;
        let entries = BTreeMap::from([(node, own)]);
        Directory { own: node, entries: Mutex::new(entries), version: watch::Sender::new(1) }
    }

    /// Whether anything was news.
    pub fn learn(&self, told: impl IntoIterator<Item = DirectoryEntry>) -> bool {
        let mut entries = self.lock();
        let mut news = false;
        for entry in told {
            if entry.address.is_empty() || entry.node == NodeId(0) {
                continue;
            }
            let known = entries.get(&entry.node);
            if known.is_none_or(|known| known.start_number < entry.start_number) {
                entries.insert(entry.node, entry);
                news = true;
            }
        }
        drop(entries);
        if news {
            self.version.send_modify(|version| *version += 1);
        }
        news
    }

    pub fn entry(&self, node: NodeId) -> Option<DirectoryEntry> {
        self.lock().get(&node).cloned()
    }

    pub fn entries(&self) -> Vec<DirectoryEntry> {
        self.lock().values().cloned().collect()
    }

    /// But for this node.
    pub fn others(&self) -> Vec<DirectoryEntry> {
        self.lock().values().filter(|entry| entry.node != self.own).cloned().collect()
    }

    pub fn nodes(&self) -> Vec<NodeId> {
        self.lock().keys().copied().collect()
    }

    /// Changes with every piece of news.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, DirectoryEntry>> {
        self.entries.lock().expect("no holder of the directory's lock panics")
    }
}

/// The same four fields stand in three protocols.
macro_rules! travels_as {
    ($wire:path) => {
        impl From<DirectoryEntry> for $wire {
            fn from(entry: DirectoryEntry) -> Self {
                let DirectoryEntry { node, zone, address, start_number } = entry;
                Self { node: node.0, zone: zone.0, address, start_number }
            }
        }

        impl From<$wire> for DirectoryEntry {
            fn from(entry: $wire) -> DirectoryEntry {
                let zone = Zone(entry.zone);
                DirectoryEntry {
                    node: NodeId(entry.node),
                    zone,
                    address: entry.address,
                    start_number: entry.start_number,
                }
            }
        }
    };
}

travels_as!(wire::raft::DirectoryEntry);
travels_as!(wire::admin::DirectoryEntry);
travels_as!(wire::memds::DirectoryEntry);

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(node: u64, address: &str, start_number: u64) -> DirectoryEntry {
        DirectoryEntry { node: NodeId(node), zone: Zone("z".to_owned()), address: address.to_owned(), start_number }
    }

    #[test]
    fn the_newest_start_wins_and_nothing_is_forgotten() {
        let directory = Directory::new(entry(1, "a:1", 5));
        assert!(directory.learn([entry(2, "b:1", 3)]));
        assert!(!directory.learn([entry(2, "c:1", 3), entry(2, "d:1", 2)]));
        assert_eq!(directory.entry(NodeId(2)).unwrap().address, "b:1");
        assert!(directory.learn([entry(2, "e:1", 4)]));
        assert_eq!(directory.entry(NodeId(2)).unwrap().address, "e:1");
        assert!(!directory.learn([entry(3, "", 9), entry(0, "f:1", 9)]));
        assert_eq!(directory.entries().len(), 2);
        assert_eq!(*directory.watch().borrow(), 3);
    }
}
