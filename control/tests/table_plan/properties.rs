//! Whatever a resource says and nodes tell, the plan destroys, makes and forgets nothing that it should not, and nothing stands still without
//! a reason.

use std::collections::{BTreeMap, BTreeSet};

use control::diverged::Confirmed;
use control::plan::{Observed, ReplicaReport, Step, plan};
use control::resources::{Snapshot, TableResource};
use model::units::Consumption;
use model::{
    KeyRange, KeySchema, KeyType, NodeId, PartitionDescriptor, PartitionId, TableDescriptor, TableId, TableStatus, Zone,
};
use proptest::prelude::*;

const NAME: &str = "music";
const NODES: [(u64, &str); 4] = [(11, "a"), (22, "b"), (33, "c"), (44, "a")];
const STATUSES: [TableStatus; 5] =
    [TableStatus::Creating, TableStatus::Active, TableStatus::Updating, TableStatus::Deleting, TableStatus::Retained];

/// Who has a replica, and what it holds; the first one leads, if any does.
type Group = (Vec<(u64, TableDescriptor)>, bool);

#[derive(Debug)]
struct Case {
    wished: Snapshot,
    observed: Observed,
}

fn table() -> impl Strategy<Value = TableDescriptor> {
    (prop::sample::select(STATUSES.to_vec()), 1u64..5).prop_map(|(status, version)| TableDescriptor {
        id: TableId(7),
        status,
        version,
        ..TableDescriptor::wish(NAME, KeySchema::simple("artist", KeyType::S))
    })
}

fn group() -> impl Strategy<Value = Group> {
    let replicas = prop::sample::subsequence(vec![11, 22, 33], 0..=3);
    let held = prop::collection::vec(table(), 3);
    (replicas, held, prop::bool::weighted(0.8))
        .prop_map(|(nodes, held, led)| (nodes.into_iter().zip(held).collect(), led))
}

fn born(id: u64) -> PartitionDescriptor {
    let places = NODES[..3].iter().map(|(node, zone)| (NodeId(*node), Zone((*zone).to_owned())));
    PartitionDescriptor::birth(PartitionId(id), TableId(7), KeyRange::ALL, places)
}

fn observed(groups: &[Group], silent: &[u64]) -> Observed {
    let zones: BTreeSet<&str> = NODES.iter().filter(|(node, _)| silent.contains(node)).map(|(_, zone)| *zone).collect();
    let reports = |id: u64, (replicas, led): &Group| {
        let report = |(rank, (node, held)): (usize, &(u64, TableDescriptor))| ReplicaReport {
            node: NodeId(*node),
            descriptor: Some(born(id).into()),
            table: Some(held.clone().into()),
            serving: rank == 0 && *led,
            health: None,
            size: None,
            consumption: Consumption::default(),
        };
        let answering = replicas.iter().enumerate().filter(|(_, (node, _))| !silent.contains(node));
        answering.map(report).collect::<Vec<_>>()
    };
    let groups = (1..).zip(groups).map(|(id, group)| (PartitionId(id), reports(id, group)));
    Observed {
        reached: NODES.iter().map(|(node, _)| NodeId(*node)).filter(|node| !silent.contains(&node.0)).collect(),
        complete: silent.is_empty(),
        silent: silent.len(),
        silent_zones: zones.len(),
        groups: groups.filter(|(_, reports)| !reports.is_empty()).collect(),
    }
}

fn case() -> impl Strategy<Value = Case> {
    let silent = prop_oneof![2 => Just(Vec::new()), 1 => prop::sample::subsequence(vec![11, 22, 33, 44], 0..=4)];
    let word = prop::option::weighted(0.3, prop::sample::select(vec![Confirmed::Nodes, Confirmed::Resource]));
    let resource = prop::option::weighted(0.9, (table(), 1u64..4));
    (resource, prop::collection::vec(group(), 0..4), silent, word, prop::bool::weighted(0.1)).prop_map(
        |(resource, groups, silent, word, paused)| {
            let resource = resource.map(|(table, partitions)| TableResource {
                table: TableDescriptor { initial_partitions: u32::try_from(partitions).unwrap(), ..table },
                partitions: (1..=partitions).map(born).collect(),
            });
            // Nobody ever holds another number than the resource.
            let initial = resource.as_ref().map_or(1, |resource| resource.table.initial_partitions);
            let alike =
                |(node, held): (u64, TableDescriptor)| (node, TableDescriptor { initial_partitions: initial, ..held });
            let groups: Vec<Group> =
                groups.into_iter().map(|(replicas, led)| (replicas.into_iter().map(alike).collect(), led)).collect();
            let name = || NAME.to_owned();
            let wished = Snapshot {
                revision: 1,
                paused: paused.then(name).into_iter().collect(),
                tables: resource.into_iter().map(|resource| (name(), resource)).collect(),
                confirmed: word.map(|word| (name(), word)).into_iter().collect(),
                ..Snapshot::default()
            };
            Case { wished, observed: observed(&groups, &silent) }
        },
    )
}

