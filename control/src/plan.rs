//! What is to be done next: a pure function of what is wished and what was observed.
//!
//! Every step says what it does and can be done twice. Where nothing can be done the step is [`Step::Blocked`], with the
//! reason. Nothing is ever decided from absence unless every node answered ([`Observed::complete`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::units::Consumption;
use model::{NodeId, PartitionDescriptor, PartitionId, Size, TableDescriptor, TableId, TableStatus};

use wire::admin::Health;

use crate::diverged::{self, Newest};
use crate::resources::{Snapshot, TableResource};

/// One replica as its node reports it. What several replicas tell alike is held once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaReport {
    pub node: NodeId,
    /// None before its first snapshot.
    pub descriptor: Option<Arc<PartitionDescriptor>>,
    pub table: Option<Arc<TableDescriptor>>,
    pub serving: bool,
    /// How whole its group is, as this replica sees it: the leader's word counts.
    pub health: Option<Health>,
    /// How much its range holds, from a leader that has counted.
    pub size: Option<Size>,
    /// By the clients that this replica answered.
    pub consumption: Consumption,
}

/// What the nodes said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Nodes that answered.
    pub reached: BTreeSet<NodeId>,
    /// Every node that is known answered: only then does absence mean anything.
    pub complete: bool,
    /// Nodes that are known and did not answer.
    pub silent: usize,
    /// Zones that those are in; each of them counts for itself where that is not known.
    pub silent_zones: usize,
    pub groups: BTreeMap<PartitionId, Vec<ReplicaReport>>,
}

/// The groups of each table, in the order of their ids.
pub type ByTable<'a> = BTreeMap<TableId, Vec<(PartitionId, &'a [ReplicaReport])>>;

impl Observed {
    /// Whether a table may be there of which nobody has told. Silent nodes of one zone hide none: a group has no two replicas in a zone, and
    /// those who have the others have answered.
    pub fn may_hide_a_table(&self) -> bool {
        self.reached.is_empty() || self.silent_zones > 1
    }

    /// Why one may, for people.
    pub fn silence(&self) -> String {
        match self.reached.is_empty() {
            true => "no node answers yet".to_owned(),
            false => format!("{} nodes of more than one zone do not answer", self.silent),
        }
    }

    /// Each table's groups: asked for once, whoever goes through all tables.
    pub fn by_table(&self) -> ByTable<'_> {
        let mut groups = ByTable::new();
        for (partition, reports) in &self.groups {
            for table in reports.iter().filter_map(|report| report.table.as_ref()) {
                let ours = groups.entry(table.id).or_default();
                if ours.last().is_none_or(|(last, _)| last != partition) {
                    ours.push((*partition, reports.as_slice()));
                }
            }
        }
        groups
    }
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Birth of one replica of a new group.
    CreateGroup {
        node: NodeId,
        partition: PartitionDescriptor,
        table: TableDescriptor,
    },
    /// Tell the group's leader the table's newest descriptor.
    SetTable {
        leader: NodeId,
        partition: PartitionId,
        table: TableDescriptor,
    },
    /// Tell MemDS a descriptor that no group carries yet.
    PushTable(TableDescriptor),
    /// Remove a replica of a table that is being deleted.
    DestroyGroup {
        node: NodeId,
        partition: PartitionId,
        table: TableDescriptor,
    },
    /// Nothing of the table is left: MemDS forgets it.
    RemoveTable {
        name: String,
        table: TableId,
    },
    /// Write (or remove) a resource, after all steps before it succeeded.
    WriteResource {
        name: String,
        resource: Option<TableResource>,
    },
    Blocked {
        table: String,
        reason: String,
    },
}

impl Step {
    /// Whose step it is: what fails is this table's alone.
    pub fn table(&self) -> &str {
        match self {
            Step::CreateGroup { table, .. }
            | Step::SetTable { table, .. }
            | Step::PushTable(table)
            | Step::DestroyGroup { table, .. } => &table.name,
            Step::RemoveTable { name, .. } | Step::WriteResource { name, .. } | Step::Blocked { table: name, .. } => {
                name
            }
        }
    }
}

