//! The objects of Kubernetes that a Cluster consists of, as pure functions of its spec.
//!
//! Every Pod is *restricted*: an ordinary user, no privileges, a file system that is read only but for its volume. None but the
//! operator has a token for the API server. Values of the spec become flags, one to one.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource as _, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64;

use crate::crd::Cluster;
use crate::crd::cluster::ZoneMode;
use crate::names::{CLUSTER_LABEL, ZONE_LABEL, ZONE_TOPOLOGY};

pub mod fleet;
pub mod node;
pub mod sealed;
pub mod service;

/// What an object was made from: a hash of its content, so that it is written when that changes and at no other time.
pub const CONTENT: &str = "trivet.dev/content";

pub const NODE_PORT: u16 = 7400;
pub const MEMDS_PORT: u16 = 7300;
pub const CONTROL_PORT: u16 = 7200;
pub const ROUTER_PORT: u16 = 8000;
pub const METRICS_PORT: u16 = 9600;
/// The parts that every zone has.
pub const ROUTERS: &str = "router";
pub const MEMDS: &str = "memds";
/// The user of every process; nobody's in particular.
const USER: i64 = 65_532;

/// Everything of a cluster but its nodes, which have a life of their own.
#[derive(Clone, Debug, PartialEq)]
pub struct Around {
    pub deployments: Vec<Deployment>,
    pub services: Vec<Service>,
    pub budget: PodDisruptionBudget,
}

/// Of how many nodes one may be evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Eviction {
    /// Nodes that have an identity: those that leave count as long as they have one.
    pub nodes: usize,
    /// Every partition could lose a node.
    pub whole: bool,
}

pub fn around(cluster: &Cluster, eviction: Eviction) -> Around {
    let zones = &cluster.spec.zones;
    let deployments =
        zones.iter().flat_map(|zone| [fleet::routers(cluster, &zone.name), fleet::mem_ds(cluster, &zone.name)]);
    let services = zones.iter().map(|zone| service::mem_ds(cluster, &zone.name));
    let services = services.chain([service::routers(cluster), service::nodes(cluster), service::control(cluster)]);
    Around {
        deployments: deployments.collect(),
        services: services.collect(),
        budget: service::budget(cluster, eviction),
    }
}

/// The name of what belongs to one zone.
pub fn zone_name(cluster: &Cluster, part: &str, zone: &str) -> String {
    part_name(&cluster.name_any(), part, zone)
}

pub fn part_name(cluster: &str, part: &str, zone: &str) -> String {
    format!("{cluster}-{part}-{zone}")
}

/// Where a zone's Pods run.
fn node_selector(cluster: &Cluster, zone: &str) -> Value {
    match cluster.spec.zone_mode {
        ZoneMode::Labelled => json!({ ZONE_TOPOLOGY: zone }),
        ZoneMode::Simulated => json!({}),
    }
}

/// Every MemDS server's address, those of the own zone first.
pub fn mem_ds_addresses(cluster: &Cluster, zone: &str) -> Vec<String> {
    let mut zones: Vec<&str> = cluster.spec.zones.iter().map(|zone| zone.name.as_str()).collect();
    zones.sort_by_key(|name| *name != zone);
    zones.into_iter().map(|zone| format!("{}:{MEMDS_PORT}", zone_name(cluster, "memds", zone))).collect()
}

pub fn labels(cluster: &Cluster, component: &str, zone: Option<&str>) -> BTreeMap<String, String> {
    let name = cluster.name_any();
    let mut labels = BTreeMap::from([
        ("app.kubernetes.io/name".to_owned(), "trivet".to_owned()),
        ("app.kubernetes.io/instance".to_owned(), name.clone()),
        ("app.kubernetes.io/component".to_owned(), component.to_owned()),
        (CLUSTER_LABEL.to_owned(), name),
    ]);
    if let Some(zone) = zone {
        labels.insert(ZONE_LABEL.to_owned(), zone.to_owned());
    }
    labels
}

pub fn owner(cluster: &Cluster) -> OwnerReference {
    cluster.controller_owner_ref(&()).unwrap_or_default()
}

fn pod_security() -> Value {
    json!({
        "runAsNonRoot": true, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER, "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": { "type": "RuntimeDefault" },
    })
}

fn container_security() -> Value {
    json!({ "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": { "drop": ["ALL"] } })
}

/// One process, the same in every Pod but for these.
struct Process<'a> {
    name: &'a str,
    arguments: Vec<String>,
    port: u16,
    resources: Value,
}

fn container(cluster: &Cluster, process: Process<'_>) -> Value {
    let Process { name, arguments, port, resources } = process;
    let ports = [("internal", port), ("metrics", METRICS_PORT)];
    let ports = ports.map(|(name, port)| json!({ "name": name, "containerPort": port, "protocol": "TCP" }));
    let probe = |path: &str, failures: u32| json!({ "httpGet": { "path": path, "port": "metrics" }, "periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": failures });
    json!({
        "name": name,
        "image": cluster.spec.image,
        "imagePullPolicy": format!("{:?}", cluster.spec.image_pull_policy),
        "args": arguments,
        "ports": ports,
        "resources": resources,
        "securityContext": container_security(),
        // Alive is whoever answers at all: a process that is catching up is not killed for it.
        "livenessProbe": probe("/healthz", 12),
        "readinessProbe": probe("/readyz", 2),
    })
}

fn resources<T: Serialize>(wished: Option<&T>, request: (&str, &str), memory_limit: &str) -> Value {
    match wished {
        Some(wished) => json!(wished),
        None => json!({
            "requests": { "cpu": request.0, "memory": request.1 },
            "limits": { "memory": memory_limit },
        }),
    }
}

/// The object with the hash of its content on it.
fn marked<T: DeserializeOwned>(mut object: Value) -> T {
    object["metadata"]["annotations"][CONTENT] = json!(hash(&object.to_string()));
    parsed(object)
}

fn hash(content: &str) -> String {
    format!("{:016x}", xxh3_64(content.as_bytes()))
}

pub fn parsed<T: DeserializeOwned>(object: Value) -> T {
    serde_json::from_value(object).expect("what is built here has the shape of its kind")
}
