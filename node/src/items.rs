//! The node's items: one RocksDB for all groups, without a log of its own (the Raft log is it).
//!
//! What a group applied and how far it is travel in one write batch, so what RocksDB recovers is a prefix of what was
//! written. Ingest and file deletion break that: a flush precedes each, but for the files of a replica that the log has
//! retired. Must not know Raft, nor evaluate anything but
//! filters and projections.

mod count;
mod damage;
mod engine;
mod ingest;
mod keys;
mod range;
mod scan;
#[cfg(test)]
mod tests;
mod write;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use model::expression::{Condition, Projection};
use model::item::{RecordHeader, decode_record};
use model::{KeyRange, PartitionId, TableId};
use replica::entry::SPACE_ITEMS;
use replica::{AppliedMark, ApplyBatch, Child};
use rocksdb::{DB, DBPinnableSlice, ErrorKind, ReadOptions, ReadTier, WriteOptions};

pub use count::Counted;
pub use damage::named_file;
#[cfg(test)]
pub use damage::rot;
use engine::Background;
pub use ingest::{SnapshotFiles, SnapshotView};
use keys::{RecordKind, item_key, record_key};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemsOptions {
    pub dir: PathBuf,
    /// Block cache and memtables together.
    pub memory_bytes: usize,
    /// Of the disk that is this node's: a small one is not to be filled by one flush.
    pub disk_bytes: u64,
    /// The node's id: sizes differ a little by node, so that nodes do not flush at once.
    pub seed: u64,
    /// Flush, compaction and snapshots together, bytes per second; 0 for no limit.
    pub background_bytes_per_s: u64,
    /// More than one thread writes.
    pub concurrent_writers: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum ItemsError {
    #[error("cannot open the items in {dir}")]
    Open {
        dir: PathBuf,
        #[source]
        source: rocksdb::Error,
    },
    #[error("cannot {verb} items")]
    Engine {
        verb: &'static str,
        #[source]
        source: rocksdb::Error,
    },
    #[error("a stored {what} is malformed")]
    Decode {
        what: &'static str,
        #[source]
        source: model::codec::DecodeError,
    },
    #[error("a stored key is malformed")]
    MalformedKey,
    #[error("the items in {dir} have format {found}, this program knows format {known}")]
    OtherFormat { dir: PathBuf, found: u8, known: u8 },
}

/// The open engine; cloned for every room that reads or writes it.
#[derive(Clone)]
pub struct Items {
    inner: Arc<Inner>,
}

struct Inner {
    db: DB,
    cached: ReadOptions,
    persisted: ReadOptions,
    apply: WriteOptions,
    patient: WriteOptions,
    /// Held by whoever brings a group's records where another might: a child's stand only where there are none.
    records: Mutex<()>,
}

/// One item as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub header: RecordHeader,
    /// Encoded attributes.
    pub attributes: Bytes,
}

/// A read that does not wait for the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    Found(Stored),
    Missing,
    /// The blocks are not in memory: read again on a pool that may wait.
    NotCached,
}

/// What all groups of a turn apply, as one atomic write.
#[derive(Debug, Default)]
pub struct TurnBatch {
    groups: Vec<(PartitionId, TableId, ApplyBatch)>,
}

impl TurnBatch {
    pub fn add(&mut self, partition: PartitionId, table: TableId, batch: ApplyBatch) {
        self.groups.push((partition, table, batch));
    }

    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    fn has_children(&self) -> bool {
        self.groups.iter().any(|(_, _, batch)| !batch.children.is_empty())
    }

    /// The groups that splits in it have given birth to, each with its parent.
    pub fn take_children(&mut self) -> Vec<(PartitionId, Child)> {
        let children = self.groups.iter_mut().map(|(parent, _, batch)| (*parent, std::mem::take(&mut batch.children)));
        children.flat_map(|(parent, children)| children.into_iter().map(move |child| (parent, child))).collect()
    }

    /// Without what that group applies; answers the children that it would have given birth to.
    pub fn leave_out(&mut self, partition: PartitionId) -> Vec<PartitionId> {
        let left_out = self.groups.extract_if(.., |(group, _, _)| *group == partition);
        left_out.flat_map(|(_, _, batch)| batch.children).map(|child| child.descriptor.id).collect()
    }

    /// Which applied indexes it brings, for `Input::Applied`.
    pub fn applied(&self) -> impl Iterator<Item = (PartitionId, u64)> + '_ {
        self.groups.iter().map(|(partition, _, batch)| (*partition, batch.index))
    }

    pub fn clear(&mut self) {
        self.groups.clear();
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    Written,
    /// Nothing was written: memtables are full or compaction is behind. Try the same batch again, admit no more writes.
    Stalled,
    /// Nothing was written: a flush has found no room on the disk. RocksDB tries it again every few seconds, and takes writes
    /// when it has succeeded; reads go on meanwhile.
    NoRoom,
    /// Nothing was written: what this group has here cannot be read any more, and its writes need it.
    Unreadable(PartitionId),
}

