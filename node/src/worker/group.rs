//! One group on its worker: the replica, and what the host keeps beside it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use model::units::Consumption;
use model::{NodeId, PartitionId, ReplicaId, TableId};
use replica::{FetchRequest, Input, Replica};
use tokio::sync::oneshot;
use wire::data::Request;

use crate::meter::Meter;
use crate::registry::{Admitted, Claim, Summary};
use crate::service::data::Connection;
use crate::snapshot::{Outgoing, Received};
use crate::worker::command::CommandError;

/// A client's request that waits for its group's turn.
pub struct Queued {
    pub connection: Arc<Connection>,
    pub received: Instant,
    pub request: Request,
    pub bytes: usize,
}

/// Most requests and bytes that wait for one group's turn; more are refused.
pub const QUEUED_REQUESTS: usize = 512;
pub const QUEUED_BYTES: usize = 4 << 20;

/// What the host does with a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Running,
    /// A snapshot replaces its items: nothing reads them.
    Installing,
    /// Its log and data are being removed: nothing reaches the replica any more.
    Retiring,
}

pub struct Group {
    pub partition: PartitionId,
    pub replica: Replica,
    pub phase: Phase,
    /// How often the disk did not read for it: since it heard of this leader, and since a fetch of the log succeeded.
    pub failed_reads: u32,
    /// What happened since the last step.
    pub inputs: Vec<Input>,
    pub queue: VecDeque<Queued>,
    pub queued_bytes: usize,
    /// It stands in the worker's list of groups with work.
    pub scheduled: bool,
    /// The last tick waits among the inputs. One that a busy worker could not take is not made up for: several at once would
    /// be an election time-out in which nobody was heard.
    pub tick_waits: bool,
    /// It stands in the worker's list of groups that are given ticks.
    pub ticked: bool,
    /// It stands in the worker's queue of groups that are to wake, because these have lost their node, or its start.
    pub is_waking: bool,
    pub lost: Vec<ReplicaId>,
    /// Where messages came from of replicas that the descriptor does not place: tells an empty one, which has none, whom it answers.
    pub routes: BTreeMap<ReplicaId, NodeId>,
    /// To be told with the next tick; telling at once could send in a circle.
    pub unreachable: BTreeSet<ReplicaId>,
    /// Reads of the log that the pool did not take: tried again with the next tick.
    pub fetches: Vec<FetchRequest>,
    /// The followers do not know how far the log is committed.
    pub commit_untold: bool,
    /// Built for these replicas.
    pub outgoing: BTreeMap<ReplicaId, Arc<Outgoing>>,
    /// Files that have arrived and wait for their message.
    pub received: Option<Received>,
    /// Ticks that they have waited.
    pub received_ticks: u32,
    /// Of the range that they bring, until the group has it.
    pub claim: Option<Claim>,
    pub summary: Summary,
    /// The last applied index told to the replica, and the last one told to be flushed.
    pub applied: u64,
    pub flushed: u64,
    /// Ticks since a message of the group came.
    pub silent_ticks: u32,
    /// Empty, and perhaps about to be born: ticks that are left to it (`children`).
    pub awaits_birth: u32,
    /// The child of a split that is to lead first: ticks since its birth.
    pub stands: Option<u32>,
    /// Written to since it was last given to be counted; always, where it does not lead.
    pub uncounted: bool,
    /// Once somebody has consumed something.
    meter: Option<Arc<Meter>>,
    /// Told when a retiring group is gone.
    pub when_gone: Vec<oneshot::Sender<Result<(), CommandError>>>,
}

impl Group {
    pub fn new(partition: PartitionId, replica: Replica) -> Group {
        let status = replica.status();
        let summary = Summary {
            replica: status.replica,
            descriptor: replica.descriptor().cloned().map(Arc::new),
            table: replica.table().cloned().map(Arc::new),
            leader: status.leader,
            term: status.term,
            serving: status.serving,
            readable: true,
        };
        Group {
            partition,
            replica,
            phase: Phase::Running,
            failed_reads: 0,
            inputs: Vec::new(),
            queue: VecDeque::new(),
            queued_bytes: 0,
            scheduled: false,
            tick_waits: false,
            ticked: false,
            is_waking: false,
            lost: Vec::new(),
            routes: BTreeMap::new(),
            unreachable: BTreeSet::new(),
            fetches: Vec::new(),
            commit_untold: false,
            outgoing: BTreeMap::new(),
            received: None,
            received_ticks: 0,
            claim: None,
            summary,
            applied: status.applied,
            flushed: 0,
            silent_ticks: 0,
            awaits_birth: 0,
            stands: None,
            uncounted: true,
            meter: None,
            when_gone: Vec::new(),
        }
    }

    /// For what is being answered.
    pub fn meter(&mut self) -> &Arc<Meter> {
        self.meter.get_or_insert_with(|| Arc::new(Meter::new(Instant::now())))
    }

    pub fn consumption(&self) -> Option<Consumption> {
        self.meter.as_ref().map(|meter| meter.consumption(Instant::now()))
    }

    /// The table, once the group has a descriptor.
    pub fn table_id(&self) -> Option<TableId> {
        self.summary.table_id()
    }

    /// What a read of the applied state is admitted by; none before there is one, and while it is replaced or cleared.
    pub fn admitted(&self) -> Option<Admitted> {
        let descriptor = self.summary.descriptor.as_ref().filter(|_| self.phase == Phase::Running)?;
        Some(Admitted { partition: self.partition, replica: self.summary.replica, epoch: descriptor.epoch })
    }

    /// The node of another replica of the group.
    pub fn node_of(&self, replica: ReplicaId) -> Option<NodeId> {
        let described = self.summary.descriptor.as_ref().and_then(|descriptor| descriptor.replica(replica));
        described.map(|replica| replica.node).or_else(|| self.routes.get(&replica).copied())
    }

    /// Files that have arrived are not wanted any more.
    pub fn forget_received(&mut self) {
        self.received = None;
        self.claim = None;
    }

    pub fn leads(&self) -> bool {
        self.summary.leader == Some(self.summary.replica)
    }

    /// Whether time means anything to it. Files that wait for their message do not wait for ever.
    pub fn wants_ticks(&self) -> bool {
        self.phase != Phase::Retiring && (!self.replica.is_asleep() || self.received.is_some())
    }

    /// Gives back what its queues have set aside.
    pub fn shrink(&mut self) {
        self.inputs.shrink_to_fit();
        self.queue.shrink_to_fit();
        self.fetches.shrink_to_fit();
        self.lost.shrink_to_fit();
        self.when_gone.shrink_to_fit();
        // A map or a set that was filled keeps a node when it is empty.
        if self.unreachable.is_empty() {
            self.unreachable = BTreeSet::new();
        }
        if self.outgoing.is_empty() {
            self.outgoing = BTreeMap::new();
        }
    }

    /// There is something to step with, or requests to admit.
    pub fn has_work(&self) -> bool {
        !self.inputs.is_empty() || !self.queue.is_empty()
    }

    /// Whether the queue takes so many bytes more.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.queue.len() < QUEUED_REQUESTS && self.queued_bytes + bytes <= QUEUED_BYTES
    }

    pub fn enqueue(&mut self, queued: Queued) {
        self.queued_bytes += queued.bytes;
        self.queue.push_back(queued);
    }

    pub fn dequeue(&mut self) -> Option<Queued> {
        let queued = self.queue.pop_front()?;
        self.queued_bytes -= queued.bytes;
        Some(queued)
    }
}
