//! The mover: an administrator who moves replicas and leaders about, one step at a time, from what nodes announce.
//!
//! While the world is troubled it also plans nonsense, which must be refused; after the healing it only makes every group
//! whole again: three voters on disks that exist.

use std::collections::BTreeSet;

use model::{PartitionDescriptor, ReplicaDescriptor, ReplicaId, ReplicaKind, ReplicaRole};
use replica::Change;

use crate::birth;
use crate::core::Core;
use crate::event::{Command, Event, Group, Place};
use crate::host::Node;
use crate::invariant::liveness::LAST_TABLE_VERSION;
use crate::plan::MILLISECOND;
use crate::splitter;

/// Plans something for one group, or for all that need it.
pub fn turn(core: &mut Core, nodes: &[Node]) {
    let groups: Vec<Group> = match (core.healed, core.away) {
        // It is directed who moves.
        (false, _) if core.plan.row.is_some() => Vec::new(),
        (false, _) => core.rng.pick(&core.registry.born).copied().into_iter().collect(),
        (true, None) => core.registry.born.clone(),
        // The others are to serve as they stand.
        (true, Some(_)) => Vec::new(),
    };
    groups.into_iter().for_each(|group| step(core, nodes, group));
    let pause = if core.healed || core.plan.row.is_some() {
        300 * MILLISECOND
    } else {
        core.around(core.plan.mover_us.max(MILLISECOND))
    };
    core.after(pause, Event::MoverTurn);
}

/// A step towards a whole group, if it is not its leader's.
pub fn tidy(core: &mut Core, nodes: &[Node], group: Group) {
    gossip(core, nodes, group);
    let descriptor = core.registry.descriptors[group].clone();
    if core.plan.repairs() && is_its_leaders(core, &descriptor) {
        return;
    }
    let Some(command) = repair(core, nodes, group, &descriptor) else { return };
    let place = leader(core, nodes, group);
    let delay = core.network.delay(&mut core.rng);
    core.after(delay, Event::Admin { place, group, epoch: descriptor.epoch, command });
}

/// Several groups at once begin to move.
pub fn provoke(core: &mut Core, nodes: &[Node]) {
    if core.healed {
        return;
    }
    for _ in 0..=core.registry.born.len() / 3 {
        let Some(group) = core.rng.pick(&core.registry.born).copied() else { return };
        if core.plan.is_moved() {
            step(core, nodes, group);
        }
        splitter::perhaps(core, group, 150);
    }
}

/// Now and then leadership goes back to where it was, soon after it went.
pub fn swing_back(core: &mut Core, group: Group, place: Place) {
    let Some(former) = core.registry.former[group] else { return };
    if core.healed || core.plan.mover_us == 0 || !core.rng.permille(300) {
        return;
    }
    core.stats.count("leaders sent back");
    let later = core.rng.range(50 * MILLISECOND, 3_000 * MILLISECOND);
    core.after(later, Event::Admin { place, group, epoch: 0, command: Command::Transfer(former) });
}

fn step(core: &mut Core, nodes: &[Node], group: Group) {
    gossip(core, nodes, group);
    let descriptor = core.registry.descriptors[group].clone();
    let others = core.plan.repairs() && is_its_leaders(core, &descriptor);
    let command = if core.healed {
        let repair = if others { None } else { repair(core, nodes, group, &descriptor) };
        repair.or_else(|| last_table(nodes, group))
    } else if core.rng.permille(700) {
        let repair = if others { None } else { repair(core, nodes, group, &descriptor) };
        repair.or_else(|| begin_move(core, nodes, group, &descriptor))
    } else {
        mischief(core, nodes, &descriptor)
    };
    let Some(command) = command else { return };
    let place = leader(core, nodes, group);
    core.stats.count("changes asked for");
    let delay = core.network.delay(&mut core.rng);
    core.after(delay, Event::Admin { place, group, epoch: descriptor.epoch, command });
}

/// Until every replica has it.
fn last_table(nodes: &[Node], group: Group) -> Option<Command> {
    let running = nodes.iter().filter_map(|node| node.running[group].as_ref());
    let mut tables = running.filter_map(|running| running.replica.table());
    let behind = tables.any(|table| table.version < LAST_TABLE_VERSION);
    behind.then(|| {
        let table = model::TableDescriptor { version: LAST_TABLE_VERSION, ..birth::table() };
        Command::SetTable(Box::new(table))
    })
}

/// Nodes whose replica was removed while nobody could tell them hear it from the map.
fn gossip(core: &mut Core, nodes: &[Node], group: Group) {
    let place = core.rng.index(nodes.len());
    let delay = core.network.delay(&mut core.rng);
    core.after(delay, Event::Gossip { place, group });
}

fn leader(core: &mut Core, nodes: &[Node], group: Group) -> Place {
    match core.registry.leaders[group] {
        Some((_, place, _)) if !core.rng.permille(50) => place,
        Some(_) | None => core.rng.index(nodes.len()),
    }
}

fn lives(core: &Core, replica: &ReplicaDescriptor) -> bool {
    core.registry.places.contains_key(&replica.node)
}

