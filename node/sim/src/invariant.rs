//! What must always hold: one file per invariant. Each sees facts and keeps only what it needs to judge the next one.

pub mod checked;
pub mod commitment;
pub mod copies;
pub mod durability;
pub mod election;
pub mod epochs;
pub mod equality;
pub mod identity;
pub mod linearizability;
pub mod liveness;
pub mod log_matching;
pub mod majority;
pub mod progress;
pub mod queues;
pub mod routing;
pub mod sleep;
pub mod splits;
pub mod tail;
pub mod takeover;
pub mod truncation;
pub mod zones;

use crate::event::Group;
use crate::queue::Time;

/// A broken invariant: the seed has failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{invariant} broken{}: {what}", group.map_or(String::new(), |group| format!(" in group {group}")))]
pub struct Broken {
    pub invariant: &'static str,
    pub group: Option<Group>,
    /// The key, where it is about one.
    pub key: Option<usize>,
    /// When it happened, where it is judged later.
    pub at: Option<Time>,
    pub what: String,
}

pub type Verdict = Result<(), Broken>;

impl Broken {
    pub fn new(invariant: &'static str, group: Group, what: String) -> Broken {
        Broken { group: Some(group), ..Broken::somewhere(invariant, what) }
    }

    pub fn somewhere(invariant: &'static str, what: String) -> Broken {
        Broken { invariant, group: None, key: None, at: None, what }
    }
}
