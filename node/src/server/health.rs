//! What a node says of its metrics and its health (`wire::health`), by how far it has come.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use wire::health::Answering;
use wire::seal::Seal;

use crate::log::Log;
use crate::metrics::Metrics;

/// Why a blank disk serves nothing.
pub const BLANK: &str = "the disk is blank and waits to be formatted";

/// How far the process has come.
pub enum Stage {
    Blank,
    /// The disk is opened, every replica started.
    Opening,
    /// The log counts for itself, and is asked.
    Serving(Log),
    Stopping(Log),
}

/// Ends when it is dropped.
pub struct Health {
    told: Arc<Told>,
    _answering: Option<Answering>,
}

struct Told {
    metrics: Arc<Metrics>,
    seal: Option<Seal>,
    stage: Mutex<Stage>,
}

impl Health {
    /// Without an address nothing is served.
    pub fn start(address: Option<SocketAddr>, metrics: Arc<Metrics>, seal: Option<Seal>) -> anyhow::Result<Health> {
        let told = Arc::new(Told { metrics, seal, stage: Mutex::new(Stage::Opening) });
        let answering = address.map(|address| {
            let answering = Answering::start(address, Arc::<Told>::clone(&told));
            answering.with_context(|| format!("serve metrics on {address}"))
        });
        Ok(Health { told, _answering: answering.transpose()? })
    }

    pub fn is(&self, now: Stage) {
        *self.told.stage() = now;
    }
}

impl Told {
    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl wire::health::Health for Told {
    fn metrics(&self) -> Result<Vec<u8>, String> {
        if let Stage::Serving(log) | Stage::Stopping(log) = &*self.stage() {
            self.metrics.log_has_counted(log.counters());
        }
        self.metrics.render().map_err(|error| error.to_string())
    }

    fn ready(&self) -> Result<(), String> {
        let why = match &*self.stage() {
            Stage::Serving(_) => return Ok(()),
            Stage::Blank => BLANK,
            Stage::Opening => "the node opens its disk",
            Stage::Stopping(_) => "the node stops",
        };
        Err(why.to_owned())
    }

    fn seal(&self) -> Option<&Seal> {
        self.seal.as_ref()
    }
}
