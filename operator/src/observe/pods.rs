//! Pods in our words: what runs in them, and what of it can be told from their status. Pure.

use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod};
use kube::ResourceExt as _;

use super::node_id;
use crate::build::{CONTENT, NODE_PORT};
use crate::plan;

/// A storage node's.
pub fn of_node(pod: &Pod) -> Option<plan::Pod> {
    let status = pod.status.as_ref();
    let phase = phase(pod);
    let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let has = |kind: &str, value: &str| conditions.iter().find(|found| found.type_ == kind && found.status == value);
    let unschedulable = has("PodScheduled", "False").and_then(|condition| condition.message.clone());
    let ip = status.and_then(|status| status.pod_ip.as_ref()).filter(|_| phase == "Running");
    Some(plan::Pod {
        node: node_id(pod.labels())?,
        name: pod.name_any(),
        machine: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        address: ip.map(|ip| format!("{ip}:{NODE_PORT}")),
        ready: has("Ready", "True").is_some(),
        deleting: pod.metadata.deletion_timestamp.is_some(),
        ended: matches!(phase, "Failed" | "Succeeded"),
        running: runs(pod),
        begun: containers(pod).iter().any(has_begun),
        content: pod.annotations().get(CONTENT).cloned().unwrap_or_default(),
        unschedulable,
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
}
