//! What is hurt: a `trivet local --processes` of two nodes in each zone, whose nodes are known by their place.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use aws_sdk_dynamodb::Client;
use model::NodeId;
use rustix::process::Signal;
use tokio::task::JoinHandle;

use super::Bench;
use crate::bench::subject::{sample, scrape};
use crate::client::{self, Retries};
use crate::groups::{Admin, Look};
use crate::process::{self, Local, Mode, Role, Running};

/// How long a table may take to serve, a node to come back, and groups to be whole when nothing is wrong any more.
pub const WELL_WITHIN: Duration = Duration::from_secs(120);
/// Between two looks at processes.
const LOOK_EVERY: Duration = Duration::from_millis(10);
const OPERATION_WITHIN: Duration = Duration::from_secs(20);

/// How it is started.
pub struct Plan {
    /// Of the part that needs it.
    pub name: String,
    /// How long a node that died stays dead.
    pub restart_after: Duration,
    /// How long until what is lost is rebuilt, if not as long as usual.
    pub replace_after: Option<Duration>,
}

pub struct House {
    pub admin: Admin,
    pub client: Client,
    local: Local,
    running: Arc<Running>,
    watch: JoinHandle<()>,
    /// In the order of their addresses, as looks have them.
    places: Vec<Place>,
}

/// Where a node is, whichever process and node that may be.
struct Place {
    name: String,
    address: String,
    metrics: SocketAddr,
}

/// A process in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Victim {
    place: usize,
    pid: u32,
}

impl House {
    pub async fn start(bench: &Bench, plan: Plan) -> anyhow::Result<House> {
        let Plan { name, restart_after, replace_after } = plan;
        let data = bench.settings.folder().join(&name);
        ensure!(!data.exists(), "{} exists already", data.display());
        let restart_after_ms = restart_after.as_millis().to_string();
        let arguments = ["--nodes-per-zone", "2", "--restart-after-ms", &restart_after_ms];
        let replace_after = replace_after.map(|after| format!("{}ms", after.as_millis()));
        let local = Local {
            binary: bench.settings.trivet.clone(),
            mode: Mode::Processes,
            listen: bench.settings.listen.clone(),
            data: data.clone(),
            arguments: arguments.map(str::to_owned).to_vec(),
            environment: replace_after
                .map(|after| ("TRIVET_NODE_REPLACE_AFTER".to_owned(), after))
                .into_iter()
                .collect(),
        };
        let running = Arc::new(local.start().await.with_context(|| format!("start a house in {}", data.display()))?);
        let watch = bench.memory.watch(Arc::clone(&running), &name);
        let text = std::fs::read_to_string(data.join("addresses")).context("read where the nodes are")?;
        let places = text.lines().map(place).collect::<anyhow::Result<Vec<Place>>>()?;
        let addresses: Vec<String> = places.iter().map(|place| place.address.clone()).collect();
        let admin = Admin::new(&addresses)?;
        let client = client::connect(&local.listen, Retries::Default, OPERATION_WITHIN);
        Ok(House { admin, client, local, running, watch, places })
    }

    pub fn address(&self) -> &str {
        &self.local.listen
    }

    pub fn data(&self) -> PathBuf {
        self.local.data.clone()
    }

    pub async fn create_table(&self, table: &str, partitions: u32) -> anyhow::Result<()> {
        client::create_table(&self.client, table, partitions, WELL_WITHIN).await
    }

    /// The process of a node that a look has shown.
    pub fn find(&self, look: &Look, node: NodeId) -> anyhow::Result<Victim> {
        let place = look.nodes.iter().position(|found| *found == Some(node)).context("a node does not answer")?;
        let pid = self.pid(place).with_context(|| format!("{} does not run", self.places[place].name))?;
        Ok(Victim { place, pid })
    }

    pub fn name(&self, victim: Victim) -> &str {
        &self.places[victim.place].name
    }

    pub fn kill(&self, victim: Victim) {
        process::kill(victim.pid);
    }

    /// An orderly stop.
    pub fn ask_to_stop(&self, victim: Victim) {
        process::signal(victim.pid, Signal::TERM);
    }

    /// Waits until another process is in its place; when it was seen first.
    pub async fn wait_back(&self, victim: Victim, within: Duration) -> anyhow::Result<Instant> {
        let begun = Instant::now();
        while self.pid(victim.place).is_none_or(|pid| pid == victim.pid) {
            ensure!(begun.elapsed() < within, "{} was not started again within {within:?}", self.name(victim));
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(Instant::now())
    }

    /// Snapshots with items that nodes have sent since their processes began, by place. Those that do not run are left out.
    pub async fn snapshots_sent(&self) -> anyhow::Result<BTreeMap<usize, u64>> {
        let mut sent = BTreeMap::new();
        for (number, place) in self.places.iter().enumerate() {
            if self.pid(number).is_none() {
                continue;
            }
            let text = scrape(place.metrics).await.with_context(|| format!("read the metrics of {}", place.name))?;
            sent.insert(number, sample(&text, "trivet_node_snapshots_sent_total").context("no count of snapshots")?);
        }
        Ok(sent)
    }

    fn pid(&self, place: usize) -> Option<u32> {
        let address = Some(&self.places[place].address);
        let nodes = self.running.children(Role::Node);
        nodes.into_iter().find(|pid| process::flag(*pid, "--listen").as_ref() == address)
    }

    /// Stops it and removes what it kept.
    pub async fn end(self) -> anyhow::Result<()> {
        let House { admin: _, client: _, local, running, watch, places: _ } = self;
        watch.abort();
        // It ends by having been aborted.
        drop(watch.await);
        Arc::into_inner(running).context("somebody still looks at the processes")?.stop().await?;
        std::fs::remove_dir_all(&local.data).context("remove the data folder")?;
        std::fs::remove_file(local.log()).context("remove the log")
    }
}

/// A line of the file `addresses`.
fn place(line: &str) -> anyhow::Result<Place> {
    let mut words = line.split_whitespace();
    let mut word = || words.next().with_context(|| format!("{line:?} does not say where a node is"));
    let (name, address) = (word()?.to_owned(), word()?.to_owned());
    let metrics = word()?.parse().context("read where a node's metrics are")?;
    Ok(Place { name, address, metrics })
}

/// What was sent from one count to the other: by those that still run, and by those that began in between.
pub fn sent_since(before: &BTreeMap<usize, u64>, after: &BTreeMap<usize, u64>, began: Victim) -> u64 {
    let earlier = |place: &usize| if *place == began.place { 0 } else { before.get(place).copied().unwrap_or(0) };
    after.iter().map(|(place, sent)| sent.saturating_sub(earlier(place))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_sent_before_it_died_is_not_taken_from_what_it_sends_after() {
        let before = [(0, 5), (1, 2), (2, 0)].into();
        let after = [(0, 3), (1, 2), (2, 1)].into();
        assert_eq!(sent_since(&before, &after, Victim { place: 0, pid: 1 }), 4);
        assert_eq!(sent_since(&before, &before, Victim { place: 1, pid: 1 }), 2);
    }

    #[test]
    fn a_place_is_read_from_its_line() {
        let found = place("zone-a-1 127.0.0.1:17001 127.0.0.1:17002").unwrap();
        assert_eq!((found.name.as_str(), found.address.as_str()), ("zone-a-1", "127.0.0.1:17001"));
        assert_eq!(found.metrics.port(), 17_002);
        assert!(place("zone-a-1 127.0.0.1:17001").is_err());
    }
}
