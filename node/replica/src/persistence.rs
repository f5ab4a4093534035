//! What must be on the disk before it may be said: appends in their order, and the messages that wait for them.
//!
//! A leader's messages leave at once; everybody else's wait until what they tell of is synced. A hard state in which only the
//! commit index moved waits for the next append, or for the next tick, and nothing waits for it.

use std::collections::VecDeque;

use crate::eraftpb::{Entry, HardState, Message, MessageType};
use crate::raft_core::Core;
use crate::{Append, Effects, Envelope, Flaw, MessageBody, Mutant};
use model::ReplicaId;
use raft::Ready;

#[derive(Default)]
pub(crate) struct Persistence {
    turn: Turn,
    outstanding: VecDeque<Outstanding>,
    /// Only its commit index is newer than what was written.
    unwritten: Option<HardState>,
    last_ready: u64,
    /// The ready that holds a snapshot, and what is said once that is installed.
    installing: Option<(u64, Vec<Message>)>,
}

/// What this step's readies want.
#[derive(Default)]
struct Turn {
    entries: Vec<Entry>,
    must_sync: bool,
    messages: Vec<Message>,
}

struct Outstanding {
    append: u64,
    /// Raft is told about this ready, and all before it.
    ready: u64,
    messages: Vec<Message>,
}

impl Persistence {
    pub(crate) fn shrink(&mut self) {
        self.outstanding.shrink_to_fit();
        self.turn.entries.shrink_to_fit();
    }

    /// Entries must already be in the log view.
    pub(crate) fn take(&mut self, ready: &mut Ready) {
        let entries = ready.take_entries();
        if let Some(first) = entries.first() {
            self.turn.entries.retain(|entry| entry.index < first.index);
            self.turn.entries.extend(entries);
        }
        if let Some(hard_state) = ready.hs() {
            self.unwritten = Some(hard_state.clone());
        }
        self.turn.must_sync |= ready.must_sync();
        self.turn.messages.extend(ready.take_persisted_messages());
        self.last_ready = ready.number();
    }

    /// The end of a step.
    pub(crate) fn finish(&mut self, core: &mut Core, effects: &mut Effects) {
        let Turn { entries, must_sync, messages } = std::mem::take(&mut self.turn);
        if self.installing.is_some() && !must_sync {
            return;
        }
        if must_sync {
            assert!(effects.append.is_none(), "two appends in one step");
            let hard_state = self.unwritten.take();
            effects.append = Some(Append { number: self.last_ready, entries, hard_state, must_sync, doubted: false });
            self.outstanding.push_back(Outstanding { append: self.last_ready, ready: self.last_ready, messages });
            return;
        }
        match self.outstanding.back_mut() {
            Some(before) => {
                before.ready = self.last_ready;
                before.messages.extend(messages);
            }
            None => {
                if self.last_ready > 0 {
                    core.persisted(self.last_ready);
                }
                effects.send.extend(messages.into_iter().map(envelope));
            }
        }
    }

    /// The commit index is written lazily, by the first tick that finds nothing else under way.
    pub(crate) fn write_commit(&mut self, effects: &mut Effects) {
        if effects.append.is_none() && self.outstanding.is_empty() && self.unwritten.is_some() {
            let hard_state = self.unwritten.take();
            let number = self.last_ready;
            effects.append = Some(Append { number, entries: Vec::new(), hard_state, must_sync: false, doubted: false });
        }
    }

    /// The host has synced this append and all before it.
    pub(crate) fn persisted(&mut self, number: u64, core: &mut Core, effects: &mut Effects) {
        while self.outstanding.front().is_some_and(|front| front.append <= number) {
            let front = self.outstanding.pop_front().expect("there is a first one");
            core.persisted(front.ready);
            effects.send.extend(front.messages.into_iter().map(envelope));
        }
    }

    /// Everything is synced, and a tick would write nothing.
    pub(crate) fn is_quiet(&self) -> bool {
        self.outstanding.is_empty() && self.unwritten.is_none() && self.installing.is_none()
    }

    /// A snapshot replaces the log, the hard state goes with it, and the messages wait for both.
    pub(crate) fn hold_for_install(&mut self) {
        self.unwritten = None;
        self.turn.must_sync = !self.turn.entries.is_empty();
        self.installing = Some((self.last_ready, std::mem::take(&mut self.turn.messages)));
    }

    pub(crate) fn installed(&mut self, core: &mut Core, effects: &mut Effects) {
        let Some((ready, messages)) = self.installing.take() else { return };
        self.outstanding.clear();
        core.persisted(ready);
        effects.send.extend(messages.into_iter().map(envelope));
    }
}

pub(crate) fn envelope(message: Message) -> Envelope {
    Envelope { from: ReplicaId(message.from), to: ReplicaId(message.to), body: MessageBody::Raft(message) }
}

/// What may be stepped.
pub(crate) fn is_sound(message: &Message, flaw: Flaw) -> bool {
    let forwarded = flaw.forwards() && message.get_msg_type() == MessageType::MsgPropose;
    forwarded || !is_forwarded(message) && (is_contiguous(message) || flaw.is(Mutant::BatchedAppends))
}

/// What may leave.
pub(crate) fn check(envelope: &Envelope, flaw: Flaw) {
    let MessageBody::Raft(message) = &envelope.body else { return };
    assert!(is_sound(message, flaw), "a forwarded request, or entries that do not follow on their index: {message:?}");
}

/// What raft would forward to its leader: neither sent nor accepted.
fn is_forwarded(message: &Message) -> bool {
    use crate::eraftpb::MessageType::{MsgPropose, MsgReadIndex, MsgReadIndexResp, MsgTransferLeader};
    matches!(message.get_msg_type(), MsgPropose | MsgReadIndex | MsgReadIndexResp | MsgTransferLeader)
}

/// A follower acknowledges an append by its index and the number of its entries.
fn is_contiguous(message: &Message) -> bool {
    message.get_entries().iter().zip(message.index + 1..).all(|(entry, index)| entry.index == index)
}
