//! Tables as the driver reads and writes them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use control::resources::{ResourceError, Resources, Snapshot, TableResource};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use model::{
    KeyRange, KeySchema, KeyType, NodeId, PartitionDescriptor, PartitionId, TableDescriptor, TableId, TableStatus, Zone,
};
use operator::crd::{Partition, Table};
use operator::resources::KubeResources;
use operator::watch::{self, Watches};
use serde_json::json;
use tokio::sync::Notify;

const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);

async fn resources(client: &Client) -> (KubeResources, Watches) {
    resources_of(client, "trv").await
}

/// What a driver of the cluster would hold.
pub async fn resources_of(client: &Client, cluster: &str) -> (KubeResources, Watches) {
    let (watched, watches) = watch::start(client, "default", &Arc::new(Notify::new()));
    watched.ready().await;
    let (namespace, cluster) = ("default".to_owned(), cluster.to_owned());
    (KubeResources { client: client.clone(), namespace, cluster, watched }, watches)
}

pub fn resource(name: &str, id: u64) -> TableResource {
    let schema = KeySchema::simple("artist", KeyType::S);
    let table =
        TableDescriptor { id: TableId(id), version: 1, initial_partitions: 2, ..TableDescriptor::wish(name, schema) };
    let places = [(1, "zone-a"), (2, "zone-b"), (3, "zone-c")];
    let partitions = KeyRange::even(2).into_iter().zip(1..).map(|(range, number)| {
        let places = places.map(|(node, zone)| (NodeId(node), Zone(zone.to_owned())));
        PartitionDescriptor::birth(PartitionId(id * 100 + number), table.id, range, places)
    });
    TableResource { partitions: partitions.collect(), table }
}

/// What is written is seen a moment later: the read that fulfils the condition.
pub async fn eventually(resources: &KubeResources, what: &str, is: impl Fn(&Snapshot) -> bool) -> Snapshot {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let read = resources.read().await.unwrap();
        if is(&read) {
            return read;
        }
        assert!(Instant::now() < deadline, "{what}: {read:?}");
        tokio::time::sleep(PAUSE).await;
    }
}

pub async fn a_table_is_written_read_and_removed(client: &Client) {
    let (resources, _watches) = resources(client).await;
    let wished = resource("Orders", 7);
    let empty = resources.read().await.unwrap();
    resources.write(&empty, "Orders", Some(wished.clone())).await.unwrap();
    let born = eventually(&resources, "it is there", |read| {
        read.tables.get("Orders").is_some_and(|table| table.partitions.len() == 2)
    });
    let born = born.await;
    assert_eq!(born.tables["Orders"], wished);

    let mut active = wished.clone();
    (active.table.status, active.table.version) = (TableStatus::Active, 2);
    active.partitions[0].epoch = 4;
    active.partitions[0].range.end = Some(bytes::Bytes::from_static(&[0x40]));
    resources.write(&born, "Orders", Some(active.clone())).await.unwrap();
    let later = eventually(&resources, "the cut is there", |read| read.tables.get("Orders") == Some(&active)).await;

    resources.write(&later, "Orders", None).await.unwrap();
    eventually(&resources, "it is gone", |read| !read.versions.contains_key("Orders")).await;
    let left = Api::<Partition>::default_namespaced(client.clone()).list(&ListParams::default()).await.unwrap();
    assert!(left.items.is_empty(), "{:?}", left.items);
}

pub async fn the_slower_of_two_writers_is_refused(client: &Client) {
    let ((fast, _fast), (slow, _slow)) = (resources(client).await, resources(client).await);
    let (read, stale) = (fast.read().await.unwrap(), slow.read().await.unwrap());
    fast.write(&read, "Races", Some(resource("Races", 8))).await.unwrap();
    let refused = slow.write(&stale, "Races", Some(resource("Races", 9))).await;
    assert!(matches!(refused, Err(ResourceError::Conflict(_))), "{refused:?}");
    let now = eventually(&fast, "it is there", |read| read.tables.contains_key("Races")).await;
    assert_eq!(now.tables["Races"].table.id, TableId(8));

    // Both read it, both want to change it.
    let both = eventually(&slow, "the slower sees it", |read| read.versions == now.versions).await;
    let mut change = now.tables["Races"].clone();
    change.table.version = 2;
    fast.write(&now, "Races", Some(change.clone())).await.unwrap();
    let refused = slow.write(&both, "Races", Some(change)).await;
    assert!(matches!(refused, Err(ResourceError::Conflict(_))), "{refused:?}");
    let now = eventually(&fast, "the change is there", |read| read.tables["Races"].table.version == 2).await;
    fast.write(&now, "Races", None).await.unwrap();
}

