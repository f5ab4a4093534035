//! The node's folder: whose it is, of which format, held by which process, how full.
//!
//! ```text
//! DIR/format      the format version; another version is refused untouched
//! DIR/store       which folder this is: 64 random bits, drawn and synced by the first start, before there is an identity
//! DIR/identity    node id and zone, written once, synced
//! DIR/start       how often a process has started on this folder, raised and synced at every start
//! DIR/lock        held exclusively while a process runs; says its pid
//! DIR/recoveries  the audit record of unsafe recoveries, a line each, synced before anything is done (`worker/recovery`)
//! DIR/directory   what the node knows of the others, for its next start (`directory/file`)
//! DIR/reserve     bytes kept back, given up in steps where the disk refuses what must be written
//! DIR/damage      what was found to be damaged, for the next start (`server/salvage`)
//! DIR/aside/      what is damaged and was set aside, by the start that did it: for people, who may remove it
//! DIR/log.anew/   a log that is to replace a damaged one, which goes aside once this one is complete
//! DIR/log/        room `log`       DIR/items/  room `items`
//! DIR/outgoing/, DIR/incoming/     room `snapshot`
//! ```
//! Must not touch what is in the folders of the other rooms.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::{Mutex, OnceLock, PoisonError};

use model::{NodeId, Zone};
use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock, statvfs};

/// The layout of the folder.
const FORMAT: u32 = 1;
/// What may stand in a folder that is still blank: what a start that was cut short leaves, and a file system's own.
const HARMLESS: [&str; 3] = ["lock", "format.new", "lost+found"];
const RESERVE: &str = "reserve";
const RECOVERIES: &str = "recoveries";
const DIRECTORY: &str = "directory";
const DAMAGE: &str = "damage";
const ASIDE: &str = "aside";

/// Whose folder it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub node: NodeId,
    pub zone: Zone,
}

/// Which identity a blank folder is given, and which folder is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    pub node: NodeId,
    pub store: u64,
}

/// The reserve is given up in pieces of this: what a start writes (RocksDB's manifest and options, a few records of the
/// log), and no more than that for whoever fills the disk.
pub const RESERVE_STEP_BYTES: u64 = 8 << 20;

