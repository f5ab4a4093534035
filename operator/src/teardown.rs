//! `trivet admin teardown`: the one way to remove a Cluster together with its data.
//!
//! Uninstalling the chart removes the operator, deleting a Table keeps its items, claims have no owner: whoever wants everything gone says
//! so here, twice. First the Cluster object goes, so that no operator makes anew what is removed; then all that carries its name, until a
//! look finds nothing. Cut short, it goes on where it was when it is asked again.
#![expect(clippy::disallowed_types, reason = "a command of its own")]

use std::fmt::Debug;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, ListParams, PatchParams};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

use crate::crd::{Cluster, Partition, Table};
use crate::names::CLUSTER_LABEL;
use crate::resources::{is_held, letting_go};

const PAUSE: Duration = Duration::from_millis(500);

/// What is removed.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// The Cluster's namespace.
    #[arg(long, env = "TRIVET_NAMESPACE", default_value = "trivet")]
    pub namespace: String,
    /// The Cluster's name.
    #[arg(long)]
    pub cluster: String,
    /// The Cluster's name once more: without it nothing is removed, and what would be is listed.
    #[arg(long, value_name = "CLUSTER")]
    pub confirm: Option<String>,
    /// How long it may take, in seconds.
    #[arg(long, default_value_t = 600)]
    pub deadline_s: u64,
}

/// What there is of one Cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Inventory {
    cluster: bool,
    /// By DynamoDB's names.
    tables: Vec<String>,
    /// Those of them that refuse to be deleted.
    protected: Vec<String>,
    partitions: usize,
    claims: Vec<String>,
}

/// Lists what there is, and removes it if that was confirmed. `say` is told how far it is.
pub async fn run(arguments: &Arguments, say: impl Fn(&str)) -> anyhow::Result<()> {
    let client = Client::try_default().await.context("find the API server")?;
    remove(client, arguments, say).await
}

