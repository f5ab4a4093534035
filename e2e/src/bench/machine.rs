//! What was measured on: a number means nothing without its machine.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::histogram::Histogram;

/// One line: processors, memory, kernel, file system and its sync, loopback's congestion control.
pub fn describe(data: &Path) -> anyhow::Result<String> {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let info = text("/proc/cpuinfo");
    let model = field(&info, "model name").unwrap_or("unknown processors");
    let hypervisor = if info.contains(" hypervisor") { ", virtual machine" } else { "" };
    let memory_gib = field(&text("/proc/meminfo"), "MemTotal").map_or(0, gib);
    let kernel = text("/proc/sys/kernel/osrelease");
    let load = text("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or_default();
    let congestion = text("/proc/sys/net/ipv4/tcp_congestion_control");
    fs::create_dir_all(data).context("create the data folder")?;
    let folder = fs::canonicalize(data).context("resolve the data folder")?;
    let system = file_system(&text("/proc/self/mountinfo"), &folder).unwrap_or_else(|| "unknown file system".into());
    let sync = sync_time(&folder).context("measure a sync")?;
    Ok(format!(
        "{processors} processors ({model}{hypervisor}), {memory_gib} GiB, Linux {}, data on {system}, fdatasync of 4 KiB {:.0} µs \
         (p99 {:.0}), TCP {}; load average {load} before",
        kernel.trim(),
        sync.quantile(500).as_secs_f64() * 1e6,
        sync.quantile(990).as_secs_f64() * 1e6,
        congestion.trim()
    ))
}

/// ` at 1a2b3c4`, where this runs in a working copy.
pub fn commit() -> String {
    let asked = std::process::Command::new("git").args(["describe", "--always", "--dirty"]).output();
    let named = asked.ok().filter(|output| output.status.success()).map(|output| output.stdout);
    named.map_or_else(String::new, |name| format!(" at {}", String::from_utf8_lossy(&name).trim()))
}

/// The value after `name` and a colon.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim_start().strip_prefix(':')?.trim())
}

/// `24105004 kB`, rounded.
fn gib(kib: &str) -> u64 {
    let kib: u64 = kib.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0);
    (kib + (1 << 19)) >> 20
}

/// Type and device of the file system that a folder is on: the mount with the longest path above it.
fn file_system(mounts: &str, folder: &Path) -> Option<String> {
    let mount = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        let point = before.split_whitespace().nth(4)?.to_owned();
        let mut fields = after.split_whitespace();
        folder.starts_with(&point).then_some((point.len(), format!("{} on {}", fields.next()?, fields.next()?)))
    };
    // Of several mounts on one point the last is seen.
    mounts.lines().filter_map(mount).max_by_key(|(length, _)| *length).map(|(_, system)| system)
}

/// How long a sync takes after an append of a block: many of them, since the first ones are slower.
fn sync_time(folder: &Path) -> anyhow::Result<Histogram> {
    const SYNCS: usize = 300;
    let path = folder.join("sync-probe");
    let mut file = File::create(&path)?;
    let mut times = Histogram::default();
    let deadline = Instant::now() + Duration::from_secs(2);
    for _ in 0..SYNCS {
        file.seek(SeekFrom::End(0))?;
        file.write_all(&[7; 4096])?;
        let begun = Instant::now();
        file.sync_data()?;
        times.record(begun.elapsed());
        if Instant::now() > deadline {
            break;
        }
    }
    fs::remove_file(path)?;
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_by_name() {
        let info = "processor\t: 0\nmodel name\t: AMD EPYC\nmodel name\t: other\n";
        assert_eq!(field(info, "model name"), Some("AMD EPYC"));
        assert_eq!(field(info, "model"), None);
        assert_eq!(gib("24105004 kB"), 23);
    }

    #[test]
    fn the_file_system_is_that_of_the_nearest_mount() {
        let mounts = "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
                      30 22 0:25 / /tmp rw shared:5 - tmpfs tmpfs rw\n\
                      31 22 0:26 / /tmpfoo rw - xfs /dev/vdb rw\n";
        let system = |folder: &str| file_system(mounts, Path::new(folder)).unwrap();
        assert_eq!(system("/home/x"), "ext4 on /dev/vda");
        assert_eq!(system("/tmp/x"), "tmpfs on tmpfs");
    }

    #[test]
    fn a_machine_is_described_on_one_line() {
        let temporary = std::env::temp_dir().join(format!("bench-machine-{}", std::process::id()));
        let line = describe(&temporary).unwrap();
        fs::remove_dir(&temporary).unwrap();
        assert!(!line.contains('\n') && line.contains("fdatasync"), "{line}");
    }
}
