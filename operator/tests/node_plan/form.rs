//! How a situation is written: what is not named is as it should be.
//!
//! ```yaml
//! about: One sentence.
//! zones: { a: 1, b: 1, c: 1 }   # how many nodes are wished in each
//! nodes:                        # by id; each is on the Kubernetes node of its number, in its zone
//!   1: { zone: a }
//!   2: { zone: b, pod: Blank, disk: 78 }
//! machines: { 2: Drained }      # Kubernetes nodes, by number
//! partitions: { 7: 1 2 3 +4 }   # the nodes of the voters, and of learners with a plus; the first that answers leads
//! steps: []                     # in the words of `told`
//! says: []                      # parts of the sentences of what blocks
//! ```

use std::collections::{BTreeMap, BTreeSet};

use control::cluster::Reached;
use control::plan::{Observed, ReplicaReport};
use model::units::Consumption;
use model::{
    KeyRange, NodeId, PartitionDescriptor, PartitionId, ReplicaDescriptor, ReplicaId, ReplicaRole, TableId, Zone,
};
use operator::observe;
use operator::plan::{self, Claim, Machine, Missing, Pod, Seen, Storage, Trouble, Volume};
use serde::Deserialize;
use wire::admin::health::State;
use wire::admin::{Health, NodeStatus};

/// Of every volume, unless something else is said.
const BYTES: u64 = 10;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Situation {
    pub about: String,
    #[serde(default = "one_in_each")]
    zones: BTreeMap<String, usize>,
    /// What Pods are wished with.
    #[serde(default = "first")]
    content: String,
    /// Of every volume, in bytes.
    #[serde(default = "bytes")]
    size: u64,
    /// Since volumes have had trouble.
    #[serde(default)]
    passed_s: i64,
    #[serde(default)]
    machines: BTreeMap<u64, Kubernetes>,
    #[serde(default)]
    fleets: BTreeSet<String>,
    #[serde(default)]
    nodes: BTreeMap<u64, Node>,
    #[serde(default)]
    partitions: BTreeMap<u64, String>,
    /// Nodes that have been asked to give away what they lead.
    #[serde(default)]
    handed_over: BTreeSet<u64>,
    pub steps: Vec<String>,
    #[serde(default)]
    pub says: Vec<String>,
}

/// A Kubernetes node.
#[derive(Clone, Debug, Deserialize, PartialEq)]
enum Kubernetes {
    /// Cordoned, and somebody asks for it to be emptied.
    Drained,
    /// Somebody asks for it to be emptied, and it takes Pods still.
    DrainedWithoutCordon,
    Away,
    Gone,
    /// Its label says so.
    Zone(String),
}

/// A storage node: its claim and its Pod.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Node {
    zone: String,
    #[serde(default)]
    pod: Process,
    /// What its Pod was made with.
    #[serde(default = "first")]
    content: String,
    /// No disk has been given its identity.
    #[serde(default)]
    unborn: bool,
    /// The number that its disk tells; that of its claim is ten times its id.
    disk: Option<u64>,
    #[serde(default)]
    lost: bool,
    #[serde(default)]
    surplus: bool,
    /// Somebody deletes its claim.
    #[serde(default)]
    deleting: bool,
    #[serde(default)]
    volume: Disk,
    /// Its volume's, in bytes.
    #[serde(default = "bytes")]
    size: u64,
}

/// Its Pod.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
enum Process {
    #[default]
    Serves,
    /// It answers, and its disk has no identity.
    Blank,
    None,
    /// No Kubernetes node takes it.
    Unplaced,
    /// It runs, and nobody hears of it yet.
    Starts,
    /// Its image is not there.
    NeverBegan,
    /// It has run, and ends whenever it begins.
    Crashes,
    Stops,
    /// It will not begin again.
    Ended,
}

/// Its volume.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
enum Disk {
    #[default]
    Works,
    /// It was its Kubernetes node's, and that is gone.
    Gone,
    Unmountable,
}

