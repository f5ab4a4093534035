//! What operators do, from the wish to its end.

use crate::kills::Scenario;
use crate::picture::Picture;
use crate::stage::{CLUSTER, Stage};

/// A Table by kubectl, one by an SDK.
pub const BY_KUBECTL: &str = "music";
pub const BY_SDK: &str = "songs";

pub fn is_active(picture: &Picture, table: &str) -> bool {
    let ready = [&format!("Table {table}.status.conditions"), "\"type\":\"Ready\"", "\"status\":\"True\""];
    picture.has(&ready) && picture.count(&["group ", " led ", &format!("name: \"{table}\"")]) == 3
}

fn is_ready(picture: &Picture, nodes: usize) -> bool {
    let running = picture.count(&["disk ", " runs=true"]);
    running == nodes && picture.count(&["disk "]) == nodes && has_nodes(picture, CLUSTER, nodes)
}

/// The Cluster is ready, with so many.
pub fn has_nodes(picture: &Picture, cluster: &str, nodes: usize) -> bool {
    let conditions = format!("Cluster {cluster}.status.conditions");
    picture.has(&[&conditions, "\"type\":\"Ready\"", "\"status\":\"True\""])
        && picture.has(&[&format!("Cluster {cluster}.status.nodes = \"{nodes}/{nodes}\"")])
}

pub async fn installs(stage: &Stage) {
    stage.apply_cluster().await;
    stage.apply_table(BY_KUBECTL).await;
    stage.create_table(BY_SDK).await;
}

pub fn is_installed(picture: &Picture) -> bool {
    is_ready(picture, 3) && is_active(picture, BY_KUBECTL) && is_active(picture, BY_SDK)
}

pub const INSTALL: Scenario = Scenario {
    name: "install",
    before: |_| Box::pin(std::future::ready(())),
    then: |stage| Box::pin(installs(stage)),
    is_done: is_installed,
};

pub async fn has_one_table(stage: &Stage) {
    stage.apply_cluster().await;
    stage.apply_table(BY_KUBECTL).await;
    stage.settled("installed", is_served).await;
}

pub fn is_served(picture: &Picture) -> bool {
    is_ready(picture, 3) && is_active(picture, BY_KUBECTL) && is_whole(picture)
}

/// No group is on its way from one node to another.
fn is_whole(picture: &Picture) -> bool {
    !picture.has(&["group ", "Learner"]) && picture.count(&["Partition ", ".status.state = \"Whole\""]) == 3
}

/// Six nodes, and each zone's two share the replicas as evenly as three can be shared.
pub fn is_spread(picture: &Picture) -> bool {
    let on = |node: String| picture.count(&["group ", &format!("{node}:Voter")]);
    let even = |zone: &str| {
        let counts = [1, 2].map(|number| on(format!("<node {zone}{number}>")));
        counts == [1, 2] || counts == [2, 1]
    };
    is_ready(picture, 6) && is_whole(picture) && ["a", "b", "c"].into_iter().all(even)
}

async fn grows_and_shrinks(stage: &Stage) {
    stage.scale(2).await;
    stage.until("six nodes", is_spread).await;
    stage.scale(1).await;
}

pub const SCALE: Scenario = Scenario {
    name: "scale 3 to 6 to 3",
    before: |stage| Box::pin(has_one_table(stage)),
    then: |stage| Box::pin(grows_and_shrinks(stage)),
    is_done: is_served,
};

async fn loses_a_disk(stage: &Stage) {
    stage.lose_disk("b").await;
}

/// Three nodes as before; the lost one's claim is gone with its groups' last word of it.
pub fn is_replaced(picture: &Picture) -> bool {
    is_served(picture) && !picture.has(&["Claim ", "trivet.dev/lost"])
}

pub const REPLACEMENT: Scenario = Scenario {
    name: "replacement",
    before: |stage| Box::pin(has_one_table(stage)),
    then: |stage| Box::pin(loses_a_disk(stage)),
    is_done: is_replaced,
};

async fn deletes(stage: &Stage) {
    stage.delete_table(BY_KUBECTL).await;
}

fn is_deleted(picture: &Picture) -> bool {
    is_ready(picture, 3)
        && !picture.has(&["group "])
        && !picture.has(&["Table "])
        && !picture.has(&["Partition "])
        && !picture.has(&["memds "])
}

pub const DELETION: Scenario = Scenario {
    name: "deletion",
    before: |stage| Box::pin(has_one_table(stage)),
    then: |stage| Box::pin(deletes(stage)),
    is_done: is_deleted,
};
