//! Starts the driver and answers the control service.

use std::future::Future;
use std::sync::Arc;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use wire::control::control_server::ControlServer;

use crate::cluster::Cluster;
use crate::config::Config;
use crate::driver::Driver;
use crate::resources::file::FileResources;
use crate::service::Service;

/// Serves until `shutdown`.
pub async fn serve(config: Config, listener: TcpListener, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    let resources = Arc::new(FileResources::open(&config.resources).context("open resources")?);
    let cluster = Arc::new(Cluster::sealed(config.seal.clone()));
    cluster.set_nodes(&config.nodes, 0).context("name the nodes")?;
    cluster.set_memds(&config.memds).context("name MemDS")?;
    let wake = Arc::new(Notify::new());
    let service = Service {
        settings: config.settings.clone(),
        resources: Arc::clone(&resources),
        cluster: Arc::clone(&cluster),
        wake: Arc::clone(&wake),
    };
    let settings = config.settings;
    let driver = tokio::spawn(Driver { settings, resources, cluster, wake, blocked: watch::Sender::default() }.run());
    let served = wire::door::server()
        .add_service(ControlServer::new(service))
        .serve_with_incoming_shutdown(wire::door::guests(listener, config.seal.into()), shutdown)
        .await;
    driver.abort();
    served.context("serve the control service")
}
