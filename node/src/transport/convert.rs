//! Raft's own messages ↔ `wire::raft::Message`: raft brings an older protobuf whose parser never sees the network.
//!
//! Every entry gets its CRC-32C where it is sent and is held against it where it is received. `MsgPropose` travels in neither
//! direction: a proposal forwarded to a new leader would commit bytes computed on an old state.

use bytes::Bytes;
use model::{PartitionId, ReplicaId};
use protobuf::ProtobufEnum;
use replica::eraftpb::{ConfState, Entry, EntryType, Message, MessageType, Snapshot, SnapshotMetadata};
use replica::{Envelope, MessageBody};
use wire::raft as proto;

/// Beyond raft's own numbers: [`MessageBody::TailAsked`]. The question's number travels as the reject hint, here and in the
/// answer.
pub const KIND_TAIL_ASKED: u32 = 100;
/// [`MessageBody::TailTold`].
pub const KIND_TAIL_TOLD: u32 = 101;
/// [`MessageBody::Truncated`].
pub const KIND_TRUNCATED: u32 = 107;
/// A silent replica asks whether it is still a member.
const KIND_MEMBER_ASKED: u32 = 102;
/// It is not.
const KIND_MEMBER_GONE: u32 = 103;

/// [`MessageBody::SleepAsked`] and its answer: term and index.
const KIND_SLEEP_ASKED: u32 = 104;
const KIND_SLEEP_AGREED: u32 = 105;
/// [`MessageBody::WakeAsked`].
const KIND_WAKE_ASKED: u32 = 106;

/// [`MessageBody::Absent`]: the replica's id as the reject hint, the ticks as the index.
const KIND_ABSENT: u32 = 108;
/// [`MessageBody::Unfit`].
const KIND_UNFIT: u32 = 109;

/// What arrives for a group.
#[derive(Clone, Debug)]
pub enum Parcel {
    ForReplica(Envelope),
    /// Between hosts: `from` asks whether it is still a member.
    MemberAsked {
        from: ReplicaId,
        to: ReplicaId,
    },
    /// Between hosts: it is not.
    MemberGone {
        to: ReplicaId,
    },
}

pub fn member_asked(partition: PartitionId, from: ReplicaId, to: ReplicaId) -> proto::Message {
    let kind = KIND_MEMBER_ASKED;
    proto::Message { partition: partition.0, from: from.0, to: to.0, kind, ..Default::default() }
}

pub fn member_gone(partition: PartitionId, from: ReplicaId, to: ReplicaId) -> proto::Message {
    let kind = KIND_MEMBER_GONE;
    proto::Message { partition: partition.0, from: from.0, to: to.0, kind, ..Default::default() }
}

/// Why a message from the network is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Garbage {
    #[error("message kind {0} does not travel")]
    Kind(u32),
    #[error("entry kind {0} is unknown")]
    EntryKind(u32),
    #[error("entry {index} fails its checksum")]
    Checksum { index: u64 },
    #[error("a snapshot message without its metadata")]
    NoSnapshot,
}

/// None for what must not be sent.
pub fn to_wire(partition: PartitionId, envelope: Envelope) -> Option<proto::Message> {
    let Envelope { from, to, body } = envelope;
    let base = proto::Message { partition: partition.0, from: from.0, to: to.0, ..Default::default() };
    match body {
        MessageBody::Raft(message) => raft_to_wire(base, message),
        MessageBody::TailAsked { question } => {
            Some(proto::Message { kind: KIND_TAIL_ASKED, reject_hint: question, ..base })
        }
        MessageBody::Truncated { index } => Some(proto::Message { kind: KIND_TRUNCATED, index, ..base }),
        MessageBody::TailTold { question, term, last_index, last_term, commit } => Some(proto::Message {
            kind: KIND_TAIL_TOLD,
            reject_hint: question,
            term,
            index: last_index,
            log_term: last_term,
            commit,
            ..base
        }),
        MessageBody::SleepAsked { term, index } => Some(proto::Message { kind: KIND_SLEEP_ASKED, term, index, ..base }),
        MessageBody::SleepAgreed { term, index } => {
            Some(proto::Message { kind: KIND_SLEEP_AGREED, term, index, ..base })
        }
        MessageBody::Absent { replica, ticks } => {
            Some(proto::Message { kind: KIND_ABSENT, reject_hint: replica.0, index: ticks, ..base })
        }
        MessageBody::Unfit => Some(proto::Message { kind: KIND_UNFIT, ..base }),
        MessageBody::WakeAsked => Some(proto::Message { kind: KIND_WAKE_ASKED, ..base }),
    }
}

