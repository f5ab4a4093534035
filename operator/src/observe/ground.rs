//! What Kubernetes itself stands on, in our words: its nodes, volumes and classes, and what kubelets say of volumes. Pure.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{
    ContainerStatus, Event, Node, NodeSelectorTerm, PersistentVolume, PersistentVolumeClaim, Pod,
};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt as _;

use crate::build::node::bytes;
use crate::names::{DRAIN, ZONE_TOPOLOGY};
use crate::plan::{Machine, Trouble, Volume};

const HOSTNAME: &str = "kubernetes.io/hostname";
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";
/// The Kubernetes node that the scheduler has chosen for a claim that has no volume yet.
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// A volume that is attached elsewhere is not lost: it comes as soon as it is free there.
const ATTACHED_ELSEWHERE: &str = "Multi-Attach error";

/// A Kubernetes node's images alone are larger than all that is asked here.
pub fn trim_machine(node: &mut Node) {
    node.annotations_mut().retain(|key, _| key == DRAIN);
    if let Some(status) = node.status.take() {
        let conditions = status.conditions.map(|all| all.into_iter().filter(|each| each.type_ == "Ready").collect());
        node.status = Some(k8s_openapi::api::core::v1::NodeStatus { conditions, ..Default::default() });
    }
}

pub fn trim_volume(volume: &mut PersistentVolume) {
    volume.annotations_mut().clear();
    volume.labels_mut().clear();
    if let Some(spec) = volume.spec.take() {
        let node_affinity = spec.node_affinity;
        volume.spec = Some(k8s_openapi::api::core::v1::PersistentVolumeSpec { node_affinity, ..Default::default() });
    }
}

pub fn trim_class(class: &mut StorageClass) {
    class.parameters = None;
}

pub fn trim_event(event: &mut Event) {
    event.annotations_mut().clear();
}

pub fn machine(node: &Node) -> Machine {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let spec = node.spec.as_ref();
    let taints = spec.and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    Machine {
        name: node.name_any(),
        zone: node.labels().get(ZONE_TOPOLOGY).cloned(),
        ready: conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True"),
        cordoned: spec.and_then(|spec| spec.unschedulable).unwrap_or(false),
        drain: node.annotations().get(DRAIN).is_some_and(|value| value == "true"),
        out_of_service: taints.iter().any(|taint| taint.key == OUT_OF_SERVICE),
    }
}

/// By all their names.
pub type Machines = BTreeMap<String, Machine>;

/// Volumes are bound to the value of a label, which is not everywhere the Kubernetes node's name.
pub fn by_names<'a>(nodes: impl Iterator<Item = &'a Node>) -> Machines {
    let names = |node: &Node| [Some(node.name_any()), node.labels().get(HOSTNAME).cloned()].into_iter().flatten();
    nodes.flat_map(|node| names(node).map(|name| (name, machine(node))).collect::<Vec<_>>()).collect()
}

/// What a claim's volume is judged by.
#[derive(Clone, Copy)]
pub struct Around<'a> {
    pub volume: Option<&'a PersistentVolume>,
    pub class: Option<&'a StorageClass>,
    pub pod: Option<&'a Pod>,
    /// Of this namespace.
    pub events: &'a [&'a Event],
    pub machines: &'a Machines,
}

/// Kubernetes nodes that its volume is bound to, or that its first Pod was placed on: none if it may be anywhere.
pub fn hosts(claim: &PersistentVolumeClaim, around: Around<'_>) -> BTreeSet<String> {
    if is_bound(claim) {
        return around.volume.map(volume_hosts).unwrap_or_default();
    }
    claim.annotations().get(SELECTED_NODE).cloned().into_iter().collect()
}

fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    claim.spec.as_ref().is_some_and(|spec| spec.volume_name.as_ref().is_some_and(|name| !name.is_empty()))
}

fn volume_hosts(volume: &PersistentVolume) -> BTreeSet<String> {
    let affinity = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref());
    let Some(required) = affinity.and_then(|affinity| affinity.required.as_ref()) else { return BTreeSet::new() };
    let terms: Vec<BTreeSet<String>> = required.node_selector_terms.iter().map(term_hosts).collect();
    // Terms are alternatives: with one that names no host it may be anywhere.
    if terms.iter().any(BTreeSet::is_empty) {
        return BTreeSet::new();
    }
    terms.into_iter().flatten().collect()
}

