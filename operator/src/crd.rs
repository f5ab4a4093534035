//! Trivet's resources, group `trivet.dev`, version `v1alpha1`: what people and SDKs wish, and what the nodes say is true.
//!
//! The types here are the source; the YAML in `crds/` is printed from them (`trivet operator crds`), and a test fails where it
//! is stale. Field docs are what `kubectl explain` shows: units and limits belong there. What can be said about one object alone is said
//! as a CEL rule, so that the API server refuses it with a sentence; what needs a look at others is said by [`crate::tables`] and
//! [`crate::plan`], as a condition.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{CustomResourceExt, ResourceExt as _};

pub mod cluster;
pub mod condition;
pub mod partition;
pub mod removal;
pub mod revision;
pub mod table;

pub use cluster::{Cluster, ClusterSpec, ClusterStatus};
pub use condition::Condition;
pub use partition::{Partition, PartitionSpec, PartitionStatus};
pub use removal::{Removal, RemovalPhase, RemovalReason};
pub use table::{Table, TableSpec, TableStatus};

/// In the order in which they are applied.
pub fn all() -> Vec<CustomResourceDefinition> {
    [Cluster::crd(), Table::crd(), Partition::crd()].map(revision::marked).into()
}

/// What is committed in `crds/`: the file's name and its text.
pub fn files() -> Vec<(String, String)> {
    let file = |crd: &CustomResourceDefinition| {
        let text = serde_saphyr::to_string(crd).expect("a definition of maps, lists and strings has a YAML form");
        (format!("{}.yaml", crd.name_any()), text)
    };
    all().iter().map(file).collect()
}
