//! What Kubernetes and the nodes say of one cluster, in the words of `plan`. Observing never changes anything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use control::cluster::Reached;
use control::plan::{Observed, ReplicaReport, newest_descriptor};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod};
use kube::ResourceExt as _;
use model::{NodeId, PartitionId};
use wire::admin::health::State;

use crate::build;
use crate::crd::Cluster;
use crate::crd::cluster::ZoneMode;
use crate::moves::Place;
use crate::names::{CLUSTER_LABEL, NODE_LABEL, ZONE_LABEL};
use crate::plan::{self, Answer, Seen};
use crate::watch::Watched;

pub mod ground;
pub mod pods;

use ground::Around;

/// The number of the disk that has the claim's identity, 16 hexadecimal digits.
pub const STORE: &str = "trivet.dev/store";
/// That its disk does not come back, and why.
pub const LOST: &str = "trivet.dev/lost";
/// That the node leaves, since fewer are wished.
pub const SURPLUS: &str = "trivet.dev/surplus";

/// A cluster's nodes as Kubernetes has them.
pub fn nodes(cluster: &Cluster, watched: &Watched, troubles: &mut Troubles, now_s: i64) -> Seen {
    let name = cluster.name_any();
    let ours = |labels: &BTreeMap<String, String>| labels.get(CLUSTER_LABEL) == Some(&name);
    let claims = watched.claims.state_filter(|claim| ours(claim.labels()));
    let pods = watched.pods.state_filter(|pod| ours(pod.labels()));
    let storage = &cluster.spec.storage;
    let mut seen = Seen {
        now_s,
        zones: cluster.spec.zones.iter().map(|zone| wished(cluster, &zone.name, zone.nodes)).collect(),
        simulated: cluster.spec.zone_mode == ZoneMode::Simulated,
        storage: plan::Storage {
            size: storage.size.0.clone(),
            bytes: build::node::bytes(&storage.size),
            lost_after_s: storage.lost_after_seconds.into(),
            class: storage.class.clone(),
            classes: watched.classes.state().iter().map(|class| class.name_any()).collect(),
        },
        pods: pods.iter().filter_map(|pod| pods::of_node(pod)).collect(),
        hanging: pods::hanging(&pods, &watched.unmounted.state()),
        machines: watched.machines.state().iter().map(|node| ground::machine(node)).collect(),
        fleets: fleets(&name, watched),
        claims: claims_of(&claims, &pods, watched),
        ..Seen::default()
    };
    // The same order every time, so that the same is planned.
    seen.claims.sort_by_key(|claim| claim.node);
    seen.pods.sort_by_key(|pod| pod.node);
    seen.machines.sort_by(|one, other| one.name.cmp(&other.name));
    troubles.follow(&mut seen.claims, now_s);
    seen
}

/// Since when volumes have been in trouble, as far as this process has seen it: after a restart they are waited for anew, since nobody
/// knows what was meanwhile.
#[derive(Debug, Default)]
pub struct Troubles {
    since_s: BTreeMap<NodeId, i64>,
}

impl Troubles {
    /// What is in trouble now has been so since it was first seen, without a break.
    pub fn follow(&mut self, claims: &mut [plan::Claim], now_s: i64) {
        let mut next = BTreeMap::new();
        for claim in claims {
            let Some(missing) = &mut claim.missing else { continue };
            missing.since_s = self.since_s.get(&claim.node).copied().unwrap_or(now_s);
            next.insert(claim.node, missing.since_s);
        }
        self.since_s = next;
    }
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
    let mut leads: BTreeMap<NodeId, usize> = BTreeMap::new();
    for leader in observed.groups.values().filter_map(|reports| reports.iter().find(|report| report.serving)) {
        *leads.entry(leader.node).or_default() += 1;
    }
    Seen {
        silent: silent.collect(),
        answers: answers.collect(),
        replicas: replicas(observed),
        needed: needed(observed),
        leads,
        whole: observed.complete && degraded(observed) == 0,
        ..seen
    }
}

/// The same nodes as moves see them.
pub fn places(seen: &Seen) -> Vec<Place> {
    let place = |claim: &plan::Claim| Place {
        node: claim.node,
        zone: claim.zone.clone(),
        leaving: seen.why(claim),
        ready: seen.is_ready(claim.node),
    };
    seen.claims.iter().filter(|claim| !claim.lost).map(place).collect()
}