fn raft_to_wire(base: proto::Message, mut message: Message) -> Option<proto::Message> {
    if !travels(message.msg_type) {
        return None;
    }
    let kind = u32::try_from(message.msg_type.value()).ok()?;
    Some(proto::Message {
        kind,
        term: message.term,
        log_term: message.log_term,
        index: message.index,
        entries: message.take_entries().into_iter().map(entry_to_wire).collect(),
        commit: message.commit,
        commit_term: message.commit_term,
        snapshot: message.snapshot.take().map(snapshot_to_wire),
        request_snapshot: message.request_snapshot,
        reject: message.reject,
        reject_hint: message.reject_hint,
        context: message.context,
        priority: message.priority,
        ..base
    })
}

/// The partition and what arrives for it.
pub fn from_wire(message: proto::Message) -> Result<(PartitionId, Parcel), Garbage> {
    let (from, to) = (ReplicaId(message.from), ReplicaId(message.to));
    let partition = PartitionId(message.partition);
    let body = match message.kind {
        KIND_TAIL_ASKED => MessageBody::TailAsked { question: message.reject_hint },
        KIND_TAIL_TOLD => MessageBody::TailTold {
            question: message.reject_hint,
            term: message.term,
            last_index: message.index,
            last_term: message.log_term,
            commit: message.commit,
        },
        KIND_SLEEP_ASKED => MessageBody::SleepAsked { term: message.term, index: message.index },
        KIND_SLEEP_AGREED => MessageBody::SleepAgreed { term: message.term, index: message.index },
        KIND_ABSENT => MessageBody::Absent { replica: ReplicaId(message.reject_hint), ticks: message.index },
        KIND_UNFIT => MessageBody::Unfit,
        KIND_WAKE_ASKED => MessageBody::WakeAsked,
        KIND_TRUNCATED => MessageBody::Truncated { index: message.index },
        KIND_MEMBER_ASKED => return Ok((partition, Parcel::MemberAsked { from, to })),
        KIND_MEMBER_GONE => return Ok((partition, Parcel::MemberGone { to })),
        kind => MessageBody::Raft(raft_from_wire(kind, message)?),
    };
    Ok((partition, Parcel::ForReplica(Envelope { from, to, body })))
}

fn raft_from_wire(kind: u32, message: proto::Message) -> Result<Message, Garbage> {
    let msg_type = i32::try_from(kind)
        .ok()
        .and_then(MessageType::from_i32)
        .filter(|kind| travels(*kind))
        .ok_or(Garbage::Kind(kind))?;
    if msg_type == MessageType::MsgSnapshot && message.snapshot.is_none() {
        return Err(Garbage::NoSnapshot);
    }
    let entries: Vec<Entry> = message.entries.into_iter().map(entry_from_wire).collect::<Result<_, Garbage>>()?;
    let mut raft = Message {
        msg_type,
        from: message.from,
        to: message.to,
        term: message.term,
        log_term: message.log_term,
        index: message.index,
        entries: entries.into(),
        commit: message.commit,
        commit_term: message.commit_term,
        request_snapshot: message.request_snapshot,
        reject: message.reject,
        reject_hint: message.reject_hint,
        context: message.context,
        priority: message.priority,
        ..Default::default()
    };
    if let Some(snapshot) = message.snapshot {
        raft.set_snapshot(snapshot_from_wire(snapshot));
    }
    Ok(raft)
}

