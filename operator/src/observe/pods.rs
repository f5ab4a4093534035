//! Pods in our words: what runs in them, and what of it can be told from their status. Pure.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Event, Pod};
use kube::ResourceExt as _;

use super::node_id;
use crate::build::{self, CONTENT, NODE_PORT};
use crate::names::ZONE_LABEL;
use crate::plan::{self, Hanging, Hitch, Part};

const COMPONENT: &str = "app.kubernetes.io/component";
/// What kubelets say of an image that a Kubernetes node cannot have.
const OF_IMAGES: [&str; 7] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
    "RegistryUnavailable",
    "SignatureValidationFailed",
];

/// A storage node's.
pub fn of_node(pod: &Pod) -> Option<plan::Pod> {
    let status = pod.status.as_ref();
    let phase = phase(pod);
    let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let ready = conditions.iter().any(|found| found.type_ == "Ready" && found.status == "True");
    let ip = status.and_then(|status| status.pod_ip.as_ref()).filter(|_| phase == "Running");
    Some(plan::Pod {
        node: node_id(pod.labels())?,
        name: pod.name_any(),
        machine: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        address: ip.map(|ip| format!("{ip}:{NODE_PORT}")),
        ready,
        deleting: pod.metadata.deletion_timestamp.is_some(),
        ended: matches!(phase, "Failed" | "Succeeded"),
        running: runs(pod),
        begun: containers(pod).iter().any(has_begun),
        content: pod.annotations().get(CONTENT).cloned().unwrap_or_default(),
        unschedulable: unplaced(pod),
    })
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

fn containers(pod: &Pod) -> &[ContainerStatus] {
    pod.status.as_ref().and_then(|status| status.container_statuses.as_deref()).unwrap_or_default()
}

/// Where nobody tells of containers, the phase does: "Unknown" is said of what may run.
fn runs(pod: &Pod) -> bool {
    match containers(pod) {
        [] => !matches!(phase(pod), "Pending" | "Failed" | "Succeeded"),
        containers => containers.iter().filter_map(|each| each.state.as_ref()).any(|state| state.running.is_some()),
    }
}

fn has_begun(container: &ContainerStatus) -> bool {
    let ran = |state: &ContainerState| state.running.is_some() || state.terminated.is_some();
    container.restart_count > 0 || [&container.state, &container.last_state].into_iter().flatten().any(ran)
}

/// All that hang, in the order in which they are told of: who waits for a moment only is among them.
pub fn hanging(pods: &[Arc<Pod>], events: &[Arc<Event>]) -> Vec<Hanging> {
    let mut hanging: Vec<Hanging> = pods.iter().filter_map(|pod| hangs(pod, events)).collect();
    hanging.sort_by(|one, other| (one.part, &one.pod).cmp(&(other.part, &other.pod)));
    hanging
}

fn hangs(pod: &Pod, events: &[Arc<Event>]) -> Option<Hanging> {
    let part = match pod.labels().get(COMPONENT)?.as_str() {
        "node" => Part::Node,
        build::MEMDS => Part::MemDs,
        build::ROUTERS => Part::Router,
        _ => return None,
    };
    if pod.metadata.deletion_timestamp.is_some() || matches!(phase(pod), "Failed" | "Succeeded") {
        return None;
    }
    let zone = pod.labels().get(ZONE_LABEL)?.clone();
    let why = match unplaced(pod) {
        // Of a node's Pod its claim tells more.
        Some(_) if part == Part::Node => return None,
        Some(why) => Hitch::Unplaced(why),
        None => containers(pod).iter().find_map(|container| hitch(container, pod, events))?,
    };
    Some(Hanging { pod: pod.name_any(), part, zone, why })
}

/// Why no Kubernetes node takes it.
fn unplaced(pod: &Pod) -> Option<String> {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let not_placed = conditions.iter().find(|each| each.type_ == "PodScheduled" && each.status == "False");
    not_placed.and_then(|condition| condition.message.clone())
}

fn hitch(container: &ContainerStatus, pod: &Pod, events: &[Arc<Event>]) -> Option<Hitch> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.clone().unwrap_or_default();
    let message = waiting.message.clone().unwrap_or_default();
    match reason.as_str() {
        "" | "ContainerCreating" | "PodInitializing" => secret(pod, events).map(Hitch::Secret),
        "CrashLoopBackOff" => {
            let last = container.last_state.as_ref().and_then(|state| state.terminated.clone()).unwrap_or_default();
            Some(Hitch::Crashes {
                times: container.restart_count,
                exit_code: last.exit_code,
                reason: last.reason.unwrap_or_default(),
                message: last.message.unwrap_or_default().trim().to_owned(),
            })
        }
        of_image if OF_IMAGES.contains(&of_image) => Some(Hitch::Image { reason, message }),
        _ => Some(Hitch::Refused { reason, message }),
    }
}

