//! Clients: one operation at a time, through a map of leaders that may be stale.
//!
//! A refused operation was not applied and is tried again elsewhere; one without an answer is a "maybe" and never tried again.

use std::collections::BTreeMap;

use bytes::Bytes;
use model::expression::{Condition, Placeholders, Update};
use model::{Item, Number, PartitionDescriptor, Value};
use replica::{Action, Answer, Refusal, WriteRequest};

use crate::birth;
use crate::core::Core;
use crate::event::{Ask, Event, Group, Place, Reply, Request};
use crate::invariant::linearizability::{Expect, Kind, Operation, Outcome};
use crate::mutant::Mutant;
use crate::plan::MILLISECOND;
use crate::trace::At;

/// Attempts before a client lets a refused operation be.
const ATTEMPTS: u32 = 12;

/// A client's pause after the healing, at most.
const HASTE_US: u64 = 100 * MILLISECOND;

pub struct Client {
    number: usize,
    attempt: u64,
    current: Option<Current>,
    /// What it believes of each group that it has heard of.
    maps: BTreeMap<Group, Map>,
    /// Who wrote a key last, as it last saw.
    seen: BTreeMap<(Group, usize), u64>,
    pub stopped: bool,
}

struct Map {
    descriptor: PartitionDescriptor,
    leader: Option<Place>,
}

struct Current {
    operation: u64,
    root: Group,
    /// Whom it has asked.
    group: Group,
    key: usize,
    kind: Kind,
    ask: Ask,
    attempts: u32,
}

impl Client {
    pub fn new(number: usize, descriptors: &[PartitionDescriptor]) -> Client {
        let map = |descriptor: &PartitionDescriptor| Map { descriptor: descriptor.clone(), leader: None };
        let maps = descriptors.iter().enumerate().map(|(group, descriptor)| (group, map(descriptor))).collect();
        Client { number, attempt: 0, current: None, maps, seen: BTreeMap::new(), stopped: false }
    }

    pub fn idle(&self) -> bool {
        self.current.is_none()
    }

    /// Goes on: the next operation, or the next attempt at this one.
    pub fn turn(&mut self, core: &mut Core, attempt: u64) {
        if attempt != self.attempt {
            return;
        }
        if self.current.is_none() {
            if self.stopped {
                return;
            }
            self.begin(core);
        }
        self.attempt(core);
    }

    fn begin(&mut self, core: &mut Core) {
        let group = self.pick_group(core);
        let root = core.registry.roots[group];
        let keys = core.registry.keys_of(group, &core.keys);
        let key = core.rng.pick(&keys).copied().unwrap_or_else(|| core.rng.index(core.plan.keys));
        let kind = match core.rng.range(0, 10) {
            0..4 => Kind::Read,
            4..6 => Kind::Put,
            6..7 => Kind::Delete,
            _ => Kind::Update,
        };
        let expect = match core.rng.range(0, 10) {
            0 => Expect::Absent,
            1 => Expect::Present,
            2..5 => self.seen.get(&(root, key)).map_or(Expect::Present, |by| Expect::By(*by)),
            _ => Expect::Nothing,
        };
        let expect = if kind == Kind::Read { Expect::Nothing } else { expect };
        let id = core.oracle.history.next_operation();
        let put = if kind == Kind::Put { attributes(core, key, id) } else { Bytes::new() };
        let (return_old, return_new) = (core.rng.permille(500), core.rng.permille(500));
        let operation = Operation {
            root,
            group,
            key,
            kind,
            expect,
            return_old,
            return_new,
            put,
            invoked: core.now,
            returned: core.now,
            outcome: Outcome::Open,
        };
        let ask = ask(core, id, &operation);
        let begun = core.oracle.history.begin(operation);
        assert_eq!(begun, id, "operations are numbered in order");
        core.stats.count("operations");
        self.current = Some(Current { operation: id, root, group, key, kind, ask, attempts: 0 });
    }

    /// After the healing, groups that have not served yet come first.
    fn pick_group(&self, core: &mut Core) -> Group {
        let history = &core.oracle.history;
        let waiting: Vec<Group> =
            core.wanted.iter().filter(|group| history.served_since_heal(**group).is_none()).copied().collect();
        let born = core.registry.born.len();
        // Where groups may sleep, most are left alone most of the time.
        let few = core.plan.options.sleep_ticks > 0 && !core.healed && core.rng.permille(985);
        let any = core.rng.pick(&core.registry.born[..if few { born.div_ceil(3) } else { born }]).copied().unwrap_or(0);
        let pressed = core.pressed.filter(|(_, until)| core.now < *until && !core.healed && core.rng.permille(700));
        let any = pressed.map_or(any, |(group, _)| group);
        core.rng.pick(&waiting).copied().unwrap_or(any)
    }

