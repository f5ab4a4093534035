//! A small world for the planner: Kubernetes nodes that die and come back, people who change their minds, leaders that repair. Whatever
//! happens, no claim goes that a group needs, nobody gets two replacements, and in the end everything is as wished.

use std::collections::{BTreeMap, BTreeSet};

use control::plan::{Observed, ReplicaReport};
use model::units::Consumption;
use model::{KeyRange, NodeId, PartitionDescriptor, PartitionId, TableId};

use super::{Answer, Claim, Machine, Missing, Pod, Seen, Step, Storage, Trouble, Why, Zone, plan, stops};
use crate::moves::{self, Deed, Next};
use crate::observe::{Troubles, needed, places};
use crate::validate;

mod events;
mod tests;

const ZONES: [&str; 4] = ["a", "b", "c", "d"];
const PARTITIONS: u64 = 4;
const LOST_AFTER_S: i64 = 900;
const LOOK_S: i64 = 100;
/// What is away for longer is rebuilt elsewhere.
const REPAIR_S: i64 = 300;
/// Enough for every move, repair and wait of a world.
const LOOKS_TO_SETTLE: usize = 400;
/// What is as wished for so long stays so.
const CALM_LOOKS: usize = 5;

#[derive(Clone, Debug)]
struct Host {
    machine: Machine,
    /// Its Node object is there.
    there: bool,
}

#[derive(Clone, Debug)]
struct Disk {
    claim: Claim,
    host: Option<String>,
    /// It has the identity of its claim.
    formatted: bool,
    mounts: bool,
    away_s: i64,
}

/// Pods of the last two never become ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    One,
    Other,
    NeverBegins,
    Crashes,
}

impl Content {
    fn works(self) -> bool {
        matches!(self, Content::One | Content::Other)
    }
}

struct World {
    now_s: i64,
    wished: BTreeMap<&'static str, usize>,
    hosts: Vec<Host>,
    disks: BTreeMap<NodeId, Disk>,
    /// Node → the Kubernetes node that it is placed on.
    pods: BTreeMap<NodeId, Option<String>>,
    /// What each Pod was made with, and what is wished now.
    contents: BTreeMap<NodeId, Content>,
    content: Content,
    groups: Vec<PartitionDescriptor>,
    handed_over: BTreeSet<NodeId>,
    troubles: Troubles,
    next_id: u64,
    created: usize,
    /// How many claims there may have been: wished ever, and one for each that went.
    entitled: usize,
    going: BTreeSet<NodeId>,
}

impl World {
    fn new() -> World {
        let wished = ZONES[..3].iter().map(|zone| (*zone, 1)).collect();
        let mut world = World {
            now_s: 0,
            wished,
            hosts: Vec::new(),
            disks: BTreeMap::new(),
            pods: BTreeMap::new(),
            contents: BTreeMap::new(),
            content: Content::One,
            groups: Vec::new(),
            handed_over: BTreeSet::new(),
            troubles: Troubles::default(),
            next_id: 0,
            created: 0,
            entitled: 3,
            going: BTreeSet::new(),
        };
        for zone in ZONES.into_iter().chain(ZONES) {
            world.add_host(zone);
        }
        world.settle();
        let nodes: Vec<(NodeId, model::Zone)> =
            world.disks.values().map(|disk| (disk.claim.node, model::Zone(disk.claim.zone.clone()))).collect();
        let birth = |id| PartitionDescriptor::birth(PartitionId(id), TableId(1), KeyRange::ALL, nodes.clone());
        world.groups = (1..=PARTITIONS).map(birth).collect();
        world
    }

    fn add_host(&mut self, zone: &str) {
        let name = format!("host-{}", self.hosts.len());
        let machine = Machine { name, zone: Some(zone.to_owned()), ready: true, ..Machine::default() };
        self.hosts.push(Host { machine, there: true });
    }

