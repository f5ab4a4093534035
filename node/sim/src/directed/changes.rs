//! Row 10: a change of every kind in flight while a misfortune of every kind strikes, pair by pair.
//!
//! Pairs are numbered, and seeds one after another go through all of them. In each round the change is asked for (after what
//! must come before it), watched until it is in flight somewhere, and then the misfortune strikes one of the group. Only a
//! pair that has really met is counted.

use model::{PartitionDescriptor, ReplicaDescriptor, ReplicaId, ReplicaKind, ReplicaRole};
use replica::Change;

use crate::birth;
use crate::core::Core;
use crate::directed::{PATIENCE_US, ROUNDS, has_round, is_whole, places_of, running, served_group};
use crate::event::{Command, Event, Group, Place};
use crate::faults::aimed::{self, Trouble};
use crate::host::{Node, Running};
use crate::invariant::Broken;
use crate::mover;
use crate::plan::{MILLISECOND, Plan, SECOND};
use crate::queue::Time;
use crate::rng::mix;
use crate::splitter;

/// What may be in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    AddReplica,
    /// A learner takes a voter's place.
    ReplaceVoter,
    RemoveReplica,
    AddLogReplica,
    /// The one it stood in for is promoted again, and it goes.
    DismissLogReplica,
    MoveLeader,
    Split,
    /// All nodes of a zone are down.
    ZoneOut,
}

pub const KINDS: [(Kind, &str); 8] = [
    (Kind::AddReplica, "a replica is added"),
    (Kind::ReplaceVoter, "a learner replaces a voter"),
    (Kind::RemoveReplica, "a replica is removed"),
    (Kind::AddLogReplica, "a log replica is added"),
    (Kind::DismissLogReplica, "a log replica is dismissed"),
    (Kind::MoveLeader, "leadership moves"),
    (Kind::Split, "a range is split"),
    (Kind::ZoneOut, "a zone is out"),
];

pub const PAIRS: usize = KINDS.len() * aimed::TROUBLES.len();

/// The summary's name of a pair that has met.
pub fn name(pair: usize) -> String {
    let (kind, trouble) = pair_of(pair);
    format!("met: {}, {}", kind.1, trouble.1)
}

fn pair_of(pair: usize) -> ((Kind, &'static str), (Trouble, &'static str)) {
    (KINDS[pair % KINDS.len()], aimed::TROUBLES[pair / KINDS.len() % aimed::TROUBLES.len()])
}

/// How often the change in flight is looked for: most are over within milliseconds.
const LOOK_US: Time = 300;
/// Between two requests for what may have been lost or refused.
const ASK_AGAIN_US: Time = 150 * MILLISECOND;
/// Then the round is given up.
const MEETS_WITHIN_US: Time = 5 * SECOND;
const WHOLE_WITHIN_US: Time = 6 * SECOND;

/// While a disk is lost, every group must be whole.
const MOST_PATIENCE: u32 = 100;

pub struct Changes {
    round: usize,
    first_pair: usize,
    /// Of this pair's kind.
    rots_with: usize,
    /// How often a round still waits until every group is whole.
    patience: u32,
    stage: Stage,
}

enum Stage {
    Begins,
    Waits(Meeting),
    /// The group is made whole.
    Rests {
        group: Group,
        from: Time,
        until: Time,
    },
}

struct Meeting {
    pair: usize,
    group: Group,
    zone: usize,
    asked: Time,
    until: Time,
}

impl Changes {
    pub fn new(plan: &Plan) -> Changes {
        let first = plan.seed.wrapping_mul(ROUNDS as u64) % PAIRS as u64;
        let first_pair = usize::try_from(first).expect("less than the pairs");
        let rots_with = usize::try_from(mix(plan.seed) % PAIRS as u64).expect("less than the pairs");
        Changes { round: 0, first_pair, rots_with, patience: MOST_PATIENCE, stage: Stage::Begins }
    }

