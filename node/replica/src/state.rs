//! What a replica is started from, and what it keeps in the engine beside the items.
//!
//! Two small records stand in the engine for each group: the applied mark, rewritten with every batch, and the group's state,
//! rewritten when membership, range or table change. A snapshot carries both.

use bytes::Bytes;
use model::codec::{DecodeError, Reader, Writer};
use model::{NodeId, PartitionDescriptor, PartitionId, ReplicaId, ReplicaRole, TableDescriptor};

use crate::Flaw;
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

/// What the group is (format 2; format 1 had no settled index).
#[derive(Clone, Debug, PartialEq)]
pub struct GroupState {
    /// This replica.
    pub replica: ReplicaId,
    pub descriptor: PartitionDescriptor,
    pub table: TableDescriptor,
    /// Raft's configuration; replica ids sorted.
    pub configuration: eraftpb::ConfState,
    /// What entries up to here say of membership, range and table is in this state already, though a log replica that began
    /// from it has yet to apply them (`log_replica`). 0 for all others.
    pub settled: u64,
}

/// Sizes and times of one replica, in ticks and bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub election_ticks: usize,
    pub heartbeat_ticks: usize,
    /// A group sleeps when it has had nothing to do for so long; never where it is 0.
    pub sleep_ticks: u64,
    /// A voter that is silent for so long has a log replica stood in for it; never where it is 0.
    pub suspect_ticks: u64,
    /// The same for one whose node has said that it stops, and will be back.
    pub planned_stop_ticks: u64,
    /// One that has been away for so long is rebuilt elsewhere.
    pub replace_after_ticks: u64,
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
    /// Applied and flushed entries kept in the log for members that lag or are away, at most.
    pub log_bytes: u64,
    /// None, but in the simulator's tests.
    pub flaw: Flaw,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            election_ticks: 10,
            heartbeat_ticks: 2,
            sleep_ticks: 0,
            suspect_ticks: 0,
            planned_stop_ticks: 600,
            replace_after_ticks: 6_000,
            seed: 0,
            entry_bytes: 64 << 10,
            uncommitted_bytes: 8 << 20,
            queued_requests: 512,
            queued_bytes: 4 << 20,
            cache_bytes: 1 << 20,
            log_bytes: 1 << 30,
            flaw: Flaw::default(),
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

const FORMAT: u8 = 1;
const STATE_FORMAT: u8 = 2;

impl GroupState {
    /// The state with which a replica of a new group is born on its node. Its log may be empty: a group that stands at its
    /// birth mark begins there.
    pub fn birth(replica: ReplicaId, descriptor: PartitionDescriptor, table: TableDescriptor) -> GroupState {
        let ids = |role| {
            let mut ids: Vec<u64> = descriptor.replicas.iter().filter(|r| r.role == role).map(|r| r.id.0).collect();
            ids.sort_unstable();
            ids
        };
        let mut configuration = eraftpb::ConfState::default();
        configuration.set_voters(ids(ReplicaRole::Voter));
        configuration.set_learners(ids(ReplicaRole::Learner));
        GroupState { replica, descriptor, table, configuration, settled: 0 }
    }

    pub fn encode(&self) -> Bytes {
        let GroupState { replica, descriptor, table, configuration, settled } = self;
        let mut out = Vec::new();
        let mut writer = Writer(&mut out);
        writer.u8(STATE_FORMAT);
        writer.varint(replica.0);
        writer.bytes(&descriptor.encode());
        writer.bytes(&table.encode());
        for ids in [
            configuration.get_voters(),
            configuration.get_learners(),
            configuration.get_voters_outgoing(),
            configuration.get_learners_next(),
        ] {
            let mut ids = ids.to_vec();
            ids.sort_unstable();
            writer.varint(ids.len() as u64);
            ids.iter().for_each(|&id| writer.varint(id));
        }
        writer.u8(u8::from(configuration.auto_leave));
        writer.varint(*settled);
        Bytes::from(out)
    }

    pub fn decode(bytes: Bytes) -> Result<GroupState, DecodeError> {
        let mut reader = Reader::new(bytes);
        let format = reader.u8()?;
        if !(FORMAT..=STATE_FORMAT).contains(&format) {
            return Err(DecodeError::UnknownFormat(format));
        }
        let replica = ReplicaId(reader.varint()?);
        let descriptor = PartitionDescriptor::decode(reader.bytes()?)?;
        let table = TableDescriptor::decode(reader.bytes()?)?;
        let mut configuration = eraftpb::ConfState::default();
        configuration.set_voters(read_ids(&mut reader)?);
        configuration.set_learners(read_ids(&mut reader)?);
        configuration.set_voters_outgoing(read_ids(&mut reader)?);
        configuration.set_learners_next(read_ids(&mut reader)?);
        configuration.auto_leave = match reader.u8()? {
            0 => false,
            1 => true,
            tag => return Err(DecodeError::UnknownTag { what: "auto leave", tag }),
        };
        let settled = if format == STATE_FORMAT { reader.varint()? } else { 0 };
        reader.finish()?;
        Ok(GroupState { replica, descriptor, table, configuration, settled })
    }
}

