//! The node's items: one RocksDB for all groups, without a log of its own (the Raft log is it).
//!
//! What a group applied and how far it is travel in one write batch, so what RocksDB recovers is a prefix of what was
//! written. Ingest and file deletion break that: a flush precedes each. Must not know Raft, nor evaluate anything but
//! filters and projections.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use model::expression::{Condition, Projection};
use model::item::RecordHeader;
use model::{KeyRange, PartitionId, TableId};
use replica::ApplyBatch;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemsOptions {
    pub dir: PathBuf,
    /// Block cache and memtables together.
    pub memory_bytes: usize,
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
}

/// The open engine; cloned for every room that reads or writes it.
#[derive(Clone)]
pub struct Items {
    _inner: Arc<()>,
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

/// About how much a range holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Estimate {
    pub items: u64,
    pub bytes: u64,
}

impl Items {
    pub fn open(_options: ItemsOptions) -> Result<Items, ItemsError> {
        unimplemented!()
    }

    /// Without waiting for the disk: for workers.
    pub fn lookup(&self, _table: TableId, _key: &[u8]) -> Result<Lookup, ItemsError> {
        unimplemented!()
    }

    /// May wait for the disk: for pools.
    pub fn get(&self, _table: TableId, _key: &[u8]) -> Result<Option<Stored>, ItemsError> {
        unimplemented!()
    }

    /// All or nothing, without waiting.
    pub fn write(&self, _batch: &TurnBatch) -> Result<WriteOutcome, ItemsError> {
        unimplemented!()
    }

    /// The records with which a group is born; waits.
    pub fn put_group(&self, _records: &GroupRecords) -> Result<(), ItemsError> {
        unimplemented!()
    }

    /// All groups that have records, by id.
    pub fn groups(&self) -> Result<Vec<GroupRecords>, ItemsError> {
        unimplemented!()
    }

    /// The applied index that a crash cannot take back; none before the group's first flush.
    pub fn persisted_index(&self, _partition: PartitionId) -> Result<Option<u64>, ItemsError> {
        unimplemented!()
    }

    /// Makes everything written so far durable; waits.
    pub fn flush(&self) -> Result<(), ItemsError> {
        unimplemented!()
    }

    /// May wait for the disk: for pools.
    pub fn scan(&self, _request: &ScanRequest) -> Result<wire::data::Scanned, ItemsError> {
        unimplemented!()
    }

    pub fn estimate(&self, _table: TableId, _range: &KeyRange) -> Result<Estimate, ItemsError> {
        unimplemented!()
    }

    /// Deletes a group's records, durably, then its range in every space. The log must say before that the replica is
    /// retired (`Work::AcceptFrom`): a crash halfway leaves items without records, which a snapshot or another clear removes.
    pub fn clear(&self, _partition: PartitionId, _table: TableId, _range: &KeyRange) -> Result<(), ItemsError> {
        unimplemented!()
    }
}
