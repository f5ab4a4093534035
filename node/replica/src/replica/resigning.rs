//! A replica's part in handing leadership on: what it hears of possible heirs, when it looks for one, and how it follows a call.

use model::ReplicaId;

use crate::eraftpb::{Message, MessageType};
use crate::oversight::Watch;
use crate::replica::Replica;
use crate::{Effects, tail};

/// A leader has called this replica to take over, and raft has not heeded it: it does not campaign with a change of membership
/// that is committed and not applied. The leader takes no writes meanwhile, and does not call twice.
pub(super) struct Call {
    message: Message,
    since: u64,
}

impl Replica {
    pub(super) fn follow(&mut self, message: Message) {
        let call = (message.get_msg_type() == MessageType::MsgTimeoutNow).then(|| message.clone());
        self.core.step(message);
        let since = self.clock.ticks;
        if let Some(message) = call.filter(|call| self.is_unheeded(call)) {
            self.call = Some(Call { message, since });
        }
    }

    /// More is applied: perhaps it can follow now. After one election time-out nobody waits for it any more.
    pub(super) fn follow_call(&mut self) {
        let Some(Call { message, since }) = self.call.take() else { return };
        if self.clock.ticks < since + self.clock.patience() && self.is_unheeded(&message) {
            self.core.step(message.clone());
            self.call = self.is_unheeded(&message).then_some(Call { message, since });
        }
    }

    fn is_unheeded(&self, call: &Message) -> bool {
        self.core.term() == call.term && self.core.leader() == Some(ReplicaId(call.from)) && !self.core.leads()
    }

    /// Another is not sure of its log's end.
    pub(super) fn tail_asked(&mut self, from: ReplicaId, question: u64, effects: &mut Effects) {
        if let Some(leading) = &mut self.leading {
            leading.oversight.doubt_heir(from);
            self.core.probe_again(from);
        }
        effects.send.push(tail::answer(&self.core, from, question));
    }

    /// Every step of a leader that wants to resign: whatever kept it from it may have ended with this step.
    pub(super) fn go_on_resigning(&mut self) {
        let (Some(leading), Some(state)) = (&mut self.leading, &self.applier.state) else { return };
        let watch = Watch { descriptor: &state.descriptor, ticks: self.clock.ticks, patience: self.clock.patience() };
        leading.oversight.go_on_resigning(&watch, &mut self.core);
    }
}