/// What RocksDB's error says of a full disk; the crate has no word for it.
const NO_ROOM: &str = "No space left on device";

impl ItemsError {
    /// The disk is full: what was asked may be asked again.
    pub fn is_no_room(&self) -> bool {
        match self {
            ItemsError::Open { source, .. } | ItemsError::Engine { source, .. } => is_no_room(source),
            ItemsError::Decode { .. } | ItemsError::MalformedKey | ItemsError::OtherFormat { .. } => false,
        }
    }

    /// What is stored is not what was written: to ask again does not help. A read that the disk refuses is something else.
    pub fn is_corrupt(&self) -> bool {
        match self {
            ItemsError::Open { source, .. } | ItemsError::Engine { source, .. } => {
                source.kind() == ErrorKind::Corruption
            }
            ItemsError::Decode { .. } | ItemsError::MalformedKey => true,
            ItemsError::OtherFormat { .. } => false,
        }
    }
}

fn is_no_room(error: &rocksdb::Error) -> bool {
    // Who has waited for room until there was no time left hears that the engine shuts down.
    error.kind() == ErrorKind::ShutdownInProgress
        || error.kind() == ErrorKind::IOError && error.as_ref().contains(NO_ROOM)
}

/// The records of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRecords {
    pub partition: PartitionId,
    /// An encoded `replica::AppliedMark`.
    pub mark: Option<Bytes>,
    /// An encoded `replica::GroupState`.
    pub state: Option<Bytes>,
}

/// One page of one key range, as `wire::data::Scan` asks for it; `range` is already cut to the partition's.
#[derive(Clone, Debug)]
pub struct ScanRequest {
    pub table: TableId,
    pub range: KeyRange,
    pub backward: bool,
    /// Most items to evaluate; 0 for no limit.
    pub limit: u32,
    /// Most bytes to evaluate; the item that crosses it is the page's last. 0 for no limit.
    pub limit_bytes: u32,
    pub filter: Option<Condition>,
    pub projection: Option<Projection>,
    pub count_only: bool,
}

impl ItemsOptions {
    /// 64 MiB in all, no limit on background work: a small node.
    pub fn new(dir: PathBuf, seed: u64) -> ItemsOptions {
        let (memory_bytes, disk_bytes) = (64 << 20, u64::MAX);
        ItemsOptions { dir, memory_bytes, disk_bytes, seed, background_bytes_per_s: 0, concurrent_writers: false }
    }

    /// Room with which the engine gets on its feet again after it had none.
    pub fn flush_bytes(&self) -> u64 {
        engine::flush_bytes(self)
    }
}

impl Items {
    /// Opens or creates it.
    pub fn open(options: ItemsOptions) -> Result<Items, ItemsError> {
        Items::open_with(options, Background::Compacts)
    }

    fn open_with(options: ItemsOptions, background: Background) -> Result<Items, ItemsError> {
        let is_new = !engine::exists(&options.dir);
        let db = engine::open(&options, background)?;
        let items = Items {
            inner: Arc::new(Inner {
                db,
                cached: engine::read_options(ReadTier::BlockCache),
                persisted: engine::read_options(ReadTier::Persisted),
                apply: engine::apply_options(),
                patient: engine::patient_options(),
                records: Mutex::default(),
            }),
        };
        if is_new {
            items.put_patiently("write the format of", [(keys::format_key(), vec![keys::FORMAT])])?;
            items.flush()?;
        } else {
            items.check_format(options.dir)?;
        }
        Ok(items)
    }

    /// Files stay as they are between flushes, so that a copy of the folder is what a crash would leave.
    #[cfg(test)]
    pub fn without_compaction(self) -> Items {
        self.inner.db.set_options(&[("disable_auto_compactions", "true")]).expect("RocksDB knows the option");
        self
    }

    fn check_format(&self, dir: PathBuf) -> Result<(), ItemsError> {
        let found = self.inner.db.get_pinned(keys::format_key()).map_err(failed("read the format of"))?;
        match found.as_deref() {
            Some([keys::FORMAT]) => Ok(()),
            other => {
                let found = other.and_then(|bytes| bytes.first()).copied().unwrap_or_default();
                Err(ItemsError::OtherFormat { dir, found, known: keys::FORMAT })
            }
        }
    }

