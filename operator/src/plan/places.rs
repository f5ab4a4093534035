//! Zones, and the Kubernetes nodes that carry their names: what is said of them is checked, and nothing is guessed.

use std::collections::BTreeSet;

use super::{Claim, Machine, Seen, Step};
use crate::names::{DRAIN, ZONE_TOPOLOGY};

pub fn plan(seen: &Seen) -> Vec<Step> {
    let mut steps = Vec::new();
    if !seen.simulated {
        steps.extend(unknown_zone(seen));
        steps.extend(seen.claims.iter().find_map(|claim| renamed_zone(claim, seen)));
    }
    steps.extend(seen.machines.iter().find_map(|machine| drains_what_is_open(machine, seen)));
    steps.extend(seen.claims.iter().find_map(|claim| waits_for_machine(claim, seen)));
    steps.extend(old_fleets(seen));
    steps
}

/// A zone that no Kubernetes node is in.
fn unknown_zone(seen: &Seen) -> Option<Step> {
    let known: BTreeSet<&str> = seen.machines.iter().filter_map(|machine| machine.zone.as_deref()).collect();
    let unknown = seen.zones.iter().find(|zone| !known.contains(zone.name.as_str()))?;
    let known = match known.is_empty() {
        true => format!("none carries {ZONE_TOPOLOGY} at all"),
        false => format!("there are {}", known.into_iter().collect::<Vec<_>>().join(", ")),
    };
    let message = format!(
        "no Kubernetes node is in zone {}, by its label {ZONE_TOPOLOGY}: {known}. Label Kubernetes nodes, or name other zones in \
         spec.zones; for a first look on a single machine, make the Cluster with zoneMode Simulated, where one failure takes all copies",
        unknown.name
    );
    Some(Step::Blocked { reason: "UnknownZone", message })
}

/// A node that runs in one zone and takes itself to be in another.
fn renamed_zone(claim: &Claim, seen: &Seen) -> Option<Step> {
    let pod = seen.pod(claim.node)?;
    let machine = seen.machine(pod.machine.as_ref()?)?;
    // One that goes is on its way to where labels are right.
    if machine.zone.as_ref() == Some(&claim.zone) || seen.why(claim).is_some() {
        return None;
    }
    let (node, zone, machine, now) =
        (claim.node, &claim.zone, &machine.name, machine.zone.as_deref().unwrap_or("none"));
    let message = format!(
        "node {node} is of zone {zone}, and the label {ZONE_TOPOLOGY} of Kubernetes node {machine} says {now}: set the label back, or take \
         {zone} out of spec.zones and put the new name in, so that its replicas move"
    );
    Some(Step::Blocked { reason: "ZoneRenamed", message })
}

/// The node that takes its node's place might be placed there again.
fn drains_what_is_open(machine: &Machine, seen: &Seen) -> Option<Step> {
    let concerned = || seen.pods.iter().any(|pod| pod.machine.as_ref() == Some(&machine.name));
    if !machine.drain || machine.cordoned || !concerned() {
        return None;
    }
    let name = &machine.name;
    let message =
        format!("Kubernetes node {name} has the annotation {DRAIN} and takes Pods still: kubectl cordon {name}");
    Some(Step::Blocked { reason: "DrainWithoutCordon", message })
}

/// A Pod that is to stop on a Kubernetes node that does not answer may run still.
fn waits_for_machine(claim: &Claim, seen: &Seen) -> Option<Step> {
    let pod = seen.pod(claim.node).filter(|pod| pod.deleting)?;
    let machine = seen.machine(pod.machine.as_ref()?)?;
    if machine.ready || machine.out_of_service {
        return None;
    }
    let (pod, name) = (&pod.name, &machine.name);
    let message = format!(
        "Kubernetes node {name} does not answer, and Pod {pod} may run there still: bring it back; if it is off for good, delete Node \
         {name} or taint it with node.kubernetes.io/out-of-service"
    );
    Some(Step::Blocked { reason: "KubernetesNodeAway", message })
}

