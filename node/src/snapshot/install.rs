//! Installing what was received, and finishing it after a crash.
//!
//! ```text
//! manifest synced ─► log: receiving at i ─► flush ─► one ingest (atomic) ─► log begins after i ─► files removed
//!                    └──────── a start that finds this finishes from the manifest ────────┘
//! ```
//! Whether the ingest had happened is told by the engine's applied mark: it is the snapshot's. A log replica's snapshot has no
//! items and takes another way (`records`).

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use bytes::Bytes;
use model::codec::{DecodeError, Reader, Writer};
use model::{KeyRange, PartitionId, TableId};
use protobuf::Message;
use replica::{Install, eraftpb};
use wire::raft::{SnapshotFile, SnapshotHeader};

use super::incoming::file_name;
use super::outgoing::read_chunk;
use super::{Folder, SnapshotError, failed, malformed, records, remove, sync_folder};
use crate::items::{GroupRecords, Items, SnapshotFiles};
use crate::log::{Log, Work};

const MANIFEST: &str = "manifest";
const FORMAT: u8 = 1;

/// A complete snapshot that waits for `Effects::install`; its files are removed when it is dropped.
#[derive(Debug)]
pub struct Received {
    header: SnapshotHeader,
    pub(super) folder: Folder,
}

/// All that is needed to install without anyone's help.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Manifest {
    pub(super) partition: PartitionId,
    pub(super) index: u64,
    term: u64,
    state: Bytes,
    mark: Bytes,
    hard_state: eraftpb::HardState,
    table: TableId,
    range: KeyRange,
    files: Vec<SnapshotFile>,
}

impl Received {
    pub(super) fn new(header: SnapshotHeader, folder: Folder) -> Received {
        Received { header, folder }
    }

    pub fn header(&self) -> &SnapshotHeader {
        &self.header
    }

    /// Marks the log, replaces everything of the group in the engine by one ingest, starts the log anew. Durable when it
    /// returns: `Input::Installed`. For the snapshot pool; the group applies nothing meanwhile. After an error the group is
    /// not to be started again before [`recover`] has finished it.
    ///
    /// Where the disk has no room, `again` says whether to try once more.
    pub fn install(
        self,
        items: &Items,
        log: &Log,
        install: &Install,
        mut again: impl FnMut(&SnapshotError) -> bool,
    ) -> Result<(), SnapshotError> {
        let attempt = || {
            let manifest = self.prepare(log, install)?;
            manifest.ingest(&self.folder.0, items)?;
            manifest.begin_log(log)
        };
        let mut result = attempt();
        while let Err(error) = &result
            && error.is_no_room()
            && again(error)
        {
            result = attempt();
        }
        if result.is_err() {
            // The next start needs the files.
            std::mem::forget(self.folder);
        }
        result
    }

    /// Everything up to the log's mark; from then on a start finishes the installation.
    pub(super) fn prepare(&self, log: &Log, install: &Install) -> Result<Manifest, SnapshotError> {
        let Install { index, term, descriptor, .. } = install;
        if (self.header.partition, self.header.index, self.header.term) != (descriptor.id.0, *index, *term) {
            return Err(SnapshotError::BadChunk { reason: "what was received is another snapshot" });
        }
        let manifest = Manifest::of(install, self.header.files.clone());
        manifest.write(&self.folder.0)?;
        run(log, manifest.partition, Work::Receiving { index: *index, manifest: None })?;
        Ok(manifest)
    }
}

/// A log replica has no items to replace: what else this node has of the range is not its own.
fn nothing() -> KeyRange {
    KeyRange { start: Bytes::new(), end: Some(Bytes::new()) }
}

impl Manifest {
    pub(super) fn of(install: &Install, files: Vec<SnapshotFile>) -> Manifest {
        let Install { index, term, state, mark, hard_state, descriptor, has_items } = install;
        Manifest {
            partition: descriptor.id,
            index: *index,
            term: *term,
            state: state.clone(),
            mark: mark.clone(),
            hard_state: hard_state.clone(),
            table: descriptor.table,
            range: if *has_items { descriptor.range.clone() } else { nothing() },
            files,
        }
    }

    pub(super) fn ingest(&self, dir: &Path, items: &Items) -> Result<(), SnapshotError> {
        let snapshot = SnapshotFiles {
            partition: self.partition,
            table: self.table,
            range: &self.range,
            mark: &self.mark,
            state: &self.state,
            files: (0..self.files.len()).map(|number| dir.join(file_name(number))).collect(),
            dir,
        };
        Ok(items.ingest(&snapshot)?)
    }

    fn begin_log(&self, log: &Log) -> Result<(), SnapshotError> {
        run(log, self.partition, self.received())
    }

    pub(super) fn receiving(&self) -> Work {
        Work::Receiving { index: self.index, manifest: Some(self.encode().into()) }
    }

    pub(super) fn received(&self) -> Work {
        let Manifest { index, term, hard_state, .. } = self;
        Work::Received { index: *index, term: *term, hard_state: hard_state.clone() }
    }

    pub(super) fn records(&self) -> GroupRecords {
        GroupRecords { partition: self.partition, mark: Some(self.mark.clone()), state: Some(self.state.clone()) }
    }

    fn write(&self, dir: &Path) -> Result<(), SnapshotError> {
        let path = dir.join(MANIFEST);
        let write = || {
            let mut file = File::create(&path)?;
            file.write_all(&self.encode())?;
            file.sync_all()
        };
        write().map_err(failed("write", &path))?;
        sync_folder(dir)?;
        sync_folder(dir.parent().expect("a snapshot's folder has a parent"))
    }

