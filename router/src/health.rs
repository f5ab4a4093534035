//! What a router says of its metrics and its health (`wire::health`).
//!
//! It is ready once the partition map has answered: from then on it needs nodes alone. A router that nobody asks anything asks the
//! map by itself until then, or nobody ever would.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use prometheus::{Encoder, Registry, TextEncoder};
use tokio::sync::watch;
use wire::health::Answering;
use wire::seal::Seal;

use crate::backend::Backend;
use crate::config::Config;

/// How long the map may take to answer, and the pause before it is asked again.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(200);

/// How far the process has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The map has not answered yet.
    Alone,
    Serving,
    Stopping,
}

/// Ends when it is dropped.
pub struct Health {
    stage: Arc<watch::Sender<Stage>>,
    _answering: Option<Answering>,
}

struct Told {
    registry: Registry,
    seal: Option<Seal>,
    stage: Arc<watch::Sender<Stage>>,
}

impl Health {
    /// Without an address nothing is served, and nobody is asked.
    pub fn start<B: Backend>(
        config: &Config,
        backend: &B,
        registry: &Registry,
        seal: Option<Seal>,
    ) -> anyhow::Result<Health> {
        let stage = Arc::new(watch::Sender::new(Stage::Alone));
        let told = Told { registry: registry.clone(), seal, stage: Arc::clone(&stage) };
        let answering = config.metrics_listen.map(|address| {
            drop(tokio::spawn(ask(backend.clone(), Arc::clone(&stage))));
            Answering::start(address, Arc::new(told)).with_context(|| format!("serve metrics on {address}"))
        });
        Ok(Health { stage, _answering: answering.transpose()? })
    }

    pub fn stops(&self) {
        self.stage.send_replace(Stage::Stopping);
    }
}

impl wire::health::Health for Told {
    fn metrics(&self) -> Result<Vec<u8>, String> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text).map_err(|error| error.to_string())?;
        Ok(text)
    }

    fn ready(&self) -> Result<(), String> {
        match *self.stage.borrow() {
            Stage::Alone => Err("the partition map has not answered yet".to_owned()),
            Stage::Serving => Ok(()),
            Stage::Stopping => Err("the router stops".to_owned()),
        }
    }

    fn seal(&self) -> Option<&Seal> {
        self.seal.as_ref()
    }
}

/// Until the map has answered once, or the router stops.
async fn ask<B: Backend>(backend: B, stage: Arc<watch::Sender<Stage>>) {
    while *stage.borrow() == Stage::Alone {
        match backend.list_tables("", 1, Instant::now() + PATIENCE).await {
            Ok(_) => {
                let answered = |stage: &mut Stage| {
                    let alone = *stage == Stage::Alone;
                    if alone {
                        *stage = Stage::Serving;
                    }
                    alone
                };
                stage.send_if_modified(answered);
            }
            Err(error) => {
                tracing::debug!(%error, "the partition map does not answer");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
