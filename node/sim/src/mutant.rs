//! Known mistakes, each with the invariants that may find it and the seeds that this may take: the test of the tests.
//!
//! Some are built into the replica (its feature `mutants` lets one be chosen), the others into the model of what surrounds it:
//! log, engine, host, router. One mistake at a time; where two rules guard against the same mistake, both are off.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::case::Case;
use crate::directed::Row;
use crate::runner::{Failure, run};

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mutant {
    AckUnsynced,
    EmptySync,
    ForwardedProposal,
    OtherTermApplied,
    EvaluatedEarly,
    ConditionUnconfirmed,
    LeaseReads,
    MarkBeforeItems,
    TruncatedEarly,
    IngestUnmarked,
    ForgetRetired,
    WriteResent,
    OneZoneQuorum,
    GroupsForgotten,
    OverlayKept,
    EpochIgnored,
    EmptyDiskVotes,
    WrongZones,
    ReadUnconfirmed,
    SnapshotLosesItem,
    ApplySkips,
    ForgetVotes,
    TornTailVotes,
    DoubtEndsEarly,
    IngestUnflushed,
    BatchedAppends,
    KeepsTooLittle,
    LogReplicaServes,
    OneCopyEnough,
    WritesAcrossSplit,
    ReadsAcrossSplit,
    SplitKeepsEpoch,
    ChildSetBack,
    BirthForgetsVote,
    SleepsUnagreed,
    SleepsInChange,
    AgreesBehind,
    SleepersDropVotes,
    LogReplicaClings,
}

/// What is known of a mistake.
pub struct Known {
    pub mutant: Mutant,
    pub mistake: &'static str,
    /// Each of these may be the first to see it.
    pub found_by: &'static [&'static str],
    /// So many seeds may pass before one fails.
    pub seeds: u64,
    /// Of worlds directed at it, where chance takes long.
    pub row: Option<Row>,
}

const fn known(mutant: Mutant, seeds: u64, found_by: &'static [&'static str], mistake: &'static str) -> Known {
    Known { mutant, mistake, found_by, seeds, row: None }
}

const fn directed(row: Row, known: Known) -> Known {
    Known { row: Some(row), ..known }
}

