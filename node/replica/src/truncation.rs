//! How much of the log may go: what the engine has flushed, less what followers still need within the budget.

use crate::raft_core::Core;
use crate::{Mutant, Options};

#[derive(Default)]
pub(crate) struct Truncation {
    flushed: u64,
    news: bool,
}

/// A follower does not know what the others need; it keeps this part of the leader's budget, so that it need not send
/// snapshots as soon as it leads.
const FOLLOWER_PART: u64 = 4;
/// Followers move on with every tick: the log is told only when it is worth a record.
const WORTH_ENTRIES: u64 = 256;

impl Truncation {
    pub(crate) fn flushed(&mut self, index: u64) {
        if index > self.flushed {
            self.flushed = index;
            self.news = true;
        }
    }

    pub(crate) fn due(&mut self, tick: bool, core: &mut Core, options: &Options) -> Option<u64> {
        if !self.news && !tick {
            return None;
        }
        let flushed = if options.flaw.is(Mutant::TruncatedEarly) { u64::MAX } else { self.flushed };
        let flushed = flushed.min(core.applied());
        let keep = if core.leads() {
            let needed = core.followers_floor().min(core.log().snapshot_floor().unwrap_or(u64::MAX));
            needed.max(core.log().index_within(options.log_bytes))
        } else {
            core.log().index_within(options.log_bytes / FOLLOWER_PART)
        };
        let target = flushed.min(keep);
        let truncated = core.log().truncated_index();
        let worth = if std::mem::take(&mut self.news) { 1 } else { WORTH_ENTRIES };
        if target < truncated + worth {
            return None;
        }
        core.log_mut().truncate(target);
        Some(target)
    }
}