/// Groups that would not survive the loss of a node, or have no leader.
pub fn degraded(observed: &Observed) -> usize {
    observed.groups.values().filter(|reports| !is_whole(reports)).count()
}

/// By its leader's word.
pub fn is_whole(reports: &[ReplicaReport]) -> bool {
    let leader = reports.iter().find(|report| report.serving);
    let health = leader.and_then(|leader| leader.health.as_ref());
    health.is_some_and(|health| health.state() == State::Whole)
}

/// Whoever a group names, or has a replica of it.
fn replicas(observed: &Observed) -> BTreeMap<NodeId, usize> {
    let mut count: BTreeMap<NodeId, usize> = BTreeMap::new();
    for reports in observed.groups.values() {
        let named = reports.iter().filter_map(|report| report.descriptor.as_ref());
        let members = named.flat_map(|descriptor| descriptor.replicas.iter().map(|replica| replica.node));
        let all: BTreeSet<NodeId> = members.chain(reports.iter().map(|report| report.node)).collect();
        for node in all {
            *count.entry(node).or_default() += 1;
        }
    }
    count
}

/// Nodes that some group cannot do without, and that group: it has no leader, or another of its members does not answer.
pub fn needed(observed: &Observed) -> BTreeMap<NodeId, PartitionId> {
    let mut needed = BTreeMap::new();
    for (partition, reports) in &observed.groups {
        let newest = newest_descriptor(reports);
        let members: Vec<NodeId> =
            newest.iter().flat_map(|descriptor| descriptor.replicas.iter().map(|replica| replica.node)).collect();
        let led = reports.iter().any(|report| report.serving);
        for node in &members {
            let others_away = members.iter().any(|other| other != node && !observed.reached.contains(other));
            if !led || others_away {
                needed.insert(*node, *partition);
            }
        }
    }
    needed
}

/// Zones that have routers, MemDS servers, or the Service of one.
fn fleets(cluster: &str, watched: &Watched) -> BTreeSet<String> {
    let ours = |labels: &BTreeMap<String, String>| labels.get(CLUSTER_LABEL).is_some_and(|name| name == cluster);
    let deployments = watched.deployments.state_filter(|deployment| ours(deployment.labels()));
    let services = watched.services.state_filter(|service| ours(service.labels()));
    let prefix = build::part_name(cluster, build::MEMDS, "");
    let of_services = services.iter().filter_map(|service| service.name_any().strip_prefix(&prefix).map(str::to_owned));
    deployments.iter().filter_map(|each| each.labels().get(ZONE_LABEL).cloned()).chain(of_services).collect()
}

fn wished(cluster: &Cluster, zone: &str, nodes: u32) -> plan::Zone {
    // Every node of a zone has the same content but for its name.
    plan::Zone { name: zone.to_owned(), nodes: nodes as usize, content: build::node::content(cluster, zone) }
}

pub fn node_id(labels: &BTreeMap<String, String>) -> Option<NodeId> {
    let text = labels.get(NODE_LABEL)?;
    u64::from_str_radix(text, 16).ok().map(NodeId)
}

fn claims_of(claims: &[Arc<PersistentVolumeClaim>], pods: &[Arc<Pod>], watched: &Watched) -> Vec<plan::Claim> {
    let nodes = watched.machines.state();
    let machines = ground::by_names(nodes.iter().map(|node| &**node));
    let events: Vec<Arc<Event>> = watched.unmounted.state().into_iter().chain(watched.unattached.state()).collect();
    let events: Vec<&Event> = events.iter().map(|event| &**event).collect();
    let read = |claim: &Arc<PersistentVolumeClaim>| {
        let spec = claim.spec.as_ref();
        let volume_name = spec.and_then(|spec| spec.volume_name.clone());
        let class_name = spec.and_then(|spec| spec.storage_class_name.clone());
        let volume = volume_name.and_then(|name| watched.volumes.get(&name));
        let class = class_name.and_then(|name| watched.classes.get(&name));
        let around = Around {
            volume: volume.as_deref(),
            class: class.as_deref(),
            pod: pods.iter().find(|pod| pod.name_any() == claim.name_any()).map(|pod| &**pod),
            events: &events,
            machines: &machines,
        };
        claim_of(claim, around)
    };
    claims.iter().filter_map(read).collect()
}

