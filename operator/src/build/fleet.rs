//! Routers and MemDS servers: a Deployment a zone each, since a Pod without a token learns its zone from a flag alone.

use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::node::memory_limit;
use super::sealed::sealed;
use super::{
    CONTROL_PORT, MEMDS_PORT, METRICS_PORT, Process, ROUTER_PORT, container, labels, marked, mem_ds_addresses,
    node_selector, owner, pod_security, resources, zone_name,
};
use crate::crd::Cluster;
use crate::seal::bearer::Bearer;

/// The credentials' key in their Secret, and the folder where it is mounted.
pub const CREDENTIALS: &str = "credentials";
const CREDENTIALS_FOLDER: &str = "/etc/trivet/credentials";

const ROUTER_MEMORY_LIMIT: &str = "1Gi";
/// Two of the largest requests, and as many of the largest answers of batches.
const LEAST_BODY_BYTES: u64 = 32 << 20;
const LEAST_ANSWER_BYTES: u64 = 64 << 20;

pub fn routers(cluster: &Cluster, zone: &str) -> Deployment {
    let name = cluster.name_any();
    let memory = memory_limit(cluster.spec.routers.resources.as_ref(), ROUTER_MEMORY_LIMIT);
    let arguments = [
        "router".to_owned(),
        format!("--listen=0.0.0.0:{ROUTER_PORT}"),
        format!("--metrics-listen=0.0.0.0:{METRICS_PORT}"),
        format!("--zone={zone}"),
        format!("--memds={}", mem_ds_addresses(cluster, zone).join(",")),
        format!("--control={name}-control:{CONTROL_PORT}"),
        format!("--credentials-file={CREDENTIALS_FOLDER}/{CREDENTIALS}"),
        format!("--region={}", cluster.spec.region),
        "--audit=-".to_owned(),
        format!("--max-body-memory-bytes={}", (memory / 8).max(LEAST_BODY_BYTES)),
        format!("--max-answer-memory-bytes={}", (memory / 4).max(LEAST_ANSWER_BYTES)),
    ];
    let mut container = container(
        cluster,
        Process {
            name: "router",
            arguments: arguments.into(),
            port: ROUTER_PORT,
            resources: resources(cluster.spec.routers.resources.as_ref(), ("250m", "256Mi"), ROUTER_MEMORY_LIMIT),
        },
    );
    container["volumeMounts"] = json!([{ "name": CREDENTIALS, "mountPath": CREDENTIALS_FOLDER, "readOnly": true }]);
    let volumes = json!([{
        "name": CREDENTIALS,
        "secret": { "secretName": cluster.spec.credentials_secret.name, "items": [{ "key": CREDENTIALS, "path": CREDENTIALS }] },
    }]);
    // One more while one is replaced, never one less.
    let strategy = json!({ "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } });
    deployment(
        cluster,
        Fleet { bearer: Bearer::Router, zone, replicas: cluster.spec.routers.per_zone, strategy, container, volumes },
    )
}

pub fn mem_ds(cluster: &Cluster, zone: &str) -> Deployment {
    let arguments = [
        "memds".to_owned(),
        format!("--listen=0.0.0.0:{MEMDS_PORT}"),
        format!("--metrics-listen=0.0.0.0:{METRICS_PORT}"),
    ];
    let container = container(
        cluster,
        Process {
            name: "memds",
            arguments: arguments.into(),
            port: MEMDS_PORT,
            resources: resources(cluster.spec.mem_ds.resources.as_ref(), ("100m", "128Mi"), "512Mi"),
        },
    );
    // Nodes tell the one that its name leads to: of two, one would never hear of anything.
    let strategy = json!({ "type": "Recreate" });
    deployment(cluster, Fleet { bearer: Bearer::MemDs, zone, replicas: 1, strategy, container, volumes: json!([]) })
}

struct Fleet<'a> {
    bearer: Bearer,
    zone: &'a str,
    replicas: u32,
    strategy: Value,
    container: Value,
    volumes: Value,
}

fn deployment(cluster: &Cluster, fleet: Fleet<'_>) -> Deployment {
    let Fleet { bearer, zone, replicas, strategy, container, volumes } = fleet;
    let part = bearer.role();
    let labels = labels(cluster, part, Some(zone));
    let spread = json!([{
        "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": { "matchLabels": labels },
    }]);
    let spec = json!({
        "serviceAccountName": format!("trivet-{part}"),
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "securityContext": pod_security(),
        "nodeSelector": node_selector(cluster, zone),
        // Several of a zone are not lost together where there is more than one machine.
        "topologySpreadConstraints": spread,
        "priorityClassName": cluster.spec.priority_class_name,
        "terminationGracePeriodSeconds": 30,
        "containers": [container],
        "volumes": volumes,
    });
    marked(json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": zone_name(cluster, part, zone), "namespace": cluster.namespace(), "labels": labels,
            "ownerReferences": [owner(cluster)],
        },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": labels },
            "strategy": strategy,
            "template": {
                "metadata": { "labels": labels },
                "spec": sealed(cluster, spec, &bearer.secret(&cluster.name_any())),
            },
        },
    }))
}
