//! Tables whose `clusterRef` names no Cluster: no operator of one tends them, and so they are told here what is wrong with them.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

use crate::crd::condition::conditions;
use crate::crd::{Condition, Table};
use crate::tables::{Hindrance, Led, statements};
use crate::watch::Watched;

/// Most that are told in one look; the others are told in the next ones.
const MOST: usize = 50;

/// Until the API server refuses one: the next look tells the rest.
pub async fn tell(client: &Client, namespace: &str, watched: &Watched, now: &Time) -> Result<(), kube::Error> {
    let clusters = watched.clusters.state_filter(|cluster| cluster.metadata.deletion_timestamp.is_none());
    let clusters: BTreeSet<String> = clusters.iter().map(|cluster| cluster.name_any()).collect();
    let strays = watched.tables.state_filter(|table| !clusters.contains(&table.spec.cluster_ref));
    let untold = strays.iter().filter_map(|table| Some((table, untold(table, namespace, &clusters, now)?)));
    let tables: Api<Table> = Api::namespaced(client.clone(), namespace);
    for (table, conditions) in untold.take(MOST) {
        let said = json!({ "status": { "observedGeneration": table.metadata.generation, "conditions": conditions } });
        match tables.patch_status(&table.name_any(), &PatchParams::default(), &Patch::Merge(said)).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            done => drop(done?),
        }
    }
    Ok(())
}

/// What it is to be told, if it has not been. Everything else in its status is of its Cluster, and stays as it was last seen.
fn untold(table: &Table, namespace: &str, clusters: &BTreeSet<String>, now: &Time) -> Option<Vec<Condition>> {
    let before = table.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let hindrance = Hindrance { reason: "NoSuchCluster", message: message(table, namespace, clusters) };
    let said = statements(None, Led::default(), Some(&hindrance));
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
    use k8s_openapi::jiff::Timestamp;
    use model::{KeySchema, KeyType, TableDescriptor};

    use super::*;
    use crate::crd::TableStatus;

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
}
