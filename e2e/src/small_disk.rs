//! A file system of a few megabytes of its own, in memory, for tests of what happens when a disk is full.
//!
//! Mounting needs the right to: where it is missing, the test fails and says so. It does not pass without having looked.
//!
//! No program is started for it: what a child inherits of this process between fork and exec would hold the locks of other
//! tests' nodes.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{Error, ErrorKind, Result, Write};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};

/// Mounted until it is dropped; what is on it is gone then.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// On a folder that exists.
    pub fn mount(path: &Path, megabytes: u64) -> Result<SmallDisk> {
        let options = CString::new(size(megabytes))?;
        let mounted = mount("tmpfs", path, "tmpfs", MountFlags::empty(), options.as_c_str());
        mounted.map_err(|error| not_mounted(path, error))?;
        Ok(SmallDisk { path: path.to_owned() })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Larger or smaller, with what is on it.
    pub fn resize(&self, megabytes: u64) -> Result<()> {
        let mounted = mount_remount(&self.path, MountFlags::empty(), size(megabytes));
        mounted.map_err(|error| not_mounted(&self.path, error))
    }

    /// Takes every byte that is left; given back when that file is removed.
    pub fn fill(&self, name: &str) -> Result<PathBuf> {
        fill(&self.path, name)
    }
}

/// A file of this name takes every byte that is left in the file system of this folder.
pub fn fill(folder: &Path, name: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    let mut file = File::create(&path)?;
    for mut chunk in [&vec![1_u8; 1 << 20][..], &[1; 4096], &[1]] {
        while !chunk.is_empty() {
            match file.write(chunk) {
                Ok(_) => (),
                Err(error) if error.kind() == ErrorKind::StorageFull => chunk = &[],
                Err(error) => return Err(error),
            }
        }
    }
    Ok(path)
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that was killed may still be letting go. What could not be unmounted stays, and harms nobody.
        unmount(&self.path, UnmountFlags::DETACH).unwrap_or_default();
        fs::remove_dir(&self.path).unwrap_or_default();
    }
}

fn size(megabytes: u64) -> String {
    format!("size={megabytes}m")
}

fn not_mounted(path: &Path, error: Errno) -> Error {
    Error::other(format!("cannot mount a disk on {}: {error}; this test needs to be root", path.display()))
}
