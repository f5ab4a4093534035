//! How whole groups are, by what nodes tell administrators: what `trivet admin groups` prints, as values.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use control::cluster::Cluster;
use model::{NodeId, PartitionDescriptor, PartitionId, ReplicaId, ReplicaKind, ReplicaRole};
use wire::admin::health::State;
use wire::admin::{GroupStatus, Health};

/// Voters that a group is to have, all with items.
const VOTERS: usize = 3;
/// Between two looks, at least; and twice as long as a look takes, so that looking is not what the machine does.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// So many groups are named in an error.
const NAMED: usize = 6;

/// The way to the admin service of every node.
pub struct Admin {
    cluster: Cluster,
}

/// What the nodes that answered have told at about one time.
#[derive(Debug, Default)]
pub struct Look {
    /// In the order of their addresses; none for those that did not answer.
    pub nodes: Vec<Option<NodeId>>,
    pub groups: BTreeMap<PartitionId, Group>,
}

/// One group, as its leader sees it; without one, as the replica that knows most.
#[derive(Clone, Debug)]
pub struct Group {
    pub descriptor: PartitionDescriptor,
    pub leader: Option<Leader>,
    /// Replicas that nodes have, members or not.
    pub held: BTreeSet<(NodeId, ReplicaId)>,
}

/// Who leads and serves, and what it says.
#[derive(Clone, Debug)]
pub struct Leader {
    pub node: NodeId,
    pub replica: ReplicaId,
    pub health: Health,
    in_joint_change: bool,
    committed: u64,
    matched: BTreeMap<ReplicaId, u64>,
}

impl Admin {
    pub fn new(addresses: &[String]) -> anyhow::Result<Admin> {
        Ok(Admin { cluster: Cluster::new(addresses, &[]).context("name the nodes")? })
    }

    pub async fn look(&self) -> anyhow::Result<Look> {
        let reached = self.cluster.ask_all(true).await;
        let nodes = reached.iter().map(|reached| Some(NodeId(reached.as_ref()?.status.node))).collect();
        let told = reached.into_iter().flatten().flat_map(|reached| {
            let node = NodeId(reached.status.node);
            reached.groups.into_iter().flatten().map(move |group| (node, group))
        });
        Ok(Look { nodes, groups: gather(told)? })
    }

    /// Looks until it is so; how long that took, with what was seen last. What is missing is said by `flaws`, if it takes too long.
    pub async fn wait(
        &self,
        within: Duration,
        flaws: impl Fn(&Look) -> Vec<String>,
    ) -> anyhow::Result<(Duration, Look)> {
        let begun = Instant::now();
        loop {
            let asked = Instant::now();
            let look = self.look().await?;
            let found = flaws(&look);
            if found.is_empty() {
                return Ok((begun.elapsed(), look));
            }
            ensure!(begun.elapsed() < within, "after {within:?}: {}", name_some(&found));
            tokio::time::sleep(LOOK_EVERY.max(2 * asked.elapsed())).await;
        }
    }

    /// Waits until so many groups are there, and all of them whole.
    pub async fn wait_whole(&self, groups: usize, within: Duration) -> anyhow::Result<(Duration, Look)> {
        self.wait(within, |look| look.flaws(groups)).await.context("not every group is whole")
    }
}

impl Look {
    /// What is not whole of so many groups.
    pub fn flaws(&self, groups: usize) -> Vec<String> {
        let flaw = |(id, group): (&PartitionId, &Group)| Some(format!("partition {id}: {}", group.flaw()?));
        let mut flaws: Vec<String> = self.groups.iter().filter_map(flaw).collect();
        if self.groups.len() < groups {
            flaws.push(format!("{} of {groups} groups are known to the nodes that answer", self.groups.len()));
        }
        flaws
    }

    /// Groups that have a member on this node.
    pub fn groups_on(&self, node: NodeId) -> Vec<PartitionId> {
        let of_node = self.groups.iter().filter(|(_, group)| group.descriptor.on_node(node).is_some());
        of_node.map(|(id, _)| *id).collect()
    }
}

