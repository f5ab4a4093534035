//! What a worker has on its desk beside its groups: what gathers during a turn and leaves in one push each.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{NodeId, PartitionId, ReplicaId};
use replica::{Child, Envelope, Install, Token};
use wire::data::refused::Reason;
use wire::raft::Message;

use crate::context::Context;
use crate::items::{ScanRequest, TurnBatch, WriteOutcome};
use crate::log::{Job, Work};
use crate::metrics::count;
use crate::registry::Claim;
use crate::service::data::{Answered, Call, Connection, REFUSAL_BYTES};
use crate::transport::convert;
use crate::transport::outbox::Outbox;
use crate::worker::command::Reply;
use crate::worker::inbox::Mail;
use crate::worker::places::Places;

/// How soon a batch that would have stalled is tried again.
const STALL_PAUSE: Duration = Duration::from_millis(1);
/// The same where the disk had no room: RocksDB looks for some every few seconds.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// Who waits for a token.
pub enum Waiter {
    Client { connection: Arc<Connection>, call: Call, asked: Asked },
    Command(Reply),
}

/// What a client asked.
pub enum Asked {
    Write,
    Get { key: bytes::Bytes },
    Scan(Box<ScanRequest>),
}

/// A waiter and its group.
pub struct Waiting {
    pub partition: PartitionId,
    pub waiter: Waiter,
}

/// A message that did not leave: its replica is told with the next tick.
#[derive(Clone, Copy, Debug)]
pub struct Undelivered {
    pub partition: PartitionId,
    pub to: ReplicaId,
}

struct Line {
    outbox: Arc<Outbox<Message>>,
    messages: Vec<(Message, usize)>,
}

struct Desktop {
    connection: Arc<Connection>,
    answers: Vec<(Answered, usize)>,
}

/// Why the items do not take what is to be applied: the batch is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stall {
    /// A moment: everybody waits.
    Busy,
    /// Perhaps for long: reads go on, writes are refused. Not tried again before then.
    NoRoom { until: Instant },
}

pub struct Desk {
    pub worker: usize,
    pub context: Arc<Context>,
    tokens: u64,
    waiting: HashMap<Token, Waiting>,
    lines: HashMap<NodeId, Line>,
    desktops: HashMap<u64, Desktop>,
    jobs: Vec<Job>,
    batch: TurnBatch,
    stall: Option<Stall>,
    /// Replicas that are no longer in their group.
    pub removed: Vec<PartitionId>,
    /// Groups whose followers may not know how far the log is committed.
    pub untold: BTreeSet<PartitionId>,
    pub places: Places,
    /// What replaces or clears a group's items, and so waits for what the group has applied before to be written.
    pub after_write: Vec<AfterWrite>,
    /// Right halves of splits that wait to be written, by the child.
    pub claims: BTreeMap<PartitionId, Claim>,
}

/// What a write has brought into the engine.
#[derive(Default)]
pub struct Written {
    pub applied: Vec<(PartitionId, u64)>,
    /// Children of splits, each with its parent.
    pub children: Vec<(PartitionId, Child)>,
}

/// Work on the pool that must not overtake a write.
pub enum AfterWrite {
    Install { partition: PartitionId, install: Box<Install> },
    Clear { partition: PartitionId },
}

impl Desk {
    pub fn new(worker: usize, context: Arc<Context>) -> Desk {
        Desk {
            worker,
            context,
            tokens: 0,
            waiting: HashMap::new(),
            lines: HashMap::new(),
            desktops: HashMap::new(),
            jobs: Vec::new(),
            batch: TurnBatch::default(),
            stall: None,
            removed: Vec::new(),
            untold: BTreeSet::new(),
            places: Places::default(),
            after_write: Vec::new(),
            claims: BTreeMap::new(),
        }
    }

    /// A token for someone who waits.
    pub fn wait(&mut self, partition: PartitionId, waiter: Waiter) -> Token {
        self.tokens += 1;
        let token = Token(self.tokens);
        self.waiting.insert(token, Waiting { partition, waiter });
        token
    }

    pub fn waiter(&mut self, token: Token) -> Option<Waiter> {
        self.waiting.remove(&token).map(|waiting| waiting.waiter)
    }

    /// Everyone who waits for a group that is no more.
    pub fn waiters_of(&mut self, partition: PartitionId) -> Vec<Waiter> {
        self.waiting.extract_if(|_, waiting| waiting.partition == partition).map(|(_, w)| w.waiter).collect()
    }

    pub fn answer(&mut self, connection: &Arc<Connection>, answered: Answered, size: usize) {
        let desktop = self
            .desktops
            .entry(connection.id)
            .or_insert_with(|| Desktop { connection: Arc::clone(connection), answers: Vec::new() });
        desktop.answers.push((answered, size));
    }

    pub fn refuse(&mut self, connection: &Arc<Connection>, call: Call, reason: Reason) {
        self.answer(connection, call.refuse(reason), REFUSAL_BYTES);
    }

