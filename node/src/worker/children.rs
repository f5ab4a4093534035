//! The child of a split, on the worker that will own it.
//!
//! ```text
//! parent's worker: claim the right half ─► registry: the parent is shrunk ─► one batch: the split's apply mark, the parent's
//!                  state, the child's records ─► child's worker: registry: the child; the claim ends
//! pool:            flush ─► log: the child's id, its beginning (`birth`) ─► child's worker: it lives
//! ```
//! What a crash leaves, by where it comes:
//! - before the batch is flushed: neither half. The parent applies the split again and all of this happens anew. The child's log
//!   holds a vote at most: it begins behind the flush, so nothing that it acknowledged can be here without its records.
//! - after that, before the log begins: records without a log (or with a vote alone). The start goes on from there (`server::open`).
//! - after that: two groups like any others. The parent's mark is behind the split: it is not applied again.
//!
//! Records are written only where the group has none (`items::write`): a child that lives is never set back. If its replica's id is
//! not accepted here any more (others have removed it meanwhile, and perhaps put a newer one in its place), nothing is born: its
//! records go, and the items of the right half, under the claim, so that no snapshot of the newer one comes in between. A parent
//! that gets a snapshot of a time after the split never applies it here: what it no longer has is cleared with the installation, and
//! the child's replica, which is empty and has voted at most, gets its own leader's snapshot.
//!
//! An empty replica of the child may vote while its parent is on its way to the split. What a young leader then appends counts on
//! the birth; refused, it would be followed by a snapshot of what is already here. So it is not heard for a while.

use std::sync::Arc;

use model::PartitionId;
use replica::eraftpb::{Message, MessageType};
use replica::state::{BIRTH_INDEX, BIRTH_TERM};
use replica::{Child, Envelope, GroupState, Input};

use crate::context::Context;
use crate::items::ItemsError;
use crate::registry::Claim;
use crate::worker::Worker;
use crate::worker::birth::{self, Birth, Parents};
use crate::worker::group::{Group, Phase};
use crate::worker::inbox::Mail;
use wire::error::describe;

/// Ticks in which an empty replica is deaf to what counts on its birth: its parent's replica on this node applies the split with
/// the next commit that it hears of, and a flush follows.
pub const BIRTH_TICKS: u32 = 100;
/// Between two attempts to be elected first: longer than an election takes.
const CAMPAIGN_TICKS: u32 = 2;
/// After so many, whoever's time it is.
const STANDING_TICKS: u32 = 20;

/// A child whose records stand in the engine.
pub struct Delivery {
    pub child: Child,
    /// Its parent is led from here.
    pub stands: bool,
    pub claim: Claim,
}

enum Welcome {
    Expected,
    /// Its id is not accepted here any more.
    Retired,
    /// It is here already, or its log is corrupt.
    Nothing,
}

impl Worker {
    pub fn deliver(&mut self, delivery: Delivery) {
        let Delivery { child, stands, claim } = delivery;
        match self.welcome(&child) {
            Welcome::Expected => self.bear(child, stands, claim),
            Welcome::Retired => self.refuse_child(child, claim),
            Welcome::Nothing => {
                let partition = child.descriptor.id;
                tracing::error!(%partition, "a child cannot be born: it is here already, or its log is corrupt");
            }
        }
    }

    fn welcome(&self, child: &Child) -> Welcome {
        let partition = child.descriptor.id;
        if self.births.contains_key(&partition) || self.corrupt.contains(&partition) {
            return Welcome::Nothing;
        }
        if child.replica < self.desk.context.log.accept_from(partition) {
            return Welcome::Retired;
        }
        let Some(group) = self.groups.get(&partition) else { return Welcome::Expected };
        if group.summary.replica > child.replica || group.phase == Phase::Retiring {
            Welcome::Retired
        } else if group.summary.descriptor.is_none() && group.phase == Phase::Running {
            Welcome::Expected
        } else {
            Welcome::Nothing
        }
    }

    fn bear(&mut self, child: Child, stands: bool, claim: Claim) {
        let partition = child.descriptor.id;
        let state = GroupState::decode(child.state).expect("the replica encoded it");
        self.conceive(child.replica, &child.descriptor, &state.table);
        drop(claim);
        let context = Arc::clone(&self.desk.context);
        let worker = self.desk.worker;
        self.desk.context.births.submit_always(move || {
            // Where it stays without room, the next start goes on.
            if until_room(&context, "bear a child", || context.items.flush()) {
                let start = birth::begin(&context, partition);
                let birth = Birth { partition, start, parents: Parents::Split { stands } };
                context.inboxes.push(worker, Mail::Born(Box::new(birth)));
            }
        });
    }

    fn refuse_child(&mut self, child: Child, claim: Claim) {
        let Child { descriptor, replica, .. } = child;
        let partition = descriptor.id;
        tracing::info!(%partition, %replica, "the child of a split is retired here: its items are cleared");
        let context = Arc::clone(&self.desk.context);
        self.desk.context.births.submit_always(move || {
            until_room(&context, "clear the items of a retired child", || {
                context.items.drop_records(partition, replica)?;
                context.items.clear_range(descriptor.table, &descriptor.range)
            });
            drop(claim);
        });
    }
}

/// Whether it was done: not where the node stops before the disk has room.
pub fn until_room(context: &Context, what: &'static str, mut work: impl FnMut() -> Result<(), ItemsError>) -> bool {
    loop {
        match work() {
            Ok(()) => return true,
            Err(error) if error.is_no_room() => {
                tracing::warn!(what, error = describe(&error), "no room; tries again");
                context.room.refused();
                if !context.room.pause() {
                    return false;
                }
            }
            Err(error) => context.give_up(what, &error),
        }
    }
}

/// Once per tick: the first leader of a child is its parent's, so that writes wait for no election time-out.
pub fn tick(group: &mut Group) {
    group.awaits_birth = group.awaits_birth.saturating_sub(1);
    let Some(ticks) = group.stands else { return };
    if group.summary.leader.is_some() || ticks >= STANDING_TICKS {
        group.stands = None;
        return;
    }
    if ticks.is_multiple_of(CAMPAIGN_TICKS) {
        group.inputs.push(Input::Campaign);
    }
    group.stands = Some(ticks + 1);
}

/// An append to an empty replica by a leader that believes it to have been born.
pub fn comes_before_birth(group: &Group, envelope: &Envelope) -> bool {
    let follows_birth = |message: &Message| {
        message.msg_type == MessageType::MsgAppend && (message.index, message.log_term) == (BIRTH_INDEX, BIRTH_TERM)
    };
    let is_empty = group.summary.descriptor.is_none() && group.awaits_birth > 0;
    is_empty && envelope.body.raft().is_some_and(follows_birth)
}

/// The children among what has just been written, each to its worker.
pub fn send_out(worker: &mut Worker, children: Vec<(PartitionId, Child)>) {
    for (parent, child) in children {
        let partition = child.descriptor.id;
        let claim = worker.desk.claims.remove(&partition);
        let claim = claim.unwrap_or_else(|| worker.desk.context.registry.claim_for_child(&child.descriptor));
        let stands = worker.groups.get(&parent).is_some_and(Group::leads);
        tracing::info!(partition = %parent, child = %partition, "split");
        let inboxes = &worker.desk.context.inboxes;
        inboxes.push(inboxes.of(partition), Mail::Child(Box::new(Delivery { child, stands, claim })));
    }
}
