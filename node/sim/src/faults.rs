//! Misfortunes: what can go wrong with nodes and network, drawn in advance, spread over the troubled time.

use std::collections::BTreeSet;

use model::{PartitionDescriptor, ReplicaDescriptor, ReplicaKind, ReplicaRole};

use crate::birth;
use crate::core::{Core, copies};
use crate::directed;
use crate::disk::log::LastBatch;
use crate::event::{Command, Event, Group, Place};
use crate::host::{Node, Running};
use crate::invariant::{Verdict, takeover};
use crate::mutant::Mutant;
use crate::plan::{MILLISECOND, SECOND};
use crate::trace::At;

pub mod aimed;
pub mod rot;

/// Attempts in a world where a batch may rot; the first that succeeds is the last.
pub const CRUEL_ROTS: u64 = 4;

/// As long as a process may be dead.
const PRESSED_US: u64 = 6 * SECOND;

/// What a lossy node loses, each way.
const LOSS_PERMILLE: u64 = 300;

#[derive(Clone, Debug)]
pub enum Fault {
    /// A process dies, and comes back.
    Crash,
    /// The same after asking its leaders to resign.
    PlannedRestart,
    /// All processes die at once.
    PowerCut,
    Restart(Place),
    Stop(Place),
    /// A process dies, and its last synced batch cannot be read.
    Rot(Place),
    /// The same where it hurts most.
    CruelRot,
    RotWhenItHurts(rot::Cruelty),
    Partition,
    /// One node hears nobody, and nobody it, until the healing.
    CutOff(Place),
    /// These directions carry again.
    Join(Vec<(Place, Place)>),
    /// A process stands still and goes on.
    Pause,
    SlowDisk,
    FastDisk(Place),
    /// Some node loses a part of its frames for a while.
    Loss,
    /// That one does until the healing, or until another does.
    LossyNode(Place),
    NothingLossy,
    /// A disk is a hundred times slower, until the healing.
    DyingDisk(Place),
    ClockJump,
    /// A disk is lost; an empty one takes its place.
    Wipe,
}

/// Spreads the plan's misfortunes over its troubled time.
pub fn schedule(core: &mut Core) {
    let plan = core.plan.clone();
    core.queue.at(plan.troubled_us, Event::Heal);
    if plan.row.is_some() {
        core.queue.at(directed::FIRST_US, Event::Direct);
        return;
    }
    let kinds = [
        (Fault::Crash, plan.crashes),
        (Fault::PlannedRestart, plan.crashes / 4),
        (Fault::PowerCut, plan.power_cuts),
        (Fault::Partition, plan.partitions),
        (Fault::Pause, plan.pauses),
        (Fault::SlowDisk, plan.slow_disks),
        (Fault::Loss, plan.lossy_nodes),
        (Fault::ClockJump, plan.clock_jumps),
        (Fault::Wipe, plan.wipes),
        (Fault::CruelRot, if plan.rot && plan.cruel_rot { CRUEL_ROTS } else { 0 }),
    ];
    let mut number = 0;
    for (fault, times) in kinds {
        for _ in 0..times {
            let when = core.rng.range(SECOND, plan.drawn_us);
            let before = core.rng.range(0, SECOND / 2);
            number += 1;
            let left_out = plan.only.as_ref().is_some_and(|only| !only.contains(&number));
            if left_out || when >= plan.troubled_us {
                continue;
            }
            if plan.is_moved() || plan.splits > 0 {
                // So that replicas and leaders are on the move when it strikes.
                core.queue.at(when - before, Event::Provoke);
            }
            core.queue.at(when, Event::Fault(fault.clone()));
        }
    }
}

