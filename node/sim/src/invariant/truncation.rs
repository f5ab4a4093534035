//! Truncation: the log is kept from what a crash would leave of the items.

use crate::event::Group;
use crate::invariant::{Broken, Verdict};

/// Entries up to `index` are to be removed; the engine has flushed up to `flushed`.
pub fn check(group: Group, index: u64, flushed: u64) -> Verdict {
    if index <= flushed {
        return Ok(());
    }
    let what = format!("the log is to be truncated at {index}, but a crash keeps only {flushed} applied");
    Err(Broken::new("truncation", group, what))
}