/// How much room there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    pub total_bytes: u64,
    pub free_bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    #[error("folder {path} is in use by process {holder}")]
    Held { path: PathBuf, holder: String },
    #[error("folder {path} has format {found:?}, this program knows format {known}")]
    OtherFormat { path: PathBuf, found: String, known: u32 },
    #[error("folder {path} belongs to node {} in zone {}, not to node {} in zone {}", .found.node, .found.zone, .wanted.node, .wanted.zone)]
    OtherIdentity { path: PathBuf, found: Identity, wanted: Identity },
    #[error("folder {path} is not empty and has no format: it is not a node's")]
    NotOurs { path: PathBuf },
    #[error("folder {path} has data and no identity: it has lost whose it is")]
    LostIdentity { path: PathBuf },
    #[error("file {path} is malformed")]
    Malformed { path: PathBuf },
    #[error("cannot {verb} {path}")]
    Io {
        verb: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// Why a folder does not take an identity that it is granted.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    #[error("node 0 is no node")]
    NoNode,
    #[error("this disk is store {found:016x}, not {:016x}", .wanted.store)]
    OtherStore { found: u64, wanted: Grant },
    #[error("this disk belongs to node {found} already, not to node {}", .wanted.node)]
    Taken { found: NodeId, wanted: Grant },
    #[error("the identity could not be written")]
    Write(#[source] DiskError),
}

/// A folder that this process holds until it is dropped.
#[derive(Debug)]
pub struct Disk {
    root: PathBuf,
    store: u64,
    identity: OnceLock<Identity>,
    /// Held while an identity is written.
    taking: Mutex<()>,
    start_number: u64,
    /// Closing it gives the folder free.
    _lock: File,
}

impl Disk {
    /// Locks the folder (made if missing) and raises its start number; gives up a part of the reserve where a full disk would
    /// not let the node start. A folder of another format is left untouched.
    pub fn open(root: &Path) -> Result<Disk, DiskError> {
        fs::create_dir_all(root).map_err(failed("make", root))?;
        let known = check_format(root)?;
        let lock = take_lock(root)?;
        if space_of(root)?.free_bytes < RESERVE_STEP_BYTES {
            give_up_step(root)?;
        }
        if !known {
            write_synced(&root.join("format"), format!("{FORMAT}\n").as_bytes())?;
        }
        let identity = OnceLock::new();
        if let Some(text) = read_text(&root.join("identity"))? {
            let found = parse_identity(&text).ok_or_else(|| malformed(root.join("identity")))?;
            identity.get_or_init(|| found);
        } else if ["log", "items"].iter().any(|room| root.join(room).exists()) {
            // Another identity would bring a lost node's votes and items back under its own.
            return Err(DiskError::LostIdentity { path: root.to_owned() });
        }
        let store = take_store(&root.join("store"))?;
        let start = root.join("start");
        let before = match read_text(&start)? {
            Some(text) => text.trim().parse::<u64>().ok(),
            None => Some(0),
        };
        let start_number = before.ok_or_else(|| malformed(start.clone()))? + 1;
        write_start(&start, format!("{start_number}\n").as_bytes())?;
        Ok(Disk { root: root.to_owned(), store, identity, taking: Mutex::default(), start_number, _lock: lock })
    }

    /// Which folder this is, whoever's it becomes.
    pub fn store(&self) -> u64 {
        self.store
    }

    /// None while the folder is blank: a blank folder takes no identity by itself.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.get()
    }

    /// Gives a blank folder its identity, synced; refused if it has another one, nothing to do if it has this one.
    pub fn take_identity(&self, wanted: Identity) -> Result<(), DiskError> {
        let _taking = self.taking.lock().unwrap_or_else(PoisonError::into_inner);
        match self.identity.get() {
            Some(found) if *found == wanted => Ok(()),
            Some(found) => Err(DiskError::OtherIdentity { path: self.root.clone(), found: found.clone(), wanted }),
            None => {
                write_synced(&self.root.join("identity"), print_identity(&wanted).as_bytes())?;
                self.identity.get_or_init(|| wanted);
                Ok(())
            }
        }
    }

    /// The same on another's word: refused unless this is the folder that is meant. Granted again it is done already.
    pub fn format(&self, wanted: Grant, zone: &Zone) -> Result<(), FormatError> {
        let Grant { node, store } = wanted;
        if node == NodeId(0) {
            return Err(FormatError::NoNode);
        }
        if store != self.store {
            return Err(FormatError::OtherStore { found: self.store, wanted });
        }
        match self.take_identity(Identity { node, zone: zone.clone() }) {
            Ok(()) => Ok(()),
            Err(DiskError::OtherIdentity { found, .. }) => Err(FormatError::Taken { found: found.node, wanted }),
            Err(error) => Err(FormatError::Write(error)),
        }
    }

    /// Higher at every start.
    pub fn start_number(&self) -> u64 {
        self.start_number
    }

    pub fn log_dir(&self) -> PathBuf {
        self.root.join("log")
    }

    pub fn items_dir(&self) -> PathBuf {
        self.root.join("items")
    }

    /// Snapshots being built and sent.
    pub fn outgoing_dir(&self) -> PathBuf {
        self.root.join("outgoing")
    }

    /// Snapshots being received.
    pub fn incoming_dir(&self) -> PathBuf {
        self.root.join("incoming")
    }

    /// One line more in the audit record, durable when it returns.
    pub fn record_recovery(&self, line: &str) -> Result<(), DiskError> {
        let path = self.root.join(RECOVERIES);
        let write = || {
            let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
            file.write_all(format!("{line}\n").as_bytes())?;
            file.sync_all()?;
            File::open(&self.root)?.sync_all()
        };
        write().map_err(failed("write", &path))
    }

    /// What was last kept there of the other nodes; none before anything was.
    pub fn read_directory(&self) -> Result<Option<Vec<u8>>, DiskError> {
        read_bytes(&self.root.join(DIRECTORY))
    }

    /// Replaced whole, durable when it returns.
    pub fn write_directory(&self, bytes: &[u8]) -> Result<(), DiskError> {
        write_synced(&self.root.join(DIRECTORY), bytes)
    }

    /// What is damaged, for the next start: durable when it returns.
    pub fn note_damage(&self, what: &str) -> Result<(), DiskError> {
        write_synced(&self.root.join(DAMAGE), what.as_bytes())
    }

    pub fn damage(&self) -> Result<Option<String>, DiskError> {
        Ok(read_bytes(&self.root.join(DAMAGE))?.map(|noted| String::from_utf8_lossy(&noted).into_owned()))
    }

    /// It has been dealt with.
    pub fn forget_damage(&self) -> Result<(), DiskError> {
        let path = self.root.join(DAMAGE);
        fs::remove_file(&path).map_err(failed("remove", &path))
    }

    /// A place for what this start sets aside, under that name.
    pub fn aside(&self, name: &str) -> Result<PathBuf, DiskError> {
        let dir = self.root.join(ASIDE);
        fs::create_dir_all(&dir).map_err(failed("make", &dir))?;
        Ok(dir.join(format!("{}-{name}", self.start_number)))
    }

    /// How many things stand there.
    pub fn set_aside(&self) -> usize {
        fs::read_dir(self.root.join(ASIDE)).map_or(0, Iterator::count)
    }

    /// Moves a room's folder there, durably.
    pub fn move_aside(&self, folder: &Path, name: &str) -> Result<PathBuf, DiskError> {
        let aside = self.aside(name)?;
        let moved = fs::rename(folder, &aside).and_then(|()| File::open(&self.root)?.sync_all());
        moved.map_err(failed("set aside", folder))?;
        Ok(aside)
    }

    /// The log's folder goes there, and the one that was prepared beside it takes its place. A crash in between is made good by
    /// [`Disk::finish_replacing_log`] at the next start.
    pub fn replace_log(&self) -> Result<PathBuf, DiskError> {
        let aside = self.move_aside(&self.log_dir(), "log")?;
        self.finish_replacing_log()?;
        Ok(aside)
    }

    /// Where the log is gone and the one that replaces it stands ready.
    pub fn finish_replacing_log(&self) -> Result<(), DiskError> {
        let (log, anew) = (self.log_dir(), self.log_anew_dir());
        if log.exists() || !anew.exists() {
            return Ok(());
        }
        let moved = fs::rename(&anew, &log).and_then(|()| File::open(&self.root)?.sync_all());
        moved.map_err(failed("put in place", &anew))
    }

    /// For a log that is prepared to replace a damaged one.
    pub fn log_anew_dir(&self) -> PathBuf {
        self.root.join("log.anew")
    }

    pub fn space(&self) -> Result<Space, DiskError> {
        space_of(&self.root)
    }

    /// Bytes kept back now.
    pub fn reserve_bytes(&self) -> Result<u64, DiskError> {
        reserve_bytes(&self.root)
    }

    /// Keeps so many bytes back, allocated.
    pub fn fill_reserve(&self, bytes: u64) -> Result<(), DiskError> {
        let path = self.root.join(RESERVE);
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(failed("make", &path))?;
        fallocate(&file, FallocateFlags::empty(), 0, bytes)
            .map_err(io::Error::from)
            .map_err(failed("reserve room in", &path))
    }

    /// For a start that finds no room: false where nothing was kept back any more.
    pub fn give_up_step(&self) -> Result<bool, DiskError> {
        give_up_step(&self.root)
    }

    /// Keeps no more than so many bytes back: the rest is free for whoever writes first.
    pub fn shrink_reserve(&self, to: u64) -> Result<(), DiskError> {
        shrink_reserve(&self.root, to)
    }
}

