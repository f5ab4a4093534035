//! Groups: who is in them, who leads, what changes them, and what their leaders do by themselves.

use std::collections::{BTreeMap, BTreeSet};

use model::{
    NodeId, PartitionDescriptor, ReplicaDescriptor, ReplicaId, ReplicaKind, ReplicaRole, TableDescriptor, TableStatus,
    Zone,
};
use tonic::Status;
use wire::admin::change_replicas_request::Change;
use wire::admin::health::State;
use wire::admin::{GroupStatus, Health};

use super::World;

const VOTERS: usize = 3;

/// One group as all of its replicas have applied it.
#[derive(Clone, Debug)]
pub struct Group {
    pub descriptor: PartitionDescriptor,
    pub table: TableDescriptor,
    /// Nodes whose disks have a replica.
    pub held: BTreeSet<NodeId>,
    pub leader: Option<ReplicaId>,
    pub former: Option<Former>,
}

/// A leader that has handed on, and serves until every node has told of its heir: a look that has asked the one before and asks the other
/// afterwards would hear of no leader.
#[derive(Clone, Debug)]
pub struct Former {
    replica: ReplicaId,
    /// How often each node has yet to tell: two look at once, each at its own pace.
    untold: BTreeMap<NodeId, usize>,
}

impl World {
    /// What nodes do by themselves between two calls: leaders are elected, and lost replicas rebuilt.
    pub fn settle(&mut self) {
        let running = self.running();
        let zones: Vec<(NodeId, String)> = self
            .disks
            .values()
            .filter(|disk| disk.runs && disk.node != 0)
            .map(|d| (NodeId(d.node), d.zone.clone()))
            .collect();
        let there: BTreeSet<NodeId> = self.disks.values().map(|disk| NodeId(disk.node)).collect();
        for group in self.groups.values_mut() {
            group.held.retain(|node| there.contains(node));
            group.elect(&running);
            group.forget_former(&running);
            if group.leader.is_some() {
                group.repair(&there, &zones);
            }
        }
        self.groups.retain(|_, group| !group.held.is_empty());
    }
}

impl Group {
    fn voters(&self) -> Vec<&ReplicaDescriptor> {
        self.descriptor.replicas.iter().filter(|replica| replica.role == ReplicaRole::Voter).collect()
    }

    fn elect(&mut self, running: &BTreeSet<NodeId>) {
        let votes = |node: NodeId| running.contains(&node) && self.held.contains(&node);
        let able: Vec<ReplicaId> = self.voters().iter().filter(|v| votes(v.node)).map(|v| v.id).collect();
        let quorum = able.len() * 2 > self.voters().len();
        let stays = self.leader.filter(|leader| able.contains(leader));
        self.leader = if quorum { stays.or_else(|| able.first().copied()) } else { None };
    }

    /// A voter whose disk is gone is replaced on another node of its zone.
    fn repair(&mut self, there: &BTreeSet<NodeId>, nodes: &[(NodeId, String)]) {
        let lost = |replica: &&ReplicaDescriptor| !there.contains(&replica.node);
        let Some(lost) = self.descriptor.replicas.iter().find(lost).cloned() else { return };
        let takes = |(node, zone): &&(NodeId, String)| *zone == lost.zone.0 && self.descriptor.on_node(*node).is_none();
        let Some((heir, _)) = nodes.iter().find(takes) else { return };
        self.descriptor.replicas.retain(|replica| replica.id != lost.id);
        self.add(*heir, lost.zone, ReplicaRole::Voter);
    }

    fn add(&mut self, node: NodeId, zone: Zone, role: ReplicaRole) {
        let id = self.descriptor.next_replica;
        self.descriptor.replicas.push(ReplicaDescriptor { id, node, zone, role, kind: ReplicaKind::Storage });
        self.descriptor.next_replica = ReplicaId(id.0 + 1);
        self.descriptor.epoch += 1;
        self.held.insert(node);
    }

    pub fn leads(&self, node: NodeId) -> Result<(), Status> {
        let leader = self.leader.and_then(|leader| self.descriptor.replica(leader)).map(|replica| replica.node);
        if leader == Some(node) {
            return Ok(());
        }
        let mut refused = Status::failed_precondition("another replica leads");
        if let Some(leader) = leader {
            refused.metadata_mut().insert("trivet-leader", leader.to_string().parse().unwrap());
        }
        Err(refused)
    }

    pub fn set_table(&mut self, table: TableDescriptor) -> Result<(), Status> {
        if table.version < self.table.version || table.id != self.table.id {
            return Err(Status::failed_precondition("an older version"));
        }
        self.table = table;
        Ok(())
    }