fn expect_format(reader: &mut Reader) -> Result<(), DecodeError> {
    match reader.u8()? {
        FORMAT => Ok(()),
        format => Err(DecodeError::UnknownFormat(format)),
    }
}

fn read_ids(reader: &mut Reader) -> Result<Vec<u64>, DecodeError> {
    let count = reader.varint()?;
    let mut ids = Vec::new();
    for _ in 0..count {
        let id = reader.varint()?;
        if ids.last().is_some_and(|last| *last >= id) {
            return Err(DecodeError::Malformed("configuration: ids do not ascend"));
        }
        ids.push(id);
    }
    Ok(ids)
}

impl AppliedMark {
    /// The mark of a group that was just born.
    pub fn birth() -> AppliedMark {
        AppliedMark { index: BIRTH_INDEX, term: BIRTH_TERM, commit_time_us: 0 }
    }

    pub fn encode(&self) -> Bytes {
        let AppliedMark { index, term, commit_time_us } = *self;
        let mut out = Vec::with_capacity(25);
        let mut writer = Writer(&mut out);
        writer.u8(FORMAT);
        writer.u64(index);
        writer.u64(term);
        writer.u64(commit_time_us);
        Bytes::from(out)
    }

    pub fn decode(bytes: Bytes) -> Result<AppliedMark, DecodeError> {
        let mut reader = Reader::new(bytes);
        expect_format(&mut reader)?;
        let mark = AppliedMark { index: reader.u64()?, term: reader.u64()?, commit_time_us: reader.u64()? };
        reader.finish()?;
        Ok(mark)
    }
}

impl SnapshotContent {
    /// What a snapshot's message carries beside raft's metadata: the state, then the mark.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        let mut writer = Writer(&mut out);
        writer.bytes(&self.state.encode());
        writer.bytes(&self.mark.encode());
        Bytes::from(out)
    }

    pub fn decode(bytes: Bytes) -> Result<SnapshotContent, DecodeError> {
        let mut reader = Reader::new(bytes);
        let state = GroupState::decode(reader.bytes()?)?;
        let mark = AppliedMark::decode(reader.bytes()?)?;
        reader.finish()?;
        Ok(SnapshotContent { state, mark })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;
    use crate::fixture::{descriptor, table};

    proptest! {
        #[test]
        fn a_mark_is_read_back_as_it_was_written(index in any::<u64>(), term in any::<u64>(), time in any::<u64>()) {
            let mark = AppliedMark { index, term, commit_time_us: time };
            assert_eq!(AppliedMark::decode(mark.encode()), Ok(mark));
        }

        #[test]
        fn a_state_is_read_back_as_it_was_written(
            voters in proptest::collection::btree_set(1..90_u64, 0..5),
            outgoing in proptest::collection::btree_set(1..90_u64, 0..5),
            auto_leave in any::<bool>(),
            settled in any::<u64>(),
        ) {
            let mut state = GroupState::birth(ReplicaId(3), descriptor(&["a", "b", "c"]), table());
            state.configuration.set_voters(voters.into_iter().collect());
            state.configuration.set_voters_outgoing(outgoing.into_iter().collect());
            state.configuration.auto_leave = auto_leave;
            state.settled = settled;
            let content = SnapshotContent { state, mark: AppliedMark::birth() };
            assert_eq!(SnapshotContent::decode(content.encode()), Ok(content));
        }
    }

    #[test]
    fn a_state_of_the_first_format_has_nothing_settled() {
        let state = GroupState::birth(ReplicaId(3), descriptor(&["a", "b", "c"]), table());
        let now = state.encode();
        let mut before = now[..now.len() - 1].to_vec();
        before[0] = FORMAT;
        assert_eq!(GroupState::decode(before.into()), Ok(state));
    }

    #[test]
    fn the_order_of_ids_does_not_show_in_the_bytes() {
        let mut state = GroupState::birth(ReplicaId(1), descriptor(&["a", "b", "c"]), table());
        let sorted = state.encode();
        state.configuration.set_voters(vec![3, 1, 2]);
        assert_eq!(state.encode(), sorted);
    }
}
