//! The loop: observe, plan, apply. Level-based: whatever was missed is seen at the next look.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt as _;
use tokio::sync::{Notify, Semaphore, watch};
use wire::admin::{CreateGroupRequest, DestroyGroupRequest, SetTableRequest};

use crate::cluster::{Cluster, ClusterError};
use crate::config::Settings;
use crate::observe;
use crate::plan::{self, Step};
use crate::resources::{ResourceError, Resources, Snapshot};
use crate::troubles::Troubles;

/// Each birth waits for a node's disk: so many keep all three busy, and flood none.
const BIRTHS_AT_ONCE: usize = 16;
/// Of a table of which something fails again and again, in the time between two looks at tables that are as wished.
const TRIES: u32 = 10;
/// A call to a node that hangs takes seconds: so many tables may wait for such, and the others go on.
const TABLES_AT_ONCE: usize = 16;

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
        let (busy, idle) = (self.settings.busy_interval, self.settings.idle_interval);
        let (mut pause, mut troubles) = (busy, Troubles::new(busy, idle / TRIES));
        loop {
            let interval = match self.look(&mut troubles).await {
                Ok(settled) => {
                    pause = busy;
                    if settled { idle } else { troubles.next_try(Instant::now()).unwrap_or(busy) }
                }
                Err(error) => {
                    tracing::warn!(%error, "a look at the resources ended early");
                    // Whoever is in trouble gets less to do.
                    pause = pause.saturating_mul(2).min(idle);
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

    /// One look: whether everything is as wished. What cannot be done of one table holds no other up.
    async fn look(&self, troubles: &mut Troubles) -> Result<bool, ResourceError> {
        let observed = observe::groups(&self.cluster).await;
        let wished = self.resources.read().await?;
        let steps = plan::plan(&wished, &observed);
        let blocked = blocked(&steps);
        let settled = observed.complete && plan::is_settled(&wished) && steps.len() == blocked.len();
        let mut due = by_table(steps);
        troubles.only(|table| due.contains_key(table));
        self.tell(troubles.told(&blocked));
        due.retain(|table, _| !troubles.wait(table, Instant::now()));
        let births = Semaphore::new(BIRTHS_AT_ONCE);
        let tables = due.into_iter().map(|(table, steps)| async {
            let done = self.go_on(&wished, &births, steps).await;
            (table, done)
        });
        let mut tables = futures::stream::iter(tables).buffer_unordered(TABLES_AT_ONCE);
        while let Some((table, done)) = tables.next().await {
            match done {
                Ok(()) => troubles.over(&table),
                // Somebody was faster, and the next look sees what is wished now.
                Err(StepError::Resources(ResourceError::Conflict(_))) => {}
                Err(error) => {
                    tracing::warn!(table, %error, "a step was not done");
                    troubles.begin(&table, error.to_string(), Instant::now());
                }
            }
        }
        self.tell(troubles.told(&blocked));
        Ok(settled)
    }

    /// With one table, as far as it goes.
    async fn go_on(&self, wished: &Snapshot, births: &Semaphore, steps: Vec<Step>) -> Result<(), StepError> {
        for run in runs(steps) {
            let writes = run.iter().any(|step| matches!(step, Step::WriteResource { .. }));
            let run = run.into_iter().map(|step| async {
                let is_birth = matches!(step, Step::CreateGroup { .. });
                let _turn = if is_birth { births.acquire().await.ok() } else { None };
                self.apply(wished, step).await
            });
            // All of them, though one fails: none of these asks for another.
            futures::future::join_all(run).await.into_iter().collect::<Result<(), _>>()?;
            if writes {
                // The rest was planned on a resource that is no longer this.
                break;
            }
        }
        Ok(())
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
            Step::RemoveTable { table, .. } => self.cluster.remove_table(table).await?,
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

/// Each table's steps, in their order.
fn by_table(steps: Vec<Step>) -> BTreeMap<String, Vec<Step>> {
    let mut tables: BTreeMap<String, Vec<Step>> = BTreeMap::new();
    for step in steps {
        tables.entry(step.table().to_owned()).or_default().push(step);
    }
    tables
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
        | Step::RemoveTable { .. }
        | Step::WriteResource { .. } => None,
    };
    steps.iter().filter_map(reason).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use model::{NodeId, TableDescriptor, TableId, Zone};

    use super::*;
    use crate::fake::Node;
    use crate::plan::tests::{partition, table};
    use crate::resources::TableResource;
    use crate::resources::file::FileResources;

    #[test]
    fn births_go_together_and_everything_else_alone_in_its_order() {
        let born = |node| Step::CreateGroup { node: NodeId(node), partition: partition(3, 7), table: table("music") };
        let push = || Step::PushTable(table("music"));
        let steps = vec![born(1), born(2), push(), push(), born(3)];
        assert_eq!(runs(steps), [vec![born(1), born(2)], vec![push()], vec![push()], vec![born(3)]]);
        assert_eq!(runs(Vec::new()), Vec::<Vec<Step>>::new());
    }

    /// A table that is being made, with one partition on these nodes.
    fn born(name: &str, id: u64, nodes: [u64; 3]) -> TableResource {
        let places = nodes.map(|node| (NodeId(node), Zone(format!("zone-{node}"))));
        let table = TableDescriptor { id: TableId(id), ..table(name) };
        let range = model::KeyRange::ALL;
        let partition = model::PartitionDescriptor::birth(model::PartitionId(id), table.id, range, places);
        TableResource { table, partitions: vec![partition] }
    }

    async fn driver(folder: &Path, nodes: &[Node], tables: &[TableResource]) -> Driver<FileResources> {
        let resources = FileResources::open(&folder.join("resources.json")).unwrap();
        for resource in tables {
            let read = resources.read().await.unwrap();
            resources.write(&read, &resource.table.name, Some(resource.clone())).await.unwrap();
        }
        let addresses: Vec<String> = nodes.iter().map(|node| node.address.clone()).collect();
        Driver {
            settings: Settings::new(1),
            resources: Arc::new(resources),
            cluster: Arc::new(Cluster::new(&addresses, &[]).unwrap()),
            wake: Arc::default(),
            blocked: watch::Sender::default(),
        }
    }

    #[tokio::test]
    async fn what_one_node_refuses_holds_up_its_table_alone() {
        let nodes = [Node::start(1).await, Node::start(2).await, Node::start(3).await, Node::refusing(4).await];
        let tables = [born("albums", 8, [1, 2, 4]), born("music", 7, [1, 2, 3])];
        let folder = tempfile::tempdir().unwrap();
        let driver = driver(folder.path(), &nodes, &tables).await;
        // Longer than the test: whoever fails is not tried again meanwhile.
        let hour = std::time::Duration::from_secs(3600);
        let mut troubles = Troubles::new(hour, hour);
        assert!(!driver.look(&mut troubles).await.unwrap());
        let has = |node: usize| nodes[node - 1].groups();
        assert_eq!([has(1), has(2), has(3), has(4)], [vec![7, 8], vec![7, 8], vec![7], vec![]]);
        let told = |driver: &Driver<FileResources>| BTreeMap::clone(&driver.blocked.borrow());
        let failed = BTreeMap::from([("albums".to_owned(), "Failed: no room on node 4".to_owned())]);
        assert_eq!(told(&driver), failed);
        assert_eq!(nodes[3].refused(), 1);
        // The other is served as soon as it can be, and nobody asks the node that refuses.
        nodes.iter().for_each(Node::lead);
        assert!(!driver.look(&mut troubles).await.unwrap());
        let now = driver.resources.read().await.unwrap();
        assert_eq!(now.tables["music"].table.status, model::TableStatus::Active);
        assert_eq!((nodes[3].refused(), told(&driver)), (1, failed));
        // Whoever is tried again, and goes on, is in trouble no more.
        nodes[3].relents();
        let mut troubles = Troubles::new(hour, hour);
        assert!(!driver.look(&mut troubles).await.unwrap());
        assert_eq!((has(4), told(&driver)), (vec![8], BTreeMap::new()));
    }
}
