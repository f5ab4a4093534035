//! Tables whose Cluster has no object: nobody looks after them. One that a person deletes waits until its Cluster is back, since its groups
//! are to be told. Where their definition is deleted, all of them would wait, the definition with them, and it would go as soon as the
//! Cluster is back: just after it was applied again. So they are let go at once. Nothing is told to any group, and what nodes have is adopted
//! later.

use std::sync::Arc;

use kube::api::PatchParams;
use kube::{Api, ResourceExt as _};

use crate::crd::{Cluster, Table};
use crate::reconcile::Surroundings;
use crate::resources::{definition_goes, is_held, letting_go};

/// Those of the tables that are to go and are held, with none of the clusters to see to them. Pure.
fn strays(tables: Vec<Arc<Table>>, clusters: &[Arc<Cluster>]) -> Vec<Arc<Table>> {
    let is_stray = |table: &Arc<Table>| {
        let goes = table.metadata.deletion_timestamp.is_some() && is_held(table);
        goes && !clusters.iter().any(|cluster| cluster.name_any() == table.spec.cluster_ref)
    };
    tables.into_iter().filter(is_stray).collect()
}

/// What cannot be done now is done at the next look.
pub async fn tend(around: &Surroundings, clusters: &[Arc<Cluster>]) {
    let strays = strays(around.watched.tables.state(), clusters);
    if strays.is_empty() {
        return;
    }
    match definition_goes(&around.client).await {
        Ok(true) => {}
        Ok(false) => return,
        Err(error) => return tracing::warn!(%error, "whether the definition of tables goes is not known"),
    }
    let tables: Api<Table> = Api::namespaced(around.client.clone(), &around.namespace);
    for table in strays {
        let name = table.name_any();
        match tables.patch(&name, &PatchParams::default(), &letting_go(&table)).await {
            Ok(_) => tracing::info!(table = name, "an object goes with its definition; its cluster has none"),
            Err(error) => tracing::warn!(table = name, %error, "an object does not go with its definition"),
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::resources::FINALIZER;

    fn cluster(name: &str) -> Arc<Cluster> {
        let spec = json!({
            "image": "trivet:1", "zones": [{ "name": "a" }], "storage": { "size": "10Gi" }, "credentialsSecret": { "name": "keys" },
        });
        Arc::new(serde_json::from_value(json!({ "metadata": { "name": name }, "spec": spec })).unwrap())
    }

    fn table() -> Table {
        let schema = model::KeySchema::simple("artist", model::KeyType::S);
        let mut table = Table::new("music", crate::wish::spec("trv", &model::TableDescriptor::wish("music", schema)));
        table.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
        table.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        table
    }

    fn count(table: Table, clusters: &[Arc<Cluster>]) -> usize {
        strays(vec![Arc::new(table)], clusters).len()
    }

    #[test]
    fn a_table_that_is_to_go_and_has_no_cluster_is_one() {
        assert_eq!(count(table(), &[]), 1);
        assert_eq!(count(table(), &[cluster("other")]), 1);
        assert_eq!(count(table(), &[cluster("other"), cluster("trv")]), 0);
    }

    #[test]
    fn nobody_lets_go_of_what_stays_or_is_not_held() {
        let mut stays = table();
        stays.metadata.deletion_timestamp = None;
        assert_eq!(count(stays, &[]), 0);
        let mut free = table();
        free.metadata.finalizers = None;
        assert_eq!(count(free, &[]), 0);
    }
}
