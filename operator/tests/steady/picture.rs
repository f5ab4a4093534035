//! Everything there is in one namespace and on its nodes, with the names that it would have if nothing were drawn at random: two pictures
//! are equal where the same has come of it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt as _;
use kube::api::ListParams;
use model::{NodeId, TableDescriptor, TableId};
use operator::crd::{Cluster, Partition, Table};
use operator::names::{NODE_LABEL, ZONE_LABEL};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::fleet::World;
use crate::stage::{PATIENCE, Stage};

/// What another run writes otherwise though nothing differs.
const CHANCE: [&str; 21] = [
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "managedFields",
    "generation",
    "observedGeneration",
    "lastTransitionTime",
    "podIP",
    "podIPs",
    "clusterIP",
    "clusterIPs",
    "startTime",
    "namespace",
    "nodePort",
    // A move that was begun twice raises it twice, as may who leads.
    "epoch",
    "id",
    "leader",
    "deletionTimestamp",
    // They name the namespace, or what was drawn.
    "endpoint",
    "trivet.dev/content",
    "trivet.dev/given",
];

/// One line for each field and object, in order.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    lines: Vec<String>,
}

impl fmt::Display for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.lines.join("\n"))
    }
}

impl Picture {
    pub async fn of(stage: &Stage) -> Picture {
        let claims = list::<PersistentVolumeClaim>(stage).await;
        let (tables, partitions) = (list::<Table>(stage).await, list::<Partition>(stage).await);
        let mut objects = Vec::new();
        objects.extend(described("Cluster", &list::<Cluster>(stage).await));
        objects.extend(described("Table", &tables));
        objects.extend(described("Partition", &partitions));
        objects.extend(described("Claim", &claims));
        objects.extend(described("Pod", &list::<Pod>(stage).await));
        objects.extend(described("Deployment", &list::<Deployment>(stage).await));
        objects.extend(described("Service", &list::<Service>(stage).await));
        objects.extend(described("Budget", &list::<PodDisruptionBudget>(stage).await));
        let world = stage.fleet.world();
        objects.extend(records(&world));
        let names = names(&claims, &tables, &partitions, &world);
        let mut lines: Vec<String> = objects.into_iter().map(|line| renamed(line, &names)).collect();
        lines.sort();
        Picture { lines }
    }

    /// Whether some line begins with the first of these and has all of them.
    pub fn has(&self, parts: &[&str]) -> bool {
        self.count(parts) > 0
    }

    pub fn count(&self, parts: &[&str]) -> usize {
        let is = |line: &&String| line.starts_with(parts[0]) && parts.iter().all(|part| line.contains(part));
        self.lines.iter().filter(is).count()
    }

    /// What is in one of the two alone.
    pub fn difference(&self, other: &Picture) -> String {
        let only = |a: &Picture, b: &Picture, sign: &str| {
            let lines = a.lines.iter().filter(|line| !b.lines.contains(line));
            lines.map(|line| format!("{sign} {line}\n")).collect::<String>()
        };
        only(other, self, "-") + &only(self, other, "+")
    }
}