fn one_in_each() -> BTreeMap<String, usize> {
    ["a", "b", "c"].map(|zone| (zone.to_owned(), 1)).into()
}

fn first() -> String {
    "first".to_owned()
}

fn bytes() -> u64 {
    BYTES
}

fn machine_name(number: u64) -> String {
    format!("machine-{number}")
}

impl Situation {
    /// As one look has it.
    pub fn seen(&self) -> (Seen, Observed) {
        let observed = self.observed();
        let nodes = || self.nodes.iter().map(|(id, node)| (*id, node));
        let wish = |(name, nodes): (&String, &usize)| plan::Zone {
            name: name.clone(),
            nodes: *nodes,
            content: self.content.clone(),
        };
        let seen = Seen {
            now_s: self.passed_s,
            zones: self.zones.iter().map(wish).collect(),
            storage: Storage {
                size: self.size.to_string(),
                bytes: Some(self.size),
                lost_after_s: 900,
                ..Storage::default()
            },
            claims: nodes().map(|(id, node)| self.claim(id, node)).collect(),
            pods: nodes().filter_map(|(id, node)| self.pod(id, node)).collect(),
            machines: self.machines(),
            fleets: self.fleets.clone(),
            ..Seen::default()
        };
        let reached: Vec<_> = nodes().map(|(id, node)| self.answer(id, node)).collect();
        (observe::complete(seen, &reached, &observed), observed)
    }

    pub fn handed_over(&self) -> BTreeSet<NodeId> {
        self.handed_over.iter().copied().map(NodeId).collect()
    }

    fn machine(&self, number: u64) -> Option<&Kubernetes> {
        self.machines.get(&number)
    }

    /// Those that nodes are on, one for each zone that is wished, and those that are named.
    fn machines(&self) -> Vec<Machine> {
        let homes = self.nodes.iter().map(|(number, node)| (*number, node.zone.clone()));
        let spare = self.zones.keys().zip(101..).map(|(zone, number)| (number, zone.clone()));
        let there = homes.chain(spare).filter(|(number, _)| self.machine(*number) != Some(&Kubernetes::Gone));
        let made = there.map(|(number, home)| {
            let is = self.machine(number);
            let drain = matches!(is, Some(Kubernetes::Drained | Kubernetes::DrainedWithoutCordon));
            let zone = match is {
                Some(Kubernetes::Zone(renamed)) => renamed.clone(),
                _ => home,
            };
            Machine {
                name: machine_name(number),
                zone: Some(zone),
                ready: is != Some(&Kubernetes::Away),
                cordoned: is == Some(&Kubernetes::Drained),
                drain,
                out_of_service: false,
            }
        });
        made.collect()
    }

    fn claim(&self, id: u64, node: &Node) -> Claim {
        let what = match node.volume {
            Disk::Works => None,
            Disk::Gone => Some(Trouble::MachineGone(machine_name(id))),
            Disk::Unmountable => Some(Trouble::Unmountable("no such folder".to_owned())),
        };
        let placed = !matches!(node.pod, Process::None | Process::Unplaced);
        let drained = (self.machine(id) == Some(&Kubernetes::Drained) && placed).then(|| machine_name(id));
        let volume = Volume {
            bound: !node.unborn,
            class: "fast".to_owned(),
            class_grows: Some(true),
            asked_bytes: node.size,
            has_bytes: node.size,
            refusal: None,
        };
        Claim {
            node: NodeId(id),
            zone: node.zone.clone(),
            store: (!node.unborn).then_some(id * 10),
            lost: node.lost,
            surplus: node.surplus,
            deleting: node.deleting,
            drained,
            missing: what.map(|what| Missing { what, since_s: 0 }),
            volume,
        }
    }

