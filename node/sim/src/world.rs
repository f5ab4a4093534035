//! The world: takes the next event, lets the one it concerns deal with it, asks the oracle.

use std::collections::BTreeSet;

use crate::birth;
use crate::case::Case;
use crate::client::Client;
use crate::core::{Core, Registry, Stats};
use crate::directed::{self, Director};
use crate::disk::log::LastBatch;
use crate::event::{Event, Place};
use crate::faults;
use crate::host::{Node, start};
use crate::invariant::checked::Checked;
use crate::invariant::linearizability::History;
use crate::invariant::{Broken, Verdict, liveness, majority, takeover};
use crate::mover;
use crate::mutant::Mutant;
use crate::network::Network;
use crate::oracle::Oracle;
use crate::plan::{MILLISECOND, Plan, SECOND};
use crate::queue::{Queue, Time};
use crate::rng::Rng;
use crate::splitter;
use crate::trace::{At, Trace};

/// Twenty election time-outs of one second (faults.md).
const SERVES_WITHIN_US: Time = 20 * SECOND;
/// And how long the clients, who try one group after another, may take for each.
const TRIED_WITHIN_US: Time = SECOND / 5;
/// For every group to be whole, copies and all.
const WHOLE_WITHIN_US: Time = 60 * SECOND;

fn serves_within(groups: usize) -> Time {
    SERVES_WITHIN_US + TRIED_WITHIN_US * groups as Time
}

pub struct World {
    pub core: Core,
    pub nodes: Vec<Node>,
    clients: Vec<Client>,
    healed_at: Time,
    at_peace: bool,
}

impl World {
    pub fn new(case: &Case) -> World {
        let (plan, rng) = Plan::of(case);
        World::planned(plan, rng)
    }

    pub fn planned(plan: Plan, rng: Rng) -> World {
        let keys = birth::keys(&plan);
        let core = Core {
            now: 0,
            rng,
            queue: Queue::default(),
            network: Network::new(plan.network.clone()),
            registry: Registry {
                descriptors: (0..plan.seats()).map(birth::nothing).collect(),
                was_short: vec![false; plan.seats()],
                roots: (0..plan.groups).collect(),
                leaders: vec![None; plan.seats()],
                former: vec![None; plan.seats()],
                ..Registry::default()
            },
            oracle: Oracle::new(plan.seats(), History::new(keys.clone(), plan.seats())),
            keys,
            trace: Trace::default(),
            stats: Stats { seeds: 1, ..Stats::default() },
            healed: false,
            away: None,
            held: BTreeSet::new(),
            director: Director::of(&plan),
            deaths: 0,
            pressed: None,
            wanted: Vec::new(),
            stepping: None,
            plan,
        };
        let mut world = World { core, nodes: Vec::new(), clients: Vec::new(), healed_at: 0, at_peace: false };
        world.populate();
        world
    }

    fn populate(&mut self) {
        let core = &mut self.core;
        let drifts = core.rng.permille(500);
        for place in 0..core.plan.nodes {
            let mut node = Node::new(place, birth::node_id(place, 1), core.plan.seats(), core.plan.mutant);
            if core.plan.has(Mutant::WrongZones) {
                node.zone = place.min(1);
            }
            node.clock_ahead_us = core.rng.range(0, SECOND);
            if drifts {
                node.clock_permille = core.rng.range(950, 1051);
            }
            core.registry.places.insert(node.id, place);
            self.nodes.push(node);
        }
        for group in 0..core.plan.groups {
            let descriptor = birth::descriptor(&core.plan, &mut core.rng, group, &self.nodes);
            for replica in &descriptor.replicas {
                let place = core.registry.places[&replica.node];
                let state = replica::GroupState::birth(replica.id, descriptor.clone(), birth::table());
                start::born(&mut self.nodes[place], group, state);
            }
            core.registry.announce(group, &descriptor);
            core.oracle.ranges.begin(group, descriptor);
        }
        for number in 0..core.plan.clients {
            self.clients.push(Client::new(number, &core.registry.descriptors[..core.plan.groups]));
            core.queue.at(core.plan.think_us, Event::ClientTurn { client: number, attempt: 0 });
        }
        for place in 0..core.plan.nodes {
            core.queue.at(place as u64, Event::Fault(faults::Fault::Restart(place)));
        }
        faults::schedule(core);
        if core.plan.is_moved() {
            core.queue.at(core.plan.mover_us.max(SECOND), Event::MoverTurn);
        }
        if core.plan.options.sleep_ticks > 0 {
            core.queue.at(SECOND, Event::CheckSleep);
        }
        if core.plan.splits > 0 && core.plan.row.is_none() {
            core.queue.at(core.plan.splitter_us.max(SECOND), Event::SplitterTurn);
        }
    }

