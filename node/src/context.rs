//! What all rooms of one node share: handles, each with its own owner.

use std::sync::Arc;

use model::{NodeId, Zone};
use replica::Options;
use tokio::sync::Semaphore;

use crate::disk::Disk;
use crate::items::{Items, ItemsError};
use crate::log::Log;
use crate::metrics::Metrics;
use crate::neighbours::Neighbours;
use crate::pool::Pool;
use crate::registry::Registry;
use crate::room::Room;
use crate::snapshot::Budget;
use crate::tally::Tally;
use crate::transport::Links;
use crate::worker::inbox::Inboxes;
use crate::worker::stand_ins::StandIns;
use wire::error::describe;

pub struct Context {
    pub node: NodeId,
    pub zone: Zone,
    pub disk: Arc<Disk>,
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
    /// Births of splits' children: a range is without a leader until they are done, so they wait for nothing else.
    pub births: Pool,
    /// Log replicas that wait to be put in place.
    pub stand_ins: StandIns,
    /// Places for snapshots sent at once.
    pub sending: Semaphore,
    /// One flush at a time that nobody waits for: where RocksDB makes it wait, somebody is left to clear what takes room.
    pub flushing: Semaphore,
    /// What snapshots may take of the disk.
    pub budget: Arc<Budget>,
    pub replica_options: Options,
    pub room: Arc<Room>,
    /// How much the groups hold that are led here.
    pub tally: Tally,
    /// The other nodes: who lives, and what they told.
    pub neighbours: Arc<Neighbours>,
}

impl Context {
    /// The items do not take what must be written: better no node than one that goes on without it. Where it is their files that
    /// are damaged the next start is told, and goes on without those.
    pub fn give_up(&self, what: &'static str, error: &ItemsError) -> ! {
        self.note_damage(error);
        panic!("cannot {what}: {}", describe(error));
    }

    /// For the next start.
    pub fn note_damage(&self, error: &ItemsError) {
        if !error.is_corrupt() {
            return;
        }
        let damage = describe(error);
        tracing::error!(damage, "the items are damaged; the next start sets aside what is");
        if let Err(error) = self.disk.note_damage(&damage) {
            tracing::error!(error = describe(&error), "failed to note what is damaged");
        }
    }
}
