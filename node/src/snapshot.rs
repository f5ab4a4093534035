//! Snapshots of one group: built as SST files from one view of the engine, received as checked chunks, installed by one
//! ingest.
//!
//! ```text
//! sender   Outgoing::build ─► header(), chunks() ──► gRPC (room `transport`) ──► Incoming::begin, write…, finish   receiver
//!                                                                              Received::install: log mark, flush, ingest, log
//! ```
//! Must not open streams.

use std::path::{Path, PathBuf};

use model::{NodeId, PartitionId, ReplicaId};
use replica::{Install, SnapshotContent};
use wire::raft::{SnapshotData, SnapshotHeader};

use crate::items::{Items, ItemsError};
use crate::log::Log;

#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("partition {partition} has no applied state to send")]
    NoState { partition: PartitionId },
    #[error("cannot read or write items of a snapshot")]
    Items(#[from] ItemsError),
    #[error("a snapshot's chunk is refused: {reason}")]
    BadChunk { reason: String },
    #[error("a snapshot was cancelled")]
    Cancelled,
    #[error("cannot {verb} {path}")]
    Io {
        verb: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// Between whom a snapshot goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    pub from_node: NodeId,
    pub partition: PartitionId,
    pub from: ReplicaId,
    pub to: ReplicaId,
}

/// Removes what earlier processes left in the two folders. At start.
pub fn clean_up(_outgoing: &Path, _incoming: &Path) -> Result<(), SnapshotError> {
    unimplemented!()
}

/// A built snapshot; its files are removed when it is dropped.
pub struct Outgoing {
    _private: (),
}

impl Outgoing {
    /// Reads all spaces of the partition's range from one view. Long: for the snapshot pool.
    pub fn build(_items: &Items, _dir: &Path, _route: Route) -> Result<Outgoing, SnapshotError> {
        unimplemented!()
    }

    /// For `Input::SnapshotBuilt`.
    pub fn content(&self) -> &SnapshotContent {
        unimplemented!()
    }

    pub fn header(&self) -> SnapshotHeader {
        unimplemented!()
    }

    /// The files' bytes, in order, in chunks with checksums; each `next` reads the disk.
    pub fn chunks(&self) -> impl Iterator<Item = Result<SnapshotData, SnapshotError>> + Send + use<> {
        std::iter::empty()
    }
}

/// A snapshot being received; its files are removed when it is dropped unfinished.
pub struct Incoming {
    _private: (),
}

impl Incoming {
    pub fn begin(_dir: &Path, _header: SnapshotHeader) -> Result<Incoming, SnapshotError> {
        unimplemented!()
    }

    /// Chunks come in order.
    pub fn write(&mut self, _chunk: &SnapshotData) -> Result<(), SnapshotError> {
        unimplemented!()
    }

    /// All files are there, have their checksums and are synced.
    pub fn finish(self) -> Result<Received, SnapshotError> {
        unimplemented!()
    }
}

/// A complete snapshot that waits for `Effects::install`; its files are removed when it is dropped.
pub struct Received {
    _private: (),
}

impl Received {
    pub fn header(&self) -> &SnapshotHeader {
        unimplemented!()
    }

    /// Marks the log, replaces everything of the group in the engine by one ingest, starts the log anew. Durable when it
    /// returns: `Input::Installed`. For the snapshot pool; the group applies nothing meanwhile.
    pub fn install(self, _items: &Items, _log: &Log, _install: &Install) -> Result<(), SnapshotError> {
        unimplemented!()
    }
}
