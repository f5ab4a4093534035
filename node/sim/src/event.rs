//! Everything that can happen in the world, and what travels in it.

use std::rc::Rc;

use model::{NodeId, ReplicaId};
use replica::{Answer, Envelope, Input, Token, WriteRequest};

use crate::disk::engine::{Applied, Contents, Record};
use crate::disk::log::Received;
use crate::faults::Fault;

/// A node's place in the world: the machine, whatever disk is in it.
pub type Place = usize;
/// A group's place in the world; its partition's id is this + 1. Children of splits have places kept for them.
pub type Group = usize;

/// One life of a node's process: what was scheduled for an earlier one is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    pub place: Place,
    pub life: u32,
}

/// One replica in one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    pub process: Process,
    pub group: Group,
    pub replica: ReplicaId,
    /// How often this process has seated a replica of the group: one that starts again hears nothing that the last one waited for.
    pub seating: u32,
}

#[derive(Debug)]
pub enum Event {
    Tick(Process),
    /// The worker takes everything that waits.
    Turn(Process),
    Frame(Rc<Frame>),
    /// One node tells another that it lives.
    Beat(Beat),
    Synced(Process),
    /// Something that the host did for a replica is done.
    Done(Seat, Box<Input>),
    /// An old item is read only now.
    ReadItem {
        seat: Seat,
        ticket: u64,
        key: bytes::Bytes,
    },
    Apply(Seat, Rc<Applied>),
    FlushBegins(Process),
    FlushEnds {
        process: Process,
        batches: usize,
    },
    /// A flush that does not wait for its time.
    FlushForced {
        process: Process,
        batches: usize,
    },
    /// The applied state is copied for a snapshot.
    BuildSnapshot {
        seat: Seat,
        to: ReplicaId,
    },
    /// A snapshot, files and message, has arrived.
    Snapshot {
        sender: Seat,
        parcel: Box<Parcel>,
        to: (Place, NodeId),
        contents: Contents,
    },
    /// The files have been ingested.
    Ingest(Seat, Rc<Received>),
    /// A confirmed read looks.
    Look {
        seat: Seat,
        token: Token,
    },
    /// A client goes on, if that attempt is still its last.
    ClientTurn {
        client: usize,
        attempt: u64,
    },
    Request(Box<Request>),
    Reply {
        client: usize,
        attempt: u64,
        reply: Box<Reply>,
    },
    ClientGivesUp {
        client: usize,
        attempt: u64,
    },
    MoverTurn,
    SplitterTurn,
    /// Something is moved, shortly before a misfortune.
    Provoke,
    /// The director of a directed world looks.
    Direct,
    Admin {
        place: Place,
        group: Group,
        epoch: u64,
        command: Command,
    },
    /// A node hears of the newest descriptor of a group.
    Gossip {
        place: Place,
        group: Group,
    },
    Fault(Fault),
    Heal,
    /// Does every group serve that can, while one node is away?
    CheckMajority,
    /// After the healing: is everything well yet?
    CheckPeace,
    /// Does anybody sleep who should not?
    CheckSleep,
    /// Does the group have a leader again, if no other process has died?
    CheckTakeOver {
        group: Group,
        deaths: u64,
    },
}

/// A pair's heartbeat.
#[derive(Clone, Copy, Debug)]
pub struct Beat {
    pub from: NodeId,
    /// Of the sender's process: its start number.
    pub life: u32,
    pub to: (Place, NodeId),
}

/// What one turn of a node sends to one other node.
#[derive(Debug)]
pub struct Frame {
    pub from: (Place, NodeId),
    pub to: (Place, NodeId),
    pub parcels: Vec<Parcel>,
}

#[derive(Clone, Debug)]
pub struct Parcel {
    pub group: Group,
    pub from: (Place, NodeId),
    pub envelope: Envelope,
}

/// What an administrator asks of a leader.
#[derive(Clone, Debug)]
pub enum Command {
    Change(replica::Change),
    Transfer(ReplicaId),
    Split { at: bytes::Bytes, child: Group },
    SetTable(Box<model::TableDescriptor>),
    Resign,
}

/// A client's request on its way.
#[derive(Clone, Debug)]
pub struct Request {
    pub client: usize,
    pub attempt: u64,
    pub operation: u64,
    pub place: Place,
    pub group: Group,
    pub epoch: u64,
    pub ask: Ask,
}

#[derive(Clone, Debug)]
pub enum Ask {
    Write(Box<WriteRequest>),
    Read(bytes::Bytes),
}

/// What comes back to a client.
#[derive(Clone, Debug)]
pub enum Reply {
    Answer(Answer),
    Value(Option<Record>),
    /// The node is down or has no replica of the group: nothing was done.
    NotHere,
}

/// Who waits for a sync of the log.
#[derive(Debug)]
pub enum Waiter {
    Persisted {
        seat: Seat,
        number: u64,
    },
    /// The lowest accepted id is durable: the data may go.
    Retired(Group, ReplicaId),
    /// The intent is durable: the files may be ingested.
    Receiving(Seat, Rc<Received>),
    Installed {
        seat: Seat,
        index: u64,
    },
    /// A child's log has begun: its replica may be seated.
    Born(Group, ReplicaId),
}
