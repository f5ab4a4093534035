//! Writes whose leadership was lost before they were committed: what became of them is told by what is applied.
//!
//! In its term a leader makes one entry for an index. If an entry of that term is committed there, the write has happened,
//! whoever committed it; if any other is, it never will, anywhere. Until then it is open: for one election time-out at most, within
//! which a planned hand-over is over; then whoever waits hears "unknown". So he does where a snapshot takes the entries' place.

use std::collections::VecDeque;

use model::ReplicaId;

use crate::eraftpb::Entry;
use crate::raft_core::Core;
use crate::{Answer, Effects, Refusal, Token};

/// What a leader had proposed and not yet answered, by index.
pub(crate) struct Lost {
    pub term: u64,
    pub writes: VecDeque<(u64, Token, Answer)>,
}

#[derive(Default)]
pub(crate) struct Unsettled {
    writes: Vec<Write>,
}

struct Write {
    index: u64,
    term: u64,
    token: Token,
    /// Once it is applied.
    answer: Answer,
    fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Until that tick.
    Open {
        until: u64,
    },
    /// Answered when the engine has it.
    Committed,
    /// Another entry has its index.
    Never,
    Unknown,
}

impl Write {
    fn found(&mut self, term: Option<u64>) {
        self.fate = match term {
            Some(term) if term == self.term => Fate::Committed,
            Some(_) => Fate::Never,
            None => Fate::Unknown,
        };
    }

    fn is_open(&self) -> bool {
        matches!(self.fate, Fate::Open { .. })
    }
}

impl Unsettled {
    pub(crate) fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Leadership is lost. What is committed already is known at once.
    pub(crate) fn lose(&mut self, lost: Lost, until: u64, core: &Core, effects: &mut Effects) {
        let Lost { term, writes } = lost;
        for (index, token, answer) in writes {
            let mut write = Write { index, term, token, answer, fate: Fate::Open { until } };
            if index <= core.committed() {
                write.found(core.term_at(index));
            }
            self.writes.push(write);
        }
        self.tell(0, core.leader(), effects);
    }

    /// These are committed, and handed to the engine.
    pub(crate) fn handed_out(&mut self, entries: &[Entry], leader: Option<ReplicaId>, effects: &mut Effects) {
        let (Some(first), false) = (entries.first(), self.writes.is_empty()) else { return };
        for write in self.writes.iter_mut().filter(|write| write.is_open()) {
            let at = write.index.checked_sub(first.index).and_then(|at| entries.get(usize::try_from(at).ok()?));
            if let Some(entry) = at {
                write.found(Some(entry.term));
            }
        }
        self.tell(0, leader, effects);
    }

    /// The engine has everything up to there.
    pub(crate) fn applied(&mut self, index: u64, leader: Option<ReplicaId>, effects: &mut Effects) {
        self.tell(index, leader, effects);
    }

    /// The same, by a snapshot: which entries it stands for nobody can tell any more.
    pub(crate) fn installed(&mut self, index: u64, leader: Option<ReplicaId>, effects: &mut Effects) {
        self.writes
            .iter_mut()
            .filter(|write| write.is_open() && write.index <= index)
            .for_each(|write| write.found(None));
        self.tell(index, leader, effects);
    }

    pub(crate) fn tick(&mut self, ticks: u64, leader: Option<ReplicaId>, effects: &mut Effects) {
        for write in &mut self.writes {
            match write.fate {
                Fate::Open { until } if ticks >= until => write.found(None),
                Fate::Open { .. } | Fate::Committed | Fate::Never | Fate::Unknown => {}
            }
        }
        self.tell(0, leader, effects);
    }

    /// Answers what is known, and of what is committed what is applied up to there.
    fn tell(&mut self, applied: u64, leader: Option<ReplicaId>, effects: &mut Effects) {
        let is_due = |write: &mut Write| match write.fate {
            Fate::Open { .. } => false,
            Fate::Committed => write.index <= applied,
            Fate::Never | Fate::Unknown => true,
        };
        for Write { token, answer, fate, .. } in self.writes.extract_if(.., is_due) {
            let answer = match fate {
                Fate::Committed => answer,
                Fate::Never => Answer::Refused(Refusal::NotLeader { leader }),
                Fate::Open { .. } | Fate::Unknown => Answer::Refused(Refusal::Unknown),
            };
            effects.answers.push((token, answer));
        }
    }
}
