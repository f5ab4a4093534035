//! Snapshots of one group: built as SST files from one view of the engine, received as checked chunks, installed by one
//! ingest.
//!
//! ```text
//! sender   Outgoing::build ─► header(), chunks() ──► gRPC (room `transport`) ──► Incoming::begin, write…, finish   receiver
//!                                                       Received::install: manifest, log mark, flush, ingest, log
//! ```
//! A replica that installs has acknowledged entries that only its old log and items hold, so it may not simply start empty
//! after a crash: files and manifest are synced before the log is marked, and [`recover`] finishes what it finds marked.
//! Must not open streams.

mod incoming;
mod install;
mod outgoing;
pub mod records;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use model::codec::DecodeError;
use model::{NodeId, PartitionId, ReplicaId};

use crate::items::ItemsError;
use crate::log::LogError;

pub use incoming::Incoming;
pub use install::{Received, recover};
pub use outgoing::Outgoing;

/// A file of a snapshot: large enough that few are opened, small enough that one fits the page cache of a small node.
const FILE_BYTES: u64 = 32 << 20;
/// A chunk on the wire.
const CHUNK_BYTES: usize = 512 << 10;
/// Most files that a header may announce: 4 TiB of them.
const FILES: usize = 1 << 17;

#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("partition {partition} has no applied state to send")]
    NoState { partition: PartitionId },
    #[error("cannot read or write items of a snapshot")]
    Items(#[from] ItemsError),
    #[error("cannot read the log for a snapshot")]
    Log(#[from] LogError),
    #[error("the log is closed")]
    LogClosed,
    #[error("a stored {what} is malformed")]
    Decode {
        what: &'static str,
        #[source]
        source: DecodeError,
    },
    #[error("a snapshot's chunk is refused: {reason}")]
    BadChunk { reason: &'static str },
    #[error("the files of a snapshot of partition {partition} do not have their checksums")]
    Damaged { partition: PartitionId },
    #[error("a snapshot was cancelled")]
    Cancelled,
    #[error("cannot {verb} {path}")]
    Io {
        verb: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl SnapshotError {
    /// The disk is full: what was asked may be asked again.
    pub fn is_no_room(&self) -> bool {
        match self {
            SnapshotError::Items(error) => error.is_no_room(),
            SnapshotError::Io { source, .. } => source.kind() == io::ErrorKind::StorageFull,
            SnapshotError::NoState { .. }
            | SnapshotError::Log(_)
            | SnapshotError::LogClosed
            | SnapshotError::Decode { .. }
            | SnapshotError::BadChunk { .. }
            | SnapshotError::Damaged { .. }
            | SnapshotError::Cancelled => false,
        }
    }

    /// What is to be sent cannot be read any more.
    pub fn is_corrupt(&self) -> bool {
        match self {
            SnapshotError::Items(error) => error.is_corrupt(),
            SnapshotError::Decode { .. } => true,
            SnapshotError::NoState { .. }
            | SnapshotError::Log(_)
            | SnapshotError::LogClosed
            | SnapshotError::BadChunk { .. }
            | SnapshotError::Damaged { .. }
            | SnapshotError::Cancelled
            | SnapshotError::Io { .. } => false,
        }
    }
}

/// Between whom a snapshot goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    pub from_node: NodeId,
    pub partition: PartitionId,
    pub from: ReplicaId,
    pub to: ReplicaId,
}

/// How fast snapshots may read and write, all of a node together, and whether they still may.
#[derive(Debug)]
pub struct Budget {
    bytes_per_s: u64,
    state: Mutex<BudgetState>,
    wake: Condvar,
}

#[derive(Debug)]
struct BudgetState {
    /// When the bytes taken so far are paid for.
    paid: Instant,
    cancelled: bool,
}

impl Budget {
    /// 0 for no limit.
    pub fn new(bytes_per_s: u64) -> Budget {
        let state = BudgetState { paid: Instant::now(), cancelled: false };
        Budget { bytes_per_s, state: Mutex::new(state), wake: Condvar::new() }
    }

    /// Waits until these bytes are paid for; false if cancelled meanwhile.
    pub fn take(&self, bytes: u64) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let cost = match self.bytes_per_s {
            0 => Duration::ZERO,
            rate => Duration::from_micros(bytes.saturating_mul(1_000_000) / rate),
        };
        state.paid = state.paid.max(Instant::now()) + cost;
        let until = state.paid;
        while !state.cancelled {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            (state, _) = self.wake.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        }
        false
    }

    /// The node stops: nobody goes on.
    pub fn cancel(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).cancelled = true;
        self.wake.notify_all();
    }
}

/// A folder that is removed with its owner.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    /// A new one for that replica: what an earlier snapshot for it left, or still needs, is not touched.
    fn make(dir: &Path, partition: PartitionId, to: ReplicaId) -> Result<Folder, SnapshotError> {
        fs::create_dir_all(dir).map_err(failed("make", dir))?;
        let mut number = 0_u64;
        loop {
            let path = dir.join(format!("{partition}-{to}-{number}"));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Folder(path)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(failed("make", &path)(error)),
            }
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.0) {
            tracing::warn!(%error, "a snapshot's files stay behind until the next start");
        }
    }
}

fn remove(path: &Path) -> Result<(), SnapshotError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn sync_folder(path: &Path) -> Result<(), SnapshotError> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(failed("sync", path))
}

fn failed(verb: &'static str, path: &Path) -> impl Fn(io::Error) -> SnapshotError {
    let path = path.to_owned();
    move |source| SnapshotError::Io { verb, path: path.clone(), source }
}

fn malformed(what: &'static str) -> impl Fn(DecodeError) -> SnapshotError {
    move |source| SnapshotError::Decode { what, source }
}
