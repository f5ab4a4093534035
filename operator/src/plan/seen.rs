//! All that one look has seen of a cluster, in the words of `plan`.

use std::collections::{BTreeMap, BTreeSet};

use model::{NodeId, PartitionId};

/// What is wished of one zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    pub name: String,
    pub nodes: usize,
    /// The content of its nodes' Pods as the spec has it now.
    pub content: String,
}

/// A node's claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub node: NodeId,
    pub zone: String,
    /// The number of the disk that has its identity; none before it was given.
    pub store: Option<u64>,
    /// Its disk does not come back: another node has taken its place.
    pub lost: bool,
    /// There are more than are wished, and this one goes.
    pub surplus: bool,
    /// Somebody deletes it.
    pub deleting: bool,
    /// The Kubernetes node that it is on is to be emptied.
    pub drained: Option<String>,
    /// Its volume cannot be used.
    pub missing: Option<Missing>,
    pub volume: Volume,
}

/// Why a node goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    VolumeLost,
    ZoneRemoved,
    ClaimDeleted,
    Drained,
    ScaledIn,
}

/// A volume that cannot be used, and since when that has been seen without a break.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    pub what: Trouble,
    pub since_s: i64,
}

/// What keeps a volume from being used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Kubernetes has no volume for the claim any more.
    ClaimLost,
    /// The volume is this Kubernetes node's, and that is gone.
    MachineGone(String),
    /// Kubernetes cannot mount it, in its words.
    Unmountable(String),
}

/// How large a claim's volume is, and whether it may grow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// It has one.
    pub bound: bool,
    pub class: String,
    /// None where there is no such class.
    pub class_grows: Option<bool>,
    pub asked_bytes: u64,
    pub has_bytes: u64,
    /// Why it did not grow, in Kubernetes' words.
    pub refusal: Option<String>,
}

/// A node's Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    pub node: NodeId,
    pub name: String,
    /// The Kubernetes node that it was placed on.
    pub machine: Option<String>,
    pub address: Option<String>,
    pub ready: bool,
    pub deleting: bool,
    /// It has ended and will not begin again: evicted, or out of its Kubernetes node's resources.
    pub ended: bool,
    /// Its process runs, or nobody knows that it does not.
    pub running: bool,
    /// Its process has run, at some time.
    pub begun: bool,
    pub content: String,
    /// Why no Kubernetes node takes it.
    pub unschedulable: Option<String>,
}

/// Which of a cluster's processes. In the order in which they are told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Node,
    MemDs,
    Router,
}

/// A Pod that does not come to run its process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hanging {
    pub pod: String,
    pub part: Part,
    pub zone: String,
    pub why: Hitch,
}

/// Why, in Kubernetes' words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hitch {
    /// No Kubernetes node takes it.
    Unplaced(String),
    Image {
        reason: String,
        message: String,
    },
    /// A Secret that it mounts.
    Secret(String),
    /// Its container is not begun.
    Refused {
        reason: String,
        message: String,
    },
    /// Its process ends again and again.
    Crashes {
        times: i32,
        /// Of the last time.
        exit_code: i32,
        reason: String,
        message: String,
    },
}

/// A Kubernetes node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    pub name: String,
    /// The value of its label.
    pub zone: Option<String>,
    pub ready: bool,
    /// It takes no new Pods.
    pub cordoned: bool,
    /// Somebody asks for it to be emptied.
    pub drain: bool,
    /// Somebody says that nothing runs on it any more.
    pub out_of_service: bool,
}

/// What a node says of its disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub address: String,
    /// 0 while its disk is blank.
    pub node: NodeId,
    pub store: u64,
    pub ready: bool,
}

/// What is wished of every node's volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Storage {
    /// As the spec has it.
    pub size: String,
    /// The same; none where it is no whole number of bytes.
    pub bytes: Option<u64>,
    /// How long a volume that cannot be used is waited for.
    pub lost_after_s: i64,
    /// As the spec has it.
    pub class: Option<String>,
    /// All classes that there are.
    pub classes: BTreeSet<String>,
}

/// All that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Seconds since 1970.
    pub now_s: i64,
    pub zones: Vec<Zone>,
    /// Zones are names only, and no Kubernetes node carries them.
    pub simulated: bool,
    pub storage: Storage,
    pub claims: Vec<Claim>,
    pub pods: Vec<Pod>,
    /// Of all parts, in order.
    pub hanging: Vec<Hanging>,
    pub machines: Vec<Machine>,
    /// Zones that have routers or MemDS servers.
    pub fleets: BTreeSet<String>,
    pub answers: Vec<Answer>,
    /// How many groups name the node as a member, or have a replica on it, as far as nodes answered; absent for none.
    pub replicas: BTreeMap<NodeId, usize>,
    /// How many groups it leads.
    pub leads: BTreeMap<NodeId, usize>,
    /// Nodes that may have groups and did not tell.
    pub silent: BTreeSet<NodeId>,
    /// Every group could lose a node.
    pub whole: bool,
    /// Nodes without which a group would have fewer than two copies, or that are in one without a leader: one such group of each.
    pub needed: BTreeMap<NodeId, PartitionId>,
}

impl Seen {
    /// Why the node goes, if it does.
    pub fn why(&self, claim: &Claim) -> Option<Why> {
        let wished = self.zones.iter().any(|zone| zone.name == claim.zone);
        match claim {
            Claim { lost: true, .. } => Some(Why::VolumeLost),
            // Whatever else is asked for: its replicas go to other zones.
            Claim { .. } if !wished => Some(Why::ZoneRemoved),
            Claim { deleting: true, .. } => Some(Why::ClaimDeleted),
            Claim { drained: Some(_), .. } => Some(Why::Drained),
            Claim { surplus: true, .. } => Some(Why::ScaledIn),
            Claim { .. } => None,
        }
    }

    /// Nodes that go, and get nothing new.
    pub fn leaving(&self) -> BTreeSet<NodeId> {
        self.claims.iter().filter(|claim| self.why(claim).is_some()).map(|claim| claim.node).collect()
    }

    /// Known to be so: all nodes of other zones have told. No quorum is within one zone, so that of each group that it was in somebody there
    /// knows of it; and two silent ones of its own zone would wait for each other for ever.
    pub fn is_unused(&self, claim: &Claim) -> bool {
        let elsewhere = |other: &Claim| other.zone != claim.zone && self.silent.contains(&other.node);
        // An identity that was never given is in no group.
        claim.store.is_none() || !self.claims.iter().any(elsewhere) && !self.replicas.contains_key(&claim.node)
    }

    pub fn is_ready(&self, node: NodeId) -> bool {
        self.answers.iter().any(|answer| answer.node == node && answer.ready)
    }

    /// The kubelet that speaks of the Pod answers; of one that is not placed everything is known.
    pub fn is_told_of(&self, pod: &Pod) -> bool {
        pod.machine.as_ref().is_none_or(|name| self.machine(name).is_some_and(|machine| machine.ready))
    }

    pub fn pod(&self, node: NodeId) -> Option<&Pod> {
        self.pods.iter().find(|pod| pod.node == node)
    }

    pub fn machine(&self, name: &str) -> Option<&Machine> {
        self.machines.iter().find(|machine| machine.name == name)
    }
}