    /// Until everything is at peace again after the healing, or something is broken.
    pub fn run(&mut self) -> Verdict {
        while !self.at_peace {
            let Some((time, event)) = self.core.queue.take_next() else {
                return Err(liveness::broken(None, 0, "nothing happens any more"));
            };
            self.core.now = time;
            self.core.stats.events += 1;
            if let Some(later) = self.postponed(&event) {
                self.core.queue.at(later, event);
                continue;
            }
            self.happen(event)?;
            self.core.oracle.judge_claims(&self.nodes, &self.core.registry.places)?;
        }
        self.core.stats.simulated_us = self.core.now;
        let operations = self.core.oracle.history.len() as u64;
        self.core.oracle.checks.count_times(Checked::Linearizability, operations);
        self.core.oracle.history.check()
    }

    /// A paused process does nothing before it goes on.
    fn postponed(&self, event: &Event) -> Option<Time> {
        let place = match event {
            Event::Tick(process) | Event::Turn(process) | Event::Synced(process) | Event::FlushBegins(process) => {
                process.place
            }
            Event::FlushEnds { process, .. } | Event::FlushForced { process, .. } => process.place,
            Event::Done(seat, _) | Event::Apply(seat, _) | Event::Ingest(seat, _) => seat.process.place,
            Event::ReadItem { seat, .. } | Event::BuildSnapshot { seat, .. } | Event::Look { seat, .. } => {
                seat.process.place
            }
            Event::Frame(frame) => frame.to.0,
            Event::Beat(beat) => beat.to.0,
            Event::Snapshot { to, .. } => to.0,
            Event::Request(request) => request.place,
            Event::Admin { place, .. } | Event::Gossip { place, .. } => *place,
            Event::ClientTurn { .. }
            | Event::Reply { .. }
            | Event::ClientGivesUp { .. }
            | Event::MoverTurn
            | Event::SplitterTurn
            | Event::Provoke
            | Event::Direct
            | Event::Fault(_)
            | Event::Heal
            | Event::CheckMajority
            | Event::CheckPeace
            | Event::CheckSleep
            | Event::CheckTakeOver { .. } => return None,
        };
        let until = self.nodes[place].paused_until;
        (until > self.core.now).then_some(until)
    }

