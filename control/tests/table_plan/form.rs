//! How a situation is written, and a plan is told.
//!
//! ```yaml
//! about: One sentence.
//! nodes: { 11: a, 22: b, 33: c }    # those that are known, and their zones
//! silent: [22]                      # of them, those that do not answer
//! resources:                        # tables by name
//!   music: { status: Active, version: 2, partitions: { 3: 11 22 33 } }
//! unborn: { music: artist }         # tables that are wished for and have no id yet, and their keys
//! taken: { music: Cluster other }   # names that others have
//! groups:                           # by partition: what its replicas hold, and where; the first one leads
//!   3: { status: Active, version: 2, on: 22 11 33 }    # members: 22 11 33 44, where one has no replica yet
//! steps: []
//! says: []                          # parts of the sentences of what blocks
//! ```

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use control::diverged::Confirmed;
use control::plan::{Observed, ReplicaReport, Step};
use control::resources::{Snapshot, TableResource};
use model::units::Consumption;
use model::{
    KeyRange, KeySchema, KeyType, NodeId, PartitionDescriptor, PartitionId, TableDescriptor, TableId, TableStatus, Zone,
};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Situation {
    pub about: String,
    #[serde(default = "three_nodes")]
    nodes: BTreeMap<u64, String>,
    #[serde(default)]
    silent: BTreeSet<u64>,
    #[serde(default)]
    resources: BTreeMap<String, Resource>,
    #[serde(default)]
    unborn: BTreeMap<String, String>,
    #[serde(default)]
    taken: BTreeMap<String, String>,
    #[serde(default)]
    groups: BTreeMap<u64, Group>,
    pub steps: Vec<String>,
    #[serde(default)]
    pub says: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Resource {
    #[serde(default = "seven")]
    id: u64,
    status: Status,
    version: u64,
    /// The nodes of each.
    partitions: BTreeMap<u64, String>,
    /// How many it begins with, where not all of them are there yet.
    initial: Option<u32>,
    #[serde(default)]
    paused: bool,
    #[serde(default)]
    protected: bool,
    confirmed: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    #[serde(default = "music")]
    table: String,
    #[serde(default = "seven")]
    id: u64,
    status: Status,
    version: u64,
    #[serde(default)]
    protected: bool,
    on: String,
    /// Its members, where some of them have no replica yet.
    members: Option<String>,
    /// Nobody leads it.
    #[serde(default)]
    leaderless: bool,
    /// Where it begins and ends since a cut, by letters; it has been cut if either is given.
    #[serde(default)]
    from: String,
    #[serde(default)]
    to: String,
}

#[derive(Clone, Copy, Debug, Deserialize)]
enum Status {
    Creating,
    Active,
    Updating,
    Deleting,
    Retained,
}

fn three_nodes() -> BTreeMap<u64, String> {
    [(11, "a"), (22, "b"), (33, "c")].map(|(node, zone)| (node, zone.to_owned())).into()
}

fn music() -> String {
    "music".to_owned()
}

fn seven() -> u64 {
    7
}

impl Status {
    fn status(self) -> TableStatus {
        match self {
            Status::Creating => TableStatus::Creating,
            Status::Active => TableStatus::Active,
            Status::Updating => TableStatus::Updating,
            Status::Deleting => TableStatus::Deleting,
            Status::Retained => TableStatus::Retained,
        }
    }
}

fn members(text: &str) -> impl Iterator<Item = u64> {
    text.split(' ').map(|node| node.parse().unwrap())
}

fn table(name: &str, id: u64) -> TableDescriptor {
    let wish = TableDescriptor::wish(name, KeySchema::simple("artist", KeyType::S));
    TableDescriptor { id: TableId(id), initial_partitions: 1, ..wish }
}

impl Situation {
    pub fn wished(&self) -> Snapshot {
        let of = |is: fn(&Resource) -> bool| {
            self.resources.iter().filter(move |(_, resource)| is(resource)).map(|(name, _)| name.clone())
        };
        let key = |(name, key): (&String, &String)| (name.clone(), KeySchema::simple(key, KeyType::S));
        let confirmed = self.resources.iter().filter_map(|(name, resource)| {
            Some((name.clone(), Confirmed::read(resource.confirmed.as_ref()?).expect("a word that can be confirmed")))
        });
        Snapshot {
            revision: 1,
            paused: of(|resource| resource.paused).collect(),
            unborn: self.unborn.iter().map(key).collect(),
            tables: self
                .resources
                .iter()
                .map(|(name, resource)| (name.clone(), self.resource(name, resource)))
                .collect(),
            taken: self.taken.clone(),
            confirmed: confirmed.collect(),
            ..Snapshot::default()
        }
    }

    fn resource(&self, name: &str, resource: &Resource) -> TableResource {
        let partition = |(id, nodes): (&u64, &String)| self.born(*id, resource.id, nodes);
        let count = u32::try_from(resource.partitions.len()).unwrap();
        let table = TableDescriptor {
            status: resource.status.status(),
            version: resource.version,
            deletion_protection: resource.protected,
            initial_partitions: resource.initial.unwrap_or(count),
            ..table(name, resource.id)
        };
        TableResource { table, partitions: resource.partitions.iter().map(partition).collect() }
    }

    fn born(&self, id: u64, table: u64, nodes: &str) -> PartitionDescriptor {
        let places = members(nodes).map(|node| (NodeId(node), Zone(self.nodes[&node].clone())));
        PartitionDescriptor::birth(PartitionId(id), TableId(table), KeyRange::ALL, places)
    }

    pub fn observed(&self) -> Observed {
        let zones: BTreeSet<&String> = self.silent.iter().map(|node| &self.nodes[node]).collect();
        let groups = self.groups.iter().map(|(id, group)| (PartitionId(*id), self.reports(*id, group)));
        Observed {
            reached: self.nodes.keys().filter(|node| !self.silent.contains(node)).copied().map(NodeId).collect(),
            complete: self.silent.is_empty(),
            silent: self.silent.len(),
            silent_zones: zones.len(),
            groups: groups.filter(|(_, reports)| !reports.is_empty()).collect(),
        }
    }

    fn reports(&self, id: u64, group: &Group) -> Vec<ReplicaReport> {
        let mut descriptor = self.born(id, group.id, group.members.as_ref().unwrap_or(&group.on));
        if !(group.from.is_empty() && group.to.is_empty()) {
            let end = (!group.to.is_empty()).then(|| Bytes::from(group.to.clone()));
            descriptor.range = KeyRange { start: Bytes::from(group.from.clone()), end };
            descriptor.epoch += 1;
        }
        // A table that was born with one partition and cut has still been born with one.
        let initial = self
            .resources
            .get(&group.table)
            .map_or(1, |resource| resource.initial.unwrap_or(u32::try_from(resource.partitions.len()).unwrap()));
        let table = TableDescriptor {
            status: group.status.status(),
            version: group.version,
            deletion_protection: group.protected,
            initial_partitions: initial,
            ..table(&group.table, group.id)
        };
        let leader = members(&group.on).next().filter(|_| !group.leaderless);
        let answering = members(&group.on).filter(|node| !self.silent.contains(node));
        let report = |node| ReplicaReport {
            node: NodeId(node),
            descriptor: Some(descriptor.clone().into()),
            table: Some(table.clone().into()),
            serving: Some(node) == leader,
            health: None,
            size: None,
            consumption: Consumption::default(),
        };
        answering.map(report).collect()
    }
}

/// A step in words.
pub fn told(step: &Step) -> String {
    let of = |table: &TableDescriptor| format!("{:?} {}", table.status, table.version);
    match step {
        Step::CreateGroup { node, partition, .. } => format!("create partition {} on node {}", partition.id.0, node.0),
        Step::SetTable { leader, partition, table } => {
            format!("tell partition {} on node {}: {}", partition.0, leader.0, of(table))
        }
        Step::PushTable(table) => format!("tell MemDS: {}", of(table)),
        Step::DestroyGroup { node, partition, .. } => format!("destroy partition {} on node {}", partition.0, node.0),
        Step::RemoveTable { name, .. } => format!("let MemDS forget {name}"),
        Step::WriteResource { name, resource: Some(TableResource { table, partitions }) } => {
            let ids: Vec<String> = partitions.iter().map(|partition| partition.id.0.to_string()).collect();
            format!("write {name}: {}, partitions {}", of(table), ids.join(" "))
        }
        Step::WriteResource { name, resource: None } => format!("remove the resource of {name}"),
        Step::Blocked { table, reason } => {
            format!("blocked: {table}, {}", reason.split_once(':').map_or(reason.as_str(), |(word, _)| word))
        }
    }
}
