//! Bad luck of every kind at once, in small: the simulator's little sister, for those who change this crate.
//!
//! Safety at every step: one entry per index, no confirmed read without what was acknowledged before it, invariants of each
//! replica. Then everything heals, and there must be one leader, equal replicas, and every acknowledged write.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use model::{NodeId, ReplicaId, ReplicaKind, ReplicaRole, Zone};

use super::ZONES;
use crate::cluster::{Cluster, Dice, Disk};
use crate::entry::{Body, LogEntry};
use crate::eraftpb::Entry;
use crate::fixture::{item_of, put, write_request};
use crate::{Action, Answer, Change, Event, Input, Refusal, Token};

struct Chaos {
    cluster: Cluster,
    dice: Dice,
    written: BTreeMap<Token, (Bytes, String)>,
    /// Writes of a few keys, each with the old item in its answer.
    hot: BTreeSet<Token>,
    down: BTreeSet<u64>,
}

impl Chaos {
    fn new(seed: u64) -> Chaos {
        let mut cluster = Cluster::born(&ZONES);
        cluster.options.seed = seed;
        cluster.options.cache_bytes = 3_000;
        cluster.options.log_bytes = 8_000;
        for id in 1..=3 {
            cluster.host(id).disk.flush();
            cluster.crash(id);
            cluster.start(id, false);
        }
        cluster.weather = Some(Dice(seed.wrapping_mul(0x9e37_79b9) | 1));
        let dice = Dice(seed.wrapping_add(77) | 1);
        Chaos { cluster, dice, written: BTreeMap::new(), hot: BTreeSet::new(), down: BTreeSet::new() }
    }

    fn any_live(&mut self) -> Option<u64> {
        let live: Vec<u64> = self.cluster.hosts.keys().copied().filter(|id| !self.down.contains(id)).collect();
        let live: Vec<u64> = live.into_iter().filter(|id| self.cluster.replica(*id).descriptor().is_some()).collect();
        let index = usize::try_from(self.dice.roll(live.len().max(1) as u64)).unwrap();
        live.get(index).copied()
    }

    fn leader(&self) -> Option<u64> {
        let live = self.cluster.hosts.keys().copied().filter(|id| !self.down.contains(id));
        live.filter(|&id| self.cluster.replica(id).status().serving)
            .max_by_key(|&id| self.cluster.replica(id).status().term)
    }

    fn act(&mut self) {
        match self.dice.roll(100) {
            0..30 => {
                // Clocks drift.
                let slow = self.dice.roll(10);
                self.cluster.tick_once(&[slow]);
            }
            30..60 => self.write(),
            60..70 => self.read(),
            70..72 => self.crash_one(),
            72..78 => self.restart_one(),
            78..80 => {
                if let Some(id) = self.any_live() {
                    self.cluster.isolate(id);
                }
            }
            80..84 => self.cluster.heal(),
            84..89 => self.hold(),
            89..93 => self.flush(),
            93..97 => self.change(),
            _ => self.transfer(),
        }
        for _ in 0..=self.dice.roll(3) {
            self.cluster.turn();
        }
        self.retire();
    }

    fn write(&mut self) {
        let Some(id) = self.leader().or_else(|| self.any_live()) else { return };
        for _ in 0..=self.dice.roll(6) {
            let key = format!("hot{}", self.dice.roll(3));
            let value = format!("{}", self.dice.roll(1_000_000));
            let mut request = match self.dice.roll(4) {
                0 => write_request(&key, Action::Delete),
                _ => put(&key, &value),
            };
            request.return_old = true;
            let token = self.cluster.write(id, request);
            self.hot.insert(token);
        }
        for _ in 0..=self.dice.roll(4) {
            let key = format!("k{}", self.written.len());
            let value = "v".repeat(usize::try_from(self.dice.roll(400)).unwrap());
            let token = self.cluster.write(id, put(&key, &value));
            self.written.insert(token, (Bytes::from(key), value));
        }
    }

    fn acknowledged(&self) -> impl Iterator<Item = &(Bytes, String)> {
        self.written.iter().filter_map(|(token, write)| {
            matches!(self.cluster.answers.get(token), Some(Answer::Written { .. })).then_some(write)
        })
    }

    fn read(&mut self) {
        let Some(id) = self.any_live() else { return };
        let promised = self.acknowledged().map(|(key, _)| key.clone()).collect();
        let token = self.cluster.confirm(id);
        self.cluster.promised.insert(token, promised);
    }

    fn crash_one(&mut self) {
        if let Some(id) = self.any_live() {
            self.cluster.crash(id);
            self.down.insert(id);
        }
    }

    fn restart_one(&mut self) {
        if let Some(id) = self.down.pop_first() {
            let uncertain = self.dice.roll(3) == 0;
            self.cluster.start(id, uncertain);
        }
    }

    fn hold(&mut self) {
        if let Some(id) = self.any_live() {
            let bits = self.dice.roll(8);
            let hold = &mut self.cluster.host(id).hold;
            (hold.appends, hold.applies, hold.reads) = (bits & 1 == 1, bits & 2 == 2, bits & 4 == 4);
        }
    }

    fn flush(&mut self) {
        if let Some(id) = self.any_live() {
            let index = self.cluster.host(id).disk.flush();
            self.cluster.host(id).inputs.push(Input::Flushed { index });
        }
    }

    fn transfer(&mut self) {
        if let (Some(leader), Some(to)) = (self.leader(), self.any_live()) {
            self.cluster.transfer(leader, to);
        }
    }