impl Group {
    /// Why it is not whole: three voters with items, all heard, and nothing else anywhere.
    pub fn flaw(&self) -> Option<String> {
        let Some(leader) = &self.leader else { return Some("nobody leads and serves".to_owned()) };
        let Health { state: _, replica, stand_in, why, for_ms, percent } = &leader.health;
        let state = leader.health.state();
        if state != State::Whole {
            let mut text = format!("{} for {for_ms} ms", state.as_str_name());
            let numbers = [("replica", *replica), ("stand-in", *stand_in), ("percent", u64::from(*percent))];
            for (name, number) in numbers.into_iter().filter(|(_, number)| *number > 0) {
                text.push_str(&format!(", {name} {number}"));
            }
            return Some(if why.is_empty() { text } else { format!("{text}: {why}") });
        }
        if leader.in_joint_change {
            return Some("in a joint change".to_owned());
        }
        let copies = self.voters().filter(|(_, kind)| *kind == ReplicaKind::Storage).count();
        if copies != VOTERS || self.descriptor.replicas.len() != VOTERS {
            return Some(format!("its members are {}", describe(&self.descriptor)));
        }
        let members = self.descriptor.replicas.iter().map(|member| (member.node, member.id)).collect();
        (self.held != members).then(|| {
            let held = self.held.iter().map(|(node, replica)| format!("{replica} on {node}"));
            format!("nodes have replicas {}", held.collect::<Vec<_>>().join(", "))
        })
    }

    /// Whether three voters are level, none of them on the node that was lost.
    pub fn has_three_voters_without(&self, lost: NodeId) -> bool {
        let Some(leader) = self.leader.as_ref().filter(|leader| !leader.in_joint_change) else { return false };
        let level = |id: ReplicaId| {
            id == leader.replica || leader.matched.get(&id).is_some_and(|matched| *matched >= leader.committed)
        };
        let on_lost = self.descriptor.on_node(lost).is_some_and(|member| member.role == ReplicaRole::Voter);
        !on_lost && self.voters().count() == VOTERS && self.voters().all(|(id, _)| level(id))
    }

    fn voters(&self) -> impl Iterator<Item = (ReplicaId, ReplicaKind)> {
        let voters = self.descriptor.replicas.iter().filter(|member| member.role == ReplicaRole::Voter);
        voters.map(|voter| (voter.id, voter.kind))
    }
}

/// The first of them, and how many more there are.
fn name_some(flaws: &[String]) -> String {
    let named = flaws[..flaws.len().min(NAMED)].join("; ");
    if flaws.len() > NAMED { format!("{named}; and {} more", flaws.len() - NAMED) } else { named }
}

fn describe(descriptor: &PartitionDescriptor) -> String {
    let member = |member: &model::ReplicaDescriptor| {
        format!("{} on {} ({:?}, {:?})", member.id, member.node, member.role, member.kind)
    };
    descriptor.replicas.iter().map(member).collect::<Vec<String>>().join(", ")
}

/// One group of what several nodes say of it. Of two that both say they lead, the later term is right.
fn gather(told: impl Iterator<Item = (NodeId, GroupStatus)>) -> anyhow::Result<BTreeMap<PartitionId, Group>> {
    let mut best: BTreeMap<PartitionId, (Weight, Group)> = BTreeMap::new();
    let mut held: BTreeMap<PartitionId, BTreeSet<(NodeId, ReplicaId)>> = BTreeMap::new();
    for (node, status) in told {
        let id = PartitionId(status.partition);
        held.entry(id).or_default().insert((node, ReplicaId(status.replica)));
        // A replica that waits for its first snapshot knows nothing yet.
        if status.descriptor.is_empty() {
            continue;
        }
        let descriptor = PartitionDescriptor::decode(status.descriptor.clone()).context("read a descriptor")?;
        let weight = (status.serving.then_some(status.term), descriptor.epoch);
        if best.get(&id).is_none_or(|(known, _)| *known < weight) {
            let leader = status.serving.then(|| leader(node, status));
            best.insert(id, (weight, Group { descriptor, leader, held: BTreeSet::new() }));
        }
    }
    let with_held = |(id, (_, group)): (PartitionId, (Weight, Group))| {
        let held = held.remove(&id).unwrap_or_default();
        (id, Group { held, ..group })
    };
    Ok(best.into_iter().map(with_held).collect())
}

/// The term of who serves, then the epoch.
type Weight = (Option<u64>, u64);