/// Routers and MemDS go when the last node of the zone has gone.
fn old_fleets(seen: &Seen) -> impl Iterator<Item = Step> {
    let goes = |zone: &&String| {
        !seen.zones.iter().any(|wished| wished.name == **zone) && !seen.claims.iter().any(|claim| claim.zone == **zone)
    };
    seen.fleets.iter().filter(goes).map(|zone| Step::RemoveFleet { zone: zone.clone() })
}

#[cfg(test)]
mod tests {
    use model::NodeId;

    use super::super::tests::{settled, steps};
    use super::*;

    fn sentence(seen: &Seen, wanted: &str) -> String {
        match steps(seen).into_iter().next() {
            Some(Step::Blocked { reason, message }) if reason == wanted => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_zone_that_no_kubernetes_node_carries_is_named_with_what_can_be_done() {
        let mut seen = settled();
        seen.machines[2].zone = Some("d".to_owned());
        seen.pods[2].machine = None;
        let said = sentence(&seen, "UnknownZone");
        assert!(said.contains("no Kubernetes node is in zone c") && said.contains("there are a, b, d"), "{said}");
        // As kind makes a cluster.
        seen.machines.truncate(1);
        seen.machines[0].zone = None;
        let said = sentence(&seen, "UnknownZone");
        assert!(said.contains("none carries") && said.contains("zoneMode Simulated"), "{said}");
        seen.simulated = true;
        assert_eq!(steps(&seen), []);
    }

    #[test]
    fn a_label_that_was_renamed_under_a_node_is_never_followed() {
        let mut seen = settled();
        seen.machines[2].zone = Some("d".to_owned());
        seen.machines.push(Machine { name: "machine-4".to_owned(), zone: Some("c".to_owned()), ..Machine::default() });
        let said = sentence(&seen, "ZoneRenamed");
        assert!(said.contains("node 0000000000000003 is of zone c") && said.contains("machine-3 says d"), "{said}");
    }

    #[test]
    fn a_drain_without_a_cordon_is_no_drain() {
        let mut seen = settled();
        seen.machines[1].drain = true;
        assert!(sentence(&seen, "DrainWithoutCordon").contains("kubectl cordon machine-2"));
        seen.machines[1].cordoned = true;
        assert_eq!(steps(&seen), []);
    }

    #[test]
    fn a_pod_that_may_run_still_is_waited_for() {
        let mut seen = settled();
        seen.pods[0].deleting = true;
        assert_eq!(steps(&seen), []);
        seen.machines[0].ready = false;
        assert!(sentence(&seen, "KubernetesNodeAway").contains("delete Node machine-1"));
        seen.machines[0].out_of_service = true;
        assert_eq!(steps(&seen), []);
    }

    #[test]
    fn a_zone_that_is_not_wished_goes_node_by_node_and_its_routers_last() {
        let mut seen = settled();
        seen.fleets = ["a", "b", "c"].map(str::to_owned).into();
        let removed = seen.zones.remove(1);
        // As long as a group names it, its Pod is made again if it goes.
        assert_eq!(steps(&seen), []);
        let pod = seen.pods.remove(1);
        assert_eq!(steps(&seen), [Step::CreatePod { zone: "b".to_owned(), node: NodeId(2) }]);
        seen.pods.insert(1, pod);
        seen.replicas.remove(&NodeId(2));
        assert!(matches!(&steps(&seen)[..], [Step::DeletePod { name, .. }] if name == "pod-2"));
        seen.pods.remove(1);
        assert_eq!(steps(&seen), [Step::DeleteClaim { node: NodeId(2) }]);
        // Wished again, it is an ordinary zone.
        seen.zones.insert(1, removed);
        assert_eq!(steps(&seen), [Step::CreatePod { zone: "b".to_owned(), node: NodeId(2) }]);
        seen.zones.remove(1);
        seen.claims.remove(1);
        assert_eq!(steps(&seen), [Step::RemoveFleet { zone: "b".to_owned() }]);
    }
}