/// What was observed, and which groups of it are one table's.
#[derive(Clone, Copy)]
struct Seen<'a> {
    observed: &'a Observed,
    groups: &'a [(PartitionId, &'a [ReplicaReport])],
}

/// All next steps of all tables.
pub fn plan(wished: &Snapshot, observed: &Observed) -> Vec<Step> {
    let (by_table, mut steps) = (observed.by_table(), Vec::new());
    for (name, resource) in wished.tables.iter().filter(|(name, _)| !wished.paused.contains(*name)) {
        let groups = by_table.get(&resource.table.id).map_or(&[][..], Vec::as_slice);
        let seen = Seen { observed, groups };
        if let Some(step) = plan_confirmation(wished, name, resource, seen) {
            steps.push(step);
            continue;
        }
        match resource.table.status {
            TableStatus::Creating => plan_creating(name, resource, observed, &mut steps),
            TableStatus::Active | TableStatus::Updating => plan_active(name, resource, seen, &mut steps),
            TableStatus::Deleting => plan_deleting(name, resource, seen, &mut steps),
            TableStatus::Retained => plan_retained(name, resource, seen, &mut steps),
        }
    }
    if observed.complete {
        plan_adoption(wished, observed, &mut steps);
    }
    steps
}

/// Whether nothing but waiting for the world could change the plan: no table is on its way somewhere.
pub fn is_settled(wished: &Snapshot) -> bool {
    wished.tables.values().all(|resource| resource.table.status == TableStatus::Active)
}

/// Nothing else is done with a table whose resource its groups do not follow: it waits for a person, or does what that one has said. None
/// where they do. What was said is done once no group may go unseen.
fn plan_confirmation(wished: &Snapshot, name: &str, resource: &TableResource, seen: Seen<'_>) -> Option<Step> {
    let newest = Newest::of(seen.groups.iter().flat_map(|(_, reports)| reports.iter()));
    let divergence = diverged::divergence(&resource.table, newest.as_ref())?;
    let confirmed = wished.confirmed.get(name).filter(|_| !seen.observed.may_hide_a_table());
    if let Some(table) = confirmed.and_then(|confirmed| divergence.settled(*confirmed)) {
        let settled = TableResource { table, partitions: resource.partitions.clone() };
        return Some(Step::WriteResource { name: name.to_owned(), resource: Some(settled) });
    }
    let reason = format!("Diverged: {divergence}; confirm in the resource which one is right, nodes or resource");
    Some(Step::Blocked { table: name.to_owned(), reason })
}

fn plan_creating(name: &str, resource: &TableResource, observed: &Observed, steps: &mut Vec<Step>) {
    steps.push(Step::PushTable(resource.table.clone()));
    let mut serving = 0;
    for partition in &resource.partitions {
        let reports = reports_of(observed, partition.id);
        serving += usize::from(reports.iter().any(|report| report.serving));
        // Its leader may have let one of them go, who stood still too long: such a node is never born into the group again.
        let newest = newest_descriptor(reports);
        for replica in &partition.replicas {
            let there = reports.iter().any(|report| report.node == replica.node);
            let is_wanted = newest.is_none_or(|group| group.on_node(replica.node).is_some());
            if observed.reached.contains(&replica.node) && !there && is_wanted {
                let (partition, table) = (partition.clone(), resource.table.clone());
                steps.push(Step::CreateGroup { node: replica.node, partition, table });
            }
        }
    }
    // A resource may be seen before all of its partitions are.
    let all = usize::try_from(resource.table.initial_partitions).unwrap_or(usize::MAX).max(1);
    if serving == resource.partitions.len() && serving >= all {
        steps.push(advance(name, resource, TableStatus::Active));
    }
}

