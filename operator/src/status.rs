//! What is written back for people to see: pure, from what was observed; written where it has changed, and at no other time.

use std::collections::{BTreeMap, BTreeSet};

use control::plan::{Observed, ReplicaReport};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use model::{Size, TableId};

use crate::build::ROUTER_PORT;
use crate::crd::cluster::ZoneMode;
use crate::crd::condition::{BLOCKED, DEGRADED, PROGRESSING, READY, SAFE, Statement, conditions};
use crate::crd::table::TableStatus;
use crate::crd::{Cluster, ClusterStatus, Removal, RemovalPhase, Table};
use crate::figures::{Counted, Figures};
use crate::observe::{Rollout, degraded, is_whole};
use crate::plan::{self, Seen, Step, growth};
use crate::resources::shown;
use crate::seal::told::Kept;
use crate::tables::{self, Hindrance, Led};

mod partition;

pub use partition::{Worth, partition, worth};

/// The size is the leader's word; every replica has clients.
fn counted(reports: &[ReplicaReport]) -> Counted {
    Counted {
        size: reports.iter().filter(|report| report.serving).find_map(|report| report.size),
        consumption: reports.iter().map(|report| report.consumption).sum(),
    }
}

/// Said of everything alike.
fn zones_are_safe(mode: ZoneMode) -> Statement {
    match mode {
        ZoneMode::Labelled => statement(SAFE, true, "LabelledZones", "a failure of one zone takes one copy"),
        ZoneMode::Simulated => statement(
            SAFE,
            false,
            "SimulatedZones",
            "zones are names only (spec.zoneMode of the Cluster): one failure may take every copy; nothing that matters belongs here",
        ),
    }
}

/// What is said of a Table; the fields that its resource is read from are left as they are.
pub fn table(object: &Table, given: Option<&model::TableDescriptor>, told: &Told<'_>) -> TableStatus {
    let Held { led, counted } = given.and_then(|given| told.held.get(&given.id)).copied().unwrap_or_default();
    let before = object.status.clone().unwrap_or_default();
    let led = match given.map(|given| given.status) {
        Some(model::TableStatus::Active | model::TableStatus::Updating) => led.of(before.partitions),
        Some(_) | None => led,
    };
    let Figures { items, size_bytes, read_units, write_units, sized_at } =
        Figures::from(&before).next(&counted, told.now);
    let generation = object.metadata.generation.unwrap_or(0);
    let mut said = tables::statements(given, led, told.hindrance, object.spec.paused);
    said.push(zones_are_safe(told.mode));
    TableStatus {
        observed_generation: generation,
        table_status: given.map(|given| shown(given.status).to_owned()).unwrap_or_default(),
        partitions: u32::try_from(led.partitions).unwrap_or(u32::MAX).max(before.partitions),
        items,
        size_bytes,
        read_units,
        write_units,
        sized_at,
        conditions: conditions(&before.conditions, said, generation, told.now),
        ..before
    }
}

/// Nothing differs but how much would be lost with a node.
pub fn is_minor(table: &Table, next: &TableStatus) -> bool {
    let without = |status: &TableStatus| {
        let others = status.conditions.iter().filter(|condition| condition.kind != DEGRADED);
        TableStatus { conditions: others.cloned().collect(), ..status.clone() }
    };
    table.status.as_ref().is_some_and(|before| without(before) == without(next))
}

/// What a Table's status is made from.
pub struct Told<'a> {
    /// Of every table.
    pub held: &'a BTreeMap<TableId, Held>,
    pub hindrance: Option<&'a Hindrance>,
    pub mode: ZoneMode,
    pub now: &'a Time,
}

/// What nodes tell of one table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    pub led: Led,
    /// Of all its partitions; no size if one of them has not been counted.
    pub counted: Counted,
}

/// By one walk over all groups, whoever tells of all tables.
pub fn held(observed: &Observed) -> BTreeMap<TableId, Held> {
    let mut all: BTreeMap<TableId, Held> = BTreeMap::new();
    for reports in observed.groups.values() {
        let Some(descriptor) = reports.iter().find_map(|report| report.descriptor.as_ref()) else { continue };
        let nothing = Counted { size: Some(Size::default()), ..Counted::default() };
        let none = Held { led: Led::default(), counted: nothing };
        let Held { led, counted: sum } = all.entry(descriptor.table).or_insert(none);
        led.partitions += 1;
        led.led += usize::from(reports.iter().any(|report| report.serving));
        led.whole += usize::from(is_whole(reports));
        let Counted { size, consumption } = counted(reports);
        sum.size = sum.size.zip(size).map(|(sum, size)| sum + size);
        sum.consumption = sum.consumption + consumption;
    }
    all
}

