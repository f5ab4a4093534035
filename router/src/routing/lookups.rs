//! Look-ups in MemDS: one for every request, hit or miss, on one stream.
//!
//! A hit does not wait: its answer refreshes the cache behind it. An answer that says what is known already costs a
//! comparison of bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::stream::BoxStream;
use model::NodeId;
use tokio::runtime;
use tokio::sync::oneshot;
use wire::memds::{Lookup, LookupAnswer, LookupAnswerFrame, LookupFrame};

use super::cache::{Cache, Found, Leadership};
use super::connector::{Connector, Frames, Reply};
use super::pipe::{Lost, Pipe, Traffic};

pub(super) struct Lookups {
    pipe: Pipe<LookupTraffic>,
    addresses: Vec<Arc<str>>,
    /// The server that is asked; the next one when it fails.
    turn: Arc<AtomicUsize>,
}

/// What an answer said, beyond what it left in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// The server has heard of everything: what it does not know does not exist.
    pub complete: bool,
    pub has_table: bool,
}

struct LookupTraffic {
    connector: Arc<dyn Connector>,
    cache: Arc<Cache>,
    turn: Arc<AtomicUsize>,
}

struct Asked {
    /// The name that was asked for, unless `known` has it.
    table: Option<Box<str>>,
    /// What was known when it was asked.
    known: Found,
    waiter: Option<oneshot::Sender<Result<Said, Lost>>>,
}

impl Asked {
    fn name(&self) -> &str {
        match (&self.table, &self.known.table) {
            (Some(name), _) => name,
            (None, Some(known)) => &known.descriptor.name,
            (None, None) => "",
        }
    }
}

impl Lookups {
    pub fn new(
        connector: Arc<dyn Connector>,
        cache: Arc<Cache>,
        addresses: &[String],
        runtime: runtime::Handle,
    ) -> Lookups {
        let turn = Arc::new(AtomicUsize::new(0));
        let traffic = LookupTraffic { connector, cache, turn: Arc::clone(&turn) };
        let addresses = addresses.iter().map(|address| Arc::from(address.as_str())).collect();
        Lookups { pipe: Pipe::new(traffic, runtime), addresses, turn }
    }

    fn address(&self) -> Option<&Arc<str>> {
        let turn = self.turn.load(Ordering::Relaxed);
        self.addresses.get(turn.checked_rem(self.addresses.len())?)
    }

    /// Asks, and does not wait.
    pub fn refresh(&self, table: &str, key: Option<Bytes>, known: Found) {
        let Some(address) = self.address() else { return };
        let asked = Asked { table: known.table.is_none().then(|| Box::from(table)), known, waiter: None };
        // Where it is lost, the cache stays as it is.
        if let Ok(ticket) = self.pipe.ask(address, Lookup { id: 0, table: table.to_owned(), key }, asked) {
            ticket.detach();
        }
    }

    /// Asks, and waits until the answer is in the cache.
    pub async fn wait(&self, table: &str, key: Option<Bytes>) -> Result<Said, Lost> {
        let address = self.address().ok_or(Lost::NotSent)?;
        let (waiter, answer) = oneshot::channel();
        let asked = Asked { table: Some(Box::from(table)), known: Found::default(), waiter: Some(waiter) };
        let ticket = self.pipe.ask(address, Lookup { id: 0, table: table.to_owned(), key }, asked)?;
        let said = answer.await;
        drop(ticket);
        said.unwrap_or(Err(Lost::Broken))
    }
}

impl LookupTraffic {
    fn take_in(&self, asked: &Asked, answer: LookupAnswer) -> Said {
        let LookupAnswer { id: _, complete, table, partition, leader, term } = answer;
        let said = Said { complete, has_table: table.is_some() };
        match table {
            Some(encoded) => {
                if asked.known.table.as_ref().is_none_or(|known| known.encoded != encoded)
                    && let Err(error) = self.cache.put_table(encoded)
                {
                    tracing::warn!(%error, "memds answered a table that cannot be decoded");
                }
            }
            None if complete => self.cache.remove_table(asked.name()),
            None => {}
        }
        if let Some(encoded) = partition {
            let leadership = Leadership { leader: NodeId(leader), term };
            match asked.known.partition.as_ref().filter(|known| known.encoded == encoded) {
                Some(known) => known.hear_leader(leadership),
                None => {
                    if let Err(error) = self.cache.put_partition(encoded, leadership) {
                        tracing::warn!(%error, "memds answered a partition that cannot be decoded");
                    }
                }
            }
        }
        said
    }
}

impl Traffic for LookupTraffic {
    type Ask = Lookup;
    type AskFrame = LookupFrame;
    type Answer = LookupAnswer;
    type AnswerFrame = LookupAnswerFrame;
    type Waiter = Asked;

    fn open(&self, address: &str, asks: BoxStream<'static, LookupFrame>) -> Reply<Frames<LookupAnswerFrame>> {
        self.connector.lookup(address, asks)
    }

    fn number(ask: &mut Lookup, id: u64) {
        ask.id = id;
    }

    fn weight(ask: &Lookup) -> usize {
        32 + ask.table.len() + ask.key.as_ref().map_or(0, Bytes::len)
    }

    fn frame(lookups: Vec<Lookup>) -> LookupFrame {
        LookupFrame { lookups }
    }

    /// Who is asked again elsewhere has lost nothing: a server of the map just ends the stream.
    fn stops(_frame: &LookupAnswerFrame) -> bool {
        false
    }

    fn answers(&self, frame: LookupAnswerFrame) -> Vec<LookupAnswer> {
        let LookupAnswerFrame { answers, nodes } = frame;
        self.cache.put_nodes(nodes);
        answers
    }

    fn id(answer: &LookupAnswer) -> u64 {
        answer.id
    }

    fn answered(&self, mut asked: Asked, answer: LookupAnswer) {
        let said = self.take_in(&asked, answer);
        if let Some(waiter) = asked.waiter.take() {
            // Who asked may have gone.
            waiter.send(Ok(said)).ok();
        }
    }

    fn lost(&self, asked: Asked, lost: Lost) {
        if let Some(waiter) = asked.waiter {
            waiter.send(Err(lost)).ok();
        }
    }

    fn broken(&self) {
        self.turn.fetch_add(1, Ordering::Relaxed);
    }
}