/// As `run`, at this API server.
pub async fn remove(client: Client, arguments: &Arguments, say: impl Fn(&str)) -> anyhow::Result<()> {
    let remains = Remains { client, namespace: &arguments.namespace, cluster: &arguments.cluster };
    let found = remains.inventory().await?;
    for line in lines(&found, arguments) {
        say(&line);
    }
    if !found.protected.is_empty() {
        bail!(
            "{} refuse to be deleted: set spec.deletionProtectionEnabled to false, or UpdateTable, for each of them first",
            found.protected.join(", ")
        );
    }
    if arguments.confirm.as_ref() != Some(&arguments.cluster) {
        bail!("nothing is removed; to lose all of this for good, add --confirm {}", arguments.cluster);
    }
    let deadline = Instant::now() + Duration::from_secs(arguments.deadline_s);
    let mut said = String::new();
    loop {
        let left = remains.remove().await?;
        if left.is_empty() {
            say("everything is removed");
            return Ok(());
        }
        let line = format!("waiting for {}", left.join(", "));
        if line != said {
            say(&line);
            said = line;
        }
        if Instant::now() > deadline {
            bail!("after {} s there are still {}; the same command goes on", arguments.deadline_s, left.join(", "));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn lines(found: &Inventory, arguments: &Arguments) -> Vec<String> {
    let Arguments { namespace, cluster, .. } = arguments;
    let Inventory { cluster: there, tables, partitions, claims, .. } = found;
    let object = if *there { "" } else { " (its object is gone already)" };
    let named = |names: &[String]| if names.is_empty() { String::new() } else { format!(": {}", names.join(", ")) };
    vec![
        format!("Cluster {cluster} in namespace {namespace}{object}"),
        format!("{} tables in {partitions} partitions{}", tables.len(), named(tables)),
        format!("{} volume claims with their data{}", claims.len(), named(claims)),
    ]
}

struct Remains<'a> {
    client: Client,
    namespace: &'a str,
    cluster: &'a str,
}

impl Remains<'_> {
    fn api<K: Resource<Scope = NamespaceResourceScope>>(&self) -> Api<K>
    where
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), self.namespace)
    }

    /// All but the toolbox: it is the chart's, which would make it anew for ever.
    fn ours(&self) -> ListParams {
        ListParams::default().labels(&format!("{CLUSTER_LABEL}={},app.kubernetes.io/component!=admin", self.cluster))
    }

    async fn tables(&self) -> anyhow::Result<Vec<Table>> {
        let listed = self.api::<Table>().list(&ListParams::default()).await.context("list Tables")?;
        Ok(listed.items.into_iter().filter(|table| table.spec.cluster_ref == self.cluster).collect())
    }

    async fn labelled<K>(&self) -> anyhow::Result<Vec<K>>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
        K::DynamicType: Default,
    {
        let listed = self.api::<K>().list(&self.ours()).await;
        Ok(listed.with_context(|| format!("list {}", K::plural(&K::DynamicType::default())))?.items)
    }

    async fn inventory(&self) -> anyhow::Result<Inventory> {
        let cluster = self.api::<Cluster>().get_opt(self.cluster).await.context("read the Cluster")?;
        let tables = self.tables().await?;
        let protected = tables.iter().filter(|table| table.spec.deletion_protection_enabled);
        let claims = self.labelled::<PersistentVolumeClaim>().await?;
        Ok(Inventory {
            cluster: cluster.is_some(),
            protected: protected.map(|table| table.spec.table_name.clone()).collect(),
            tables: tables.into_iter().map(|table| table.spec.table_name).collect(),
            partitions: self.labelled::<Partition>().await?.len(),
            claims: claims.iter().map(|claim| claim.name_any()).collect(),
        })
    }

    /// Asks everything to go: what is there still, in words.
    async fn remove(&self) -> anyhow::Result<Vec<String>> {
        if let Some(cluster) = self.api::<Cluster>().get_opt(self.cluster).await.context("read the Cluster")? {
            self.remove_each(&[cluster]).await?;
            // While it is there, its operator makes anew what is removed.
            return Ok(vec![format!("Cluster {}", self.cluster)]);
        }
        let tables = self.tables().await?;
        for table in &tables {
            self.let_go(table).await?;
        }
        let left = [
            self.remove_each(&tables).await?,
            self.remove_each(&self.labelled::<Partition>().await?).await?,
            self.remove_each(&self.labelled::<Deployment>().await?).await?,
            self.remove_each(&self.labelled::<Pod>().await?).await?,
            self.remove_each(&self.labelled::<Service>().await?).await?,
            self.remove_each(&self.labelled::<PodDisruptionBudget>().await?).await?,
            // Each goes when its Pod has gone.
            self.remove_each(&self.labelled::<PersistentVolumeClaim>().await?).await?,
            self.remove_each(&self.labelled::<Secret>().await?).await?,
        ];
        Ok(left.into_iter().flatten().collect())
    }

    /// There is no operator any more that would.
    async fn let_go(&self, table: &Table) -> anyhow::Result<()> {
        if !is_held(table) {
            return Ok(());
        }
        let name = table.name_any();
        match self.api::<Table>().patch(&name, &PatchParams::default(), &letting_go(table)).await {
            Ok(_) => Ok(()),
            // Gone, or changed: the next round looks again.
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
            Err(error) => Err(error).with_context(|| format!("let Table {name} go")),
        }
    }

    async fn remove_each<K>(&self, objects: &[K]) -> anyhow::Result<Option<String>>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
        K::DynamicType: Default,
    {
        let plural = K::plural(&K::DynamicType::default()).into_owned();
        for object in objects.iter().filter(|object| object.meta().deletion_timestamp.is_none()) {
            let name = object.name_any();
            match self.api::<K>().delete(&name, &DeleteParams::default()).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                Err(error) => return Err(error).with_context(|| format!("delete {name} of {plural}")),
            }
        }
        Ok((!objects.is_empty()).then(|| format!("{} {plural}", objects.len())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_would_be_lost() {
        let arguments =
            Arguments { namespace: "trivet".to_owned(), cluster: "trv".to_owned(), confirm: None, deadline_s: 600 };
        let found = Inventory {
            cluster: true,
            tables: vec!["music".to_owned(), "orders".to_owned()],
            protected: Vec::new(),
            partitions: 13,
            claims: vec!["trv-node-1".to_owned()],
        };
        assert_eq!(
            lines(&found, &arguments),
            [
                "Cluster trv in namespace trivet",
                "2 tables in 13 partitions: music, orders",
                "1 volume claims with their data: trv-node-1",
            ]
        );
        let gone = Inventory::default();
        assert_eq!(lines(&gone, &arguments)[0], "Cluster trv in namespace trivet (its object is gone already)");
    }
}