/// What its leader repairs is nobody else's.
fn is_its_leaders(core: &Core, descriptor: &PartitionDescriptor) -> bool {
    let log = descriptor.replicas.iter().any(|replica| replica.kind == ReplicaKind::Log);
    let voters: Vec<_> = descriptor.replicas.iter().filter(|replica| replica.role == ReplicaRole::Voter).collect();
    log || voters.len() < 3 || voters.iter().any(|voter| !lives(core, voter))
}

/// The next step towards three voters on living disks and nothing else.
fn repair(core: &mut Core, nodes: &[Node], group: Group, descriptor: &PartitionDescriptor) -> Option<Command> {
    let (voters, learners): (Vec<_>, Vec<_>) =
        descriptor.replicas.iter().partition(|replica| replica.role == ReplicaRole::Voter);
    // A learner older than a voter was one itself and has been replaced.
    let newest = voters.iter().map(|voter| voter.id).max()?;
    let done = learners.iter().find(|learner| learner.id < newest || !lives(core, learner));
    if let Some(learner) = done {
        return Some(Command::Change(Change::remove(learner.id)));
    }
    let dead = voters.iter().find(|voter| !lives(core, voter));
    if let Some(learner) = learners.first() {
        let fits = dead.filter(|dead| !three_zones_stay(core) || dead.zone == learner.zone);
        let demote = match dead {
            Some(_) => fits.copied(),
            None => legal_demotion(core, &voters, learner),
        };
        let leads = core.registry.leaders[group].map(|(_, _, replica)| replica);
        if let Some(demote) = demote
            && leads == Some(demote.id)
        {
            let others: Vec<ReplicaId> = voters
                .iter()
                .filter(|voter| voter.id != demote.id && lives(core, voter))
                .map(|voter| voter.id)
                .collect();
            return core.rng.pick(&others).map(|to| Command::Transfer(*to));
        }
        return Some(Command::Change(match demote {
            Some(demote) => Change::swap(learner.id, demote.id),
            None => Change::remove(learner.id),
        }));
    }
    dead.and_then(|dead| add(core, nodes, descriptor, Some(dead)))
}

/// Where disks are lost, three zones stay three: two voters in one zone survive no loss of the third.
pub fn three_zones_stay(core: &Core) -> bool {
    core.plan.wipes > 0
}

/// A voter whose place the learner can take without leaving all voters in one zone.
fn legal_demotion<'a>(
    core: &mut Core,
    voters: &[&'a ReplicaDescriptor],
    learner: &ReplicaDescriptor,
) -> Option<&'a ReplicaDescriptor> {
    let legal: Vec<&ReplicaDescriptor> = voters
        .iter()
        .filter(|gone| {
            if three_zones_stay(core) {
                return gone.zone == learner.zone;
            }
            let left = voters.iter().filter(|voter| voter.id != gone.id).map(|voter| &voter.zone);
            left.chain([&learner.zone]).collect::<BTreeSet<_>>().len() > 1
        })
        .copied()
        .collect();
    core.rng.pick(&legal).copied()
}

fn add(
    core: &mut Core,
    nodes: &[Node],
    descriptor: &PartitionDescriptor,
    instead: Option<&ReplicaDescriptor>,
) -> Option<Command> {
    let free: Vec<&Node> = nodes.iter().filter(|node| descriptor.on_node(node.id).is_none()).collect();
    let same: Vec<&Node> = free
        .iter()
        .filter(|node| instead.is_some_and(|replica| replica.zone == birth::told_zone(&core.plan, node)))
        .copied()
        .collect();
    let node = if same.is_empty() { core.rng.pick(&free) } else { core.rng.pick(&same) }?;
    let zone = birth::told_zone(&core.plan, node);
    Some(Command::Change(Change::add(node.id, zone, ReplicaKind::Storage)))
}

fn begin_move(core: &mut Core, nodes: &[Node], group: Group, descriptor: &PartitionDescriptor) -> Option<Command> {
    if core.rng.permille(400) {
        let any = core.rng.pick(&descriptor.replicas)?.id;
        // Often back to who led before.
        let back = core.registry.former[group].filter(|_| core.rng.permille(500));
        return Some(Command::Transfer(back.unwrap_or(any)));
    }
    add(core, nodes, descriptor, None)
}

/// Steps that may be impossible or foolish.
fn mischief(core: &mut Core, nodes: &[Node], descriptor: &PartitionDescriptor) -> Option<Command> {
    let any = |core: &mut Core| core.rng.pick(&descriptor.replicas).map_or(ReplicaId(7), |replica| replica.id);
    Some(match core.rng.range(0, 6) {
        0 => Command::Change(Change::remove(any(core))),
        1 if core.plan.wipes == 0 => Command::Change(Change::swap(any(core), any(core))),
        2 => {
            let node = core.rng.pick(nodes)?;
            let zone = birth::told_zone(&core.plan, node);
            Command::Change(Change::add(node.id, zone, ReplicaKind::Storage))
        }
        3 => Command::Transfer(any(core)),
        4 => {
            let version = core.rng.range(1, 20);
            Command::SetTable(Box::new(model::TableDescriptor { version, ..birth::table() }))
        }
        _ => Command::Resign,
    })
}