    /// Without waiting for the disk: for workers.
    pub fn lookup(&self, table: TableId, key: &[u8]) -> Result<Lookup, ItemsError> {
        let disk_key = item_key(table, SPACE_ITEMS, key);
        match self.inner.db.get_pinned_opt(disk_key, &self.inner.cached) {
            Ok(Some(record)) => Ok(Lookup::Found(stored(&record)?)),
            Ok(None) => Ok(Lookup::Missing),
            Err(error) if error.kind() == ErrorKind::Incomplete => Ok(Lookup::NotCached),
            Err(source) => Err(ItemsError::Engine { verb: "look up", source }),
        }
    }

    /// May wait for the disk: for pools.
    pub fn get(&self, table: TableId, key: &[u8]) -> Result<Option<Stored>, ItemsError> {
        let disk_key = item_key(table, SPACE_ITEMS, key);
        let record = self.inner.db.get_pinned(disk_key).map_err(failed("read"))?;
        record.as_ref().map(stored).transpose()
    }

    /// All groups that have records, by id.
    pub fn groups(&self) -> Result<Vec<GroupRecords>, ItemsError> {
        let mut groups: BTreeMap<PartitionId, GroupRecords> = BTreeMap::new();
        let bounds = (keys::records_start(), keys::records_end());
        let mut at = self.inner.db.raw_iterator_opt(engine::iterate_options(bounds));
        at.seek_to_first();
        while let Some((key, value)) = at.item() {
            let (partition, kind) = keys::parse_record_key(key).ok_or(ItemsError::MalformedKey)?;
            let records = groups.entry(partition).or_insert(GroupRecords { partition, mark: None, state: None });
            let value = Some(Bytes::copy_from_slice(value));
            match kind {
                RecordKind::Mark => records.mark = value,
                RecordKind::State => records.state = value,
            }
            at.next();
        }
        at.status().map_err(failed("list the groups of"))?;
        Ok(groups.into_values().collect())
    }

    /// The records of one group, as they are now.
    pub fn group(&self, partition: PartitionId) -> Result<GroupRecords, ItemsError> {
        let read = |kind| {
            let value =
                self.inner.db.get_pinned(record_key(partition, kind)).map_err(failed("read a group's records of"))?;
            Ok(value.map(|value| Bytes::copy_from_slice(&value)))
        };
        Ok(GroupRecords { partition, mark: read(RecordKind::Mark)?, state: read(RecordKind::State)? })
    }

    fn lock_records(&self) -> MutexGuard<'_, ()> {
        self.inner.records.lock().expect("no holder of the records' lock panics")
    }

    /// The applied index that a crash cannot take back; none before the group's first flush.
    pub fn persisted_index(&self, partition: PartitionId) -> Result<Option<u64>, ItemsError> {
        let key = record_key(partition, RecordKind::Mark);
        let mark = self.inner.db.get_pinned_opt(key, &self.inner.persisted).map_err(failed("read a mark of"))?;
        let Some(mark) = mark else { return Ok(None) };
        let mark = AppliedMark::decode(Bytes::copy_from_slice(&mark));
        Ok(Some(mark.map_err(|source| ItemsError::Decode { what: "applied mark", source })?.index))
    }

    /// Makes everything written so far durable; waits.
    pub fn flush(&self) -> Result<(), ItemsError> {
        self.inner.db.flush().map_err(failed("flush"))
    }

    /// Who waits for the engine waits no longer, and hears that there is no room. Nothing is flushed from then on.
    pub fn give_up_waiting(&self) {
        self.inner.db.cancel_all_background_work(false);
    }

    /// Changes with every flush, and with other things that are as rare; none where RocksDB does not say.
    pub fn version(&self) -> Option<u64> {
        self.inner.db.property_int_value(rocksdb::properties::CURRENT_SUPER_VERSION_NUMBER).ok().flatten()
    }

    /// Bytes that memtables hold and a flush would write.
    pub fn unflushed_bytes(&self) -> u64 {
        let bytes = self.inner.db.property_int_value(rocksdb::properties::CUR_SIZE_ALL_MEM_TABLES);
        bytes.ok().flatten().unwrap_or_default()
    }
}

fn stored(record: &DBPinnableSlice<'_>) -> Result<Stored, ItemsError> {
    let (header, attributes) = decode_record(&Bytes::copy_from_slice(record)).map_err(malformed_record)?;
    Ok(Stored { header, attributes })
}

fn malformed_record(source: model::codec::DecodeError) -> ItemsError {
    ItemsError::Decode { what: "item", source }
}

fn failed(verb: &'static str) -> impl Fn(rocksdb::Error) -> ItemsError {
    move |source| ItemsError::Engine { verb, source }
}
