//! The loop: observe, plan, apply. Level-based: whatever was missed is seen at the next look.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::TryStreamExt as _;
use tokio::sync::{Notify, watch};
use wire::admin::{CreateGroupRequest, DestroyGroupRequest, SetTableRequest};

use crate::cluster::{Cluster, ClusterError};
use crate::config::Settings;
use crate::observe;
use crate::plan::{self, Step};
use crate::resources::{ResourceError, Resources, Snapshot};

/// Each birth waits for a node's disk: so many keep all three busy, and flood none.
const BIRTHS_AT_ONCE: usize = 16;

/// Runs for ever.
pub struct Driver<R> {
    pub settings: Settings,
    pub resources: Arc<R>,
    pub cluster: Arc<Cluster>,
    /// Woken by the control service after each change.
    pub wake: Arc<Notify>,
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
        loop {
            let interval = match self.look().await {
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

    /// One look: whether everything is as wished.
    async fn look(&self) -> Result<bool, StepError> {
        let observed = observe::groups(&self.cluster).await;
        let wished = self.resources.read().await?;
        let steps = plan::plan(&wished, &observed);
        let blocked = blocked(&steps);
        let settled = observed.complete && plan::is_settled(&wished) && steps.len() == blocked.len();
        self.tell(blocked);
        for run in runs(steps) {
            let writes = run.iter().any(|step| matches!(step, Step::WriteResource { .. }));
            let run = futures::stream::iter(run.into_iter().map(Ok));
            run.try_for_each_concurrent(BIRTHS_AT_ONCE, |step| self.apply(&wished, step)).await?;
            if writes {
                // The rest was planned on resources that are no longer these.
                break;
            }
        }
        Ok(settled)
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

/// What is done at once, in its order: births that follow each other, of which none asks for another; everything else alone.
fn runs(steps: Vec<Step>) -> Vec<Vec<Step>> {
    let mut runs: Vec<Vec<Step>> = Vec::new();
    let is_birth = |step: &Step| matches!(step, Step::CreateGroup { .. });
    for step in steps {
        match runs.last_mut().filter(|run| is_birth(&step) && run.first().is_some_and(is_birth)) {
            Some(births) => births.push(step),
            None => runs.push(vec![step]),
        }
    }
    runs
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
    use model::NodeId;

    use super::*;
    use crate::plan::tests::{partition, table};

    #[test]
    fn births_go_together_and_everything_else_alone_in_its_order() {
        let born = |node| Step::CreateGroup { node: NodeId(node), partition: partition(3, 7), table: table("music") };
        let push = || Step::PushTable(table("music"));
        let steps = vec![born(1), born(2), push(), push(), born(3)];
        assert_eq!(runs(steps), [vec![born(1), born(2)], vec![push()], vec![push()], vec![born(3)]]);
        assert_eq!(runs(Vec::new()), Vec::<Vec<Step>>::new());
    }
}