/// The last that was said of a Secret that it mounts.
fn secret(pod: &Pod, events: &[Arc<Event>]) -> Option<String> {
    let about = |event: &&Arc<Event>| {
        event.involved_object.uid == pod.metadata.uid
            && event.message.as_deref().is_some_and(|message| message.contains("secret"))
    };
    let last = events.iter().filter(about).max_by_key(|event| event.last_timestamp.as_ref().map(|time| time.0))?;
    last.message.clone()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A node's Pod in this phase, and its container.
    fn pod(phase: &str, container: &Value) -> Pod {
        let mut whole = json!({ "name": "node", "ready": false, "restartCount": 0, "image": "", "imageID": "" });
        whole.as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
        let status = json!({ "phase": phase, "podIP": "10.0.0.1", "containerStatuses": [whole] });
        let labels = json!({ "trivet.dev/node": "0000000000000007" });
        serde_json::from_value(json!({ "metadata": { "name": "n", "labels": labels }, "status": status })).unwrap()
    }

    fn life(pod: &Pod) -> (bool, bool) {
        let seen = of_node(pod).unwrap();
        (seen.running, seen.begun)
    }

    #[test]
    fn whether_something_runs_in_a_pod_and_ever_did_is_read_from_its_containers() {
        let ended = json!({ "terminated": { "exitCode": 1 } });
        let waiting = |why: &str| json!({ "waiting": { "reason": why } });
        assert_eq!(life(&pod("Pending", &json!({ "state": waiting("ImagePullBackOff") }))), (false, false));
        assert_eq!(life(&pod("Running", &json!({ "state": { "running": {} } }))), (true, true));
        let crashes = json!({ "state": waiting("CrashLoopBackOff"), "lastState": ended, "restartCount": 3 });
        assert_eq!(life(&pod("Running", &crashes)), (false, true));
        assert_eq!(life(&pod("Running", &json!({ "state": ended }))), (false, true));
    }

    #[test]
    fn a_pod_that_nobody_tells_of_may_run() {
        let silent = |phase: &str| {
            let mut pod = pod("Pending", &json!({}));
            let status = pod.status.as_mut().unwrap();
            (status.phase, status.container_statuses) = (Some(phase.to_owned()), None);
            life(&pod).0
        };
        assert_eq!(["Pending", "Running", "Unknown"].map(silent), [false, true, true]);
    }
    fn why(pod: &Pod, events: &[Arc<Event>]) -> Option<Hitch> {
        let mut pod = pod.clone();
        pod.metadata.uid = Some("u1".to_owned());
        pod.labels_mut()
            .extend([(COMPONENT, "router"), (ZONE_LABEL, "b")].map(|(key, value)| (key.to_owned(), value.to_owned())));
        let [Hanging { part: Part::Router, why, .. }] = &hanging(&[Arc::new(pod)], events)[..] else { return None };
        Some(why.clone())
    }

    #[test]
    fn why_a_pod_hangs_is_read_from_its_container() {
        let waits =
            |reason: &str| pod("Pending", &json!({ "state": { "waiting": { "reason": reason, "message": "m" } } }));
        let (reason, message) = ("ErrImageNeverPull".to_owned(), "m".to_owned());
        assert_eq!(why(&waits("ErrImageNeverPull"), &[]), Some(Hitch::Image { reason, message }));
        let (reason, message) = ("CreateContainerConfigError".to_owned(), "m".to_owned());
        assert_eq!(why(&waits("CreateContainerConfigError"), &[]), Some(Hitch::Refused { reason, message }));
        let last = json!({ "terminated": { "exitCode": 2, "reason": "Error", "message": "no /data\n" } });
        let state = json!({ "waiting": { "reason": "CrashLoopBackOff" } });
        let crashes = pod("Running", &json!({ "state": state, "lastState": last, "restartCount": 4 }));
        let (reason, message) = ("Error".to_owned(), "no /data".to_owned());
        assert_eq!(why(&crashes, &[]), Some(Hitch::Crashes { times: 4, exit_code: 2, reason, message }));
        assert_eq!(why(&pod("Running", &json!({ "state": { "running": {} } })), &[]), None);
    }

    #[test]
    fn a_secret_that_is_not_there_is_told_by_a_kubelets_event() {
        let event = |uid: &str, message: &str| {
            let event = json!({ "metadata": {}, "involvedObject": { "uid": uid }, "message": message });
            Arc::new(serde_json::from_value::<Event>(event).unwrap())
        };
        let missing = "MountVolume.SetUp failed for volume \"credentials\" : secret \"keys\" not found";
        let creating = pod("Pending", &json!({ "state": { "waiting": { "reason": "ContainerCreating" } } }));
        assert_eq!(why(&creating, &[]), None);
        assert_eq!(why(&creating, &[event("u2", missing), event("u1", "volume \"pvc-7\" is away")]), None);
        assert_eq!(why(&creating, &[event("u1", missing)]), Some(Hitch::Secret(missing.to_owned())));
    }
}
