//! The tail: what a log replica alone held when the leader died is with the next leader, within five seconds; and a log replica
//! leads for two seconds at most, where a replica with items can be reached.

use model::ReplicaKind;

use crate::core::Core;
use crate::event::Group;
use crate::host::{Node, Running};
use crate::invariant::{Broken, Verdict};
use crate::plan::{MILLISECOND, SECOND};
use crate::queue::Time;

pub const SERVES_WITHIN_US: Time = 5 * SECOND;
pub const LOG_REPLICA_LEADS_US: Time = 2 * SECOND;

/// The newest entry that was committed, as the dead leader had it.
#[derive(Clone, Copy, Debug)]
pub struct Tail {
    pub group: Group,
    pub index: u64,
    pub term: u64,
    /// Everybody who is needed can be reached from here on.
    pub since: Time,
}

impl Tail {
    /// Whoever serves the group in a newer term must have it. None while nobody does.
    pub fn taken_over(&self, nodes: &[Node]) -> Result<Option<()>, Broken> {
        let Tail { group, index, term, .. } = *self;
        let serves = |node: &&Node| {
            let running = node.running[group].as_ref().filter(|_| node.up);
            running.is_some_and(|running| running.status.serving && running.status.term > term)
        };
        let Some(node) = nodes.iter().find(serves) else { return Ok(None) };
        let log = &node.log.current[group];
        if log.term(index) == Some(term) || index < log.truncated_index {
            return Ok(Some(()));
        }
        let what = format!("node {} serves without the entry {index} of term {term}", node.place);
        Err(Broken::new("tail", group, what))
    }

    pub fn late(&self, core: &Core, nodes: &[Node]) -> Broken {
        let waited = (core.now - self.since) / MILLISECOND;
        let state = super::liveness::describe(core, nodes, self.group);
        Broken::new("tail", self.group, format!("nobody serves {waited} ms after the leader died{state}"))
    }
}

/// Since when a log replica leads.
#[derive(Default)]
pub struct Tenure {
    since: Option<Time>,
}

impl Tenure {
    pub fn look(&mut self, core: &Core, nodes: &[Node], group: Group) -> Verdict {
        let leads = |running: &&Running| {
            let own = running.descriptor.as_ref().and_then(|descriptor| descriptor.replica(running.id));
            running.status.leader == Some(running.id) && own.is_some_and(|own| own.kind == ReplicaKind::Log)
        };
        let up = nodes.iter().filter(|node| node.up).filter_map(|node| node.running[group].as_ref());
        let Some(log_replica) = up.into_iter().find(leads) else {
            self.since = None;
            return Ok(());
        };
        let since = *self.since.get_or_insert(core.now);
        if core.now - since <= LOG_REPLICA_LEADS_US {
            return Ok(());
        }
        let state = super::liveness::describe(core, nodes, group);
        let what = format!("log replica {} leads for {} ms{state}", log_replica.id, (core.now - since) / MILLISECOND);
        Err(Broken::new("tail", group, what))
    }

    pub fn leads(&self) -> bool {
        self.since.is_some()
    }
}
