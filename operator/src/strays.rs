//! Tables whose `clusterRef` names no Cluster: no operator of one tends them.
//!
//! They are told so here. One that a person deletes waits until its Cluster is back, since its groups are to be told. Where their definition
//! is deleted, all of them would wait, the definition with them, and it would go as soon as the Cluster is back: just after it was applied
//! again. So they are let go at once. Nothing is told to any group, and what nodes have is adopted later.
#![expect(clippy::disallowed_types, reason = "it tells whom nobody else tells")]

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

use crate::apply::Writer;
use crate::crd::condition::conditions;
use crate::crd::{Cluster, Condition, Table, TableStatus};
use crate::metrics::Metrics;
use crate::resources::{definition_goes, is_held, letting_go};
use crate::tables::{Hindrance, Led, statements};

/// Most that are told in one look; the others are told in the next ones.
const MOST: usize = 50;

/// Tells them, and lets them go.
#[derive(Clone)]
pub struct Strays {
    client: Client,
    namespace: String,
    tables: Api<Table>,
    writer: Writer,
}

impl Strays {
    pub fn new(client: Client, namespace: &str, writer: Writer) -> Strays {
        let tables = Api::namespaced(client.clone(), namespace);
        Strays { client, namespace: namespace.to_owned(), tables, writer }
    }

    /// What cannot be done now is done at the next look.
    pub async fn tend(&self, tables: Vec<Arc<Table>>, clusters: &[Arc<Cluster>], metrics: &Metrics) {
        let clusters: BTreeSet<String> = clusters.iter().map(|cluster| cluster.name_any()).collect();
        let strays = strays(tables, &clusters);
        if let Err(error) = self.tell(&strays, &clusters).await {
            tracing::warn!(%error, "a Table without a Cluster was not told so");
            metrics.failed();
        }
        let held: Vec<&Table> = strays.iter().map(Arc::as_ref).filter(|table| waits(table)).collect();
        if held.is_empty() {
            return;
        }
        match definition_goes(&self.client).await {
            Ok(true) => self.let_go(&held).await,
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "whether the definition of tables goes is not known"),
        }
    }

    async fn let_go(&self, held: &[&Table]) {
        for table in held {
            let name = table.name_any();
            match self.tables.patch(&name, &PatchParams::default(), &letting_go(table)).await {
                Ok(_) => tracing::info!(table = name, "an object goes with its definition; its cluster has none"),
                Err(error) => tracing::warn!(table = name, %error, "an object does not go with its definition"),
            }
        }
    }

    /// Until the API server refuses one: the next look tells the rest.
    async fn tell(&self, strays: &[Arc<Table>], clusters: &BTreeSet<String>) -> Result<(), kube::Error> {
        let now = Time(Timestamp::now());
        let untold = strays.iter().filter_map(|table| Some((table, untold(table, &self.namespace, clusters, &now)?)));
        for (table, conditions) in untold.take(MOST) {
            let said =
                json!({ "status": { "observedGeneration": table.metadata.generation, "conditions": conditions } });
            match self.tables.patch_status(&table.name_any(), &PatchParams::default(), &Patch::Merge(said)).await {
                Err(kube::Error::Api(status)) if status.is_not_found() => continue,
                done => drop(done?),
            }
            let next = TableStatus { conditions, ..table.status.clone().unwrap_or_default() };
            self.writer.tell_of_table(table, &next).await;
        }
        Ok(())
    }
}

/// Those with none of the clusters to see to them.
fn strays(tables: Vec<Arc<Table>>, clusters: &BTreeSet<String>) -> Vec<Arc<Table>> {
    tables.into_iter().filter(|table| !clusters.contains(&table.spec.cluster_ref)).collect()
}

/// It is to go, and is held.
fn waits(table: &Table) -> bool {
    table.metadata.deletion_timestamp.is_some() && is_held(table)
}

/// What it is to be told, if it has not been. Everything else in its status is of its Cluster, and stays as it was last seen.
fn untold(table: &Table, namespace: &str, clusters: &BTreeSet<String>, now: &Time) -> Option<Vec<Condition>> {
    let before = table.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let hindrance = Hindrance { reason: "NoSuchCluster", message: message(table, namespace, clusters) };
    let said = statements(None, Led::default(), Some(&hindrance), false);
    let next = conditions(before, said, table.metadata.generation.unwrap_or(0), now);
    (next != before).then_some(next)
}

