//! A split of a partition at a key: one log entry, no data moved. The two descriptors, and what a leader holds back meanwhile.
//!
//! The left half keeps the group; the right one becomes a group of its own on the same nodes, born at the birth mark. From its
//! proposal on, writes to the right half wait: none may stand in this group's log behind the split. When it is applied they are
//! refused with the new epoch, and so are strong reads under way: the child may already serve elsewhere what is not applied here.

use bytes::Bytes;
use model::{
    KeyRange, PartitionDescriptor, PartitionId, ReplicaDescriptor, ReplicaId, ReplicaKind, ReplicaRole, TableDescriptor,
};

use crate::state::{AppliedMark, BIRTH_INDEX, BIRTH_TERM, GroupState};
use crate::{Flaw, Mutant, Token};

/// The partition before it is split, cut in two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Halves {
    pub left: PartitionDescriptor,
    pub right: PartitionDescriptor,
}

/// A group that a split gives birth to, as the replica's own node has it: both records belong into the batch of the split. Its log
/// begins at the birth mark, once that batch is durable, and only where the node still accepts the replica's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    pub descriptor: PartitionDescriptor,
    /// The replica on this node.
    pub replica: ReplicaId,
    /// The encoded [`GroupState`] and [`AppliedMark`].
    pub state: Bytes,
    pub mark: Bytes,
}

/// Both halves, or why the partition cannot be split so.
pub(crate) fn plan(
    descriptor: &PartitionDescriptor,
    at: &Bytes,
    child: PartitionId,
    flaw: Flaw,
) -> Result<Halves, String> {
    let range = &descriptor.range;
    if !range.contains(at) || *at == range.start {
        return Err("the key is not inside the partition's range".to_owned());
    }
    if child == descriptor.id || child == PartitionId(0) {
        return Err(format!("partition {child} cannot be the new one"));
    }
    let whole =
        |replica: &ReplicaDescriptor| replica.role == ReplicaRole::Voter && replica.kind == ReplicaKind::Storage;
    if !descriptor.replicas.iter().all(whole) {
        return Err("a replica does not vote or has no items: the group is made whole first".to_owned());
    }
    let mut left = descriptor.clone();
    left.range = KeyRange { start: range.start.clone(), end: Some(at.clone()) };
    left.epoch += u64::from(!flaw.is(Mutant::SplitKeepsEpoch));
    let mut right = descriptor.clone();
    right.id = child;
    right.range = KeyRange { start: at.clone(), end: range.end.clone() };
    // Whatever overlaps in a table's partition map is told apart by its epoch: along each key's line of owners it rises.
    right.epoch = descriptor.epoch + 1;
    let mut id = 0;
    for replica in &mut right.replicas {
        id += 1;
        replica.id = ReplicaId(id);
    }
    right.next_replica = ReplicaId(id + 1);
    Ok(Halves { left, right })
}

/// The right half on the node of the parent's replica `own`; none where that one is no member.
pub(crate) fn child(halves: &Halves, own: ReplicaId, parent: &AppliedMark, table: &TableDescriptor) -> Option<Child> {
    let Halves { left, right } = halves;
    let replica = right.on_node(left.replica(own)?.node)?.id;
    let state = GroupState::birth(replica, right.clone(), table.clone());
    // Commit times go on where the parent's ended.
    let mark = AppliedMark { index: BIRTH_INDEX, term: BIRTH_TERM, commit_time_us: parent.commit_time_us };
    let (state, mark) = (state.encode(), mark.encode());
    Some(Child { descriptor: right.clone(), replica, state, mark })
}

/// A leader's split on its way.
#[derive(Default)]
pub(crate) struct Dividing {
    under_way: Option<UnderWay>,
}

struct UnderWay {
    index: u64,
    at: Bytes,
    /// Writes to the right half that came meanwhile.
    held: Vec<Token>,
}

impl Dividing {
    pub(crate) fn begin(&mut self, index: u64, at: Bytes, held: Vec<Token>) {
        self.under_way = Some(UnderWay { index, at, held });
    }

    pub(crate) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Where the writes to this key wait.
    pub(crate) fn hold(&mut self, key: &[u8]) -> Option<&mut Vec<Token>> {
        let under_way = self.under_way.as_mut().filter(|under_way| *under_way.at <= *key)?;
        Some(&mut under_way.held)
    }

    /// The entry at that index was handed to the engine. Who waited for it, if it was this split's.
    pub(crate) fn end(&mut self, index: u64) -> Option<Vec<Token>> {
        self.under_way.take_if(|under_way| under_way.index == index).map(|under_way| under_way.held)
    }

    pub(crate) fn tokens(self) -> impl Iterator<Item = Token> {
        self.under_way.into_iter().flat_map(|under_way| under_way.held)
    }
}
