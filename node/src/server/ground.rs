//! What a process has before it is a node: its flags, its listeners, its folder, which may be blank still.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use model::{NodeId, Zone};
use wire::seal::Seal;

use super::health::{Health, Stage};
use crate::config::Config;
use crate::disk::{Disk, Identity};
use crate::metrics::Metrics;

/// The folder is locked, and whoever connects waits to be accepted.
pub struct Ground {
    pub config: Config,
    pub listener: TcpListener,
    /// host:port under which others reach it.
    pub address: String,
    pub disk: Arc<Disk>,
    /// None where everything is plain.
    pub seal: Option<Seal>,
    pub metrics: Arc<Metrics>,
    pub health: Health,
}

impl Ground {
    /// Takes the folder and the ports; gives a blank folder an identity if the flags say so.
    pub fn take(config: Config) -> anyhow::Result<Ground> {
        config.validate()?;
        tracing::info!(?config, "starts");
        let listener = listen(config.listen).with_context(|| format!("listen on {}", config.listen))?;
        let bound = listener.local_addr().context("ask for the listener's address")?;
        let address = config.advertise.clone().unwrap_or_else(|| bound.to_string());
        let seal = config.tls.as_deref().map(open_seal).transpose()?;
        let disk = Arc::new(open_disk(&config, seal.as_ref())?);
        let metrics = Arc::new(Metrics::new().context("register metrics")?);
        let health = Health::start(config.metrics_listen, Arc::clone(&metrics), seal.clone())?;
        health.is(if disk.identity().is_some() { Stage::Opening } else { Stage::Blank });
        Ok(Ground { config, listener, address, disk, seal, metrics, health })
    }
}

/// A listener that runtimes can share.
pub fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn open_seal(folder: &Path) -> anyhow::Result<Seal> {
    let seal = Seal::from_folder(folder).and_then(|seal| seal.demand("node", |role| role.node().is_some()));
    seal.with_context(|| format!("use the certificate in {}", folder.display()))
}

/// The disk's identity is the certificate's, where there is one: neither takes another.
pub fn open_disk(config: &Config, seal: Option<&Seal>) -> anyhow::Result<Disk> {
    let disk = Disk::open(&config.data).context("open the data folder")?;
    let certified = seal.and_then(|seal| seal.identity().role.node());
    match disk.identity() {
        Some(identity) if certified.is_some_and(|node| node != identity.node) => {
            let certified = certified.unwrap_or_default();
            bail!("the data folder is node {}'s, and the certificate node {certified}'s", identity.node)
        }
        Some(identity) if identity.zone.0 != config.zone => {
            bail!("the data folder stands in zone {}, not in zone {}", identity.zone, config.zone)
        }
        Some(_) => (),
        None if config.format => {
            let node = certified.map_or_else(random_id, Ok)?;
            let identity = Identity { node, zone: Zone(config.zone.clone()) };
            tracing::info!(node = %identity.node, zone = %identity.zone, "takes an identity");
            disk.take_identity(identity).context("give the data folder its identity")?;
        }
        None => (),
    }
    Ok(disk)
}

/// Random and never 0, which stands for no node.
fn random_id() -> anyhow::Result<NodeId> {
    loop {
        match getrandom::u64().context("find randomness")? {
            0 => (),
            id => return Ok(NodeId(id)),
        }
    }
}