    fn attempt(&mut self, core: &mut Core) {
        let Some(current) = &mut self.current else { return };
        current.attempts += 1;
        if current.attempts > ATTEMPTS {
            self.finish(core);
            return;
        }
        self.attempt += 1;
        if current.attempts > 1 {
            core.oracle.history.again(current.operation, core.now);
        }
        let encoded = &core.keys[current.root][current.key];
        let Some((group, map)) = newest(&self.maps, &core.registry.roots, current.root, encoded) else {
            // It knows that the key is elsewhere now, and not where.
            self.look_elsewhere(core);
            self.again(core);
            return;
        };
        current.group = group;
        let place = map.leader.unwrap_or_else(|| core.rng.index(core.plan.nodes));
        let request = Request {
            client: self.number,
            attempt: self.attempt,
            operation: current.operation,
            place,
            group: current.group,
            epoch: map.descriptor.epoch,
            ask: current.ask.clone(),
        };
        let at = At { key: Some(current.key), client: Some(self.number), ..At::seat(place, current.group) };
        core.note(at, ask_name(current.kind), [current.operation, request.epoch, 0, 0]);
        let gives_up = Event::ClientGivesUp { client: self.number, attempt: self.attempt };
        core.after(core.plan.client_timeout_us, gives_up);
        if !core.rng.permille(core.network.plan.loss_permille / 3) {
            let delay = core.network.plan.least_us + core.rng.range(0, core.network.plan.spread_us);
            core.after(delay, Event::Request(Box::new(request)));
        }
    }

    pub fn reply(&mut self, core: &mut Core, attempt: u64, reply: Reply) {
        if attempt != self.attempt || self.current.is_none() {
            return;
        }
        match reply {
            Reply::Answer(Answer::Refused(refusal)) => self.refused(core, refusal),
            Reply::Answer(
                Answer::Written { .. } | Answer::ConditionFailed { .. } | Answer::Invalid { .. } | Answer::Done,
            ) => {
                self.learned();
                self.finish(core);
            }
            Reply::Value(record) => {
                if let Some(current) = &self.current
                    && let Some(by) = record.as_ref().and_then(|record| writer(&record.attributes))
                {
                    self.seen.insert((current.root, current.key), by);
                }
                self.finish(core);
            }
            Reply::NotHere => {
                self.look_elsewhere(core);
                self.again(core);
            }
        }
    }

    /// A client remembers its own write, for a condition to come.
    fn learned(&mut self) {
        if let Some(current) = &self.current
            && matches!(current.kind, Kind::Put | Kind::Update)
        {
            self.seen.insert((current.root, current.key), current.operation);
        }
    }

    fn refused(&mut self, core: &mut Core, refusal: Refusal) {
        let Some(current) = &self.current else { return };
        core.stats.count(refusal_name(&refusal));
        match refusal {
            Refusal::Unknown if core.plan.has(Mutant::WriteResent) => {}
            Refusal::Unknown => {
                self.finish(core);
                return;
            }
            Refusal::StaleEpoch { descriptor } => {
                let known = self.maps.get_mut(&current.group);
                match known.filter(|map| descriptor.epoch > map.descriptor.epoch) {
                    Some(map) => map.descriptor = *descriptor,
                    None => self.look_elsewhere(core),
                }
            }
            Refusal::NotLeader { leader } => {
                let Some(map) = self.maps.get_mut(&current.group) else { return };
                let node = leader.and_then(|leader| map.descriptor.replica(leader)).map(|replica| replica.node);
                map.leader = node.and_then(|node| core.registry.places.get(&node).copied());
                if map.leader.is_none() {
                    self.look_elsewhere(core);
                }
            }
            Refusal::Overloaded
            | Refusal::TableGone
            | Refusal::NotReady
            | Refusal::Impossible { .. }
            | Refusal::ReadFailed => {}
        }
        self.again(core);
    }

    /// Asks the map service, which may be behind, or anyone.
    fn look_elsewhere(&mut self, core: &mut Core) {
        let Some(current) = &self.current else { return };
        if core.rng.permille(500) {
            learn(&mut self.maps, core, current.root);
        }
        let Some(map) = self.maps.get_mut(&current.group) else { return };
        map.leader = if core.rng.permille(500) {
            core.registry.leaders[current.group].map(|(_, place, _)| place)
        } else {
            let replica = core.rng.pick(&map.descriptor.replicas);
            replica.and_then(|replica| core.registry.places.get(&replica.node).copied())
        };
    }

    fn again(&mut self, core: &mut Core) {
        let pause = core.rng.range(5 * MILLISECOND, 200 * MILLISECOND);
        core.after(pause, Event::ClientTurn { client: self.number, attempt: self.attempt });
    }

    pub fn give_up(&mut self, core: &mut Core, attempt: u64) {
        if attempt == self.attempt && self.current.is_some() {
            core.stats.count("operations timed out");
            if let Some(current) = &self.current {
                if let Some(map) = self.maps.get_mut(&current.group) {
                    map.leader = None;
                }
                let at = At { key: Some(current.key), client: Some(self.number), ..At::default() };
                core.note(at, "gives up (op)", [current.operation, 0, 0, 0]);
            }
            if core.plan.has(Mutant::WriteResent) {
                self.again(core);
            } else {
                self.finish(core);
            }
        }
    }