    fn happen(&mut self, event: Event) -> Verdict {
        let World { core, nodes, clients, .. } = self;
        match event {
            Event::Tick(process) if nodes[process.place].is(process) => nodes[process.place].tick(core),
            Event::Turn(process) if nodes[process.place].is(process) => {
                nodes[process.place].turn(core)?;
            }
            Event::Synced(process) if nodes[process.place].is(process) => nodes[process.place].synced(core)?,
            Event::FlushBegins(process) if nodes[process.place].is(process) => nodes[process.place].flush_begins(core),
            Event::FlushEnds { process, batches } if nodes[process.place].is(process) => {
                nodes[process.place].flush_ends(core, batches);
            }
            Event::FlushForced { process, batches } if nodes[process.place].is(process) => {
                nodes[process.place].flush_now(core, batches);
            }
            Event::Tick(_)
            | Event::Turn(_)
            | Event::Synced(_)
            | Event::FlushBegins(_)
            | Event::FlushEnds { .. }
            | Event::FlushForced { .. } => {}
            Event::Frame(frame) => {
                let (place, id) = frame.to;
                if nodes[place].up && nodes[place].id == id {
                    nodes[place].receive(core, &frame)?;
                }
            }
            Event::Beat(beat) => {
                let (place, id) = beat.to;
                if nodes[place].up && nodes[place].id == id {
                    nodes[place].hear_beat(core, beat);
                }
            }
            Event::Snapshot { sender, parcel, to: (place, id), contents } => {
                if nodes[place].up && nodes[place].id == id {
                    nodes[place].snapshot_arrived(core, sender, &parcel, contents)?;
                } else {
                    let failed = replica::Input::SnapshotSent { to: parcel.envelope.to, delivered: false };
                    core.after(SECOND, Event::Done(sender, Box::new(failed)));
                }
            }
            Event::Done(seat, input) => nodes[seat.process.place].done(core, seat, *input),
            Event::ReadItem { seat, ticket, key } => nodes[seat.process.place].read_item(core, seat, ticket, &key),
            Event::Apply(seat, applied) => nodes[seat.process.place].applied(core, seat, applied)?,
            Event::BuildSnapshot { seat, to } => nodes[seat.process.place].build_snapshot(core, seat, to),
            Event::Ingest(seat, received) => nodes[seat.process.place].ingest(core, seat, &received),
            Event::Look { seat, token } => nodes[seat.process.place].look(core, seat, token)?,
            Event::ClientTurn { client, attempt } => clients[client].turn(core, attempt),
            Event::Request(request) => nodes[request.place].request(core, *request),
            Event::Reply { client, attempt, reply } => clients[client].reply(core, attempt, *reply),
            Event::ClientGivesUp { client, attempt } => clients[client].give_up(core, attempt),
            Event::MoverTurn => mover::turn(core, nodes),
            Event::SplitterTurn => splitter::turn(core),
            Event::Provoke => mover::provoke(core, nodes),
            Event::Admin { place, group, epoch, command } => nodes[place].admin(core, group, epoch, command),
            Event::Gossip { place, group } => nodes[place].gossip(core, group),
            Event::Direct => directed::turn(core, nodes)?,
            Event::Fault(fault) => faults::strike(core, nodes, fault)?,
            Event::Heal if core.plan.straggler => self.heal_but_one()?,
            Event::Heal => self.heal()?,
            Event::CheckMajority => self.check_majority()?,
            Event::CheckPeace => self.check_peace()?,
            Event::CheckSleep => self.check_sleep()?,
            Event::CheckTakeOver { group, deaths } => {
                core.oracle.checks.count(Checked::TakeOver);
                takeover::check(core, nodes, group, deaths)?;
            }
        }
        Ok(())
    }

    fn heal(&mut self) -> Verdict {
        self.core.note(At::default(), "heal", [0; 4]);
        self.end_trouble(None)?;
        self.core.wanted = self.core.registry.born.clone();
        self.core.after(SECOND / 2, Event::CheckPeace);
        Ok(())
    }

    /// Everything is well again but for one node, which is gone.
    fn heal_but_one(&mut self) -> Verdict {
        let away = self.core.rng.index(self.nodes.len());
        self.core.note(At::place(away), "away, and all else healed", [0; 4]);
        self.nodes[away].crash(&mut self.core, LastBatch::Lost);
        self.end_trouble(Some(away))?;
        self.core.after(SECOND / 2, Event::CheckMajority);
        Ok(())
    }

