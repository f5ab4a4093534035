//! The rot of a synced batch where it hurts most: the leader and one follower have an entry, the third has not heard of it; the
//! follower forgets it, the leader goes, and the third comes back. No vote of the follower may elect it now.

use model::ReplicaRole;

use crate::core::Core;
use crate::disk::log::LastBatch;
use crate::event::{Event, Group, Place};
use crate::faults::{Fault, die};
use crate::host::Node;
use crate::plan::{MILLISECOND, SECOND};

#[derive(Clone, Debug)]
pub struct Cruelty {
    group: Group,
    leads: Place,
    forgets: Place,
    /// Cut off until it strikes.
    lags: Place,
    tries: u32,
}

/// The third is cut off.
pub fn prepare(core: &mut Core, nodes: &[Node]) {
    let Some(group) = core.rng.pick(&core.registry.born).copied() else { return };
    let Some((_, leads, _)) = core.registry.leaders[group] else { return };
    let voters = core.registry.descriptors[group].replicas.iter().filter(|replica| replica.role == ReplicaRole::Voter);
    let places = voters.map(|voter| core.registry.places.get(&voter.node));
    let others: Vec<Place> = places.flatten().copied().filter(|place| *place != leads).collect();
    let [one, two] = others[..] else { return };
    let (forgets, lags) = if core.rng.permille(500) { (one, two) } else { (two, one) };
    core.network.blocked.extend(directions(nodes, lags));
    let later = core.rng.range(SECOND / 5, 2 * SECOND);
    let cruelty = Cruelty { group, leads, forgets, lags, tries: 300 };
    core.after(later, Event::Fault(Fault::RotWhenItHurts(cruelty)));
}

/// As soon as the follower's last batch holds an entry of the group.
pub fn strike(core: &mut Core, nodes: &mut [Node], mut cruelty: Cruelty) {
    let Cruelty { group, leads, forgets, lags, .. } = cruelty;
    let log = &nodes[forgets].log;
    let now = core.plan.rot && nodes[forgets].up && log.may_rot() && log.last_appends_to(group);
    if !now && cruelty.tries > 0 {
        cruelty.tries -= 1;
        core.after(2 * MILLISECOND, Event::Fault(Fault::RotWhenItHurts(cruelty)));
        return;
    }
    if now {
        core.stats.count("rotten batches");
        core.stats.count("rotten batches where it hurts");
        core.plan.rot = false;
        // The leader has heard that it is synced.
        let heard = core.rng.range(0, 50 * MILLISECOND);
        core.after(heard, Event::Fault(Fault::Stop(leads)));
        die(core, &mut nodes[forgets], LastBatch::Rotten);
        let soon = core.rng.range(MILLISECOND, SECOND / 5);
        core.after(soon, Event::Fault(Fault::Restart(forgets)));
        if core.rng.permille(500) {
            strike_again(core, leads, forgets);
        }
    }
    let back = core.rng.range(0, SECOND / 5);
    core.after(back, Event::Fault(Fault::Join(directions(nodes, lags))));
}

/// The leader is back at once, so that the follower hears what it lacks; before it has it, both die again.
fn strike_again(core: &mut Core, leads: Place, forgets: Place) {
    core.stats.count("rotten batches that hurt twice");
    let returns = core.rng.range(60, 150) * MILLISECOND;
    core.after(returns, Event::Fault(Fault::Restart(leads)));
    let again = core.rng.range(SECOND / 2, SECOND * 3 / 2);
    core.after(again, Event::Fault(Fault::Stop(leads)));
    core.after(again, Event::Fault(Fault::Stop(forgets)));
    let soon = core.rng.range(MILLISECOND, SECOND / 5);
    core.after(again + soon, Event::Fault(Fault::Restart(forgets)));
}

fn directions(nodes: &[Node], place: Place) -> Vec<(Place, Place)> {
    let others = (0..nodes.len()).filter(|other| *other != place);
    others.flat_map(|other| [(place, other), (other, place)]).collect()
}
