//! What every part of the world shares: time, chance, the network, what is known of the groups, and the oracle.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use model::{NodeId, PartitionDescriptor, ReplicaDescriptor, ReplicaId, ReplicaKind, ReplicaRole};

use crate::directed::Director;
use crate::event::{Event, Group, Place};
use crate::mutant::Mutant;
use crate::network::Network;
use crate::oracle::Oracle;
use crate::plan::Plan;
use crate::queue::{Queue, Time};
use crate::rng::Rng;
use crate::trace::{At, Trace};

pub struct Core {
    pub now: Time,
    pub plan: Plan,
    pub rng: Rng,
    pub queue: Queue,
    pub network: Network,
    pub registry: Registry,
    /// The keys of every group that is there from the beginning, encoded; its children have their share of them.
    pub keys: Vec<Vec<bytes::Bytes>>,
    pub oracle: Oracle,
    pub trace: Trace,
    pub stats: Stats,
    /// Misfortunes are over.
    pub healed: bool,
    /// But for this node, which is still away.
    pub away: Option<Place>,
    /// Stays down until it is let go.
    pub held: BTreeSet<Place>,
    /// Of a directed world.
    pub director: Option<Director>,
    /// Processes that have died.
    pub deaths: u64,
    /// Clients are at this group most of all, until then.
    pub pressed: Option<(Group, Time)>,
    /// Groups that must show that they serve.
    pub wanted: Vec<Group>,
    /// Whose replica is being stepped.
    pub stepping: Option<Group>,
}

impl Core {
    pub fn after(&mut self, delay: Time, event: Event) {
        self.queue.at(self.now + delay, event);
    }

    pub fn note(&mut self, at: At, what: &'static str, numbers: [u64; 4]) {
        self.trace.note(self.now, at, what, numbers);
    }

    /// Groups draw different election time-outs.
    pub fn options(&self, group: Group) -> replica::Options {
        let flaw = self.plan.mutant.map(Mutant::flaw).unwrap_or_default();
        replica::Options { seed: self.plan.seed ^ (group as u64) << 32, flaw, ..self.plan.options.clone() }
    }

    /// A time around that mean, never 0.
    pub fn around(&mut self, mean: Time) -> Time {
        1 + self.rng.range(mean / 2, mean + mean / 2)
    }
}

/// What nodes have announced, as MemDS would hold it.
#[derive(Default)]
pub struct Registry {
    /// Of a group that nobody has announced: without replicas, of epoch 0.
    pub descriptors: Vec<PartitionDescriptor>,
    /// Whose descriptor before this one had fewer than three voters with items: until a joint change is left, its majority counts as well.
    pub was_short: Vec<bool>,
    /// Groups that were announced, in that order.
    pub born: Vec<Group>,
    /// The group of the beginning whose keys each one has.
    pub roots: Vec<Group>,
    /// The newest leader that any node told of: term, place, replica.
    pub leaders: Vec<Option<(u64, Place, ReplicaId)>>,
    /// Who led before.
    pub former: Vec<Option<ReplicaId>>,
    /// The nodes that live, whose disks exist.
    pub places: BTreeMap<NodeId, Place>,
    /// Whose process is dead.
    pub down: BTreeSet<Place>,
}

/// Voters with items.
pub fn copies(descriptor: &PartitionDescriptor) -> usize {
    let with_items =
        |replica: &&ReplicaDescriptor| (replica.role, replica.kind) == (ReplicaRole::Voter, ReplicaKind::Storage);
    descriptor.replicas.iter().filter(with_items).count()
}

impl Registry {
    pub fn announce(&mut self, group: Group, descriptor: &PartitionDescriptor) {
        if descriptor.epoch <= self.descriptors[group].epoch {
            return;
        }
        if self.descriptors[group].epoch == 0 {
            self.born.push(group);
        }
        let before = &self.descriptors[group];
        self.was_short[group] = before.epoch > 0 && copies(before) < 3;
        self.descriptors[group] = descriptor.clone();
    }

    /// The newest descriptors of all groups that were announced.
    pub fn standing(&self) -> impl Iterator<Item = &PartitionDescriptor> {
        self.born.iter().map(|group| &self.descriptors[*group])
    }

    /// A place for a child of that group, whether it is ever born or not; none if there are no more.
    pub fn reserve_child(&mut self, parent: Group) -> Option<Group> {
        let child = self.roots.len();
        (child < self.descriptors.len()).then(|| {
            self.roots.push(self.roots[parent]);
            child
        })
    }

    pub fn are_siblings(&self, one: Group, other: Group) -> bool {
        one != other && self.roots.get(one).is_some() && self.roots.get(one) == self.roots.get(other)
    }

    /// The keys (by number) of a group's range, by what was announced, in their order.
    pub fn keys_of(&self, group: Group, keys: &[Vec<bytes::Bytes>]) -> Vec<usize> {
        let range = &self.descriptors[group].range;
        let all = &keys[self.roots[group]];
        let mut numbers: Vec<usize> = (0..all.len()).filter(|number| range.contains(&all[*number])).collect();
        numbers.sort_by_key(|number| &all[*number]);
        numbers
    }

    pub fn lead(&mut self, group: Group, term: u64, place: Place, replica: ReplicaId) {
        if self.leaders[group].is_none_or(|(known, _, _)| known < term) {
            self.former[group] = self.leaders[group].map(|(_, _, former)| former);
            self.leaders[group] = Some((term, place, replica));
        }
    }
}

/// What the summary counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub seeds: u64,
    pub simulated_us: u64,
    pub events: u64,
    pub counts: BTreeMap<Cow<'static, str>, u64>,
}

impl Stats {
    pub fn count(&mut self, what: &'static str) {
        self.count_times(what, 1);
    }

    pub fn count_times(&mut self, what: impl Into<Cow<'static, str>>, times: u64) {
        *self.counts.entry(what.into()).or_default() += times;
    }

    pub fn add(&mut self, other: &Stats) {
        self.seeds += other.seeds;
        self.simulated_us += other.simulated_us;
        self.events += other.events;
        for (what, count) in &other.counts {
            *self.counts.entry(what.clone()).or_default() += count;
        }
    }
}