    fn end_trouble(&mut self, away: Option<Place>) -> Verdict {
        self.core.healed = true;
        self.core.away = away;
        self.core.held.clear();
        self.healed_at = self.core.now;
        self.core.network.heal();
        self.core.plan.disk.read_failure_permille = 0;
        self.core.oracle.history.heal(self.core.now);
        for node in self.nodes.iter_mut().filter(|node| Some(node.place) != away) {
            node.disk_factor = 1;
            node.doomed = false;
            node.start(&mut self.core)?;
        }
        Ok(())
    }

    /// As many serve as can; then the last node comes back, too.
    fn check_majority(&mut self) -> Verdict {
        let Some(away) = self.core.away else { return Ok(()) };
        self.core.oracle.checks.count(Checked::Majority);
        let (core, nodes) = (&mut self.core, &self.nodes);
        let born = core.registry.born.iter().copied();
        let unserved = born.filter(|group| core.oracle.history.served_since_heal(*group).is_none());
        let wanted = unserved.filter(|group| majority::must_serve(core, nodes, *group, away)).collect();
        core.wanted = wanted;
        let waited = core.now - self.healed_at;
        match core.wanted.first() {
            None => self.heal(),
            Some(group) if waited > serves_within(core.registry.born.len()) => {
                let state = liveness::describe(core, nodes, *group);
                Err(majority::broken(*group, away, waited, &state))
            }
            Some(_) => {
                core.after(200 * MILLISECOND, Event::CheckMajority);
                Ok(())
            }
        }
    }

    /// First every group serves; then clients stop, and everything comes to rest.
    fn check_peace(&mut self) -> Verdict {
        let waited = self.core.now - self.healed_at;
        // A split may have been committed a moment before the healing.
        let groups = self.core.registry.born.clone();
        self.core.wanted.clone_from(&groups);
        let history = &self.core.oracle.history;
        let unserved = groups.iter().copied().find(|group| history.served_since_heal(*group).is_none());
        if let Some(group) = unserved {
            if waited > serves_within(groups.len()) {
                let state = liveness::describe(&self.core, &self.nodes, group);
                return Err(liveness::broken(Some(group), waited, &format!("it does not serve{state}")));
            }
        } else {
            for client in &mut self.clients {
                client.stopped = true;
            }
        }
        self.core.oracle.checks.count_times(Checked::Liveness, groups.len() as u64);
        let trouble = groups.into_iter().find_map(|group| {
            let lack = liveness::lacks(&self.core, &self.nodes, group)?;
            let state = liveness::describe(&self.core, &self.nodes, group);
            Some(liveness::broken(Some(group), waited, &format!("{lack}{state}")))
        });
        let trouble = trouble.or_else(|| self.unborn(waited)).or_else(|| self.restless(waited));
        match trouble {
            Some(broken) if waited > WHOLE_WITHIN_US => return Err(broken),
            Some(_) => self.core.after(200 * MILLISECOND, Event::CheckPeace),
            None => self.at_peace = true,
        }
        Ok(())
    }

    fn check_sleep(&mut self) -> Verdict {
        self.core.oracle.checks.count(Checked::Sleep);
        let mut sleepers = std::mem::take(&mut self.core.oracle.sleepers);
        let verdict = sleepers.judge(&self.core, &self.nodes);
        self.core.oracle.sleepers = sleepers;
        self.core.after(SECOND, Event::CheckSleep);
        verdict
    }

    /// A child that a log speaks of and nobody has seen.
    fn unborn(&self, waited: Time) -> Option<Broken> {
        let Core { oracle, registry, .. } = &self.core;
        let child = oracle.ranges.unborn(&registry.born)?;
        Some(liveness::broken(Some(child), waited, "it was split off and is not born"))
    }

    fn restless(&self, waited: Time) -> Option<Broken> {
        let unanswered = liveness::unanswered(&self.nodes);
        if unanswered > 0 {
            return Some(liveness::broken(None, waited, &format!("{unanswered} requests have no answer")));
        }
        let busy = self.clients.iter().any(|client| !client.idle());
        busy.then(|| liveness::broken(None, waited, "a client still waits"))
    }
}
