//! One split at a key that was given: asked of the leader, then waited for until both halves serve.
//!
//! Planned on the group's epoch, and looked at again before every attempt: an answer that was lost is found in what the nodes say,
//! since the new partition's id is the same throughout. The driver adopts the new partition as it finds it.

use std::time::Duration;

use bytes::Bytes;
use model::{NodeId, PartitionDescriptor, PartitionId, TableDescriptor, TableStatus};
use wire::admin::SplitGroupRequest;

use crate::cluster::{Cluster, ClusterError};
use crate::observe;
use crate::plan::Observed;

/// Between two looks.
const RETRY: Duration = Duration::from_millis(100);

/// What is to be cut where.
#[derive(Clone, Debug)]
pub struct Split {
    pub partition: PartitionId,
    /// The encoded key with which the new partition begins.
    pub at: Bytes,
}

/// Both halves, when both have a leader that serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Halves {
    pub left: PartitionDescriptor,
    pub right: PartitionDescriptor,
}

#[derive(Debug, thiserror::Error)]
pub enum SplitError {
    #[error("no node that answers has a group of partition {0}")]
    Unknown(PartitionId),
    #[error("{0}")]
    Impossible(String),
    #[error("no randomness: {0}")]
    Randomness(getrandom::Error),
    #[error("not done before the deadline; the last that stood in the way: {last}")]
    TimedOut { last: String },
}

/// What an attempt finds.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Next {
    Ask { leader: NodeId, epoch: u64 },
    Wait(&'static str),
    Impossible(String),
    Done(Box<Halves>),
}

/// The table of a partition, as its replicas know it: keys are encoded by its schema and seed.
pub async fn table_of(cluster: &Cluster, partition: PartitionId) -> Result<TableDescriptor, SplitError> {
    let observed = observe::groups(cluster).await;
    let reports = observed.groups.get(&partition).into_iter().flatten();
    let newest = reports.filter_map(|report| report.table.as_ref()).max_by_key(|table| table.version);
    newest.map(|table| TableDescriptor::clone(table)).ok_or(SplitError::Unknown(partition))
}

/// Carries it out, until `deadline` from now.
pub async fn carry_out(cluster: &Cluster, split: &Split, deadline: Duration) -> Result<Halves, SplitError> {
    let mut last = String::from("no leader was found");
    let attempts = async {
        let child = unused_id(cluster).await?;
        let mut asked = false;
        loop {
            match next_step(&observe::groups(cluster).await, split, child, asked) {
                Next::Ask { leader, epoch } => {
                    asked = true;
                    if let Err(error) = ask(cluster, leader, epoch, split, child).await {
                        last = error.to_string();
                        tokio::time::sleep(RETRY).await;
                    }
                }
                Next::Wait(why) => {
                    why.clone_into(&mut last);
                    tokio::time::sleep(RETRY).await;
                }
                Next::Impossible(why) => return Err(SplitError::Impossible(why)),
                Next::Done(halves) => return Ok(*halves),
            }
        }
    };
    match tokio::time::timeout(deadline, attempts).await {
        Ok(result) => result,
        Err(_) => Err(SplitError::TimedOut { last }),
    }
}

/// Drawn at random; no group of the nodes that answer has it.
async fn unused_id(cluster: &Cluster) -> Result<PartitionId, SplitError> {
    let observed = observe::groups(cluster).await;
    loop {
        let id = PartitionId(getrandom::u64().map_err(SplitError::Randomness)?);
        if id != PartitionId(0) && !observed.groups.contains_key(&id) {
            return Ok(id);
        }
    }
}

async fn ask(
    cluster: &Cluster,
    leader: NodeId,
    epoch: u64,
    split: &Split,
    child: PartitionId,
) -> Result<(), ClusterError> {
    let Split { partition, at } = split;
    let request = SplitGroupRequest { partition: partition.0, epoch, at: at.clone(), child: child.0 };
    cluster.node(leader)?.split_group(request).await?;
    Ok(())
}