async fn list<K>(stage: &Stage) -> Vec<K>
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope> + Clone + DeserializeOwned + fmt::Debug,
    K::DynamicType: Default,
{
    // The API server may be away for a while.
    let deadline = Instant::now() + PATIENCE;
    loop {
        match stage.api::<K>().list(&ListParams::default()).await {
            Ok(list) => return list.items,
            Err(error) if Instant::now() > deadline => panic!("{}: {error}", stage.namespace),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

fn described<K: Serialize + kube::Resource>(kind: &str, objects: &[K]) -> Vec<String> {
    let one = |object: &K| {
        let mut value = json!(object);
        if kind == "Table" {
            opened(&mut value);
        }
        if kind == "Partition" {
            wherever_led(&mut value);
        }
        without_chance(&mut value);
        let mut lines = Vec::new();
        flat(&format!("{kind} {}", object.meta().name.as_deref().unwrap_or_default()), &value, &mut lines);
        lines
    };
    objects.iter().flat_map(one).collect()
}

/// Where its replicas were born says nothing of where they are: of two nodes of a zone either may have left since. And any of them may lead.
fn wherever_led(partition: &mut Value) {
    let wishes = partition.pointer_mut("/spec/replicas").and_then(Value::as_array_mut);
    for wish in wishes.into_iter().flatten() {
        wish["node"] = Value::Null;
    }
    let replicas = partition.pointer_mut("/status/replicas").and_then(Value::as_array_mut);
    for replica in replicas.into_iter().flatten().filter(|replica| replica["state"] == "Leading") {
        replica["state"] = json!("Following");
    }
}

/// A descriptor can be read only when it is decoded.
fn opened(table: &mut Value) {
    let Some(text) = table.pointer("/status/descriptor").and_then(Value::as_str) else { return };
    let bytes = BASE64.decode(text).unwrap();
    if let Ok(descriptor) = TableDescriptor::decode(Bytes::from(bytes)) {
        table["status"]["descriptor"] = json!(plain(&descriptor));
    }
}

fn plain(table: &TableDescriptor) -> String {
    let plain = TableDescriptor { id: TableId(0), hash_seed: 0, created_ms: 0, last_on_demand_ms: 0, ..table.clone() };
    format!("{plain:?}")
}

fn without_chance(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|key, _| !CHANCE.contains(&key.as_str()));
            fields.values_mut().for_each(without_chance);
        }
        Value::Array(members) => members.iter_mut().for_each(without_chance),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn flat(path: &str, value: &Value, lines: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| flat(&format!("{path}.{key}"), value, lines)),
        Value::Array(members) => {
            // The order of replicas tells in which order they came.
            let mut texts: Vec<String> = members.iter().map(Value::to_string).collect();
            texts.sort();
            texts.iter().for_each(|text| lines.push(format!("{path}[] = {text}")));
        }
        Value::Null => {}
        Value::Bool(_) | Value::Number(_) | Value::String(_) => lines.push(format!("{path} = {value}")),
    }
}

/// What nodes and MemDS have.
fn records(world: &World) -> Vec<String> {
    let mut lines = Vec::new();
    for (claim, disk) in &world.disks {
        lines.push(format!("disk {claim} zone={} node={:016x} runs={}", disk.zone, disk.node, disk.runs));
    }
    for group in world.groups.values() {
        let zone = |node: &NodeId| world.disks.values().find(|disk| disk.node == node.0).map(|disk| disk.zone.clone());
        let held = group.held.iter().map(|node| format!("{}:{node}", zone(node).unwrap_or_default()));
        let held: Vec<String> = held.collect();
        let replicas: Vec<String> = group
            .descriptor
            .replicas
            .iter()
            .map(|replica| format!("{}:{}:{:?}", replica.zone.0, replica.node, replica.role))
            .collect();
        let mut parts = [held, replicas];
        parts.iter_mut().for_each(|part| part.sort());
        let led = if group.leader.is_some() { "led" } else { "leaderless" };
        let [held, replicas] = parts.map(|part| part.join(" "));
        let (id, table) = (group.descriptor.id, plain(&group.table));
        lines
            .push(format!("group {id} {led} held=[{held}] replicas=[{replicas}] {:?} {table}", group.descriptor.range));
    }
    lines.extend(world.known.values().map(|table| format!("memds {}", plain(table))));
    lines
}

type Names = BTreeMap<String, String>;

fn names(claims: &[PersistentVolumeClaim], tables: &[Table], partitions: &[Partition], world: &World) -> Names {
    let mut names = Names::new();
    let mut of_zone: BTreeMap<String, usize> = BTreeMap::new();
    let mut claims: Vec<_> = claims.iter().collect();
    claims.sort_by_key(|claim| claim.name_any());
    for claim in claims {
        let zone = claim.labels()[ZONE_LABEL].clone();
        let number = of_zone.entry(zone.clone()).or_default();
        *number += 1;
        names.insert(claim.labels()[NODE_LABEL].clone(), format!("<node {zone}{number}>"));
    }
    for (claim, disk) in &world.disks {
        let node = claim.rsplit('-').next().and_then(|node| names.get(node)).cloned().unwrap_or_default();
        names.insert(format!("{:016x}", disk.store), format!("<disk of {node}>"));
    }
    for table in tables {
        if let Some(status) = table.status.as_ref().filter(|status| !status.table_id.is_empty()) {
            names.insert(status.table_id.clone(), format!("<table {}>", table.name_any()));
        }
    }
    for partition in partitions {
        let spec = &partition.spec;
        let name = format!("<partition of {} from {:?}>", spec.table_ref, spec.range.start);
        names.insert(spec.partition_id.clone(), name);
    }
    names
}

fn renamed(mut line: String, names: &Names) -> String {
    for (drawn, name) in names {
        if line.contains(drawn.as_str()) {
            line = line.replace(drawn.as_str(), name);
        }
    }
    line
}
