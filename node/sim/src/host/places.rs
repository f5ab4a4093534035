//! Where a leader's new replica goes: `placement`, asked with what a node believes of the others, which may be late or wrong.

use model::PartitionDescriptor;
use placement::repair::{Given, place_rebuilt, place_stand_in, place_stand_in_elsewhere};
use placement::{Blocked, NodeView, Place};
use replica::{Input, NoPlace, Purpose, Wanted};

use crate::birth;
use crate::core::Core;
use crate::event::{Event, Group};
use crate::host::{Node, Running};
use crate::plan::MILLISECOND;
use crate::trace::At;

impl Node {
    pub(super) fn place(&self, core: &mut Core, group: Group, running: &Running, wanted: Wanted) {
        let Some(descriptor) = &running.descriptor else { return };
        let views = views(core);
        let placed = find(core, &views, descriptor, &wanted.purpose);
        let at = At::seat(self.place, group);
        core.note(at, "place (for epoch, node)", [wanted.epoch, placed.as_ref().map_or(0, |place| place.node.0), 0, 0]);
        let place = match placed {
            _ if core.rng.permille(100) => Err(NoPlace::Busy),
            Ok(Place { node, zone }) => Ok((node, zone)),
            Err(Blocked::InTheWay { replica, .. }) => Err(NoPlace::InTheWay(replica)),
            Err(blocked) => Err(NoPlace::Nowhere(blocked.to_string())),
        };
        core.stats.count(match (&place, &wanted.purpose) {
            (Err(_), _) => "places refused",
            (Ok(_), Purpose::Rebuilt { .. }) => "places for rebuilt replicas",
            (Ok(_), Purpose::StandIn { .. } | Purpose::StandInElsewhere { .. }) => "places for log replicas",
        });
        let delay = core.rng.range(1, 50 * MILLISECOND);
        core.after(delay, Event::Done(self.seat(group, running.id), Box::new(Input::Placed { wanted, place })));
    }
}

fn find(
    core: &Core,
    views: &[NodeView],
    descriptor: &PartitionDescriptor,
    purpose: &Purpose,
) -> Result<Place, Blocked> {
    let given = Given::new();
    let (found, home) = match purpose {
        Purpose::StandIn { lost } => (place_stand_in(views, descriptor, lost.as_ref(), &given)?, lost.as_ref()),
        Purpose::StandInElsewhere { avoided } => (place_stand_in_elsewhere(views, descriptor, avoided, &given)?, None),
        Purpose::Rebuilt { lost } => return place_rebuilt(views, descriptor, lost.as_ref(), &given),
    };
    // Where disks are lost, two voters in one zone would not survive the loss of the third: only people could go on.
    if core.plan.wipes > 0 && home != Some(&found.zone) {
        return Err(Blocked::NoSpareNode { zone: found.zone });
    }
    Ok(found)
}

/// Whoever is paused or cut off is thought to live, and now and then so is the dead, and the living dead.
fn views(core: &mut Core) -> Vec<NodeView> {
    let places: Vec<_> = core.registry.places.iter().map(|(id, place)| (*id, *place)).collect();
    let view = |(id, place): (model::NodeId, usize)| NodeView {
        id,
        zone: birth::told_zone_of(&core.plan, place),
        accepts: core.registry.down.contains(&place) == core.rng.permille(if core.healed { 0 } else { 50 }),
        replicas: 0,
        free_bytes: 1 << 30,
    };
    places.into_iter().map(view).collect()
}
