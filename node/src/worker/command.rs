//! What administration asks of a worker.

use std::sync::Arc;

use bytes::Bytes;
use model::{NodeId, PartitionDescriptor, PartitionId, ReplicaId, TableDescriptor, TableId};
use replica::{Change, Refusal};
use tokio::sync::oneshot;
use wire::admin::GroupStatus;

/// Told when the command is done.
pub type Reply = oneshot::Sender<Result<(), CommandError>>;

/// One command, for the worker that owns the group.
pub enum Command {
    Create {
        descriptor: Box<PartitionDescriptor>,
        table: Box<TableDescriptor>,
        reply: Reply,
    },
    SetTable {
        partition: PartitionId,
        table: Box<TableDescriptor>,
        reply: Reply,
    },
    Change {
        partition: PartitionId,
        epoch: u64,
        change: Change,
        reply: Reply,
    },
    Transfer {
        partition: PartitionId,
        to: ReplicaId,
        reply: Reply,
    },
    /// Answered when the leader has applied it.
    Split {
        partition: PartitionId,
        epoch: u64,
        /// The encoded key at which the new partition begins.
        at: Bytes,
        child: PartitionId,
        reply: Reply,
    },
    Destroy {
        partition: PartitionId,
        /// As it is being deleted.
        table: Box<TableDescriptor>,
        reply: Reply,
    },
    /// Unsafe recovery: the replica here goes on alone.
    Recover {
        order: Box<crate::worker::recovery::Order>,
        reply: Reply,
    },
    List {
        only: Only,
        reply: oneshot::Sender<Vec<GroupStatus>>,
    },
    /// These leaders hand over: the node is about to stop.
    Resign {
        partitions: Arc<[PartitionId]>,
    },
}

/// Which groups a list holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Only {
    All,
    Table(TableId),
    Partition(PartitionId),
}

impl Only {
    pub fn fits(self, partition: PartitionId, table: Option<TableId>) -> bool {
        match self {
            Only::All => true,
            Only::Table(wanted) => table == Some(wanted),
            Only::Partition(wanted) => partition == wanted,
        }
    }
}

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    #[error("this node has no replica of partition {0}")]
    UnknownPartition(PartitionId),
    #[error("partition {0} is known here: a new one has an id of its own")]
    KnownPartition(PartitionId),
    #[error("the descriptor names no replica on node {0}")]
    NotHere(NodeId),
    #[error("replica {replica} is refused: this node accepts {lowest} and above")]
    Retired { replica: ReplicaId, lowest: ReplicaId },
    #[error("partition {other} of this node covers a part of the range")]
    Overlap { other: PartitionId },
    #[error("this node has replica {found} of the partition already")]
    OtherReplica { found: ReplicaId },
    #[error(
        "the descriptor is not the group's table, or older than what the group knows, or the table is not being deleted"
    )]
    NotDeleting,
    #[error("the replicas are all in one zone: commits need two")]
    OneZone,
    #[error("the replica is not to be recovered from: {0}")]
    NotRecoverable(String),
    #[error("the group is busy: {0}")]
    Busy(&'static str),
    #[error("the disk is nearly full")]
    DiskFull,
    #[error("the records of the group could not be written: {0}")]
    Storage(String),
    /// The replica's own refusal, and the leader's node if it is known.
    #[error("refused: {refusal:?}")]
    Refused { refusal: Refusal, leader: Option<NodeId> },
}
