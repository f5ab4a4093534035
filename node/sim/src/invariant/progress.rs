//! Progress: applied ≤ committed ≤ last; commit and term never move back while a replica lives.

use replica::Status;

use crate::disk::log::GroupLog;
use crate::event::Group;
use crate::invariant::{Broken, Verdict};

pub fn check(group: Group, before: &Status, now: &Status, log: &GroupLog, installing: bool) -> Verdict {
    let who = now.replica;
    if now.committed < before.committed || now.applied < before.applied || now.term < before.term {
        let what = format!("replica {who} went back from {before:?} to {now:?}");
        return Err(Broken::new("progress", group, what));
    }
    if now.applied > now.committed || now.committed > now.last_index {
        return Err(Broken::new("progress", group, format!("applied, committed, last of replica {who}: {now:?}")));
    }
    if !installing && now.last_index > log.last_index() {
        let what = format!("replica {who} has entries up to {} and handed out {}", now.last_index, log.last_index());
        return Err(Broken::new("progress", group, what));
    }
    Ok(())
}
