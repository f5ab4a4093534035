//! Snapshot files: written from one view of the engine, and brought in by one ingest.
//!
//! The ingest is one change of RocksDB's manifest: after it everything of the range is the snapshot's, before it nothing is.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use model::{KeyRange, PartitionId, TableId};
use rocksdb::{
    DB, DBRawIteratorWithThreadMode, IngestExternalFileOptions, Options, SnapshotWithThreadMode, SstFileWriter,
};

use super::keys::{RecordKind, SPACES, bounds, record_key};
use super::{GroupRecords, Items, ItemsError, engine, failed};

/// One state of the engine.
pub struct SnapshotView<'a> {
    snapshot: SnapshotWithThreadMode<'a, DB>,
    options: Options,
}

/// What replaces everything that a group has.
#[derive(Clone, Debug)]
pub struct SnapshotFiles<'a> {
    pub partition: PartitionId,
    pub table: TableId,
    pub range: &'a KeyRange,
    pub mark: &'a Bytes,
    pub state: &'a Bytes,
    /// Ascending, and each with keys of the range alone. They are moved into the engine.
    pub files: Vec<PathBuf>,
    /// Where a few more files may be written.
    pub dir: &'a Path,
}

impl Items {
    pub fn view(&self) -> SnapshotView<'_> {
        SnapshotView { snapshot: self.inner.db.snapshot(), options: engine::file_options(&engine::table_options()) }
    }

    /// Durable when it returns. The group must not write meanwhile.
    pub fn ingest(&self, snapshot: &SnapshotFiles<'_>) -> Result<(), ItemsError> {
        // Ingested files are newer than any memtable: without this a crash would leave older marks with newer items.
        self.flush()?;
        let options = engine::file_options(&engine::table_options());
        let mut files = Vec::new();
        files.extend(self.write_tombstones(snapshot, &options)?);
        files.push(write_records(snapshot, &options)?);
        files.extend(snapshot.files.iter().cloned());
        let mut ingest = IngestExternalFileOptions::default();
        ingest.set_move_files(true);
        let _records = self.lock_records();
        self.inner.db.ingest_external_file_opts(&ingest, files).map_err(failed("ingest"))
    }

    /// Hides what is in the range now: one file per space that holds anything, so that none spans another partition. Files
    /// of one ingest are taken in order: these come first.
    fn write_tombstones(&self, snapshot: &SnapshotFiles<'_>, options: &Options) -> Result<Vec<PathBuf>, ItemsError> {
        let mut files = Vec::new();
        for space in SPACES {
            if self.ends(snapshot.table, space, snapshot.range)?.is_none() {
                continue;
            }
            let path = snapshot.dir.join(format!("tombstones-{space}.sst"));
            let (start, end) = bounds(snapshot.table, space, snapshot.range);
            let mut writer = SstFileWriter::create(options);
            let write = || {
                writer.open(&path)?;
                writer.delete_range(start, end)?;
                writer.finish()
            };
            write().map_err(failed("write a snapshot of"))?;
            files.push(path);
        }
        Ok(files)
    }
}

fn write_records(snapshot: &SnapshotFiles<'_>, options: &Options) -> Result<PathBuf, ItemsError> {
    let path = snapshot.dir.join("records.sst");
    let mut writer = SstFileWriter::create(options);
    let mut write = || {
        writer.open(&path)?;
        writer.put(record_key(snapshot.partition, RecordKind::Mark), snapshot.mark)?;
        writer.put(record_key(snapshot.partition, RecordKind::State), snapshot.state)?;
        writer.finish()
    };
    write().map_err(failed("write a snapshot of"))?;
    Ok(path)
}

impl SnapshotView<'_> {
    /// The group's records in this view.
    pub fn group(&self, partition: PartitionId) -> Result<GroupRecords, ItemsError> {
        let read = |kind| {
            let value = self.snapshot.get_pinned(record_key(partition, kind));
            Ok(value.map_err(failed("read a group's records of"))?.map(|value| Bytes::copy_from_slice(&value)))
        };
        Ok(GroupRecords { partition, mark: read(RecordKind::Mark)?, state: read(RecordKind::State)? })
    }

    /// Writes everything of the range, all spaces, into files of about `file_bytes` in `dir`, ascending, none with keys of
    /// two spaces. `pace` is told how many bytes were written since it was last called, and may wait; if it says no, the
    /// files written so far are returned as they are.
    pub fn write_files(
        &self,
        table: TableId,
        range: &KeyRange,
        dir: &Path,
        file_bytes: u64,
        mut pace: impl FnMut(u64) -> bool,
    ) -> Result<Vec<PathBuf>, ItemsError> {
        let mut files = Vec::new();
        let mut unpaced = 0;
        for space in SPACES {
            let mut at = self.snapshot.raw_iterator_opt(engine::iterate_options(bounds(table, space, range)));
            at.seek_to_first();
            while at.valid() {
                let path = dir.join(format!("{:06}.sst", files.len()));
                let written = self.write_file(&mut at, &path, file_bytes, |bytes| {
                    unpaced += bytes;
                    unpaced < PACE_BYTES || pace(std::mem::take(&mut unpaced))
                });
                files.push(path);
                if !written.map_err(failed("write a snapshot of"))? {
                    return Ok(files);
                }
            }
            at.status().map_err(failed("read a snapshot of"))?;
        }
        Ok(files)
    }

    /// One file, from where the iterator stands. False if it may not go on.
    fn write_file(
        &self,
        at: &mut DBRawIteratorWithThreadMode<'_, DB>,
        path: &Path,
        file_bytes: u64,
        mut may_go_on: impl FnMut(u64) -> bool,
    ) -> Result<bool, rocksdb::Error> {
        let mut file = SstFileWriter::create(&self.options);
        file.open(path)?;
        while let Some((key, value)) = at.item() {
            file.put(key, value)?;
            let bytes = u64::try_from(key.len() + value.len()).unwrap_or(u64::MAX);
            at.next();
            if !may_go_on(bytes) {
                return Ok(false);
            }
            if file.file_size() >= file_bytes {
                break;
            }
        }
        file.finish()?;
        Ok(true)
    }
}

/// How often a snapshot asks whether it may go on.
const PACE_BYTES: u64 = 256 << 10;
