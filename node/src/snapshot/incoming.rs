//! Receiving: chunks in order, each checked, then each file.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{PartitionId, ReplicaId};
use wire::raft::{SnapshotData, SnapshotHeader};

use super::{Budget, FILES, Folder, Received, SnapshotError, failed, sync_folder};

/// A snapshot being received; its files are removed when it is dropped unfinished.
#[derive(Debug)]
pub struct Incoming {
    header: SnapshotHeader,
    folder: Folder,
    budget: Arc<Budget>,
    /// The file that grows, and its number; files before it are complete.
    at: usize,
    open: Option<Growing>,
}

#[derive(Debug)]
struct Growing {
    file: File,
    path: PathBuf,
    bytes: u64,
    crc32c: u32,
}

impl Incoming {
    pub fn begin(dir: &Path, header: SnapshotHeader, budget: &Arc<Budget>) -> Result<Incoming, SnapshotError> {
        if header.files.len() > FILES {
            return Err(SnapshotError::BadChunk { reason: "too many files announced" });
        }
        let folder = Folder::make(dir, PartitionId(header.partition), ReplicaId(header.to))?;
        Ok(Incoming { header, folder, budget: Arc::clone(budget), at: 0, open: None })
    }

    pub fn header(&self) -> &SnapshotHeader {
        &self.header
    }

    /// Bytes that its files will have.
    pub fn bytes(&self) -> u64 {
        self.header.files.iter().map(|file| file.bytes).sum()
    }

    /// Chunks come in order. May wait for the budget.
    pub fn write(&mut self, chunk: &SnapshotData) -> Result<(), SnapshotError> {
        let refused = |reason| Err(SnapshotError::BadChunk { reason });
        if crc32c::crc32c(&chunk.bytes) != chunk.crc32c {
            return refused("its checksum is wrong");
        }
        if usize::try_from(chunk.file) != Ok(self.at) {
            return refused("it is of another file than the one that grows");
        }
        let Some(expected) = self.header.files.get(self.at).copied() else {
            return refused("it is of a file that was not announced");
        };
        if self.open.is_none() {
            self.open = Some(Growing::create(self.folder.0.join(file_name(self.at)))?);
        }
        let growing = self.open.as_mut().expect("opened above");
        let len = u64::try_from(chunk.bytes.len()).expect("a length fits 64 bits");
        if chunk.offset != growing.bytes || growing.bytes + len > expected.bytes {
            return refused("it does not join what has come before");
        }
        if !self.budget.take(len) {
            return Err(SnapshotError::Cancelled);
        }
        growing.file.write_all(&chunk.bytes).map_err(failed("write", &growing.path))?;
        growing.bytes += len;
        growing.crc32c = crc32c::crc32c_append(growing.crc32c, &chunk.bytes);
        if growing.bytes < expected.bytes {
            return Ok(());
        }
        if growing.crc32c != expected.crc32c {
            return refused("its file's checksum is wrong");
        }
        growing.file.sync_all().map_err(failed("sync", &growing.path))?;
        self.open = None;
        self.at += 1;
        Ok(())
    }

    /// All files are there, have their checksums and are synced.
    pub fn finish(self) -> Result<Received, SnapshotError> {
        if self.at < self.header.files.len() {
            return Err(SnapshotError::BadChunk { reason: "files are missing at its end" });
        }
        sync_folder(&self.folder.0)?;
        Ok(Received::new(self.header, self.folder))
    }
}

impl Growing {
    fn create(path: PathBuf) -> Result<Growing, SnapshotError> {
        let file = File::create(&path).map_err(failed("make", &path))?;
        Ok(Growing { file, path, bytes: 0, crc32c: 0 })
    }
}

pub(super) fn file_name(number: usize) -> String {
    format!("{number:06}.sst")
}
