//! What is wished, held against what is there, before anything is planned: what contradicts itself is named, and nothing is guessed. Pure.
//!
//! Plans are made of what was validated, and of nothing else: their types say so. What is objected to hinders nothing but itself.

use std::collections::BTreeSet;

use kube::ResourceExt as _;
use model::TableDescriptor;

use crate::crd::Table;
use crate::names::{self, DRAIN, ZONE_TOPOLOGY};
use crate::plan::{Claim, Machine, Seen};
use crate::resources::descriptor;
use crate::tables::Hindrance;

/// What a person has to see to: a reason in one word, and a sentence with the next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objection {
    pub reason: &'static str,
    pub message: String,
}

/// A cluster's nodes as they were seen, and what there is to object.
pub struct ValidNodes<'a> {
    seen: &'a Seen,
    objections: Vec<Objection>,
}

impl<'a> ValidNodes<'a> {
    pub fn seen(&self) -> &'a Seen {
        self.seen
    }

    /// The first one is what people are told.
    pub fn objections(&self) -> &[Objection] {
        &self.objections
    }
}

/// Zones, and the Kubernetes nodes that carry their names.
pub fn nodes(seen: &Seen) -> ValidNodes<'_> {
    let mut objections = Vec::new();
    if !seen.simulated {
        objections.extend(unknown_zone(seen));
        objections.extend(seen.claims.iter().find_map(|claim| renamed_zone(claim, seen)));
    }
    objections.extend(seen.machines.iter().find_map(|machine| drains_what_is_open(machine, seen)));
    objections.extend(seen.claims.iter().find_map(|claim| waits_for_machine(claim, seen)));
    ValidNodes { seen, objections }
}

/// A Table that can be read, under the name that is its own.
pub struct ValidTable<'a> {
    table: &'a Table,
    given: Option<TableDescriptor>,
}

impl<'a> ValidTable<'a> {
    #[cfg(test)]
    pub fn of(table: &'a Table, given: Option<TableDescriptor>) -> ValidTable<'a> {
        ValidTable { table, given }
    }

    pub fn table(&self) -> &'a Table {
        self.table
    }

    /// The descriptor in the object's status.
    pub fn given(&self) -> Option<&TableDescriptor> {
        self.given.as_ref()
    }
}

pub fn table(table: &Table) -> Result<ValidTable<'_>, Hindrance> {
    let name = &table.spec.table_name;
    let wanted = names::table(name);
    if table.name_any() != wanted {
        let message = format!("the object of table {name} is called {wanted}: create it by that name");
        return Err(Hindrance { reason: "WrongName", message });
    }
    match descriptor(table) {
        Ok(given) => Ok(ValidTable { table, given }),
        Err(error) => Err(Hindrance { reason: "Malformed", message: error.to_string() }),
    }
}

/// A zone that no Kubernetes node is in.
fn unknown_zone(seen: &Seen) -> Option<Objection> {
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
    Some(Objection { reason: "UnknownZone", message })
}

/// A node that runs in one zone and takes itself to be in another.
fn renamed_zone(claim: &Claim, seen: &Seen) -> Option<Objection> {
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
    Some(Objection { reason: "ZoneRenamed", message })
}

/// The node that takes its node's place might be placed there again.
fn drains_what_is_open(machine: &Machine, seen: &Seen) -> Option<Objection> {
    let concerned = || seen.pods.iter().any(|pod| pod.machine.as_ref() == Some(&machine.name));
    if !machine.drain || machine.cordoned || !concerned() {
        return None;
    }
    let name = &machine.name;
    let message =
        format!("Kubernetes node {name} has the annotation {DRAIN} and takes Pods still: kubectl cordon {name}");
    Some(Objection { reason: "DrainWithoutCordon", message })
}

/// A Pod that is to stop on a Kubernetes node that does not answer may run still.
fn waits_for_machine(claim: &Claim, seen: &Seen) -> Option<Objection> {
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
    Some(Objection { reason: "KubernetesNodeAway", message })
}

#[cfg(test)]
mod tests {
    use model::{KeySchema, KeyType};

    use super::*;
    use crate::crd::TableStatus;
    use crate::plan::tests::settled;
    use crate::wish;

    fn sentence(seen: &Seen, wanted: &str) -> String {
        match nodes(seen).objections() {
            [Objection { reason, message }, ..] if *reason == wanted => message.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn has_none(seen: &Seen) -> bool {
        nodes(seen).objections().is_empty()
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
        assert!(has_none(&seen));
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
        assert!(has_none(&seen));
    }

    #[test]
    fn a_pod_that_may_run_still_is_waited_for() {
        let mut seen = settled();
        seen.pods[0].deleting = true;
        assert!(has_none(&seen));
        seen.machines[0].ready = false;
        assert!(sentence(&seen, "KubernetesNodeAway").contains("delete Node machine-1"));
        seen.machines[0].out_of_service = true;
        assert!(has_none(&seen));
    }

    #[test]
    fn a_table_is_read_under_its_own_name_alone() {
        let wish = TableDescriptor::wish("music", KeySchema::simple("artist", KeyType::S));
        let mut object = Table::new("music", wish::spec("trv", &wish));
        assert_eq!(table(&object).ok().map(|valid| valid.given().cloned()), Some(None));
        object.status = Some(TableStatus { descriptor: "scrap".to_owned(), ..TableStatus::default() });
        assert_eq!(table(&object).err().unwrap().reason, "Malformed");
        object.metadata.name = Some("other".to_owned());
        let hindrance = table(&object).err().unwrap();
        assert_eq!(hindrance.reason, "WrongName");
        assert!(hindrance.message.contains("is called music"), "{}", hindrance.message);
    }
}
