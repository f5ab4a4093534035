//! What Kubernetes and the nodes say of one cluster, in the words of `plan`. Observing never changes anything.

use std::collections::{BTreeMap, BTreeSet};

use control::cluster::Reached;
use control::plan::Observed;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt as _;
use model::NodeId;
use wire::admin::health::State;

use crate::build::{self, CONTENT, NODE_PORT};
use crate::crd::Cluster;
use crate::moves::Place;
use crate::names::{CLUSTER_LABEL, NODE_LABEL, ZONE_LABEL};
use crate::plan::{self, Answer, Seen};
use crate::watch::Watched;

/// The number of the disk that has the claim's identity, 16 hexadecimal digits.
pub const STORE: &str = "trivet.dev/store";
/// That the disk was found blank after it had been given its identity.
pub const LOST: &str = "trivet.dev/lost";
/// That the node leaves, since fewer are wished.
pub const SURPLUS: &str = "trivet.dev/surplus";

/// A cluster's nodes as Kubernetes has them.
pub fn nodes(cluster: &Cluster, watched: &Watched) -> Seen {
    let name = cluster.name_any();
    let ours = |labels: &std::collections::BTreeMap<String, String>| labels.get(CLUSTER_LABEL) == Some(&name);
    let claims = watched.claims.state_filter(|claim| ours(claim.labels()));
    let pods = watched.pods.state_filter(|pod| ours(pod.labels()));
    let mut seen = Seen {
        zones: cluster.spec.zones.iter().map(|zone| wished(cluster, &zone.name, zone.nodes)).collect(),
        claims: claims.iter().filter_map(|claim| claim_of(claim)).collect(),
        pods: pods.iter().filter_map(|pod| pod_of(pod)).collect(),
        ..Seen::default()
    };
    // The same order every time, so that the same is planned.
    seen.claims.sort_by_key(|claim| claim.node);
    seen.pods.sort_by_key(|pod| pod.node);
    seen
}

/// With what the nodes answered.
pub fn complete(seen: Seen, reached: &[Option<Reached>], observed: &Observed) -> Seen {
    let answers = reached.iter().flatten().map(|node| Answer {
        address: node.address.clone(),
        node: NodeId(node.status.node),
        store: node.status.store,
        ready: node.status.ready,
    });
    // A claim that has given no identity yet has no groups.
    let may_have = seen.claims.iter().filter(|claim| !claim.lost && claim.store.is_some()).map(|claim| claim.node);
    let silent = may_have.filter(|node| !observed.reached.contains(node));
    Seen {
        silent: silent.collect(),
        answers: answers.collect(),
        in_use: in_use(observed),
        whole: observed.complete && degraded(observed) == 0,
        ..seen
    }
}

/// The same nodes as moves see them.
pub fn places(seen: &Seen) -> Vec<Place> {
    let place = |claim: &plan::Claim| Place {
        node: claim.node,
        zone: claim.zone.clone(),
        leaving: claim.leaves(),
        ready: seen.answers.iter().any(|answer| answer.node == claim.node && answer.ready),
    };
    seen.claims.iter().filter(|claim| !claim.lost).map(place).collect()
}

/// Groups that would not survive the loss of a node, or have no leader.
pub fn degraded(observed: &Observed) -> usize {
    let whole = |reports: &Vec<control::plan::ReplicaReport>| {
        let leader = reports.iter().find(|report| report.serving);
        let health = leader.and_then(|leader| leader.health.as_ref());
        health.is_some_and(|health| health.state() == State::Whole)
    };
    observed.groups.values().filter(|reports| !whole(reports)).count()
}

fn in_use(observed: &Observed) -> BTreeSet<NodeId> {
    let reports = observed.groups.values().flatten();
    let named = |report: &control::plan::ReplicaReport| {
        let members =
            report.descriptor.iter().flat_map(|descriptor| descriptor.replicas.iter().map(|replica| replica.node));
        members.chain([report.node]).collect::<Vec<_>>()
    };
    reports.flat_map(named).collect()
}

fn wished(cluster: &Cluster, zone: &str, nodes: u32) -> plan::Zone {
    // Every node of a zone has the same content but for its name.
    plan::Zone { name: zone.to_owned(), nodes: nodes as usize, content: build::node::content(cluster, zone) }
}

pub fn node_id(labels: &std::collections::BTreeMap<String, String>) -> Option<NodeId> {
    let text = labels.get(NODE_LABEL)?;
    u64::from_str_radix(text, 16).ok().map(NodeId)
}

fn claim_of(claim: &PersistentVolumeClaim) -> Option<plan::Claim> {
    let annotations = claim.annotations();
    Some(plan::Claim {
        node: node_id(claim.labels())?,
        zone: claim.labels().get(ZONE_LABEL)?.clone(),
        store: annotations.get(STORE).and_then(|text| u64::from_str_radix(text, 16).ok()),
        lost: annotations.contains_key(LOST),
        surplus: annotations.contains_key(SURPLUS),
        deleting: claim.metadata.deletion_timestamp.is_some(),
    })
}

fn pod_of(pod: &Pod) -> Option<plan::Pod> {
    let status = pod.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref()).unwrap_or("Pending");
    let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let has = |kind: &str, value: &str| conditions.iter().find(|found| found.type_ == kind && found.status == value);
    let unschedulable = has("PodScheduled", "False").and_then(|condition| condition.message.clone());
    let ip = status.and_then(|status| status.pod_ip.as_ref()).filter(|_| phase == "Running");
    Some(plan::Pod {
        node: node_id(pod.labels())?,
        name: pod.name_any(),
        address: ip.map(|ip| format!("{ip}:{NODE_PORT}")),
        ready: has("Ready", "True").is_some(),
        deleting: pod.metadata.deletion_timestamp.is_some(),
        ended: matches!(phase, "Failed" | "Succeeded"),
        content: pod.annotations().get(CONTENT).cloned().unwrap_or_default(),
        unschedulable,
    })
}

/// Deployments that are there, by name, and whether all they have runs as it was last written.
pub struct Settled {
    deployments: BTreeMap<String, bool>,
}

pub fn deployments(cluster: &Cluster, watched: &Watched) -> Settled {
    let name = cluster.name_any();
    let ours = watched.deployments.state_filter(|deployment| deployment.labels().get(CLUSTER_LABEL) == Some(&name));
    Settled { deployments: ours.iter().map(|deployment| (deployment.name_any(), is_settled(deployment))).collect() }
}

impl Settled {
    /// One that is not there yet is made at once; one that changes waits for the others, so that a change passes through the zones one by
    /// one.
    pub fn lets_change(&self, deployment: &Deployment) -> bool {
        let name = deployment.name_any();
        let others = self.deployments.iter().filter(|(other, _)| **other != name);
        !self.deployments.contains_key(&name) || others.into_iter().all(|(_, settled)| *settled)
    }

    /// What was just written has yet to come about.
    pub fn was_ensured(&mut self, deployment: &Deployment, written: bool) {
        if let Some(settled) = self.deployments.get_mut(&deployment.name_any()) {
            *settled &= !written;
        }
    }
}

fn is_settled(deployment: &Deployment) -> bool {
    let wished = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let Some(status) = &deployment.status else { return false };
    status.observed_generation == deployment.metadata.generation
        && [status.replicas, status.updated_replicas, status.ready_replicas]
            .into_iter()
            .all(|count| count == Some(wished))
}
