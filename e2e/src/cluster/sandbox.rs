//! The room in which a cluster is built: namespaces of its own for network, mounts and processes.
//!
//! When the program ends, however it ends, the kernel ends every process in it, unmounts its disks and removes its network.
//! No packet of it can leave it.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail, ensure};
use rustix::mount::{MountFlags, mount};

/// Set in the environment of whoever is inside.
const INSIDE: &str = "TRIVET_SANDBOX";
/// Where `ip` keeps names of network namespaces.
const NAMES: &str = "/run/netns";

/// Starts this program again inside; returns only there. Needs root.
pub fn enter() -> anyhow::Result<()> {
    if std::env::var_os(INSIDE).is_some() {
        return furnish();
    }
    ensure!(rustix::process::geteuid().is_root(), "namespaces, disks and links of its own need root");
    // On the file system below, so that it is there to be mounted upon.
    std::fs::create_dir_all(NAMES).context("make the folder of namespaces")?;
    let program = std::env::current_exe().context("find our own binary")?;
    let error = Command::new("unshare")
        .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(program)
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1")
        .exec();
    Err(error).context("start unshare (Debian's util-linux)")
}

fn furnish() -> anyhow::Result<()> {
    mount("tmpfs", NAMES, "tmpfs", MountFlags::empty(), c"size=1m").context("mount a folder for namespaces")?;
    run("ip", &["link", "set", "lo", "up"])
}

/// Runs a program of the operating system's to its end.
pub fn run(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new(program).args(arguments).output().with_context(|| format!("start {program}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        bail!("{program} {} failed: {said}", arguments.join(" "));
    }
    Ok(())
}

/// A path as an argument.
pub fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("a path that is no text")
}
