//! What an unclean stop leaves at the log's end, and whether it may be cut off.
//!
//! raft-engine allocates ahead, so zeros behind the last batch are no damage: they are cut before it opens. Any other bad
//! tail is examined first with raft-engine's hands tied, because it cuts it silently. That tells the last readable batch; the
//! marks in the damaged file's bytes tell up to which batch everything was synced. Unreadable and synced is corruption.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::PartitionId;
use raft_engine::{Config, LogBatch, RecoveryMode};

use super::files::{AwaitRoom, Hands, Syncs, WatchedFiles};
use super::format::{LOG_GROUP, MARK, Mark, MarkKey, Tail, uncertain_key};
use super::read::{self, NodeRecords};
use super::writer::{Engine, Uncertain};
use super::{LogError, LogGroup, LogOptions};
use wire::error::describe;

const FILE_MAGIC: &[u8] = b"RAFT-LOG-FILE-HEADER-9986AB3E47F320B394C8E84916EB0ED5";
/// Magic, version and alignment of raft-engine's file format 2.
pub const FILE_HEADER_LEN: u64 = FILE_MAGIC.len() as u64 + 8 + 8;
pub const BATCH_HEADER_LEN: u64 = 16;
/// Beside raft-engine's files, which it is older than.
const KEY_FILE: &str = "mark-key";

/// What stands at the log's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Sound,
    /// Something unreadable was cut off, and it cannot be told whether it had been synced.
    Uncertain,
}

pub struct Opened {
    pub engine: Engine,
    pub end: End,
    pub key: MarkKey,
}

/// Opens the engine so that nothing is cut off silently.
pub fn open(options: &LogOptions, syncs: &Arc<Syncs>, await_room: &AwaitRoom) -> Result<Opened, LogError> {
    fs::create_dir_all(&options.dir).map_err(|source| io_error("make", &options.dir, source))?;
    let key = mark_key(&options.dir)?;
    for queue in ["raftlog", "rewrite"] {
        let files = files(&options.dir, queue)?;
        for file in &files {
            mend_alignment(file).map_err(|source| io_error("mend the header of", file, source))?;
        }
        if let Some(last) = files.last() {
            cut_zeros(last).map_err(|source| io_error("cut zeros off", last, source))?;
        }
        sync_folder(&options.dir)?;
    }
    let files = || WatchedFiles { syncs: Arc::clone(syncs), await_room: Arc::clone(await_room), hands: Hands::Write };
    match open_engine(options, &options.dir, files(), RecoveryMode::AbsoluteConsistency) {
        Ok(engine) => return Ok(Opened { engine, end: End::Sound, key }),
        Err(raft_engine::Error::Corruption(reason)) => {
            tracing::warn!(reason, "the log's tail is unreadable, examining it");
        }
        Err(source) => return Err(LogError::Open { dir: options.dir.clone(), source }),
    }
    examine(options, key)?;
    let engine = open_engine(options, &options.dir, files(), RecoveryMode::TolerateTailCorruption)
        .map_err(|source| LogError::Open { dir: options.dir.clone(), source })?;
    Ok(Opened { engine, end: End::Uncertain, key })
}

/// Made before the log's first file; a log that has files and no key has lost it.
fn mark_key(dir: &Path) -> Result<MarkKey, LogError> {
    let path = dir.join(KEY_FILE);
    if !path.exists() && files(dir, "raftlog")?.is_empty() {
        let (random, new) = (Path::new("/dev/urandom"), dir.join("mark-key.new"));
        let mut key = [0; 16];
        File::open(random)
            .and_then(|mut file| file.read_exact(&mut key))
            .map_err(|source| io_error("read", random, source))?;
        File::create(&new)
            .and_then(|mut file| file.write_all(&key).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&new, &path))
            .map_err(|source| io_error("write", &path, source))?;
        sync_folder(dir)?;
        return Ok(MarkKey(key));
    }
    let lost = || LogError::LostKey { dir: dir.to_owned() };
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(lost()),
        read => read.map_err(|source| io_error("read", &path, source))?,
    };
    <[u8; 16]>::try_from(bytes).ok().map(MarkKey).ok_or_else(lost)
}

