//! Commitment: what one replica holds committed at an index, all do; commit times never go back.

use replica::entry::LogEntry;
use replica::eraftpb::{Entry, EntryType};
use replica::state::{BIRTH_INDEX, BIRTH_TERM};

use crate::disk::log::GroupLog;
use crate::event::Group;
use crate::invariant::{Broken, Verdict};

/// What the world knows to be committed in one group.
#[derive(Default)]
pub struct Committed {
    entries: Vec<Known>,
    commit_time_us: u64,
}

#[derive(Clone, Copy)]
pub struct Known {
    pub term: u64,
    /// The term of the replica that first held it committed: no earlier than the leader's that committed it.
    pub known_in_term: u64,
}

/// A newly committed entry, decoded if it says anything.
pub struct Fresh {
    pub index: u64,
    pub term: u64,
    pub entry: Option<LogEntry>,
}

impl Committed {
    /// A child's commit times begin where its parent's ended.
    pub fn goes_on_from(&mut self, commit_time_us: u64) {
        self.commit_time_us = self.commit_time_us.max(commit_time_us);
    }

    pub fn last(&self) -> u64 {
        BIRTH_INDEX + self.entries.len() as u64
    }

    pub fn term(&self, index: u64) -> Option<u64> {
        if index == BIRTH_INDEX {
            return Some(BIRTH_TERM);
        }
        let offset = index.checked_sub(BIRTH_INDEX + 1)?;
        self.entries.get(usize::try_from(offset).ok()?).map(|known| known.term)
    }

    /// Committed entries above that index.
    pub fn after(&self, index: u64) -> impl Iterator<Item = (u64, Known)> {
        let skip = usize::try_from(index.saturating_sub(BIRTH_INDEX)).expect("a log's length fits a usize");
        self.entries.iter().enumerate().skip(skip).map(|(at, known)| (BIRTH_INDEX + 1 + at as u64, *known))
    }

    /// A replica holds everything up to `commit` committed; returns what nobody had yet.
    pub fn learn(
        &mut self,
        group: Group,
        log: &GroupLog,
        from: u64,
        commit: u64,
        in_term: u64,
    ) -> Result<Vec<Fresh>, Broken> {
        let commit = commit.min(log.last_index());
        let mut fresh = Vec::new();
        for index in from.max(log.truncated_index) + 1..=commit {
            let Some(entry) = log.entry(index) else { continue };
            match self.term(index) {
                Some(term) if term != entry.term => {
                    let what = format!("index {index} is committed with term {term} and with term {}", entry.term);
                    return Err(Broken::new("commitment", group, what));
                }
                Some(_) => {}
                None => fresh.push(self.push(group, index, entry, in_term)?),
            }
        }
        Ok(fresh)
    }

    fn push(&mut self, group: Group, index: u64, entry: &Entry, in_term: u64) -> Result<Fresh, Broken> {
        if index != self.last() + 1 {
            let what = format!("index {index} is committed while only {} are known", self.last());
            return Err(Broken::new("commitment", group, what));
        }
        self.entries.push(Known { term: entry.term, known_in_term: in_term });
        let bytes = if entry.entry_type == EntryType::EntryNormal { &entry.data } else { &entry.context };
        if bytes.is_empty() {
            return Ok(Fresh { index, term: entry.term, entry: None });
        }
        let decoded = LogEntry::decode(bytes.clone());
        let decoded = decoded.map_err(|error| Broken::new("formats", group, format!("entry {index}: {error}")))?;
        self.in_time(group, index, entry.term, &decoded)?;
        Ok(Fresh { index, term: entry.term, entry: Some(decoded) })
    }

    fn in_time(&mut self, group: Group, index: u64, term: u64, entry: &LogEntry) -> Verdict {
        if entry.evaluation_term != term {
            return Ok(());
        }
        if entry.commit_time_us < self.commit_time_us {
            let what = format!("entry {index} has commit time {} after {}", entry.commit_time_us, self.commit_time_us);
            return Err(Broken::new("commit times", group, what));
        }
        self.commit_time_us = entry.commit_time_us;
        Ok(())
    }
}
