//! One cluster: observe → plan → apply → status, again and again. Level-based: what was missed is seen at the next look.
//!
//! The Cluster's nodes are planned here; its tables and partitions are the driver's (`control`), which runs beside it on the same
//! resources. Neither acts before everything has been listed whole.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use control::cluster::Cluster as Nodes;
use control::config::Settings;
use control::driver::Driver;
use control::moves::Move;
use control::plan::Observed;
use control::service::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::runtime::events::{EventType, Recorder};
use kube::{Client, ResourceExt as _};
use model::{NodeId, TableDescriptor};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::apply::Hands;
use crate::build;
use crate::crd::{Cluster, Partition, Table};
use crate::metrics::{Counts, Metrics};
use crate::moves::NoRoom;
use crate::names::CLUSTER_LABEL;
use crate::plan::{Seen, Step};
use crate::resources::{KubeResources, descriptor};
use crate::seal::sealing::Sealing;
use crate::status::{ClusterTold, Told};
use crate::tables::{self, Deed, Hindrance};
use crate::watch::Watched;
use crate::{moves, observe, plan, status, wish};

/// How long one move may take before it is planned again: a partition of 10 GB at the snapshots' budget takes two minutes.
const MOVE_DEADLINE: Duration = Duration::from_secs(600);

/// What all clusters share.
#[derive(Clone)]
pub struct Surroundings {
    pub client: Client,
    pub recorder: Recorder,
    pub namespace: String,
    pub watched: Watched,
    pub metrics: Metrics,
    /// Wakes the looks.
    pub changed: Arc<Notify>,
}

/// One cluster that is looked after.
pub struct Running {
    around: Surroundings,
    nodes: Arc<Nodes>,
    pub service: Arc<Service<KubeResources>>,
    /// Wakes the driver.
    wake: Arc<Notify>,
    /// What hinders tables, by name.
    blocked: watch::Receiver<Arc<BTreeMap<String, String>>>,
    driver: JoinHandle<()>,
    pub sealing: Sealing,
    /// The nodes are dialled by the operator's seal, which changes by itself from then on.
    dials_sealed: bool,
    /// The move that is under way.
    moving: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.driver.abort();
        // What it has begun is taken up again by whoever plans next.
        if let Some(moving) = &self.moving {
            moving.abort();
        }
    }
}

/// What one look has seen and done.
struct Look<'a> {
    cluster: &'a Cluster,
    hands: Hands<'a>,
    observed: Observed,
    now: Time,
    /// The first thing that could not be done.
    failure: Option<String>,
    hindered: usize,
    metrics: &'a Metrics,
}

impl Running {
    pub fn start(around: &Surroundings, cluster: &Cluster) -> Running {
        let nodes = Arc::new(Nodes::nobody());
        let wake = Arc::new(Notify::new());
        let settings = Settings::new(cluster.spec.default_partitions);
        let resources = Arc::new(KubeResources {
            client: around.client.clone(),
            namespace: around.namespace.clone(),
            cluster: cluster.name_any(),
            watched: around.watched.clone(),
        });
        let service = Service {
            settings: settings.clone(),
            resources: Arc::clone(&resources),
            cluster: Arc::clone(&nodes),
            wake: Arc::clone(&wake),
        };
        let (blocked, blocked_now) = watch::channel(Arc::default());
        let driver = Driver { settings, resources, cluster: Arc::clone(&nodes), wake: Arc::clone(&wake), blocked };
        Running {
            around: around.clone(),
            nodes,
            service: Arc::new(service),
            wake,
            blocked: blocked_now,
            driver: tokio::spawn(driver.run()),
            sealing: Sealing::new(around.client.clone(), cluster),
            dials_sealed: false,
            moving: None,
        }
    }

    /// One look, with all that follows from it.
    pub async fn look(&mut self, cluster: &Cluster) {
        self.sealing.tend(cluster, &self.around.watched, Timestamp::now()).await;
        if let Some(seal) = self.sealing.seal().filter(|_| !self.dials_sealed) {
            self.nodes.set_seal(seal.clone());
            self.dials_sealed = true;
        }
        let seen = observe::nodes(cluster, &self.around.watched);
        let address_failure = self.name_everybody(cluster, &seen).err();
        let reached = self.nodes.ask_all(false).await;
        let observed = control::observe::groups(&self.nodes).await;
        let seen = observe::complete(seen, &reached, &observed);
        let (client, recorder) = (&self.around.client, &self.around.recorder);
        let mut look = Look {
            cluster,
            hands: Hands { client, recorder, cluster, nodes: &self.nodes },
            observed,
            now: Time(Timestamp::now()),
            failure: address_failure.map(|error| error.to_string()),
            hindered: 0,
            metrics: &self.around.metrics,
        };
        let mut steps = plan::plan(&seen, draw);
        self.tell_of_certificates(&look, &mut steps).await;
        if !cluster.spec.paused {
            self.act(&mut look, &seen, &steps).await;
            let moved = next_move(self.moving.as_ref(), &look, &seen);
            match moved {
                Ok(wish) => self.moving = wish.map(|wish| self.begin(wish)).or_else(|| self.moving.take()),
                Err(NoRoom { message }) => steps.push(Step::Blocked { reason: "NoRoom", message }),
            }
        }
        self.tend_tables(&mut look).await;
        self.tell_partitions(&mut look).await;
        self.tell_cluster(&mut look, &seen, &steps).await;
        self.around.metrics.looked(&cluster.name_any(), counts(&look, &seen));
        self.wake.notify_one();
    }