    fn host(&self, name: &str) -> Option<&Machine> {
        self.hosts.iter().find(|host| host.there && host.machine.name == name).map(|host| &host.machine)
    }

    fn runs(&self, node: NodeId) -> bool {
        let placed = self.pods.get(&node).and_then(Option::as_ref).and_then(|host| self.host(host));
        let mounts = self.disks.get(&node).is_some_and(|disk| disk.mounts);
        placed.is_some_and(|host| host.ready) && mounts && self.contents[&node].works()
    }

    fn is_up(&self, node: NodeId) -> bool {
        self.runs(node) && self.disks.get(&node).is_some_and(|disk| disk.formatted && disk.claim.store.is_some())
    }

    fn members_up(&self, group: &PartitionDescriptor, but: Option<NodeId>) -> usize {
        group.replicas.iter().filter(|replica| Some(replica.node) != but && self.is_up(replica.node)).count()
    }

    /// Every group has a majority without this one.
    fn can_lose(&self, node: Option<NodeId>) -> bool {
        self.groups.iter().all(|group| self.members_up(group, node) >= 2)
    }

    fn names(&self, node: NodeId) -> bool {
        self.groups.iter().any(|group| group.on_node(node).is_some())
    }

    /// As `observe` would have it.
    fn seen(&mut self) -> (Seen, Observed) {
        let mut observed = Observed::default();
        for disk in self.disks.values().filter(|disk| self.is_up(disk.claim.node)) {
            observed.reached.insert(disk.claim.node);
        }
        for group in &self.groups {
            let mut up = group.replicas.iter().filter(|replica| self.is_up(replica.node)).peekable();
            let leads = up.peek().filter(|_| self.members_up(group, None) >= 2).map(|replica| replica.node);
            let report = |node| ReplicaReport {
                node,
                descriptor: Some(group.clone().into()),
                table: None,
                serving: Some(node) == leads,
                health: None,
                size: None,
                consumption: Consumption::default(),
            };
            observed.groups.insert(group.id, up.map(|replica| report(replica.node)).collect());
        }
        let may_have = || self.disks.values().filter(|disk| !disk.claim.lost && disk.claim.store.is_some());
        let silent: BTreeSet<NodeId> =
            may_have().map(|disk| disk.claim.node).filter(|node| !observed.reached.contains(node)).collect();
        let answers = self.disks.values().filter(|disk| self.runs(disk.claim.node)).map(|disk| self.answer(disk));
        let answers: Vec<Answer> = answers.collect();
        observed.complete = silent.is_empty();
        let mut replicas: BTreeMap<NodeId, usize> = BTreeMap::new();
        for replica in self.groups.iter().flat_map(|group| &group.replicas) {
            *replicas.entry(replica.node).or_default() += 1;
        }
        let mut seen = Seen {
            now_s: self.now_s,
            zones: self.wished.iter().map(|(name, nodes)| wish(name, *nodes, self.content)).collect(),
            storage: Storage {
                size: "10".to_owned(),
                bytes: Some(10),
                lost_after_s: LOST_AFTER_S,
                ..Storage::default()
            },
            claims: self.disks.values().map(|disk| self.claim(disk)).collect(),
            pods: self.pods.iter().map(|(node, host)| self.pod(*node, host.clone())).collect(),
            machines: self.hosts.iter().filter(|host| host.there).map(|host| host.machine.clone()).collect(),
            answers,
            replicas,
            silent,
            whole: observed.complete && self.groups.iter().all(|group| self.members_up(group, None) == 3),
            needed: needed(&observed),
            ..Seen::default()
        };
        self.troubles.follow(&mut seen.claims, self.now_s);
        (seen, observed)
    }

