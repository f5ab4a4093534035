//! Tables as the driver reads and writes them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use control::cluster::Cluster as Nodes;
use control::config::Settings;
use control::diverged::Confirmed;
use control::resources::{ResourceError, Resources, Snapshot, TableResource};
use control::service::Service;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use model::{
    KeyRange, KeySchema, KeyType, NodeId, PartitionDescriptor, PartitionId, TableDescriptor, TableId, TableStatus, Zone,
};
use operator::apply::{Hands, Writer};
use operator::crd::{Cluster, Partition, Table};
use operator::names::{CONFIRM, DRIVER_MANAGER, OPERATOR_MANAGER};
use operator::resources::{KubeResources, Shelf};
use operator::watch::{self, Watches};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tonic::{Code, Request};
use wire::control::CreateTableRequest;
use wire::control::control_server::Control as _;

const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);

async fn resources(client: &Client) -> (KubeResources, Watches) {
    resources_of(client, "trv").await
}

/// What a driver of the cluster would hold.
pub async fn resources_of(client: &Client, cluster: &str) -> (KubeResources, Watches) {
    let (watched, watches) = watch::start(client, "default", &Arc::new(Notify::new()));
    watched.ready().await;
    (Shelf::new(client.clone(), Writer::new(client.clone()), "default", &watched).of(cluster), watches)
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
    tables.patch("edited", &PatchParams::default(), &edit).await.unwrap();
    let unedited = eventually(&resources, "the edit is seen", |read| {
        read.versions.get("edited").is_some_and(|version| Some(version) != born.versions.get("edited"))
            && resources.watched().tables.get("edited").is_some_and(|table| table.spec.deletion_protection_enabled)
    });
    let seen = unedited.await;
    let mut raised = seen.tables["edited"].clone();
    (raised.table.status, raised.table.version) = (TableStatus::Active, 3);
    resources.write(&seen, "edited", Some(raised.clone())).await.unwrap();
    assert!(tables.get("edited").await.unwrap().spec.deletion_protection_enabled, "the edit is undone");
}

fn managers(table: &Table) -> BTreeMap<String, Vec<String>> {
    let mut owners: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in table.metadata.managed_fields.iter().flatten() {
        let fields = entry.fields_v1.as_ref().map(|fields| &fields.0["f:status"]);
        for field in fields.and_then(Value::as_object).into_iter().flat_map(|fields| fields.keys()) {
            owners.entry(field.clone()).or_default().push(entry.manager.clone().unwrap_or_default());
        }
    }
    owners
}

fn versioned(table: &Table) -> Value {
    json!({ "name": table.name_any(), "resourceVersion": table.resource_version() })
}

/// As a look does it; whether it was written.
async fn tell(client: &Client, resources: &KubeResources, metadata: &Value, items: u64) -> bool {
    let writer = Writer::new(client.clone());
    let cluster: Cluster = serde_json::from_value(crate::refusals::cluster()).unwrap();
    let nodes = Nodes::nobody();
    let hands = Hands { writer: &writer, cluster: &cluster, nodes: &nodes, watched: resources.watched() };
    let condition = json!({ "type": "Ready", "status": "True", "reason": "Active", "message": "so", "lastTransitionTime": "2026-01-02T03:04:05Z" });
    let told = json!({ "tableStatus": "ACTIVE", "partitions": 2, "observedGeneration": 1, "items": items, "conditions": [condition] });
    hands.write_status::<Table>(metadata, told).await.unwrap()
}

