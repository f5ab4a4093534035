//! Who is silent, for how long, and who is excused.

use std::collections::{BTreeMap, BTreeSet};

use model::{PartitionDescriptor, ReplicaId};

use crate::membership::storage_voters;
use crate::{Envelope, MessageBody, Options};

/// Between two messages that tell who is away.
const TELL_TICKS: u64 = 10;

/// When each replica was last heard in this leader's term, in ticks.
pub(crate) struct Hearing {
    heard: BTreeMap<ReplicaId, Heard>,
    since: u64,
}

#[derive(Clone, Copy)]
struct Heard {
    last: u64,
    /// The end of its last silence.
    back: u64,
}

impl Hearing {
    pub(crate) fn new(ticks: u64) -> Hearing {
        Hearing { heard: BTreeMap::new(), since: ticks }
    }

    /// True if it had been silent for long enough to be news.
    pub(crate) fn heard(&mut self, from: ReplicaId, ticks: u64, patience: u64) -> bool {
        let since = self.since;
        let known = self.heard.entry(from).or_insert(Heard { last: since, back: ticks });
        let returns = ticks.saturating_sub(known.last) >= patience;
        if returns {
            known.back = ticks;
        }
        known.last = ticks;
        returns
    }

    /// Ticks since it was last heard, or since this leader began to listen.
    pub(crate) fn silence(&self, id: ReplicaId, ticks: u64) -> u64 {
        ticks.saturating_sub(self.heard.get(&id).map_or(self.since, |heard| heard.last))
    }

    pub(crate) fn is_silent(&self, id: ReplicaId, ticks: u64, options: &Options) -> bool {
        self.silence(id, ticks) >= options.election_ticks as u64
    }

    /// It is here, and not only for a moment.
    pub(crate) fn is_steady(&self, id: ReplicaId, ticks: u64, options: &Options) -> bool {
        let patience = options.election_ticks as u64;
        let back = self.heard.get(&id).is_some_and(|heard| ticks.saturating_sub(heard.back) >= patience);
        back && !self.is_silent(id, ticks, options)
    }
}

/// What every replica of a group keeps of the others' absences, whoever leads: so that a new leader does not begin anew.
#[derive(Default)]
pub(crate) struct Absences {
    /// Since which of its own ticks a replica has been away, as leaders have told.
    since: BTreeMap<ReplicaId, u64>,
    /// Its node has said that it stops: until then it is expected back.
    excused: BTreeMap<ReplicaId, u64>,
    /// Its host has said that it has lost what it had acknowledged.
    unfit: BTreeSet<ReplicaId>,
}

impl Absences {
    pub(crate) fn told(&mut self, replica: ReplicaId, for_ticks: u64, ticks: u64) {
        // A longer absence than this replica's clock tells of began before it.
        let since = ticks.saturating_sub(for_ticks);
        let known = self.since.entry(replica).or_insert(since);
        *known = since.min(*known);
    }

    pub(crate) fn excuse(&mut self, replica: ReplicaId, until: u64) {
        self.excused.insert(replica, until);
    }

    pub(crate) fn unfit(&mut self, replica: ReplicaId) {
        self.unfit.insert(replica);
    }

    /// It is heard. What it was excused for ends only with a silence: who is about to stop still speaks.
    pub(crate) fn heard(&mut self, replica: ReplicaId, returns: bool) {
        self.since.remove(&replica);
        if returns {
            self.excused.remove(&replica);
        }
    }

    pub(crate) fn is_excused(&self, replica: ReplicaId, ticks: u64) -> bool {
        self.excused.get(&replica).is_some_and(|until| ticks < *until)
    }

    pub(crate) fn is_unfit(&self, replica: ReplicaId) -> bool {
        self.unfit.contains(&replica)
    }

    pub(crate) fn silence(&self, replica: ReplicaId, ticks: u64) -> u64 {
        self.since.get(&replica).map_or(0, |since| ticks.saturating_sub(*since))
    }

    /// Who is no member any more is forgotten.
    pub(crate) fn keep_members(&mut self, descriptor: &PartitionDescriptor) {
        let is_member = |id: &ReplicaId| descriptor.replica(*id).is_some();
        self.since.retain(|id, _| is_member(id));
        self.excused.retain(|id, _| is_member(id));
        self.unfit.retain(is_member);
    }
}

/// Who is away, told to those that may lead next, once in a while.
pub(crate) fn absent(
    descriptor: &PartitionDescriptor,
    own: ReplicaId,
    ticks: u64,
    hearing: &Hearing,
    absences: &Absences,
) -> Vec<Envelope> {
    if !ticks.is_multiple_of(TELL_TICKS) {
        return Vec::new();
    }
    let others = descriptor.replicas.iter().map(|replica| replica.id).filter(|&id| id != own);
    let away: Vec<ReplicaId> = others.filter(|&id| hearing.silence(id, ticks) >= TELL_TICKS).collect();
    let mut told = Vec::new();
    for &replica in &away {
        let ticks = hearing.silence(replica, ticks).max(absences.silence(replica, ticks));
        let heirs = storage_voters(descriptor).map(|voter| voter.id).filter(|id| *id != own && !away.contains(id));
        told.extend(heirs.map(|to| Envelope { from: own, to, body: MessageBody::Absent { replica, ticks } }));
    }
    told
}
