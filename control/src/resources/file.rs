//! Resources in one JSON file, replaced as a whole: written beside it, synced, renamed, the folder synced.
//!
//! ```json
//! {"format": 1, "revision": 7, "tables": [{"name": "music", "table": "<hex>", "partitions": ["<hex>"]}]}
//! ```
//! Descriptors are in `model`'s encoding; the names beside them are for people. Who has put an older file in the place of a newer one adds
//! `"confirm": "nodes"` or `"confirm": "resource"` to a table of which the log says that it is diverged (`diverged`), and starts again.
//!
//! Beside it stands a spare file, given up where the disk has no room for the next one: what makes room again, DeleteTable among
//! it, is written here first.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use model::{PartitionDescriptor, TableDescriptor};
use serde::{Deserialize, Serialize};

use super::{ResourceError, Resources, Snapshot, TableResource};
use crate::diverged::Confirmed;

const FORMAT: u64 = 1;
/// Kept back at least.
const SPARE_BYTES: usize = 64 << 10;

/// One process owns the file (the folder's lock sees to that), so revisions are compared under a mutex.
pub struct FileResources {
    path: PathBuf,
    current: Mutex<Snapshot>,
}

#[derive(Serialize, Deserialize)]
struct Document {
    format: u64,
    revision: u64,
    tables: Vec<TableEntry>,
}

#[derive(Serialize, Deserialize)]
struct TableEntry {
    name: String,
    table: String,
    partitions: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    confirm: Option<String>,
}

impl FileResources {
    /// A missing file is an empty one.
    pub fn open(path: &Path) -> Result<FileResources, ResourceError> {
        let (current, bytes) = match fs::read(path) {
            Ok(bytes) => (parse(&bytes)?, bytes.len()),
            Err(error) if error.kind() == ErrorKind::NotFound => (Snapshot::default(), 0),
            Err(error) => return Err(error.into()),
        };
        let resources = FileResources { path: path.to_owned(), current: Mutex::new(current) };
        resources.keep_spare(bytes);
        Ok(resources)
    }

    fn current(&self) -> MutexGuard<'_, Snapshot> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn replace(&self, snapshot: &Snapshot) -> Result<(), ResourceError> {
        let bytes = render(snapshot);
        match self.put(&bytes) {
            Err(error) if error.kind() == ErrorKind::StorageFull && fs::remove_file(self.spare()).is_ok() => {
                self.put(&bytes)?;
            }
            put => put?,
        }
        self.keep_spare(bytes.len());
        Ok(())
    }

    fn put(&self, bytes: &[u8]) -> std::io::Result<()> {
        let beside = self.path.with_extension("new");
        let mut file = File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, &self.path)?;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }

    fn spare(&self) -> PathBuf {
        self.path.with_extension("spare")
    }

    /// For a file of so many bytes. Where there is no room for it the next change makes it again.
    fn keep_spare(&self, bytes: usize) {
        let (spare, bytes) = (self.spare(), SPARE_BYTES.max(bytes * 2));
        let kept = fs::metadata(&spare).map_or(0, |metadata| metadata.len());
        if u64::try_from(bytes).is_ok_and(|wanted| kept >= wanted) {
            return;
        }
        if let Err(error) = fs::write(&spare, vec![0; bytes]) {
            tracing::warn!(%error, "no room is kept back for the next change of the resources");
        }
    }
}

impl Resources for FileResources {
    async fn read(&self) -> Result<Snapshot, ResourceError> {
        Ok(self.current().clone())
    }

    async fn is_newest(&self, read: &Snapshot, _name: &str) -> Result<bool, ResourceError> {
        Ok(self.current().revision == read.revision)
    }

    async fn write(&self, read: &Snapshot, name: &str, resource: Option<TableResource>) -> Result<(), ResourceError> {
        let mut current = self.current();
        if current.revision != read.revision {
            return Err(ResourceError::Conflict(name.to_owned()));
        }
        let mut next = current.clone();
        next.revision += 1;
        // What was said is done, or was said of something else.
        next.confirmed.remove(name);
        match resource {
            Some(resource) => next.tables.insert(name.to_owned(), resource),
            None => next.tables.remove(name),
        };
        self.replace(&next)?;
        *current = next;
        Ok(())
    }
}

