//! What a power cut leaves of the log's files: the folder as it was before the last batch, and a part of that batch.

use std::fs;
use std::path::{Path, PathBuf};

use sim::rng::Rng;

use crate::log::recovery::{BATCH_HEADER_LEN, FILE_HEADER_LEN, header_len};

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// What is left of the last batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    Nothing,
    /// Nothing of the batch, but something of the new file that it was to begin.
    Header,
    Part,
    All,
}

/// Which bytes of the last file a crash may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Everything that was written since the copy.
    Step,
    /// The last batch alone.
    LastBatch,
}

pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        if file.file_type().unwrap().is_file() {
            fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
}

/// The last batch was being written: `to` is what the next start finds.
pub fn cut(rng: &mut Rng, before: &Path, after: &Path, to: &Path, reach: Reach) -> Left {
    let written = Written::find(before, after, reach);
    let whole = rng.range(0, 100);
    if written.start >= written.end || whole < 15 {
        copy(after, to);
        return Left::All;
    }
    if whole < 30 && reach == Reach::Step {
        copy(before, to);
        return Left::Nothing;
    }
    copy(if reach == Reach::Step { before } else { after }, to);
    // Of several files the last one alone is not yet synced.
    let first = if reach == Reach::Step { files(before).pop() } else { None };
    for file in files(after) {
        let name = file.file_name().unwrap();
        if first.as_ref().is_none_or(|first| name >= first.file_name().unwrap()) {
            fs::copy(&file, to.join(name)).unwrap();
        }
    }
    let torn = written.tear(rng);
    let left = written.left(&torn);
    fs::write(to.join(written.file.file_name().unwrap()), torn).unwrap();
    left
}

/// The last batch was synced, and the disk has damaged it since, so that it shows.
pub fn damage(rng: &mut Rng, before: &Path, after: &Path, to: &Path) {
    copy(after, to);
    let mut written = Written::find(before, after, Reach::Step);
    written.start = written.start.max(header_end(&written.bytes));
    let torn = loop {
        let torn = if rng.permille(300) { written.flip(rng) } else { written.tear(rng) };
        if written.left(&torn) == Left::Part {
            break torn;
        }
    };
    fs::write(to.join(written.file.file_name().unwrap()), torn).unwrap();
}

/// What a step has written to the last file.
struct Written {
    file: PathBuf,
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Written {
    fn find(before: &Path, after: &Path, reach: Reach) -> Written {
        let file = files(after).pop().unwrap();
        let bytes = fs::read(&file).unwrap();
        let batches = batches(&bytes);
        let end = batches.last().map_or(bytes.len().min(header_end(&bytes)), |(_, end)| *end);
        let start = match reach {
            Reach::LastBatch => batches.last().map_or(end, |(start, _)| *start),
            Reach::Step => fs::read(before.join(file.file_name().unwrap())).map_or(0, |bytes| {
                super::crash::batches(&bytes).last().map_or(bytes.len().min(header_end(&bytes)), |(_, end)| *end)
            }),
        };
        Written { file, bytes, start, end }
    }

    fn tear(&self, rng: &mut Rng) -> Vec<u8> {
        let mut torn = self.bytes.clone();
        let at = self.start + rng.index(self.end - self.start + 1);
        let noise = |rng: &mut Rng, bytes: &mut [u8]| {
            for byte in bytes {
                *byte = rng.draw().to_le_bytes()[0];
            }
        };
        match rng.range(0, 5) {
            0 => torn[at..].fill(0),
            1 => torn.truncate(at),
            2 => {
                let mut from = self.start;
                while from < self.end {
                    let to = (from / SECTOR + 1).saturating_mul(SECTOR).min(self.end);
                    if rng.permille(500) {
                        torn[from..to].fill(0);
                    }
                    from = to;
                }
            }
            3 => noise(rng, &mut torn[at..self.end]),
            _ => {
                let to = ((at / SECTOR + 1) * SECTOR).min(self.end);
                noise(rng, &mut torn[at..to]);
                torn[to..].fill(0);
            }
        }
        torn
    }

    /// One bit of the batch, but none of its kind of compression, which nobody needs where nothing is compressed.
    fn flip(&self, rng: &mut Rng) -> Vec<u8> {
        let mut torn = self.bytes.clone();
        let at = self.start + rng.index(self.end - self.start);
        if at != self.start + 7 {
            torn[at] ^= 1 << rng.range(0, 8);
        }
        torn
    }

    fn left(&self, torn: &[u8]) -> Left {
        let byte = |at: usize| torn.get(at).copied().unwrap_or_default();
        if (self.start..self.end).all(|at| byte(at) == self.bytes[at]) {
            return Left::All;
        }
        let batch = self.start.max(header_end(&self.bytes));
        if (batch..self.end).any(|at| byte(at) != 0) {
            return Left::Part;
        }
        if self.start < batch && (self.start..batch).any(|at| byte(at) != 0) { Left::Header } else { Left::Nothing }
    }
}

/// Of the file's header, or of the one that it should have.
fn header_end(bytes: &[u8]) -> usize {
    usize::try_from(header_len(bytes).unwrap_or(FILE_HEADER_LEN)).unwrap()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "raftlog"));
    files.sort();
    files
}

/// Where the batches of a file begin and end.
pub fn batches(bytes: &[u8]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut at = header_end(bytes);
    let least = usize::try_from(BATCH_HEADER_LEN).unwrap();
    while at + least <= bytes.len() {
        let len = u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap()) >> 8;
        let end = at + usize::try_from(len).unwrap();
        if len == 0 || end > bytes.len() {
            break;
        }
        found.push((at, end));
        at = end;
    }
    found
}
