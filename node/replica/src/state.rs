//! What a replica is started from, and what it keeps in the engine beside the items.
//!
//! Two small records stand in the engine for each group: the applied mark, rewritten with every batch, and the group's state,
//! rewritten when membership, range or table change. A snapshot carries both.

use bytes::Bytes;
use model::codec::DecodeError;
use model::{NodeId, PartitionDescriptor, PartitionId, ReplicaId, TableDescriptor};

use crate::eraftpb;

/// The index at which groups are born: above 0, so that an empty replica always starts from a snapshot.
pub const BIRTH_INDEX: u64 = 10;
/// The term of a group's birth.
pub const BIRTH_TERM: u64 = 5;

/// How far the engine is (format 1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AppliedMark {
    pub index: u64,
    pub term: u64,
    /// Commit time of the last applied entry: commit times never go below it.
    pub commit_time_us: u64,
}

/// What the group is (format 1).
#[derive(Clone, Debug, PartialEq)]
pub struct GroupState {
    /// This replica.
    pub replica: ReplicaId,
    pub descriptor: PartitionDescriptor,
    pub table: TableDescriptor,
    /// Raft's configuration; replica ids sorted.
    pub configuration: eraftpb::ConfState,
}

/// Sizes and times of one replica, in ticks and bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub election_ticks: usize,
    pub heartbeat_ticks: usize,
    /// Seeds the election time-outs.
    pub seed: u64,
    /// Largest log entry that gathers several writes; a larger write travels alone.
    pub entry_bytes: usize,
    /// Proposed and not yet committed, at most.
    pub uncommitted_bytes: u64,
    /// Writes that wait (for an old item, or to be proposed), at most; more are refused.
    pub queued_requests: usize,
    pub queued_bytes: usize,
    /// Applied entries kept in memory for followers.
    pub cache_bytes: usize,
    /// Applied and flushed entries kept in the log for followers that lag, at most.
    pub log_bytes: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            election_ticks: 10,
            heartbeat_ticks: 2,
            seed: 0,
            entry_bytes: 64 << 10,
            uncommitted_bytes: 8 << 20,
            queued_requests: 512,
            queued_bytes: 4 << 20,
            cache_bytes: 1 << 20,
            log_bytes: 64 << 20,
        }
    }
}

/// The log as the host found it.
#[derive(Clone, Debug, Default)]
pub struct LogStart {
    pub hard_state: eraftpb::HardState,
    /// The entry before the log's first one.
    pub truncated_index: u64,
    pub truncated_term: u64,
    /// Runs of terms from the first entry on: (first index of the run, term).
    pub terms: Vec<(u64, u64)>,
    pub last_index: u64,
    /// All entries above the applied mark.
    pub entries: Vec<eraftpb::Entry>,
    /// The log's last batch was unreadable, and it cannot be told whether it had been synced: do not vote before the others
    /// have told what they have.
    pub tail_uncertain: bool,
}

/// Everything a replica starts from. Without a state it is empty: it may vote and receive a snapshot, nothing else.
#[derive(Clone, Debug)]
pub struct Start {
    pub partition: PartitionId,
    pub node: NodeId,
    pub replica: ReplicaId,
    pub options: Options,
    pub log: LogStart,
    pub state: Option<GroupState>,
    pub mark: Option<AppliedMark>,
}

/// What a built snapshot holds: the host read both from the same view of the engine as the items.
#[derive(Clone, Debug, PartialEq)]
pub struct SnapshotContent {
    pub state: GroupState,
    pub mark: AppliedMark,
}

impl GroupState {
    /// The state with which a replica of a new group is born on its node.
    pub fn birth(_replica: ReplicaId, _descriptor: PartitionDescriptor, _table: TableDescriptor) -> GroupState {
        unimplemented!()
    }

    pub fn encode(&self) -> Bytes {
        unimplemented!()
    }

    pub fn decode(_bytes: Bytes) -> Result<GroupState, DecodeError> {
        unimplemented!()
    }
}

impl AppliedMark {
    /// The mark of a group that was just born.
    pub fn birth() -> AppliedMark {
        AppliedMark { index: BIRTH_INDEX, term: BIRTH_TERM, commit_time_us: 0 }
    }

    pub fn encode(&self) -> Bytes {
        unimplemented!()
    }

    pub fn decode(_bytes: Bytes) -> Result<AppliedMark, DecodeError> {
        unimplemented!()
    }
}
