//! The operator that is measured: a process of its own, as Kubernetes would start it.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::counts::Counts;
use crate::fleet::free_address;
use crate::metrics;
use crate::server::TOKEN;
use crate::stage::Stage;

/// What the kernel counts CPU time in.
const TICKS_PER_S: f64 = 100.0;
const BYTES_PER_KB: u64 = 1024;
/// Thousands of objects on a busy machine.
const PATIENCE: Duration = Duration::from_secs(600);
const PAUSE: Duration = Duration::from_millis(250);
/// As many looks without a write say that there is nothing left to write.
const QUIET_LOOKS: u64 = 3;

pub struct Subject {
    child: Child,
    metrics: SocketAddr,
    _folder: tempfile::TempDir,
}

/// What it says of itself.
pub struct Said {
    pub counts: Counts,
    looks: u64,
    acts: bool,
}

impl Drop for Subject {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        self.child.wait().unwrap();
    }
}

impl Subject {
    /// An API server that goes and comes back is no news here; that it panics would be, and is heard without its log.
    pub async fn start(trivet: Option<&Path>, stage: &Stage) -> Subject {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("kubeconfig");
        serde_json::to_writer(File::create(&config).unwrap(), &kubeconfig(&stage.told.server)).unwrap();
        let metrics = free_address().await;
        let program = trivet.map_or_else(|| std::env::current_exe().unwrap(), Path::to_owned);
        let mut command = Command::new(&program);
        command.args(["operator", "--namespace", &stage.namespace, "--identity", "measured"]);
        command.args(["--listen", &stage.told.listen.to_string(), "--metrics-listen", &metrics.to_string()]);
        // As the chart has it.
        command.envs([("MALLOC_ARENA_MAX", "1"), ("MALLOC_TRIM_THRESHOLD_", "131072")]);
        command.env("KUBECONFIG", &config).env("TRIVET_LOG", "off").stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.spawn().unwrap_or_else(|error| panic!("run {}: {error}", program.display()));
        Subject { child, metrics, _folder: folder }
    }

    pub async fn said(&self) -> Said {
        self.answers().await.expect("it has answered before, and still runs")
    }

    /// None while it begins.
    pub async fn answers(&self) -> Option<Said> {
        let text = metrics::read(self.metrics).await.ok()?;
        let value = |name: &str| metrics::value(&text, name);
        let (looks, acts) = (value("trivet_operator_looks_total"), value("trivet_operator_acts") == 1);
        Some(Said { counts: Counts::of_operator(&text), looks, acts })
    }

    /// Until it is the one that acts, and has nothing left to write.
    pub async fn settles(&self) {
        let deadline = Instant::now() + PATIENCE;
        let (mut writes, mut since) = (u64::MAX, 0);
        loop {
            assert!(Instant::now() < deadline, "the operator always has something to write");
            tokio::time::sleep(PAUSE).await;
            assert_ne!(self.stat()[0], "Z", "the operator has ended");
            let Some(said) = self.answers().await else { continue };
            // The lease and what etcd's version is are asked for as long as it runs.
            if said.counts.own_writes() != writes || !said.acts {
                (writes, since) = (said.counts.own_writes(), said.looks);
            } else if said.looks > since + QUIET_LOOKS {
                return;
            }
        }
    }

    /// What the kernel says of it, from its state on.
    fn stat(&self) -> Vec<String> {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // The name stands in parentheses, and may have spaces.
        text.rsplit(')').next().unwrap().split_whitespace().map(str::to_owned).collect()
    }

    pub fn cpu_s(&self) -> f64 {
        let fields = self.stat();
        let ticks = |field: usize| fields[field].parse::<u32>().unwrap();
        f64::from(ticks(11) + ticks(12)) / TICKS_PER_S
    }

    /// What it takes now, and the most since that was last forgotten.
    pub fn memory_bytes(&self) -> (u64, u64) {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let kilobytes = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim_matches([':', ' ', '\t']).split(' ').next().unwrap().parse::<u64>().unwrap()
        };
        (kilobytes("VmRSS") * BYTES_PER_KB, kilobytes("VmHWM") * BYTES_PER_KB)
    }

    pub fn forget_the_most(&self) {
        fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").unwrap();
    }
}

fn kubeconfig(server: &kube::Config) -> serde_json::Value {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "bench",
        "clusters": [{ "name": "bench", "cluster": { "server": server.cluster_url.to_string(), "insecure-skip-tls-verify": true } }],
        "users": [{ "name": "bench", "user": { "token": TOKEN } }],
        "contexts": [{ "name": "bench", "context": { "cluster": "bench", "user": "bench" } }],
    })
}
