//! Two Clusters in one namespace, which one operator serves.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Client, ResourceExt as _};
use model::{KeySchema, KeyType, TableDescriptor};
use operator::names::CLUSTER_LABEL;
use tonic::Code;
use wire::control::CreateTableRequest;

use crate::picture::Picture;
use crate::process::Operator;
use crate::scenarios::{self, BY_KUBECTL, BY_SDK, has_nodes};
use crate::stage::{NODES, Stage};

/// The Clusters on whose nodes the table has replicas.
fn homes(stage: &Stage, table: &str) -> BTreeSet<String> {
    let world = stage.fleet.world();
    let nodes: BTreeSet<_> =
        world.groups.values().filter(|group| group.table.name == table).flat_map(|group| &group.held).collect();
    let claims = world.disks.iter().filter(|(_, disk)| nodes.contains(&model::NodeId(disk.node)));
    claims.map(|(claim, _)| claim.split('-').next().unwrap().to_owned()).collect()
}

async fn pods(stage: &Stage) -> BTreeSet<Option<String>> {
    let ours = ListParams::default().labels(&format!("{CLUSTER_LABEL}={}", stage.cluster));
    stage.api::<Pod>().list(&ours).await.unwrap().iter().map(|pod| pod.uid()).collect()
}

pub async fn two_clusters_of_a_namespace_leave_each_other_alone(client: &Client, server: &kube::Config) {
    let mut stage = Stage::new(client, server).await;
    let beside = stage.beside("red").await;
    let operator = Operator::start(&stage.told, None);
    stage.apply_cluster().await;
    beside.apply_cluster().await;
    stage.apply_table(BY_KUBECTL).await;
    beside.create_table(BY_SDK).await;
    let are_served = |picture: &Picture, nodes: usize| {
        has_nodes(picture, stage.cluster, nodes)
            && has_nodes(picture, beside.cluster, NODES)
            && scenarios::is_active(picture, BY_KUBECTL)
            && scenarios::is_active(picture, BY_SDK)
    };
    stage.until("a table in each", |picture| are_served(picture, NODES)).await;
    let each_at_home = ([stage.cluster.to_owned()].into(), [beside.cluster.to_owned()].into());
    assert_eq!((homes(&stage, BY_KUBECTL), homes(&stage, BY_SDK)), each_at_home);

    // Both keep their Tables in one place: a name is one of them's.
    let wish = TableDescriptor::wish(BY_KUBECTL, KeySchema::simple("song", KeyType::S));
    let taken = beside.control().await.unwrap().create_table(CreateTableRequest { wish: wish.encode() }).await;
    let taken = taken.unwrap_err();
    assert_eq!(taken.code(), Code::AlreadyExists);
    assert!(taken.message().contains(&format!("Cluster {}", stage.cluster)), "{}", taken.message());

    // What becomes of one leaves the other as it is.
    let before = pods(&beside).await;
    assert_eq!(before.len(), NODES);
    stage.scale(2).await;
    stage.settled("six nodes", |picture| are_served(picture, 6)).await;
    assert_eq!(pods(&beside).await, before);
    assert_eq!((homes(&stage, BY_KUBECTL), homes(&stage, BY_SDK)), each_at_home);
    beside.delete_table(BY_SDK).await;
    stage.until("the one table is gone", |_| homes(&stage, BY_SDK).is_empty()).await;
    stage.settled("the other is there", |picture| scenarios::is_active(picture, BY_KUBECTL)).await;
    assert_eq!(pods(&beside).await, before);
    drop(operator);
    stage.nothing_is_broken();
}
