//! Directed worlds: chance meets most things in time; what it meets seldom is brought about here, round by round.
//!
//! - Row 10 ([`changes`]): every kind of change of membership is in flight while every kind of misfortune strikes.
//! - Row 11 ([`tail`]): the leader dies while a log replica alone holds the newest entries.
//!
//! The rows are those of the table of faults and promises. A share of all seeds is directed, by a hash of the seed: the other
//! worlds do not change by it. A round is a misfortune with a number, as far as making a failing world smaller is concerned.

pub mod changes;
pub mod tail;

use std::collections::BTreeSet;

use model::{PartitionDescriptor, ReplicaDescriptor, ReplicaKind, ReplicaRole};

use crate::core::Core;
use crate::directed::changes::Changes;
use crate::directed::tail::Tails;
use crate::event::{Event, Group, Place};
use crate::host::{Node, Running};
use crate::invariant::Verdict;
use crate::plan::{MILLISECOND, Plan, SECOND, smooth_disk, smooth_network, without_trouble};
use crate::queue::Time;
use crate::rng::mix;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Row {
    /// Changes of membership in flight while something fails.
    #[value(name = "10")]
    Changes,
    /// The newest entries are with a log replica alone.
    #[value(name = "11")]
    Tail,
}

/// Rounds that a world may have: its time ends them.
pub const ROUNDS: usize = 12;

/// Of a thousand seeds so many are of row 10, and as many of row 11.
const SHARE_PERMILLE: u64 = 80;

impl Row {
    /// What a seed is, if nobody asks for anything else.
    pub fn of_seed(seed: u64) -> Option<Row> {
        match mix(seed ^ 0x726f_7773) % 1_000 {
            lot if lot < SHARE_PERMILLE => Some(Row::Changes),
            lot if lot < 2 * SHARE_PERMILLE => Some(Row::Tail),
            _ => None,
        }
    }

    pub fn number(self) -> u64 {
        match self {
            Row::Changes => 10,
            Row::Tail => 11,
        }
    }

    /// Of what was drawn for the seed, as much as the row leaves.
    pub fn direct(self, drawn: Plan) -> Plan {
        let groups = drawn.groups.min(6);
        let clients = drawn.clients.clamp(4, 8);
        let base = Plan { row: Some(self), nodes: 6, groups, clients, mover_us: 0, calm: false, ..drawn.clone() };
        match self {
            Row::Changes => {
                let mut plan = without_trouble(base);
                plan.options.suspect_ticks = drawn.options.suspect_ticks.max(15);
                plan.options.replace_after_ticks = 60;
                plan.splits = 8;
                // A torn tail and a lost disk may be two losses: in one world only one of them happens.
                let torn = mix(drawn.seed ^ 0x746f_726e).is_multiple_of(2);
                plan.disk.torn = torn;
                (plan.rot, plan.cruel_rot) = (torn, true);
                plan.wipes = u64::from(!torn);
                plan
            }
            Row::Tail => {
                let mut plan = without_trouble(base);
                plan.network = smooth_network();
                plan.disk = smooth_disk(&drawn.disk);
                plan.disk.flush_every_us = drawn.disk.flush_every_us / 4;
                plan.options.suspect_ticks = 15;
                plan.options.replace_after_ticks = 6_000;
                plan.options.sleep_ticks = 0;
                plan.splits = 0;
                plan.straggler = false;
                plan
            }
        }
    }
}

/// What goes on in a directed world.
pub enum Director {
    Changes(Changes),
    Tail(Tails),
}

impl Director {
    pub fn of(plan: &Plan) -> Option<Director> {
        plan.row.map(|row| match row {
            Row::Changes => Director::Changes(Changes::new(plan)),
            Row::Tail => Director::Tail(Tails::default()),
        })
    }
}

/// The director looks, acts, and comes again.
pub fn turn(core: &mut Core, nodes: &mut [Node]) -> Verdict {
    if core.healed {
        return Ok(());
    }
    let Some(mut director) = core.director.take() else { return Ok(()) };
    let again = match &mut director {
        Director::Changes(changes) => changes.turn(core, nodes),
        Director::Tail(tails) => tails.turn(core, nodes),
    };
    core.director = Some(director);
    let again = again?;
    core.after(again, Event::Direct);
    Ok(())
}

/// Whether the shrunk world still has this round.
fn has_round(core: &Core, round: usize) -> bool {
    round < ROUNDS && core.plan.only.as_ref().is_none_or(|only| only.contains(&(round + 1)))
}

/// Three voters with items on living disks, and nothing else.
fn is_whole(core: &Core, descriptor: &PartitionDescriptor) -> bool {
    let fit = |replica: &ReplicaDescriptor| {
        (replica.role, replica.kind) == (ReplicaRole::Voter, ReplicaKind::Storage)
            && core.registry.places.contains_key(&replica.node)
    };
    descriptor.replicas.len() == 3 && descriptor.replicas.iter().all(fit)
}

/// Some whole group whose leader runs and serves, and where.
fn served_group(core: &mut Core, nodes: &[Node]) -> Option<(Group, Place)> {
    let born = core.registry.born.clone();
    let led = |group: &Group| {
        let (_, place, _) = core.registry.leaders[*group]?;
        let serves = running(nodes, place, *group)?.status.serving;
        (serves && is_whole(core, &core.registry.descriptors[*group])).then_some((*group, place))
    };
    let led: Vec<(Group, Place)> = born.iter().filter_map(led).collect();
    core.rng.pick(&led).copied()
}

fn running(nodes: &[Node], place: Place, group: Group) -> Option<&Running> {
    nodes[place].running[group].as_ref().filter(|_| nodes[place].up)
}

/// Where the members stand, on living disks.
fn places_of(core: &Core, descriptor: &PartitionDescriptor) -> Vec<Place> {
    let nodes: BTreeSet<_> = descriptor.replicas.iter().map(|replica| replica.node).collect();
    nodes.iter().filter_map(|node| core.registry.places.get(node).copied()).collect()
}

/// As long as the director waits where there is nothing to see yet.
const PATIENCE_US: Time = 100 * MILLISECOND;
/// Before the first round, elections are over.
pub const FIRST_US: Time = 3 * SECOND;