/// The driver owns what groups are to hold, the looks what is told: neither holds the other up, and neither writes over the other.
pub async fn each_field_of_a_status_has_one_owner(client: &Client) {
    let (resources, _watches) = resources(client).await;
    let read = resources.read().await.unwrap();
    resources.write(&read, "owned", Some(resource("owned", 12))).await.unwrap();
    let read = eventually(&resources, "it is there", |read| read.tables.contains_key("owned")).await;

    let tables: Api<Table> = Api::default_namespaced(client.clone());
    let seen = versioned(&tables.get("owned").await.unwrap());
    assert!(tell(client, &resources, &seen, 7).await);

    // It was read before that, and is written nevertheless.
    let mut active = read.tables["owned"].clone();
    (active.table.status, active.table.version) = (TableStatus::Active, 2);
    resources.write(&read, "owned", Some(active.clone())).await.unwrap();
    let refused = resources.write(&read, "owned", Some(active.clone())).await;
    assert!(matches!(refused, Err(ResourceError::Conflict(_))), "{refused:?}");
    assert!(!tell(client, &resources, &seen, 8).await);
    let seen = versioned(&tables.get("owned").await.unwrap());
    assert!(tell(client, &resources, &seen, 8).await);
    let now = eventually(&resources, "the change is there", |read| read.tables["owned"].table == active.table).await;

    let table = tables.get("owned").await.unwrap();
    let status = table.status.as_ref().unwrap();
    assert_eq!((status.items, status.table_status.as_str(), status.conditions.len()), (8, "ACTIVE", 1));
    let owners = managers(&table);
    assert!(owners.values().all(|managers| managers.len() == 1), "{owners:?}");
    let of = |manager: &str| {
        let ours = owners.iter().filter(|(_, managers)| managers[0] == manager);
        ours.map(|(field, _)| field.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(of(DRIVER_MANAGER), ["f:birth", "f:descriptor", "f:tableId"]);
    let told = ["f:conditions", "f:items", "f:observedGeneration", "f:partitions", "f:tableStatus"];
    assert_eq!(of(OPERATOR_MANAGER), told);
    resources.write(&now, "owned", None).await.unwrap();
}

/// What is told of a table is not told of its successor, however slow the look was.
pub async fn a_status_is_of_the_object_that_was_seen(client: &Client) {
    let (resources, _watches) = resources(client).await;
    let tables: Api<Table> = Api::default_namespaced(client.clone());
    let read = resources.read().await.unwrap();
    resources.write(&read, "again", Some(resource("again", 15))).await.unwrap();
    let first = versioned(&tables.get("again").await.unwrap());
    let read = eventually(&resources, "it is there", |read| read.tables.contains_key("again")).await;
    resources.write(&read, "again", None).await.unwrap();
    let read = eventually(&resources, "it is gone", |read| !read.versions.contains_key("again")).await;
    assert!(!tell(client, &resources, &first, 7).await);

    resources.write(&read, "again", Some(resource("again", 16))).await.unwrap();
    assert!(!tell(client, &resources, &first, 7).await);
    let second = tables.get("again").await.unwrap();
    assert_eq!(second.status.as_ref().unwrap().items, 0);
    assert!(tell(client, &resources, &versioned(&second), 7).await);
    let read = eventually(&resources, "it is there anew", |read| read.tables.contains_key("again")).await;
    resources.write(&read, "again", None).await.unwrap();
}

/// The API server cannot tell whether a name with a hash in it is the right one.
pub async fn an_object_under_anothers_name_hinders_nobody(client: &Client) {
    let (resources, _watches) = resources(client).await;
    let tables: Api<Table> = Api::default_namespaced(client.clone());
    let read = resources.read().await.unwrap();
    resources.write(&read, "right", Some(resource("right", 17))).await.unwrap();
    let before = eventually(&resources, "it is there", |read| read.tables.contains_key("right")).await;
    let right = tables.get("right").await.unwrap();
    let wrong = Table::new("right-0badcafe", right.spec.clone());
    tables.create(&PostParams::default(), &wrong).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    while resources.watched().tables.get("right-0badcafe").is_none() {
        assert!(Instant::now() < deadline, "the other object is never seen");
        tokio::time::sleep(PAUSE).await;
    }
    assert_eq!(resources.read().await.unwrap(), before);
    tables.delete("right-0badcafe", &DeleteParams::default()).await.unwrap();
    resources.write(&before, "right", None).await.unwrap();
}

/// Nodes have something newer than an etcd that was set back: a person says so, and also the spec is theirs afterwards.
pub async fn what_a_person_confirms_is_done_once(client: &Client) {
    let (resources, _watches) = resources(client).await;
    let read = resources.read().await.unwrap();
    resources.write(&read, "restored", Some(resource("restored", 13))).await.unwrap();
    eventually(&resources, "it is there", |read| read.tables.contains_key("restored")).await;
    let tables: Api<Table> = Api::default_namespaced(client.clone());
    let word = json!({
        "metadata": { "annotations": { CONFIRM: "nodes" } },
        "spec": { "tags": [{ "key": "team", "value": "blue" }] },
    });
    tables.patch("restored", &PatchParams::default(), &Patch::Merge(word)).await.unwrap();
    let said = eventually(&resources, "the word is read", |read| read.confirmed.contains_key("restored")).await;
    assert_eq!(said.confirmed["restored"], Confirmed::Nodes);

    let mut held = said.tables["restored"].clone();
    (held.table.status, held.table.version, held.table.deletion_protection) = (TableStatus::Active, 5, true);
    resources.write(&said, "restored", Some(held.clone())).await.unwrap();
    let table = tables.get("restored").await.unwrap();
    assert!(table.spec.deletion_protection_enabled && table.spec.tags.is_empty(), "{:?}", table.spec);
    resources.forget_confirmation(&table).await.unwrap();
    let now = eventually(&resources, "the word is forgotten", |read| read.confirmed.is_empty()).await;
    assert_eq!(now.tables["restored"].table, held.table);
    resources.write(&now, "restored", None).await.unwrap();
}

/// Two Clusters of one namespace: a table's name is one object's.
pub async fn a_name_that_another_cluster_has_is_refused_at_once(client: &Client) {
    let (first, _first) = resources_of(client, "first").await;
    let read = first.read().await.unwrap();
    first.write(&read, "shared", Some(resource("shared", 14))).await.unwrap();
    let made = eventually(&first, "it is there", |read| read.tables.contains_key("shared")).await;
    let (second, _second) = resources_of(client, "second").await;
    let read = second.read().await.unwrap();
    assert!(read.tables.is_empty() && read.versions.is_empty(), "{read:?}");
    let service = Service {
        settings: Settings::new(1),
        resources: Arc::new(second),
        cluster: Arc::new(Nodes::nobody()),
        wake: Arc::new(Notify::new()),
    };
    let wish = TableDescriptor::wish("shared", KeySchema::simple("artist", KeyType::S)).encode();
    let refused = service.create_table(Request::new(CreateTableRequest { wish })).await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists);
    assert_eq!(refused.message(), "Table already exists: shared: Cluster first of the same namespace has it");
    first.write(&made, "shared", None).await.unwrap();
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
