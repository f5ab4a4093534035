//! A `trivet local` as the operating system shows it: one parent, its children, signals.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// How long a start may take before it counts as failed.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// What is told of the log of one that did not start.
const LAST_LINES: usize = 40;

/// What a child process does, from its first argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Node,
    Router,
    MemDs,
    Control,
}

impl Role {
    pub const ALL: [Role; 4] = [Role::Node, Role::Router, Role::MemDs, Role::Control];

    /// The subcommand of `trivet`.
    pub fn argument(self) -> &'static str {
        match self {
            Role::Node => "node",
            Role::Router => "router",
            Role::MemDs => "memds",
            Role::Control => "control",
        }
    }
}

/// How much of it is one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    OneProcess,
    Processes,
}

/// How to start one.
#[derive(Clone, Debug)]
pub struct Local {
    pub binary: PathBuf,
    pub mode: Mode,
    pub listen: String,
    pub data: PathBuf,
    /// Further arguments.
    pub arguments: Vec<String>,
    /// Environment of all its processes, beside our own.
    pub environment: Vec<(String, String)>,
}

/// A running one; killed when dropped.
pub struct Running {
    child: Child,
}

impl Local {
    /// Where its processes write their logs.
    pub fn log(&self) -> PathBuf {
        self.data.with_extension("log")
    }

    /// Starts it and waits for its "ready" line. Its log is appended to `DATA.log`.
    pub async fn start(&self) -> anyhow::Result<Running> {
        let log = self.log();
        let log = File::options().append(true).create(true).open(&log).context("open the log")?;
        let mut child = Command::new(&self.binary)
            .args(["local", "--listen", &self.listen, "--data"])
            .arg(&self.data)
            .args((self.mode == Mode::Processes).then_some("--processes"))
            .args(&self.arguments)
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {}", self.binary.display()))?;
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let ready = tokio::time::timeout(READY_WITHIN, wait_for_ready(lines)).await;
        let ready = ready.context("not ready in time").flatten();
        ready.with_context(|| format!("what it logged last:\n{}", self.last_logged()))?;
        Ok(Running { child })
    }

    fn last_logged(&self) -> String {
        let log = fs::read(self.log()).unwrap_or_default();
        let lines: Vec<_> = String::from_utf8_lossy(&log).lines().map(str::to_owned).collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
    }
}

async fn wait_for_ready(mut lines: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>) -> anyhow::Result<()> {
    while let Some(line) = lines.next_line().await? {
        if line.contains("ready") {
            // What it says later must not fill the pipe.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return Ok(());
        }
    }
    bail!("it ended before it was ready")
}

impl Running {
    /// The parent's process id.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// The children with this role, as they are now.
    pub fn children(&self, role: Role) -> Vec<u32> {
        let Some(parent) = self.child.id() else { return Vec::new() };
        // A child is listed under the thread that started it.
        let threads = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
        let lists = threads.map(|thread| fs::read_to_string(thread.path().join("children")).unwrap_or_default());
        let children: String = lists.collect();
        children.split_whitespace().filter_map(|pid| pid.parse().ok()).filter(|pid| has_role(*pid, role)).collect()
    }

    /// Memory of the parent and its children that is in use now, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let children = Role::ALL.into_iter().flat_map(|role| self.children(role));
        children.chain(self.id()).map(resident_bytes).sum()
    }

    /// `kill -9` of the parent and of every child, as close together as one process can do it.
    pub async fn kill_everything(mut self) -> anyhow::Result<()> {
        let children: Vec<u32> = Role::ALL.into_iter().flat_map(|role| self.children(role)).collect();
        self.child.start_kill().context("kill the parent")?;
        children.iter().for_each(|pid| kill(*pid));
        self.child.wait().await.context("wait for the parent")?;
        let deadline = Instant::now() + READY_WITHIN;
        while children.iter().any(|pid| Path::new(&format!("/proc/{pid}/exe")).exists()) {
            anyhow::ensure!(Instant::now() < deadline, "a killed process is still there");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// An orderly stop, as ctrl-C asks for.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(pid) = self.child.id().and_then(pid) {
            kill_process(pid, Signal::INT).context("signal the parent")?;
        }
        let status = tokio::time::timeout(READY_WITHIN, self.child.wait()).await.context("it did not stop")??;
        anyhow::ensure!(status.success(), "it stopped with {status}");
        Ok(())
    }
}

/// `kill -9`; a process that is gone already is no error.
pub fn kill(target: u32) {
    // The only failure is that it is gone, which is what was asked for.
    signal(target, Signal::KILL);
}

/// A process that is gone hears nothing.
pub fn signal(target: u32, signal: Signal) {
    if let Some(pid) = pid(target) {
        kill_process(pid, signal).unwrap_or_default();
    }
}

/// Memory that it uses now; 0 for a process that is gone.
fn resident_bytes(pid: u32) -> u64 {
    status_bytes(pid, "VmRSS:")
}

/// The most memory that it has ever used; 0 for a process that is gone.
pub fn peak_resident_bytes(pid: u32) -> u64 {
    status_bytes(pid, "VmHWM:")
}

fn status_bytes(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

fn pid(number: u32) -> Option<Pid> {
    i32::try_from(number).ok().and_then(Pid::from_raw)
}

fn has_role(pid: u32, role: Role) -> bool {
    command_line(pid).get(1).is_some_and(|argument| argument == role.argument())
}

/// What follows this flag on a process's command line.
pub fn flag(pid: u32, flag: &str) -> Option<String> {
    let arguments = command_line(pid);
    let place = arguments.iter().position(|argument| argument == flag)?;
    arguments.get(place + 1).cloned()
}

/// Empty for a process that is gone.
fn command_line(pid: u32) -> Vec<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).map(|argument| String::from_utf8_lossy(argument).into_owned()).collect()
}
