//! Read-index rounds: what turns "I lead" into "I led when you asked".
//!
//! One round is in flight at a time; whoever arrives meanwhile shares the next. A round confirms an index; what waits is due
//! when the engine has applied it. Strong reads wait here, and so do answers that tell of a read: failed conditions and writes
//! that change nothing.

use std::collections::BTreeMap;

use crate::raft_core::Core;
use crate::{Answer, Token};

#[derive(Default)]
pub(crate) struct Rounds {
    begun: u64,
    waiting: Vec<Reader>,
    in_flight: Option<(u64, Vec<Reader>)>,
    /// By the index that must be applied first.
    confirmed: BTreeMap<u64, Vec<Reader>>,
}

/// A strong read, or an answer that needs a read's confirmation.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reader {
    pub token: Token,
    pub answer: Option<Answer>,
    /// The overlaid write that the answer has seen.
    pub seen: u64,
}

impl Rounds {
    /// A map that was filled keeps a node when it is empty.
    pub(crate) fn shrink(&mut self) {
        self.waiting.shrink_to_fit();
        if self.confirmed.is_empty() {
            self.confirmed = BTreeMap::new();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.in_flight.is_none() && self.confirmed.is_empty()
    }

    pub(crate) fn has_room(&self, readers: usize) -> bool {
        self.waiting.len() < readers
    }

    /// A round that begins from now on will do.
    pub(crate) fn ask(&mut self, reader: Reader) {
        self.waiting.push(reader);
    }

    /// Begins a round if one is needed and none is under way; returns those whom raft would not begin one for.
    pub(crate) fn begin(&mut self, core: &mut Core) -> Vec<Reader> {
        if self.waiting.is_empty() || self.in_flight.is_some() {
            return Vec::new();
        }
        let readers = std::mem::take(&mut self.waiting);
        self.begun += 1;
        if !core.read_index(self.begun) {
            return readers;
        }
        self.in_flight = Some((self.begun, readers));
        Vec::new()
    }

    /// The round has its quorum: leadership held when it began, and `index` was committed then.
    pub(crate) fn confirm(&mut self, round: u64, index: u64) {
        if self.in_flight.as_ref().is_none_or(|(begun, _)| *begun != round) {
            return;
        }
        let (_, readers) = self.in_flight.take().expect("just seen");
        for reader in readers {
            self.confirmed.entry(index.max(reader.seen)).or_default().push(reader);
        }
    }

    /// Strong reads of this state, answers not counted: whoever asked may ask again elsewhere.
    pub(crate) fn withdraw_reads(&mut self) -> Vec<Token> {
        let in_flight = self.in_flight.iter_mut().map(|(_, readers)| readers);
        let all = in_flight.chain(self.confirmed.values_mut()).chain([&mut self.waiting]);
        let reads = all.flat_map(|readers| readers.extract_if(.., |reader| reader.answer.is_none()));
        reads.map(|reader| reader.token).collect()
    }

    pub(crate) fn take_due(&mut self, applied: u64) -> Vec<Reader> {
        if self.confirmed.first_key_value().is_none_or(|(&index, _)| index > applied) {
            return Vec::new();
        }
        let later = self.confirmed.split_off(&(applied + 1));
        std::mem::replace(&mut self.confirmed, later).into_values().flatten().collect()
    }

    pub(crate) fn tokens(self) -> impl Iterator<Item = Token> {
        let in_flight = self.in_flight.into_iter().flat_map(|(_, readers)| readers);
        let confirmed = self.confirmed.into_values().flatten();
        self.waiting.into_iter().chain(in_flight).chain(confirmed).map(|reader| reader.token)
    }
}