fn claim_of(claim: &PersistentVolumeClaim, around: Around<'_>) -> Option<plan::Claim> {
    let annotations = claim.annotations();
    let placed = around.pod.and_then(|pod| pod.spec.as_ref()).and_then(|spec| spec.node_name.clone());
    let mut hosts = ground::hosts(claim, around).into_iter().chain(placed);
    let lost = annotations.contains_key(LOST);
    Some(plan::Claim {
        node: node_id(claim.labels())?,
        zone: claim.labels().get(ZONE_LABEL)?.clone(),
        store: annotations.get(STORE).and_then(|text| u64::from_str_radix(text, 16).ok()),
        lost,
        surplus: annotations.contains_key(SURPLUS),
        deleting: claim.metadata.deletion_timestamp.is_some(),
        drained: hosts.find(|host| around.machines.get(host).is_some_and(|machine| machine.drain && machine.cordoned)),
        missing: ground::trouble(claim, around).filter(|_| !lost).map(|what| plan::Missing { what, since_s: 0 }),
        volume: ground::volume(claim, around.class),
    })
}

/// How far the Deployments of routers and MemDS are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rollout {
    pub wished: usize,
    /// Those that do not run yet as they are wished.
    pub left: usize,
}

/// Deployments that are there, by name, and how far each has come.
pub struct Settled {
    deployments: BTreeMap<String, Found>,
}

struct Found {
    course: Course,
    /// What it was last written with.
    content: Option<String>,
}

/// How what a Deployment was last written with comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    /// All it has runs so.
    Settled,
    /// It ran so, and something of it is away.
    Disturbed,
    /// It has never run so: whoever wishes something else takes nothing away by it.
    Coming,
}

pub fn deployments(cluster: &Cluster, watched: &Watched) -> Settled {
    let name = cluster.name_any();
    let ours = watched.deployments.state_filter(|deployment| deployment.labels().get(CLUSTER_LABEL) == Some(&name));
    Settled::of(ours.iter().map(|deployment| &**deployment))
}

impl Settled {
    fn of<'a>(deployments: impl Iterator<Item = &'a Deployment>) -> Settled {
        let found = |each: &Deployment| Found { course: course(each), content: content(each).cloned() };
        Settled { deployments: deployments.map(|each| (each.name_any(), found(each))).collect() }
    }

    /// One that is not there yet is made at once, and one whose wish has not come about takes another; what works waits for the others,
    /// so that a change passes through the zones one by one.
    pub fn lets_change(&self, deployment: &Deployment) -> bool {
        let name = deployment.name_any();
        let others = || self.deployments.iter().filter(|(other, _)| **other != name);
        match self.deployments.get(&name).map(|found| found.course) {
            None | Some(Course::Coming) => true,
            Some(Course::Settled | Course::Disturbed) => others().all(|(_, found)| found.course == Course::Settled),
        }
    }

    pub fn rollout(&self, wished: &[Deployment]) -> Rollout {
        Rollout { wished: wished.len(), left: wished.iter().filter(|each| self.is_on_its_way(each)).count() }
    }

    /// What is wished does not run yet. What ran once and is away is not on its way.
    fn is_on_its_way(&self, wished: &Deployment) -> bool {
        let found = self.deployments.get(&wished.name_any());
        found.is_none_or(|found| found.course == Course::Coming || found.content.as_ref() != content(wished))
    }

    /// What was just written has yet to come about.
    pub fn was_ensured(&mut self, deployment: &Deployment, written: bool) {
        if let Some(found) = self.deployments.get_mut(&deployment.name_any()).filter(|_| written) {
            *found = Found { course: Course::Coming, content: content(deployment).cloned() };
        }
    }
}

fn content(deployment: &Deployment) -> Option<&String> {
    deployment.annotations().get(build::CONTENT)
}

/// What Kubernetes says once of what has come about, and says on until something else is written.
const CAME_ABOUT: &str = "NewReplicaSetAvailable";

