//! The node's folder: whose it is, of which format, held by which process, how full.
//!
//! ```text
//! DIR/format      the format version; another version is refused untouched
//! DIR/identity    node id and zone, written once, synced
//! DIR/start       how often a process has started on this folder, raised and synced at every start
//! DIR/lock        held exclusively while a process runs; says its pid
//! DIR/reserve     bytes kept back, given up when the disk is nearly full so that there is room to shrink
//! DIR/log/        room `log`       DIR/items/  room `items`
//! DIR/outgoing/, DIR/incoming/     room `snapshot`
//! ```
//! Must not touch what is in the folders of the other rooms.

use std::path::{Path, PathBuf};

use model::{NodeId, Zone};

/// Whose folder it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub node: NodeId,
    pub zone: Zone,
}

/// Sizes of one disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskOptions {
    /// Kept back in a file, for the time when the disk is nearly full.
    pub reserve_bytes: u64,
    /// With fewer free bytes than this the disk is nearly full: writes are refused.
    pub nearly_full_bytes: u64,
}

/// How much room there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    pub total_bytes: u64,
    pub free_bytes: u64,
    pub nearly_full: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    #[error("folder {path} is in use by process {holder}")]
    Held { path: PathBuf, holder: String },
    #[error("folder {path} has format {found:?}, this program knows format {known}")]
    OtherFormat { path: PathBuf, found: String, known: u32 },
    #[error("folder {path} belongs to node {} in zone {}, not to node {} in zone {}", .found.node, .found.zone, .wanted.node, .wanted.zone)]
    OtherIdentity { path: PathBuf, found: Identity, wanted: Identity },
    #[error("folder {path} is not empty and has no format: it is not a node's")]
    NotOurs { path: PathBuf },
    #[error("file {path} is malformed")]
    Malformed { path: PathBuf },
    #[error("cannot {verb} {path}")]
    Io {
        verb: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// A folder that this process holds until it is dropped.
pub struct Disk {
    root: PathBuf,
}

impl Disk {
    /// Locks the folder (made if missing) and raises its start number. A folder of another format is left untouched.
    pub fn open(_root: &Path, _options: DiskOptions) -> Result<Disk, DiskError> {
        unimplemented!()
    }

    /// None while the folder is blank: a blank folder takes no identity by itself.
    pub fn identity(&self) -> Option<&Identity> {
        unimplemented!()
    }

    /// Gives a blank folder its identity, synced; refused if it has another one, nothing to do if it has this one.
    pub fn take_identity(&mut self, _identity: Identity) -> Result<(), DiskError> {
        unimplemented!()
    }

    /// Higher at every start.
    pub fn start_number(&self) -> u64 {
        unimplemented!()
    }

    pub fn log_dir(&self) -> PathBuf {
        self.root.join("log")
    }

    pub fn items_dir(&self) -> PathBuf {
        self.root.join("items")
    }

    /// Snapshots being built and sent.
    pub fn outgoing_dir(&self) -> PathBuf {
        self.root.join("outgoing")
    }

    /// Snapshots being received.
    pub fn incoming_dir(&self) -> PathBuf {
        self.root.join("incoming")
    }

    pub fn space(&self) -> Result<Space, DiskError> {
        unimplemented!()
    }

    /// Gives the reserve up (nearly full) or fills it again (room enough).
    pub fn keep_reserve(&self, _keep: Reserve) -> Result<(), DiskError> {
        unimplemented!()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserve {
    Kept,
    GivenUp,
}
