//! Row 11: the leader dies while a log replica alone holds the newest entries.
//!
//! ```text
//!  A leads, B and C follow ── C stays down ──► log replica L votes for it ── B is cut off ──► A and L go on, B does not
//!     ── A dies; B is back ──► L must lead to hand on what B lacks, then B: nothing lost, in five seconds
//! ```
//! Nothing else goes wrong meanwhile, so that times can be judged; clocks may drift.

use model::{ReplicaKind, ReplicaRole};

use crate::core::Core;
use crate::directed::{PATIENCE_US, has_round, is_whole, running, served_group};
use crate::event::{Event, Group, Place};
use crate::faults::{Fault, aimed};
use crate::host::Node;
use crate::invariant::Broken;
use crate::invariant::checked::Checked;
use crate::invariant::tail::{SERVES_WITHIN_US, Tail, Tenure};
use crate::plan::{MILLISECOND, SECOND};
use crate::queue::Time;

/// For a log replica to vote, and for the tail to grow.
const PREPARED_WITHIN_US: Time = 10 * SECOND;
const WHOLE_WITHIN_US: Time = 15 * SECOND;
/// While the tail grows, and while it is missed.
const LOOK_US: Time = MILLISECOND;
const JUDGE_US: Time = 10 * MILLISECOND;

#[derive(Default)]
pub struct Tails {
    round: usize,
    stage: Stage,
}

#[derive(Default)]
enum Stage {
    #[default]
    Begins,
    /// C is down.
    StandsIn {
        group: Group,
        until: Time,
    },
    /// B is cut off, and is to lack so much.
    Grows {
        cast: Cast,
        lack: u64,
        until: Time,
    },
    /// A is down, and B comes back.
    TakesOver {
        tail: Tail,
        tenure: Tenure,
        led: bool,
    },
    Rests {
        group: Group,
        until: Time,
    },
}

#[derive(Clone, Copy)]
struct Cast {
    group: Group,
    /// A.
    leads: Place,
    /// B.
    lags: Place,
    /// L.
    log: Place,
}

impl Tails {
    /// When it comes again.
    pub fn turn(&mut self, core: &mut Core, nodes: &mut [Node]) -> Result<Time, Broken> {
        let (stage, again) = match std::mem::take(&mut self.stage) {
            Stage::Begins => self.begin(core, nodes),
            Stage::StandsIn { group, until } => stand_in(core, nodes, group, until),
            Stage::Grows { cast, lack, until } => grow(core, nodes, cast, (lack, until)),
            Stage::TakesOver { tail, tenure, led } => take_over(core, nodes, tail, (tenure, led))?,
            Stage::Rests { group, until } => {
                let up = nodes.iter().all(|node| node.up);
                let over = core.now >= until || up && is_whole(core, &core.registry.descriptors[group]);
                (if over { Stage::Begins } else { Stage::Rests { group, until } }, PATIENCE_US)
            }
        };
        self.stage = stage;
        Ok(again)
    }

    fn begin(&mut self, core: &mut Core, nodes: &mut [Node]) -> (Stage, Time) {
        if !has_round(core, self.round) {
            self.round += 1;
            return (Stage::Begins, PATIENCE_US);
        }
        let Some((group, leads)) = served_group(core, nodes) else { return (Stage::Begins, PATIENCE_US) };
        self.round += 1;
        let others: Vec<Place> = members(core, group, ReplicaKind::Storage).filter(|place| *place != leads).collect();
        let Some(gone) = core.rng.pick(&others).copied() else { return (Stage::Begins, PATIENCE_US) };
        core.held.insert(gone);
        aimed::crash(core, &mut nodes[gone]);
        (Stage::StandsIn { group, until: core.now + PREPARED_WITHIN_US }, PATIENCE_US)
    }
}

/// Until a log replica votes, and has what the leader has.
fn stand_in(core: &mut Core, nodes: &[Node], group: Group, until: Time) -> (Stage, Time) {
    if core.now >= until {
        return give_up(core, group);
    }
    match cast(core, nodes, group) {
        None => (Stage::StandsIn { group, until }, PATIENCE_US),
        Some(cast) => {
            core.network.blocked.extend(directions(nodes, cast.lags));
            core.pressed = Some((group, core.now + PREPARED_WITHIN_US));
            let lack = core.rng.range(1, 12);
            (Stage::Grows { cast, lack, until: core.now + PREPARED_WITHIN_US / 2 }, LOOK_US)
        }
    }
}