/// UpdateTable writes the spec; the driver, which only raises the status, must not undo what somebody has just edited.
pub async fn an_edit_of_the_spec_outlives_a_change_of_status(client: &Client) {
    let (resources, _watches) = resources(client).await;
    let read = resources.read().await.unwrap();
    resources.write(&read, "edited", Some(resource("edited", 10))).await.unwrap();
    let born = eventually(&resources, "it is there", |read| read.tables.contains_key("edited")).await;
    let tables: Api<Table> = Api::default_namespaced(client.clone());
    // An SDK's change goes into the spec.
    let mut tagged = born.tables["edited"].clone();
    tagged.table.tags = vec![("team".to_owned(), "blue".to_owned())];
    (tagged.table.status, tagged.table.version) = (TableStatus::Updating, 2);
    resources.write(&born, "edited", Some(tagged)).await.unwrap();
    assert_eq!(tables.get("edited").await.unwrap().spec.tags[0].value, "blue");

    let edit = Patch::Merge(json!({ "spec": { "deletionProtectionEnabled": true } }));
    let edited = tables.patch("edited", &PatchParams::default(), &edit).await.unwrap();
    let seen = eventually(&resources, "the edit is seen", |read| {
        read.versions.get("edited") == edited.metadata.resource_version.as_ref()
    });
    let seen = seen.await;
    let mut raised = seen.tables["edited"].clone();
    (raised.table.status, raised.table.version) = (TableStatus::Active, 3);
    resources.write(&seen, "edited", Some(raised.clone())).await.unwrap();
    assert!(tables.get("edited").await.unwrap().spec.deletion_protection_enabled, "the edit is undone");
}

/// What is left of a table that is gone is removed; what a Table holds, or a newer object, stays.
pub async fn an_orphaned_partition_is_removed(client: &Client) {
    let (resources, _watches) = resources(client).await;
    let read = resources.read().await.unwrap();
    resources.write(&read, "left", Some(resource("left", 11))).await.unwrap();
    eventually(&resources, "it is there", |read| read.tables.contains_key("left")).await;
    let partitions: Api<Partition> = Api::default_namespaced(client.clone());
    let ours = ListParams::default().labels(&format!("{}={}", operator::names::TABLE_LABEL, TableId(11)));
    let all = || async { partitions.list(&ours).await.unwrap().items };
    for partition in all().await {
        resources.remove_orphan(&partition).await.unwrap();
    }
    assert_eq!(all().await.len(), 2, "a Table holds them");

    let table = Api::<Table>::default_namespaced(client.clone()).get("left").await.unwrap();
    resources.release(&table).await.unwrap();
    Api::<Table>::default_namespaced(client.clone()).delete("left", &DeleteParams::default()).await.unwrap();
    let [older, other] = all().await.try_into().unwrap();
    let label = Patch::Merge(json!({ "metadata": { "labels": { "seen-by": "somebody" } } }));
    partitions.patch(&older.name_any(), &PatchParams::default(), &label).await.unwrap();
    let refused = resources.remove_orphan(&older).await;
    assert!(matches!(refused, Err(ResourceError::Conflict(_))), "{refused:?}");
    resources.remove_orphan(&other).await.unwrap();
    resources.remove_orphan(&other).await.unwrap();
    let [newer] = all().await.try_into().unwrap();
    assert_eq!(newer.name_any(), older.name_any());
    resources.remove_orphan(&newer).await.unwrap();
    assert!(all().await.is_empty());
}