    fn claim(&self, disk: &Disk) -> Claim {
        let placed = self.pods.get(&disk.claim.node).cloned().flatten();
        let drained = disk
            .host
            .iter()
            .chain(&placed)
            .find(|name| self.host(name).is_some_and(|machine| machine.drain && machine.cordoned));
        let what = match &disk.host {
            Some(host) if self.host(host).is_none() => Some(Trouble::MachineGone(host.clone())),
            Some(host) if !disk.mounts && placed.is_some() && self.host(host).is_some_and(|host| host.ready) => {
                Some(Trouble::Unmountable("no such folder".to_owned()))
            }
            Some(_) | None => None,
        };
        let missing = what.filter(|_| !disk.claim.lost).map(|what| Missing { what, since_s: 0 });
        Claim { drained: drained.cloned(), missing, ..disk.claim.clone() }
    }

    fn pod(&self, node: NodeId, host: Option<String>) -> Pod {
        let (runs, placed) = (self.runs(node), host.is_some() && self.disks.get(&node).is_some_and(|disk| disk.mounts));
        Pod {
            node,
            name: node.to_string(),
            unschedulable: host.is_none().then(|| "full".to_owned()),
            machine: host,
            address: runs.then(|| node.to_string()),
            ready: self.is_up(node),
            deleting: false,
            ended: false,
            // The last that was heard of one whose Kubernetes node does not answer.
            running: placed && self.contents[&node].works(),
            begun: placed && self.contents[&node] != Content::NeverBegins,
            content: format!("{:?}", self.contents[&node]),
        }
    }

    fn answer(&self, disk: &Disk) -> Answer {
        let node = disk.claim.node;
        let id = if disk.formatted { node } else { NodeId(0) };
        // A disk that was wiped has drawn another number.
        let store = if disk.formatted || disk.claim.store.is_none() { node.0 } else { node.0 + self.wipes(disk) };
        Answer { address: node.to_string(), node: id, store, ready: self.is_up(node) }
    }

    fn wipes(&self, disk: &Disk) -> u64 {
        u64::from(self.names(disk.claim.node)) << 32
    }

    fn look(&mut self) {
        self.now_s += LOOK_S;
        self.repair();
        self.schedule();
        let (seen, observed) = self.seen();
        self.count(&seen);
        let mut next_id = self.next_id;
        let steps = plan(&validate::nodes(&seen), || {
            next_id += 1;
            NodeId(next_id)
        });
        self.next_id = next_id;
        self.stop_one_at_a_time(&steps);
        let stops = stops(&steps);
        for step in steps {
            self.apply(step);
        }
        let leaving = seen.leaving();
        self.handed_over.retain(|node| leaving.contains(node));
        let next = moves::next(&places(&seen), &observed, seen.whole, &self.handed_over);
        if !stops {
            self.move_on(next);
        }
        self.bounded();
    }

    /// Who goes may have one replacement, each time that it goes.
    fn count(&mut self, seen: &Seen) {
        let goes = |claim: &&Claim| matches!(seen.why(claim), Some(Why::VolumeLost | Why::ClaimDeleted | Why::Drained));
        let going: BTreeSet<NodeId> = seen.claims.iter().filter(goes).map(|claim| claim.node).collect();
        self.entitled += going.difference(&self.going).count();
        self.going = going;
    }

