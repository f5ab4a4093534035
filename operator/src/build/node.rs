//! One storage node: its claim, which is its identity, and its Pod.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt as _;
use model::NodeId;
use serde_json::{Value, json};

use super::sealed::sealed;
use super::{
    CONTENT, METRICS_PORT, NODE_PORT, Process, container, hash, labels, mem_ds_addresses, node_selector, owner, parsed,
    pod_security, resources,
};
use crate::crd::Cluster;
use crate::crd::cluster::ZoneMode;
use crate::names::{self, NODE_LABEL};
use crate::seal::bearer::Bearer;

const MEMORY_LIMIT: &str = "2Gi";
/// The smallest cache that a node is given.
const LEAST_CACHE_BYTES: u64 = 64 << 20;
/// Space that is kept free: a tenth of a small disk, and never more than this.
const RESERVE_BYTES: u64 = 512 << 20;
/// From SIGTERM to SIGKILL: leaders are handed over in the first of them, what is left is for a slow disk.
const GRACE_SECONDS: u32 = 60;

/// The claim has no owner: it outlives the Cluster, since it holds data.
pub fn claim(cluster: &Cluster, zone: &str, node: NodeId) -> PersistentVolumeClaim {
    let mut labels = labels(cluster, "node", Some(zone));
    labels.insert(NODE_LABEL.to_owned(), node.to_string());
    parsed(json!({
        "metadata": { "name": names::node(&cluster.name_any(), node), "namespace": cluster.namespace(), "labels": labels },
        "spec": {
            "accessModes": ["ReadWriteOncePod"],
            "storageClassName": cluster.spec.storage.class,
            "resources": { "requests": { "storage": cluster.spec.storage.size } },
        },
    }))
}

/// What the Pods of a zone's nodes are made from: all are alike but for their names.
pub fn content(cluster: &Cluster, zone: &str) -> String {
    hash(&spec(cluster, zone, None).to_string())
}

pub fn pod(cluster: &Cluster, zone: &str, node: NodeId) -> Pod {
    let name = names::node(&cluster.name_any(), node);
    let mut labels = labels(cluster, "node", Some(zone));
    labels.insert(NODE_LABEL.to_owned(), node.to_string());
    parsed(json!({
        "metadata": {
            "name": name, "namespace": cluster.namespace(), "labels": labels, "ownerReferences": [owner(cluster)],
            "annotations": { CONTENT: content(cluster, zone) },
        },
        "spec": spec(cluster, zone, Some(node)),
    }))
}

/// `node`: none for what all of them have in common.
fn spec(cluster: &Cluster, zone: &str, node: Option<NodeId>) -> Value {
    let name = cluster.name_any();
    let claim = node.map(|node| names::node(&name, node)).unwrap_or_default();
    let secret = node.map(|node| Bearer::Node(node).secret(&name)).unwrap_or_default();
    let wished = cluster.spec.node.resources.as_ref();
    let mut container = container(
        cluster,
        Process {
            name: "node",
            arguments: arguments(cluster, zone),
            port: NODE_PORT,
            resources: resources(wished, ("500m", "1Gi"), MEMORY_LIMIT),
        },
    );
    container["env"] = json!([{ "name": "POD_IP", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } }]);
    container["volumeMounts"] = json!([{ "name": "data", "mountPath": "/data" }]);
    let spec = json!({
        "serviceAccountName": "trivet-node",
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "securityContext": pod_security(),
        "nodeSelector": node_selector(cluster, zone),
        "affinity": affinity(cluster),
        "priorityClassName": cluster.spec.priority_class_name,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "containers": [container],
        "volumes": [{ "name": "data", "persistentVolumeClaim": { "claimName": claim } }],
    });
    sealed(cluster, spec, &secret)
}

/// Two nodes of one cluster never share a Kubernetes node, unless that was asked for, or there may be only one.
fn affinity(cluster: &Cluster) -> Value {
    let mut others = labels(cluster, "node", None);
    others.retain(|key, _| key != "app.kubernetes.io/name");
    let term = json!({ "labelSelector": { "matchLabels": others }, "topologyKey": "kubernetes.io/hostname" });
    let may_share = cluster.spec.node.share_kubernetes_nodes || cluster.spec.zone_mode == ZoneMode::Simulated;
    let rule = if may_share {
        json!({ "preferredDuringSchedulingIgnoredDuringExecution": [{ "weight": 100, "podAffinityTerm": term }] })
    } else {
        json!({ "requiredDuringSchedulingIgnoredDuringExecution": [term] })
    };
    json!({ "podAntiAffinity": rule })
}

