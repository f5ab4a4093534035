//! A few replicas and their hosts in memory, for this crate's scenarios: every disk write, apply, read and message is an
//! explicit step that a scenario can hold back. No time, no randomness but repeatable luck.

mod host;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use model::{NodeId, PartitionId, ReplicaId, TableDescriptor, Zone};

pub(crate) use crate::cluster::host::{Disk, Host};
use crate::eraftpb::{Entry, MessageType};
use crate::fixture::{descriptor, table};
use crate::{
    Answer, AppliedMark, Effects, Envelope, GroupState, Input, MessageBody, NoPlace, Now, Options, Replica,
    SnapshotContent, Token, Wanted, WriteRequest,
};

pub(crate) struct Cluster {
    pub hosts: BTreeMap<u64, Host>,
    pub options: Options,
    pub network: VecDeque<Envelope>,
    /// Nothing travels from the first to the second.
    pub cut: BTreeSet<(u64, u64)>,
    pub answers: BTreeMap<Token, Answer>,
    pub confirmed: BTreeSet<Token>,
    /// From, to, and what.
    pub sent: Vec<(u64, u64, MessageType)>,
    tokens: u64,
    now: u64,
    snapshots: BTreeMap<(u64, u64), BTreeMap<Bytes, Bytes>>,
    /// A bad network, where there is one.
    pub weather: Option<Dice>,
    /// Every committed entry that was applied anywhere.
    pub history: BTreeMap<u64, Entry>,
    /// What was acknowledged when a read was asked for.
    pub promised: BTreeMap<Token, BTreeSet<Bytes>>,
    /// Who owes an answer.
    pub owed: BTreeMap<Token, u64>,
    /// What leaders have asked for, and by whom.
    pub places_wanted: Vec<(u64, Wanted)>,
}

/// A small generator of repeatable luck.
#[derive(Clone)]
pub(crate) struct Dice(pub u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }
}

impl Cluster {
    /// One voter in each zone, ids from 1, just born.
    pub(crate) fn born(zones: &[&str]) -> Cluster {
        Cluster::born_with(zones, Options { seed: 42, ..Options::default() })
    }

    pub(crate) fn born_with(zones: &[&str], options: Options) -> Cluster {
        let mut cluster = Cluster {
            hosts: BTreeMap::new(),
            options,
            network: VecDeque::new(),
            cut: BTreeSet::new(),
            answers: BTreeMap::new(),
            confirmed: BTreeSet::new(),
            sent: Vec::new(),
            tokens: 0,
            now: 1_000_000,
            snapshots: BTreeMap::new(),
            weather: None,
            history: BTreeMap::new(),
            promised: BTreeMap::new(),
            owed: BTreeMap::new(),
            places_wanted: Vec::new(),
        };
        for id in (1..).take(zones.len()) {
            let state = GroupState::birth(ReplicaId(id), descriptor(zones), table());
            let disk =
                Disk { state: Some(state.encode()), mark: Some(AppliedMark::birth().encode()), ..Disk::default() };
            cluster.add(id, disk);
        }
        cluster
    }

    /// With replica 1 as its serving leader.
    pub(crate) fn led(zones: &[&str]) -> Cluster {
        let mut cluster = Cluster::born(zones);
        cluster.elect(1);
        cluster
    }

    pub(crate) fn add(&mut self, id: u64, disk: Disk) {
        let host = Host { disk, ..Host::default() };
        self.hosts.insert(id, host);
        self.start(id, false);
    }

    pub(crate) fn start(&mut self, id: u64, tail_uncertain: bool) {
        let options = self.options.clone();
        let host = self.host(id);
        if host.disk.truncated.0 == 0 && host.disk.mark == Some(AppliedMark::birth().encode()) {
            host.disk.truncated = (crate::state::BIRTH_INDEX, crate::state::BIRTH_TERM);
        }
        let start = host.disk.start(ReplicaId(id), &options, tail_uncertain);
        host.replica = Some(Replica::start(start).unwrap());
    }

