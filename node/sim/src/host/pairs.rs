//! Heartbeats between pairs of nodes: what vouches for leaders that sleep (`replica`'s `sleep` lists what it asks of a host).
//!
//! A node tells every other one with which it shares a group that it lives, and how often it has started. Silence for an
//! election time-out, or a new start, is told to the replicas that share a group with that node, a few at a time. No replica falls
//! asleep on the word of a node that is silent, and one that is stopped wakes the others first.

use std::collections::{BTreeMap, BTreeSet};

use model::{NodeId, ReplicaId};
use replica::{Envelope, Input, MessageBody};

use crate::core::Core;
use crate::event::{Beat, Event, Group, Parcel};
use crate::host::{Node, Running};
use crate::trace::At;

/// Groups hear of a loss over so many ticks.
const PACE_TICKS: u64 = 4;

/// Other nodes, as their heartbeats show them.
#[derive(Default)]
pub struct Pairs {
    ticks: u64,
    others: BTreeMap<NodeId, Other>,
}

#[derive(Clone, Copy)]
struct Other {
    /// Of its process; none before it is heard.
    life: Option<u32>,
    heard_at_tick: u64,
    silent: bool,
}

impl Node {
    /// One tick of the local clock: heartbeats leave, silence is noticed.
    pub(super) fn watch_pairs(&mut self, core: &mut Core) {
        self.pairs.ticks += 1;
        if !self.pairs.ticks.is_multiple_of(core.plan.options.heartbeat_ticks as u64) {
            return;
        }
        let others = self.sharers();
        for id in &others {
            self.beat(core, *id);
            let heard_at_tick = self.pairs.ticks;
            self.pairs.others.entry(*id).or_insert(Other { life: None, heard_at_tick, silent: false });
        }
        self.pairs.others.retain(|id, _| others.contains(id));
        let since = self.pairs.ticks.saturating_sub(core.plan.options.election_ticks as u64);
        let falls_silent = |other: &Other| !other.silent && other.heard_at_tick < since;
        let silent: Vec<NodeId> =
            self.pairs.others.iter().filter(|(_, other)| falls_silent(other)).map(|(id, _)| *id).collect();
        for id in silent {
            self.pairs.others.entry(id).and_modify(|other| other.silent = true);
            core.note(At::place(self.place), "node is silent (id)", [id.0, 0, 0, 0]);
            self.lose(core, id);
        }
    }

    /// Nodes that share a group with this one.
    fn sharers(&self) -> BTreeSet<NodeId> {
        let descriptors = self.running.iter().flatten().filter_map(|running| running.descriptor.as_ref());
        let nodes = descriptors.flat_map(|descriptor| &descriptor.replicas).map(|replica| replica.node);
        nodes.filter(|node| *node != self.id).collect()
    }

    fn beat(&self, core: &mut Core, to: NodeId) {
        let Some(place) = core.registry.places.get(&to).copied() else { return };
        for delay in core.network.delays(&mut core.rng, self.place, place) {
            let beat = Beat { from: self.id, life: self.life, to: (place, to) };
            core.after(delay, Event::Beat(beat));
        }
    }

    pub fn hear_beat(&mut self, core: &mut Core, beat: Beat) {
        let before = self.pairs.others.get(&beat.from).and_then(|other| other.life);
        if before.is_some_and(|life| life > beat.life) {
            // Late, and of a process that is no more.
            return;
        }
        let heard_at_tick = self.pairs.ticks;
        self.pairs.others.insert(beat.from, Other { life: Some(beat.life), heard_at_tick, silent: false });
        if before.is_some_and(|life| life < beat.life) {
            self.lose(core, beat.from);
        }
    }

    /// That node is silent, or has started anew.
    fn lose(&mut self, core: &mut Core, node: NodeId) {
        for group in 0..self.running.len() {
            let Some(running) = &self.running[group] else { continue };
            let Some(lost) = running.descriptor.as_ref().and_then(|descriptor| descriptor.on_node(node)) else {
                continue;
            };
            if running.replica.is_asleep() {
                core.stats.count("sleepers told of a loss");
            }
            let seat = self.seat(group, running.id);
            let later = core.rng.range(0, PACE_TICKS * core.plan.tick_us);
            core.after(later, Event::Done(seat, Box::new(Input::Lost(lost.id))));
        }
    }

    /// Whether a replica may fall asleep by what came from there.
    pub(super) fn may_sleep_by(&self, parcel: &Parcel) -> bool {
        let asks = matches!(parcel.envelope.body, MessageBody::SleepAsked { .. });
        !asks || self.pairs.others.get(&parcel.from.1).is_some_and(|other| other.life.is_some() && !other.silent)
    }

    /// A replica stops while its node goes on, whose heartbeats would speak for it.
    pub(super) fn wake_others(&mut self, core: &mut Core, group: Group, running: &Running) {
        if core.plan.options.sleep_ticks == 0 {
            return;
        }
        let others = running.descriptor.iter().flat_map(|descriptor| &descriptor.replicas);
        for to in others.filter(|replica| replica.id != running.id) {
            let Some(place) = core.registry.places.get(&to.node).copied() else { continue };
            let envelope = wake(running.id, to.id);
            self.send(core, (place, to.node), vec![Parcel { group, from: (self.place, self.id), envelope }]);
        }
    }
}

fn wake(from: ReplicaId, to: ReplicaId) -> Envelope {
    Envelope { from, to, body: MessageBody::WakeAsked }
}
