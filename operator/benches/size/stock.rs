//! Tables and partitions in such numbers: objects at the API server, and groups on the nodes, as the operator would have left them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use control::cluster::Reached;
use control::plan::Observed;
use futures::StreamExt as _;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams, PostParams};
use model::{
    KeyRange, KeySchema, KeyType, NodeId, PartitionDescriptor, PartitionId, ReplicaId, TableDescriptor, TableId,
    TableStatus, Zone,
};
use operator::crd::cluster::ZoneMode;
use operator::crd::partition::ReplicaWish;
use operator::crd::table::{Birth, TableStatus as Status};
use operator::crd::{Partition, PartitionSpec, Table};
use operator::resources::{FINALIZER, range, shown};
use operator::status::Held;
use operator::{names, status, wish};
use serde_json::json;
use wire::admin::NodeStatus;

use crate::fleet::{Group, World};
use crate::stage::{CLUSTER, Stage};

/// Calls at a time.
const AT_ONCE: usize = 32;
const TOLD_EVERY: u32 = 1_000;

/// What tells a stock's ids from those that are drawn.
const SALT: u64 = 0x7219_e700_0000_0000;

/// Groups first: an operator that runs would find objects without data.
pub async fn put(stage: &Stage, partitions: u32, tables: u32) {
    let groups = groups(&stage.fleet.world(), partitions, tables);
    stage.fleet.world().groups.extend(groups.iter().map(|group| (group.descriptor.id, group.clone())));
    let observed = observed(&stage.fleet.world());
    let held = status::held(&observed);
    let (written, now) = (AtomicU32::new(0), Time(Timestamp::now()));
    let mut each: Vec<&Group> = groups.iter().collect();
    each.dedup_by_key(|group| group.table.id);
    let tables = each.iter().map(|group| put_table(stage, &group.table, &held, &now));
    futures::stream::iter(tables).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
    let partitions = groups.iter().map(|group| async {
        put_partition(stage, group, &observed, &now).await;
        let written = written.fetch_add(1, Ordering::Relaxed) + 1;
        if written.is_multiple_of(TOLD_EVERY) {
            println!("{written} Partition objects are written");
        }
    });
    futures::stream::iter(partitions).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
}

/// In the order of their tables.
fn groups(world: &World, partitions: u32, tables: u32) -> Vec<Group> {
    let places: Vec<_> = world.disks.values().map(|disk| (NodeId(disk.node), Zone(disk.zone.clone()))).collect();
    let mut groups = Vec::new();
    for number in 0..tables {
        let count = partitions / tables + u32::from(number < partitions % tables);
        let table = TableDescriptor {
            id: TableId(SALT + u64::from(number) + 1),
            version: 2,
            status: TableStatus::Active,
            hash_seed: 7,
            initial_partitions: count,
            ..TableDescriptor::wish(&format!("table-{number}"), KeySchema::simple("artist", KeyType::S))
        };
        for (of_table, range) in (0..count).zip(KeyRange::even(count)) {
            let id = PartitionId(table.id.0 << 16 | u64::from(of_table));
            let leader = Some(ReplicaId(1 + u64::from(of_table) % places.len() as u64));
            groups.push(Group {
                descriptor: PartitionDescriptor::birth(id, table.id, range, places.clone()),
                table: table.clone(),
                held: places.iter().map(|(node, _)| *node).collect(),
                leader,
                former: None,
            });
        }
    }
    groups
}

/// As the operator sees it.
fn observed(world: &World) -> Observed {
    let running = world.running();
    let told = |node: &NodeId| {
        let groups = world.groups.values().filter(|group| group.held.contains(node));
        Some(Reached {
            address: String::new(),
            status: NodeStatus { node: node.0, ..NodeStatus::default() },
            groups: Some(groups.map(|group| group.status(*node, &running)).collect()),
        })
    };
    control::observe::told(&mut running.iter().map(told).collect::<Vec<_>>())
}

async fn put_table(stage: &Stage, descriptor: &TableDescriptor, held: &BTreeMap<TableId, Held>, now: &Time) {
    let mut object = Table::new(&names::table(&descriptor.name), wish::spec(CLUSTER, descriptor));
    object.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
    let mut object = stage.api::<Table>().create(&PostParams::default(), &object).await.unwrap();
    object.status = Some(Status {
        table_status: shown(descriptor.status).to_owned(),
        table_id: descriptor.id.to_string(),
        birth: Birth::Placed,
        descriptor: BASE64.encode(descriptor.encode()),
        ..Status::default()
    });
    let told = status::Told { held, hindrance: None, mode: ZoneMode::Labelled, now };
    let status = status::table(&object, Some(descriptor), &told);
    let patch = Patch::Merge(json!({ "status": status }));
    stage.api::<Table>().patch_status(&object.name_any(), &PatchParams::default(), &patch).await.unwrap();
}

async fn put_partition(stage: &Stage, group: &Group, observed: &Observed, now: &Time) {
    let Group { descriptor, table, .. } = group;
    let place = |replica: &model::ReplicaDescriptor| ReplicaWish {
        zone: replica.zone.0.clone(),
        node: replica.node.to_string(),
    };
    let spec = PartitionSpec {
        table_ref: names::table(&table.name),
        table_id: table.id.to_string(),
        partition_id: descriptor.id.to_string(),
        range: range(&descriptor.range),
        replicas: descriptor.replicas.iter().map(place).collect(),
    };
    let mut object = Partition::new(&names::partition(&table.name, descriptor.id), spec);
    let labels = [(names::TABLE_LABEL, table.id.to_string()), (names::CLUSTER_LABEL, CLUSTER.to_owned())];
    object.metadata.labels = Some(labels.map(|(key, value)| (key.to_owned(), value)).into());
    let api = stage.api::<Partition>();
    let object = api.create(&PostParams::default(), &object).await.unwrap();
    let status = status::partition(&object, observed, ZoneMode::Labelled, now).unwrap();
    let patch = Patch::Merge(json!({ "status": status }));
    api.patch_status(&object.name_any(), &PatchParams::default(), &patch).await.unwrap();
}