    /// One push per connection.
    pub fn send_answers(&mut self) {
        for (_, mut desktop) in self.desktops.drain() {
            desktop.connection.answer(&mut desktop.answers);
        }
    }

    /// A message for another node.
    pub fn post(&mut self, node: NodeId, partition: PartitionId, envelope: Envelope) {
        let Some(message) = convert::to_wire(partition, envelope) else {
            self.context.metrics.garbage.inc();
            return;
        };
        self.post_wire(node, message);
    }

    /// What waits for this turn's end.
    /// As if the items had refused a batch.
    #[cfg(test)]
    pub fn refuse_items(&mut self) {
        self.stall = Some(Stall::NoRoom { until: Instant::now() + Duration::from_secs(600) });
    }

    #[cfg(test)]
    pub fn posted(&self, node: NodeId) -> Vec<Message> {
        let line = self.lines.get(&node);
        line.into_iter().flat_map(|line| &line.messages).map(|(message, _)| message.clone()).collect()
    }

    pub fn post_wire(&mut self, node: NodeId, message: Message) {
        let size = convert::wire_size(&message);
        let line = self
            .lines
            .entry(node)
            .or_insert_with(|| Line { outbox: self.context.links.outbox(node), messages: Vec::new() });
        line.messages.push((message, size));
    }

    /// One push per node; what did not leave comes back.
    pub fn send_messages(&mut self) -> Vec<Undelivered> {
        let mut undelivered = Vec::new();
        for line in self.lines.values_mut() {
            if line.messages.is_empty() {
                continue;
            }
            line.outbox.push(&mut line.messages);
            self.context.metrics.raft_dropped.inc_by(count(line.messages.len()));
            undelivered.extend(line.messages.drain(..).map(|(message, _)| Undelivered {
                partition: PartitionId(message.partition),
                to: ReplicaId(message.to),
            }));
        }
        undelivered
    }

    pub fn log(&mut self, partition: PartitionId, work: Work) {
        if let Work::Append(append) = &work {
            self.context.metrics.entries.inc_by(count(append.entries.len()));
        }
        self.jobs.push(Job { worker: self.worker, partition, work });
    }

    /// One hand-over to the log writer.
    pub fn send_jobs(&mut self) {
        if !self.jobs.is_empty() {
            self.context.metrics.log_jobs.inc_by(count(self.jobs.len()));
            let bytes = self.context.log.submit(std::mem::take(&mut self.jobs));
            self.context.room.spend(bytes);
        }
    }

    pub fn apply(&mut self, partition: PartitionId, table: model::TableId, batch: replica::ApplyBatch) {
        self.batch.add(partition, table, batch);
    }

    /// When a batch that was kept is tried again.
    pub fn retries(&self) -> Option<Instant> {
        self.stall.map(|stall| match stall {
            Stall::Busy => Instant::now() + STALL_PAUSE,
            Stall::NoRoom { until } => until,
        })
    }

    /// The items cannot take more for a moment: no request is admitted.
    pub fn stalled(&self) -> bool {
        self.stall == Some(Stall::Busy)
    }

    /// The items cannot take more while the disk is as it is: no write is admitted.
    pub fn lacks_room(&self) -> bool {
        matches!(self.stall, Some(Stall::NoRoom { .. }))
    }

    /// What may go on now: everything applied before it is written.
    pub fn written(&mut self) -> Vec<AfterWrite> {
        if self.batch.is_empty() { std::mem::take(&mut self.after_write) } else { Vec::new() }
    }

    /// Whatever has been applied is in the engine.
    pub fn has_written_all(&self) -> bool {
        self.batch.is_empty()
    }

    /// Nothing that this group has applied is written any more.
    pub fn leave_out(&mut self, partition: PartitionId) {
        for child in self.batch.leave_out(partition) {
            self.claims.remove(&child);
        }
    }

    /// One write for all groups.
    pub fn write_items(&mut self) -> Written {
        let too_early = matches!(self.stall, Some(Stall::NoRoom { until }) if Instant::now() < until);
        if self.batch.is_empty() || too_early {
            return Written::default();
        }
        match self.context.items.write(&self.batch) {
            Ok(WriteOutcome::Unreadable(partition)) => {
                self.leave_out(partition);
                self.context.inboxes.push(self.worker, Mail::Corrupt(partition));
                self.write_items()
            }
            Ok(WriteOutcome::Written) => {
                self.stall = None;
                self.context.metrics.apply_batches.inc();
                let written = Written { applied: self.batch.applied().collect(), children: self.batch.take_children() };
                self.batch.clear();
                written
            }
            Ok(WriteOutcome::Stalled) => {
                self.stall = Some(Stall::Busy);
                self.context.metrics.stalls.inc();
                Written::default()
            }
            Ok(WriteOutcome::NoRoom) => {
                self.stall = Some(Stall::NoRoom { until: Instant::now() + REFUSED_PAUSE });
                self.context.room.refused();
                Written::default()
            }
            Err(error) => self.context.give_up("apply to the items", &error),
        }
    }
}