impl Case {
    fn status(&self) -> Option<TableStatus> {
        self.wished.tables.get(NAME).map(|resource| resource.table.status)
    }

    fn is_paused(&self) -> bool {
        self.wished.paused.contains(NAME)
    }

    fn report(&self, partition: PartitionId, node: NodeId) -> Option<&ReplicaReport> {
        self.observed.groups.get(&partition)?.iter().find(|report| report.node == node)
    }

    /// Whether the step may be taken at all.
    fn allows(&self, step: &Step) -> bool {
        let status = self.status();
        match step {
            Step::CreateGroup { node, partition, .. } => {
                let zones: BTreeSet<&Zone> = partition.replicas.iter().map(|replica| &replica.zone).collect();
                let is_new = self.observed.reached.contains(node) && self.report(partition.id, *node).is_none();
                status == Some(TableStatus::Creating) && is_new && zones.len() == partition.replicas.len()
            }
            Step::DestroyGroup { node, partition, .. } => {
                status == Some(TableStatus::Deleting) && self.report(*partition, *node).is_some()
            }
            Step::SetTable { leader, partition, table } => {
                let held = self.report(*partition, *leader).filter(|report| report.serving);
                held.and_then(|report| report.table.as_ref()).is_some_and(|held| held.version < table.version)
            }
            Step::RemoveTable { .. } => self.observed.complete && self.observed.groups.is_empty(),
            Step::WriteResource { resource: None, .. } => match status {
                Some(TableStatus::Deleting) => self.observed.complete && self.observed.groups.is_empty(),
                Some(TableStatus::Retained) => !self.observed.may_hide_a_table(),
                Some(TableStatus::Creating | TableStatus::Active | TableStatus::Updating) | None => false,
            },
            // What is made of nothing is adopted, and that only if nobody may know more.
            Step::WriteResource { resource: Some(next), .. } => {
                let before: BTreeMap<_, _> = self.wished.tables.iter().collect();
                let grows = before.values().all(|before| before.partitions.len() <= next.partitions.len());
                grows && (status.is_some() || self.observed.complete)
            }
            Step::PushTable(table) => table.name == NAME,
            Step::Blocked { reason, .. } => !reason.is_empty(),
        }
    }

    /// Nothing is away that anything could wait for.
    fn waits_for_nobody(&self) -> bool {
        let led = |reports: &Vec<ReplicaReport>| reports.iter().any(|report| report.serving);
        self.observed.complete && self.observed.groups.values().all(led)
    }

    fn is_as_wished(&self) -> bool {
        let Some(resource) = self.wished.tables.get(NAME) else {
            // Out of service: it returns when somebody wishes for it. Of two contents of one version either may be heard first.
            let held = || self.observed.groups.values().flatten().filter_map(|report| report.table.as_ref());
            let newest = held().map(|table| table.version).max();
            let mut newest = held().filter(|table| Some(table.version) == newest).peekable();
            return newest.peek().is_none() || newest.any(|table| table.status == TableStatus::Retained);
        };
        let mut leaders = self.observed.groups.values().flatten().filter(|report| report.serving);
        let version = resource.table.version;
        let told = leaders.all(|report| report.table.as_ref().is_some_and(|table| table.version == version));
        resource.table.status == TableStatus::Active && told && !self.observed.groups.is_empty()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, ..ProptestConfig::default() })]

    #[test]
    fn no_step_takes_what_is_needed_and_nothing_stands_still_without_a_reason(case in case()) {
        let steps = plan(&case.wished, &case.observed);
        for step in &steps {
            prop_assert!(case.allows(step), "{step:?}");
        }
        if case.is_paused() && case.status().is_some() {
            prop_assert_eq!(&steps, &[]);
        } else if steps.is_empty() && case.waits_for_nobody() {
            prop_assert!(case.is_as_wished());
        }
        let is_diverged = |step: &Step| matches!(step, Step::Blocked { reason, .. } if reason.starts_with("Diverged"));
        prop_assert!(steps.len() == 1 || !steps.iter().any(is_diverged), "a person decides first: {steps:?}");
    }
}