    fn pod(&self, id: u64, node: &Node) -> Option<Pod> {
        let placed = node.pod != Process::Unplaced;
        let begun = placed && node.pod != Process::NeverBegan;
        let running = matches!(node.pod, Process::Serves | Process::Blank | Process::Starts | Process::Stops);
        let pod = Pod {
            node: NodeId(id),
            name: format!("pod-{id}"),
            machine: placed.then(|| machine_name(id)),
            address: begun.then(|| format!("address-{id}")),
            ready: self.serves(id),
            deleting: node.pod == Process::Stops,
            ended: node.pod == Process::Ended,
            running,
            begun,
            content: node.content.clone(),
            unschedulable: (!placed).then(|| "every Kubernetes node is full".to_owned()),
        };
        (node.pod != Process::None).then_some(pod)
    }

    fn works(&self, id: u64) -> bool {
        let machine = !matches!(self.machine(id), Some(Kubernetes::Away | Kubernetes::Gone));
        machine && self.nodes.get(&id).is_some_and(|node| node.volume == Disk::Works)
    }

    /// It answers with its identity.
    fn serves(&self, id: u64) -> bool {
        self.works(id) && self.nodes.get(&id).is_some_and(|node| node.pod == Process::Serves)
    }

    fn answer(&self, id: u64, node: &Node) -> Option<Reached> {
        let answers = self.works(id) && matches!(node.pod, Process::Serves | Process::Blank);
        let status = NodeStatus {
            node: if node.pod == Process::Serves { id } else { 0 },
            store: node.disk.unwrap_or(id * 10),
            zone: node.zone.clone(),
            ready: self.serves(id),
            ..NodeStatus::default()
        };
        answers.then(|| Reached { address: format!("address-{id}"), status, groups: None })
    }

    fn observed(&self) -> Observed {
        let may_have = self.nodes.iter().filter(|(_, node)| !node.lost && !node.unborn);
        let reached: BTreeSet<NodeId> = self.nodes.keys().filter(|id| self.serves(**id)).copied().map(NodeId).collect();
        let silent = may_have.filter(|(id, _)| !reached.contains(&NodeId(**id))).count();
        let groups = self.partitions.iter().map(|(id, members)| (PartitionId(*id), self.reports(*id, members)));
        Observed { complete: silent == 0, silent, groups: groups.collect(), reached, ..Observed::default() }
    }

    fn reports(&self, id: u64, members: &str) -> Vec<ReplicaReport> {
        let group = self.group(id, members);
        let up: Vec<NodeId> =
            group.replicas.iter().map(|replica| replica.node).filter(|node| self.serves(node.0)).collect();
        let voter = |node: &&NodeId| group.on_node(**node).is_some_and(|replica| replica.role == ReplicaRole::Voter);
        let leader = up.iter().find(voter).filter(|_| up.iter().filter(voter).count() >= 2);
        let state = if up.len() == group.replicas.len() { State::Whole } else { State::Missing };
        let report = |node: &NodeId| ReplicaReport {
            node: *node,
            descriptor: Some(group.clone().into()),
            table: None,
            serving: Some(node) == leader,
            health: (Some(node) == leader).then(|| Health { state: state.into(), ..Health::default() }),
            size: None,
            consumption: Consumption::default(),
        };
        up.iter().map(report).collect()
    }

    fn group(&self, id: u64, members: &str) -> PartitionDescriptor {
        let replica = |(word, id): (&str, u64)| {
            let node: u64 = word.trim_start_matches('+').parse().unwrap();
            ReplicaDescriptor {
                id: ReplicaId(id),
                node: NodeId(node),
                zone: Zone(self.nodes[&node].zone.clone()),
                role: if word.starts_with('+') { ReplicaRole::Learner } else { ReplicaRole::Voter },
                kind: model::ReplicaKind::Storage,
            }
        };
        let nobody = std::iter::empty::<(NodeId, Zone)>();
        let born = PartitionDescriptor::birth(PartitionId(id), TableId(1), KeyRange::ALL, nobody);
        PartitionDescriptor { replicas: members.split(' ').zip(1..).map(replica).collect(), ..born }
    }
}