    pub fn change(&mut self, epoch: u64, change: Change) -> Result<(), Status> {
        if epoch != self.descriptor.epoch {
            let message = format!("planned against another epoch than {}", self.descriptor.epoch);
            return Err(Status::failed_precondition(message));
        }
        if self.table.status == TableStatus::Deleting {
            return Err(Status::failed_precondition("the table is being deleted"));
        }
        match change {
            Change::AddLearner(add) => self.add_learner(NodeId(add.node), Zone(add.zone)),
            Change::Swap(swap) => self.swap(ReplicaId(swap.promote), ReplicaId(swap.demote)),
            Change::Remove(remove) => self.remove(ReplicaId(remove.replica)),
        }
    }

    fn add_learner(&mut self, node: NodeId, zone: Zone) -> Result<(), Status> {
        if self.descriptor.on_node(node).is_some() {
            return Err(Status::failed_precondition("the node has a replica already"));
        }
        if self.descriptor.replicas.len() > VOTERS {
            return Err(Status::failed_precondition("one change is under way"));
        }
        self.add(node, zone, ReplicaRole::Learner);
        Ok(())
    }

    fn swap(&mut self, promote: ReplicaId, demote: ReplicaId) -> Result<(), Status> {
        if self.leader == Some(demote) {
            return Err(Status::failed_precondition("a leader hands over first"));
        }
        let mut role = |id: ReplicaId, from: ReplicaRole, to: ReplicaRole| {
            let found = self.descriptor.replicas.iter_mut().find(|replica| replica.id == id && replica.role == from);
            found.map(|replica| replica.role = to).ok_or_else(|| Status::failed_precondition("no such replica"))
        };
        role(promote, ReplicaRole::Learner, ReplicaRole::Voter)?;
        role(demote, ReplicaRole::Voter, ReplicaRole::Learner)?;
        self.descriptor.epoch += 1;
        Ok(())
    }

    fn remove(&mut self, id: ReplicaId) -> Result<(), Status> {
        let Some(leaving) = self.descriptor.replica(id).cloned() else {
            return Err(Status::failed_precondition("no such replica"));
        };
        if leaving.role != ReplicaRole::Learner {
            return Err(Status::failed_precondition("a voter does not leave"));
        }
        self.descriptor.replicas.retain(|replica| replica.id != id);
        self.descriptor.epoch += 1;
        self.held.remove(&leaving.node);
        Ok(())
    }

    pub fn transfer(&mut self, to: ReplicaId) -> Result<(), Status> {
        let heir = self.voters().iter().find(|voter| voter.id == to).map(|voter| voter.node);
        if !heir.is_some_and(|node| self.held.contains(&node)) {
            return Err(Status::failed_precondition("no such voter"));
        }
        self.leader = Some(to);
        Ok(())
    }

    /// As leaders do it by themselves.
    pub fn hand_on(&mut self, heir: ReplicaId, running: &BTreeSet<NodeId>) -> Result<(), Status> {
        // More than any other looker can ask while one of them waits for an answer.
        const ROUNDS: usize = 8;
        let former = self.leader;
        self.transfer(heir)?;
        let untold = running.iter().map(|node| (*node, ROUNDS)).collect();
        self.former = former.map(|replica| Former { replica, untold });
        Ok(())
    }

    pub fn was_told_by(&mut self, node: NodeId) {
        let Some(former) = &mut self.former else { return };
        if let Some(rounds) = former.untold.get_mut(&node) {
            *rounds = rounds.saturating_sub(1);
        }
        if former.untold.values().all(|rounds| *rounds == 0) {
            self.former = None;
        }
    }

    /// Nobody waits for a node that does not run.
    fn forget_former(&mut self, running: &BTreeSet<NodeId>) {
        if self.former.as_ref().is_some_and(|former| former.untold.keys().any(|node| !running.contains(node))) {
            self.former = None;
        }
    }

    fn serves(&self, node: NodeId) -> bool {
        let former = self.former.as_ref().and_then(|former| self.descriptor.replica(former.replica));
        self.leads(node).is_ok() || former.is_some_and(|former| former.node == node)
    }

    /// As the replica on that node reports it.
    pub fn status(&self, node: NodeId, running: &BTreeSet<NodeId>) -> GroupStatus {
        let replica = self.descriptor.on_node(node).map_or(0, |replica| replica.id.0);
        let serving = self.serves(node);
        let heard = self.voters().iter().filter(|v| running.contains(&v.node) && self.held.contains(&v.node)).count();
        let state = if heard >= VOTERS { State::Whole } else { State::Missing };
        GroupStatus {
            partition: self.descriptor.id.0,
            descriptor: self.descriptor.encode(),
            table: self.table.encode(),
            replica,
            leader: self.leader.map_or(0, |leader| leader.0),
            term: 1,
            serving,
            health: serving.then(|| Health { state: state.into(), ..Health::default() }),
            ..GroupStatus::default()
        }
    }
}