/// What a Cluster's status is made from.
pub struct ClusterTold<'a> {
    pub seen: &'a Seen,
    pub observed: &'a Observed,
    pub steps: &'a [Step],
    pub removals: Vec<Removal>,
    /// Routers that are ready.
    pub routers: usize,
    pub rollout: Rollout,
    pub tables: usize,
    /// What could not be done, in the API server's or a node's words.
    pub failure: Option<&'a str>,
    /// None where there are none.
    pub certificates: Option<&'a Kept>,
    pub now: &'a Time,
}

pub fn cluster(object: &Cluster, told: &ClusterTold<'_>) -> ClusterStatus {
    let wished: usize = told.seen.zones.iter().map(|zone| zone.nodes).sum();
    let ready = told.seen.answers.iter().filter(|answer| answer.ready).count();
    let weak = degraded(told.observed);
    let before = object.status.clone().unwrap_or_default();
    let generation = object.metadata.generation.unwrap_or(0);
    let namespace = object.namespace().unwrap_or_default();
    ClusterStatus {
        observed_generation: generation,
        nodes: format!("{ready}/{wished}"),
        tables: u32::try_from(told.tables).unwrap_or(u32::MAX),
        partitions: u32::try_from(told.observed.groups.len()).unwrap_or(u32::MAX),
        degraded_partitions: u32::try_from(weak).unwrap_or(u32::MAX),
        retained_tables: retained(told.observed),
        largest_volume: growth::largest(told.seen),
        volumes: Some(
            u32::try_from(told.seen.claims.iter().filter(|claim| claim.volume.bound).count()).unwrap_or(u32::MAX),
        ),
        endpoint: format!("http://{}.{namespace}.svc:{ROUTER_PORT}", object.name_any()),
        tls: told.certificates.map(Kept::status),
        conditions: conditions(&before.conditions, cluster_statements(object, told), generation, told.now),
        removals: told.removals.clone(),
    }
}

/// Most tables out of service that are named.
const MOST_RETAINED: usize = 100;

fn retained(observed: &Observed) -> Vec<String> {
    let tables = observed.groups.values().flatten().filter_map(|report| report.table.as_ref());
    let retained = tables.filter(|table| table.status == model::TableStatus::Retained);
    // A set: every replica of every partition says so.
    let names: BTreeSet<&str> = retained.map(|table| table.name.as_str()).collect();
    names.into_iter().take(MOST_RETAINED).map(str::to_owned).collect()
}

fn cluster_statements(object: &Cluster, told: &ClusterTold<'_>) -> Vec<Statement> {
    let wished: usize = told.seen.zones.iter().map(|zone| zone.nodes).sum();
    let ready = told.seen.answers.iter().filter(|answer| answer.ready).count();
    let weak = degraded(told.observed);
    let up = ready >= wished && told.routers > 0;
    let mut hinders = told.steps.iter().filter_map(|step| match step {
        Step::Blocked { reason, message } => Some((*reason, message.clone())),
        Step::CreateClaim { .. }
        | Step::CreatePod { .. }
        | Step::DeletePod { .. }
        | Step::RecordStore { .. }
        | Step::Format { .. }
        | Step::MarkLost { .. }
        | Step::Leave { .. }
        | Step::Stay { .. }
        | Step::DeleteClaim { .. }
        | Step::GrowClaim { .. }
        | Step::RemoveFleet { .. } => None,
    });
    let first = hinders.next().or_else(|| told.failure.map(|failure| ("Failed", failure.to_owned())));
    let blocked = first.map(|(reason, message)| {
        let others: String = hinders.by_ref().map(|(reason, message)| format!(". And {reason}: {message}")).collect();
        (reason, message + &others)
    });
    let counts = format!("{ready} of {wished} nodes and {} routers are ready", told.routers);
    let (Rollout { wished: all, left }, outdated) = (told.rollout, plan::outdated(told.seen));
    let rolls = left + outdated > 0;
    let (reason, message) = match &blocked {
        _ if object.spec.paused => ("Paused", "spec.paused is set: nothing is changed".to_owned()),
        Some((reason, message)) => (*reason, message.clone()),
        None if up && !told.removals.is_empty() => ("NodesLeave", format!("{counts}; {}", leave(&told.removals))),
        None if up && rolls => {
            let left = format!("{outdated} node Pods and {left} of {all} Deployments of routers and MemDS");
            ("RollingOut", format!("{counts}; {left} do not run yet as they are wished"))
        }
        None if up => ("AllReady", counts),
        None => ("Starting", counts),
    };
    // What hinders one thing holds up no other.
    let goes_on = told.steps.iter().any(|step| !matches!(step, Step::Blocked { .. }));
    let moves = !object.spec.paused && (goes_on || rolls || blocked.is_none() && (!told.removals.is_empty() || !up));
    let (why, hindrance) = blocked.as_ref().map_or((reason, &message), |(reason, message)| (*reason, message));
    let weak_message =
        format!("{weak} of {} partitions have no leader, or could not lose a node", told.observed.groups.len());
    let mut said = vec![
        statement(READY, up, reason, &message),
        statement(PROGRESSING, moves, reason, &message),
        statement(DEGRADED, weak > 0, if weak > 0 { "WeakPartitions" } else { "AllWhole" }, &weak_message),
        statement(BLOCKED, blocked.is_some(), why, hindrance),
    ];
    said.push(zones_are_safe(object.spec.zone_mode));
    said.extend(told.certificates.map(|kept| kept.statement(told.now.0)));
    said
}