fn plan_active(name: &str, resource: &TableResource, seen: Seen<'_>, steps: &mut Vec<Step>) {
    let mut behind = false;
    let found = !seen.groups.is_empty();
    for &(partition, reports) in seen.groups {
        behind |= plan_set_table(partition, reports, &resource.table, steps);
    }
    if !found && seen.observed.complete {
        let reason = "DataMissing: no node has a group of this table; it is never created empty";
        steps.push(Step::Blocked { table: name.to_owned(), reason: reason.to_owned() });
    } else if found && !behind && resource.table.status == TableStatus::Updating {
        steps.push(advance(name, resource, TableStatus::Active));
    }
    plan_partitions(name, resource, seen.groups, steps);
}

/// After a split a table has more partitions than were planned for it: the resource follows the nodes. Nothing is taken out of it
/// because it was not seen.
fn plan_partitions(
    name: &str,
    resource: &TableResource,
    groups: &[(PartitionId, &[ReplicaReport])],
    steps: &mut Vec<Step>,
) {
    let mut next = resource.clone();
    for (_, reports) in groups {
        let Some(newest) = newest_descriptor(reports) else { continue };
        match next.partitions.iter_mut().find(|known| known.id == newest.id) {
            Some(known) if known.epoch < newest.epoch && known.range != newest.range => {
                *known = PartitionDescriptor::clone(newest);
            }
            Some(_) => {}
            None => next.partitions.push(PartitionDescriptor::clone(newest)),
        }
    }
    if next != *resource {
        next.partitions.sort_by(|a, b| a.range.cmp(&b.range));
        steps.push(Step::WriteResource { name: name.to_owned(), resource: Some(next) });
    }
}

/// Whether the group has not applied the wished descriptor yet.
fn plan_set_table(
    partition: PartitionId,
    reports: &[ReplicaReport],
    wished: &TableDescriptor,
    steps: &mut Vec<Step>,
) -> bool {
    let Some(leader) = reports.iter().find(|report| report.serving) else {
        return true;
    };
    let behind = leader.table.as_ref().is_none_or(|table| table.version < wished.version);
    if behind {
        steps.push(Step::SetTable { leader: leader.node, partition, table: wished.clone() });
    }
    behind
}

fn plan_deleting(name: &str, resource: &TableResource, seen: Seen<'_>, steps: &mut Vec<Step>) {
    steps.push(Step::PushTable(resource.table.clone()));
    // One that has been sent nothing yet knows no table; its partition is one of this table's.
    let unnamed =
        |reports: &&[ReplicaReport]| !reports.is_empty() && reports.iter().all(|report| report.table.is_none());
    let partitions = resource.partitions.iter().map(|partition| partition.id);
    let strays = partitions.map(|id| (id, reports_of(seen.observed, id))).filter(|(_, reports)| unnamed(reports));
    let mut left = !seen.groups.is_empty();
    for (partition, reports) in strays {
        left = true;
        for report in reports {
            steps.push(Step::DestroyGroup { node: report.node, partition, table: resource.table.clone() });
        }
    }
    for &(partition, reports) in seen.groups {
        let told = |report: &ReplicaReport| report.table.as_ref().is_some_and(|t| t.status == TableStatus::Deleting);
        // A leader that is destroyed first could never tell its followers; a group without a leader has lost some already.
        let leads = reports.iter().any(|report| report.serving);
        if leads && !reports.iter().all(told) {
            plan_set_table(partition, reports, &resource.table, steps);
            continue;
        }
        if !leads && !reports.iter().any(told) && !seen.observed.complete {
            continue;
        }
        for report in reports {
            steps.push(Step::DestroyGroup { node: report.node, partition, table: resource.table.clone() });
        }
    }
    if !left && seen.observed.complete {
        steps.push(Step::RemoveTable { name: name.to_owned(), table: resource.table.id });
        steps.push(Step::WriteResource { name: name.to_owned(), resource: None });
    }
}

