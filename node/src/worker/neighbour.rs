//! What other nodes' silence, starts and stops mean for the groups that have a replica there and one here.

use model::{NodeId, ReplicaId};
use replica::Input;

use crate::context::Context;
use crate::metrics::count;
use crate::neighbours::{News, Told};
use crate::registry::Counts;
use crate::room::RoomState;
use crate::worker::group::Group;
use crate::worker::{Worker, schedule};

/// Of a worker: an election costs its three nodes a few hundred microseconds together, so this is a tenth of a processor.
pub const WAKES_PER_TICK: usize = 50;

/// The first worker's tick: looks who is silent, and lets the others hear of this node.
pub fn tick(context: &Context) {
    let Counts { groups, leaders: _, log_replicas } = context.registry.counts();
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    context.neighbours.tick(Told {
        accepts_replicas: context.room.get() == RoomState::Enough,
        replicas: number(groups),
        log_replicas: number(log_replicas),
        free_bytes: context.room.free_bytes(),
    });
    context.neighbours.beat(&context.links, &context.registry);
}

impl Worker {
    pub fn neighbour(&mut self, node: NodeId, news: News) {
        match news {
            News::Silent | News::Restarted => self.lost(node),
            News::Stopping => {
                if self.desk.worker == 0 {
                    // So that it knows before it goes.
                    let context = &self.desk.context;
                    context.neighbours.beat_now(&context.links, &context.registry, node);
                }
                self.stopping(node);
            }
            News::Returned => (),
        }
    }

    /// Every group with a replica there, about that replica. Nobody wakes of it.
    fn stopping(&mut self, node: NodeId) {
        for group in self.groups.values_mut() {
            if let Some(replica) = replica_on(group, node) {
                group.inputs.push(Input::Stopping(replica));
                schedule(&mut self.active, group);
            }
        }
    }

    /// Whoever is awake is told at once. Of those that sleep some are, with every tick: first those that have lost their
    /// leader, then those that lead there.
    fn lost(&mut self, node: NodeId) {
        let mut led_here = Vec::new();
        for group in self.groups.values_mut() {
            let Some(replica) = replica_on(group, node) else { continue };
            if group.ticked {
                group.inputs.push(Input::Lost(replica));
                schedule(&mut self.active, group);
                continue;
            }
            let (leads, leader) = (group.leads(), group.summary.leader);
            if !leads && leader.is_some_and(|leader| leader != replica) {
                // In another's care.
                continue;
            }
            if !group.lost.contains(&replica) {
                group.lost.push(replica);
            }
            if std::mem::replace(&mut group.is_waking, true) {
                continue;
            }
            if leads {
                led_here.push(group.partition);
            } else {
                self.waking.push_back(group.partition);
            }
        }
        self.waking.extend(led_here);
    }

    /// The next ones of those that wait to wake: so many elections do not hold the foreground up. Whoever is asked or told
    /// something meanwhile has woken at once.
    pub fn wake_some(&mut self) {
        let next = self.waking.len().min(WAKES_PER_TICK);
        for partition in self.waking.drain(..next) {
            let Some(group) = self.groups.get_mut(&partition) else { continue };
            group.is_waking = false;
            group.inputs.extend(std::mem::take(&mut group.lost).into_iter().map(Input::Lost));
            schedule(&mut self.active, group);
        }
        self.desk.context.metrics.woken.inc_by(count(next));
    }
}

fn replica_on(group: &Group, node: NodeId) -> Option<ReplicaId> {
    group.summary.descriptor.as_ref()?.on_node(node).map(|replica| replica.id)
}
