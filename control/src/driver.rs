//! The loop: observe, plan, apply. Level-based: whatever was missed is seen at the next look.

use std::sync::Arc;

use tokio::sync::Notify;
use wire::admin::{CreateGroupRequest, DestroyGroupRequest, SetTableRequest};

use crate::cluster::{Cluster, ClusterError};
use crate::config::Config;
use crate::observe;
use crate::plan::{self, Step};
use crate::resources::{ResourceError, Resources};

/// Runs for ever.
pub struct Driver<R> {
    pub config: Config,
    pub resources: Arc<R>,
    pub cluster: Arc<Cluster>,
    /// Woken by the control service after each change.
    pub wake: Arc<Notify>,
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
        loop {
            let interval = match self.look().await {
                Ok(settled) if settled => self.config.idle_interval,
                Ok(_) => self.config.busy_interval,
                Err(error) => {
                    tracing::warn!(%error, "a look at the resources ended early");
                    self.config.busy_interval
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

    /// One look: whether everything is as wished.
    async fn look(&self) -> Result<bool, StepError> {
        let observed = observe::groups(&self.cluster).await;
        let wished = self.resources.read().await?;
        let steps = plan::plan(&wished, &observed);
        let settled = observed.complete && plan::is_settled(&wished) && steps.is_empty();
        for step in steps {
            let writes = matches!(step, Step::WriteResource { .. });
            self.apply(wished.revision, step).await?;
            if writes {
                // The rest was planned on resources that are no longer these.
                break;
            }
        }
        Ok(settled)
    }

    async fn apply(&self, revision: u64, step: Step) -> Result<(), StepError> {
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
                self.resources.write(revision, &name, resource).await?;
                tracing::info!(table = name, ?status, "table changed");
                self.wake.notify_one();
            }
            Step::Blocked { table, reason } => tracing::warn!(table, reason, "blocked"),
        }
        Ok(())
    }
}
