//! Starts the operator: its watches, its control service, and one reconciler for each Cluster, while it is the process
//! that acts.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use kube::ResourceExt as _;
use prometheus::{Encoder as _, Registry, TextEncoder};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tower::util::MapRequestLayer;
use wire::control::control_server::ControlServer;
use wire::door::Manner;
use wire::health::{Answering, Health};

use crate::access::Access;
use crate::calls;
use crate::config::Config;
use crate::crd::Cluster;
use crate::definitions::Age;
use crate::front::{Front, remember_host};
use crate::lease::{Keeper, Tenure};
use crate::metrics::Metrics;
use crate::outside::Outside;
use crate::reconcile::{Running, Surroundings};
use crate::served::Served;
use crate::watch as watches;

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
    run_in(Outside::of_kubernetes().await?, config, shutdown).await
}

/// Serves until `shutdown`, wherever that may be.
pub async fn run_in(outside: Outside, config: Config, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    let (registry, listed) = (Registry::new(), Arc::new(AtomicBool::new(false)));
    let metrics = Metrics::new(&registry).context("register metrics")?;
    let told = Arc::new(Told { registry, listed: Arc::clone(&listed) });
    let answering = config.metrics_listen.map(|address| {
        Answering::start(address, Arc::clone(&told) as Arc<dyn Health>)
            .with_context(|| format!("serve metrics on {address}"))
    });
    let _answering = answering.transpose()?;
    let Outside { client, locate, pace } = outside;
    let (open, tenure) = (calls::counted(&client, &metrics), Tenure::default());
    let changed = Arc::new(Notify::new());
    let (watched, mut watches) = watches::start(&open, &config.namespace, &changed);
    let listener = TcpListener::bind(config.listen).await.with_context(|| format!("listen on {}", config.listen))?;
    let front = Front::new(metrics.clone());
    let served = wire::door::server()
        .layer(MapRequestLayer::new(remember_host))
        .add_service(ControlServer::new(front.clone()))
        .serve_with_incoming(wire::door::guests(listener, Manner::ByName(front.seals())));
    let identity = config.identity.map_or_else(drawn_identity, Ok)?;
    let mut keeper = Keeper::new(open.clone(), &config.namespace, identity, pace.lease, tenure.clone());
    let access = Access::new(&calls::held(&open, &tenure), &config.namespace, &watched);
    let open_access = Access::new(&open, &config.namespace, &watched);
    let (namespace, definitions) = (config.namespace, Age::default());
    let (age, asks, woken) = (definitions.clone(), open.clone(), Arc::clone(&changed));
    let around = Surroundings { access, namespace, watched, metrics, changed, locate, pace, tenure, definitions };
    tracing::info!(namespace = around.namespace, "the operator has started");
    let mut looked_after =
        LookedAfter { around, open: open_access, front, served: BTreeMap::new(), running: BTreeMap::new() };
    let ended = tokio::select! {
        biased;
        () = shutdown => Ok(()),
        served = served => served.context("serve the control service"),
        ended = watches.ended() => Err(ended.into()),
        never = keeper.keep() => match never {},
        never = age.keep(&asks, &woken) => match never {},
        never = looked_after.look_after(&listed) => match never {},
    };
    // Nothing of this process goes on when another may begin.
    looked_after.stop_acting().await;
    keeper.release().await;
    ended
}

fn drawn_identity() -> anyhow::Result<String> {
    let drawn = getrandom::u64().context("draw an identity")?;
    Ok(format!("operator-{drawn:016x}"))
}

/// Every Cluster of the namespace.
struct LookedAfter {
    around: Surroundings,
    /// For the control service, which every process has.
    open: Access,
    front: Front,
    served: BTreeMap<String, Served>,
    /// Only while this process acts.
    running: BTreeMap<String, Running>,
}

impl LookedAfter {
    async fn look_after(&mut self, listed: &AtomicBool) -> Infallible {
        loop {
            self.around.watched.ready().await;
            if !listed.swap(true, Ordering::Relaxed) {
                tracing::info!("everything is listed");
            }
            let clusters = self.clusters();
            self.serve(&clusters).await;
            let acts = self.around.tenure.is_held();
            self.around.metrics.acts(acts);
            if acts {
                self.act(&clusters).await;
            } else {
                self.stop_acting().await;
            }
            tokio::select! {
                biased;
                () = self.around.tenure.turns(!acts) => {}
                () = self.around.changed.notified() => tokio::time::sleep(self.around.pace.burst).await,
                () = tokio::time::sleep(self.around.pace.look) => {}
            }
        }
    }

    fn clusters(&self) -> Vec<Arc<Cluster>> {
        self.around.watched.clusters.state_filter(|cluster| cluster.metadata.deletion_timestamp.is_none())
    }

    async fn serve(&mut self, clusters: &[Arc<Cluster>]) {
        let Self { around, open, front, served, .. } = self;
        served.retain(|name, _| {
            let stays = clusters.iter().any(|cluster| cluster.name_any() == *name);
            if !stays {
                front.remove(name);
            }
            stays
        });
        for cluster in clusters {
            let name = cluster.name_any();
            let one = served.entry(name.clone()).or_insert_with(|| Served::start(around, open, cluster));
            if let Err(error) = one.refresh(around, cluster).await {
                tracing::warn!(cluster = name, %error, "the control service does not reach everybody");
            }
            front.add(&name, &one.service, one.own.admits());
        }
    }

    async fn act(&mut self, clusters: &[Arc<Cluster>]) {
        let gone: Vec<String> =
            self.running.keys().filter(|name| !clusters.iter().any(|c| c.name_any() == **name)).cloned().collect();
        for name in gone {
            self.stop(&name).await;
        }
        for cluster in clusters {
            let around = &self.around;
            let one = self.running.entry(cluster.name_any()).or_insert_with(|| Running::start(around, cluster));
            one.look(cluster).await;
        }
        let Surroundings { access, watched, metrics, .. } = &self.around;
        access.strays.tend(watched.tables.state(), clusters, metrics).await;
    }

    async fn stop_acting(&mut self) {
        let names: Vec<String> = self.running.keys().cloned().collect();
        for name in names {
            self.stop(&name).await;
        }
    }

    async fn stop(&mut self, name: &str) {
        if let Some(one) = self.running.remove(name) {
            one.end().await;
        }
        self.around.metrics.forget(name);
    }
}
