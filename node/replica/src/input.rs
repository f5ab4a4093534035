//! Everything that can happen to a replica.

use bytes::Bytes;
use model::expression::{Condition, Update};
use model::{Item, NodeId, PartitionId, ReplicaId, ReplicaKind, TableDescriptor, Zone};

use crate::effect::{Envelope, FetchRequest};
use crate::repair::{NoPlace, Wanted};
use crate::state::SnapshotContent;
use crate::{Token, eraftpb};

/// One thing that happened.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a box would cost an allocation for every message")]
pub enum Input {
    /// One tick of the host's logical clock (100 ms by default).
    Tick,
    /// From another replica of the group. The host has checked that it is for this replica.
    Message(Envelope),
    /// A frame to that replica's node was dropped or its stream broke.
    Unreachable(ReplicaId),

    /// The node of that replica is silent, or has started anew: who sleeps in its care wakes (`sleep`).
    Lost(ReplicaId),
    /// The node of that replica has said that it is about to stop, and will be back: its silence is no reason to hurry.
    Stopping(ReplicaId),

    /// A client's write, to be answered with [`crate::Answer`]. The epoch is checked here.
    Write { token: Token, epoch: u64, request: Box<WriteRequest> },
    /// A strongly consistent read: the token comes back in `Effects::confirmed` once the host may read the applied state,
    /// or is refused in `Effects::answers`.
    Confirm { token: Token, epoch: u64 },
    /// The old item that `Effects::reads` asked for: encoded attributes, read at the state applied when it was asked for
    /// or any later one.
    ItemRead { ticket: u64, attributes: Option<Bytes> },
    /// The read failed on this disk; the request is refused.
    ItemReadFailed { ticket: u64 },

    /// The append numbered so, and every one before it, is synced.
    Persisted { number: u64 },
    /// The apply batch up to this index is in the engine.
    Applied { index: u64 },
    /// The engine has flushed up to this applied index: what a crash cannot take back.
    Flushed { index: u64 },
    /// The answer to `Effects::fetch`: the entries from the log, as many as fit, from the first asked for.
    Fetched { request: FetchRequest, entries: Vec<eraftpb::Entry> },

    /// The snapshot that `Effects::snapshot_wanted` asked for is ready to be sent: its content is fixed.
    SnapshotBuilt { to: ReplicaId, content: SnapshotContent },
    /// It could not be built; raft may ask again.
    SnapshotFailed { to: ReplicaId },
    /// The snapshot's files and its message have reached the receiver, or have not.
    SnapshotSent { to: ReplicaId, delivered: bool },
    /// `Effects::install` is done: engine and log hold the snapshot, durably.
    Installed { index: u64 },

    /// The answer to `Effects::place_wanted`.
    Placed { wanted: Wanted, place: Result<(NodeId, Zone), NoPlace> },

    /// To the leader: one change of membership planned against this epoch.
    Change { token: Token, epoch: u64, change: Change },
    /// To the leader: cut the partition at that key, which becomes the first of the new partition `child`. Planned against this
    /// epoch; answered when this replica has applied it.
    Split { token: Token, epoch: u64, at: Bytes, child: PartitionId },
    /// Stand for election now: the host knows that nobody leads.
    Campaign,
    /// To the leader: the table's descriptor, if newer.
    SetTable { token: Token, table: Box<TableDescriptor> },
    /// To the leader.
    Transfer { token: Token, to: ReplicaId },
    /// `Effects::commit_untold` has stood for a while: tell the followers how far the log is committed.
    AnnounceCommit,
    /// The node is about to stop, or its disk is in trouble: hand leadership on if possible.
    Resign,
}

/// A client's write, expressions decoded.
#[derive(Clone, Debug)]
pub struct WriteRequest {
    /// An encoded item key.
    pub key: Bytes,
    pub action: Action,
    pub condition: Option<Condition>,
    pub return_old: bool,
    pub return_new: bool,
    pub return_old_on_failure: bool,
    pub request_id: Bytes,
}

#[derive(Clone, Debug)]
pub enum Action {
    /// Encoded attributes.
    Put(Bytes),
    Delete,
    Update {
        /// The key's attributes: what a new item starts from.
        key_attributes: Item,
        /// None creates the item where it is missing and changes nothing else.
        update: Option<Update>,
    },
}

/// One change of membership: one configuration change entry, a joint one where it does more than one thing. What is allowed
/// is judged by the group that would result (`membership`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    pub add: Option<Add>,
    /// A learner with items that has caught up.
    pub promote: Option<ReplicaId>,
    /// A voter, but not the leader.
    pub demote: Option<ReplicaId>,
    /// A learner: a voter is demoted first.
    pub remove: Option<ReplicaId>,
}

/// A new replica; its id is the descriptor's `next_replica`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Add {
    pub node: NodeId,
    pub zone: Zone,
    /// A log replica votes from the beginning, a storage replica does not yet.
    pub kind: ReplicaKind,
}

impl Change {
    pub fn add(node: NodeId, zone: Zone, kind: ReplicaKind) -> Change {
        Change { add: Some(Add { node, zone, kind }), ..Change::default() }
    }

    pub fn swap(promote: ReplicaId, demote: ReplicaId) -> Change {
        Change { promote: Some(promote), demote: Some(demote), ..Change::default() }
    }

    pub fn remove(replica: ReplicaId) -> Change {
        Change { remove: Some(replica), ..Change::default() }
    }
}