    /// When it comes again.
    pub fn turn(&mut self, core: &mut Core, nodes: &mut [Node]) -> Result<Time, Broken> {
        match &mut self.stage {
            Stage::Begins => Ok(self.begin(core, nodes)),
            Stage::Waits(meeting) => {
                if let Some(victim) = meeting.victim(core, nodes) {
                    let (_, (trouble, _)) = pair_of(meeting.pair);
                    if aimed::strike(core, nodes, trouble, victim)? {
                        core.stats.count_times(name(meeting.pair), 1);
                        core.stats.count("directed: pairs met");
                        self.rest(core);
                        return Ok(PATIENCE_US);
                    }
                }
                if core.now >= meeting.until {
                    core.stats.count("directed: pairs missed");
                    self.rest(core);
                    return Ok(PATIENCE_US);
                }
                meeting.ask_when_due(core, nodes);
                Ok(LOOK_US)
            }
            Stage::Rests { group, from, until } => {
                let (group, from, until) = (*group, *from, *until);
                if core.now >= from {
                    mover::tidy(core, nodes, group);
                }
                let whole = is_whole(core, &core.registry.descriptors[group]) && nodes.iter().all(|node| node.up);
                if core.now >= until || whole && core.now >= from {
                    self.stage = Stage::Begins;
                }
                Ok(2 * PATIENCE_US)
            }
        }
    }

    fn begin(&mut self, core: &mut Core, nodes: &mut [Node]) -> Time {
        let pair = (self.first_pair + self.round) % PAIRS;
        let ((kind, _), (trouble, _)) = pair_of(pair);
        // A batch may rot once in a world, so that it is kept for one of the kinds.
        let kept = trouble != Trouble::Rot || kind == pair_of(self.rots_with).0.0;
        if !has_round(core, self.round) || !aimed::fits(&core.plan, trouble) || !kept {
            self.round += 1;
            return if self.round < ROUNDS { 1 } else { SECOND };
        }
        let all_whole = core.registry.standing().all(|descriptor| is_whole(core, descriptor));
        if trouble == Trouble::DiskLost && !all_whole && self.patience > 0 {
            self.patience -= 1;
            return PATIENCE_US;
        }
        let Some((group, place)) = served_group(core, nodes) else { return PATIENCE_US };
        self.patience = MOST_PATIENCE;
        self.round += 1;
        let mut meeting = Meeting { pair, group, zone: place % 3, asked: 0, until: core.now + MEETS_WITHIN_US };
        // Another zone than that of the leader as often as not.
        if mix(core.now).is_multiple_of(2) {
            meeting.zone = (place + 1) % 3;
        }
        meeting.ask_when_due(core, nodes);
        self.stage = Stage::Waits(meeting);
        LOOK_US
    }

    fn rest(&mut self, core: &mut Core) {
        let Stage::Waits(Meeting { group, .. }) = self.stage else { return };
        let from = core.now + core.rng.range(SECOND / 2, 2 * SECOND);
        self.stage = Stage::Rests { group, from, until: from + WHOLE_WITHIN_US };
    }
}

impl Meeting {
    fn kind(&self) -> Kind {
        pair_of(self.pair).0.0
    }

    /// Asks for the change, or for what must come before it.
    fn ask_when_due(&mut self, core: &mut Core, nodes: &mut [Node]) {
        if core.now < self.asked + ASK_AGAIN_US && self.asked > 0 {
            return;
        }
        self.asked = core.now;
        if self.kind() == Kind::ZoneOut {
            for node in nodes.iter_mut().filter(|node| node.zone == self.zone) {
                aimed::crash(core, node);
            }
            return;
        }
        let Some((_, place, leader)) = core.registry.leaders[self.group] else { return };
        let descriptor = core.registry.descriptors[self.group].clone();
        if let Some(command) = self.command(core, nodes, &descriptor, leader) {
            let delay = core.rng.range(1, 300);
            core.after(delay, Event::Admin { place, group: self.group, epoch: descriptor.epoch, command });
        }
    }

