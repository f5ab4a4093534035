//! State machine equality: at each applied index, every replica's items are what the committed log says.
//!
//! The oracle applies the committed entries itself; replicas are held against its hash at the same index.

use bytes::Bytes;
use model::{ReplicaId, ReplicaKind};
use replica::AppliedWrite;
use replica::entry::{Body, LogEntry};
use replica::state::BIRTH_INDEX;

use crate::disk::engine::Contents;
use crate::event::Group;
use crate::invariant::{Broken, Verdict};

/// One group's items as the log says, and their hash at every index since its birth.
#[derive(Default)]
pub struct Reference {
    contents: Contents,
    at_birth: u64,
    hashes: Vec<u64>,
}

impl Reference {
    /// The next committed entry.
    pub fn apply(&mut self, index: u64, term: u64, entry: Option<&LogEntry>) {
        if let Some(entry) = entry
            && entry.evaluation_term == term
            && let Body::Writes(writes) = &entry.body
        {
            for write in writes {
                self.contents.write(&AppliedWrite {
                    index,
                    space: write.space,
                    key: write.key.clone(),
                    kind: write.kind,
                    attributes: write.after.clone().unwrap_or_else(Bytes::new),
                    version_timestamp_us: write.version_timestamp_us,
                });
            }
        }
        self.hashes.push(self.contents.hash);
    }

    /// A split has just been committed: what the child begins with.
    pub fn cut(&mut self, at: &Bytes) -> Reference {
        let contents = self.contents.cut(at);
        if let Some(newest) = self.hashes.last_mut() {
            *newest = self.contents.hash;
        }
        Reference { at_birth: contents.hash, contents, hashes: Vec::new() }
    }

    pub fn check(&self, group: Group, replica: ReplicaId, contents: &Contents) -> Verdict {
        let Some(mark) = contents.mark else { return Ok(()) };
        let offset = mark.index.checked_sub(BIRTH_INDEX + 1).and_then(|offset| usize::try_from(offset).ok());
        let since = offset.and_then(|offset| self.hashes.get(offset));
        let Some(expected) = since.or((mark.index == BIRTH_INDEX).then_some(&self.at_birth)) else {
            let what = format!("replica {replica} has applied {}, which is not committed", mark.index);
            return Err(Broken::new("state machine equality", group, what));
        };
        let Some(own) = contents.state.as_ref().and_then(|state| state.descriptor.replica(replica)) else {
            // No member any more: it applies nothing.
            return Ok(());
        };
        if own.kind == ReplicaKind::Log && contents.items.is_empty() {
            return Ok(());
        }
        if *expected != contents.hash {
            let what = format!("the items of replica {replica} at index {} are not what the log says", mark.index);
            return Err(Broken::new("state machine equality", group, what));
        }
        Ok(())
    }
}
