//! The replica itself.

use model::{PartitionDescriptor, PartitionId, ReplicaId, TableDescriptor};

use crate::{Effects, Input, Now, Start};

/// One replica of one partition.
pub struct Replica {
    _start: Start,
}

/// Why a replica cannot be started: what the host found contradicts itself.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the log of partition {partition} ends at {last} before its applied mark {applied}")]
    LogEndsEarly { partition: PartitionId, last: u64, applied: u64 },
    #[error("raft refused to start")]
    Raft(#[source] raft::Error),
}

/// What others may know of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub replica: ReplicaId,
    pub leader: Option<ReplicaId>,
    pub term: u64,
    pub last_index: u64,
    pub committed: u64,
    pub applied: u64,
    /// It leads and has applied the first entry of its term.
    pub serving: bool,
    pub in_joint_change: bool,
    /// The leader's view of the others, by replica.
    pub progress: Vec<Progress>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    pub replica: ReplicaId,
    pub matched: u64,
    pub recently_active: bool,
    pub receiving_snapshot: bool,
}

impl Replica {
    pub fn start(_start: Start) -> Result<Replica, StartError> {
        unimplemented!()
    }

    /// Takes everything that waits, in order; `inputs` is left empty.
    pub fn step(&mut self, _now: Now, _inputs: &mut Vec<Input>) -> Effects {
        unimplemented!()
    }

    pub fn status(&self) -> Status {
        unimplemented!()
    }

    pub fn id(&self) -> ReplicaId {
        unimplemented!()
    }

    /// Empty before the first snapshot.
    pub fn descriptor(&self) -> Option<&PartitionDescriptor> {
        unimplemented!()
    }

    pub fn table(&self) -> Option<&TableDescriptor> {
        unimplemented!()
    }

    /// Aborts on a broken invariant: truncated ≤ applied ≤ committed ≤ last. Called after every step.
    pub fn check(&self) {
        unimplemented!()
    }

    /// Whether a snapshot with this content may be installed on top of what this replica has (for the host, before it
    /// receives the files).
    pub fn wants_snapshot(&self, _index: u64, _term: u64) -> bool {
        unimplemented!()
    }
}
