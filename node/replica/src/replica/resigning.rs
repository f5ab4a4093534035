//! A replica's part in handing leadership on: what it hears of possible heirs and when it looks for one.

use model::ReplicaId;

use crate::oversight::Watch;
use crate::replica::Replica;
use crate::{Effects, tail};

impl Replica {
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
