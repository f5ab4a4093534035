//! What people read of in events: what happened, once.

use k8s_openapi::api::events::v1::Event;
use kube::Client;
use kube::api::ListParams;

use crate::picture::Picture;
use crate::process::Operator;
use crate::scenarios;
use crate::stage::{LOOKS, NODES, Stage};

/// Of objects of one kind, in the order in which they were written.
async fn events(stage: &Stage, kind: &str) -> Vec<Event> {
    let mut events = stage.api::<Event>().list(&ListParams::default()).await.unwrap().items;
    events.retain(|event| event.regarding.as_ref().is_some_and(|about| about.kind.as_deref() == Some(kind)));
    events.sort_by_key(|event| event.event_time.as_ref().map(|time| time.0));
    events
}

/// Without what hindered it, while nodes were on their way.
fn course(events: &[Event]) -> Vec<&str> {
    let course = events.iter().filter(|event| event.type_.as_deref() == Some("Normal"));
    course.filter_map(|event| event.reason.as_deref()).filter(|reason| *reason != "Unblocked").collect()
}

/// Also by an operator that begins anew, and sees it for the first time.
pub async fn what_happened_to_a_table_is_told_once(client: &Client, server: &kube::Config) {
    let stage = Stage::new(client, server).await;
    let operator = Operator::start(&stage.told, None);
    scenarios::has_one_table(&stage).await;
    let told = events(&stage, "Table").await;
    assert_eq!(course(&told), ["Placed", "Active"], "{told:#?}");
    drop(operator);
    let asked = stage.fleet.world().asked;
    let operator = Operator::start(&stage.told, None);
    stage.eventually("a minute's looks", || stage.fleet.world().asked > asked + LOOKS * NODES).await;
    assert_eq!(events(&stage, "Table").await, told);
    stage.delete_table("music").await;
    let is_gone = |picture: &Picture| !picture.has(&["Table "]) && !picture.has(&["group "]);
    stage.settled("the table is gone", is_gone).await;
    assert_eq!(course(&events(&stage, "Table").await), ["Placed", "Active", "Deleting"]);
    drop(operator);
}

/// Of a disk that came back blank and of nodes that are wished no more: each by its reason, with what it is about in its note.
pub async fn what_happened_to_a_cluster_is_told_once(client: &Client, server: &kube::Config) {
    let stage = Stage::new(client, server).await;
    let operator = Operator::start(&stage.told, None);
    let told = async |reason: &str| {
        let of_cluster = events(&stage, "Cluster").await;
        let repeated: Vec<_> = of_cluster.iter().filter(|event| event.series.is_some()).collect();
        assert!(repeated.is_empty(), "{repeated:#?}");
        of_cluster.iter().filter(|event| event.reason.as_deref() == Some(reason)).count()
    };
    scenarios::has_one_table(&stage).await;
    assert_eq!((told("NodeFormatted").await, told("VolumeLost").await), (3, 0));
    stage.lose_disk("b").await;
    stage.settled("another node", scenarios::is_replaced).await;
    assert_eq!((told("NodeFormatted").await, told("VolumeLost").await), (4, 1));
    stage.scale(2).await;
    stage.until("six nodes", scenarios::is_spread).await;
    assert_eq!((told("NodeFormatted").await, told("NodeLeaves").await), (7, 0));
    stage.scale(1).await;
    stage.settled("three nodes", scenarios::is_served).await;
    assert_eq!((told("NodeFormatted").await, told("VolumeLost").await, told("NodeLeaves").await), (7, 1, 3));
    drop(operator);
}
