//! The splitter: an administrator who cuts groups in two, children too, between any two of the keys that they hold.
//!
//! It prefers awkward moments: just after a change of membership, a change of leader, or before a misfortune. What it asks may
//! be refused; each attempt names a child of its own, so that one whose outcome is unknown is never confused with another.

use model::ReplicaRole;

use crate::core::Core;
use crate::event::{Command, Event, Group, Place};
use crate::plan::MILLISECOND;

/// Cuts some group, and comes again.
pub fn turn(core: &mut Core) {
    if core.healed {
        return;
    }
    if let Some(group) = core.rng.pick(&core.registry.born).copied() {
        split(core, group, 0);
    }
    let pause = core.around(core.plan.splitter_us.max(MILLISECOND));
    core.after(pause, Event::SplitterTurn);
}

/// Something has just happened to the group, or is about to: now and then it is cut at once.
pub fn perhaps(core: &mut Core, group: Group, permille: u64) {
    if core.plan.splits == 0 || core.plan.row.is_some() || core.healed || !core.rng.permille(permille) {
        return;
    }
    let soon = core.rng.range(0, 100 * MILLISECOND);
    split(core, group, soon);
}

fn split(core: &mut Core, group: Group, later: u64) {
    let Some(place) = leader(core, group) else { return };
    let epoch = core.registry.descriptors[group].epoch;
    let Some(command) = command(core, group) else { return };
    let delay = core.network.delay(&mut core.rng);
    core.after(later + delay, Event::Admin { place, group, epoch, command });
}

/// Cut between two keys; none where there are no two, or there is no place for a child.
pub fn command(core: &mut Core, group: Group) -> Option<Command> {
    let keys = core.registry.keys_of(group, &core.keys);
    // Both halves keep a key, so that clients can tell whether they serve.
    let key = keys.get(1..).and_then(|inner| core.rng.pick(inner)).copied()?;
    let descriptor = &core.registry.descriptors[group];
    let whole = descriptor.replicas.iter().all(|replica| replica.role == ReplicaRole::Voter);
    // What must be refused is asked for seldom.
    if !whole && !core.rng.permille(100) {
        return None;
    }
    let at = core.keys[core.registry.roots[group]][key].clone();
    let child = core.registry.reserve_child(group)?;
    core.stats.count("splits asked for");
    Some(Command::Split { at, child })
}

fn leader(core: &Core, group: Group) -> Option<Place> {
    core.registry.leaders[group].map(|(_, place, _)| place)
}