    /// Goes on by itself; what it could not do is planned again.
    fn begin(&self, wish: Move) -> JoinHandle<()> {
        let (nodes, wake) = (Arc::clone(&self.nodes), Arc::clone(&self.around.changed));
        tokio::spawn(async move {
            let Move { partition, from, to } = wish;
            tracing::info!(%partition, %from, ?to, "a replica moves");
            let moved = control::moves::carry_out(&nodes, wish, MOVE_DEADLINE, |step| tracing::debug!(step)).await;
            if let Err(error) = moved {
                tracing::warn!(%partition, %from, %error, "a replica has not moved; it is planned again");
            }
            wake.notify_one();
        })
    }

    /// The driver and the control service reach the same nodes that Kubernetes has.
    fn name_everybody(&self, cluster: &Cluster, seen: &Seen) -> Result<(), control::cluster::ClusterError> {
        let dialled = seen.pods.iter().filter(|_| self.sealing.can_dial());
        let addresses: Vec<String> = dialled.filter_map(|pod| pod.address.clone()).collect();
        let known = seen.claims.iter().filter(|claim| !claim.lost).count();
        self.nodes.set_nodes(&addresses, known.saturating_sub(addresses.len()))?;
        if self.sealing.can_dial() {
            self.nodes.set_memds(&build::mem_ds_addresses(cluster, ""))?;
        }
        Ok(())
    }

    async fn act(&self, look: &mut Look<'_>, seen: &Seen, steps: &[Step]) {
        for step in steps.iter().filter(|step| self.sealing.lets(step)) {
            let done = look.hands.step(step).await;
            look.note(done);
        }
        let build::Around { deployments, services, budget } = build::around(look.cluster, seen.whole);
        for service in &services {
            let done = look.hands.ensure(service, &self.around.watched.services).await;
            look.note(done);
        }
        let mut settled = observe::deployments(look.cluster, &self.around.watched);
        for deployment in &deployments {
            if self.sealing.lets_fleet() && settled.lets_change(deployment) {
                let done = look.hands.ensure(deployment, &self.around.watched.deployments).await;
                settled.was_ensured(deployment, matches!(done, Ok(true)));
                look.note(done);
            }
        }
        let done = look.hands.ensure(&budget, &self.around.watched.budgets).await;
        look.note(done);
    }

    async fn tell_of_certificates(&self, look: &Look<'_>, steps: &mut Vec<Step>) {
        let (kept, now) = (&self.sealing.kept, look.now.0);
        self.around.metrics.certified(&look.cluster.name_any(), &kept.days_left(now));
        if let Some(step) = kept.turned {
            let note = format!("the CA is being replaced: {step}");
            look.hands.tell(EventType::Normal, "AuthorityReplaced", note).await;
        }
        steps.extend(kept.blocked(now).map(|(reason, message)| Step::Blocked { reason, message }));
    }

    async fn tend_tables(&self, look: &mut Look<'_>) {
        let name = look.cluster.name_any();
        for table in self.around.watched.tables.state_filter(|table| table.spec.cluster_ref == name) {
            self.tend(look, &table).await;
        }
    }

    async fn tend(&self, look: &mut Look<'_>, table: &Arc<Table>) {
        let given = match descriptor(table) {
            Ok(given) => given,
            Err(error) => {
                let hindrance = Hindrance { reason: "Malformed", message: error.to_string() };
                return self.tell_table(look, table, None, Some(&hindrance)).await;
            }
        };
        let decided = tables::decide(table, given.as_ref(), &look.observed);
        let hindrance = match decided {
            Err(hindrance) => Some(hindrance),
            Ok(Some(deed)) if !look.cluster.spec.paused => self.carry_out(look, table, deed).await.err(),
            Ok(_) => self.driver_is_blocked(&table.spec.table_name),
        };
        self.tell_table(look, table, given.as_ref(), hindrance.as_ref()).await;
    }

    fn driver_is_blocked(&self, name: &str) -> Option<Hindrance> {
        let blocked = self.blocked.borrow();
        let text = blocked.get(name)?;
        let reason = if text.starts_with("DataMissing") { "DataMissing" } else { "Diverged" };
        Some(Hindrance { reason, message: text.clone() })
    }

