//! A disk of a node's own: a file system in a file, which can be filled to the last byte and slowed down.
//!
//! It is slowed down by the kernel: so many writes a second for the node's processes (cgroup v1's `blkio`). Where the kernel
//! cannot, [`Disk::slow`] says so, and that fault stays out.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use rustix::mount::{UnmountFlags, unmount};

use super::sandbox::{run, text};
use crate::small_disk;

const THROTTLES: &str = "/sys/fs/cgroup/blkio";
const THROTTLE: &str = "blkio.throttle.write_iops_device";
/// What fills it.
const BALLAST: &str = "ballast";

pub struct Disk {
    path: PathBuf,
    /// The control group whose writes are counted; none where the kernel has none.
    group: Option<PathBuf>,
    /// `major:minor` of its block device.
    device: String,
}

impl Disk {
    /// Made at `path`, which must not be there yet; `path.img` is what is on it.
    pub fn make(path: &Path, megabytes: u64) -> anyhow::Result<Disk> {
        let image = path.with_extension("img");
        fs::create_dir_all(path).with_context(|| format!("make {}", path.display()))?;
        File::create(&image).and_then(|file| file.set_len(megabytes << 20)).context("make a disk's image")?;
        run("mkfs.ext4", &["-q", "-m", "0", "-E", "lazy_itable_init=0,nodiscard", text(&image)?])?;
        run("mount", &["-o", "loop", text(&image)?, text(path)?])?;
        let device = device_of(path)?;
        Ok(Disk { path: path.to_owned(), group: group(&device), device })
    }

    /// Where a node keeps its things.
    pub fn folder(&self) -> PathBuf {
        self.path.join("node")
    }

    /// Takes every byte that is left.
    pub fn fill(&self) -> anyhow::Result<()> {
        small_disk::fill(&self.path, BALLAST).context("fill a disk")?;
        Ok(())
    }

    /// Gives back what [`Disk::fill`] took.
    pub fn clear(&self) -> anyhow::Result<()> {
        fs::remove_file(self.path.join(BALLAST)).context("clear a disk")
    }

    /// Everything that a node had is gone.
    pub fn wipe(&self) -> anyhow::Result<()> {
        fs::remove_dir_all(self.folder()).context("wipe a disk")
    }

    /// Its node's process counts as a writer from now on.
    pub fn adopt(&self, pid: u32) -> anyhow::Result<()> {
        match &self.group {
            Some(group) => fs::write(group.join("cgroup.procs"), pid.to_string()).context("adopt a process"),
            None => Ok(()),
        }
    }

    pub fn can_be_slow(&self) -> bool {
        self.group.is_some()
    }

    /// No more than so many writes a second.
    pub fn slow(&self, writes: u64) -> anyhow::Result<()> {
        ensure!(writes > 0, "a disk without writes is not slow but dead");
        self.throttle(writes)
    }

    /// As fast as it is.
    pub fn hurry(&self) -> anyhow::Result<()> {
        self.throttle(0)
    }

    fn throttle(&self, writes: u64) -> anyhow::Result<()> {
        let group = self.group.as_ref().context("this kernel cannot slow a disk down")?;
        fs::write(group.join(THROTTLE), format!("{} {writes}", self.device)).context("slow a disk down")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What could not be unmounted goes with the sandbox.
        unmount(&self.path, UnmountFlags::DETACH).unwrap_or_default();
    }
}

/// Named after the device, which nobody else has meanwhile.
fn group(device: &str) -> Option<PathBuf> {
    let group = Path::new(THROTTLES).join(format!("trivet-disk-{}", device.replace(':', "-")));
    fs::create_dir_all(&group).ok()?;
    fs::write(group.join(THROTTLE), format!("{device} 0")).ok()?;
    Some(group)
}

fn device_of(path: &Path) -> anyhow::Result<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("read the mounts")?;
    // number, parent, major:minor, root, where, …
    let mut fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<&str>>());
    let found = fields.rfind(|fields| fields.get(4).is_some_and(|place| Path::new(place) == path));
    found.map(|fields| fields[2].to_owned()).context("a disk is not among the mounts")
}
