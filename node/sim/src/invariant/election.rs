//! Election safety: one leader in a term, and it has every entry that was committed in an earlier one.

use std::collections::BTreeMap;

use model::ReplicaId;

use crate::disk::log::GroupLog;
use crate::event::Group;
use crate::invariant::commitment::Committed;
use crate::invariant::{Broken, Verdict};

#[derive(Default)]
pub struct Elections {
    leaders: BTreeMap<(Group, u64), ReplicaId>,
}

impl Elections {
    /// A replica says that it leads.
    pub fn leads(&mut self, group: Group, term: u64, replica: ReplicaId, log: &GroupLog, all: &Committed) -> Verdict {
        match self.leaders.insert((group, term), replica) {
            Some(other) if other == replica => return Ok(()),
            Some(other) => {
                let what = format!("replicas {other} and {replica} both lead in term {term}");
                return Err(Broken::new("election safety", group, what));
            }
            None => {}
        }
        for (index, entry) in all.after(log.truncated_index) {
            if entry.known_in_term < term && log.term(index) != Some(entry.term) {
                let what = format!(
                    "replica {replica} leads in term {term} without the entry {index} of term {}, committed before",
                    entry.term
                );
                return Err(Broken::new("leader completeness", group, what));
            }
        }
        Ok(())
    }

    /// Terms in which somebody led.
    pub fn count(&self) -> usize {
        self.leaders.len()
    }
}
