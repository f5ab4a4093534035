//! What others may know of a replica.

use model::ReplicaId;

use crate::{Health, Replica};

/// One look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub replica: ReplicaId,
    pub leader: Option<ReplicaId>,
    pub term: u64,
    pub last_index: u64,
    pub committed: u64,
    pub applied: u64,
    /// It leads and has applied the first entry of its term.
    pub serving: bool,
    pub in_joint_change: bool,
    /// No tick is given to it (`sleep`).
    pub asleep: bool,
    /// How the group is, and for how many ticks; none where another replica leads, and tells.
    pub health: Option<(Health, u64)>,
    /// The leader's view of the others, by replica.
    pub progress: Vec<Progress>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    pub replica: ReplicaId,
    pub matched: u64,
    pub recently_active: bool,
    pub receiving_snapshot: bool,
}

impl Replica {
    /// Whether this entry is in its log, or on its way there.
    pub fn has_entry(&self, index: u64, term: u64) -> bool {
        self.core.term_at(index) == Some(term)
    }

    pub fn status(&self) -> Status {
        let leads = self.core.leads();
        Status {
            replica: self.core.id(),
            leader: self.core.leader(),
            term: self.core.term(),
            last_index: self.core.last_index(),
            committed: self.core.committed(),
            applied: self.applied,
            serving: self.leading.as_ref().is_some_and(|leading| leading.serving),
            in_joint_change: self.core.is_joint(),
            asleep: self.sleep.is_asleep(),
            health: self.health(),
            progress: if leads { self.core.progress() } else { Vec::new() },
        }
    }
}