pub fn strike(core: &mut Core, nodes: &mut [Node], fault: Fault) -> Verdict {
    let place = victim(core, nodes);
    if core.healed && !ends_another(&fault) {
        return Ok(());
    }
    count_what_is_under_way(core, nodes, &fault);
    match fault {
        Fault::Crash if core.plan.calm => calm_crash(core, nodes, place),
        Fault::Crash => {
            core.stats.count("crashes");
            // Now and then in the middle of a sync, or two at once.
            if core.rng.permille(500) {
                nodes[place].doomed = true;
            } else {
                crash(core, &mut nodes[place]);
            }
            if core.rng.permille(200) {
                let other = core.rng.index(nodes.len());
                crash(core, &mut nodes[other]);
            }
        }
        Fault::PlannedRestart => {
            core.stats.count("planned restarts");
            for group in 0..core.plan.seats() {
                core.after(1, Event::Admin { place, group, epoch: 0, command: Command::Resign });
            }
            let later = core.rng.range(MILLISECOND, SECOND);
            core.after(later, Event::Fault(Fault::Stop(place)));
        }
        Fault::Stop(place) => {
            takeover::watch(core, nodes, place);
            crash(core, &mut nodes[place]);
        }
        Fault::Rot(place) if core.plan.rots_anywhere() && nodes[place].up && nodes[place].log.may_rot() => {
            core.stats.count("rotten batches");
            core.plan.rot = false;
            die(core, &mut nodes[place], LastBatch::Rotten);
        }
        Fault::Rot(_) => {}
        Fault::CruelRot => rot::prepare(core, nodes),
        Fault::RotWhenItHurts(cruelty) => rot::strike(core, nodes, cruelty),
        Fault::PowerCut => {
            core.stats.count("power cuts");
            for node in nodes.iter_mut() {
                crash(core, node);
            }
        }
        Fault::Restart(place) if core.away == Some(place) || core.held.contains(&place) => {}
        Fault::Restart(place) => nodes[place].start(core)?,
        Fault::Partition => partition(core, nodes.len()),
        Fault::CutOff(place) => {
            let others = (0..nodes.len()).filter(|other| *other != place);
            core.network.blocked.extend(others.flat_map(|other| [(place, other), (other, place)]));
        }
        Fault::Join(directions) => {
            for direction in directions {
                core.network.blocked.remove(&direction);
            }
        }
        Fault::Pause => pause(core, &mut nodes[..], place),
        Fault::SlowDisk => slow_disk(core, &mut nodes[place]),
        Fault::FastDisk(place) => nodes[place].disk_factor = 1,
        Fault::Loss => lose(core, place),
        Fault::LossyNode(place) => core.network.lossy = Some((place, LOSS_PERMILLE)),
        Fault::NothingLossy => core.network.lossy = None,
        Fault::DyingDisk(place) => nodes[place].disk_factor = 100,
        Fault::ClockJump => jump(core, &mut nodes[place]),
        Fault::Wipe => drop(wipe(core, nodes, place)),
    }
    Ok(())
}

fn slow_disk(core: &mut Core, node: &mut Node) {
    core.stats.count("slow disks");
    node.disk_factor = core.rng.range(5, 100);
    core.note(At::place(node.place), "slow disk (factor)", [node.disk_factor, 0, 0, 0]);
    let long = core.rng.range(SECOND, 10 * SECOND);
    core.after(long, Event::Fault(Fault::FastDisk(node.place)));
}

fn lose(core: &mut Core, place: Place) {
    core.stats.count("lossy nodes");
    core.note(At::place(place), "lossy node", [0; 4]);
    core.network.lossy = Some((place, LOSS_PERMILLE));
    let long = core.rng.range(SECOND, 20 * SECOND);
    core.after(long, Event::Fault(Fault::NothingLossy));
}

fn ends_another(fault: &Fault) -> bool {
    matches!(fault, Fault::Restart(_) | Fault::Join(_) | Fault::FastDisk(_) | Fault::NothingLossy)
}

/// Often one where something is under way.
fn victim(core: &mut Core, nodes: &[Node]) -> Place {
    let any = core.rng.index(nodes.len());
    if core.rng.permille(500) {
        return any;
    }
    let busy: Vec<Place> = nodes.iter().filter(|node| node.is_busy()).map(|node| node.place).collect();
    core.rng.pick(&busy).copied().unwrap_or(any)
}

/// So that the summary tells whether misfortunes meet moves, and not only each other.
fn count_what_is_under_way(core: &mut Core, nodes: &[Node], fault: &Fault) {
    if ends_another(fault) {
        return;
    }
    core.stats.count("misfortunes");
    let running = || nodes.iter().flat_map(|node| node.running.iter().flatten());
    let changes = core.registry.standing().any(|descriptor| descriptor.replicas.len() != 3);
    if changes || running().any(|running| running.status.in_joint_change) {
        core.stats.count("misfortunes during a change of membership");
    }
    if running().any(Running::in_transfer) {
        core.stats.count("misfortunes during a transfer");
    }
    if running().any(Running::in_snapshot) {
        core.stats.count("misfortunes during a snapshot");
    }
}