fn cast(core: &Core, nodes: &[Node], group: Group) -> Option<Cast> {
    let (_, leads, _) = core.registry.leaders[group]?;
    let leader = running(nodes, leads, group)?;
    let log = members(core, group, ReplicaKind::Log).next()?;
    let lags = members(core, group, ReplicaKind::Storage).find(|place| *place != leads && nodes[*place].up)?;
    let level = nodes[log].log.holds_durably(group, leader.status.committed, leader.status.term);
    // Or the two that are left may not commit anything.
    let level = level && nodes[log].zone != nodes[lags].zone;
    let settled = leader.status.serving && !leader.status.in_joint_change && level && nodes[log].up;
    settled.then_some(Cast { group, leads, lags, log })
}

/// Places of voters of that kind.
fn members(core: &Core, group: Group, kind: ReplicaKind) -> impl Iterator<Item = Place> {
    let voters = core.registry.descriptors[group].replicas.iter();
    let voters = voters.filter(move |replica| (replica.role, replica.kind) == (ReplicaRole::Voter, kind));
    voters.filter_map(|voter| core.registry.places.get(&voter.node).copied())
}

/// Until the leader has committed what only the log replica has besides it: then it dies.
fn grow(core: &mut Core, nodes: &mut [Node], cast: Cast, (lack, until): (u64, Time)) -> (Stage, Time) {
    let Cast { group, leads, lags, log } = cast;
    let Some(leader) = running(nodes, leads, group).filter(|running| running.status.serving && core.now < until) else {
        core.network.blocked.clear();
        return give_up(core, group);
    };
    let (index, term) = (leader.status.committed, leader.status.term);
    let lacks = nodes[lags].log.current[group].last_index() + lack <= index;
    if !lacks || !nodes[log].log.holds_durably(group, index, term) {
        return (Stage::Grows { cast, lack, until }, LOOK_US);
    }
    core.stats.count("directed: the newest tail with a log replica alone");
    core.held.insert(leads);
    aimed::crash(core, &mut nodes[leads]);
    let back = if core.rng.permille(500) { 0 } else { core.rng.range(0, SECOND) };
    core.after(back, Event::Fault(Fault::Join(directions(nodes, lags))));
    let tail = Tail { group, index, term, since: core.now + back };
    (Stage::TakesOver { tail, tenure: Tenure::default(), led: false }, JUDGE_US)
}

fn take_over(
    core: &mut Core,
    nodes: &[Node],
    tail: Tail,
    (mut tenure, led): (Tenure, bool),
) -> Result<(Stage, Time), Broken> {
    core.oracle.checks.count(Checked::Tail);
    tenure.look(core, nodes, tail.group)?;
    let led = led || tenure.leads();
    if tail.taken_over(nodes)?.is_some() {
        core.stats.count(if led {
            "directed: a log replica led for a while"
        } else {
            "directed: a log replica led for a moment"
        });
        let second = core.now.saturating_sub(tail.since) / SECOND + 1;
        core.stats.count_times(format!("directed: the tail's group serves within {second} s"), 1);
        return Ok(give_up(core, tail.group));
    }
    if core.now > tail.since + SERVES_WITHIN_US {
        return Err(tail.late(core, nodes));
    }
    Ok((Stage::TakesOver { tail, tenure, led }, JUDGE_US))
}

/// Who was held down comes back, and the group becomes whole.
fn give_up(core: &mut Core, group: Group) -> (Stage, Time) {
    core.pressed = None;
    for place in std::mem::take(&mut core.held) {
        let later = core.rng.range(1, SECOND);
        core.after(later, Event::Fault(Fault::Restart(place)));
    }
    (Stage::Rests { group, until: core.now + WHOLE_WITHIN_US }, PATIENCE_US)
}

fn directions(nodes: &[Node], place: Place) -> Vec<(Place, Place)> {
    let others = (0..nodes.len()).filter(|other| *other != place);
    others.flat_map(|other| [(place, other), (other, place)]).collect()
}
