//! The loop: observe, plan, apply. Level-based: whatever was missed is seen at the next look.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{Notify, watch};
use wire::admin::{CreateGroupRequest, DestroyGroupRequest, SetTableRequest};

use crate::cluster::{Cluster, ClusterError};
use crate::config::Settings;
use crate::heard::Heard;
use crate::observe;
use crate::plan::{self, Observed, Step};
use crate::resources::{ResourceError, Resources, Snapshot};

/// Runs for ever.
pub struct Driver<R> {
    pub settings: Settings,
    pub resources: Arc<R>,
    pub cluster: Arc<Cluster>,
    /// Woken by the control service after each change.
    pub wake: Arc<Notify>,
    /// What the nodes have told whoever else asks them.
    pub heard: Heard,
    /// Tables with which nothing goes on, and why, as the last look has found.
    pub blocked: watch::Sender<Arc<BTreeMap<String, String>>>,
}

/// Why a step was not done; the next look plans again.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Resources(#[from] ResourceError),
}

impl<R: Resources> Driver<R> {
    pub async fn run(self) {
        let mut pause = self.settings.busy_interval;
        let mut done = Instant::now();
        loop {
            let interval = match self.look(&mut done).await {
                Ok(settled) => {
                    pause = self.settings.busy_interval;
                    if settled { self.settings.idle_interval } else { pause }
                }
                Err(error) => {
                    tracing::warn!(%error, "a look at the resources ended early");
                    // Whoever is in trouble gets less to do.
                    pause = pause.saturating_mul(2).min(self.settings.idle_interval);
                    tokio::time::sleep(pause).await;
                    continue;
                }
            };
            // A wake-up is as good as the interval's end: both lead to the next look.
            tokio::select! {
                biased;
                () = self.wake.notified() => {}
                () = tokio::time::sleep(interval) => {}
            }
        }
    }

    /// One look: whether everything is as wished. `done` is when something was last done, or begun.
    async fn look(&self, done: &mut Instant) -> Result<bool, StepError> {
        let observed = self.observe(*done).await;
        let wished = self.resources.read().await?;
        let steps = plan::plan(&wished, &observed);
        let blocked = blocked(&steps);
        let settled = observed.complete && plan::is_settled(&wished) && steps.len() == blocked.len();
        self.tell(blocked);
        for step in steps {
            let writes = matches!(step, Step::WriteResource { .. });
            let acts = !matches!(step, Step::Blocked { .. });
            let applied = self.apply(&wished, step).await;
            if acts {
                // Failed or not: it may have come to pass.
                *done = Instant::now();
            }
            applied?;
            if writes {
                // The rest was planned on resources that are no longer these.
                break;
            }
        }
        Ok(settled)
    }

    /// As somebody else has just heard it, or else by asking.
    async fn observe(&self, done: Instant) -> Arc<Observed> {
        match self.heard.take_since(done, Instant::now()) {
            Some(observed) => observed,
            None => Arc::new(observe::groups(&self.cluster).await),
        }
    }

    /// What is new is logged, and once.
    fn tell(&self, blocked: BTreeMap<String, String>) {
        for (table, reason) in &blocked {
            if self.blocked.borrow().get(table) != Some(reason) {
                tracing::warn!(table, reason, "blocked");
            }
        }
        self.blocked.send_replace(Arc::new(blocked));
    }

    async fn apply(&self, wished: &Snapshot, step: Step) -> Result<(), StepError> {
        match step {
            Step::CreateGroup { node, partition, table } => {
                let request = CreateGroupRequest { descriptor: partition.encode(), table: table.encode() };
                self.cluster.node(node)?.create_group(request).await.map_err(ClusterError::from)?;
            }
            Step::SetTable { leader, partition, table } => {
                let request = SetTableRequest { partition: partition.0, table: table.encode() };
                self.cluster.node(leader)?.set_table(request).await.map_err(ClusterError::from)?;
            }
            Step::PushTable(table) => self.cluster.put_table(&table).await,
            Step::DestroyGroup { node, partition, table } => {
                let request = DestroyGroupRequest { partition: partition.0, table: table.encode() };
                self.cluster.node(node)?.destroy_group(request).await.map_err(ClusterError::from)?;
            }
            Step::RemoveTable(table) => self.cluster.remove_table(table).await?,
            Step::WriteResource { name, resource } => {
                let status = resource.as_ref().map(|resource| resource.table.status);
                self.resources.write(wished, &name, resource).await?;
                tracing::info!(table = name, ?status, "table changed");
                self.wake.notify_one();
            }
            Step::Blocked { .. } => {}
        }
        Ok(())
    }
}

fn blocked(steps: &[Step]) -> BTreeMap<String, String> {
    let reason = |step: &Step| match step {
        Step::Blocked { table, reason } => Some((table.clone(), reason.clone())),
        Step::CreateGroup { .. }
        | Step::SetTable { .. }
        | Step::PushTable(_)
        | Step::DestroyGroup { .. }
        | Step::RemoveTable(_)
        | Step::WriteResource { .. } => None,
    };
    steps.iter().filter_map(reason).collect()
}

#[cfg(test)]
mod tests {
    use model::{KeyRange, NodeId, PartitionDescriptor, PartitionId, Zone};

    use super::*;
    use crate::plan::ReplicaReport;
    use crate::plan::tests::table;
    use crate::resources::file::FileResources;

    /// There are no nodes: whoever asks them hears of nothing.
    fn driver(folder: &tempfile::TempDir) -> Driver<FileResources> {
        Driver {
            settings: Settings::new(1),
            resources: Arc::new(FileResources::open(&folder.path().join("resources")).unwrap()),
            cluster: Arc::new(Cluster::nobody()),
            wake: Arc::default(),
            heard: Heard::default(),
            blocked: watch::Sender::default(),
        }
    }

    /// One group of a table that no resource has.
    fn orphan() -> Arc<Observed> {
        let places = [(1, "a"), (2, "b"), (3, "c")].map(|(node, zone)| (NodeId(node), Zone(zone.to_owned())));
        let table = table("music");
        let report = ReplicaReport {
            node: NodeId(1),
            descriptor: Some(PartitionDescriptor::birth(PartitionId(9), table.id, KeyRange::ALL, places)),
            table: Some(table),
            serving: true,
            health: None,
            size: None,
        };
        let groups = [(PartitionId(9), vec![report])].into();
        Arc::new(Observed { reached: [NodeId(1)].into(), complete: true, groups, ..Observed::default() })
    }

    #[tokio::test]
    async fn what_somebody_else_has_just_heard_is_not_asked_for_again() {
        let folder = tempfile::tempdir().unwrap();
        let (driver, begun) = (driver(&folder), Instant::now());
        let mut done = begun;
        driver.heard.tell(Instant::now(), orphan());
        driver.look(&mut done).await.unwrap();
        assert!(driver.resources.read().await.unwrap().tables.contains_key("music"));
        assert!(done > begun);
    }

    #[tokio::test]
    async fn what_was_heard_before_the_last_deed_is_asked_for_anew() {
        let folder = tempfile::tempdir().unwrap();
        let driver = driver(&folder);
        let asked = Instant::now();
        driver.heard.tell(asked, orphan());
        driver.look(&mut (asked + std::time::Duration::from_millis(1))).await.unwrap();
        assert!(driver.resources.read().await.unwrap().tables.is_empty());
    }
}
