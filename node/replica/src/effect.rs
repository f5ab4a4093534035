//! Everything a replica can want.
//!
//! The host carries a step's effects out in this order: `append` is handed to the log writer, `send` leaves at once, `apply`
//! is written, `install` and the rest begin; `answers` and `confirmed` may be used at once (what they promise is already so).

use bytes::Bytes;
use model::{PartitionDescriptor, ReplicaId, TableDescriptor};

use crate::entry::WriteKind;
use crate::eraftpb::MessageType;
use crate::repair::Wanted;
use crate::split::Child;
use crate::{Token, eraftpb};

/// What one step wants.
#[derive(Debug, Default)]
pub struct Effects {
    /// Old items to read from the applied state, answered by `Input::ItemRead`; nothing of the write happens before.
    pub reads: Vec<ReadItem>,
    /// To be appended and synced; answered by `Input::Persisted`. At most one per step; appends are numbered upwards.
    pub append: Option<Append>,
    /// To be sent now.
    pub send: Vec<Envelope>,
    /// To be written to the engine as one atomic batch; answered by `Input::Applied`.
    pub apply: Option<ApplyBatch>,
    pub answers: Vec<(Token, Answer)>,
    /// These strongly consistent reads may read the applied state now.
    pub confirmed: Vec<Token>,
    /// Entries to read back from the log, for a follower that lags; answered by `Input::Fetched`.
    pub fetch: Vec<FetchRequest>,
    /// A snapshot to build for that replica from the applied state; answered by `Input::SnapshotBuilt`.
    pub snapshot_wanted: Option<ReplicaId>,
    /// A snapshot that has arrived and is to replace everything this replica has; answered by `Input::Installed`. No other
    /// append or apply comes before that.
    pub install: Option<Install>,
    /// A node for a new replica, answered by `Input::Placed`; asked again after a while where no answer comes.
    pub place_wanted: Option<Wanted>,
    /// Entries up to and including this index may be removed from the log.
    pub truncate: Option<u64>,
    /// The followers do not know yet how far the log is committed. The next append tells them; where none comes within a few
    /// milliseconds, `Input::AnnounceCommit` does.
    pub commit_untold: bool,
    /// What changed, for the host's announcements, logs and metrics.
    pub events: Vec<Event>,
}

/// An old item to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadItem {
    pub ticket: u64,
    pub key: Bytes,
}

/// What goes to the log, all or nothing, then is synced.
#[derive(Clone, Debug)]
pub struct Append {
    pub number: u64,
    /// Entries at or above the first one's index that the log still holds are overwritten.
    pub entries: Vec<eraftpb::Entry>,
    pub hard_state: Option<eraftpb::HardState>,
    /// False where only the commit index moved: it may be written with the next one.
    pub must_sync: bool,
    /// This replica lacks what its log may have lost: even if it votes, a start must go on doubting the log's tail.
    pub doubted: bool,
}

/// A message between two replicas of the group.
#[derive(Clone, Debug)]
pub struct Envelope {
    pub from: ReplicaId,
    pub to: ReplicaId,
    pub body: MessageBody,
}

#[derive(Clone, Debug)]
pub enum MessageBody {
    Raft(eraftpb::Message),
    /// A replica that is not sure of its log's tail asks the others before it votes (ARCHITECTURE.md, "The log"). The number
    /// tells this start's question from those of an earlier one.
    TailAsked {
        question: u64,
    },
    /// The answer: the teller's term and last entry, and what it knows to be committed.
    TailTold {
        question: u64,
        term: u64,
        last_index: u64,
        last_term: u64,
        commit: u64,
    },
    /// A leader with nothing to do asks a follower to sleep (`sleep`): its term and the index at which its log ends.
    SleepAsked {
        term: u64,
        index: u64,
    },
    /// The follower sleeps from now on.
    SleepAgreed {
        term: u64,
        index: u64,
    },
    /// Who hears it wakes: its sender woke, or its host stopped the replica that others count on.
    WakeAsked,
    /// From the leader: that replica has been silent for so many ticks. Whoever leads next does not begin to count anew.
    Absent {
        replica: ReplicaId,
        ticks: u64,
    },
    /// From the host of a replica that has lost what it had acknowledged, and that says nothing more itself.
    Unfit,
    /// From the leader: its log begins after this entry, which two replicas with items hold. Others truncate no further.
    Truncated {
        index: u64,
    },
}

impl MessageBody {
    /// Raft's own message; none for what replicas and hosts say beside it.
    pub fn raft(&self) -> Option<&eraftpb::Message> {
        match self {
            MessageBody::Raft(message) => Some(message),
            MessageBody::TailAsked { .. }
            | MessageBody::TailTold { .. }
            | MessageBody::Truncated { .. }
            | MessageBody::SleepAsked { .. }
            | MessageBody::SleepAgreed { .. }
            | MessageBody::Absent { .. }
            | MessageBody::Unfit
            | MessageBody::WakeAsked => None,
        }
    }
}

