//! One process of a cluster, as the operating system sees it.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::process::Signal;
use tokio::process::{Child, Command};

use super::network::Host;
use crate::process::{Role, signal};

/// How long a process that was told to stop may take.
const STOP_WITHIN: Duration = Duration::from_secs(30);

pub struct Member {
    /// `zone-a-1`, `router-a`
    pub name: String,
    pub role: Role,
    pub host: Host,
    /// Which zone it stands in, where it does.
    pub zone: Option<usize>,
    pub(super) namespace: String,
    pub(super) binary: PathBuf,
    pub(super) arguments: Vec<String>,
    /// Not on the command line, where every user of the machine could read them.
    pub(super) secrets: Vec<(&'static str, &'static str)>,
    pub(super) log: PathBuf,
    child: Option<Child>,
}

/// What only one start is told.
#[derive(Clone, Debug, Default)]
pub struct Start {
    pub arguments: Vec<String>,
    pub environment: Vec<(&'static str, String)>,
}

impl Member {
    pub(super) fn new(name: &str, role: Role, host: Host, zone: Option<usize>) -> Member {
        Member {
            name: name.to_owned(),
            role,
            host,
            zone,
            namespace: String::new(),
            binary: PathBuf::new(),
            arguments: Vec::new(),
            secrets: Vec::new(),
            log: PathBuf::new(),
            child: None,
        }
    }

    /// It must not run. What it logs is appended to its log.
    pub(super) fn start(&mut self, start: &Start) -> anyhow::Result<u32> {
        ensure!(self.child.is_none(), "{} runs already", self.name);
        let log = File::options().append(true).create(true).open(&self.log).context("open a log")?;
        let child = Command::new("ip")
            .args(["netns", "exec", &self.namespace])
            .arg(&self.binary)
            .arg(self.role.argument())
            .args(&self.arguments)
            .args(&start.arguments)
            // When we are gone, it stops.
            .arg("--stop-with-stdin")
            .envs(self.secrets.iter().copied())
            .envs(start.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {}", self.name))?;
        let pid = child.id().context("it ended at once")?;
        self.child = Some(child);
        Ok(pid)
    }

    pub fn runs(&self) -> bool {
        self.child.is_some()
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// `kill -9`; it is gone when this returns.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        child.kill().await.with_context(|| format!("kill {}", self.name))
    }

    /// Sends `kill -9` and does not wait: many are to die at one moment.
    pub fn shoot(&self) {
        self.signal(Signal::KILL);
    }

    /// An orderly stop.
    pub async fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::TERM);
        let mut child = self.child.take().with_context(|| format!("{} does not run", self.name))?;
        // Its input would be closed by the wait, which tells it the same.
        let ended = tokio::time::timeout(STOP_WITHIN, child.wait()).await;
        ended.with_context(|| format!("{} does not stop", self.name))?.context("wait for a process")
    }

    /// SIGSTOP: it does nothing, and its connections stay.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// How it ended, if it did so by itself.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        let Some(child) = &mut self.child else { return Ok(None) };
        let ended = child.try_wait().context("look after a process")?;
        if ended.is_some() {
            self.child = None;
        }
        Ok(ended)
    }

    fn signal(&self, what: Signal) {
        if let Some(pid) = self.pid() {
            signal(pid, what);
        }
    }
}

/// A panic of Trivet's: it ends by an abort.
pub fn aborted(status: ExitStatus) -> bool {
    status.signal() == Some(Signal::ABORT.as_raw())
}
