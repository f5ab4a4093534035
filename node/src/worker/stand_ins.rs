//! Log replicas whose snapshot has come: put in place on the pool, as many together as wait.
//!
//! While some are written others gather: one thread of the pool at most is at it, so that rebuilt replicas have the others.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::PartitionId;
use replica::Install;

use crate::context::Context;
use crate::snapshot::{SnapshotError, records};
use crate::worker::desk::Desk;
use crate::worker::inbox::Mail;
use wire::error::describe;

/// Those of all workers that wait.
#[derive(Default)]
pub struct StandIns {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: Vec<StandIn>,
    /// Somebody is at it, and comes for those that wait when it is done.
    busy: bool,
}

struct StandIn {
    worker: usize,
    partition: PartitionId,
    install: Box<Install>,
}

impl StandIns {
    /// Whether somebody must be sent for it.
    fn add(&self, stand_in: StandIn) -> bool {
        let mut state = self.lock();
        state.waiting.push(stand_in);
        !std::mem::replace(&mut state.busy, true)
    }

    /// All that wait; whoever gets none is no longer at it.
    fn take(&self) -> Vec<StandIn> {
        let mut state = self.lock();
        state.busy = !state.waiting.is_empty();
        std::mem::take(&mut state.waiting)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub fn install(desk: &Desk, partition: PartitionId, install: Install) {
    let stand_in = StandIn { worker: desk.worker, partition, install: Box::new(install) };
    if desk.context.stand_ins.add(stand_in) {
        let context = Arc::clone(&desk.context);
        desk.context.background.submit_always(move || put_in_place(&context));
    }
}

fn put_in_place(context: &Context) {
    loop {
        let batch = context.stand_ins.take();
        if batch.is_empty() {
            return;
        }
        let again = |error: &SnapshotError| {
            tracing::warn!(error = describe(error), "no room to install log replicas; tries again");
            context.room.refused();
            context.room.pause()
        };
        let installs = batch.iter().map(|stand_in| stand_in.install.as_ref());
        match records::install(&context.items, &context.log, installs, again) {
            Ok(()) => {
                for StandIn { worker, partition, install } in batch {
                    context.inboxes.push(worker, Mail::Installed { partition, index: install.index });
                }
            }
            // The node stops: its next start goes on with them.
            Err(error) if error.is_no_room() => return,
            Err(SnapshotError::Items(error)) => context.give_up("install log replicas", &error),
            Err(error) => panic!("cannot install {} log replicas: {}", batch.len(), describe(&error)),
        }
    }
}