    /// The next step of a replica's move, whatever it is.
    fn change(&mut self) {
        let Some(leader) = self.leader() else { return };
        let descriptor = self.cluster.replica(leader).descriptor().unwrap().clone();
        let learner = descriptor.replicas.iter().rfind(|replica| replica.role == ReplicaRole::Learner);
        let other = descriptor.replicas.iter().find(|replica| replica.id.0 != leader).unwrap();
        let change = match learner {
            None => {
                let id = descriptor.next_replica.0;
                let zone = Zone(ZONES[usize::try_from(id % 3).unwrap()].to_owned());
                if !self.cluster.hosts.contains_key(&id) {
                    self.cluster.add(id, Disk { flushed: Some(Default::default()), ..Disk::default() });
                }
                Change::add(NodeId(100 + id), zone, ReplicaKind::Storage)
            }
            Some(learner) if self.dice.roll(3) == 0 => Change::remove(learner.id),
            Some(learner) => Change::swap(learner.id, other.id),
        };
        self.cluster.change(leader, change);
    }

    /// Hosts of removed replicas retire them.
    fn retire(&mut self) {
        let removed = |host: &crate::cluster::Host| host.replica.is_some() && host.events.contains(&Event::Removed);
        let gone: Vec<u64> = self.cluster.hosts.iter().filter(|(_, host)| removed(host)).map(|(id, _)| *id).collect();
        for id in gone {
            self.cluster.crash(id);
            self.cluster.hosts.remove(&id);
            self.down.remove(&id);
        }
    }

    fn heal(&mut self) {
        self.cluster.weather = None;
        self.cluster.heal();
        while !self.down.is_empty() {
            self.restart_one();
        }
        for host in self.cluster.hosts.values_mut() {
            host.hold = Default::default();
        }
        for _ in 0..200 {
            self.cluster.tick(1);
            self.retire();
        }
    }

    fn judge(&mut self) {
        let leader = self.cluster.leader();
        let descriptor = self.cluster.replica(leader).descriptor().unwrap().clone();
        assert!(!self.cluster.replica(leader).status().in_joint_change, "the joint change is not left");
        let items = self.cluster.hosts[&leader].disk.items.clone();
        for (key, value) in self.acknowledged() {
            let text = std::str::from_utf8(key).unwrap();
            assert_eq!(items.get(key), Some(&item_of(&[("pk", text), ("v", value)])), "{text} was acknowledged");
        }
        let applied = self.cluster.replica(leader).status().applied;
        for ReplicaId(id) in descriptor.replicas.iter().map(|replica| replica.id) {
            assert_eq!(self.cluster.replica(id).status().applied, applied, "replica {id} lags");
            assert_eq!(self.cluster.hosts[&id].disk.items, items, "replica {id} differs");
        }
        let token = self.cluster.write(leader, put("last", "one"));
        self.cluster.settle();
        assert!(matches!(self.cluster.answer(token), Answer::Written { .. }));
        assert!(self.cluster.owed.is_empty(), "without an answer: {:?}", self.cluster.owed);
        self.judge_by_history();
    }

    /// The log in its order is what happened: every answer must agree with it.
    fn judge_by_history(&self) {
        let applied = replay(&self.cluster.history);
        for (token, answer) in &self.cluster.answers {
            let happened = applied.get(token);
            match answer {
                Answer::Written { old, .. } if self.hot.contains(token) => match happened {
                    Some(before) => assert_eq!(old, before, "{token:?} saw another item"),
                    None => assert_eq!(old, &None, "{token:?} has changed something and is not in the log"),
                },
                Answer::Refused(Refusal::Unknown) | Answer::Done | Answer::Written { .. } => {}
                Answer::Refused(_) | Answer::ConditionFailed { .. } | Answer::Invalid { .. } => {
                    assert_eq!(happened, None, "{token:?} was refused and applied: {answer:?}");
                }
            }
        }
    }
}

/// Which requests were applied, in log order, and what each found.
fn replay(history: &BTreeMap<u64, Entry>) -> BTreeMap<Token, Option<Bytes>> {
    let mut items: BTreeMap<Bytes, Bytes> = BTreeMap::new();
    let mut applied = BTreeMap::new();
    for entry in history.values().filter(|entry| entry.context.is_empty() && !entry.data.is_empty()) {
        let decoded = LogEntry::decode(entry.data.clone()).unwrap();
        let Body::Writes(writes) = decoded.body else { continue };
        assert_eq!(decoded.evaluation_term, entry.term);
        for write in writes {
            let token = Token(u64::from_be_bytes(write.request_id.as_ref().try_into().unwrap()));
            let before = match write.after {
                Some(after) => items.insert(write.key, after),
                None => items.remove(&write.key),
            };
            assert_eq!(applied.insert(token, before), None, "{token:?} was applied twice");
        }
    }
    applied
}

fn run(seed: u64) -> usize {
    let mut chaos = Chaos::new(seed);
    for _ in 0..600 {
        chaos.act();
    }
    chaos.heal();
    chaos.judge();
    chaos.acknowledged().count()
}

#[test]
fn bad_luck_of_every_kind_loses_nothing_and_is_survived() {
    let seeds = std::env::var("SEEDS").map_or(60, |seeds| seeds.parse().unwrap());
    let first = std::env::var("SEED").map_or(1, |seed| seed.parse().unwrap());
    let mut acknowledged = 0;
    for seed in first..first + seeds {
        println_seed(seed);
        acknowledged += run(seed);
    }
    assert!(acknowledged > 20, "nothing was written at all");
}

#[expect(clippy::print_stderr, reason = "the seed of a failing run is what one needs to see")]
fn println_seed(seed: u64) {
    eprintln!("SEED={seed} SEEDS=1 cargo test --release -p replica bad_luck");
}