fn next_step(observed: &Observed, split: &Split, child: PartitionId, asked: bool) -> Next {
    let serving = |partition: PartitionId| {
        let report = observed.groups.get(&partition)?.iter().find(|report| report.serving)?;
        Some((report, report.descriptor.as_deref()?))
    };
    if observed.groups.contains_key(&child) {
        return match (serving(split.partition), serving(child)) {
            (Some((_, left)), Some((_, right))) => {
                Next::Done(Box::new(Halves { left: left.clone(), right: right.clone() }))
            }
            (None, _) => Next::Wait("the left half has no leader"),
            (_, None) => Next::Wait("the new partition has no leader yet"),
        };
    }
    if !observed.groups.contains_key(&split.partition) && observed.complete {
        return Next::Impossible(format!("no node has a group of partition {}", split.partition));
    }
    let Some((report, descriptor)) = serving(split.partition) else { return Next::Wait("the partition has no leader") };
    let is_active = report.table.as_ref().is_some_and(|table| match table.status {
        TableStatus::Active | TableStatus::Updating => true,
        TableStatus::Creating | TableStatus::Deleting | TableStatus::Retained => false,
    });
    if !is_active {
        return Next::Impossible("the table is not active".to_owned());
    }
    let is_inside = descriptor.range.contains(&split.at) && descriptor.range.start != split.at;
    match (is_inside, asked) {
        (true, _) => Next::Ask { leader: report.node, epoch: descriptor.epoch },
        (false, true) => Next::Wait("the new partition is not seen yet"),
        (false, false) => Next::Impossible("the key is not inside the partition's range".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use model::KeyRange;
    use model::units::Consumption;

    use super::*;
    use crate::plan::ReplicaReport;
    use crate::plan::tests::{partition, table};

    const CHILD: PartitionId = PartitionId(4);

    fn report(descriptor: PartitionDescriptor, serving: bool, status: TableStatus) -> ReplicaReport {
        let table = Some(TableDescriptor { status, ..table("music") }.into());
        ReplicaReport {
            node: NodeId(22),
            descriptor: Some(descriptor.into()),
            table,
            serving,
            health: None,
            size: None,
            consumption: Consumption::default(),
        }
    }

    fn seen(reports: Vec<ReplicaReport>) -> Observed {
        let by_id = |report: ReplicaReport| (report.descriptor.as_ref().unwrap().id, vec![report]);
        let groups: BTreeMap<_, _> = reports.into_iter().map(by_id).collect();
        Observed { complete: true, groups, ..Observed::default() }
    }

    fn next(observed: &Observed, asked: bool) -> Next {
        next_step(observed, &Split { partition: PartitionId(3), at: Bytes::from("m") }, CHILD, asked)
    }

    #[test]
    fn a_split_is_asked_of_the_leader_and_done_when_both_halves_serve() {
        let whole = partition(3, 7);
        let active = TableStatus::Active;
        let before = seen(vec![report(whole.clone(), true, active)]);
        assert_eq!(next(&before, false), Next::Ask { leader: NodeId(22), epoch: whole.epoch });
        // Asked and not carried out, it is asked again.
        assert_eq!(next(&before, true), Next::Ask { leader: NodeId(22), epoch: whole.epoch });

        let (mut left, mut right) = (whole, partition(4, 7));
        left.range = KeyRange { start: Bytes::new(), end: Some(Bytes::from("m")) };
        right.range = KeyRange { start: Bytes::from("m"), end: None };
        let shrunk = seen(vec![report(left.clone(), true, active)]);
        assert_eq!(next(&shrunk, true), Next::Wait("the new partition is not seen yet"));
        assert!(matches!(next(&shrunk, false), Next::Impossible(_)));
        let born = seen(vec![report(left.clone(), true, active), report(right.clone(), false, active)]);
        assert_eq!(next(&born, true), Next::Wait("the new partition has no leader yet"));
        let served = seen(vec![report(left.clone(), true, active), report(right.clone(), true, active)]);
        assert_eq!(next(&served, true), Next::Done(Box::new(Halves { left, right })));
    }

    #[test]
    fn what_cannot_be_split_is_told_at_once() {
        assert!(matches!(next(&seen(Vec::new()), false), Next::Impossible(_)));
        let leaderless = seen(vec![report(partition(3, 7), false, TableStatus::Active)]);
        assert_eq!(next(&leaderless, false), Next::Wait("the partition has no leader"));
        let deleting = seen(vec![report(partition(3, 7), true, TableStatus::Deleting)]);
        assert!(matches!(next(&deleting, false), Next::Impossible(_)));
        let mut begins_there = partition(3, 7);
        begins_there.range.start = Bytes::from("m");
        let begins_there = seen(vec![report(begins_there, true, TableStatus::Active)]);
        assert!(matches!(next(&begins_there, false), Next::Impossible(_)));
    }
}