fn render(snapshot: &Snapshot) -> Vec<u8> {
    let tables = snapshot.tables.iter().map(|(name, resource)| TableEntry {
        name: name.clone(),
        table: to_hex(&resource.table.encode()),
        partitions: resource.partitions.iter().map(|partition| to_hex(&partition.encode())).collect(),
        confirm: snapshot.confirmed.get(name).map(|confirmed| confirmed.word().to_owned()),
    });
    let document = Document { format: FORMAT, revision: snapshot.revision, tables: tables.collect() };
    serde_json::to_vec_pretty(&document).expect("strings and numbers always have a JSON form")
}

fn parse(bytes: &[u8]) -> Result<Snapshot, ResourceError> {
    let document: Document =
        serde_json::from_slice(bytes).map_err(|error| ResourceError::Malformed(error.to_string()))?;
    if document.format != FORMAT {
        return Err(ResourceError::UnknownFormat { found: document.format, known: FORMAT });
    }
    let mut snapshot = Snapshot { revision: document.revision, ..Snapshot::default() };
    for entry in document.tables {
        let table = TableDescriptor::decode(from_hex(&entry.table)?).map_err(malformed)?;
        let partitions = entry.partitions.iter().map(|text| {
            let bytes = from_hex(text)?;
            PartitionDescriptor::decode(bytes).map_err(malformed)
        });
        let partitions = partitions.collect::<Result<_, _>>()?;
        if let Some(word) = &entry.confirm {
            let confirmed = Confirmed::read(word).ok_or_else(|| {
                ResourceError::Malformed(format!("confirm of {}: {word:?} is not nodes or resource", entry.name))
            })?;
            snapshot.confirmed.insert(entry.name.clone(), confirmed);
        }
        snapshot.tables.insert(entry.name, TableResource { table, partitions });
    }
    Ok(snapshot)
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err asks for")]
fn malformed(error: model::codec::DecodeError) -> ResourceError {
    ResourceError::Malformed(error.to_string())
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Result<Bytes, ResourceError> {
    let not_hex = || ResourceError::Malformed("a descriptor is not hexadecimal".into());
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return Err(not_hex());
    }
    let bytes = digits.chunks_exact(2).map(|pair| {
        let pair = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(pair, 16).ok()
    });
    bytes.collect::<Option<Vec<u8>>>().map(Bytes::from).ok_or_else(not_hex)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::{partition, table};

    #[tokio::test]
    async fn what_was_written_is_read_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resources.json");
        let file = FileResources::open(&path).unwrap();
        let resource = TableResource { table: table("music"), partitions: vec![partition(3, 7)] };
        file.write(&Snapshot::default(), "music", Some(resource.clone())).await.unwrap();
        let again = FileResources::open(&path).unwrap().read().await.unwrap();
        assert_eq!(again, file.read().await.unwrap());
        assert_eq!(again.tables["music"], resource);
        assert_eq!(again.revision, 1);
    }

    #[tokio::test]
    async fn the_slower_of_two_writers_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = FileResources::open(&folder.path().join("resources.json")).unwrap();
        let resource = TableResource { table: table("music"), partitions: vec![] };
        let before = file.read().await.unwrap();
        file.write(&before, "music", Some(resource.clone())).await.unwrap();
        let second = file.write(&before, "films", Some(resource)).await;
        assert!(matches!(second, Err(ResourceError::Conflict(_))), "{second:?}");
        let now = file.read().await.unwrap();
        file.write(&now, "music", None).await.unwrap();
        assert!(file.read().await.unwrap().tables.is_empty());
    }

    #[test]
    fn another_format_is_refused_untouched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resources.json");
        fs::write(&path, r#"{"format":2,"revision":1,"tables":[]}"#).unwrap();
        let error = FileResources::open(&path).err().unwrap();
        assert!(matches!(error, ResourceError::UnknownFormat { found: 2, known: 1 }), "{error:?}");
    }
}