/// Its groups are told; then the resource goes, and what nodes have is all that is left.
fn plan_retained(name: &str, resource: &TableResource, seen: Seen<'_>, steps: &mut Vec<Step>) {
    let (found, mut behind) = (!seen.groups.is_empty(), false);
    for &(partition, reports) in seen.groups {
        behind |= plan_set_table(partition, reports, &resource.table, steps);
    }
    // All its groups are seen.
    let told = found && !behind && !seen.observed.may_hide_a_table();
    let missing = !found && seen.observed.complete;
    if told {
        steps.push(Step::PushTable(resource.table.clone()));
    } else if missing {
        steps.push(Step::RemoveTable { name: name.to_owned(), table: resource.table.id });
    }
    if told || missing {
        steps.push(Step::WriteResource { name: name.to_owned(), resource: None });
    }
}

/// Groups without their resource are adopted: nodes hold the truth.
fn plan_adoption(wished: &Snapshot, observed: &Observed, steps: &mut Vec<Step>) {
    let known: BTreeSet<TableId> = wished.tables.values().map(|resource| resource.table.id).collect();
    let mut orphans: BTreeMap<TableId, TableResource> = BTreeMap::new();
    for report in observed.groups.values().flatten() {
        let (Some(descriptor), Some(table)) = (&report.descriptor, &report.table) else { continue };
        if known.contains(&table.id) {
            continue;
        }
        let orphan = orphans
            .entry(table.id)
            .or_insert_with(|| TableResource { table: TableDescriptor::clone(table), partitions: Vec::new() });
        if table.version > orphan.table.version {
            orphan.table = TableDescriptor::clone(table);
        }
        match orphan.partitions.iter_mut().find(|known| known.id == descriptor.id) {
            Some(known) if known.epoch < descriptor.epoch => *known = PartitionDescriptor::clone(descriptor),
            Some(_) => {}
            None => orphan.partitions.push(PartitionDescriptor::clone(descriptor)),
        }
    }
    for (_, mut orphan) in orphans {
        let name = orphan.table.name.clone();
        if orphan.table.status == TableStatus::Retained {
            plan_return(wished, orphan, steps);
        } else if wished.tables.contains_key(&name) {
            let reason = format!("groups of another table of this name were found, id {}", orphan.table.id);
            steps.push(Step::Blocked { table: name, reason });
        } else if let Some(owner) = wished.taken.get(&name) {
            let reason = format!(
                "NameTaken: groups of a table of this name were found, id {}, and {owner} has it",
                orphan.table.id
            );
            steps.push(Step::Blocked { table: name, reason });
        } else {
            orphan.partitions.sort_by(|a, b| a.range.cmp(&b.range));
            steps.push(Step::WriteResource { name, resource: Some(orphan) });
        }
    }
}

/// A retained table returns when somebody wishes for one of its name and its key.
fn plan_return(wished: &Snapshot, mut retained: TableResource, steps: &mut Vec<Step>) {
    let name = retained.table.name.clone();
    let Some(schema) = wished.unborn.get(&name) else { return };
    if *schema != retained.table.schema {
        let reason = "Retained: nodes keep the items of an older table of this name, which has another key; wish for that key, or delete the older \
                      table first";
        steps.push(Step::Blocked { table: name, reason: reason.to_owned() });
        return;
    }
    retained.partitions.sort_by(|a, b| a.range.cmp(&b.range));
    retained.table.status = TableStatus::Updating;
    retained.table.version += 1;
    // MemDS hears of it from its groups: whoever has wished for it may have taken that back.
    steps.push(Step::WriteResource { name, resource: Some(retained) });
}

fn advance(name: &str, resource: &TableResource, status: TableStatus) -> Step {
    let mut next = resource.clone();
    next.table.status = status;
    next.table.version += 1;
    Step::WriteResource { name: name.to_owned(), resource: Some(next) }
}