fn travels(kind: MessageType) -> bool {
    match kind {
        MessageType::MsgAppend
        | MessageType::MsgAppendResponse
        | MessageType::MsgRequestVote
        | MessageType::MsgRequestVoteResponse
        | MessageType::MsgSnapshot
        | MessageType::MsgHeartbeat
        | MessageType::MsgHeartbeatResponse
        | MessageType::MsgTransferLeader
        | MessageType::MsgTimeoutNow
        | MessageType::MsgReadIndex
        | MessageType::MsgReadIndexResp
        | MessageType::MsgRequestPreVote
        | MessageType::MsgRequestPreVoteResponse => true,
        MessageType::MsgHup
        | MessageType::MsgBeat
        | MessageType::MsgPropose
        | MessageType::MsgUnreachable
        | MessageType::MsgSnapStatus
        | MessageType::MsgCheckQuorum => false,
    }
}

fn checksum(data: &[u8], context: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(data), context)
}

fn entry_to_wire(entry: Entry) -> proto::Entry {
    let kind = match entry.entry_type {
        EntryType::EntryNormal => 0,
        EntryType::EntryConfChange => 1,
        EntryType::EntryConfChangeV2 => 2,
    };
    let crc32c = checksum(&entry.data, &entry.context);
    proto::Entry { kind, term: entry.term, index: entry.index, data: entry.data, context: entry.context, crc32c }
}

fn entry_from_wire(entry: proto::Entry) -> Result<Entry, Garbage> {
    let entry_type = match entry.kind {
        0 => EntryType::EntryNormal,
        1 => EntryType::EntryConfChange,
        2 => EntryType::EntryConfChangeV2,
        kind => return Err(Garbage::EntryKind(kind)),
    };
    if checksum(&entry.data, &entry.context) != entry.crc32c {
        return Err(Garbage::Checksum { index: entry.index });
    }
    Ok(Entry {
        entry_type,
        term: entry.term,
        index: entry.index,
        data: entry.data,
        context: entry.context,
        ..Default::default()
    })
}

fn snapshot_to_wire(mut snapshot: Snapshot) -> proto::SnapshotMetadata {
    let mut metadata = snapshot.take_metadata();
    let configuration = metadata.take_conf_state();
    proto::SnapshotMetadata {
        index: metadata.index,
        term: metadata.term,
        voters: configuration.voters,
        learners: configuration.learners,
        voters_outgoing: configuration.voters_outgoing,
        learners_next: configuration.learners_next,
        auto_leave: configuration.auto_leave,
        data: snapshot.data,
    }
}

fn snapshot_from_wire(snapshot: proto::SnapshotMetadata) -> Snapshot {
    let configuration = ConfState {
        voters: snapshot.voters,
        learners: snapshot.learners,
        voters_outgoing: snapshot.voters_outgoing,
        learners_next: snapshot.learners_next,
        auto_leave: snapshot.auto_leave,
        ..Default::default()
    };
    let mut metadata = SnapshotMetadata { index: snapshot.index, term: snapshot.term, ..Default::default() };
    metadata.set_conf_state(configuration);
    let mut built = Snapshot { data: snapshot.data, ..Default::default() };
    built.set_metadata(metadata);
    built
}

