//! What other nodes' silence, starts and stops mean for the groups that have a replica there and one here.

use model::NodeId;
use replica::Input;

use crate::context::Context;
use crate::neighbours::{News, Told};
use crate::registry::Counts;
use crate::room::RoomState;
use crate::worker::{Worker, schedule};

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
            News::Silent | News::Restarted => self.tell_groups_on(node, Input::Lost),
            News::Stopping => {
                if self.desk.worker == 0 {
                    // So that it knows before it goes.
                    let context = &self.desk.context;
                    context.neighbours.beat_now(&context.links, &context.registry, node);
                }
                self.tell_groups_on(node, Input::Stopping);
            }
            News::Returned => (),
        }
    }

    /// Every group with a replica on that node, about that replica.
    fn tell_groups_on(&mut self, node: NodeId, input: impl Fn(model::ReplicaId) -> Input) {
        for group in self.groups.values_mut() {
            let Some(descriptor) = &group.summary.descriptor else { continue };
            if let Some(replica) = descriptor.on_node(node) {
                group.inputs.push(input(replica.id));
                schedule(&mut self.active, group);
            }
        }
    }
}
