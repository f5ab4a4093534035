//! What all rooms of one node share: handles, each with its own owner.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use model::{NodeId, Zone};
use replica::Options;
use tokio::sync::Semaphore;

use crate::disk::Disk;
use crate::items::Items;
use crate::log::Log;
use crate::metrics::Metrics;
use crate::pool::Pool;
use crate::registry::Registry;
use crate::snapshot::Budget;
use crate::transport::Links;
use crate::worker::inbox::Inboxes;

pub struct Context {
    pub node: NodeId,
    pub zone: Zone,
    pub disk: Disk,
    pub log: Log,
    pub items: Items,
    pub metrics: Arc<Metrics>,
    pub registry: Registry,
    pub inboxes: Inboxes,
    pub links: Links,
    /// Missed reads, scans, log reads for followers.
    pub reads: Pool,
    /// Snapshots, births, clearing, flushes.
    pub background: Pool,
    /// Places for snapshots sent at once.
    pub sending: Semaphore,
    /// What snapshots may take of the disk.
    pub budget: Arc<Budget>,
    pub replica_options: Options,
    /// Free space with which leaders are handed on.
    pub resign_below_bytes: u64,
    pub room: Room,
}

/// How much room the disk has, as last measured.
#[derive(Debug, Default)]
pub struct Room(AtomicU8);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RoomState {
    Enough,
    /// Leaders are handed on, new replicas refused.
    Scarce,
    /// Clients' writes are refused where the node leads.
    Full,
    /// What other leaders want written is refused, too: the rest is for compactions and for the log's own records.
    Exhausted,
}

impl Room {
    pub fn set(&self, state: RoomState) {
        let number = match state {
            RoomState::Enough => 0,
            RoomState::Scarce => 1,
            RoomState::Full => 2,
            RoomState::Exhausted => 3,
        };
        self.0.store(number, Ordering::Relaxed);
    }

    pub fn get(&self) -> RoomState {
        match self.0.load(Ordering::Relaxed) {
            0 => RoomState::Enough,
            1 => RoomState::Scarce,
            2 => RoomState::Full,
            _ => RoomState::Exhausted,
        }
    }
}