fn open_engine(
    options: &LogOptions,
    dir: &Path,
    files: WatchedFiles,
    recovery_mode: RecoveryMode,
) -> raft_engine::Result<Engine> {
    let config = Config {
        dir: dir.to_string_lossy().into_owned(),
        recovery_mode,
        batch_compression_threshold: raft_engine::ReadableSize(options.compress_above_bytes),
        target_file_size: raft_engine::ReadableSize(options.file_bytes),
        purge_threshold: raft_engine::ReadableSize(options.purge_bytes.max(options.file_bytes)),
        // A recycled file ends in old batches, so that its torn tail could not be told from a sound one.
        enable_log_recycle: false,
        prefill_for_recycle: false,
        ..Config::default()
    };
    Engine::open_with_file_system(config, Arc::new(files))
}

/// Fails if the unreadable tail was synced.
fn examine(options: &LogOptions, key: MarkKey) -> Result<(), LogError> {
    let dir = &options.dir;
    let readable = look_beside(options, RecoveryMode::TolerateTailCorruption, |engine| read_mark(engine, key).number)?;
    let durable = match files(dir, "raftlog")?.pop() {
        Some(last) => {
            let bytes = fs::read(&last).map_err(|source| io_error("read", &last, source))?;
            Mark::highest_durable(&bytes, key)
        }
        None => 0,
    };
    if durable > readable {
        return Err(LogError::Corrupt { dir: dir.clone(), durable, readable });
    }
    Ok(())
}

/// What can be read of a damaged log, which stays as it is.
fn look_beside<T>(options: &LogOptions, mode: RecoveryMode, look: impl FnOnce(&Engine) -> T) -> Result<T, LogError> {
    let dir = &options.dir;
    let beside = dir.with_extension("examined");
    if beside.exists() {
        fs::remove_dir_all(&beside).map_err(|source| io_error("remove", &beside, source))?;
    }
    fs::create_dir_all(&beside).map_err(|source| io_error("make", &beside, source))?;
    for queue in ["raftlog", "rewrite"] {
        link_files(&files(dir, queue)?, &beside)?;
    }
    let unwatched = WatchedFiles { syncs: Arc::default(), await_room: Arc::new(|| false), hands: Hands::Off };
    let engine = open_engine(options, &beside, unwatched, mode);
    let engine = engine.map_err(|source| LogError::Open { dir: dir.clone(), source })?;
    let found = look(&engine);
    drop(engine);
    fs::remove_dir_all(&beside).map_err(|source| io_error("remove", &beside, source))?;
    Ok(found)
}

/// Every group that something readable is left of; none where nothing is.
pub fn made_out(options: &LogOptions) -> Result<Vec<LogGroup>, LogError> {
    let groups = |engine: &Engine| read::groups(engine, &read::node_records(engine).accept_from);
    match look_beside(options, RecoveryMode::TolerateAnyCorruption, groups) {
        Err(error) if error.is_corrupt() => {
            tracing::error!(error = describe(&error), "nothing can be read of the damaged log");
            Ok(Vec::new())
        }
        found => found,
    }
}

/// The last readable batch's mark.
pub fn read_mark(engine: &Engine, key: MarkKey) -> Mark {
    engine.get(LOG_GROUP, MARK).and_then(|bytes| Mark::decode(&bytes, key)).unwrap_or_default()
}

/// Under the same names elsewhere: raft-engine takes a folder, and leaves things in it.
fn link_files(files: &[PathBuf], to: &Path) -> Result<(), LogError> {
    for file in files {
        let target = to.join(file.file_name().expect("a listed file has a name"));
        fs::hard_link(file, &target).map_err(|source| io_error("link", &target, source))?;
    }
    Ok(())
}