    /// What was not synced is gone, and so is what was on its way to the engine.
    pub(crate) fn crash(&mut self, id: u64) {
        self.owed.retain(|_, owes| *owes != id);
        let host = self.host(id);
        host.replica = None;
        if let Some((items, state, mark)) = host.disk.flushed.clone() {
            host.disk.items = items;
            host.disk.state = state;
            host.disk.mark = mark;
        }
        host.inputs.clear();
        host.appends.clear();
        host.applies.clear();
        host.reads.clear();
        host.install = None;
    }

    pub(crate) fn host(&mut self, id: u64) -> &mut Host {
        self.hosts.get_mut(&id).unwrap()
    }

    pub(crate) fn replica(&self, id: u64) -> &Replica {
        self.hosts[&id].replica.as_ref().unwrap()
    }

    pub(crate) fn leader(&self) -> u64 {
        let leads = |id: &u64| self.hosts[id].replica.as_ref().is_some_and(|replica| replica.status().serving);
        let leaders: Vec<u64> = self.hosts.keys().copied().filter(leads).collect();
        assert_eq!(leaders.len(), 1, "leaders: {leaders:?}");
        leaders[0]
    }

    /// Only this replica's clock runs until it leads.
    pub(crate) fn elect(&mut self, id: u64) {
        for _ in 0..200 {
            if self.replica(id).status().serving {
                return;
            }
            self.host(id).inputs.push(Input::Tick);
            self.settle();
        }
        panic!("replica {id} was not elected: {:?}", self.replica(id).status());
    }

    /// As if its leader had told it to take over.
    pub(crate) fn usurp(&mut self, id: u64) {
        let status = self.replica(id).status();
        let mut message = crate::eraftpb::Message::default();
        message.set_msg_type(MessageType::MsgTimeoutNow);
        message.term = status.term;
        message.from = status.leader.expect("a leader is known").0;
        message.to = id;
        let (from, to) = (ReplicaId(message.from), ReplicaId(id));
        self.host(id).inputs.push(Input::Message(Envelope { from, to, body: MessageBody::Raft(message) }));
        self.settle();
    }

    pub(crate) fn tick(&mut self, ticks: usize) {
        for _ in 0..ticks {
            self.tick_once(&[]);
            self.settle();
        }
    }

    /// The clocks of all but some.
    pub(crate) fn tick_once(&mut self, except: &[u64]) {
        for (id, host) in &mut self.hosts {
            if host.replica.is_some() && !except.contains(id) {
                host.inputs.push(Input::Tick);
            }
        }
    }

    pub(crate) fn isolate(&mut self, id: u64) {
        for other in self.hosts.keys().copied().filter(|&other| other != id) {
            self.cut.insert((id, other));
            self.cut.insert((other, id));
        }
    }

    pub(crate) fn heal(&mut self) {
        self.cut.clear();
    }

    pub(crate) fn token(&mut self) -> Token {
        self.tokens += 1;
        Token(self.tokens)
    }

    fn owed_by(&mut self, id: u64) -> Token {
        let token = self.token();
        self.owed.insert(token, id);
        token
    }

    /// The token is the request's id, so that the log tells whose write it is.
    pub(crate) fn write(&mut self, id: u64, mut request: WriteRequest) -> Token {
        let epoch = self.replica(id).descriptor().unwrap().epoch;
        let token = self.owed_by(id);
        request.request_id = Bytes::copy_from_slice(&token.0.to_be_bytes());
        self.host(id).inputs.push(Input::Write { token, epoch, request: Box::new(request) });
        token
    }

    pub(crate) fn confirm(&mut self, id: u64) -> Token {
        let epoch = self.replica(id).descriptor().unwrap().epoch;
        let token = self.owed_by(id);
        self.host(id).inputs.push(Input::Confirm { token, epoch });
        token
    }

