//! Runs Debian's `perf`, and draws flame graphs of what it saw.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use inferno::flamegraph;

/// Samples per second on each processor: not a divisor of the timers' frequencies.
const FREQUENCY: &str = "199";

/// The largest copy of a stack that `perf` takes; a router's stacks are deep.
const STACK_BYTES: &str = "65528";

/// Whether functions that were inlined are shown as if they had been called. Takes a minute or two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inlined {
    Hidden,
    Shown,
}

/// Looks at processes for a while; the recording is left in `folder`.
pub async fn record(pids: &[u32], lasts: Duration, folder: &Path) -> anyhow::Result<PathBuf> {
    let recording = folder.join("perf.data");
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    let status = tokio::process::Command::new("perf")
        .args(["record", "-q", "-e", "cpu-clock", "-F", FREQUENCY])
        .arg(format!("--call-graph=dwarf,{STACK_BYTES}"))
        .args(["-p", &pids.join(","), "-o"])
        .arg(&recording)
        .args(["--", "sleep", &lasts.as_secs_f64().to_string()])
        .stdin(Stdio::null())
        .status()
        .await
        .context("run perf (`make profile` installs it)")?;
    ensure!(status.success(), "perf record ended with {status}");
    Ok(recording)
}

/// The samples of a recording as text.
pub fn script(recording: &Path, inlined: Inlined) -> anyhow::Result<String> {
    let inlined = match inlined {
        Inlined::Hidden => "--no-inline",
        Inlined::Shown => "--inline",
    };
    let output = Command::new("perf")
        .arg("script")
        .arg("-i")
        .arg(recording)
        .args([inlined, "-F", "comm,pid,tid,ip,sym"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .context("run perf script")?;
    ensure!(output.status.success(), "perf script ended with {}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Draws folded stacks.
pub fn draw(folded: &[String], title: &str, path: &Path) -> anyhow::Result<()> {
    let mut options = flamegraph::Options::default();
    title.clone_into(&mut options.title);
    let file = BufWriter::new(File::create(path).with_context(|| format!("create {}", path.display()))?);
    flamegraph::from_lines(&mut options, folded.iter().map(String::as_str), file).context("draw a flame graph")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flame_graph_names_its_functions() {
        let path = std::env::temp_dir().join(format!("flames-{}.svg", std::process::id()));
        draw(&["worker;main;turn 3".to_owned(), "worker;main 1".to_owned()], "node", &path).unwrap();
        let svg = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(svg.contains("<svg") && svg.contains("turn (3 samples"), "{svg}");
    }
}