fn course(deployment: &Deployment) -> Course {
    let wished = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let Some(status) = &deployment.status else { return Course::Coming };
    let counts = [status.replicas, status.updated_replicas, status.ready_replicas];
    if status.observed_generation != deployment.metadata.generation {
        return Course::Coming;
    }
    if counts.into_iter().all(|count| count == Some(wished)) {
        return Course::Settled;
    }
    let came_about = status.conditions.iter().flatten().any(|each| each.reason.as_deref() == Some(CAME_ABOUT));
    if came_about { Course::Disturbed } else { Course::Coming }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Of two replicas that are wished, so many have the newest content and are ready.
    fn deployment(name: &str, ready: i32) -> Deployment {
        serde_json::from_value(json!({
            "metadata": { "name": name, "generation": 7 },
            "spec": { "replicas": 2, "selector": {}, "template": {} },
            "status": { "observedGeneration": 7, "replicas": 2, "updatedReplicas": ready, "readyReplicas": ready },
        }))
        .unwrap()
    }

    fn settled(deployments: &[Deployment]) -> Settled {
        Settled::of(deployments.iter())
    }

    /// It had come about before.
    fn disturbed(name: &str) -> Deployment {
        let mut deployment = deployment(name, 1);
        let said = json!([{ "type": "Progressing", "status": "True", "reason": CAME_ABOUT }]);
        deployment.status.as_mut().unwrap().conditions = serde_json::from_value(said).unwrap();
        deployment
    }

    #[test]
    fn a_deployment_changes_while_all_others_are_settled_and_a_new_one_waits_for_nobody() {
        let (a, b, new) = (deployment("a", 2), deployment("b", 1), deployment("new", 0));
        let seen = settled(&[a.clone(), b.clone()]);
        assert!(!seen.lets_change(&a), "b is on its way");
        assert!(seen.lets_change(&b), "its own way stops nobody from changing it again");
        assert!(seen.lets_change(&new));
        let seen = settled(&[a.clone(), deployment("b", 2)]);
        assert!(seen.lets_change(&a) && seen.lets_change(&b));
    }

    #[test]
    fn what_never_came_about_is_taken_back_at_once_and_what_did_waits_for_its_turn() {
        let (a, b, c) = (deployment("a", 0), deployment("b", 0), disturbed("c"));
        let seen = settled(&[a.clone(), b.clone(), c.clone()]);
        assert!(seen.lets_change(&a) && seen.lets_change(&b), "as after a first wish with an image that is not there");
        assert!(!seen.lets_change(&c), "its Pods may be back in a moment");
        assert!(settled(&[deployment("a", 2), c.clone()]).lets_change(&c));
    }

    #[test]
    fn what_was_just_written_is_on_its_way() {
        let (a, b) = (deployment("a", 2), deployment("b", 2));
        let mut seen = settled(&[a.clone(), b.clone()]);
        seen.was_ensured(&a, false);
        assert!(seen.lets_change(&b), "nothing had to be written");
        seen.was_ensured(&a, true);
        assert!(!seen.lets_change(&b) && seen.lets_change(&a));
        seen.was_ensured(&a, false);
        assert!(!seen.lets_change(&b), "and stays on it");
        seen.was_ensured(&deployment("new", 0), true);
        assert!(seen.lets_change(&a), "one that is made anew is in nobody's way before it is seen");
    }

    #[test]
    fn on_its_way_is_what_does_not_run_as_it_is_wished() {
        let with = |content: &str, deployment: Deployment| {
            let mut deployment = deployment;
            deployment.annotations_mut().insert(build::CONTENT.to_owned(), content.to_owned());
            deployment
        };
        let (a, b, c) = (with("1", deployment("a", 2)), with("1", deployment("b", 1)), with("1", disturbed("c")));
        let mut seen = settled(&[a.clone(), b.clone(), c.clone()]);
        assert!(!seen.is_on_its_way(&a) && seen.is_on_its_way(&b));
        assert!(!seen.is_on_its_way(&c), "it has come about, and is away");
        let next = with("2", a);
        assert!(seen.is_on_its_way(&next), "it waits for the others");
        seen.was_ensured(&next, true);
        assert!(seen.is_on_its_way(&next), "it was just written");
        assert!(seen.is_on_its_way(&with("1", deployment("new", 0))));
    }

    #[test]
    fn settled_is_only_what_its_controller_has_seen_and_finished() {
        assert_eq!(course(&deployment("a", 2)), Course::Settled);
        assert_eq!(course(&deployment("a", 1)), Course::Coming);
        assert_eq!(course(&disturbed("a")), Course::Disturbed);
        let mut unseen = deployment("a", 2);
        unseen.metadata.generation = Some(8);
        assert_eq!(course(&unseen), Course::Coming);
        let mut more = deployment("a", 2);
        more.status.as_mut().unwrap().replicas = Some(3);
        assert_eq!(course(&more), Course::Coming, "an old one runs still");
        assert_eq!(course(&Deployment { status: None, ..deployment("a", 2) }), Course::Coming);
    }
}