fn space_of(root: &Path) -> Result<Space, DiskError> {
    let stat = statvfs(root).map_err(io::Error::from).map_err(failed("ask for the room of", root))?;
    Ok(Space {
        total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
        free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
    })
}

fn reserve_bytes(root: &Path) -> Result<u64, DiskError> {
    let path = root.join(RESERVE);
    match fs::metadata(&path) {
        Ok(metadata) => Ok(metadata.len()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(failed("look at", &path)(error)),
    }
}

fn give_up_step(root: &Path) -> Result<bool, DiskError> {
    let kept = reserve_bytes(root)?;
    shrink_reserve(root, kept.saturating_sub(RESERVE_STEP_BYTES))?;
    Ok(kept > 0)
}

fn shrink_reserve(root: &Path, to: u64) -> Result<(), DiskError> {
    let path = root.join(RESERVE);
    match OpenOptions::new().write(true).open(&path) {
        Ok(file) if file.metadata().map_err(failed("look at", &path))?.len() > to => {
            file.set_len(to).map_err(failed("shrink", &path))
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed("open", &path)(error)),
    }
}

/// Whether it has our format; a blank folder has none.
fn check_format(root: &Path) -> Result<bool, DiskError> {
    match read_text(&root.join("format"))? {
        Some(found) if found.trim() == FORMAT.to_string() => Ok(true),
        Some(found) => {
            Err(DiskError::OtherFormat { path: root.to_owned(), found: found.trim().to_owned(), known: FORMAT })
        }
        None => {
            for entry in fs::read_dir(root).map_err(failed("list", root))? {
                let name = entry.map_err(failed("list", root))?.file_name();
                if !HARMLESS.iter().any(|harmless| name == *harmless) {
                    return Err(DiskError::NotOurs { path: root.to_owned() });
                }
            }
            Ok(false)
        }
    }
}

/// Held as long as the file is open, by whomever: it is not a question of what stands in it.
fn take_lock(root: &Path) -> Result<File, DiskError> {
    let path = root.join("lock");
    let opened = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path);
    let mut lock = opened.map_err(failed("open", &path))?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            lock.read_to_string(&mut holder).map_err(failed("read", &path))?;
            let holder = if holder.trim().is_empty() { "unknown" } else { holder.trim() };
            return Err(DiskError::Held { path: root.to_owned(), holder: holder.to_owned() });
        }
        Err(error) => return Err(failed("lock", &path)(error.into())),
    }
    // Over what stands there: a full disk has no other block for it.
    let pid = format!("{}\n", process::id());
    let written =
        lock.write_all_at(pid.as_bytes(), 0).and_then(|()| lock.set_len(u64::try_from(pid.len()).unwrap_or(0)));
    written.map_err(failed("write", &path))?;
    Ok(lock)
}