pub const KNOWN: [Known; 39] = [
    known(Mutant::AckUnsynced, 20, &["durability"], "the log answers before it has synced"),
    known(Mutant::EmptySync, 20, &["durability"], "the log's sync does nothing, as raft-engine's `sync()`"),
    known(
        Mutant::ForwardedProposal,
        100,
        &["conditional writes", "commit times", "at most once"],
        "a proposal is forwarded after leadership was lost, under the term just heard of",
    ),
    known(
        Mutant::OtherTermApplied,
        100,
        &["state machine equality"],
        "an entry evaluated in another term is applied (and forwarded, so that there is one)",
    ),
    known(
        Mutant::EvaluatedEarly,
        100,
        &["conditional writes", "commit times"],
        "a leader evaluates before the first entry of its term is applied",
    ),
    known(
        Mutant::ConditionUnconfirmed,
        100,
        &["linearizability"],
        "a failed condition is answered by a deposed leader",
    ),
    known(Mutant::LeaseReads, 100, &["linearizability"], "strong reads trust raft's `LeaseBased`"),
    known(Mutant::MarkBeforeItems, 20, &["state machine equality"], "the applied mark is durable before the items"),
    known(Mutant::TruncatedEarly, 20, &["truncation"], "the log is truncated behind what is applied, not flushed"),
    known(Mutant::IngestUnmarked, 100, &["start"], "a snapshot is ingested without its mark in the log"),
    known(Mutant::ForgetRetired, 100, &["identity"], "a removed replica comes back and votes"),
    known(Mutant::WriteResent, 20, &["at most once", "conditional writes"], "a write without an answer is sent again"),
    known(Mutant::OneZoneQuorum, 100, &["durability"], "a quorum in one zone commits"),
    known(Mutant::GroupsForgotten, 100, &["majority", "liveness"], "commit groups are missing after a restart"),
    known(
        Mutant::OverlayKept,
        100,
        &["conditional writes", "linearizability"],
        "the overlay is kept after leadership was lost, whatever others apply (its checks are off, too)",
    ),
    known(Mutant::EpochIgnored, 20, &["stale routers"], "a stale router's epoch is ignored"),
    known(
        Mutant::EmptyDiskVotes,
        300,
        // The lowest id that it accepts was lost with the disk, too.
        &["leader completeness", "election safety", "one vote", "durability", "identity"],
        "an empty disk takes the lost one's identity and votes (raft's panic on it is off)",
    ),
    known(Mutant::WrongZones, 100, &["durability"], "descriptors say zones that the nodes are not in"),
    known(Mutant::ReadUnconfirmed, 100, &["linearizability"], "strong reads are not confirmed at all"),
    known(Mutant::SnapshotLosesItem, 100, &["state machine equality"], "a snapshot lacks one item"),
    known(Mutant::ApplySkips, 20, &["state machine equality"], "an apply skips a write now and then"),
    known(Mutant::ForgetVotes, 100, &["one vote", "election safety"], "votes do not outlive a crash"),
    known(
        Mutant::TornTailVotes,
        300,
        &["leader completeness", "one vote", "commitment"],
        "a replica whose log lost its end votes at once (raft's panic on it is off)",
    ),
    known(
        Mutant::DoubtEndsEarly,
        300,
        &["leader completeness", "commitment", "durability", "majority"],
        "a vote ends the doubt of a torn tail, though the replica still lacks what it lost",
    ),
    known(
        Mutant::IngestUnflushed,
        100,
        &["state machine equality", "start"],
        "a snapshot is ingested while older batches are not flushed",
    ),
    known(
        Mutant::BatchedAppends,
        300,
        &["durability", "a replica's own check", "progress"],
        "raft's `batch_append` (and nothing checks that entries follow on their index)",
    ),
    known(Mutant::KeepsTooLittle, 300, &["truncation"], "a leader truncates what only one replica with items holds"),
    known(Mutant::LogReplicaServes, 300, &["copies"], "a log replica serves as any leader does"),
    known(Mutant::OneCopyEnough, 300, &["copies"], "a second voter is stood in for, and one copy of the items is left"),
    known(
        Mutant::WritesAcrossSplit,
        300,
        &["splits"],
        "a leader goes on with writes to the right half after it has proposed a split",
    ),
    known(Mutant::ReadsAcrossSplit, 300, &["stale routers"], "strong reads under way go on when a split is applied"),
    known(Mutant::SplitKeepsEpoch, 100, &["epochs"], "the left half of a split keeps its epoch"),
    known(
        Mutant::ChildSetBack,
        300,
        &["one vote", "election safety", "leader completeness", "durability", "commitment"],
        "a child's log begins before its records are flushed, and anew when the split is applied again",
    ),
    known(
        Mutant::BirthForgetsVote,
        300,
        &["one vote", "election safety"],
        "a child's birth takes back the vote of the empty replica that was there",
    ),
    known(Mutant::SleepsUnagreed, 100, &["sleep"], "a leader sleeps as soon as one follower has agreed"),
    known(
        Mutant::SleepsInChange,
        100,
        &["sleep"],
        "the same, in the middle of a change of membership or a commit, too",
    ),
    known(Mutant::AgreesBehind, 100, &["sleep"], "a follower agrees to sleep whatever its log lacks"),
    known(
        Mutant::SleepersDropVotes,
        300,
        &["take-over"],
        "woken followers drop each other's pre-votes, in the lease of a leader that is gone",
    ),
    directed(
        Row::Tail,
        known(Mutant::LogReplicaClings, 20, &["tail"], "a log replica that leads keeps the lead as long as it can"),
    ),
];

