//! Log matching: an index and a term name one entry, in every log.

use std::collections::BTreeMap;

use replica::eraftpb::Entry;

use crate::event::Group;
use crate::invariant::{Broken, Verdict};
use crate::rng::{bytes_hash, roll};

#[derive(Default)]
pub struct LogMatching {
    entries: BTreeMap<(Group, u64, u64), u64>,
}

impl LogMatching {
    pub fn appended(&mut self, group: Group, replica: model::ReplicaId, entries: &[Entry]) -> Verdict {
        for (earlier, later) in entries.iter().zip(entries.iter().skip(1)) {
            if later.index != earlier.index + 1 || later.term < earlier.term {
                let what = format!("replica {replica} appends {} after {}", later.index, earlier.index);
                return Err(Broken::new("log matching", group, what));
            }
        }
        for entry in entries {
            let hash = roll(bytes_hash(&entry.data), bytes_hash(&entry.context));
            let known = *self.entries.entry((group, entry.index, entry.term)).or_insert(hash);
            if known != hash {
                let what = format!(
                    "replica {replica} has another entry at index {} of term {} than others",
                    entry.index, entry.term
                );
                return Err(Broken::new("log matching", group, what));
            }
        }
        Ok(())
    }
}