/// Of those that go the first one that is under way; all of them are in the status beside.
fn leave(removals: &[Removal]) -> String {
    let under_way = removals.iter().find(|removal| removal.phase != RemovalPhase::Waiting).or_else(|| removals.first());
    let told = under_way.map(|removal| format!("node {}: {}", removal.node, removal.message)).unwrap_or_default();
    match removals.len() {
        1 => told,
        more => format!("{more} nodes go; {told}"),
    }
}

fn statement(kind: &'static str, holds: bool, reason: &str, message: &str) -> Statement {
    Statement { kind, holds, reason: reason.to_owned(), message: message.to_owned() }
}

#[cfg(test)]
pub mod tests {
    use bytes::Bytes;
    use k8s_openapi::jiff::Timestamp;
    use model::units::Consumption;
    use model::{KeyRange, NodeId, PartitionDescriptor, PartitionId, Zone};
    use wire::admin::Health;
    use wire::admin::health::State;

    use super::*;
    use crate::crd::{Partition, PartitionSpec};
    use crate::resources::range;

    pub fn descriptor() -> PartitionDescriptor {
        let places = [(1, "a"), (2, "b"), (3, "c")].map(|(node, zone)| (NodeId(node), Zone(zone.to_owned())));
        let range = KeyRange { start: Bytes::from_static(&[7]), end: None };
        PartitionDescriptor { epoch: 5, ..PartitionDescriptor::birth(PartitionId(9), TableId(4), range, places) }
    }

    pub fn object() -> Partition {
        let spec = PartitionSpec {
            table_ref: "music".to_owned(),
            table_id: TableId(4).to_string(),
            partition_id: PartitionId(9).to_string(),
            range: range(&descriptor().range),
            replicas: Vec::new(),
        };
        Partition::new("music-9", spec)
    }

    pub fn observed(state: State) -> Observed {
        let report = |node: u64| ReplicaReport {
            node: NodeId(node),
            descriptor: Some(descriptor().into()),
            table: None,
            serving: node == 2,
            health: (node == 2).then(|| Health { state: state.into(), why: why(state), ..Health::default() }),
            size: None,
            consumption: Consumption::default(),
        };
        let groups = [(PartitionId(9), vec![report(1), report(2), report(3)])].into();
        Observed { reached: [1, 2, 3].map(NodeId).into(), complete: true, groups, ..Observed::default() }
    }

    fn why(state: State) -> String {
        if state == State::Whole { String::new() } else { "so".to_owned() }
    }

    pub fn at(second: i64) -> Time {
        Time(Timestamp::from_second(second).unwrap())
    }

