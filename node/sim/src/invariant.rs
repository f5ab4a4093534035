//! What must always hold: one file per invariant. Each sees facts and keeps only what it needs to judge the next one.

pub mod commitment;
pub mod durability;
pub mod election;
pub mod epochs;
pub mod equality;
pub mod identity;
pub mod linearizability;
pub mod liveness;
pub mod log_matching;
pub mod progress;
pub mod queues;
pub mod zones;

use crate::event::Group;

/// A broken invariant: the seed has failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{invariant} broken{}: {what}", group.map_or(String::new(), |group| format!(" in group {group}")))]
pub struct Broken {
    pub invariant: &'static str,
    pub group: Option<Group>,
    pub what: String,
}

pub type Verdict = Result<(), Broken>;

impl Broken {
    pub fn new(invariant: &'static str, group: Group, what: String) -> Broken {
        Broken { invariant, group: Some(group), what }
    }
}