    /// Of nodes that work; what is lost has nothing to wait for.
    fn stop_one_at_a_time(&self, steps: &[Step]) {
        let works = |name: &String| {
            let claim = &self.disks[&NodeId(u64::from_str_radix(name, 16).unwrap())].claim;
            claim.store.is_some() && !claim.lost && self.runs(claim.node)
        };
        let stopped = steps.iter().filter(|step| matches!(step, Step::DeletePod { name, .. } if works(name)));
        assert!(stopped.count() <= 1, "{steps:?}");
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::CreateClaim { zone, node } => {
                let mut claim = Claim { store: None, ..super::tests::claim(node.0, &zone) };
                claim.volume.bound = false;
                self.disks.insert(node, Disk { claim, host: None, formatted: false, mounts: true, away_s: 0 });
                self.created += 1;
            }
            Step::CreatePod { node, .. } => {
                self.pods.insert(node, None);
                self.contents.insert(node, self.content);
            }
            Step::DeletePod { name, .. } => {
                let node = NodeId(u64::from_str_radix(&name, 16).unwrap());
                let lost = self.disks[&node].claim.lost;
                // One that is made again stops for a moment.
                let again = self.contents[&node] != self.content && (!self.runs(node) || self.can_lose(Some(node)));
                assert!(lost || again || !self.names(node), "the Pod of {node} is deleted, and groups need it");
                self.pods.remove(&node);
            }
            Step::RecordStore { node, store } => self.disk(node).claim.store = Some(store),
            Step::Format { node, store, .. } => {
                assert!(!self.names(node), "{node} is formatted, and groups know it");
                let disk = self.disk(node);
                assert_eq!(disk.claim.store, Some(store));
                disk.formatted = true;
            }
            Step::MarkLost { node, .. } => {
                assert!(self.can_lose(Some(node)), "{node} is given up, and a group needs it");
                self.disk(node).claim.lost = true;
            }
            Step::Leave { node } => self.disk(node).claim.surplus = true,
            Step::Stay { node } => self.disk(node).claim.surplus = false,
            Step::DeleteClaim { node } => {
                assert!(!self.names(node), "the claim of {node} is deleted, and a group names it");
                self.disks.remove(&node);
            }
            Step::Blocked { .. } | Step::RemoveFleet { .. } => {}
            Step::GrowClaim { .. } => panic!("nobody wished it: {step:?}"),
        }
    }

    fn disk(&mut self, node: NodeId) -> &mut Disk {
        self.disks.get_mut(&node).unwrap()
    }

    fn move_on(&mut self, next: Next) {
        match next.deed {
            None => {}
            Some(Deed::HandOver(node)) => drop(self.handed_over.insert(node)),
            Some(Deed::Move(wish)) => {
                let to = wish.to.unwrap();
                assert!(self.is_up(to) && self.can_lose(None), "{wish:?} in bad times");
                self.replace(wish.partition, wish.from, to);
            }
        }
    }

    fn replace(&mut self, partition: PartitionId, from: NodeId, to: NodeId) {
        let zone = self.disks[&to].claim.zone.clone();
        let group = self.groups.iter_mut().find(|group| group.id == partition).unwrap();
        let replica = group.replicas.iter_mut().find(|replica| replica.node == from).unwrap();
        (replica.node, replica.zone) = (to, model::Zone(zone));
        let zones: BTreeSet<_> = group.replicas.iter().map(|replica| replica.zone.clone()).collect();
        assert_eq!(zones.len(), 3, "two of {group:?} in one zone");
    }

    /// As leaders do: what is away for too long is rebuilt in its zone.
    fn repair(&mut self) {
        let up: Vec<NodeId> = self.disks.keys().copied().filter(|node| self.is_up(*node)).collect();
        for (node, disk) in &mut self.disks {
            disk.away_s = if up.contains(node) { 0 } else { disk.away_s + LOOK_S };
        }
        let mut wishes = Vec::new();
        for group in self.groups.iter().filter(|group| self.members_up(group, None) == 2) {
            let away = group.replicas.iter().find(|replica| !up.contains(&replica.node)).unwrap();
            let long = self.disks.get(&away.node).is_none_or(|disk| disk.away_s > REPAIR_S);
            let zone = |node: &NodeId| &self.disks[node].claim.zone;
            let covered = |node: &NodeId| group.replicas.iter().any(|replica| replica.zone.0 == *zone(node));
            let in_zone = up.iter().find(|node| *zone(node) == away.zone.0);
            let heir = in_zone.or_else(|| up.iter().find(|node| !covered(node)));
            if let Some(heir) = heir.filter(|_| long) {
                wishes.push((group.id, away.node, *heir));
            }
        }
        for (partition, from, to) in wishes {
            self.replace(partition, from, to);
        }
    }

    /// As Kubernetes does: Pods of a Kubernetes node that is gone go, and Pods are placed, one on each.
    fn schedule(&mut self) {
        let gone: Vec<NodeId> = self
            .pods
            .iter()
            .filter(|(_, host)| host.as_ref().is_some_and(|host| self.host(host).is_none()))
            .map(|(node, _)| *node)
            .collect();
        for node in gone {
            self.pods.remove(&node);
        }
        let pods = &self.pods;
        self.disks.retain(|node, disk| !disk.claim.deleting || pods.contains_key(node));
        let waiting: Vec<NodeId> = self.pods.iter().filter(|(_, host)| host.is_none()).map(|(node, _)| *node).collect();
        for node in waiting {
            let Some(disk) = self.disks.get(&node) else { continue };
            let taken: BTreeSet<&String> = self.pods.values().flatten().collect();
            let free = self.hosts.iter().filter(|host| host.there && host.machine.ready && !host.machine.cordoned);
            let fits = free.filter(|host| host.machine.zone.as_ref() == Some(&disk.claim.zone));
            let mut fits = fits.filter(|host| disk.host.as_ref().is_none_or(|bound| *bound == host.machine.name));
            let found = fits.find(|host| !taken.contains(&host.machine.name)).map(|host| host.machine.name.clone());
            if let Some(found) = found {
                self.pods.insert(node, Some(found.clone()));
                self.disk(node).claim.volume.bound = true;
                self.disk(node).host = Some(found);
            }
        }
    }

    fn bounded(&self) {
        assert!(
            self.created <= self.entitled,
            "{} claims were made, {} are accounted for",
            self.created,
            self.entitled
        );
    }

    fn settle(&mut self) {
        let mut calm = 0;
        for _ in 0..LOOKS_TO_SETTLE {
            self.look();
            calm = if self.is_as_wished().is_ok() { calm + 1 } else { 0 };
            if calm == CALM_LOOKS {
                return;
            }
        }
    }

    /// What the planner would say of it.
    fn told(&mut self) -> String {
        let (seen, observed) = self.seen();
        let next = moves::next(&places(&seen), &observed, seen.whole, &self.handed_over);
        let steps = plan(&validate::nodes(&seen), || NodeId(u64::MAX));
        format!("silent {:?}, replicas {:?}, steps {steps:?}, next {next:?}", seen.silent, seen.replicas)
    }

    fn in_use(&self, host: usize, zone: &str) -> bool {
        let machine = &self.hosts[host].machine;
        machine.zone.as_deref() == Some(zone) && self.pods.values().flatten().any(|name| *name == machine.name)
    }

    fn is_as_wished(&self) -> Result<(), String> {
        for zone in ZONES {
            let ours = self.disks.values().filter(|disk| disk.claim.zone == zone);
            let all: Vec<&Claim> = ours.map(|disk| &disk.claim).collect();
            let wished = self.wished.get(zone).copied().unwrap_or(0);
            if all.len() != wished || all.iter().any(|claim| claim.lost || claim.surplus || !self.is_up(claim.node)) {
                return Err(format!("{wished} nodes are wished in {zone}, and there are {all:?}"));
            }
        }
        let old: Vec<_> = self.pods.keys().filter(|node| self.contents[node] != self.content).collect();
        if !old.is_empty() {
            return Err(format!("{old:?} have another content than {:?}: {:?}", self.content, self.contents));
        }
        let whole = self.groups.iter().all(|group| self.members_up(group, None) == 3);
        if whole { Ok(()) } else { Err(format!("groups are not whole: {:?}", self.groups)) }
    }
}

fn wish(name: &str, nodes: usize, content: Content) -> Zone {
    Zone { name: name.to_owned(), nodes, content: format!("{content:?}") }
}
