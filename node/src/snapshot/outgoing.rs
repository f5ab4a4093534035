//! Building and reading out what is sent.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use replica::{AppliedMark, GroupState, SnapshotContent};
use wire::raft::{SnapshotData, SnapshotFile, SnapshotHeader};

use super::{Budget, CHUNK_BYTES, FILE_BYTES, Folder, Route, SnapshotError, failed, malformed};
use crate::items::Items;

/// A built snapshot; its files are removed when it and its chunks are dropped.
#[derive(Debug)]
pub struct Outgoing {
    content: SnapshotContent,
    header: SnapshotHeader,
    files: Arc<Files>,
    budget: Arc<Budget>,
}

#[derive(Debug)]
struct Files {
    paths: Vec<PathBuf>,
    bytes: u64,
    /// Read out so far, of the attempt that is furthest.
    read: AtomicU64,
    _folder: Folder,
}

impl Outgoing {
    /// Reads all spaces of the partition's range from one view. Long: for the snapshot pool.
    pub fn build(items: &Items, dir: &Path, route: Route, budget: &Arc<Budget>) -> Result<Outgoing, SnapshotError> {
        let folder = Folder::make(dir, route.partition, route.to)?;
        let view = items.view();
        let records = view.group(route.partition)?;
        let no_state = || SnapshotError::NoState { partition: route.partition };
        let record = records.state.ok_or_else(no_state)?;
        let mark = AppliedMark::decode(records.mark.ok_or_else(no_state)?).map_err(malformed("applied mark"))?;
        let state = GroupState::decode(record.clone()).map_err(malformed("group state"))?;
        let mut cancelled = false;
        let pace = |bytes| {
            cancelled = !budget.take(bytes);
            !cancelled
        };
        let range = &state.descriptor.range;
        let paths = view.write_files(state.descriptor.table, range, &folder.0, FILE_BYTES, pace)?;
        drop(view);
        if cancelled {
            return Err(SnapshotError::Cancelled);
        }
        let files = paths.iter().map(|path| describe(path)).collect::<Result<Vec<_>, _>>()?;
        let bytes = files.iter().map(|file| file.bytes).sum();
        let header = SnapshotHeader {
            from_node: route.from_node.0,
            partition: route.partition.0,
            from: route.from.0,
            to: route.to.0,
            index: mark.index,
            term: mark.term,
            files,
            record,
        };
        Ok(Outgoing {
            content: SnapshotContent { state, mark },
            header,
            files: Arc::new(Files { paths, bytes, read: AtomicU64::new(0), _folder: folder }),
            budget: Arc::clone(budget),
        })
    }

    /// For `Input::SnapshotBuilt`.
    pub fn content(&self) -> &SnapshotContent {
        &self.content
    }

    pub fn header(&self) -> SnapshotHeader {
        self.header.clone()
    }

    /// How much of it has been read out.
    pub fn percent(&self) -> u32 {
        let Files { bytes, ref read, .. } = *self.files;
        let percent = read.load(Ordering::Relaxed).saturating_mul(100).checked_div(bytes).unwrap_or(100);
        u32::try_from(percent.min(100)).unwrap_or(100)
    }

    /// The files' bytes, in order, in chunks with checksums; each `next` reads the disk and may wait for the budget.
    pub fn chunks(&self) -> Chunks {
        Chunks { files: Arc::clone(&self.files), budget: Arc::clone(&self.budget), at: 0, offset: 0, read: 0 }
    }
}

/// See [`Outgoing::chunks`].
#[derive(Debug)]
pub struct Chunks {
    files: Arc<Files>,
    budget: Arc<Budget>,
    at: usize,
    offset: u64,
    /// Of all files.
    read: u64,
}

impl Iterator for Chunks {
    type Item = Result<SnapshotData, SnapshotError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.at < self.files.paths.len() {
            match self.read() {
                Ok(bytes) if bytes.is_empty() => {
                    self.at += 1;
                    self.offset = 0;
                }
                Ok(bytes) => return Some(self.chunk(bytes)),
                Err(error) => return Some(Err(error)),
            }
        }
        None
    }
}

impl Chunks {
    fn read(&self) -> Result<Bytes, SnapshotError> {
        let path = &self.files.paths[self.at];
        let read = || {
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(self.offset))?;
            read_chunk(&mut file)
        };
        read().map_err(failed("read", path))
    }

    fn chunk(&mut self, bytes: Bytes) -> Result<SnapshotData, SnapshotError> {
        let len = length(&bytes);
        if !self.budget.take(len) {
            return Err(SnapshotError::Cancelled);
        }
        let chunk = SnapshotData {
            file: u32::try_from(self.at).expect("a snapshot has far fewer files"),
            offset: self.offset,
            crc32c: crc32c::crc32c(&bytes),
            bytes,
        };
        self.offset += len;
        self.read += len;
        self.files.read.fetch_max(self.read, Ordering::Relaxed);
        Ok(chunk)
    }
}

/// The file's length and checksum.
fn describe(path: &Path) -> Result<SnapshotFile, SnapshotError> {
    let read = || {
        let mut file = File::open(path)?;
        let mut described = SnapshotFile::default();
        loop {
            let chunk = read_chunk(&mut file)?;
            if chunk.is_empty() {
                return Ok(described);
            }
            described.bytes += length(&chunk);
            described.crc32c = crc32c::crc32c_append(described.crc32c, &chunk);
        }
    };
    read().map_err(failed("read", path))
}

/// Up to one chunk; empty at the end.
pub(super) fn read_chunk(file: &mut File) -> std::io::Result<Bytes> {
    let mut chunk = BytesMut::zeroed(CHUNK_BYTES);
    let mut filled = 0;
    while filled < chunk.len() {
        match file.read(&mut chunk[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    chunk.truncate(filled);
    Ok(chunk.freeze())
}

fn length(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).expect("a length fits 64 bits")
}