fn crash(core: &mut Core, node: &mut Node) {
    if !node.up {
        return;
    }
    let last = match (node.log.is_syncing(), core.rng.range(0, 3)) {
        (_, 2) if core.plan.rots_anywhere() && node.log.may_rot() => {
            core.stats.count("rotten batches");
            core.plan.rot = false;
            LastBatch::Rotten
        }
        (true, 0) => LastBatch::Kept,
        (true, 1) if core.plan.disk.torn => {
            core.stats.count("torn batches");
            LastBatch::Torn
        }
        (_, _) => LastBatch::Lost,
    };
    die(core, node, last);
}

/// One at a time.
fn calm_crash(core: &mut Core, nodes: &mut [Node], place: Place) {
    if nodes.iter().all(|node| node.up) {
        core.stats.count("crashes in a calm world");
        takeover::watch(core, nodes, place);
        crash(core, &mut nodes[place]);
    }
}

fn die(core: &mut Core, node: &mut Node, last: LastBatch) {
    core.deaths += 1;
    node.crash(core, last);
    node.paused_until = 0;
    let back = core.rng.range(MILLISECOND, 6 * SECOND);
    core.after(back, Event::Fault(Fault::Restart(node.place)));
}

/// A process stands still. Often its links come back later than it does, as with a machine that is frozen and moved.
fn pause(core: &mut Core, nodes: &mut [Node], place: Place) {
    if nodes[place].paused_until > core.now {
        return;
    }
    core.stats.count("pauses");
    // It ends before the healing: what was postponed keeps its order.
    let long = core.rng.range(SECOND / 2, 10 * SECOND).min(core.plan.troubled_us - core.now);
    core.note(At::place(place), "pause (us)", [long, 0, 0, 0]);
    nodes[place].paused_until = core.now + long;
    if core.rng.permille(500) {
        core.stats.count("pauses with links cut");
        let joined = long + core.rng.range(0, 2 * SECOND);
        let others = (0..nodes.len()).filter(|other| *other != place);
        let directions: Vec<_> = others.flat_map(|other| [(place, other), (other, place)]).collect();
        core.network.blocked.extend(directions.iter().copied());
        core.after(joined, Event::Fault(Fault::Join(directions)));
    }
}

fn jump(core: &mut Core, node: &mut Node) {
    core.stats.count("clock jumps");
    let by = core.rng.range(0, 60 * SECOND);
    let back = core.rng.permille(500);
    node.clock_ahead_us =
        if back { node.clock_ahead_us.saturating_sub(by) } else { node.clock_ahead_us.saturating_add(by) };
    core.note(At::place(node.place), "clock jump (ahead us)", [node.clock_ahead_us, 0, 0, 0]);
}

/// Blocks some directions between nodes for a while, in one of the usual shapes.
fn partition(core: &mut Core, nodes: usize) {
    let one = core.rng.index(nodes);
    partition_around(core, nodes, one);
}

fn partition_around(core: &mut Core, nodes: usize, one: Place) {
    let mut blocked: BTreeSet<(Place, Place)> = BTreeSet::new();
    let shape = core.rng.range(0, 5);
    for other in 0..nodes {
        let beyond = core.rng.permille(500);
        match shape {
            // One node alone, in both directions, or in one.
            0 => blocked.extend([(one, other), (other, one)]),
            1 => blocked.extend([(one, other)]),
            2 => blocked.extend([(other, one)]),
            // Two sides.
            3 if beyond => blocked.extend((0..nodes).flat_map(|here| [(here, other), (other, here)])),
            // A ring: each hears only its neighbours.
            _ => {
                let far = (0..nodes).filter(|here| (here + 1) % nodes != other && (other + 1) % nodes != *here);
                blocked.extend(far.map(|here| (here, other)));
            }
        }
    }
    let name = [
        "partitions: one node",
        "partitions: one deaf",
        "partitions: one mute",
        "partitions: sides",
        "partitions: ring",
    ];
    core.stats.count(name[usize::try_from(shape).expect("a small number")]);
    let blocked: Vec<_> = blocked.into_iter().filter(|(from, to)| from != to).collect();
    core.note(At::default(), "partition (shape, directions)", [shape, blocked.len() as u64, one as u64, 0]);
    core.network.blocked.extend(blocked.iter().copied());
    // A swizzle: the directions come back one by one, in any order.
    let swizzle = core.rng.permille(400);
    let long = core.rng.range(SECOND / 2, 10 * SECOND);
    for direction in &blocked {
        let when = if swizzle { core.rng.range(SECOND / 2, 10 * SECOND) } else { long };
        core.after(when, Event::Fault(Fault::Join(vec![*direction])));
    }
}