fn term_hosts(term: &NodeSelectorTerm) -> BTreeSet<String> {
    let by_label = term.match_expressions.iter().flatten().filter(|rule| rule.key == HOSTNAME);
    let by_name = term.match_fields.iter().flatten().filter(|rule| rule.key == "metadata.name");
    let named = by_label.chain(by_name).filter(|rule| rule.operator == "In");
    named.flat_map(|rule| rule.values.clone().unwrap_or_default()).collect()
}

/// What keeps its volume from being used now.
pub fn trouble(claim: &PersistentVolumeClaim, around: Around<'_>) -> Option<Trouble> {
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
    if phase == Some("Lost") {
        return Some(Trouble::ClaimLost);
    }
    if around.pod.is_some_and(is_ready) {
        return None;
    }
    let hosts = hosts(claim, around);
    if let Some(first) = hosts.first()
        && !hosts.iter().any(|host| around.machines.contains_key(host))
    {
        return Some(Trouble::MachineGone(first.clone()));
    }
    let volume = claim.spec.as_ref()?.volume_name.as_ref()?;
    unmountable(around.pod?, volume, around).map(Trouble::Unmountable)
}

/// The last that was said of the volume, if its Pod hangs for want of it on a Kubernetes node that answers: on one that does not, nobody
/// knows.
fn unmountable(pod: &Pod, volume: &str, around: Around<'_>) -> Option<String> {
    let host = pod.spec.as_ref()?.node_name.as_ref()?;
    if !around.machines.get(host)?.ready || !hangs(pod) {
        return None;
    }
    let not_ready_since = pod.status.as_ref()?.conditions.iter().flatten().find(|each| each.type_ == "Ready")?;
    let not_ready_since = not_ready_since.last_transition_time.as_ref().map(|time| time.0);
    let about = |event: &&&Event| {
        let message = event.message.as_deref().unwrap_or_default();
        event.involved_object.uid == pod.metadata.uid
            && message.contains(volume)
            && !message.starts_with(ATTACHED_ELSEWHERE)
            && event.last_timestamp.as_ref().map(|time| time.0) >= not_ready_since
    };
    let last = around.events.iter().filter(about).max_by_key(|event| event.last_timestamp.as_ref().map(|time| time.0));
    last.and_then(|event| event.message.clone())
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Kubelet has not begun its containers, and nothing but volumes or the network can be why.
fn hangs(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let containers = status.and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
    let waits = |container: &ContainerStatus| {
        let state = container.state.as_ref();
        let waiting = state.and_then(|state| state.waiting.as_ref()).and_then(|waiting| waiting.reason.as_deref());
        let running = state.is_some_and(|state| state.running.is_some());
        !running && waiting.is_none_or(|reason| reason == "ContainerCreating")
    };
    pod.metadata.deletion_timestamp.is_none() && containers.iter().all(waits)
}

pub fn volume(claim: &PersistentVolumeClaim, class: Option<&StorageClass>) -> Volume {
    let spec = claim.spec.as_ref();
    let status = claim.status.as_ref();
    let asked = spec.and_then(|spec| spec.resources.as_ref()).and_then(|resources| resources.requests.as_ref());
    let has = status.and_then(|status| status.capacity.as_ref());
    let storage = |amounts: Option<&BTreeMap<String, _>>| amounts.and_then(|all| all.get("storage")).and_then(bytes);
    let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let refused = conditions.iter().find(|each| each.type_.ends_with("ResizeError") && each.status == "True");
    Volume {
        bound: status.and_then(|status| status.phase.as_deref()) == Some("Bound"),
        class: spec.and_then(|spec| spec.storage_class_name.clone()).unwrap_or_default(),
        class_grows: class.map(|class| class.allow_volume_expansion.unwrap_or(false)),
        asked_bytes: storage(asked).unwrap_or(0),
        has_bytes: storage(has).unwrap_or(0),
        refusal: refused.map(|condition| condition.message.clone().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::*;

    fn read<T: DeserializeOwned>(object: Value) -> T {
        serde_json::from_value(object).unwrap()
    }

    fn machines(names: &[&str]) -> Machines {
        let machine = |name: &&str| Machine { name: (*name).to_owned(), ready: true, ..Machine::default() };
        names.iter().map(|name| ((*name).to_owned(), machine(name))).collect()
    }

    fn claim(phase: &str) -> PersistentVolumeClaim {
        read(json!({
            "spec": { "volumeName": "pvc-7", "storageClassName": "fast", "resources": { "requests": { "storage": "3Gi" } } },
            "status": { "phase": phase, "capacity": { "storage": "2Gi" } },
        }))
    }

    fn local(host: &str) -> PersistentVolume {
        let rule = json!({ "key": HOSTNAME, "operator": "In", "values": [host] });
        read(
            json!({ "spec": { "nodeAffinity": { "required": { "nodeSelectorTerms": [{ "matchExpressions": [rule] }] } } } }),
        )
    }

    /// A Pod on `m1` whose container is in this state since second 60 of some hour.
    fn pod(state: &Value) -> Pod {
        read(json!({
            "metadata": { "uid": "u1" }, "spec": { "nodeName": "m1", "containers": [] },
            "status": {
                "phase": "Pending",
                "conditions": [{ "type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T00:01:00Z" }],
                "containerStatuses": [{
                    "name": "node", "ready": false, "restartCount": 0, "image": "", "imageID": "", "state": state,
                }],
            },
        }))
    }

    fn creating() -> Value {
        json!({ "waiting": { "reason": "ContainerCreating" } })
    }

    fn event(uid: &str, message: &str, time: &str) -> Event {
        read(json!({
            "metadata": {}, "involvedObject": { "uid": uid }, "message": message, "reason": "FailedMount", "lastTimestamp": time,
        }))
    }

    fn found(claim: &PersistentVolumeClaim, volume: &PersistentVolume, pod: &Pod, event: &Event) -> Option<Trouble> {
        let machines = machines(&["m1"]);
        let around =
            Around { volume: Some(volume), class: None, pod: Some(pod), events: &[event], machines: &machines };
        trouble(claim, around)
    }

    const SAID: &str = "MountVolume.NewMounter initialization failed for volume \"pvc-7\" : path \"/x\" does not exist";
    const LATER: &str = "2026-01-01T00:02:00Z";

    #[test]
    fn a_volume_is_in_trouble_when_it_is_gone_or_its_host_is_or_kubelet_cannot_mount_it() {
        let (good, said, pod) = (claim("Bound"), event("u1", SAID, LATER), pod(&creating()));
        assert_eq!(found(&claim("Lost"), &local("m1"), &pod, &said), Some(Trouble::ClaimLost));
        assert_eq!(found(&good, &local("m2"), &pod, &said), Some(Trouble::MachineGone("m2".to_owned())));
        assert_eq!(found(&good, &local("m1"), &pod, &said), Some(Trouble::Unmountable(SAID.to_owned())));
    }

    #[test]
    fn what_is_said_of_something_else_is_no_trouble_of_the_volume() {
        let (claim, volume, hanging) = (claim("Bound"), local("m1"), pod(&creating()));
        let nothing = |pod: &Pod, event: &Event| assert_eq!(found(&claim, &volume, pod, event), None, "{event:?}");
        // Another Pod, another volume, another time, another place.
        nothing(&hanging, &event("u2", SAID, LATER));
        nothing(&hanging, &event("u1", "MountVolume.SetUp failed for volume \"tls\" : secret not found", LATER));
        nothing(&hanging, &event("u1", SAID, "2026-01-01T00:00:30Z"));
        nothing(&hanging, &event("u1", "Multi-Attach error for volume \"pvc-7\" Volume is already attached", LATER));
        // It runs, or waits for something else.
        let said = event("u1", SAID, LATER);
        nothing(&pod(&json!({ "running": {} })), &said);
        nothing(&pod(&json!({ "waiting": { "reason": "ImagePullBackOff" } })), &said);
        // Of a Kubernetes node that does not answer nobody knows.
        let mut silent = machines(&["m1"]);
        silent.get_mut("m1").unwrap().ready = false;
        let around =
            Around { volume: Some(&volume), class: None, pod: Some(&hanging), events: &[&said], machines: &silent };
        assert_eq!(trouble(&claim, around), None);
    }

    #[test]
    fn a_host_is_known_by_its_label_too_and_a_node_that_serves_is_never_missed() {
        let labels = json!({ HOSTNAME: "m2" });
        let node: Node = read(json!({ "metadata": { "name": "m2.example.org", "labels": labels } }));
        let machines = by_names([&node].into_iter());
        let (claim, volume) = (claim("Bound"), local("m2"));
        let around = |machines| Around { volume: Some(&volume), class: None, pod: None, events: &[], machines };
        assert_eq!(trouble(&claim, around(&machines)), None);
        let nobody = Machines::new();
        assert_eq!(trouble(&claim, around(&nobody)), Some(Trouble::MachineGone("m2".to_owned())));
        let mut serving = pod(&json!({ "running": {} }));
        let status = serving.status.as_mut().unwrap();
        status.conditions.as_mut().unwrap()[0].status = "True".to_owned();
        assert_eq!(trouble(&claim, Around { pod: Some(&serving), ..around(&nobody) }), None);
    }

    #[test]
    fn a_volume_that_may_be_anywhere_has_no_host() {
        let zonal: PersistentVolume = read(json!({ "spec": { "nodeAffinity": { "required": { "nodeSelectorTerms": [
            { "matchExpressions": [{ "key": "topology.kubernetes.io/zone", "operator": "In", "values": ["a"] }] },
        ] } } } }));
        let machines = machines(&[]);
        let around = |volume| Around { volume, class: None, pod: None, events: &[], machines: &machines };
        assert_eq!(hosts(&claim("Bound"), around(Some(&zonal))), BTreeSet::new());
        assert_eq!(hosts(&claim("Bound"), around(None)), BTreeSet::new());
        let placed: PersistentVolumeClaim =
            read(json!({ "metadata": { "annotations": { SELECTED_NODE: "m3" } }, "spec": {} }));
        assert_eq!(hosts(&placed, around(None)), ["m3".to_owned()].into());
    }

    #[test]
    fn sizes_and_refusals_are_read() {
        let class: StorageClass = read(json!({ "metadata": {}, "provisioner": "p", "allowVolumeExpansion": true }));
        let seen = volume(&claim("Bound"), Some(&class));
        assert_eq!((seen.bound, seen.class_grows, seen.class.as_str()), (true, Some(true), "fast"));
        assert_eq!((seen.asked_bytes, seen.has_bytes, seen.refusal), (3 << 30, 2 << 30, None));
        assert_eq!(volume(&claim("Pending"), None).class_grows, None);
        let refused: PersistentVolumeClaim = read(json!({ "status": {
            "conditions": [{ "type": "ControllerResizeError", "status": "True", "message": "no space" }],
        } }));
        assert_eq!(volume(&refused, None).refusal.as_deref(), Some("no space"));
    }

    #[test]
    fn a_kubernetes_node_is_read_from_what_is_kept_of_it() {
        let mut node: Node = read(json!({
            "metadata": { "name": "m1", "labels": { ZONE_TOPOLOGY: "a" }, "annotations": { DRAIN: "true", "other": "long" } },
            "spec": { "unschedulable": true, "taints": [{ "key": OUT_OF_SERVICE, "effect": "NoExecute" }] },
            "status": {
                "conditions": [{ "type": "Ready", "status": "True" }, { "type": "DiskPressure", "status": "False" }],
                "images": [{ "names": ["large"] }],
            },
        }));
        trim_machine(&mut node);
        let zone = Some("a".to_owned());
        let name = "m1".to_owned();
        let all = Machine { name, zone, ready: true, cordoned: true, drain: true, out_of_service: true };
        assert_eq!(machine(&node), all);
        assert_eq!(node.status.unwrap().images, None);
        assert_eq!(node.metadata.annotations.unwrap().len(), 1);
    }
}