/// The folder's number, drawn if it has none: its first start, or one of before there were numbers.
fn take_store(path: &Path) -> Result<u64, DiskError> {
    if let Some(text) = read_text(path)? {
        return parse_store(&text).ok_or_else(|| malformed(path.to_owned()));
    }
    let drawn = getrandom::u64().map_err(io::Error::other).map_err(failed("draw a number for", path))?;
    write_synced(path, print_store(drawn).as_bytes())?;
    Ok(drawn)
}

fn print_store(store: u64) -> String {
    checked(&format!("{store:016x}"))
}

fn parse_store(text: &str) -> Option<u64> {
    u64::from_str_radix(unchecked(text)?, 16).ok()
}

/// A line with its checksum before it.
fn checked(body: &str) -> String {
    format!("{:08x} {body}\n", crc32c::crc32c(body.as_bytes()))
}

fn unchecked(text: &str) -> Option<&str> {
    let (crc, body) = text.strip_suffix('\n')?.split_once(' ')?;
    (u32::from_str_radix(crc, 16).ok()? == crc32c::crc32c(body.as_bytes())).then_some(body)
}

fn print_identity(identity: &Identity) -> String {
    checked(&format!("{} {}", identity.node, identity.zone))
}

fn parse_identity(text: &str) -> Option<Identity> {
    let (node, zone) = unchecked(text)?.split_once(' ')?;
    Some(Identity { node: NodeId(u64::from_str_radix(node, 16).ok()?), zone: Zone(zone.to_owned()) })
}

fn read_bytes(path: &Path) -> Result<Option<Vec<u8>>, DiskError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path)(error)),
    }
}

fn read_text(path: &Path) -> Result<Option<String>, DiskError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path)(error)),
    }
}

/// All or nothing, and durable when it returns.
fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    let new = path.with_extension("new");
    let write = || {
        let mut file = File::create(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        File::open(path.parent().expect("a file of the folder has a parent"))?.sync_all()
    };
    write().map_err(failed("write", path))
}

/// All or nothing where there is room for a second file; on a full disk over what stands there: a few bytes of one sector.
fn write_start(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    match write_synced(path, bytes) {
        Err(DiskError::Io { source, .. }) if source.kind() == io::ErrorKind::StorageFull && path.exists() => {
            let write = || {
                let file = OpenOptions::new().write(true).open(path)?;
                file.write_all_at(bytes, 0)?;
                file.sync_all()
            };
            write().map_err(failed("write", path))
        }
        other => other,
    }
}

fn failed(verb: &'static str, path: &Path) -> impl Fn(io::Error) -> DiskError {
    let path = path.to_owned();
    move |source| DiskError::Io { verb, path: path.clone(), source }
}