/// The cruellest moments for a log replica: it stands in, the other replica with items goes, then the leader: the newest entries are
/// with it alone, and must not be lost.
pub fn strike_beside_a_log_replica(core: &mut Core, leader: Place, descriptor: &PartitionDescriptor) {
    let voters = || descriptor.replicas.iter().filter(|replica| replica.role == ReplicaRole::Voter);
    if core.healed
        || core.plan.row.is_some()
        || !voters().any(|voter| voter.kind == ReplicaKind::Log)
        || !core.rng.permille(300)
    {
        return;
    }
    let places = voters().filter(|voter| voter.kind == ReplicaKind::Storage);
    let other =
        places.filter_map(|voter| core.registry.places.get(&voter.node).copied()).find(|place| *place != leader);
    let Some(other) = other else { return };
    core.stats.count("misfortunes beside a log replica");
    // Much is written meanwhile: a leader might want to truncate it.
    core.pressed = Some((birth::group(descriptor.id), core.now + PRESSED_US));
    let first = core.rng.range(MILLISECOND, SECOND);
    core.after(first, Event::Fault(Fault::Stop(other)));
    if core.rng.permille(500) {
        let then = first + core.rng.range(MILLISECOND, 3 * SECOND);
        core.after(then, Event::Fault(Fault::Stop(leader)));
    }
}

/// Those of a group that run, two at least, have applied its newest descriptor and left the joint change that brought it.
fn members_have_left(nodes: &[Node], descriptor: &PartitionDescriptor, group: Group) -> bool {
    let on = |replica: &ReplicaDescriptor| nodes.iter().find(|node| node.up && node.id == replica.node);
    let running = || descriptor.replicas.iter().filter_map(on).filter_map(|node| node.running[group].as_ref());
    let has_left =
        |running: &Running| running.descriptor.as_ref() == Some(descriptor) && !running.status.in_joint_change;
    running().count() > 1 && running().all(has_left)
}

/// Only where the loss of the disk before has been repaired everywhere: two losses at once are not survivable.
fn wipe(core: &mut Core, nodes: &mut [Node], place: Place) -> bool {
    let lives = |replica: &ReplicaDescriptor| core.registry.places.contains_key(&replica.node);
    let whole = |descriptor: &PartitionDescriptor| {
        let group = birth::group(descriptor.id);
        let left = !core.registry.was_short[group] || members_have_left(nodes, descriptor, group);
        descriptor.replicas.iter().all(lives) && copies(descriptor) >= 3 && left
    };
    // A child that nobody has announced yet may have fewer copies than its parent has by now.
    let unborn = core.oracle.ranges.unborn(&core.registry.born).is_some();
    if unborn || !core.registry.standing().all(whole) {
        return false;
    }
    let was_up = nodes[place].up;
    if was_up {
        crash(core, &mut nodes[place]);
    }
    core.stats.count("disks lost");
    let old = &nodes[place];
    let disk = old.id.0 % 1_000 + 1;
    let id = if core.plan.has(Mutant::EmptyDiskVotes) { old.id } else { birth::node_id(place, disk) };
    let mut fresh = Node::new(place, id, core.plan.seats(), core.plan.mutant);
    fresh.life = old.life + 1;
    fresh.clock_permille = old.clock_permille;
    fresh.clock_ahead_us = old.clock_ahead_us;
    core.note(At::place(place), "disk lost (new node id)", [fresh.id.0, 0, 0, 0]);
    core.registry.places.remove(&old.id);
    core.registry.places.insert(fresh.id, place);
    nodes[place] = fresh;
    true
}