/// As the replica tells it that has heard most; none where none has heard anything.
pub fn newest_descriptor(reports: &[ReplicaReport]) -> Option<&PartitionDescriptor> {
    reports.iter().filter_map(|report| report.descriptor.as_deref()).max_by_key(|descriptor| descriptor.epoch)
}

fn reports_of(observed: &Observed, partition: PartitionId) -> &[ReplicaReport] {
    observed.groups.get(&partition).map_or(&[], Vec::as_slice)
}

#[cfg(test)]
pub(crate) mod tests {
    use model::{KeyRange, KeySchema, KeyType, Zone};

    use super::*;
    use crate::diverged::Confirmed;

    pub(crate) fn table(name: &str) -> TableDescriptor {
        let schema = KeySchema::simple("artist", KeyType::S).with_sort("song", KeyType::S);
        TableDescriptor {
            id: TableId(7),
            version: 1,
            hash_seed: 99,
            created_ms: 1_700_000_000_000,
            initial_partitions: 1,
            ..TableDescriptor::wish(name, schema)
        }
    }

    pub(crate) fn partition(id: u64, table: u64) -> PartitionDescriptor {
        let places = [(11, "a"), (22, "b"), (33, "c")].map(|(node, zone)| (NodeId(node), Zone(zone.into())));
        PartitionDescriptor::birth(PartitionId(id), TableId(table), KeyRange::ALL, places)
    }

    fn wished(status: TableStatus, version: u64) -> Snapshot {
        let table = TableDescriptor { status, version, ..table("music") };
        let resource = TableResource { table, partitions: vec![partition(3, 7)] };
        Snapshot { revision: 1, tables: BTreeMap::from([("music".to_owned(), resource)]), ..Snapshot::default() }
    }

    /// All three nodes answered; those in `having` hold the group with that table descriptor, the first of them leads.
    fn observed(having: &[u64], status: TableStatus, version: u64) -> Observed {
        let reports = having.iter().map(|node| ReplicaReport {
            node: NodeId(*node),
            descriptor: Some(partition(3, 7).into()),
            table: Some(TableDescriptor { status, version, ..table("music") }.into()),
            serving: *node == having[0],
            health: None,
            size: None,
            consumption: Consumption::default(),
        });
        let groups = if having.is_empty() {
            BTreeMap::new()
        } else {
            BTreeMap::from([(PartitionId(3), reports.collect::<Vec<_>>())])
        };
        Observed { reached: [11, 22, 33].map(NodeId).into(), complete: true, groups, ..Observed::default() }
    }

    fn summary(steps: &[Step]) -> Vec<String> {
        let line = |step: &Step| match step {
            Step::CreateGroup { node, .. } => format!("create on {}", node.0),
            Step::SetTable { leader, table, .. } => format!("set v{} at {}", table.version, leader.0),
            Step::PushTable(table) => format!("push v{}", table.version),
            Step::DestroyGroup { node, .. } => format!("destroy on {}", node.0),
            Step::RemoveTable { .. } => "remove".to_owned(),
            Step::WriteResource { resource: Some(resource), .. } => {
                format!("write {:?} v{}", resource.table.status, resource.table.version)
            }
            Step::WriteResource { resource: None, .. } => "write none".to_owned(),
            Step::Blocked { reason, .. } => format!("blocked: {}", reason.split(':').next().unwrap()),
        };
        steps.iter().map(line).collect()
    }

    #[test]
    fn a_new_table_is_born_on_its_three_nodes_and_then_active() {
        let wish = wished(TableStatus::Creating, 1);
        let none = observed(&[], TableStatus::Creating, 1);
        assert_eq!(summary(&plan(&wish, &none)), ["push v1", "create on 11", "create on 22", "create on 33"]);
        let two = observed(&[22, 33], TableStatus::Creating, 1);
        assert_eq!(summary(&plan(&wish, &two)), ["push v1", "create on 11", "write Active v2"]);
    }

