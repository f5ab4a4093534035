//! From what the host found on the disk to what raft can start from.

use model::{PartitionId, ReplicaId};

use crate::eraftpb::ConfState;
use crate::log_view::LogView;
use crate::state::{AppliedMark, BIRTH_INDEX, BIRTH_TERM, GroupState, LogStart, Options, Start};

/// Why a replica cannot be started: what the host found contradicts itself.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the log of partition {partition} ends at {last} before its applied mark {applied}")]
    LogEndsEarly { partition: PartitionId, last: u64, applied: u64 },
    #[error("the log of partition {partition} begins after {truncated}, beyond its applied mark {applied}")]
    LogBeginsLate { partition: PartitionId, truncated: u64, applied: u64 },
    #[error("partition {partition} was started without the entries from its applied mark {applied} to its last {last}")]
    EntriesMissing { partition: PartitionId, applied: u64, last: u64 },
    #[error("partition {partition} has a state and no applied mark, or a mark and no state")]
    HalfStarted { partition: PartitionId },
    #[error("raft refused to start")]
    Raft(#[source] raft::Error),
}

pub(crate) struct Prepared {
    pub replica: ReplicaId,
    pub options: Options,
    pub log: LogView,
    pub state: Option<GroupState>,
    pub mark: AppliedMark,
    pub tail_uncertain: bool,
}

pub(crate) fn prepare(start: Start) -> Result<Prepared, StartError> {
    let Start { partition, node: _, replica, options, mut log, state, mark } = start;
    let mark = match (&state, mark) {
        (Some(_), Some(mark)) => mark,
        (None, None) => AppliedMark::default(),
        (Some(_), None) | (None, Some(_)) => return Err(StartError::HalfStarted { partition }),
    };
    begin_newborn(&mut log, mark);
    check_log(partition, &log, mark)?;
    let mut hard_state = std::mem::take(&mut log.hard_state);
    // Commit-only hard states are not synced: the engine may know of more commits than the log.
    hard_state.commit = hard_state.commit.max(mark.index).max(log.truncated_index);
    hard_state.term =
        hard_state.term.max(mark.term).max(log.terms.last().map_or(log.truncated_term, |&(_, term)| term));
    // Who is alone has nobody to ask: whoever left it alone (`recovery`) has decided that its log is what there is.
    let alone = state.as_ref().is_some_and(|state| is_alone(replica, &state.configuration));
    let tail_uncertain = log.tail_uncertain && !alone;
    if tail_uncertain && hard_state.vote == raft::INVALID_ID {
        // The lost batch may have held a vote in this term.
        hard_state.vote = replica.0;
    }
    let configuration = state.as_ref().map_or_else(ConfState::default, |state| state.configuration.clone());
    let log = LogView::new(log, hard_state, configuration);
    Ok(Prepared { replica, options, log, state, mark, tail_uncertain })
}

fn is_alone(replica: ReplicaId, configuration: &ConfState) -> bool {
    configuration.get_voters() == [replica.0] && configuration.get_voters_outgoing().is_empty()
}

/// A group that was just born may have no log at all: it begins after the birth mark. A vote that an empty replica gave before
/// its birth stays.
fn begin_newborn(log: &mut LogStart, mark: AppliedMark) {
    let newborn = (mark.index, mark.term) == (BIRTH_INDEX, BIRTH_TERM);
    if newborn && log.last_index == 0 && log.truncated_index == 0 && log.entries.is_empty() {
        log.truncated_index = BIRTH_INDEX;
        log.truncated_term = BIRTH_TERM;
        log.last_index = BIRTH_INDEX;
    }
}

fn check_log(partition: PartitionId, log: &LogStart, mark: AppliedMark) -> Result<(), StartError> {
    let applied = mark.index;
    if log.last_index < applied {
        return Err(StartError::LogEndsEarly { partition, last: log.last_index, applied });
    }
    if log.truncated_index > applied {
        return Err(StartError::LogBeginsLate { partition, truncated: log.truncated_index, applied });
    }
    let complete = log.entries.iter().zip(applied + 1..).all(|(entry, index)| entry.index == index)
        && applied + log.entries.len() as u64 == log.last_index
        && (log.truncated_index == log.last_index || log.terms.first().is_some_and(|t| t.0 == log.truncated_index + 1));
    if !complete {
        return Err(StartError::EntriesMissing { partition, applied, last: log.last_index });
    }
    Ok(())
}

#[cfg(test)]
pub(crate) fn hard_state_at(commit: u64, term: u64) -> crate::eraftpb::HardState {
    crate::eraftpb::HardState { commit, term, ..Default::default() }
}

#[cfg(test)]
mod tests {
    use model::NodeId;

    use super::*;
    use crate::eraftpb::Entry;
    use crate::fixture::{descriptor, table};

    fn start(log: LogStart, mark: AppliedMark) -> Start {
        Start {
            partition: PartitionId(77),
            node: NodeId(101),
            replica: ReplicaId(1),
            options: Options::default(),
            log,
            state: Some(GroupState::birth(ReplicaId(1), descriptor(&["a", "b", "c"]), table())),
            mark: Some(mark),
        }
    }

    fn log(truncated: u64, entries: std::ops::RangeInclusive<u64>) -> LogStart {
        let last_index = *entries.end();
        let entries = entries.map(|index| Entry { index, term: 6, ..Entry::default() }).collect();
        let terms = if truncated == last_index { Vec::new() } else { vec![(truncated + 1, 6)] };
        LogStart { truncated_index: truncated, truncated_term: 5, terms, last_index, entries, ..LogStart::default() }
    }

    fn mark(index: u64) -> AppliedMark {
        AppliedMark { index, term: 6, commit_time_us: 0 }
    }

    #[test]
    fn a_newborn_group_may_come_without_a_log_and_keeps_an_earlier_vote() {
        let hard_state = crate::eraftpb::HardState { term: 9, vote: 2, ..Default::default() };
        let empty = LogStart { hard_state, ..LogStart::default() };
        let prepared = prepare(start(empty, AppliedMark::birth())).unwrap();
        assert_eq!(prepared.log.truncated_index(), BIRTH_INDEX);
        let state = raft::Storage::initial_state(&prepared.log).unwrap().hard_state;
        assert_eq!((state.term, state.vote, state.commit), (9, 2, BIRTH_INDEX));
    }

    #[test]
    fn a_log_that_does_not_meet_the_applied_mark_is_refused() {
        let refused = |log, index| prepare(start(log, mark(index))).err().unwrap();
        assert!(matches!(refused(log(10, 16..=20), 25), StartError::LogEndsEarly { last: 20, applied: 25, .. }));
        assert!(matches!(refused(log(18, 19..=20), 15), StartError::LogBeginsLate { truncated: 18, .. }));
        assert!(matches!(refused(log(10, 18..=20), 15), StartError::EntriesMissing { .. }));
        assert!(prepare(start(log(10, 16..=20), mark(15))).is_ok());
    }
}
