//! Copies: two voters at least have items, one at most has none; and whoever has none serves nobody.

use model::{PartitionDescriptor, ReplicaId, ReplicaKind, ReplicaRole};
use replica::Status;

use crate::event::Group;
use crate::invariant::{Broken, Verdict};

pub fn check(group: Group, descriptor: &PartitionDescriptor) -> Verdict {
    let voters = descriptor.replicas.iter().filter(|replica| replica.role == ReplicaRole::Voter);
    let (with_items, without): (Vec<_>, Vec<_>) = voters.partition(|voter| voter.kind == ReplicaKind::Storage);
    if with_items.len() < 2 || without.len() > 1 {
        return Err(Broken::new("copies", group, format!("too few voters of {descriptor:?} have items")));
    }
    Ok(())
}

pub fn serves(group: Group, status: &Status, descriptor: Option<&PartitionDescriptor>) -> Verdict {
    let kind = |id: ReplicaId| descriptor.and_then(|descriptor| descriptor.replica(id)).map(|own| own.kind);
    if status.serving && kind(status.replica) == Some(ReplicaKind::Log) {
        return Err(Broken::new("copies", group, format!("log replica {} serves", status.replica)));
    }
    Ok(())
}