    pub(crate) fn change(&mut self, id: u64, change: crate::Change) -> Token {
        let epoch = self.replica(id).descriptor().unwrap().epoch;
        let token = self.owed_by(id);
        self.host(id).inputs.push(Input::Change { token, epoch, change });
        token
    }

    pub(crate) fn split(&mut self, id: u64, at: &'static str) -> Token {
        let epoch = self.replica(id).descriptor().unwrap().epoch;
        let token = self.owed_by(id);
        let at = Bytes::from_static(at.as_bytes());
        self.host(id).inputs.push(Input::Split { token, epoch, at, child: PartitionId(78) });
        token
    }

    /// The group that the last split gave birth to, on the disks that have applied it.
    pub(crate) fn child(&self) -> Cluster {
        let mut cluster = Cluster::born(&[]);
        for (id, host) in &self.hosts {
            let Some((child, items)) = host.disk.children.last() else { continue };
            assert_eq!(child.replica.0, *id);
            let (state, mark) = (Some(child.state.clone()), Some(child.mark.clone()));
            let truncated = (crate::state::BIRTH_INDEX, crate::state::BIRTH_TERM);
            cluster.add(*id, Disk { items: items.clone(), state, mark, truncated, ..Disk::default() });
        }
        cluster
    }

    pub(crate) fn set_table(&mut self, id: u64, table: TableDescriptor) -> Token {
        let token = self.owed_by(id);
        self.host(id).inputs.push(Input::SetTable { token, table: Box::new(table) });
        token
    }

    /// Answers what was asked for last.
    pub(crate) fn place(&mut self, place: Result<(NodeId, Zone), NoPlace>) {
        let (id, wanted) = self.places_wanted.pop().expect("a place is wanted");
        self.places_wanted.clear();
        self.host(id).inputs.push(Input::Placed { wanted, place });
        self.settle();
    }

    pub(crate) fn transfer(&mut self, id: u64, to: u64) -> Token {
        let token = self.owed_by(id);
        self.host(id).inputs.push(Input::Transfer { token, to: ReplicaId(to) });
        token
    }

    pub(crate) fn answer(&self, token: Token) -> &Answer {
        self.answers.get(&token).unwrap_or_else(|| panic!("{token:?} has no answer"))
    }

    /// Until nothing happens any more, clocks standing still.
    pub(crate) fn settle(&mut self) {
        for _ in 0..10_000 {
            if !self.turn() {
                return;
            }
        }
        panic!("the cluster does not come to rest");
    }

    /// Every host takes a turn, then what was sent arrives. False where nothing happened.
    pub(crate) fn turn(&mut self) -> bool {
        let mut busy = false;
        for id in self.hosts.keys().copied().collect::<Vec<_>>() {
            self.host(id).finish_io();
            if !self.hosts[&id].inputs.is_empty() && self.hosts[&id].replica.is_some() {
                busy = true;
                self.step(id);
            }
        }
        for _ in 0..self.network.len() {
            let Some(envelope) = self.network.pop_front() else { break };
            match self.weather.as_mut().map_or(99, |dice| dice.roll(100)) {
                0..4 => self.lose(&envelope),
                4..8 => {
                    self.network.push_back(envelope.clone());
                    self.deliver(envelope);
                }
                8..30 => self.network.push_back(envelope),
                _ => self.deliver(envelope),
            }
        }
        busy || !self.network.is_empty()
    }

    pub(crate) fn step(&mut self, id: u64) {
        self.now += 10;
        let now = Now(self.now);
        let host = self.host(id);
        let Some(replica) = &mut host.replica else { return };
        let effects = replica.step(now, &mut host.inputs);
        replica.check();
        self.carry(id, effects);
    }

