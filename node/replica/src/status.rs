//! What others may know of a replica.

use model::ReplicaId;

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
    /// No tick is given to it (`sleep`).
    pub asleep: bool,
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

/// What a replica takes of a snapshot that is offered to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Welcome {
    /// The files first, then the message.
    Files,
    /// The message alone: the replica has as much, and raft tells the leader so. A leader that never heard it would offer
    /// the snapshot for ever.
    Message,
    /// Another snapshot is being installed.
    Nothing,
}