    #[test]
    fn a_table_of_which_not_every_partition_is_seen_is_not_raised() {
        let mut wish = wished(TableStatus::Creating, 1);
        wish.tables.get_mut("music").unwrap().partitions.clear();
        assert_eq!(summary(&plan(&wish, &observed(&[], TableStatus::Creating, 1))), ["push v1"]);
        let mut wish = wished(TableStatus::Creating, 1);
        wish.tables.get_mut("music").unwrap().table.initial_partitions = 2;
        let mut one = observed(&[11, 22, 33], TableStatus::Creating, 1);
        let table = &wish.tables["music"].table;
        one.groups.values_mut().flatten().for_each(|report| report.table = Some(table.clone().into()));
        assert_eq!(summary(&plan(&wish, &one)), ["push v1"]);
    }

    #[test]
    fn a_node_that_did_not_answer_is_not_asked() {
        let mut seen = observed(&[], TableStatus::Creating, 1);
        seen.reached.remove(&NodeId(22));
        seen.complete = false;
        let steps = plan(&wished(TableStatus::Creating, 1), &seen);
        assert_eq!(summary(&steps), ["push v1", "create on 11", "create on 33"]);
    }

    #[test]
    fn nobody_is_born_into_a_group_that_has_let_it_go() {
        let wish = wished(TableStatus::Creating, 1);
        let mut moved = partition(3, 7);
        moved.replicas[2].node = NodeId(44);
        moved.epoch += 2;
        let mut seen = observed(&[11, 22], TableStatus::Creating, 1);
        seen.groups.get_mut(&PartitionId(3)).unwrap()[0].descriptor = Some(moved.into());
        assert_eq!(summary(&plan(&wish, &seen)), ["push v1", "write Active v2"]);
    }

    #[test]
    fn an_update_reaches_every_group_before_the_table_is_active_again() {
        let wish = wished(TableStatus::Updating, 3);
        let before = observed(&[22, 11, 33], TableStatus::Active, 2);
        assert_eq!(summary(&plan(&wish, &before)), ["set v3 at 22"]);
        let after = observed(&[22, 11, 33], TableStatus::Updating, 3);
        assert_eq!(summary(&plan(&wish, &after)), ["write Active v4"]);
        assert!(plan(&wished(TableStatus::Active, 4), &observed(&[22], TableStatus::Active, 4)).is_empty());
    }

    #[test]
    fn the_halves_of_a_split_are_written_down_and_nothing_is_forgotten() {
        let wish = wished(TableStatus::Active, 2);
        let mut seen = observed(&[22, 11, 33], TableStatus::Active, 2);
        let cut = bytes::Bytes::from("m");
        let (mut left, mut right) = (partition(3, 7), partition(2, 7));
        (left.epoch, left.range.end) = (2, Some(cut.clone()));
        (right.epoch, right.range.start) = (2, cut);
        // One follower has not applied it yet.
        for report in &mut seen.groups.get_mut(&PartitionId(3)).unwrap()[..2] {
            report.descriptor = Some(left.clone().into());
        }
        let table = Some(TableDescriptor { status: TableStatus::Active, version: 2, ..table("music") }.into());
        let (descriptor, serving) = (Some(right.clone().into()), true);
        let child = ReplicaReport {
            node: NodeId(22),
            descriptor,
            table,
            serving,
            health: None,
            size: None,
            consumption: Consumption::default(),
        };
        seen.groups.insert(PartitionId(2), vec![child]);
        let steps = plan(&wish, &seen);
        let [Step::WriteResource { resource: Some(next), .. }] = &steps[..] else { panic!("{steps:?}") };
        assert_eq!(next.partitions, [left, right]);
        let after = Snapshot {
            revision: 2,
            tables: BTreeMap::from([("music".to_owned(), next.clone())]),
            ..Snapshot::default()
        };
        assert!(plan(&after, &seen).is_empty());
        seen.groups.remove(&PartitionId(2));
        seen.complete = false;
        assert!(plan(&after, &seen).is_empty(), "what is not seen stays");
    }

