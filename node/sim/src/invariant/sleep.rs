//! Sleep: a follower agrees with nothing under way and nothing missing, a leader sleeps when all have agreed, and no replica
//! sleeps on for long under a leader that is gone.

use std::collections::{BTreeMap, BTreeSet};

use model::ReplicaRole;
use replica::{Envelope, MessageBody};

use crate::core::Core;
use crate::event::{Group, Place};
use crate::host::{Node, Running};
use crate::invariant::{Broken, Verdict};
use crate::plan::SECOND;
use crate::queue::Time;

/// Ten election time-outs, for silence to be noticed and waking to be paced where frames are lost.
const LONG_US: Time = 10 * SECOND;

#[derive(Default)]
pub struct Sleepers {
    /// Group, replica, term, index.
    agreed: BTreeSet<(Group, u64, u64, u64)>,
    /// Since when a replica sleeps under nobody.
    forsaken: BTreeMap<(Group, Place), Time>,
}

impl Sleepers {
    /// What a replica says after a step.
    pub fn says(&mut self, group: Group, running: &Running, envelope: &Envelope) -> Verdict {
        let MessageBody::SleepAgreed { term, index } = envelope.body else { return Ok(()) };
        let status = &running.status;
        if status.last_index < index || status.applied < index || status.in_joint_change {
            let what = format!("replica {} agrees to sleep at {index} of term {term}: {status:?}", running.id);
            return Err(Broken::new("sleep", group, what));
        }
        self.agreed.insert((group, running.id.0, term, index));
        Ok(())
    }

    /// A replica has just fallen asleep.
    pub fn falls_asleep(&self, group: Group, running: &Running) -> Verdict {
        let status = &running.status;
        if status.leader != Some(running.id) {
            return Ok(());
        }
        let replicas = running.descriptor.iter().flat_map(|descriptor| &descriptor.replicas);
        let others = replicas.filter(|replica| replica.role == ReplicaRole::Voter && replica.id != running.id);
        let agreed = |id: u64| self.agreed.contains(&(group, id, status.term, status.last_index));
        let awake: Vec<_> = others.filter(|replica| !agreed(replica.id.0)).map(|replica| replica.id).collect();
        if awake.is_empty() && !status.in_joint_change {
            return Ok(());
        }
        let what = format!("leader {} sleeps, and {awake:?} have not agreed: {status:?}", running.id);
        Err(Broken::new("sleep", group, what))
    }

    /// Looked at now and then.
    pub fn judge(&mut self, core: &Core, nodes: &[Node]) -> Verdict {
        for node in nodes {
            for (group, running) in node.running.iter().enumerate() {
                let awake = running.as_ref().is_none_or(|running| !running.replica.is_asleep());
                let still = !node.up || node.paused_until > core.now;
                if awake || still || is_led(core, nodes, group, node.place) {
                    self.forsaken.remove(&(group, node.place));
                    continue;
                }
                let since = *self.forsaken.entry((group, node.place)).or_insert(core.now);
                if core.now - since > LONG_US {
                    let what = format!("node {} sleeps for {} us under nobody", node.place, core.now - since);
                    return Err(Broken::new("sleep", group, what));
                }
            }
        }
        Ok(())
    }
}

/// Whether the replica's leader leads, in its term; or it leads itself, and nobody in a later one.
fn is_led(core: &Core, nodes: &[Node], group: Group, place: Place) -> bool {
    let Some(running) = nodes[place].running[group].as_ref() else { return false };
    let status = &running.status;
    let leads = |of: &Running| of.status.leader == Some(of.id);
    let Some(leader) = status.leader else { return false };
    if leader == running.id {
        let others = nodes.iter().filter(|node| node.up).filter_map(|node| node.running[group].as_ref());
        return !others.into_iter().any(|other| leads(other) && other.status.term > status.term);
    }
    let described = running.descriptor.as_ref().and_then(|descriptor| descriptor.replica(leader));
    let Some(place) = described.and_then(|replica| core.registry.places.get(&replica.node)) else { return false };
    let node = &nodes[*place];
    let alive = node.up && node.paused_until <= core.now;
    let there = node.running[group].as_ref();
    alive && there.is_some_and(|there| there.id == leader && leads(there) && there.status.term == status.term)
}