    fn encode(&self) -> Vec<u8> {
        let Manifest { partition, index, term, state, mark, hard_state, table, range, files } = self;
        let mut bytes = Vec::new();
        let mut out = Writer(&mut bytes);
        out.u8(FORMAT);
        for number in [partition.0, *index, *term, table.0] {
            out.u64(number);
        }
        out.bytes(state);
        out.bytes(mark);
        out.bytes(&hard_state.write_to_bytes().expect("a hard state of three integers encodes"));
        out.bytes(&range.start);
        out.u8(u8::from(range.end.is_some()));
        out.bytes(range.end.as_deref().unwrap_or_default());
        for file in files {
            out.u64(file.bytes);
            out.u64(u64::from(file.crc32c));
        }
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_be_bytes());
        bytes
    }

    pub(super) fn decode(mut bytes: Vec<u8>) -> Result<Manifest, DecodeError> {
        let body = bytes.len().checked_sub(4).ok_or(DecodeError::Truncated)?;
        if crc32c::crc32c(&bytes[..body]).to_be_bytes() != bytes[body..] {
            return Err(DecodeError::Malformed("checksum"));
        }
        bytes.truncate(body);
        let mut input = Reader::new(Bytes::from(bytes));
        let format = input.u8()?;
        if format != FORMAT {
            return Err(DecodeError::UnknownFormat(format));
        }
        let [partition, index, term, table] = [input.u64()?, input.u64()?, input.u64()?, input.u64()?];
        let (state, mark) = (input.bytes()?, input.bytes()?);
        let hard_state = eraftpb::HardState::parse_from_bytes(&input.bytes()?);
        let (start, has_end, end) = (input.bytes()?, input.u8()?, input.bytes()?);
        let mut files = Vec::new();
        while input.left() > 0 {
            let (bytes, crc32c) = (input.u64()?, input.u64()?);
            let crc32c = u32::try_from(crc32c).or(Err(DecodeError::Malformed("checksum")))?;
            files.push(SnapshotFile { bytes, crc32c });
        }
        Ok(Manifest {
            partition: PartitionId(partition),
            index,
            term,
            state,
            mark,
            hard_state: hard_state.or(Err(DecodeError::Malformed("hard state")))?,
            table: TableId(table),
            range: KeyRange { start, end: (has_end == 1).then_some(end) },
            files,
        })
    }

    /// Whether the received files are all as they were announced.
    fn verify(&self, dir: &Path) -> Result<(), SnapshotError> {
        for (number, expected) in self.files.iter().enumerate() {
            let path = dir.join(file_name(number));
            let damaged = || SnapshotError::Damaged { partition: self.partition };
            let mut file = File::open(&path).map_err(failed("open", &path))?;
            let mut found = SnapshotFile::default();
            loop {
                let chunk = read_chunk(&mut file).map_err(failed("read", &path))?;
                if chunk.is_empty() {
                    break;
                }
                found.bytes += u64::try_from(chunk.len()).expect("a length fits 64 bits");
                found.crc32c = crc32c::crc32c_append(found.crc32c, &chunk);
            }
            if found != *expected {
                return Err(damaged());
            }
        }
        Ok(())
    }

    fn finish(&self, dir: &Path, items: &Items, log: &Log) -> Result<(), SnapshotError> {
        if items.group(self.partition)?.mark.as_ref() != Some(&self.mark) {
            self.verify(dir)?;
            self.ingest(dir, items)?;
        }
        self.begin_log(log)
    }
}

/// At start, before any group: finishes the installations that the log has marked and removes every other file of
/// snapshots. Returns the groups that are marked and could not be finished, with the reason: their replicas have neither
/// their old state nor the new one, and must not be started.
pub fn recover(
    outgoing: &Path,
    incoming: &Path,
    items: &Items,
    log: &Log,
) -> Result<Vec<(PartitionId, SnapshotError)>, SnapshotError> {
    let mut failures = Vec::new();
    let marked = log.groups().into_iter().filter_map(|group| Some((group.partition, group.receiving?)));
    for (partition, index) in marked {
        if let Err(error) = recover_one(incoming, partition, index, items, log) {
            failures.push((partition, error));
        }
    }
    remove(outgoing)?;
    let kept = |path: &Path| failures.iter().any(|(partition, _)| names(path, *partition));
    for path in list(incoming)? {
        if !kept(&path) {
            remove(&path)?;
        }
    }
    Ok(failures)
}

fn recover_one(
    incoming: &Path,
    partition: PartitionId,
    index: u64,
    items: &Items,
    log: &Log,
) -> Result<(), SnapshotError> {
    if let Some(manifest) = log.receiving_manifest(partition) {
        return records::finish(manifest, items, log);
    }
    for path in list(incoming)?.into_iter().filter(|path| names(path, partition)) {
        let manifest = path.join(MANIFEST);
        let bytes = match fs::read(&manifest) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed("read", &manifest)(error)),
        };
        let manifest = Manifest::decode(bytes).map_err(malformed("snapshot manifest"))?;
        if (manifest.partition, manifest.index) == (partition, index) {
            tracing::info!(%partition, index, "finishing the installation of a snapshot");
            return manifest.finish(&path, items, log);
        }
    }
    Err(SnapshotError::Damaged { partition })
}

fn names(path: &Path, partition: PartitionId) -> bool {
    let prefix = format!("{partition}-");
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix))
}

fn list(dir: &Path) -> Result<Vec<std::path::PathBuf>, SnapshotError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("list", dir)(error)),
    };
    entries.map(|entry| entry.map(|entry| entry.path()).map_err(failed("list", dir))).collect()
}

fn run(log: &Log, partition: PartitionId, work: Work) -> Result<(), SnapshotError> {
    if log.run(partition, work) { Ok(()) } else { Err(SnapshotError::LogClosed) }
}
