//! What a leader watches by its ticks: a second zone that answers, a transfer under way, a wish to resign.

use std::collections::{BTreeMap, BTreeSet};

use model::{PartitionDescriptor, ReplicaId};

use crate::membership::{storage_voters, voters_in_other_zones};
use crate::raft_core::Core;
use crate::repair::Hearing;
use crate::{Answer, Effects, Refusal, Token};

pub(crate) struct Oversight {
    pub hearing: Hearing,
    /// A hand-over for want of a second zone was tried.
    handing_over: Option<u64>,
    transfer: Option<(ReplicaId, Vec<Token>)>,
    resigning_until: Option<u64>,
    /// Leadership was sent there once, or they are not sure of their log's end and may not stand in the next term (`tail`): whoever
    /// else there is goes before them.
    doubtful_heirs: BTreeSet<ReplicaId>,
    /// What each replica was last told to be committed.
    told: BTreeMap<ReplicaId, u64>,
}

/// A resignation that finds no heir is tried for so many election time-outs.
const RESIGN_TIMEOUTS: u64 = 3;

impl Oversight {
    pub(crate) fn new(ticks: u64) -> Oversight {
        Oversight {
            hearing: Hearing::new(ticks),
            handing_over: None,
            transfer: None,
            resigning_until: None,
            doubtful_heirs: BTreeSet::new(),
            told: BTreeMap::new(),
        }
    }

    pub(crate) fn is_silent(&self, id: ReplicaId, ticks: u64, patience: u64) -> bool {
        self.hearing.silence(id, ticks) >= patience
    }

    /// No second zone is missed, and leadership is not on its way anywhere.
    pub(crate) fn is_idle(&self) -> bool {
        self.handing_over.is_none() && self.transfer.is_none() && self.resigning_until.is_none()
    }

    /// Every tick of a leader.
    pub(crate) fn tick(&mut self, watch: &Watch<'_>, core: &mut Core, effects: &mut Effects) {
        self.announce_commit(core);
        self.end_failed_transfer(core, effects);
        self.guard_zones(watch, core);
        self.go_on_resigning(watch, core);
    }

    /// Better not to that one.
    pub(crate) fn doubt_heir(&mut self, id: ReplicaId) {
        self.doubtful_heirs.insert(id);
    }

    /// A message to that replica says how far the log is committed.
    pub(crate) fn tells(&mut self, to: ReplicaId, commit: u64) {
        let told = self.told.entry(to).or_default();
        *told = commit.max(*told);
    }

    /// Somebody has entries and does not know that they are committed.
    pub(crate) fn commit_untold(&self, core: &Core) -> bool {
        core.commit_known_beyond(|id| self.told.get(&id).copied().unwrap_or(0))
    }

    /// Commits are not broadcast one by one: followers hear of them with the next append, or here.
    pub(crate) fn announce_commit(&mut self, core: &mut Core) {
        if self.commit_untold(core) {
            core.ping();
        }
    }

    /// Commits need two zones, raft's quorum check does not.
    fn guard_zones(&mut self, watch: &Watch<'_>, core: &mut Core) {
        let mut others = voters_in_other_zones(watch.descriptor, core.id()).peekable();
        let alone = others.peek().is_some() && others.all(|id| self.is_silent(id, watch.ticks, watch.patience));
        if !alone {
            self.handing_over = None;
            return;
        }
        match self.handing_over {
            None => match self.heir(watch, core) {
                Some(heir) if !core.change_pending() => {
                    self.handing_over = Some(watch.ticks);
                    core.transfer(heir);
                }
                Some(_) | None => core.step_down(None),
            },
            Some(since) if watch.ticks - since >= watch.patience => core.step_down(None),
            Some(_) => {}
        }
    }

    /// The voter with items that answers, is likely to take over, and has the longest log.
    fn heir(&self, watch: &Watch<'_>, core: &Core) -> Option<ReplicaId> {
        let own = core.id();
        let candidates = storage_voters(watch.descriptor)
            .map(|voter| voter.id)
            .filter(|&id| id != own && core.is_voter(id) && !self.is_silent(id, watch.ticks, watch.patience));
        candidates.max_by_key(|&id| (!self.doubtful_heirs.contains(&id), core.matched(id), std::cmp::Reverse(id)))
    }

    pub(crate) fn resign(&mut self, watch: &Watch<'_>, core: &mut Core) {
        self.resigning_until = Some(watch.ticks + RESIGN_TIMEOUTS * watch.patience);
        self.go_on_resigning(watch, core);
    }

    /// With every step, not only with ticks: what was in the way may be gone.
    pub(crate) fn go_on_resigning(&mut self, watch: &Watch<'_>, core: &mut Core) {
        let Some(until) = self.resigning_until else { return };
        if watch.ticks > until {
            self.resigning_until = None;
            return;
        }
        if core.leads()
            && !core.change_pending()
            && core.transferring_to().is_none()
            && let Some(heir) = self.heir(watch, core)
        {
            self.doubtful_heirs.insert(heir);
            core.transfer(heir);
        }
    }

    /// Refused, or done already, or on its way: then the token is answered when leadership is lost.
    pub(crate) fn transfer(
        &mut self,
        watch: &Watch<'_>,
        core: &mut Core,
        token: Token,
        to: ReplicaId,
    ) -> Option<Answer> {
        let impossible = |reason: String| Some(Answer::Refused(Refusal::Impossible { reason }));
        if to == core.id() {
            return Some(Answer::Done);
        }
        if !core.is_voter(to) || storage_voters(watch.descriptor).all(|voter| voter.id != to) {
            return impossible(format!("replica {to} does not vote, or has no items"));
        }
        if core.change_pending() {
            return impossible("a change of membership is under way".to_owned());
        }
        if self.is_silent(to, watch.ticks, watch.patience) || !core.caught_up(to) {
            return impossible(format!("replica {to} is silent or has not caught up"));
        }
        match &mut self.transfer {
            Some((under_way, tokens)) if *under_way == to => tokens.push(token),
            Some((under_way, _)) => return impossible(format!("leadership is on its way to replica {under_way}")),
            None => self.transfer = Some((to, vec![token])),
        }
        core.transfer(to);
        None
    }

    /// Raft gives a transfer up after one election time-out.
    fn end_failed_transfer(&mut self, core: &Core, effects: &mut Effects) {
        if core.transferring_to().is_some() {
            return;
        }
        if let Some((to, tokens)) = self.transfer.take() {
            for token in tokens {
                let reason = format!("replica {to} did not take over in time");
                effects.answers.push((token, Answer::Refused(Refusal::Impossible { reason })));
            }
        }
    }

    /// Leadership is lost while it was on its way: as wished.
    pub(crate) fn transferred(self) -> impl Iterator<Item = Token> {
        self.transfer.into_iter().flat_map(|(_, tokens)| tokens)
    }
}

/// What a tick is seen against.
pub(crate) struct Watch<'a> {
    pub descriptor: &'a PartitionDescriptor,
    pub ticks: u64,
    /// One election time-out.
    pub patience: u64,
}