    async fn carry_out(&self, look: &Look<'_>, table: &Arc<Table>, deed: Deed) -> Result<(), Hindrance> {
        let name = &table.spec.table_name;
        let failed = |reason: &'static str, message: String| Hindrance { reason, message };
        match deed {
            Deed::Hold => look.hands.hold(table).await.map_err(|error| failed("Failed", error.to_string())),
            Deed::GiveBirth(wish) => {
                let born = self.service.give_birth(*wish).await;
                born.map_err(|status| failed("NoPlaces", status.message().to_owned()))
            }
            Deed::Follow => {
                let follow = |given: &TableDescriptor| wish::followed(given, &table.spec);
                let followed = self.service.follow(name, follow).await;
                followed.map_err(|status| failed("Failed", status.message().to_owned()))
            }
            Deed::Delete => {
                let deleted = self.service.delete(name).await;
                deleted.map(drop).map_err(|status| failed("Failed", status.message().to_owned()))
            }
            Deed::Release => {
                let released = self.service.resources.release(table).await;
                released.map_err(|error| failed("Failed", error.to_string()))
            }
        }
    }

    async fn tell_table(
        &self,
        look: &mut Look<'_>,
        table: &Arc<Table>,
        given: Option<&TableDescriptor>,
        hindrance: Option<&Hindrance>,
    ) {
        look.hindered += usize::from(hindrance.is_some());
        let told = Told { observed: &look.observed, hindrance, now: &look.now };
        let next = status::table(table, given, &told);
        if table.status.as_ref() == Some(&next) {
            return;
        }
        // What the table's resource is read from has its own writer, and is left out here.
        let fields = ["observedGeneration", "tableStatus", "partitions", "conditions"];
        let done = look.hands.write_status::<Table>(&table.name_any(), only(&next, &fields)).await;
        look.note(done);
    }

    async fn tell_partitions(&self, look: &mut Look<'_>) {
        let name = look.cluster.name_any();
        let ours = |partition: &Partition| partition.labels().get(CLUSTER_LABEL) == Some(&name);
        for partition in self.around.watched.partitions.state_filter(ours) {
            let Some(next) = status::partition(&partition, &look.observed, &look.now) else { continue };
            if partition.status.as_ref() != Some(&next) {
                let done = look.hands.write_status::<Partition>(&partition.name_any(), json!(next)).await;
                look.note(done);
            }
        }
    }

    async fn tell_cluster(&self, look: &mut Look<'_>, seen: &Seen, steps: &[Step]) {
        let name = look.cluster.name_any();
        let routers = self.around.watched.deployments.state_filter(|deployment| {
            let labels = deployment.labels();
            labels.get(CLUSTER_LABEL) == Some(&name)
                && labels.get("app.kubernetes.io/component").is_some_and(|component| component == "router")
        });
        let ready = |deployment: &k8s_openapi::api::apps::v1::Deployment| {
            deployment.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0)
        };
        let routers: i32 = routers.iter().map(|deployment| ready(deployment)).sum();
        let tables: std::collections::BTreeSet<_> = look
            .observed
            .groups
            .values()
            .flatten()
            .filter_map(|report| report.table.as_ref())
            .map(|table| table.id)
            .collect();
        let told = ClusterTold {
            seen,
            observed: &look.observed,
            steps,
            routers: usize::try_from(routers).unwrap_or(0),
            tables: tables.len(),
            failure: look.failure.as_deref(),
            certificates: self.sealing.told(),
            now: &look.now,
        };
        let next = status::cluster(look.cluster, &told);
        if look.cluster.status.as_ref() != Some(&next) {
            let done = look.hands.write_status::<Cluster>(&name, json!(next)).await;
            look.note(done);
        }
    }
}

impl Look<'_> {
    fn note<T, E: std::fmt::Display>(&mut self, done: Result<T, E>) {
        if let Err(error) = done {
            tracing::warn!(cluster = self.cluster.name_any(), %error, "a step was not done");
            self.metrics.failed();
            self.failure.get_or_insert_with(|| error.to_string());
        }
    }
}

/// What moves next, if nothing moves now.
fn next_move(moving: Option<&JoinHandle<()>>, look: &Look<'_>, seen: &Seen) -> Result<Option<Move>, NoRoom> {
    if moving.is_some_and(|moving| !moving.is_finished()) {
        return Ok(None);
    }
    moves::next(&observe::places(seen), &look.observed, seen.whole)
}

fn counts(look: &Look<'_>, seen: &Seen) -> Counts {
    let groups = look.observed.groups.values();
    Counts {
        nodes_ready: seen.answers.iter().filter(|answer| answer.ready).count(),
        partitions: look.observed.groups.len(),
        degraded: observe::degraded(&look.observed),
        leaderless: groups.filter(|reports| !reports.iter().any(|report| report.serving)).count(),
        tables_hindered: look.hindered,
    }
}

/// The object with these fields alone.
fn only<T: Serialize>(object: &T, fields: &[&str]) -> Value {
    let mut value = json!(object);
    if let Some(object) = value.as_object_mut() {
        object.retain(|key, _| fields.contains(&key.as_str()));
    }
    value
}

/// An id that no node has: 64 random bits.
fn draw() -> NodeId {
    loop {
        // Without randomness no identity can be given, and a broken machine is better seen at once.
        let id = getrandom::u64().expect("the machine has randomness");
        if id != 0 {
            return NodeId(id);
        }
    }
}