fn leader(node: NodeId, status: GroupStatus) -> Leader {
    Leader {
        node,
        replica: ReplicaId(status.replica),
        health: status.health.unwrap_or_default(),
        in_joint_change: status.in_joint_change,
        committed: status.committed,
        matched: status.progress.iter().map(|progress| (ReplicaId(progress.replica), progress.matched)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use model::{KeyRange, TableId, Zone};
    use wire::admin::Progress;

    use super::*;

    const ID: PartitionId = PartitionId(7);

    /// Voters 1, 2, 3 on nodes 11, 12, 13.
    fn whole() -> PartitionDescriptor {
        let places = [11, 12, 13].map(|node| (NodeId(node), Zone(format!("zone-{node}"))));
        PartitionDescriptor::birth(ID, TableId(5), KeyRange::ALL, places)
    }

    /// Replica 3 learns, log replica 4 on node 14 votes.
    fn stood_in() -> PartitionDescriptor {
        let mut descriptor = whole();
        descriptor.replicas[2].role = ReplicaRole::Learner;
        let (id, node, zone) = (ReplicaId(4), NodeId(14), Zone("zone-13".into()));
        let log = model::ReplicaDescriptor { id, node, zone, role: ReplicaRole::Voter, kind: ReplicaKind::Log };
        descriptor.replicas.push(log);
        descriptor.epoch = 3;
        descriptor
    }

    fn follows(node: u64, replica: u64, descriptor: &PartitionDescriptor) -> (NodeId, GroupStatus) {
        let descriptor = descriptor.encode();
        (NodeId(node), GroupStatus { partition: ID.0, descriptor, replica, term: 4, ..GroupStatus::default() })
    }

    /// Replica 1 on node 11; `matched` of 2, 3 and 4.
    fn leads(descriptor: &PartitionDescriptor, state: State, matched: [u64; 3]) -> (NodeId, GroupStatus) {
        let (node, follower) = follows(11, 1, descriptor);
        let progress = |(replica, matched)| Progress { replica, matched, ..Progress::default() };
        let progress = (2..).zip(matched).map(progress).collect();
        let health = Some(Health { state: state.into(), ..Health::default() });
        (node, GroupStatus { serving: true, committed: 30, progress, health, ..follower })
    }

    fn one(told: Vec<(NodeId, GroupStatus)>) -> Group {
        gather(told.into_iter()).unwrap().remove(&ID).unwrap()
    }

    #[test]
    fn a_group_is_whole_with_three_voters_with_items_and_nothing_else() {
        let descriptor = whole();
        let told = || vec![follows(12, 2, &descriptor), leads(&descriptor, State::Whole, [30, 30, 0])];
        let mut all = told();
        all.push(follows(13, 3, &descriptor));
        assert_eq!(one(all.clone()).flaw(), None);
        // A wiped node has its address and not its replica: its leader may not have missed it yet.
        assert!(one(told()).flaw().unwrap().starts_with("nodes have replicas 1 on"));
        all.push(follows(14, 4, &stood_in()));
        assert!(one(all).flaw().unwrap().contains("4 on 000000000000000e"));
        assert_eq!(one(vec![follows(12, 2, &descriptor)]).flaw().unwrap(), "nobody leads and serves");
        let missing = one(vec![leads(&descriptor, State::Missing, [30, 0, 0])]).flaw().unwrap();
        assert!(missing.starts_with("MISSING for 0 ms"), "{missing}");
        let left = one(vec![leads(&stood_in(), State::Whole, [30, 0, 30])]).flaw().unwrap();
        assert!(left.contains("(Voter, Log)"), "{left}");
    }

    #[test]
    fn a_log_replica_counts_once_it_is_level() {
        let lost = NodeId(13);
        let group = |matched| one(vec![leads(&stood_in(), State::StoodIn, matched)]);
        assert!(group([30, 12, 30]).has_three_voters_without(lost));
        assert!(!group([30, 12, 29]).has_three_voters_without(lost));
        assert!(!one(vec![leads(&whole(), State::Missing, [30, 30, 0])]).has_three_voters_without(lost));
        assert!(one(vec![leads(&whole(), State::Whole, [30, 30, 0])]).has_three_voters_without(NodeId(14)));
    }

    #[test]
    fn of_two_leaders_the_later_is_believed_and_of_followers_the_newest() {
        let (node, mut old) = leads(&whole(), State::Whole, [30, 30, 0]);
        old.term = 3;
        let (_, mut new) = leads(&stood_in(), State::StoodIn, [30, 0, 30]);
        new.replica = 2;
        let group = one(vec![(node, old), (NodeId(12), new)]);
        assert_eq!(group.leader.unwrap().node, NodeId(12));
        let group = one(vec![follows(12, 2, &stood_in()), follows(13, 3, &whole())]);
        assert_eq!((group.descriptor.epoch, group.leader.is_none()), (3, true));
    }

    #[test]
    fn a_group_that_nobody_tells_of_is_a_flaw() {
        let groups = gather([leads(&whole(), State::Missing, [30, 30, 0])].into_iter()).unwrap();
        let look = Look { nodes: vec![Some(NodeId(11)), None], groups };
        assert_eq!(look.flaws(2).len(), 2);
        assert_eq!(look.groups_on(NodeId(13)), [ID]);
        assert!(look.groups_on(NodeId(14)).is_empty());
        assert_eq!(name_some(&vec!["no".to_owned(); 8]), "no; no; no; no; no; no; and 2 more");
    }
}
