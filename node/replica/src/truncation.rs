//! How much of the log may go: what the engine has flushed, less what other members still need within the limit.
//!
//! Only a leader decides it: nobody else knows what the others need. It tells them, and they follow. One rule stands above
//! the limit: an entry that fewer than two replicas with items hold is never truncated, or a log replica might hold the only
//! other copy, and lose it.

use model::{PartitionDescriptor, ReplicaId, ReplicaKind};

use crate::raft_core::Core;
use crate::{Envelope, MessageBody, Mutant, Options};

#[derive(Default)]
pub(crate) struct Truncation {
    flushed: u64,
    news: bool,
    /// What a leader has said of its own log.
    floor: u64,
    /// In this term, what was told.
    told: (u64, u64),
}

/// Replicas with items that hold an entry before it is truncated.
const COPIES: usize = 2;
/// Followers move on with every tick: the log is told only when it is worth a record.
const WORTH_ENTRIES: u64 = 256;

impl Truncation {
    pub(crate) fn flushed(&mut self, index: u64) {
        if index > self.flushed {
            self.flushed = index;
            self.news = true;
        }
    }

    pub(crate) fn told(&mut self, index: u64) {
        if index > self.floor {
            self.floor = index;
            self.news = true;
        }
    }

    pub(crate) fn due(
        &mut self,
        tick: bool,
        core: &mut Core,
        descriptor: Option<&PartitionDescriptor>,
        options: &Options,
    ) -> Option<u64> {
        if !self.news && !tick {
            return None;
        }
        let descriptor = descriptor?;
        let flushed = if options.flaw.is(Mutant::TruncatedEarly) { u64::MAX } else { self.flushed };
        let is_log = descriptor.replica(core.id()).is_some_and(|own| own.kind == ReplicaKind::Log);
        let keep = if core.leads() && !is_log { Truncation::needed(core, descriptor, options) } else { self.floor };
        let target = flushed.min(core.applied()).min(keep);
        let truncated = core.log().truncated_index();
        let worth = if std::mem::take(&mut self.news) { 1 } else { WORTH_ENTRIES };
        if target < truncated + worth {
            return None;
        }
        core.log_mut().truncate(target);
        Some(target)
    }

    fn needed(core: &Core, descriptor: &PartitionDescriptor, options: &Options) -> u64 {
        let needed = core.followers_floor().min(core.log().snapshot_floor().unwrap_or(u64::MAX));
        let limit = core.log().index_within(options.log_bytes);
        let with_items = descriptor.replicas.iter().filter(|replica| replica.kind == ReplicaKind::Storage);
        let copies = if core.flaw().is(Mutant::KeepsTooLittle) { 1 } else { COPIES };
        needed.max(limit).min(core.held_by(copies, with_items.map(|replica| replica.id)))
    }

    /// A leader tells the others where its log begins now: once a tick at most, and once in its term at least.
    pub(crate) fn tell(&mut self, tick: bool, core: &Core, descriptor: Option<&PartitionDescriptor>) -> Vec<Envelope> {
        let news = (core.term(), core.log().truncated_index());
        if !tick || !core.leads() || news == self.told {
            return Vec::new();
        }
        self.told = news;
        let from = core.id();
        let tell = |to: ReplicaId| Envelope { from, to, body: MessageBody::Truncated { index: news.1 } };
        let others = descriptor.into_iter().flat_map(|descriptor| &descriptor.replicas).map(|replica| replica.id);
        others.filter(|&id| id != from).map(tell).collect()
    }
}
