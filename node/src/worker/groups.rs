//! A worker's groups, and which of them are given ticks. One that sleeps is given none, and costs its memory alone; one that
//! was started waits for its first tick until it is its turn or something happens to it.

use std::collections::{BTreeSet, HashMap};
use std::ops::Index;

use model::PartitionId;

use crate::worker::group::Group;

#[derive(Default)]
pub struct Groups {
    /// Each on its own: a map sets places aside for up to twice as many as there are.
    map: HashMap<PartitionId, Box<Group>>,
    ticked: BTreeSet<PartitionId>,
}

impl Groups {
    /// A group that has just come is given ticks.
    pub fn insert(&mut self, partition: PartitionId, mut group: Group) {
        group.ticked = true;
        self.ticked.insert(partition);
        self.map.insert(partition, Box::new(group));
    }

    /// One that gets its first tick when somebody says so ([`Groups::attend`]).
    pub fn insert_resting(&mut self, partition: PartitionId, mut group: Group) {
        group.ticked = false;
        self.ticked.remove(&partition);
        self.map.insert(partition, Box::new(group));
    }

    pub fn remove(&mut self, partition: &PartitionId) -> Option<Group> {
        self.ticked.remove(partition);
        self.map.remove(partition).map(|group| *group)
    }

    pub fn get(&self, partition: &PartitionId) -> Option<&Group> {
        self.map.get(partition).map(Box::as_ref)
    }

    pub fn get_mut(&mut self, partition: &PartitionId) -> Option<&mut Group> {
        self.map.get_mut(partition).map(Box::as_mut)
    }

    pub fn contains_key(&self, partition: &PartitionId) -> bool {
        self.map.contains_key(partition)
    }

    pub fn values(&self) -> impl Iterator<Item = &Group> {
        self.map.values().map(Box::as_ref)
    }

    /// For what is rare: it visits those that sleep, too.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut Group> {
        self.map.values_mut().map(Box::as_mut)
    }

    /// How many are given no ticks.
    pub fn resting(&self) -> usize {
        self.map.len() - self.ticked.len()
    }

    /// Given ticks from now on, until it sleeps.
    pub fn attend(&mut self, partition: PartitionId) {
        if let Some(group) = self.map.get_mut(&partition) {
            group.ticked = true;
            self.ticked.insert(partition);
        }
    }

    /// Those that are given ticks; who sleeps meanwhile is left out from now on. Returns how many there were.
    pub fn for_ticked(&mut self, mut visit: impl FnMut(&mut Group)) -> usize {
        let Groups { map, ticked } = self;
        ticked.retain(|partition| {
            let Some(group) = map.get_mut(partition) else { return false };
            group.ticked = group.wants_ticks();
            if group.ticked {
                visit(group);
            } else {
                group.shrink();
            }
            group.ticked
        });
        ticked.len()
    }
}

impl Index<&PartitionId> for Groups {
    type Output = Group;

    fn index(&self, partition: &PartitionId) -> &Group {
        &self.map[partition]
    }
}
