//! Snapshots on their way out and in: raft's message carries the group's state, the host carries the items.

use model::{ReplicaId, ReplicaKind};

use crate::eraftpb::{HardState, Message, MessageType, Snapshot, SnapshotMetadata};
use crate::state::SnapshotContent;
use crate::{Install, Replica};

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

impl Replica {
    /// What a snapshot with this content is to this replica: for the host, before it receives the files.
    pub fn welcome(&self, index: u64, term: u64) -> Welcome {
        if self.installing.is_some() {
            Welcome::Nothing
        } else if index > self.core.committed() && self.core.term_at(index) != Some(term) {
            Welcome::Files
        } else {
            Welcome::Message
        }
    }

    /// The same for its message: before the host steps it.
    pub fn welcomes(&self, message: &Message) -> Welcome {
        let metadata = message.get_snapshot().get_metadata();
        match self.welcome(metadata.index, metadata.term) {
            Welcome::Files if !has_items(message) => Welcome::Message,
            welcome => welcome,
        }
    }
}

/// A snapshot that the host is putting in place.
pub(crate) struct Installing {
    pub content: SnapshotContent,
}

/// What raft sends; none where that receiver is not (yet) in the configuration that the host found in the engine.
pub(crate) fn to_send(to: ReplicaId, content: &SnapshotContent) -> Option<Snapshot> {
    let configuration = &content.state.configuration;
    let mut members = configuration.get_voters().iter();
    let others = configuration.get_learners().iter().chain(configuration.get_voters_outgoing());
    if !members.any(|&id| id == to.0) && !others.into_iter().any(|&id| id == to.0) {
        return None;
    }
    let (index, term) = (content.mark.index, content.mark.term);
    let mut metadata = SnapshotMetadata { index, term, ..SnapshotMetadata::default() };
    metadata.set_conf_state(configuration.clone());
    let mut snapshot = Snapshot { data: content.encode(), ..Snapshot::default() };
    snapshot.set_metadata(metadata);
    Some(snapshot)
}

/// Whether raft may see the message: a snapshot must be of this format, and say twice the same.
pub(crate) fn is_readable(message: &Message) -> bool {
    if message.get_msg_type() != MessageType::MsgSnapshot {
        return true;
    }
    let snapshot = message.get_snapshot();
    let metadata = snapshot.get_metadata();
    SnapshotContent::decode(snapshot.data.clone()).is_ok_and(|content| {
        content.mark.index == metadata.index
            && content.mark.term == metadata.term
            && content.state.configuration == *metadata.get_conf_state()
    })
}

/// Whether items belong to this message's snapshot: the host sends their files first. One that cannot be read is taken for
/// the usual kind.
pub fn has_items(message: &Message) -> bool {
    SnapshotContent::decode(message.get_snapshot().data.clone())
        .map_or(true, |content| kind_of(&content, ReplicaId(message.to)) == ReplicaKind::Storage)
}

fn kind_of(content: &SnapshotContent, replica: ReplicaId) -> ReplicaKind {
    content.state.descriptor.replica(replica).map_or(ReplicaKind::Storage, |replica| replica.kind)
}

/// The snapshot that raft has accepted, made this replica's own.
pub(crate) fn begin(own: ReplicaId, snapshot: Snapshot, hard_state: HardState) -> (Installing, Install) {
    let mut content = SnapshotContent::decode(snapshot.data).expect("it was read when the message came");
    content.state.replica = own;
    let install = Install {
        index: content.mark.index,
        term: content.mark.term,
        state: content.state.encode(),
        mark: content.mark.encode(),
        hard_state,
        has_items: kind_of(&content, own) == ReplicaKind::Storage,
        descriptor: content.state.descriptor.clone(),
    };
    (Installing { content }, install)
}