fn message(table: &Table, namespace: &str, clusters: &BTreeSet<String>) -> String {
    let wanted = &table.spec.cluster_ref;
    let known = match clusters.is_empty() {
        true => "there is none".to_owned(),
        false => format!("there are {}", clusters.iter().map(String::as_str).collect::<Vec<_>>().join(", ")),
    };
    let next = match table.metadata.deletion_timestamp {
        Some(_) => format!(
            "it is being deleted, and what becomes of its items is up to its Cluster: apply Cluster {wanted} again, or remove all that is left \
             of it, its items too, by `trivet admin teardown --namespace {namespace} --cluster {wanted}`"
        ),
        None => format!(
            "apply Cluster {wanted}, or delete this Table and apply it with the right name, since spec.clusterRef never changes"
        ),
    };
    format!("spec.clusterRef names no Cluster of namespace {namespace}: {wanted} is none, {known}; {next}")
}

#[cfg(test)]
mod tests {
    use model::{KeySchema, KeyType, TableDescriptor};

    use super::*;
    use crate::resources::FINALIZER;

    fn at(second: i64) -> Time {
        Time(Timestamp::from_second(second).unwrap())
    }

    fn table() -> Table {
        let descriptor = TableDescriptor::wish("music", KeySchema::simple("artist", KeyType::S));
        Table::new("music", crate::wish::spec("tvr", &descriptor))
    }

    fn told(table: &Table, clusters: &[&str]) -> Option<Vec<Condition>> {
        let clusters = clusters.iter().map(|name| (*name).to_owned()).collect();
        untold(table, "here", &clusters, &at(1))
    }

    #[test]
    fn a_table_of_no_cluster_is_told_once_which_there_are() {
        let mut table = table();
        let said = told(&table, &["other", "trv"]).unwrap();
        let blocked = said.iter().find(|condition| condition.kind == "Blocked").unwrap();
        assert_eq!((blocked.status.as_str(), blocked.reason.as_str()), ("True", "NoSuchCluster"));
        for part in ["spec.clusterRef", "tvr is none, there are other, trv", "apply Cluster tvr, or delete this Table"]
        {
            assert!(blocked.message.contains(part), "{part:?} in: {}", blocked.message);
        }
        table.status = Some(TableStatus { conditions: said, ..TableStatus::default() });
        assert_eq!(told(&table, &["other", "trv"]), None);
        assert!(told(&table, &["trv"]).is_some(), "another one has gone");
    }

    #[test]
    fn one_that_hangs_on_its_finalizer_is_told_how_it_goes() {
        let mut table = table();
        table.metadata.deletion_timestamp = Some(at(1));
        let said = told(&table, &[]).unwrap();
        assert!(said[0].message.contains("there is none; it is being deleted"), "{}", said[0].message);
        assert!(said[0].message.contains("trivet admin teardown"), "{}", said[0].message);
    }

    /// Deleted by a person.
    fn held() -> Table {
        let mut table = table();
        table.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
        table.metadata.deletion_timestamp = Some(at(0));
        table
    }

    /// How many of it are let go with their definition.
    fn count(table: Table, clusters: &[&str]) -> usize {
        let clusters = clusters.iter().map(|name| (*name).to_owned()).collect();
        strays(vec![Arc::new(table)], &clusters).iter().filter(|table| waits(table)).count()
    }

    #[test]
    fn a_table_that_is_to_go_and_has_no_cluster_is_let_go() {
        assert_eq!(count(held(), &[]), 1);
        assert_eq!(count(held(), &["other"]), 1);
        assert_eq!(count(held(), &["other", "tvr"]), 0);
    }

    #[test]
    fn nobody_lets_go_of_what_stays_or_is_not_held() {
        let mut stays = held();
        stays.metadata.deletion_timestamp = None;
        assert_eq!(count(stays, &[]), 0);
        let mut free = held();
        free.metadata.finalizers = None;
        assert_eq!(count(free, &[]), 0);
    }
}