    #[test]
    fn it_tells_how_much_it_holds_and_a_table_the_sum() {
        const UNITS: Consumption = Consumption { read_milliunits: 2_000, write_milliunits: 1_000 };
        let counted = |items| {
            let mut observed = observed(State::Whole);
            let reports = observed.groups.get_mut(&PartitionId(9)).unwrap();
            reports[1].size = Some(Size { items, bytes: 7_777 });
            reports[..2].iter_mut().for_each(|report| report.consumption = UNITS);
            observed
        };
        let mut object = object();
        object.status = partition(&object, &observed(State::Whole), ZoneMode::Labelled, &at(1));
        assert_eq!(object.status.as_ref().map(|status| (status.items, status.sized_at.clone())), Some((0, None)));
        let next = partition(&object, &counted(123), ZoneMode::Labelled, &at(2)).unwrap();
        assert_eq!((next.items, next.size_bytes, next.sized_at.clone()), (120, 7_800, Some(at(2))));
        assert_eq!((next.read_units, next.write_units), (4, 2), "of both replicas");
        assert_eq!(worth(object.status.as_ref().unwrap(), &next), Worth::Figures);
        object.status = Some(next);
        // Who leads is written at once, with the figures of before.
        let mut missing = counted(999);
        missing.groups.get_mut(&PartitionId(9)).unwrap()[1].health =
            Some(Health { state: State::Missing.into(), ..Health::default() });
        let next = partition(&object, &missing, ZoneMode::Labelled, &at(3)).unwrap();
        assert_eq!((next.state.as_str(), next.items), ("Missing", 120));
        assert_eq!(worth(object.status.as_ref().unwrap(), &next), Worth::State);
        let unled = partition(&object, &Observed::default(), ZoneMode::Labelled, &at(4)).unwrap();
        assert_eq!((unled.items, worth(object.status.as_ref().unwrap(), &unled)), (120, Worth::Leaderless));
        let mut two = counted(123);
        two.groups.insert(PartitionId(10), two.groups[&PartitionId(9)].clone());
        let sum = Counted { size: Some(Size { items: 246, bytes: 15_554 }), consumption: [UNITS; 4].into_iter().sum() };
        assert_eq!(held(&two)[&TableId(4)].counted, sum);
        two.groups.get_mut(&PartitionId(10)).unwrap()[1].size = None;
        assert_eq!(held(&two)[&TableId(4)].counted.size, None, "half of a sum is none");
    }

    fn is_safe(of: &[crate::crd::Condition]) -> (String, String) {
        let found = of.iter().find(|condition| condition.kind == SAFE).unwrap();
        (found.status.clone(), found.reason.clone())
    }

    #[test]
    fn whatever_stands_in_simulated_zones_is_called_unsafe() {
        let told = |mode| partition(&object(), &observed(State::Whole), mode, &at(1)).unwrap().conditions;
        let (yes, no) = ("True".to_owned(), "False".to_owned());
        assert_eq!(is_safe(&told(ZoneMode::Labelled)), (yes, "LabelledZones".to_owned()));
        assert_eq!(is_safe(&told(ZoneMode::Simulated)), (no.clone(), "SimulatedZones".to_owned()));
        let descriptor = model::TableDescriptor::wish("music", model::KeySchema::simple("artist", model::KeyType::S));
        let object = Table::new("music", crate::wish::spec("trv", &descriptor));
        let observed = Observed::default();
        let told = Told { held: &held(&observed), hindrance: None, mode: ZoneMode::Simulated, now: &at(1) };
        assert_eq!(is_safe(&table(&object, None, &told).conditions), (no, "SimulatedZones".to_owned()));
    }

    #[test]
    fn that_a_table_could_not_lose_a_node_is_minor_and_that_it_is_not_served_is_not() {
        let descriptor = model::TableDescriptor::wish("music", model::KeySchema::simple("artist", model::KeyType::S));
        let given = model::TableDescriptor { id: TableId(4), status: model::TableStatus::Active, ..descriptor };
        let mut object = Table::new("music", crate::wish::spec("trv", &given));
        let told = |object: &Table, observed: &Observed| {
            let told = Told { held: &held(observed), hindrance: None, mode: ZoneMode::Labelled, now: &at(1) };
            table(object, Some(&given), &told)
        };
        object.status = Some(told(&object, &observed(State::Whole)));
        let weak = told(&object, &observed(State::StoodIn));
        assert!(weak != object.status.clone().unwrap() && is_minor(&object, &weak));
        let mut leaderless = observed(State::Whole);
        leaderless.groups.values_mut().flatten().for_each(|report| report.serving = false);
        assert!(!is_minor(&object, &told(&object, &leaderless)));
    }

    /// Node 2's Pod is to be deleted, and two of two routers are ready.
    fn told_of_a_step(paused: bool, steps: &[Step]) -> ClusterStatus {
        told_of_rollout(paused, steps, Rollout { wished: 6, left: 0 })
    }