/// One queue's files, oldest first.
fn files(dir: &Path, extension: &str) -> Result<Vec<PathBuf>, LogError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(|source| io_error("list", dir, source))? {
        let path = entry.map_err(|source| io_error("list", dir, source))?.path();
        if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// No file here is aligned. raft-engine believes a damaged header that says otherwise, and asks for as much memory as it
/// says: the process would end at every start.
fn mend_alignment(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut head = vec![0; usize::try_from(FILE_HEADER_LEN).expect("a header is short")];
    if file.metadata()?.len() < FILE_HEADER_LEN {
        return Ok(());
    }
    file.read_exact_at(&mut head, 0)?;
    if header_len(&head) != Some(FILE_HEADER_LEN) || head.ends_with(&[0; 8]) {
        return Ok(());
    }
    tracing::warn!(?path, "the header of a log file is damaged, and mended");
    file.write_all_at(&[0; 8], FILE_HEADER_LEN - 8)?;
    file.sync_all()
}

/// Cuts the file behind its last batch, if nothing but zeros stands there. Whatever else is wrong is left alone.
fn cut_zeros(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let len = file.metadata()?.len();
    let mut head = vec![0; usize::try_from(len.min(FILE_HEADER_LEN)).expect("a header is short")];
    file.read_exact_at(&mut head, 0)?;
    let Some(mut end) = header_len(&head) else {
        // A header is synced before the first batch: nothing was ever written behind one that is not whole.
        return if only_zeros(&file, FILE_HEADER_LEN, len)? { fs::remove_file(path) } else { Ok(()) };
    };
    while end + BATCH_HEADER_LEN <= len {
        let mut header = [0; 8];
        file.read_exact_at(&mut header, end)?;
        let batch = u64::from_be_bytes(header) >> 8;
        if batch == 0 || end + batch > len {
            break;
        }
        end += batch;
    }
    if end < len && only_zeros(&file, end, len)? {
        file.set_len(end)?;
        file.sync_all()?;
    }
    Ok(())
}

/// Of raft-engine's file header, if it is whole. A file whose header was lost gets one of format 1 when its tail is cut: it
/// has no alignment.
pub fn header_len(head: &[u8]) -> Option<u64> {
    let version = head.strip_prefix(FILE_MAGIC)?.first_chunk::<8>()?;
    match u64::from_be_bytes(*version) {
        1 => Some(FILE_HEADER_LEN - 8),
        2 => Some(FILE_HEADER_LEN).filter(|len| u64::try_from(head.len()).is_ok_and(|found| found >= *len)),
        _ => None,
    }
}

fn only_zeros(file: &File, from: u64, to: u64) -> io::Result<bool> {
    let mut chunk = vec![0; 64 << 10];
    let mut at = from;
    while at < to {
        let want = usize::try_from(to - at).unwrap_or(usize::MAX).min(chunk.len());
        let read = file.read_at(&mut chunk[..want], at)?;
        if read == 0 {
            break;
        }
        if chunk[..read].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        at += u64::try_from(read).expect("a chunk's length fits 64 bits");
    }
    Ok(true)
}

fn sync_folder(dir: &Path) -> Result<(), LogError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|source| io_error("sync", dir, source))
}

fn io_error(verb: &'static str, path: &Path, source: io::Error) -> LogError {
    LogError::Io { verb, path: path.to_owned(), source }
}

/// What the log knows of groups when it is opened.
pub struct Known<'a> {
    pub tails: &'a HashMap<PartitionId, Tail>,
    pub records: &'a NodeRecords,
}

/// Remembers, synced, which groups' tails are uncertain: now, or since an earlier start. With the vote each has now. A group
/// of which only the id stands here may have lost its vote, and all else, with the log's end.
pub fn settle(engine: &Engine, options: &LogOptions, end: End, known: &Known<'_>) -> Result<Uncertain, LogError> {
    let Known { tails, records } = known;
    let mut groups: BTreeSet<PartitionId> = records.uncertain.iter().copied().collect();
    if end == End::Uncertain {
        groups.extend(tails.keys().chain(records.accept_from.keys()));
        let mut batch = LogBatch::default();
        for partition in &groups {
            batch.put(LOG_GROUP, uncertain_key(*partition), vec![1]).expect("our keys are not raft-engine's own");
        }
        engine.write(&mut batch, true).map_err(|source| LogError::Open { dir: options.dir.clone(), source })?;
    }
    // One whose vote cannot be read stays out.
    let with_vote = |partition| (partition, super::read::hard_state(engine, partition).unwrap_or_default());
    Ok(groups.into_iter().map(with_vote).collect())
}
