//! The files under raft-engine: its own, with every sync counted, and one sync that can be made to fail.
//!
//! A failed sync ends the process; what happens then can be tested only if a sync can fail.

use std::io::{Error, Result};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use raft_engine::env::{DefaultFileSystem, FileSystem, Handle, Permission};

type Inner = DefaultFileSystem;

/// How many syncs there were, and which one is to fail (0 for none).
#[derive(Debug, Default)]
pub struct Syncs {
    done: AtomicU64,
    fail: AtomicU64,
}

impl Syncs {
    /// Makes the sync of this number fail, counted from 1 now.
    pub fn fail_at(&self, number: u64) {
        self.fail.store(self.count() + number, Ordering::Relaxed);
    }

    pub fn count(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }
}

/// raft-engine's files, watched.
pub struct WatchedFiles {
    pub syncs: Arc<Syncs>,
}

pub struct WatchedFile {
    file: Arc<<Inner as FileSystem>::Handle>,
    syncs: Arc<Syncs>,
}

impl WatchedFiles {
    fn watch(&self, file: <Inner as FileSystem>::Handle) -> WatchedFile {
        WatchedFile { file: Arc::new(file), syncs: Arc::clone(&self.syncs) }
    }
}

impl FileSystem for WatchedFiles {
    type Handle = WatchedFile;
    type Reader = <Inner as FileSystem>::Reader;
    type Writer = <Inner as FileSystem>::Writer;

    fn create<P: AsRef<Path>>(&self, path: P) -> Result<WatchedFile> {
        Ok(self.watch(DefaultFileSystem.create(path)?))
    }

    fn open<P: AsRef<Path>>(&self, path: P, permission: Permission) -> Result<WatchedFile> {
        Ok(self.watch(DefaultFileSystem.open(path, permission)?))
    }

    fn delete<P: AsRef<Path>>(&self, path: P) -> Result<()> {
        DefaultFileSystem.delete(path)
    }

    fn rename<P: AsRef<Path>>(&self, from: P, to: P) -> Result<()> {
        DefaultFileSystem.rename(from, to)
    }

    fn new_reader(&self, handle: Arc<WatchedFile>) -> Result<Self::Reader> {
        DefaultFileSystem.new_reader(Arc::clone(&handle.file))
    }

    fn new_writer(&self, handle: Arc<WatchedFile>) -> Result<Self::Writer> {
        DefaultFileSystem.new_writer(Arc::clone(&handle.file))
    }
}

impl Handle for WatchedFile {
    fn truncate(&self, offset: usize) -> Result<()> {
        Handle::truncate(self.file.as_ref(), offset)
    }

    fn file_size(&self) -> Result<usize> {
        Handle::file_size(self.file.as_ref())
    }

    fn sync(&self) -> Result<()> {
        let number = self.syncs.done.fetch_add(1, Ordering::Relaxed) + 1;
        if self.syncs.fail.load(Ordering::Relaxed) == number {
            return Err(Error::other("this sync was asked to fail"));
        }
        Handle::sync(self.file.as_ref())
    }
}
