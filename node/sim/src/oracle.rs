//! The oracle: hears every fact of the world and asks each invariant about it.

use std::collections::BTreeMap;

use model::{NodeId, PartitionDescriptor, ReplicaId};
use replica::Status;
use replica::eraftpb::{Entry, Message};

use crate::disk::engine::Contents;
use crate::disk::log::GroupLog;
use crate::event::{Group, Place};
use crate::host::Node;
use crate::invariant::checked::{Checked, Checks};
use crate::invariant::commitment::Committed;
use crate::invariant::durability::Claim;
use crate::invariant::election::Elections;
use crate::invariant::epochs::Epochs;
use crate::invariant::equality::Reference;
use crate::invariant::identity::Identities;
use crate::invariant::linearizability::History;
use crate::invariant::log_matching::LogMatching;
use crate::invariant::sleep::Sleepers;
use crate::invariant::splits::{Cut, Ranges};
use crate::invariant::truncation::Truncated;
use crate::invariant::{Verdict, copies, progress, zones};
use crate::queue::Time;

pub use crate::invariant::linearizability::Outcome;

pub struct Oracle {
    pub history: History,
    pub elections: Elections,
    pub checks: Checks,
    matching: LogMatching,
    epochs: Epochs,
    identities: Identities,
    committed: Vec<Committed>,
    references: Vec<Reference>,
    pub ranges: Ranges,
    pub sleepers: Sleepers,
    claims: Vec<Claim>,
    truncations: Vec<Truncated>,
}

/// A replica after a step.
pub struct Seen<'a> {
    pub now: Time,
    pub group: Group,
    pub place: Place,
    pub before: &'a Status,
    pub status: &'a Status,
    pub descriptor_before: Option<&'a PartitionDescriptor>,
    pub descriptor: Option<&'a PartitionDescriptor>,
    /// As the host has it, with this step's append.
    pub log: &'a GroupLog,
    pub installing: bool,
}

impl Oracle {
    pub fn new(groups: usize, history: History) -> Oracle {
        Oracle {
            history,
            elections: Elections::default(),
            checks: Checks::default(),
            matching: LogMatching::default(),
            epochs: Epochs::default(),
            identities: Identities::default(),
            committed: (0..groups).map(|_| Committed::default()).collect(),
            references: (0..groups).map(|_| Reference::default()).collect(),
            ranges: Ranges::new(groups),
            sleepers: Sleepers::default(),
            claims: Vec::new(),
            truncations: Vec::new(),
        }
    }

    pub fn appended(&mut self, group: Group, replica: ReplicaId, entries: &[Entry]) -> Verdict {
        self.checks.count(Checked::LogMatching);
        self.matching.appended(group, replica, entries)
    }

    pub fn stepped(&mut self, seen: &Seen<'_>) -> Verdict {
        let Seen { now: _, group, place: _, before, status, descriptor_before, descriptor, log, installing } = *seen;
        self.checks.count(Checked::Progress);
        progress::check(group, before, status, log, installing)?;
        copies::serves(group, status, descriptor)?;
        if descriptor_before != descriptor {
            self.checks.count(Checked::Epochs);
            self.epochs.seen(group, descriptor_before, descriptor)?;
            if let Some(descriptor) = descriptor {
                self.checks.count(Checked::Zones);
                self.checks.count(Checked::Copies);
                zones::check(group, descriptor)?;
                copies::check(group, descriptor)?;
            }
        }
        if status.committed > before.committed && !installing {
            self.learn(group, log, before.committed, status)?;
        }
        if status.leader != Some(status.replica) {
            return Ok(());
        }
        if before.leader != status.leader || before.term != status.term {
            self.checks.count(Checked::Election);
            self.elections.leads(group, status.term, status.replica, log, &self.committed[group])?;
        }
        if status.committed > before.committed
            && let Some(term) = log.term(status.committed)
        {
            let before = descriptor_before.filter(|before| Some(*before) != descriptor);
            let descriptors = before.into_iter().chain(descriptor).cloned().collect();
            self.claims.push(Claim { group, index: status.committed, term, descriptors });
        }
        Ok(())
    }

    fn learn(&mut self, group: Group, log: &GroupLog, from: u64, status: &Status) -> Verdict {
        self.checks.count(Checked::Commitment);
        let fresh = self.committed[group].learn(group, log, from, status.committed, status.term)?;
        for entry in fresh {
            self.references[group].apply(entry.index, entry.term, entry.entry.as_ref());
            let Some(decoded) = &entry.entry else { continue };
            self.checks.count(Checked::AtMostOnce);
            self.history.committed(group, entry.index, entry.term, decoded)?;
            self.checks.count(Checked::Splits);
            if let Some(Cut { child, at }) = self.ranges.committed(group, entry.index, entry.term, decoded)? {
                self.references[child] = self.references[group].cut(&at);
                self.committed[child].goes_on_from(decoded.commit_time_us);
                self.history.divided(group, child);
            }
        }
        Ok(())
    }

    /// A node gives birth to a child with the batch that applies a split.
    pub fn born(&self, parent: Group, descriptor: &PartitionDescriptor) -> Verdict {
        self.ranges.born(parent, descriptor)
    }

    /// Judges what leaders claimed since the last event, by the disks of all nodes.
    pub fn judge_claims(&mut self, nodes: &[Node], places: &BTreeMap<NodeId, Place>) -> Verdict {
        for claim in std::mem::take(&mut self.claims) {
            self.checks.count(Checked::Durability);
            claim.check(nodes, places)?;
        }
        for truncated in std::mem::take(&mut self.truncations) {
            self.checks.count(Checked::Truncation);
            truncated.check(nodes, places)?;
        }
        Ok(())
    }

    /// A leader's log begins after this entry from now on.
    pub fn truncated(&mut self, truncated: Truncated) {
        self.truncations.push(truncated);
    }

    pub fn sent(&mut self, group: Group, _place: Place, replica: ReplicaId, message: &Message) -> Verdict {
        self.checks.count(Checked::Identity);
        self.identities.sent(group, replica, message)
    }

    pub fn seated(&mut self, group: Group, node: NodeId, replica: ReplicaId) -> Verdict {
        self.identities.seated(group, node, replica)
    }

    /// Its id is durably refused from now on.
    pub fn retired(&mut self, group: Group, replica: ReplicaId) {
        self.identities.retired(group, replica);
    }

    /// An engine has just changed.
    pub fn contents(&mut self, group: Group, replica: ReplicaId, contents: &Contents) -> Verdict {
        self.checks.count(Checked::Equality);
        self.references[group].check(group, replica, contents)
    }

    /// What a start finds is as good as what was there before: a prefix.
    pub fn restarted(&self, group: Group, log: &GroupLog, contents: &Contents) -> Verdict {
        match log.identity {
            Some(replica) => self.references[group].check(group, replica, contents),
            None => Ok(()),
        }
    }

    pub fn arrived(&mut self, operation: u64, group: Group, now: Time) {
        self.history.arrived(operation, group, now);
    }

    pub fn answered(&mut self, operation: u64, now: Time, outcome: Outcome) {
        self.history.answered(operation, now, outcome);
    }
}