impl Mutant {
    pub fn name(self) -> String {
        let value = clap::ValueEnum::to_possible_value(&self);
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// What the replica is told.
    #[cfg(feature = "mutants")]
    pub fn flaw(self) -> replica::Flaw {
        use replica::Mutant as Inside;
        let inside = match self {
            Mutant::ForwardedProposal => Inside::ForwardedProposal,
            Mutant::OtherTermApplied => Inside::OtherTermApplied,
            Mutant::EvaluatedEarly => Inside::EvaluatedEarly,
            Mutant::ConditionUnconfirmed => Inside::ConditionUnconfirmed,
            Mutant::LeaseReads => Inside::LeaseReads,
            Mutant::TruncatedEarly => Inside::TruncatedEarly,
            Mutant::OneZoneQuorum => Inside::OneZoneQuorum,
            Mutant::GroupsForgotten => Inside::GroupsForgotten,
            Mutant::OverlayKept => Inside::OverlayKept,
            Mutant::EpochIgnored => Inside::EpochIgnored,
            Mutant::EmptyDiskVotes | Mutant::TornTailVotes => Inside::EmptyDiskVotes,
            Mutant::BatchedAppends => Inside::BatchedAppends,
            Mutant::KeepsTooLittle => Inside::KeepsTooLittle,
            Mutant::LogReplicaServes => Inside::LogReplicaServes,
            Mutant::OneCopyEnough => Inside::OneCopyEnough,
            Mutant::WritesAcrossSplit => Inside::WritesAcrossSplit,
            Mutant::ReadsAcrossSplit => Inside::ReadsAcrossSplit,
            Mutant::SplitKeepsEpoch => Inside::SplitKeepsEpoch,
            Mutant::SleepsUnagreed => Inside::SleepsUnagreed,
            Mutant::SleepsInChange => Inside::SleepsInChange,
            Mutant::AgreesBehind => Inside::AgreesBehind,
            Mutant::SleepersDropVotes => Inside::SleepersDropVotes,
            Mutant::LogReplicaClings => Inside::LogReplicaClings,
            Mutant::AckUnsynced
            | Mutant::EmptySync
            | Mutant::MarkBeforeItems
            | Mutant::IngestUnmarked
            | Mutant::ForgetRetired
            | Mutant::WriteResent
            | Mutant::WrongZones
            | Mutant::ReadUnconfirmed
            | Mutant::SnapshotLosesItem
            | Mutant::ApplySkips
            | Mutant::ForgetVotes
            | Mutant::DoubtEndsEarly
            | Mutant::IngestUnflushed
            | Mutant::ChildSetBack
            | Mutant::BirthForgetsVote => return replica::Flaw::default(),
        };
        replica::Flaw::of(inside)
    }

    #[cfg(not(feature = "mutants"))]
    pub fn flaw(self) -> replica::Flaw {
        replica::Flaw::default()
    }
}

impl Known {
    /// The first seed that fails, if one of those allowed does.
    pub fn find(&self) -> Option<Failure> {
        let case = |seed| Case { mutant: Some(self.mutant), row: self.row, ..Case::of(seed) };
        (1..=self.seeds).find_map(|seed| run(&case(seed), 0).failure)
    }

    pub fn expects(&self, failure: &Failure) -> bool {
        self.found_by.contains(&failure.broken.invariant)
    }
}

/// Every mistake with what found it, as a markdown table; false where one was not found by an invariant that should.
pub fn table(jobs: usize) -> (String, bool) {
    let next = AtomicUsize::new(0);
    let rows = Mutex::new(vec![(String::new(), false); KNOWN.len()]);
    let work = || {
        while let Some((at, known)) = KNOWN.iter().enumerate().nth(next.fetch_add(1, Ordering::Relaxed)) {
            let row = row(known);
            rows.lock().expect("no thread panics while it holds the rows")[at] = row;
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(work);
        }
    });
    let rows = rows.into_inner().expect("no thread panics while it holds the rows");
    let mut table = String::from("| mutant | the mistake | found by | seed | of |\n|---|---|---|---:|---:|\n");
    rows.iter().for_each(|(row, _)| table += row);
    (table, rows.iter().all(|(_, found)| *found))
}

fn row(known: &Known) -> (String, bool) {
    let name = known.mutant.name();
    let Known { mistake, seeds, .. } = known;
    match known.find() {
        Some(failure) => {
            let right = known.expects(&failure);
            let surprise = if right { "" } else { " (not expected)" };
            let (by, seed) = (failure.broken.invariant, failure.case.seed);
            (format!("| `{name}` | {mistake} | {by}{surprise} | {seed} | {seeds} |\n"), right)
        }
        None => (format!("| `{name}` | {mistake} | **nothing** | - | {seeds} |\n"), false),
    }
}
