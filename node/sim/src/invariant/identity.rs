//! Identity: a replica lives on one node, and once retired it neither votes nor comes back.

use std::collections::{BTreeMap, BTreeSet};

use model::{NodeId, ReplicaId};
use replica::eraftpb::{Message, MessageType};

use crate::event::Group;
use crate::invariant::{Broken, Verdict};

#[derive(Default)]
pub struct Identities {
    homes: BTreeMap<(Group, ReplicaId), NodeId>,
    retired: BTreeSet<(Group, ReplicaId)>,
    votes: BTreeMap<(Group, u64, ReplicaId), u64>,
}

impl Identities {
    pub fn seated(&mut self, group: Group, node: NodeId, replica: ReplicaId) -> Verdict {
        let home = *self.homes.entry((group, replica)).or_insert(node);
        if home != node {
            let what = format!("replica {replica} stands on {node} and was on {home}");
            return Err(Broken::new("identity", group, what));
        }
        if self.retired.contains(&(group, replica)) {
            return Err(Broken::new("identity", group, format!("replica {replica} was retired and is back")));
        }
        Ok(())
    }

    pub fn retired(&mut self, group: Group, replica: ReplicaId) {
        self.retired.insert((group, replica));
    }

    /// A message leaves: a vote is given once in a term, and never by a retired replica.
    pub fn sent(&mut self, group: Group, replica: ReplicaId, message: &Message) -> Verdict {
        if self.retired.contains(&(group, replica)) {
            return Err(Broken::new("identity", group, format!("replica {replica} was retired and speaks")));
        }
        let votes = message.msg_type == MessageType::MsgRequestVoteResponse && !message.reject;
        if !votes {
            return Ok(());
        }
        let given = *self.votes.entry((group, message.term, replica)).or_insert(message.to);
        if given != message.to {
            let what = format!("replica {replica} votes for {given} and for {} in term {}", message.to, message.term);
            return Err(Broken::new("one vote", group, what));
        }
        Ok(())
    }
}
