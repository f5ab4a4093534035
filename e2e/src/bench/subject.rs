//! What is measured: a `trivet local --processes`, or a dynalite, started for this and stopped after it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::accounts::{Process, Who};
use crate::process::{self, Local, Mode, Role, Running};

const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// What runs, and where it is asked.
pub struct Subject {
    pub address: String,
    /// Everything it keeps.
    pub data: PathBuf,
    runs: Runs,
}

enum Runs {
    Trivet(Running),
    Dynalite(Child),
}

/// What nodes count, summed over them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub syncs: u64,
    /// Times that a replica began to lead.
    pub leaderships: u64,
    /// Requests refused because a queue was full.
    pub shed: u64,
}

impl Counters {
    pub fn since(self, earlier: Counters) -> Counters {
        Counters {
            syncs: self.syncs.saturating_sub(earlier.syncs),
            leaderships: self.leaderships.saturating_sub(earlier.leaderships),
            shed: self.shed.saturating_sub(earlier.shed),
        }
    }
}

impl Subject {
    /// Starts Trivet, a process per role, on a folder that must not exist yet.
    pub async fn trivet(binary: &Path, listen: &str, data: PathBuf) -> anyhow::Result<Subject> {
        ensure!(!data.exists(), "{} exists already", data.display());
        let local = Local {
            binary: binary.to_owned(),
            mode: Mode::Processes,
            listen: listen.to_owned(),
            data: data.clone(),
            arguments: Vec::new(),
            environment: Vec::new(),
        };
        let running = local.start().await?;
        Ok(Subject { address: listen.to_owned(), data, runs: Runs::Trivet(running) })
    }

    /// Starts the dynalite that is installed in `folder`, with its items in LevelDB files, which it does not sync.
    pub async fn dynalite(folder: &Path, listen: &str, data: PathBuf) -> anyhow::Result<Subject> {
        ensure!(!data.exists(), "{} exists already", data.display());
        let program = folder.join("node_modules/dynalite/cli.js");
        ensure!(program.exists(), "{} is not there: `make bench DYNALITE=1` installs it", program.display());
        let port = listen.rsplit(':').next().unwrap_or_default();
        let child = Command::new("node")
            .arg(program)
            .args(["--host", "127.0.0.1", "--createTableMs", "0", "--port", port, "--path"])
            .arg(&data)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("start dynalite")?;
        let deadline = Instant::now() + ANSWERS_WITHIN;
        while TcpStream::connect(listen).await.is_err() {
            ensure!(Instant::now() < deadline, "dynalite does not listen on {listen}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(Subject { address: listen.to_owned(), data, runs: Runs::Dynalite(child) })
    }

    pub fn name(&self) -> &'static str {
        match self.runs {
            Runs::Trivet(_) => "Trivet",
            Runs::Dynalite(_) => "dynalite",
        }
    }

    /// Its processes and ourselves, whose accounts are read.
    pub fn processes(&self) -> Vec<Process> {
        let process = |who| move |pid| Process { who, pid };
        let mut all: Vec<Process> = match &self.runs {
            Runs::Dynalite(child) => child.id().map(process(Who::Dynalite)).into_iter().collect(),
            Runs::Trivet(running) => {
                let of_role = |role| running.children(role).into_iter().map(process(who(role)));
                Role::ALL.into_iter().flat_map(of_role).chain(running.id().map(process(Who::Parent))).collect()
            }
        };
        all.push(Process::ourselves());
        all
    }

    /// Folders of its nodes.
    pub fn node_folders(&self) -> Vec<PathBuf> {
        self.node_flags("--data").into_iter().map(PathBuf::from).collect()
    }

    /// What its nodes have counted since they began.
    pub async fn counters(&self) -> anyhow::Result<Counters> {
        let mut sum = Counters::default();
        for address in self.node_flags("--metrics-listen") {
            let address: SocketAddr = address.parse().context("read where a node's metrics are")?;
            let text = scrape(address).await.with_context(|| format!("read the metrics at {address}"))?;
            sum.syncs += sample(&text, "trivet_node_log_syncs_total").context("no count of syncs")?;
            sum.leaderships += sample(&text, "trivet_node_leaderships_total").context("no count of leaderships")?;
            sum.shed += sample(&text, "trivet_node_requests_shed_total").context("no count of shed requests")?;
        }
        Ok(sum)
    }

    fn node_flags(&self, flag: &str) -> Vec<String> {
        match &self.runs {
            Runs::Dynalite(_) => Vec::new(),
            Runs::Trivet(running) => {
                running.children(Role::Node).into_iter().filter_map(|pid| process::flag(pid, flag)).collect()
            }
        }
    }

    /// Stops it and removes what it kept.
    pub async fn end(self) -> anyhow::Result<()> {
        match self.runs {
            Runs::Trivet(running) => running.stop().await?,
            Runs::Dynalite(mut child) => child.kill().await.context("kill dynalite")?,
        }
        std::fs::remove_dir_all(&self.data).context("remove the data folder")?;
        match std::fs::remove_file(self.data.with_extension("log")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context("remove the log"),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

fn who(role: Role) -> Who {
    match role {
        Role::Node => Who::Node,
        Role::Router => Who::Router,
        Role::MemDs => Who::MemDs,
        // In `trivet local` the parent is that, too.
        Role::Control => Who::Parent,
    }
}

/// The metrics that a process serves there.
pub async fn scrape(address: SocketAddr) -> anyhow::Result<String> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: node\r\n\r\n").await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        anyhow::Ok(text)
    };
    tokio::time::timeout(ANSWERS_WITHIN, exchange).await.context("no answer in time")?
}

/// The value of a sample without labels in Prometheus' text format.
pub fn sample(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_found_by_its_whole_name() {
        let text = "# HELP trivet_node_turns_total Turns\n# TYPE trivet_node_turns_total counter\ntrivet_node_turns_total_x 1\ntrivet_node_turns_total 42\n";
        assert_eq!(sample(text, "trivet_node_turns_total"), Some(42));
        assert_eq!(sample(text, "trivet_node_turns"), None);
    }

    #[test]
    fn counters_are_compared_with_earlier_ones() {
        let counters = |syncs| Counters { syncs, leaderships: 12, shed: 0 };
        assert_eq!(counters(30).since(counters(10)), Counters { syncs: 20, leaderships: 0, shed: 0 });
    }
}