    #[test]
    fn a_child_that_was_born_with_an_older_descriptor_is_told_the_newer() {
        let wish = wished(TableStatus::Deleting, 3);
        let mut seen = observed(&[22, 11, 33], TableStatus::Deleting, 3);
        let older = observed(&[33, 11, 22], TableStatus::Active, 2).groups.remove(&PartitionId(3));
        let mut child = older.unwrap();
        child.iter_mut().for_each(|report| report.descriptor = Some(partition(4, 7).into()));
        seen.groups.insert(PartitionId(4), child);
        let steps = summary(&plan(&wish, &seen));
        assert_eq!(steps, ["push v3", "destroy on 22", "destroy on 11", "destroy on 33", "set v3 at 33"]);
    }

    const ALL: [TableStatus; 5] = [
        TableStatus::Creating,
        TableStatus::Active,
        TableStatus::Updating,
        TableStatus::Deleting,
        TableStatus::Retained,
    ];

    #[test]
    fn a_resource_older_than_its_groups_is_diverged_and_nothing_is_done() {
        for status in ALL {
            let steps = plan(&wished(status, 2), &observed(&[11, 22, 33], TableStatus::Active, 5));
            assert_eq!(summary(&steps), ["blocked: Diverged"], "{status:?}");
        }
    }

    /// The backup was made before the protection was set; the first change after it has the number that the protection had.
    #[test]
    fn a_resource_with_another_content_than_its_groups_of_that_version_is_diverged() {
        let mut seen = observed(&[11, 22, 33], TableStatus::Active, 3);
        for report in seen.groups.get_mut(&PartitionId(3)).unwrap() {
            let held = TableDescriptor::clone(report.table.as_ref().unwrap());
            report.table = Some(TableDescriptor { deletion_protection: true, ..held }.into());
        }
        for status in ALL {
            let steps = plan(&wished(status, 3), &seen);
            assert_eq!(summary(&steps), ["blocked: Diverged"], "{status:?}");
        }
    }

    #[test]
    fn what_a_person_has_confirmed_is_written_and_told() {
        let says = |confirmed| Snapshot {
            confirmed: BTreeMap::from([("music".to_owned(), confirmed)]),
            ..wished(TableStatus::Active, 2)
        };
        let seen = observed(&[11, 22, 33], TableStatus::Active, 5);
        assert_eq!(summary(&plan(&says(Confirmed::Nodes), &seen)), ["write Active v5"]);
        assert_eq!(summary(&plan(&says(Confirmed::Resource), &seen)), ["write Updating v6"]);
        // Then it is like any other change.
        assert_eq!(summary(&plan(&wished(TableStatus::Updating, 6), &seen)), ["set v6 at 11"]);
        // Silent nodes may hold something newer still.
        let unsure = Observed { silent: 2, silent_zones: 2, complete: false, ..seen };
        assert_eq!(summary(&plan(&says(Confirmed::Nodes), &unsure)), ["blocked: Diverged"]);
        // It means nothing where resource and groups are in step.
        let in_step = observed(&[11, 22, 33], TableStatus::Active, 2);
        assert!(plan(&says(Confirmed::Resource), &in_step).is_empty());
        let deleting = Snapshot { confirmed: says(Confirmed::Resource).confirmed, ..wished(TableStatus::Deleting, 3) };
        let held = observed(&[22, 11, 33], TableStatus::Active, 5);
        assert_eq!(summary(&plan(&deleting, &held)), ["write Deleting v6"]);
    }

    #[test]
    fn a_table_without_groups_is_never_created_empty() {
        let mut seen = observed(&[], TableStatus::Active, 2);
        assert_eq!(summary(&plan(&wished(TableStatus::Active, 2), &seen)), ["blocked: DataMissing"]);
        seen.complete = false;
        assert!(plan(&wished(TableStatus::Active, 2), &seen).is_empty());
    }

