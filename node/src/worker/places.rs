//! Nodes for replicas that leaders want: asked of `placement` with what this node knows of the others.
//!
//! When a node dies many groups ask at once. What was given away counts against its node until the node's own count shows it,
//! so that they spread over a zone; stand-ins come before rebuilt replicas, which are bounded: each is a copy of a partition.

use std::collections::VecDeque;

use model::{PartitionDescriptor, PartitionId};
use placement::repair::{Given, place_rebuilt, place_stand_in, place_stand_in_elsewhere};
use placement::{Blocked, NodeView, Place};
use replica::{Health, Input, NoPlace, Purpose, Wanted};

use crate::worker::group::{Group, Phase};
use crate::worker::{Worker, schedule};

/// Replicas that this worker's leaders have rebuilt at a time.
const REBUILDS: usize = 4;
/// Ticks for which what was given counts: a node has told its new count by then, and a rebuilt replica is in its group.
const COUNTED_TICKS: u64 = 20;

/// What this worker's groups ask for, and what they got lately.
#[derive(Default)]
pub struct Places {
    wishes: Vec<(PartitionId, Wanted)>,
    given: VecDeque<Gift>,
}

struct Gift {
    tick: u64,
    node: model::NodeId,
    rebuilt: bool,
}

impl Places {
    pub fn ask(&mut self, partition: PartitionId, wanted: Wanted) {
        self.wishes.push((partition, wanted));
    }

    fn forget_before(&mut self, tick: u64) {
        while self.given.front().is_some_and(|gift| gift.tick < tick) {
            self.given.pop_front();
        }
    }

    fn counted(&self) -> Given {
        let mut given = Given::new();
        for gift in &self.given {
            *given.entry(gift.node).or_default() += 1;
        }
        given
    }
}

impl Worker {
    /// Answers every wish of this turn.
    pub fn place(&mut self) {
        let mut wishes = std::mem::take(&mut self.desk.places.wishes);
        if wishes.is_empty() {
            return;
        }
        wishes.sort_by_key(|(_, wanted)| is_rebuild(wanted));
        let places = &mut self.desk.places;
        places.forget_before(self.ticks.saturating_sub(COUNTED_TICKS));
        let mut given = places.counted();
        let begun = places.given.iter().filter(|gift| gift.rebuilt).count();
        let mut rebuilding = match wishes.last() {
            // Every group is looked at for it.
            Some((_, wanted)) if is_rebuild(wanted) => {
                begun.max(self.groups.values().filter(|group| is_rebuilding(group)).count())
            }
            Some(_) | None => begun,
        };
        let views = self.desk.context.neighbours.views();
        for (partition, wanted) in wishes {
            let Some(group) = self.groups.get_mut(&partition).filter(|group| group.phase == Phase::Running) else {
                continue;
            };
            let Some(descriptor) = group.summary.descriptor.clone() else { continue };
            let rebuilt = is_rebuild(&wanted);
            let place = match rebuilt && rebuilding >= REBUILDS {
                true => Err(NoPlace::Busy),
                false => find(&views, &descriptor, &wanted.purpose, &given),
            };
            if let Err(why) = &place {
                // Asked again every second, perhaps for hours: `admin groups` and the metrics show it.
                tracing::debug!(%partition, ?wanted, ?why, "no place for a new replica");
            }
            if let Ok(Place { node, .. }) = &place {
                tracing::info!(%partition, ?wanted, %node, "places a new replica");
                *given.entry(*node).or_default() += 1;
                rebuilding += usize::from(rebuilt);
                self.desk.places.given.push_back(Gift { tick: self.ticks, node: *node, rebuilt });
            }
            let place = place.map(|Place { node, zone }| (node, zone));
            group.inputs.push(Input::Placed { wanted, place });
            schedule(&mut self.active, group);
        }
    }
}

fn is_rebuild(wanted: &Wanted) -> bool {
    matches!(wanted.purpose, Purpose::Rebuilt { .. })
}

fn is_rebuilding(group: &Group) -> bool {
    group.leads() && matches!(group.replica.health(), Some((Health::Rebuilding { .. }, _)))
}

fn find(
    views: &[NodeView],
    descriptor: &PartitionDescriptor,
    purpose: &Purpose,
    given: &Given,
) -> Result<Place, NoPlace> {
    let found = match purpose {
        Purpose::StandIn { lost } => place_stand_in(views, descriptor, lost.as_ref(), given),
        Purpose::StandInElsewhere { avoided } => place_stand_in_elsewhere(views, descriptor, avoided, given),
        Purpose::Rebuilt { lost } => place_rebuilt(views, descriptor, lost.as_ref(), given),
    };
    found.map_err(|blocked| match blocked {
        Blocked::InTheWay { replica, .. } => NoPlace::InTheWay(replica),
        Blocked::TooFewZones { .. }
        | Blocked::NoSpareNode { .. }
        | Blocked::NoSpareNodes { .. }
        | Blocked::NoSuchReplica { .. }
        | Blocked::UnknownNode { .. }
        | Blocked::ZoneTaken { .. }
        | Blocked::NodeTaken { .. }
        | Blocked::NotAccepting { .. } => NoPlace::Nowhere(blocked.to_string()),
    })
}