    fn finish(&mut self, core: &mut Core) {
        self.current = None;
        // Late replies and turns of this operation find another attempt.
        self.attempt += 1;
        if !self.stopped {
            // After the healing nobody dawdles: every group is waited for.
            let most = if core.healed { HASTE_US } else { core.plan.think_us };
            let pause = core.around(core.plan.think_us.min(most));
            core.after(pause, Event::ClientTurn { client: self.number, attempt: self.attempt });
        }
    }
}

/// The group that has the key, as far as is known: a split leaves its parent what is left of the cut.
fn newest<'a>(maps: &'a BTreeMap<Group, Map>, roots: &[Group], root: Group, key: &[u8]) -> Option<(Group, &'a Map)> {
    let has = |(group, map): &(&Group, &Map)| roots[**group] == root && map.descriptor.range.contains(key);
    let found = maps.iter().filter(has).max_by_key(|(_, map)| &map.descriptor.range.start);
    found.map(|(group, map)| (*group, map))
}

/// What the map service says of all groups of that root.
fn learn(maps: &mut BTreeMap<Group, Map>, core: &Core, root: Group) {
    let registry = &core.registry;
    for group in registry.born.iter().filter(|group| registry.roots[**group] == root) {
        let descriptor = &registry.descriptors[*group];
        let map = maps.entry(*group).or_insert_with(|| Map { descriptor: descriptor.clone(), leader: None });
        if map.descriptor.epoch < descriptor.epoch {
            map.descriptor = descriptor.clone();
        }
    }
}

fn ask(core: &mut Core, id: u64, operation: &Operation) -> Ask {
    let Operation { key, kind, expect, return_old, return_new, put, .. } = operation;
    let name = birth::key_name(*key);
    let encoded = core.keys[operation.root][*key].clone();
    let action = match kind {
        Kind::Read => return Ask::Read(encoded),
        Kind::Put => Action::Put(put.clone()),
        Kind::Delete => Action::Delete,
        Kind::Update => Action::Update {
            key_attributes: Item::from([(String::from("pk"), Value::S(name))]),
            update: Some(update(id)),
        },
    };
    Ask::Write(Box::new(WriteRequest {
        key: encoded,
        action,
        condition: condition(*expect),
        return_old: *return_old,
        return_new: *return_new,
        return_old_on_failure: true,
        request_id: Bytes::copy_from_slice(&id.to_be_bytes()),
    }))
}

fn placeholders(values: &[(&str, u64)]) -> Placeholders {
    let value = |(name, number): &(&str, u64)| (String::from(*name), Value::N(Number::from(*number)));
    Placeholders::new(BTreeMap::from([(String::from("#by"), String::from("by"))]), values.iter().map(value).collect())
}

fn update(id: u64) -> Update {
    Update::parse("SET #by = :id ADD n :one", &mut placeholders(&[(":id", id), (":one", 1)]))
        .expect("the clients' update is well formed")
}

fn condition(expect: Expect) -> Option<Condition> {
    let (text, values) = match expect {
        Expect::Nothing => return None,
        Expect::Absent => ("attribute_not_exists(#by)", vec![]),
        Expect::Present => ("attribute_exists(#by)", vec![]),
        Expect::By(id) => ("#by = :id", vec![(":id", id)]),
    };
    let parsed = Condition::parse("ConditionExpression", text, &mut placeholders(&values));
    Some(parsed.expect("the clients' conditions are well formed"))
}

fn attributes(core: &mut Core, key: usize, id: u64) -> Bytes {
    let padding = core.rng.index(200);
    let item = Item::from([
        (String::from("pk"), Value::S(birth::key_name(key))),
        (String::from("by"), Value::N(Number::from(id))),
        (String::from("n"), Value::N(Number::from(0))),
        (String::from("pad"), Value::S("x".repeat(padding))),
    ]);
    Bytes::from(model::item::encode_attributes(&item))
}

fn writer(attributes: &Bytes) -> Option<u64> {
    match model::item::decode_attributes(attributes).ok()?.get("by") {
        Some(Value::N(number)) => number.to_string().parse().ok(),
        Some(_) | None => None,
    }
}

fn ask_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Put => "is asked to put (op epoch)",
        Kind::Delete => "is asked to delete (op epoch)",
        Kind::Update => "is asked to update (op epoch)",
        Kind::Read => "is asked to read (op epoch)",
    }
}

fn refusal_name(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::NotLeader { .. } => "refused: not leader",
        Refusal::StaleEpoch { .. } => "refused: stale epoch",
        Refusal::Overloaded => "refused: overloaded",
        Refusal::Unknown => "refused: unknown",
        Refusal::TableGone => "refused: table gone",
        Refusal::NotReady => "refused: not ready",
        Refusal::Impossible { .. } => "refused: impossible",
        Refusal::ReadFailed => "refused: read failed",
    }
}