    #[test]
    fn deletion_is_told_to_all_replicas_before_the_first_is_destroyed() {
        let wish = wished(TableStatus::Deleting, 3);
        let before = observed(&[22, 11, 33], TableStatus::Active, 2);
        assert_eq!(summary(&plan(&wish, &before)), ["push v3", "set v3 at 22"]);
        let told = observed(&[22, 11, 33], TableStatus::Deleting, 3);
        let destroy = ["push v3", "destroy on 22", "destroy on 11", "destroy on 33"];
        assert_eq!(summary(&plan(&wish, &told)), destroy);
        let gone = observed(&[], TableStatus::Deleting, 3);
        assert_eq!(summary(&plan(&wish, &gone)), ["push v3", "remove", "write none"]);
        // A learner that was away when the others went has heard of no table: it goes before the resource does.
        let mut empty = observed(&[33], TableStatus::Deleting, 3);
        let learner = &mut empty.groups.get_mut(&PartitionId(3)).unwrap()[0];
        (learner.table, learner.descriptor, learner.serving) = (None, None, false);
        assert_eq!(summary(&plan(&wish, &empty)), ["push v3", "destroy on 33"]);
    }

    #[test]
    fn a_table_goes_out_of_service_before_its_resource_goes_and_is_not_adopted() {
        let wish = wished(TableStatus::Retained, 3);
        assert_eq!(summary(&plan(&wish, &observed(&[22, 11, 33], TableStatus::Active, 2))), ["set v3 at 22"]);
        let mut told = observed(&[22, 11, 33], TableStatus::Retained, 3);
        assert_eq!(summary(&plan(&wish, &told)), ["push v3", "write none"]);
        assert!(plan(&Snapshot::default(), &told).is_empty());
        // Those of one zone have no group that nobody else has told of.
        (told.silent, told.silent_zones, told.complete) = (2, 1, false);
        assert_eq!(summary(&plan(&wish, &told)), ["push v3", "write none"]);
        told.silent_zones = 2;
        assert!(plan(&wish, &told).is_empty());
        let mut leaderless = observed(&[22, 11, 33], TableStatus::Active, 2);
        leaderless.groups.get_mut(&PartitionId(3)).unwrap()[0].serving = false;
        assert!(plan(&wish, &leaderless).is_empty());
        // Of a table whose items are missing nothing is retained.
        assert_eq!(summary(&plan(&wish, &observed(&[], TableStatus::Active, 2))), ["remove", "write none"]);
    }

    #[test]
    fn a_retained_table_returns_to_who_wishes_for_its_name_and_its_key() {
        let told = observed(&[22, 11, 33], TableStatus::Retained, 3);
        let wish = |schema| Snapshot { unborn: BTreeMap::from([("music".to_owned(), schema)]), ..Snapshot::default() };
        let same = wish(table("music").schema);
        assert_eq!(summary(&plan(&same, &told)), ["write Updating v4"]);
        assert_eq!(summary(&plan(&wish(KeySchema::simple("song", KeyType::S)), &told)), ["blocked: Retained"]);
        let unsure = Observed { complete: false, silent: 1, ..told };
        assert!(plan(&same, &unsure).is_empty());
    }

    #[test]
    fn groups_of_a_table_whose_name_another_has_are_not_adopted() {
        let taken = BTreeMap::from([("music".to_owned(), "Cluster other".to_owned())]);
        let seen = observed(&[11, 22, 33], TableStatus::Active, 5);
        assert_eq!(summary(&plan(&Snapshot { taken, ..Snapshot::default() }, &seen)), ["blocked: NameTaken"]);
    }

    #[test]
    fn groups_without_a_resource_are_adopted_once_every_node_answered() {
        let mut seen = observed(&[11, 22, 33], TableStatus::Active, 5);
        assert_eq!(summary(&plan(&Snapshot::default(), &seen)), ["write Active v5"]);
        seen.complete = false;
        assert!(plan(&Snapshot::default(), &seen).is_empty());
    }
}
