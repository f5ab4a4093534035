//! Starts the operator: its watches, its control service, and one reconciler for each Cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use kube::runtime::events::{Recorder, Reporter};
use kube::{Client, ResourceExt as _};
use prometheus::{Encoder as _, Registry, TextEncoder};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tower::util::MapRequestLayer;
use wire::control::control_server::ControlServer;
use wire::door::Manner;
use wire::health::{Answering, Health};

use crate::config::Config;
use crate::front::{Front, remember_host};
use crate::metrics::Metrics;
use crate::names::OPERATOR_MANAGER;
use crate::reconcile::{Running, Surroundings};
use crate::watch as watches;

/// What nodes say changes without Kubernetes noticing: they are asked so often.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// Changes come in bursts: the look waits for the rest of one.
const BURST: Duration = Duration::from_millis(50);

/// What probes and Prometheus are told.
struct Told {
    registry: Registry,
    /// Everything has been listed: before that it serves nobody.
    listed: Arc<AtomicBool>,
}

impl Health for Told {
    fn metrics(&self) -> Result<Vec<u8>, String> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text).map_err(|error| error.to_string())?;
        Ok(text)
    }

    fn ready(&self) -> Result<(), String> {
        if self.listed.load(Ordering::Relaxed) {
            Ok(())
        } else {
            Err("the API server has not listed everything yet".to_owned())
        }
    }
}

/// Serves until `shutdown`.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    let (registry, listed) = (Registry::new(), Arc::new(AtomicBool::new(false)));
    let metrics = Metrics::new(&registry).context("register metrics")?;
    let told = Arc::new(Told { registry, listed: Arc::clone(&listed) });
    let answering = config.metrics_listen.map(|address| {
        Answering::start(address, Arc::clone(&told) as Arc<dyn Health>)
            .with_context(|| format!("serve metrics on {address}"))
    });
    let _answering = answering.transpose()?;
    let client = Client::try_default().await.context("find the API server")?;
    let changed = Arc::new(Notify::new());
    let (watched, mut watches) = watches::start(&client, &config.namespace, &changed);
    let listener = TcpListener::bind(config.listen).await.with_context(|| format!("listen on {}", config.listen))?;
    let front = Front::default();
    let served = wire::door::server()
        .layer(MapRequestLayer::new(remember_host))
        .add_service(ControlServer::new(front.clone()))
        .serve_with_incoming(wire::door::guests(listener, Manner::ByName(front.seals())));
    let recorder = Recorder::new(client.clone(), Reporter::from(OPERATOR_MANAGER.to_owned()));
    let around = Surroundings { client, recorder, namespace: config.namespace, watched, metrics, changed };
    tracing::info!(namespace = around.namespace, "the operator has started");
    tokio::select! {
        biased;
        () = shutdown => Ok(()),
        served = served => served.context("serve the control service"),
        ended = watches.ended() => Err(ended.into()),
        ended = look_after(around, front, &listed) => ended,
    }
}

/// Never ends but by a watch that does.
async fn look_after(around: Surroundings, front: Front, listed: &AtomicBool) -> anyhow::Result<()> {
    around.watched.ready().await?;
    listed.store(true, Ordering::Relaxed);
    tracing::info!("everything is listed");
    let mut running: BTreeMap<String, Running> = BTreeMap::new();
    loop {
        let clusters = around.watched.clusters.state_filter(|cluster| cluster.metadata.deletion_timestamp.is_none());
        let names: BTreeSet<String> = clusters.iter().map(|cluster| cluster.name_any()).collect();
        running.retain(|name, _| {
            let stays = names.contains(name);
            if !stays {
                front.remove(name);
                around.metrics.forget(name);
            }
            stays
        });
        for cluster in clusters {
            let name = cluster.name_any();
            let one = running.entry(name.clone()).or_insert_with(|| Running::start(&around, &cluster));
            one.look(&cluster).await;
            front.add(&name, &one.service, one.sealing.admits());
        }
        tokio::select! {
            biased;
            () = around.changed.notified() => tokio::time::sleep(BURST).await,
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
        }
    }
}
