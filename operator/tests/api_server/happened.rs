//! What the events of a Table tell of its course: each thing once, whoever writes it.

use control::resources::{Resources as _, Snapshot, TableResource};
use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use kube::{Api, Client};
use model::TableStatus;
use operator::resources::KubeResources;

use crate::tables::{eventually, resource, resources_of};

const NAME: &str = "eventful";

/// All of the Table's, in the order in which they were written.
pub async fn events(client: &Client, namespace: &str, name: &str) -> Vec<Event> {
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    let about = |event: &Event| {
        event.regarding.as_ref().is_some_and(|about| {
            about.kind.as_deref() == Some("Table") && about.name.as_deref() == Some(name) && about.uid.is_some()
        })
    };
    let mut events = api.list(&ListParams::default()).await.unwrap().items;
    events.retain(about);
    events.sort_by_key(|event| event.event_time.as_ref().map(|time| time.0));
    events
}

pub fn reasons(events: &[Event]) -> Vec<&str> {
    events.iter().filter_map(|event| event.reason.as_deref()).collect()
}

async fn written(resources: &KubeResources, read: &Snapshot, next: &TableResource) -> Snapshot {
    resources.write(read, NAME, Some(next.clone())).await.unwrap();
    eventually(resources, "it is there", |read| read.tables.get(NAME) == Some(next)).await
}

pub async fn what_happens_to_a_table_is_told_once(client: &Client) {
    let (resources, _watches) = resources_of(client, "trv").await;
    let told = || async { events(client, "default", NAME).await };
    let mut table = resource(NAME, 21);
    let mut read = written(&resources, &resources.read().await.unwrap(), &table).await;
    assert_eq!(reasons(&told().await), ["Placed"]);
    assert!(told().await[0].note.as_ref().unwrap().starts_with("its 2 partitions have their places"));

    let next = |table: &mut TableResource, status| {
        (table.table.status, table.table.version) = (status, table.table.version + 1);
        table.clone()
    };
    read = written(&resources, &read, &next(&mut table, TableStatus::Active)).await;
    table.table.tags = vec![("team".to_owned(), "blue".to_owned())];
    read = written(&resources, &read, &next(&mut table, TableStatus::Updating)).await;
    read = written(&resources, &read, &next(&mut table, TableStatus::Active)).await;
    // Its partitions are another matter, and so is what is written though it has been.
    table.partitions[0].epoch = 4;
    read = written(&resources, &read, &table).await;
    // Soon after the other, and of another version: it is not counted as the same.
    table.table.deletion_protection = true;
    read = written(&resources, &read, &next(&mut table, TableStatus::Updating)).await;
    let course = ["Placed", "Active", "Changed", "Changed"];
    assert_eq!(reasons(&told().await), course);
    assert!(told().await[3].note.as_ref().unwrap().ends_with("what changes: deletion protection"));

    // Its object goes, and the nodes' groups bring it back.
    read = written(&resources, &read, &next(&mut table, TableStatus::Retained)).await;
    resources.write(&read, NAME, None).await.unwrap();
    read = eventually(&resources, "it is gone", |read| !read.versions.contains_key(NAME)).await;
    read = written(&resources, &read, &next(&mut table, TableStatus::Updating)).await;
    read = written(&resources, &read, &next(&mut table, TableStatus::Deleting)).await;
    resources.write(&read, NAME, None).await.unwrap();
    assert_eq!(reasons(&told().await), [&course[..], &["Retained", "Adopted", "Deleting"]].concat());
    assert!(told().await.iter().all(|event| event.series.is_none() && event.type_.as_deref() == Some("Normal")));
}