    fn carry(&mut self, id: u64, effects: Effects) {
        let Effects {
            reads,
            append,
            send,
            apply,
            answers,
            confirmed,
            fetch,
            snapshot_wanted,
            place_wanted,
            install,
            truncate,
            events,
            commit_untold,
        } = effects;
        self.host(id).commit_untold = commit_untold;
        for token in answers.iter().map(|(token, _)| token).chain(&confirmed) {
            self.owed.remove(token);
        }
        for (token, answer) in answers {
            assert!(self.answers.insert(token, answer).is_none(), "{token:?} was answered twice");
        }
        for token in &confirmed {
            let items = &self.hosts[&id].disk.items;
            let promised = self.promised.remove(token).unwrap_or_default();
            assert!(
                promised.iter().all(|key| items.contains_key(key)),
                "a confirmed read misses an acknowledged write"
            );
        }
        self.confirmed.extend(confirmed);
        if let Some(batch) = &apply {
            self.note_history(id, batch.index);
        }
        self.network.extend(send);
        if let Some(wanted) = place_wanted {
            self.places_wanted.push((id, wanted));
        }
        let received = install.map(|install| {
            let files = self.snapshots.get(&(id, install.index)).cloned();
            assert!(files.is_some() || !install.has_items, "the files came before the message");
            (install, files.unwrap_or_default())
        });
        let host = self.host(id);
        host.events.extend(events);
        host.appends.extend(append);
        host.applies.extend(apply);
        host.install = received;
        for read in reads {
            let item = host.disk.items.get(&read.key).cloned();
            host.reads.push_back((read.ticket, item));
        }
        for request in fetch {
            let entries = host.disk.fetch(&request);
            host.inputs.push(Input::Fetched { request, entries });
        }
        if let Some(index) = truncate {
            let term = host.disk.entries[&index].term;
            host.disk.truncated = (index, term);
            host.disk.entries = host.disk.entries.split_off(&(index + 1));
        }
        if let Some(to) = snapshot_wanted {
            host.finish_applies();
            let state = GroupState::decode(host.disk.state.clone().unwrap()).unwrap();
            let mark = AppliedMark::decode(host.disk.mark.clone().unwrap()).unwrap();
            let items = host.disk.items.clone();
            host.inputs.push(Input::SnapshotBuilt { to, content: SnapshotContent { state, mark } });
            self.snapshots.insert((to.0, mark.index), items);
        }
    }

    /// The host hears of a snapshot that did not arrive, and of nothing else.
    fn lose(&mut self, envelope: &Envelope) {
        if let MessageBody::Raft(message) = &envelope.body
            && message.get_msg_type() == MessageType::MsgSnapshot
            && let Some(host) = self.hosts.get_mut(&envelope.from.0)
        {
            host.inputs.push(Input::SnapshotSent { to: envelope.to, delivered: false });
        }
    }

    /// Nothing else is ever applied at that index.
    fn note_history(&mut self, id: u64, upto: u64) {
        let known = self.history.last_key_value().map_or(0, |(&index, _)| index);
        let entries = &self.hosts[&id].disk.entries;
        for (index, entry) in entries.range(..=upto) {
            match self.history.get(index) {
                Some(before) => assert_eq!(before, entry, "replica {id} applies another entry at {index}"),
                None if *index > known => drop(self.history.insert(*index, entry.clone())),
                None => {}
            }
        }
    }

    fn deliver(&mut self, envelope: Envelope) {
        let (from, to) = (envelope.from.0, envelope.to.0);
        if let MessageBody::Raft(message) = &envelope.body {
            self.sent.push((from, to, message.get_msg_type()));
            if message.get_msg_type() == MessageType::MsgSnapshot
                && let Some(host) = self.hosts.get_mut(&from)
            {
                let delivered = !self.cut.contains(&(from, to));
                host.inputs.push(Input::SnapshotSent { to: ReplicaId(to), delivered });
            }
        }
        if self.cut.contains(&(from, to)) {
            return;
        }
        if let Some(host) = self.hosts.get_mut(&to)
            && host.replica.is_some()
        {
            host.inputs.push(Input::Message(envelope));
        }
    }
}
