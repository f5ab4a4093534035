//! A file of the engine that is not what was written: which one it is, whose it may be, and how it goes.
//!
//! RocksDB names the file in its error. Whoever reads for a client stumbles over one block and goes on; a compaction stops, and
//! with it all writes until the engine is opened anew, when it would try the same again. Files of the first level cannot be taken
//! out, nor any of which the others' order depends: then the whole folder goes (`server/salvage`).

use std::fs;
use std::path::Path;

use model::{KeyRange, TableId};

use super::engine::Background;
use super::keys::{SPACES, bounds, items_start};
use super::{Items, ItemsError, ItemsOptions, failed};

/// One that the engine has, with its first and its last key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedFile {
    pub name: String,
    level: i32,
    first: Vec<u8>,
    last: Vec<u8>,
}

impl DamagedFile {
    /// It can be taken out without the others, and holds no group's records.
    pub fn is_apart(&self) -> bool {
        self.level > 0 && self.first >= items_start()
    }

    /// It may hold something of that range, or hide what an older file has of it.
    pub fn touches(&self, table: TableId, range: &KeyRange) -> bool {
        SPACES.into_iter().any(|space| {
            let (start, end) = bounds(table, space, range);
            start <= self.last && self.first < end
        })
    }
}

impl Items {
    /// To look at a damaged one.
    pub fn open_at_rest(options: ItemsOptions) -> Result<Items, ItemsError> {
        Items::open_with(options, Background::Rests)
    }

    /// The file that an error named, if it is still there.
    pub fn damaged_file(&self, error: &str) -> Result<Option<DamagedFile>, ItemsError> {
        let Some(name) = named_file(error) else { return Ok(None) };
        let files = self.inner.db.live_files().map_err(failed("list the files of"))?;
        let found = files.into_iter().find(|file| file.name.trim_start_matches('/') == name);
        Ok(found.map(|file| DamagedFile {
            name: name.to_owned(),
            level: file.level,
            first: file.start_key.unwrap_or_default(),
            last: file.end_key.unwrap_or_default(),
        }))
    }

    /// Removes it, and every other that lies between its keys; a link to it stays in `aside`. Whether it is gone.
    pub fn take_out(&self, file: &DamagedFile, dir: &Path, aside: &Path) -> Result<bool, ItemsError> {
        if let Err(error) = fs::hard_link(dir.join(&file.name), aside) {
            tracing::warn!(file = file.name, %error, "failed to keep a damaged file for people");
        }
        self.inner.db.delete_file_in_range(&file.first, &file.last).map_err(failed("take a file out of"))?;
        Ok(self.damaged_file(&file.name)?.is_none())
    }

    /// All files of the engine are merged now.
    #[cfg(test)]
    pub fn compact(&self) {
        self.inner.db.compact_range(None::<&[u8]>, None::<&[u8]>);
    }
}

/// Changes a byte of that text wherever a file has it.
#[cfg(test)]
pub fn rot(dir: &Path, text: &str) {
    let mut found = 0;
    for file in
        fs::read_dir(dir).expect("a test can use its files").map(|file| file.expect("a test can use its files").path())
    {
        let mut bytes = fs::read(&file).expect("a test can use its files");
        let places = bytes.windows(text.len()).enumerate().filter(|(_, part)| *part == text.as_bytes());
        let at = places.map(|(at, _)| at).next_back();
        if let (Some(at), Some("sst")) = (at, file.extension().and_then(|extension| extension.to_str())) {
            bytes[at] ^= 1;
            fs::write(&file, bytes).expect("a test can use its files");
            found += 1;
        }
    }
    assert!(found > 0, "{text} is in no file");
}

/// `… in DIR/000123.sst offset …`
pub fn named_file(error: &str) -> Option<&str> {
    let end = error.find(".sst")?;
    let start = error[..end].rfind(|at: char| !at.is_ascii_digit()).map_or(0, |at| at + 1);
    (start < end).then(|| &error[start..end + ".sst".len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_its_file() {
        let said = "Corruption: block checksum mismatch: stored = 7, computed = 9, type = 4  in /data/items/000012.sst offset 0";
        assert_eq!(named_file(said), Some("000012.sst"));
        assert_eq!(named_file("000007.sst"), Some("000007.sst"));
        assert_eq!(named_file("cannot open the items"), None);
        assert_eq!(named_file("what.sst"), None);
    }
}