fn malformed(path: PathBuf) -> DiskError {
    DiskError::Malformed { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(root: &Path) -> Result<Disk, DiskError> {
        Disk::open(root)
    }

    fn identity() -> Identity {
        Identity { node: NodeId(0xabc), zone: Zone("eu central 1b".into()) }
    }

    #[test]
    fn a_start_number_rises_with_every_start() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("node");
        for expected in 1..4 {
            assert_eq!(open(&root).unwrap().start_number(), expected);
        }
    }

    #[test]
    fn a_second_process_is_told_who_holds_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let held = open(dir.path()).unwrap();
        let error = open(dir.path()).unwrap_err();
        assert!(matches!(&error, DiskError::Held { holder, .. } if *holder == process::id().to_string()), "{error}");
        drop(held);
        open(dir.path()).unwrap();
    }

    #[test]
    fn a_folder_of_another_format_is_left_untouched() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("format"), "2\n").unwrap();
        assert!(matches!(open(dir.path()).unwrap_err(), DiskError::OtherFormat { found, .. } if found == "2"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_of_somebody_else_is_left_untouched() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.tex"), "").unwrap();
        assert!(matches!(open(dir.path()).unwrap_err(), DiskError::NotOurs { .. }));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_blank_folder_takes_one_identity_and_keeps_it() {
        let dir = tempfile::tempdir().unwrap();
        let disk = open(dir.path()).unwrap();
        assert_eq!(disk.identity(), None);
        disk.take_identity(identity()).unwrap();
        drop(disk);
        let disk = open(dir.path()).unwrap();
        assert_eq!(disk.identity(), Some(&identity()));
        disk.take_identity(identity()).unwrap();
        let other = Identity { zone: Zone("a".into()), ..identity() };
        assert!(matches!(disk.take_identity(other).unwrap_err(), DiskError::OtherIdentity { .. }));
    }

    #[test]
    fn a_folder_draws_its_number_at_its_first_start_and_keeps_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path()).unwrap().store();
        let disk = open(dir.path()).unwrap();
        assert_eq!((disk.store(), disk.identity()), (store, None));
        disk.take_identity(identity()).unwrap();
        drop(disk);
        assert_eq!(open(dir.path()).unwrap().store(), store);
        // As one that was made before folders had numbers.
        fs::remove_file(dir.path().join("store")).unwrap();
        let drawn = open(dir.path()).unwrap().store();
        let disk = open(dir.path()).unwrap();
        assert_eq!((disk.store(), disk.identity()), (drawn, Some(&identity())));
        assert_ne!(drawn, store);
        drop(disk);
        fs::write(dir.path().join("store"), "00000000 0000000000000001\n").unwrap();
        assert!(matches!(open(dir.path()).unwrap_err(), DiskError::Malformed { .. }));
    }

    #[test]
    fn a_blank_folder_takes_the_identity_that_is_meant_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let disk = open(dir.path()).unwrap();
        let (store, zone) = (disk.store(), identity().zone);
        let grant = |node, store| Grant { node: NodeId(node), store };
        assert!(matches!(disk.format(grant(0, store), &zone), Err(FormatError::NoNode)));
        let other = disk.format(grant(0xabc, store ^ 1), &zone).unwrap_err();
        assert_eq!(other.to_string(), format!("this disk is store {store:016x}, not {:016x}", store ^ 1));
        assert_eq!(disk.identity(), None);
        for _ in 0..2 {
            disk.format(grant(0xabc, store), &zone).unwrap();
        }
        assert!(matches!(disk.format(grant(0xabd, store), &zone), Err(FormatError::Taken { .. })));
        assert!(matches!(disk.format(grant(0xabc, store ^ 1), &zone), Err(FormatError::OtherStore { .. })));
        drop(disk);
        assert_eq!(open(dir.path()).unwrap().identity(), Some(&identity()));
    }

    #[test]
    fn a_folder_that_lost_its_identity_is_not_blank() {
        let dir = tempfile::tempdir().unwrap();
        let disk = open(dir.path()).unwrap();
        disk.take_identity(identity()).unwrap();
        fs::create_dir(disk.log_dir()).unwrap();
        drop(disk);
        fs::remove_file(dir.path().join("identity")).unwrap();
        assert!(matches!(open(dir.path()).unwrap_err(), DiskError::LostIdentity { .. }));
    }

    #[test]
    fn a_damaged_identity_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let disk = open(dir.path()).unwrap();
        disk.take_identity(identity()).unwrap();
        drop(disk);
        let path = dir.path().join("identity");
        let text = fs::read_to_string(&path).unwrap().replace("abc", "abd");
        fs::write(&path, text).unwrap();
        assert!(matches!(open(dir.path()).unwrap_err(), DiskError::Malformed { .. }));
    }

    #[test]
    fn a_reserve_is_kept_and_given_up_in_parts() {
        let dir = tempfile::tempdir().unwrap();
        let disk = open(dir.path()).unwrap();
        let space = disk.space().unwrap();
        assert!(space.total_bytes >= space.free_bytes);
        assert_eq!(disk.reserve_bytes().unwrap(), 0);
        disk.fill_reserve(2 << 20).unwrap();
        disk.fill_reserve(2 << 20).unwrap();
        assert_eq!(disk.reserve_bytes().unwrap(), 2 << 20);
        disk.shrink_reserve(3 << 20).unwrap();
        assert_eq!(disk.reserve_bytes().unwrap(), 2 << 20);
        disk.shrink_reserve(1 << 20).unwrap();
        assert_eq!(disk.reserve_bytes().unwrap(), 1 << 20);
        disk.shrink_reserve(0).unwrap();
        assert_eq!(disk.reserve_bytes().unwrap(), 0);
    }
}