fn arguments(cluster: &Cluster, zone: &str) -> Vec<String> {
    let flags = [
        ("data", "/data".to_owned()),
        ("zone", zone.to_owned()),
        ("listen", format!("0.0.0.0:{NODE_PORT}")),
        ("advertise", format!("$(POD_IP):{NODE_PORT}")),
        ("metrics-listen", format!("0.0.0.0:{METRICS_PORT}")),
        ("memds", mem_ds_addresses(cluster, zone).join(",")),
        ("seeds", format!("{}-nodes:{NODE_PORT}", cluster.name_any())),
        ("cache", cache_bytes(cluster.spec.node.resources.as_ref()).to_string()),
        ("reserve", reserve_bytes(cluster).to_string()),
        ("replace-after", format!("{}s", cluster.spec.node.replace_after_seconds)),
    ];
    let flags = flags.into_iter().map(|(flag, value)| format!("--{flag}={value}"));
    std::iter::once("node".to_owned()).chain(flags).collect()
}

/// A quarter of the memory limit: as much again goes to the log and to connections, and half is headroom.
fn cache_bytes(resources: Option<&ResourceRequirements>) -> u64 {
    (memory_limit(resources, MEMORY_LIMIT) / 4).max(LEAST_CACHE_BYTES)
}

/// In bytes; 0 for a quantity that is no whole number of them.
pub fn memory_limit(resources: Option<&ResourceRequirements>, default: &str) -> u64 {
    let limit = resources.and_then(|resources| resources.limits.as_ref()).and_then(|limits| limits.get("memory"));
    let default = Quantity(default.to_owned());
    bytes(limit.unwrap_or(&default)).unwrap_or(0)
}

/// A wish that no volume follows takes nothing from those that there are.
fn reserve_bytes(cluster: &Cluster) -> u64 {
    let largest = cluster.status.as_ref().and_then(|status| status.largest_volume.clone()).map(Quantity);
    let largest = largest.as_ref().and_then(bytes).unwrap_or(u64::MAX);
    bytes(&cluster.spec.storage.size).map_or(RESERVE_BYTES, |wished| (wished.min(largest) / 10).min(RESERVE_BYTES))
}

/// A quantity as a number of bytes; none where it is no whole number of them.
pub fn bytes(quantity: &Quantity) -> Option<u64> {
    let text = quantity.0.trim();
    let units: [(&str, u64); 11] = [
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
        ("Pi", 1 << 50),
        ("k", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
        ("P", 1_000_000_000_000_000),
        ("", 1),
    ];
    let (digits, unit) = units.iter().find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, *unit)))?;
    match digits.split_once('.') {
        None => digits.parse::<u64>().ok()?.checked_mul(unit),
        Some((whole, part)) => {
            let scale = 10_u64.checked_pow(u32::try_from(part.len()).ok()?)?;
            let thousandths = whole.parse::<u64>().ok()?.checked_mul(scale)?.checked_add(part.parse().ok()?)?;
            thousandths.checked_mul(unit).map(|scaled| scaled / scale)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::ClusterStatus;

    #[test]
    fn a_wish_for_larger_volumes_changes_no_pod_before_a_volume_follows_it() {
        let mut cluster: Cluster = parsed(json!({
            "apiVersion": "trivet.dev/v1alpha1", "kind": "Cluster", "metadata": { "name": "trv" },
            "spec": {
                "image": "trivet:1", "zones": [{ "name": "a" }], "storage": { "size": "2Gi" },
                "credentialsSecret": { "name": "keys" },
            },
        }));
        let before = content(&cluster, "a");
        let told =
            |size: &str| Some(ClusterStatus { largest_volume: Some(size.to_owned()), ..ClusterStatus::default() });
        cluster.status = told("2Gi");
        assert_eq!(content(&cluster, "a"), before);
        cluster.spec.storage.size = Quantity("4Gi".to_owned());
        assert_eq!(content(&cluster, "a"), before);
        cluster.status = told("4Gi");
        assert_eq!(reserve_bytes(&cluster), (4 << 30) / 10);
        // Where volumes are larger than new ones are to be, what is wished counts.
        cluster.status = told("8Gi");
        assert_eq!(reserve_bytes(&cluster), (4 << 30) / 10);
    }

    #[test]
    fn quantities_are_bytes() {
        let read = |text: &str| bytes(&Quantity(text.to_owned()));
        assert_eq!(read("10Gi"), Some(10 << 30));
        assert_eq!(read("1.5Gi"), Some(3 << 29));
        assert_eq!(read("5G"), Some(5_000_000_000));
        assert_eq!(read("17"), Some(17));
        assert_eq!(read("100m"), None);
        assert_eq!(read("much"), None);
        assert_eq!(read("99999999999Pi"), None);
    }
}
