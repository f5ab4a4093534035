//! The files under raft-engine: its own, with every sync counted, one sync that can be made to fail, and writes that wait
//! where the disk is full.
//!
//! A failed sync ends the process; what happens then can be tested only if a sync can fail. A write for which there is no room
//! is another matter: nothing of it is lost, and raft-engine would give up after its second attempt. So it is tried here until
//! the host says that there will be no room. Rewriting old files is not worth waiting for: it is begun again later.

use std::io::{Error, ErrorKind, Read, Result, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use raft_engine::env::{DefaultFileSystem, FileSystem, Handle, Permission, WriteExt};

type Inner = DefaultFileSystem;

/// How the files end to which batches are appended; the others hold what was rewritten.
const APPENDED: &str = "raftlog";

/// How many syncs there were, which one is to fail (0 for none), and how many reads are.
#[derive(Debug, Default)]
pub struct Syncs {
    done: AtomicU64,
    fail: AtomicU64,
    failing_reads: AtomicU64,
}

impl Syncs {
    /// Makes the sync of this number fail, counted from 1 now.
    pub fn fail_at(&self, number: u64) {
        self.fail.store(self.count() + number, Ordering::Relaxed);
    }

    /// Makes so many reads fail from now on.
    #[cfg(test)]
    pub fn fail_reads(&self, number: u64) {
        self.failing_reads.store(number, Ordering::Relaxed);
    }

    fn fails_to_read(&self) -> bool {
        let one_less = |left: u64| left.checked_sub(1);
        self.failing_reads.load(Ordering::Relaxed) > 0
            && self.failing_reads.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    }

    pub fn count(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }
}

/// Asked where the disk has no room: waits a moment; false if nobody is to try again.
pub type AwaitRoom = Arc<dyn Fn() -> bool + Send + Sync>;

/// raft-engine's files, watched.
pub struct WatchedFiles {
    pub syncs: Arc<Syncs>,
    pub await_room: AwaitRoom,
    pub hands: Hands,
}

/// What becomes of what raft-engine wants to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hands {
    Write,
    /// It is told that it was done, and the files stay as they are: for looking at a damaged log where there may be no room for
    /// a copy.
    Off,
}

pub struct WatchedFile {
    file: Arc<<Inner as FileSystem>::Handle>,
    syncs: Arc<Syncs>,
    patience: Patience,
    hands: Hands,
    /// Where it would have been cut.
    cut: AtomicUsize,
}

pub struct WatchedReader {
    reader: <Inner as FileSystem>::Reader,
    syncs: Arc<Syncs>,
}

pub struct WatchedWriter {
    writer: <Inner as FileSystem>::Writer,
    patience: Patience,
    hands: Hands,
}

/// Whether a file's writes wait for room.
#[derive(Clone)]
struct Patience(Option<AwaitRoom>);

impl Patience {
    fn tried<T>(&self, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
        loop {
            match (attempt(), &self.0) {
                (Err(error), Some(await_room)) if is_no_room(&error) && await_room() => (),
                (tried, _) => return tried,
            }
        }
    }
}