impl Envelope {
    /// Whether it may bring an empty replica to life on a node that has none: what a replica says to one that it takes for a
    /// member. Answers between members are not, nor is anything to an id that the node no longer accepts.
    pub fn gives_life(&self) -> bool {
        match &self.body {
            MessageBody::Raft(message) => matches!(
                message.msg_type,
                MessageType::MsgAppend
                    | MessageType::MsgHeartbeat
                    | MessageType::MsgSnapshot
                    | MessageType::MsgRequestVote
                    | MessageType::MsgRequestPreVote
            ),
            // Who asks counts on the answer of everybody: a voter that was added and has heard nothing yet has an empty log to tell of, and
            // without it two that doubt theirs would wait for ever.
            MessageBody::TailAsked { .. } => true,
            MessageBody::TailTold { .. }
            | MessageBody::Truncated { .. }
            | MessageBody::SleepAsked { .. }
            | MessageBody::SleepAgreed { .. }
            | MessageBody::Absent { .. }
            | MessageBody::Unfit
            | MessageBody::WakeAsked => false,
        }
    }
}

/// Committed writes and what else changes with them.
#[derive(Clone, Debug)]
pub struct ApplyBatch {
    /// The index of the last entry in it.
    pub index: u64,
    /// In log order.
    pub writes: Vec<AppliedWrite>,
    /// The encoded [`crate::AppliedMark`], to be stored under the group in the same batch.
    pub mark: Bytes,
    /// The encoded [`crate::GroupState`], where membership, range or table changed.
    pub state: Option<Bytes>,
    /// Groups that splits among the entries have given birth to: their records are part of the batch.
    pub children: Vec<Child>,
}

/// One write: the host puts the record's header in front (`model::item::encode_record`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedWrite {
    /// Index of its entry: the record's log position.
    pub index: u64,
    pub space: u8,
    pub key: Bytes,
    pub kind: WriteKind,
    /// Encoded attributes; empty for a delete.
    pub attributes: Bytes,
    pub version_timestamp_us: u64,
}

/// A snapshot to install: the host has received its files for exactly this (replica, index, term), unless it has none.
#[derive(Clone, Debug)]
pub struct Install {
    pub index: u64,
    pub term: u64,
    /// The encoded [`crate::GroupState`] and [`crate::AppliedMark`] of the snapshot.
    pub state: Bytes,
    pub mark: Bytes,
    /// To be durable together with the log's new beginning (index, term).
    pub hard_state: eraftpb::HardState,
    /// The partition's descriptor in that state: whose range is replaced.
    pub descriptor: PartitionDescriptor,
    /// False for a log replica's: the engine gets state and mark, and no items.
    pub has_items: bool,
}

/// Entries `low..high` of the log, up to `max_bytes` (at least one).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchRequest {
    pub low: u64,
    pub high: u64,
    pub max_bytes: u64,
    pub to: ReplicaId,
}

/// The end of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// In the synced logs of a quorum in two zones, and applied here. Images are encoded attributes, where asked for.
    Written {
        old: Option<Bytes>,
        new: Option<Bytes>,
        old_size: u32,
        new_size: u32,
    },
    ConditionFailed {
        old: Option<Bytes>,
        old_size: u32,
    },
    /// DynamoDB's sentence of a ValidationException.
    Invalid {
        message: String,
    },
    /// An administrative command is done.
    Done,
    Refused(Refusal),
}

/// Why a request was not carried out; all but `Unknown` say that nothing was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    NotLeader {
        leader: Option<ReplicaId>,
    },
    /// The router's descriptor is not this one.
    StaleEpoch {
        descriptor: Box<PartitionDescriptor>,
    },
    Overloaded,
    /// Leadership was lost while the write was on its way: perhaps applied.
    Unknown,
    TableGone,
    /// No leader yet, or this leader has not applied the first entry of its term.
    NotReady,
    /// The change is not possible on the configuration as it is; says why.
    Impossible {
        reason: String,
    },
    /// The disk failed to read.
    ReadFailed,
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The leader as this replica knows it.
    Leader {
        leader: Option<ReplicaId>,
        term: u64,
    },
    /// This leader has applied the first entry of its term and serves from now on.
    Serving {
        term: u64,
    },
    Descriptor(Box<PartitionDescriptor>),
    Table(Box<TableDescriptor>),
    /// This replica is no longer in the group's configuration; the host retires it.
    Removed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_was_never_here_is_brought_to_life_by_a_question_and_not_by_an_answer() {
        let envelope = |body| Envelope { from: ReplicaId(1), to: ReplicaId(4), body };
        assert!(envelope(MessageBody::TailAsked { question: 7 }).gives_life());
        let told = MessageBody::TailTold { question: 7, term: 6, last_index: 20, last_term: 6, commit: 20 };
        for body in [told, MessageBody::WakeAsked, MessageBody::Unfit, MessageBody::Truncated { index: 5 }] {
            assert!(!envelope(body).gives_life());
        }
    }
}