    fn command(
        &self,
        core: &mut Core,
        nodes: &[Node],
        descriptor: &PartitionDescriptor,
        leader: ReplicaId,
    ) -> Option<Command> {
        let learner =
            descriptor.replicas.iter().find(|replica| is(replica, ReplicaRole::Learner, ReplicaKind::Storage));
        let voters =
            || descriptor.replicas.iter().filter(|replica| is(replica, ReplicaRole::Voter, ReplicaKind::Storage));
        let log = descriptor.replicas.iter().any(|replica| replica.kind == ReplicaKind::Log);
        let change = match self.kind() {
            Kind::ZoneOut => return None,
            Kind::MoveLeader => {
                let others: Vec<ReplicaId> = voters().map(|voter| voter.id).filter(|id| *id != leader).collect();
                return core.rng.pick(&others).map(|to| Command::Transfer(*to));
            }
            Kind::Split => return splitter::command(core, self.group),
            Kind::AddReplica if learner.is_none() => add(core, nodes, descriptor, ReplicaKind::Storage, None)?,
            Kind::AddReplica => return None,
            Kind::ReplaceVoter | Kind::RemoveReplica => match learner {
                None => {
                    let instead = voters().find(|voter| voter.id != leader);
                    add(core, nodes, descriptor, ReplicaKind::Storage, instead)?
                }
                Some(learner) if self.kind() == Kind::RemoveReplica => Change::remove(learner.id),
                Some(learner) => {
                    let mut gone = voters().filter(|voter| voter.id != leader);
                    let same_zone = gone.clone().find(|voter| voter.zone == learner.zone);
                    let gone = same_zone.or_else(|| gone.find(|_| !mover::three_zones_stay(core)))?;
                    Change::swap(learner.id, gone.id)
                }
            },
            // From here on it is the leader's: who was stood in for is there, and is promoted again.
            Kind::AddLogReplica | Kind::DismissLogReplica if log => return None,
            Kind::AddLogReplica | Kind::DismissLogReplica => {
                let demoted = voters().find(|voter| voter.id != leader)?;
                let added = add(core, nodes, descriptor, ReplicaKind::Log, Some(demoted))?;
                Change { demote: Some(demoted.id), ..added }
            }
        };
        Some(Command::Change(change))
    }

    /// Whom the misfortune strikes, once the change is in flight.
    fn victim(&self, core: &mut Core, nodes: &[Node]) -> Option<Place> {
        if !self.is_in_flight(core, nodes) {
            return None;
        }
        let members: Vec<Place> = places_of(core, &core.registry.descriptors[self.group])
            .into_iter()
            .filter(|place| nodes[*place].up)
            .collect();
        let leader = core.registry.leaders[self.group].map(|(_, place, _)| place).filter(|place| nodes[*place].up);
        let any = core.rng.pick(&members).copied();
        if core.rng.permille(500) { leader.or(any) } else { any }
    }

    fn is_in_flight(&self, core: &Core, nodes: &[Node]) -> bool {
        let group = self.group;
        let here = || (0..nodes.len()).filter_map(|place| running(nodes, place, group));
        let joint = || here().any(|running| running.status.in_joint_change);
        let known = |role, kind| {
            let descriptors = here().filter_map(|running| running.descriptor.as_ref());
            descriptors.flat_map(|descriptor| &descriptor.replicas).any(|replica| is(replica, role, kind))
        };
        let log_votes = || known(ReplicaRole::Voter, ReplicaKind::Log);
        match self.kind() {
            Kind::AddReplica => {
                here().any(Running::has_change_under_way) || known(ReplicaRole::Learner, ReplicaKind::Storage)
            }
            Kind::ReplaceVoter => joint(),
            Kind::RemoveReplica => {
                known(ReplicaRole::Learner, ReplicaKind::Storage) && here().any(Running::has_change_under_way)
            }
            Kind::AddLogReplica => joint() && log_votes(),
            // The new configuration is with some, the old one with others, or it is joint.
            Kind::DismissLogReplica => {
                known(ReplicaRole::Learner, ReplicaKind::Log) && log_votes() || {
                    known(ReplicaRole::Learner, ReplicaKind::Log)
                        && (joint() || here().any(Running::has_change_under_way))
                }
            }
            Kind::MoveLeader => here().any(Running::in_transfer),
            Kind::Split => here().any(Running::has_change_under_way),
            Kind::ZoneOut => {
                core.registry.places.values().all(|place| nodes[*place].zone != self.zone || !nodes[*place].up)
            }
        }
    }
}

fn is(replica: &ReplicaDescriptor, role: ReplicaRole, kind: ReplicaKind) -> bool {
    (replica.role, replica.kind) == (role, kind)
}

/// On a node of the zone that it is to stand in for, or else of any.
fn add(
    core: &mut Core,
    nodes: &[Node],
    descriptor: &PartitionDescriptor,
    kind: ReplicaKind,
    instead: Option<&ReplicaDescriptor>,
) -> Option<Change> {
    let free: Vec<&Node> = nodes.iter().filter(|node| node.up && descriptor.on_node(node.id).is_none()).collect();
    let zone = |node: &&Node| birth::told_zone(&core.plan, node);
    let near: Vec<&Node> =
        free.iter().filter(|node| instead.is_none_or(|instead| instead.zone == zone(node))).copied().collect();
    let any = near.is_empty() && !mover::three_zones_stay(core);
    let node = if any { core.rng.pick(&free) } else { core.rng.pick(&near) }?;
    let zone = birth::told_zone(&core.plan, node);
    Some(Change::add(node.id, zone, kind))
}