pub fn is_no_room(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

impl WatchedFiles {
    fn patience(&self, path: &Path) -> Patience {
        let appended = path.extension().is_some_and(|extension| extension == APPENDED);
        Patience(appended.then(|| Arc::clone(&self.await_room)))
    }

    fn watch(&self, file: <Inner as FileSystem>::Handle, patience: Patience) -> WatchedFile {
        let (syncs, cut) = (Arc::clone(&self.syncs), AtomicUsize::new(usize::MAX));
        WatchedFile { file: Arc::new(file), syncs, patience, hands: self.hands, cut }
    }
}

impl FileSystem for WatchedFiles {
    type Handle = WatchedFile;
    type Reader = WatchedReader;
    type Writer = WatchedWriter;

    fn create<P: AsRef<Path>>(&self, path: P) -> Result<WatchedFile> {
        let patience = self.patience(path.as_ref());
        let file = patience.tried(|| DefaultFileSystem.create(path.as_ref()))?;
        Ok(self.watch(file, patience))
    }

    fn open<P: AsRef<Path>>(&self, path: P, permission: Permission) -> Result<WatchedFile> {
        let patience = self.patience(path.as_ref());
        Ok(self.watch(DefaultFileSystem.open(path, permission)?, patience))
    }

    fn delete<P: AsRef<Path>>(&self, path: P) -> Result<()> {
        DefaultFileSystem.delete(path)
    }

    fn rename<P: AsRef<Path>>(&self, from: P, to: P) -> Result<()> {
        DefaultFileSystem.rename(from, to)
    }

    fn new_reader(&self, handle: Arc<WatchedFile>) -> Result<WatchedReader> {
        let reader = DefaultFileSystem.new_reader(Arc::clone(&handle.file))?;
        Ok(WatchedReader { reader, syncs: Arc::clone(&self.syncs) })
    }

    fn new_writer(&self, handle: Arc<WatchedFile>) -> Result<WatchedWriter> {
        let writer = DefaultFileSystem.new_writer(Arc::clone(&handle.file))?;
        Ok(WatchedWriter { writer, patience: handle.patience.clone(), hands: handle.hands })
    }
}

impl Read for WatchedReader {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize> {
        if self.syncs.fails_to_read() {
            return Err(Error::other("this read was asked to fail"));
        }
        self.reader.read(bytes)
    }
}

impl Seek for WatchedReader {
    fn seek(&mut self, to: SeekFrom) -> Result<u64> {
        self.reader.seek(to)
    }
}

impl Write for WatchedWriter {
    /// One that failed has not moved: the next attempt begins where it did.
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let writer = &mut self.writer;
        match self.hands {
            Hands::Write => self.patience.tried(|| writer.write(bytes)),
            Hands::Off => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> Result<()> {
        self.writer.flush()
    }
}

impl Seek for WatchedWriter {
    fn seek(&mut self, to: SeekFrom) -> Result<u64> {
        self.writer.seek(to)
    }
}

impl WriteExt for WatchedWriter {
    fn truncate(&mut self, offset: usize) -> Result<()> {
        match self.hands {
            Hands::Write => WriteExt::truncate(&mut self.writer, offset),
            Hands::Off => Ok(()),
        }
    }

    /// Ahead of what is written: raft-engine goes on without it.
    fn allocate(&mut self, offset: usize, size: usize) -> Result<()> {
        match self.hands {
            Hands::Write => self.writer.allocate(offset, size),
            Hands::Off => Ok(()),
        }
    }
}

impl Handle for WatchedFile {
    fn truncate(&self, offset: usize) -> Result<()> {
        match self.hands {
            Hands::Write => Handle::truncate(self.file.as_ref(), offset),
            Hands::Off => {
                self.cut.fetch_min(offset, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    fn file_size(&self) -> Result<usize> {
        Ok(Handle::file_size(self.file.as_ref())?.min(self.cut.load(Ordering::Relaxed)))
    }

    fn sync(&self) -> Result<()> {
        let number = self.syncs.done.fetch_add(1, Ordering::Relaxed) + 1;
        if self.syncs.fail.load(Ordering::Relaxed) == number {
            return Err(Error::other("this sync was asked to fail"));
        }
        Handle::sync(self.file.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused_until(attempt: usize, patience: &Patience) -> (Result<usize>, usize) {
        let mut attempts = 0;
        let tried = patience.tried(|| {
            attempts += 1;
            if attempts < attempt { Err(ErrorKind::StorageFull.into()) } else { Ok(attempts) }
        });
        (tried, attempts)
    }

    #[test]
    fn a_write_without_room_is_tried_until_there_is_room_or_nobody_waits() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let thrice: AwaitRoom = Arc::new(move || counted.fetch_add(1, Ordering::Relaxed) < 3);
        let patience = Patience(Some(thrice));
        assert_eq!(refused_until(3, &patience).0.unwrap(), 3);
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        let (refused, attempts) = refused_until(99, &patience);
        assert!(is_no_room(&refused.unwrap_err()) && attempts == 2);
        assert_eq!(refused_until(99, &Patience(None)).1, 1);
        let other = patience.tried(|| Err::<(), _>(ErrorKind::PermissionDenied.into()));
        assert_eq!(other.unwrap_err().kind(), ErrorKind::PermissionDenied);
    }
}