    fn told_of_rollout(paused: bool, steps: &[Step], rollout: Rollout) -> ClusterStatus {
        let mut object: Cluster = serde_json::from_value(serde_json::json!({
            "apiVersion": "trivet.dev/v1alpha1", "kind": "Cluster", "metadata": { "name": "trv", "namespace": "here" },
            "spec": {
                "image": "trivet:1", "zones": [{ "name": "a" }, { "name": "b" }, { "name": "c" }],
                "storage": { "size": "2Gi" }, "credentialsSecret": { "name": "keys" }, "paused": paused,
            },
        }))
        .unwrap();
        object.metadata.generation = Some(3);
        let told = ClusterTold {
            seen: &crate::plan::tests::settled(),
            observed: &Observed::default(),
            steps,
            removals: Vec::new(),
            routers: 2,
            rollout,
            tables: 0,
            failure: None,
            certificates: None,
            now: &at(1),
        };
        cluster(&object, &told)
    }

    fn said(status: &ClusterStatus, kind: &str) -> (String, String) {
        let found = status.conditions.iter().find(|condition| condition.kind == kind).unwrap();
        (found.status.clone(), found.reason.clone())
    }

    #[test]
    fn a_paused_cluster_says_so_and_goes_nowhere() {
        let steps = [Step::DeletePod { name: "pod-2".to_owned(), why: "its spec has changed" }];
        let words = |status: &str, reason: &str| (status.to_owned(), reason.to_owned());
        let goes_on = told_of_a_step(false, &steps);
        assert_eq!(said(&goes_on, READY), words("True", "AllReady"));
        assert_eq!(said(&goes_on, PROGRESSING), words("True", "AllReady"));
        let paused = told_of_a_step(true, &steps);
        assert_eq!(said(&paused, READY), words("True", "Paused"));
        assert_eq!(said(&paused, PROGRESSING), words("False", "Paused"));
        assert_eq!((paused.nodes.as_str(), paused.observed_generation), ("3/3", 3));
        // What would stop it is told still, so that nobody ends a pause blindly.
        let blocked = [Step::Blocked { reason: "Unschedulable", message: "no room".to_owned() }];
        assert_eq!(said(&told_of_a_step(true, &blocked), BLOCKED), words("True", "Unschedulable"));
    }

    #[test]
    fn routers_that_do_not_run_as_they_are_wished_are_under_way() {
        let status = told_of_rollout(false, &[], Rollout { wished: 6, left: 2 });
        let of = |kind| status.conditions.iter().find(|condition| condition.kind == kind).unwrap();
        assert_eq!((of(READY).status.as_str(), of(PROGRESSING).status.as_str()), ("True", "True"));
        assert_eq!(of(PROGRESSING).reason, "RollingOut");
        let left = "0 node Pods and 2 of 6 Deployments of routers and MemDS do not run yet as they are wished";
        assert!(of(PROGRESSING).message.ends_with(left), "{}", of(PROGRESSING).message);
        let stuck = Step::Blocked { reason: "UnknownZone", message: "no such zone".to_owned() };
        let status = told_of_rollout(false, &[stuck], Rollout { wished: 6, left: 2 });
        assert_eq!(said(&status, PROGRESSING), ("True".to_owned(), "UnknownZone".to_owned()));
        assert_eq!(said(&told_of_a_step(false, &[]), PROGRESSING).0, "False");
    }

    #[test]
    fn whatever_hinders_is_told_and_holds_up_nothing_else() {
        let blocked = |reason, message: &str| Step::Blocked { reason, message: message.to_owned() };
        let gone = Step::DeletePod { name: "pod-2".to_owned(), why: "it has ended" };
        let two = [blocked("UnknownZone", "no such zone"), blocked("VolumeMissing", "no such volume")];
        let status = told_of_a_step(false, &two);
        let of = |kind| status.conditions.iter().find(|condition| condition.kind == kind).unwrap();
        assert_eq!(of(BLOCKED).reason, "UnknownZone");
        assert_eq!(of(BLOCKED).message, "no such zone. And VolumeMissing: no such volume");
        assert_eq!(of(PROGRESSING).status, "False");
        let [one, other] = two;
        assert_eq!(said(&told_of_a_step(false, &[one, other, gone]), PROGRESSING).0, "True");
    }

    #[test]
    fn the_largest_volume_is_told_exactly() {
        assert_eq!(told_of_a_step(false, &[]).largest_volume, Some("10".to_owned()));
    }
}