/// About how many bytes the message takes on the wire: what an outbox counts.
pub fn wire_size(message: &proto::Message) -> usize {
    let field: fn(&Bytes) -> usize = Bytes::len;
    let entries: usize = message.entries.iter().map(|e| 40 + field(&e.data) + field(&e.context)).sum();
    96 + entries + field(&message.context) + message.snapshot.as_ref().map_or(0, |s| 64 + s.data.len())
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    fn append() -> Message {
        let entry = Entry {
            entry_type: EntryType::EntryConfChangeV2,
            term: 7,
            index: 21,
            data: Bytes::from_static(b"after-image"),
            context: Bytes::from_static(b"descriptor"),
            ..Default::default()
        };
        Message {
            msg_type: MessageType::MsgAppend,
            from: 1,
            to: 2,
            term: 7,
            log_term: 6,
            index: 20,
            entries: vec![entry].into(),
            commit: 19,
            context: Bytes::from_static(b"read"),
            ..Default::default()
        }
    }

    fn envelope(message: Message) -> Envelope {
        Envelope { from: ReplicaId(1), to: ReplicaId(2), body: MessageBody::Raft(message) }
    }

    fn over_the_wire(envelope: Envelope) -> Result<(PartitionId, Envelope), Garbage> {
        let bytes = to_wire(PartitionId(9), envelope).expect("it travels").encode_to_vec();
        let (partition, parcel) = from_wire(proto::Message::decode(Bytes::from(bytes)).expect("just encoded"))?;
        let Parcel::ForReplica(envelope) = parcel else { panic!("not for a replica: {parcel:?}") };
        Ok((partition, envelope))
    }

    #[test]
    fn messages_arrive_as_they_left() {
        let (partition, arrived) = over_the_wire(envelope(append())).unwrap();
        assert_eq!(partition, PartitionId(9));
        let MessageBody::Raft(message) = arrived.body else { panic!("another kind: {arrived:?}") };
        assert_eq!(message, append());

        let mut snapshot =
            Message { msg_type: MessageType::MsgSnapshot, from: 1, to: 2, term: 7, ..Default::default() };
        let configuration = ConfState { voters: vec![1, 2], learners: vec![3], auto_leave: true, ..Default::default() };
        let mut metadata = SnapshotMetadata { index: 40, term: 6, ..Default::default() };
        metadata.set_conf_state(configuration);
        snapshot.mut_snapshot().set_metadata(metadata);
        snapshot.mut_snapshot().set_data(Bytes::from_static(b"record"));
        let (_, arrived) = over_the_wire(envelope(snapshot.clone())).unwrap();
        let MessageBody::Raft(message) = arrived.body else { panic!("another kind: {arrived:?}") };
        assert_eq!(message, snapshot);
    }

    #[test]
    fn what_is_asked_and_told_of_a_tail_travels_too() {
        let told = MessageBody::TailTold { question: 5, term: 4, last_index: 8, last_term: 3, commit: 7 };
        let (_, arrived) = over_the_wire(Envelope { from: ReplicaId(3), to: ReplicaId(1), body: told }).unwrap();
        assert_eq!((arrived.from, arrived.to), (ReplicaId(3), ReplicaId(1)));
        let MessageBody::TailTold { question: 5, term: 4, last_index: 8, last_term: 3, commit: 7 } = arrived.body
        else {
            panic!("another body: {arrived:?}")
        };
    }

    #[test]
    fn what_is_said_of_sleep_and_absence_travels_too() {
        let bodies = [
            MessageBody::SleepAsked { term: 4, index: 8 },
            MessageBody::SleepAgreed { term: 4, index: 8 },
            MessageBody::Absent { replica: ReplicaId(2), ticks: 30 },
            MessageBody::Unfit,
            MessageBody::WakeAsked,
        ];
        for body in bodies {
            let (_, arrived) =
                over_the_wire(Envelope { from: ReplicaId(3), to: ReplicaId(1), body: body.clone() }).unwrap();
            assert_eq!(format!("{:?}", arrived.body), format!("{body:?}"));
        }
    }

    #[test]
    fn proposals_travel_in_neither_direction() {
        let propose = Message { msg_type: MessageType::MsgPropose, ..append() };
        assert!(to_wire(PartitionId(9), envelope(propose)).is_none());
        let forged = proto::Message { kind: 2, ..Default::default() };
        assert_eq!(from_wire(forged).unwrap_err(), Garbage::Kind(2));
        assert_eq!(from_wire(proto::Message { kind: 77, ..Default::default() }).unwrap_err(), Garbage::Kind(77));
    }

    #[test]
    fn a_flipped_bit_in_an_entry_is_found() {
        let mut message = to_wire(PartitionId(9), envelope(append())).unwrap();
        message.entries[0].data = Bytes::from_static(b"after-imagf");
        assert_eq!(from_wire(message).unwrap_err(), Garbage::Checksum { index: 21 });
    }
}
