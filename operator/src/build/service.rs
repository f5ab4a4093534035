//! How the parts find each other, how clients find the routers, and what may be evicted.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::{CONTROL_PORT, Eviction, MEMDS_PORT, NODE_PORT, ROUTER_PORT, labels, marked, owner, zone_name};
use crate::crd::Cluster;
use crate::crd::cluster::ServiceKind;
use crate::names::CLUSTER_LABEL;

/// What clients talk to.
pub fn routers(cluster: &Cluster) -> Service {
    let wished = &cluster.spec.routers.service;
    let mut port = port("dynamodb", ROUTER_PORT);
    if let Some(node_port) = wished.node_port {
        port["nodePort"] = json!(node_port);
    }
    let kind = match wished.kind {
        ServiceKind::ClusterIP => "ClusterIP",
        ServiceKind::NodePort => "NodePort",
        ServiceKind::LoadBalancer => "LoadBalancer",
    };
    let spec = json!({ "type": kind, "selector": labels(cluster, "router", None), "ports": [port] });
    let mut annotations = serde_json::Map::new();
    for (key, value) in &wished.annotations {
        annotations.insert(key.clone(), json!(value));
    }
    service(cluster, &cluster.name_any(), "router", annotations, spec)
}

/// One server, under a name and an address that stay. It is ready once nodes have told it what they have, and they must reach it before.
pub fn mem_ds(cluster: &Cluster, zone: &str) -> Service {
    let selector = labels(cluster, "memds", Some(zone));
    let spec =
        json!({ "publishNotReadyAddresses": true, "selector": selector, "ports": [port("internal", MEMDS_PORT)] });
    service(cluster, &zone_name(cluster, "memds", zone), "memds", serde_json::Map::new(), spec)
}

/// Where a node that starts asks for the others, whether they are ready or not.
pub fn nodes(cluster: &Cluster) -> Service {
    let spec = json!({
        "clusterIP": "None", "publishNotReadyAddresses": true, "selector": labels(cluster, "node", None),
        "ports": [port("internal", NODE_PORT)],
    });
    service(cluster, &format!("{}-nodes", cluster.name_any()), "node", serde_json::Map::new(), spec)
}

/// The operator under the cluster's name: which cluster a router means is told by the name that it calls.
pub fn control(cluster: &Cluster) -> Service {
    let selector = json!({ "app.kubernetes.io/name": "trivet", "app.kubernetes.io/component": "operator" });
    let spec = json!({ "selector": selector, "ports": [port("internal", CONTROL_PORT)] });
    service(cluster, &format!("{}-control", cluster.name_any()), "operator", serde_json::Map::new(), spec)
}

/// One node may go while every partition can lose one; none while one cannot.
pub fn budget(cluster: &Cluster, eviction: Eviction) -> PodDisruptionBudget {
    let Eviction { nodes, whole } = eviction;
    let least = if whole { nodes.saturating_sub(1) } else { nodes };
    let mut selector = labels(cluster, "node", None);
    selector.retain(|key, _| key == CLUSTER_LABEL || key.ends_with("component"));
    marked(json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {
            "name": format!("{}-nodes", cluster.name_any()), "namespace": cluster.namespace(),
            "labels": labels(cluster, "node", None), "ownerReferences": [owner(cluster)],
        },
        // A Pod that is not ready serves nothing that its going could interrupt, and one that never will be must not hold up a drain.
        "spec": { "minAvailable": least, "selector": { "matchLabels": selector }, "unhealthyPodEvictionPolicy": "AlwaysAllow" },
    }))
}

fn port(name: &str, port: u16) -> Value {
    json!({ "name": name, "port": port, "targetPort": port, "protocol": "TCP" })
}

fn service(
    cluster: &Cluster,
    name: &str,
    component: &str,
    annotations: serde_json::Map<String, Value>,
    spec: Value,
) -> Service {
    marked(json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name, "namespace": cluster.namespace(), "labels": labels(cluster, component, None), "annotations": annotations,
            "ownerReferences": [owner(cluster)],
        },
        "spec": spec,
    }))
}
