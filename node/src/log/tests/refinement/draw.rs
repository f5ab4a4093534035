//! Operations as a replica's host makes them, in the words of the model and of the log.

use std::rc::Rc;

use bytes::Bytes;
use model::{KeyRange, PartitionDescriptor, PartitionId, ReplicaId, TableId};
use replica::eraftpb::{Entry, HardState};
use replica::state::{BIRTH_INDEX, BIRTH_TERM};
use replica::{Append, Install};
use sim::disk::engine::Contents;
use sim::disk::log::{GroupLog, Operation, Received};
use sim::rng::Rng;

use crate::log::Work;

pub struct Drawn {
    pub operations: Vec<Operation>,
    pub works: Vec<Work>,
    /// Whether it must be synced before it is told.
    pub sync: bool,
}

impl Drawn {
    /// The replica votes, and does not have yet what it may have lost.
    fn doubt(&mut self) {
        for work in &mut self.works {
            if let Work::Append(append) = work {
                append.doubted = true;
                self.operations = vec![Operation::Append(Rc::new(append.clone()))];
            }
        }
    }
}

/// Something that may happen to a group whose log is this.
pub fn draw(rng: &mut Rng, log: &GroupLog) -> Option<Drawn> {
    let Some(replica) = log.identity else { return Some(begin(rng, log)) };
    if log.receiving.is_some() {
        return rng.permille(600).then(|| installed(rng, log)).flatten();
    }
    match rng.range(0, 100) {
        0..60 if log.last_index() > 0 => Some(append(rng, log)),
        60..75 => Some(vote(rng, log)),
        75..80 => told(log),
        80..88 => truncate(rng, log),
        88..95 => Some(receiving(rng, log)),
        95..98 => Some(retire(replica)),
        _ => None,
    }
}

fn begin(rng: &mut Rng, log: &GroupLog) -> Drawn {
    let replica = ReplicaId(log.lowest.max(1) + rng.range(0, 2));
    let identity = Operation::Identity(replica);
    let accept = Work::AcceptFrom { replica };
    if rng.permille(400) {
        return Drawn { operations: vec![identity], works: vec![accept], sync: true };
    }
    let (index, term) = (BIRTH_INDEX, BIRTH_TERM);
    let hard_state = HardState { term, commit: index, ..HardState::default() };
    let born = Operation::Installed { index, term, hard_state: hard_state.clone() };
    Drawn { operations: vec![identity, born], works: vec![accept, Work::Birth { index, term, hard_state }], sync: true }
}

fn append(rng: &mut Rng, log: &GroupLog) -> Drawn {
    let floor = log.truncated_index.max(log.hard_state.commit) + 1;
    let last = log.last_index();
    let from = if rng.permille(200) { rng.range(floor, last + 2) } else { last + 1 }.max(log.truncated_index + 1);
    let before = log.term(from - 1).unwrap_or_default();
    let mut hard_state = log.hard_state.clone();
    let term = before.max(hard_state.term) + u64::from(from <= last || rng.permille(100));
    let entry = |index: u64, rng: &mut Rng| {
        let context = Bytes::from(bytes(rng, 3));
        let len = if rng.permille(80) { 12_000 } else { 120 };
        Entry { index, term, data: Bytes::from(bytes(rng, len)), context, ..Entry::default() }
    };
    let entries = (from..from + 1 + rng.range(0, 4)).map(|index| entry(index, rng)).collect();
    let moved = term > hard_state.term;
    if moved {
        (hard_state.term, hard_state.vote) = (term, 0);
    }
    hard_state.commit = hard_state.commit.max(rng.range(floor - 1, from));
    let hard_state = (moved || rng.permille(500)).then_some(hard_state);
    hand_over(entries, hard_state, true)
}

/// A vote, or a new term without one.
fn vote(rng: &mut Rng, log: &GroupLog) -> Drawn {
    let mut hard_state = log.hard_state.clone();
    hard_state.term += rng.range(0, 3) + u64::from(hard_state.vote != 0 || hard_state.term == 0);
    hard_state.vote = rng.range(0, 4);
    let mut drawn = hand_over(Vec::new(), Some(hard_state), true);
    if rng.permille(200) {
        drawn.doubt();
    }
    drawn
}

/// Only the commit index moves.
fn told(log: &GroupLog) -> Option<Drawn> {
    let mut hard_state = log.hard_state.clone();
    if hard_state.commit >= log.last_index() {
        return None;
    }
    hard_state.commit += 1;
    Some(hand_over(Vec::new(), Some(hard_state), false))
}

fn hand_over(entries: Vec<Entry>, hard_state: Option<HardState>, must_sync: bool) -> Drawn {
    let append = Append { number: 0, entries, hard_state, must_sync, doubted: false };
    Drawn {
        operations: vec![Operation::Append(Rc::new(append.clone()))],
        works: vec![Work::Append(append)],
        sync: must_sync,
    }
}

fn truncate(rng: &mut Rng, log: &GroupLog) -> Option<Drawn> {
    if log.entries.is_empty() {
        return None;
    }
    let upto = rng.range(log.truncated_index + 1, log.last_index() + 1);
    Some(Drawn { operations: vec![Operation::Truncate(upto)], works: vec![Work::Truncate { upto }], sync: false })
}

fn receiving(rng: &mut Rng, log: &GroupLog) -> Drawn {
    let index = log.last_index().max(BIRTH_INDEX) + rng.range(1, 9);
    let term = log.hard_state.term.max(BIRTH_TERM);
    let descriptor = PartitionDescriptor::birth(PartitionId(1), TableId(1), KeyRange::ALL, []);
    let (state, mark) = (Bytes::new(), Bytes::new());
    let install = Install { index, term, state, mark, hard_state: HardState::default(), descriptor, has_items: true };
    let received = Received { install, contents: Contents::default() };
    Drawn {
        operations: vec![Operation::Receiving(Rc::new(received))],
        works: vec![Work::Receiving { index, manifest: None }],
        sync: true,
    }
}

fn installed(rng: &mut Rng, log: &GroupLog) -> Option<Drawn> {
    let Install { index, term, .. } = log.receiving.as_ref()?.install;
    let term_now = log.hard_state.term.max(term) + rng.range(0, 2);
    let hard_state = HardState { term: term_now, commit: index, ..HardState::default() };
    Some(Drawn {
        operations: vec![Operation::Installed { index, term, hard_state: hard_state.clone() }],
        works: vec![Work::Received { index, term, hard_state }],
        sync: true,
    })
}

pub fn retire(replica: ReplicaId) -> Drawn {
    let lowest = ReplicaId(replica.0 + 1);
    Drawn {
        operations: vec![Operation::Retire { lowest: lowest.0 }],
        works: vec![Work::AcceptFrom { replica: lowest }, Work::Remove],
        sync: true,
    }
}

/// Up to so many bytes, half of them easy to compress.
fn bytes(rng: &mut Rng, most: u64) -> Vec<u8> {
    let len = rng.index(usize::try_from(most).unwrap() + 1);
    let noise = rng.draw();
    (0..len).map(|at| if at % 2 == 0 { 7 } else { (noise >> (at % 57)).to_le_bytes()[0] }).collect()
}
