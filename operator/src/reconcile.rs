//! One cluster: observe → validate → plan → apply → status, again and again. Level-based: what was missed is seen at the next look.
//!
//! The Cluster's nodes are planned here; its tables and partitions are the driver's (`control`), which runs beside it on the same
//! resources. Neither acts before everything has been listed whole.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use control::cluster::Cluster as Nodes;
use control::diverged::{self, Newest};
use control::driver::Driver;
use control::plan::Observed;
use control::service::{Decided, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::runtime::events::EventType;
use model::{NodeId, TableDescriptor, TableId};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::access::Access;
use crate::allowance::Allowances;
use crate::apply::Hands;
use crate::build;
use crate::crd::{Cluster, Partition, PartitionStatus, Removal, Table, TableStatus};
use crate::definitions::Age;
use crate::known::Known;
use crate::lease::Tenure;
use crate::leaving::Leaving;
use crate::metrics::{Counts, Metrics};
use crate::names::CLUSTER_LABEL;
use crate::outside::{Locate, Pace};
use crate::plan::{Seen, Step};
use crate::resources::{KubeResources, descriptor, version};
use crate::rest::Rest;
use crate::seal::sealing::Sealing;
use crate::served::{name_everybody, settings};
use crate::status::{ClusterTold, Held, Told, Worth};
use crate::tables::{self, Deed, Hindrance};
use crate::unborn::Unborn;
use crate::unseen::Unseen;
use crate::watch::Watched;
use crate::{observe, orphans, plan, status, validate, wish};

/// What all clusters share.
#[derive(Clone)]
pub struct Surroundings {
    /// It writes only while this process is the one that acts.
    pub access: Access,
    pub namespace: String,
    pub watched: Watched,
    pub metrics: Metrics,
    /// Wakes the looks.
    pub changed: Arc<Notify>,
    pub locate: Locate,
    pub pace: Pace,
    pub tenure: Tenure,
    pub definitions: Age,
}

/// One cluster that is looked after.
pub struct Running {
    around: Surroundings,
    nodes: Arc<Nodes>,
    service: Service<KubeResources>,
    /// Wakes the driver.
    wake: Arc<Notify>,
    /// What hinders tables, by name.
    blocked: watch::Receiver<Arc<BTreeMap<String, String>>>,
    driver: JoinHandle<()>,
    sealing: Sealing,
    /// The course of nodes that leave.
    leaving: Leaving,
    /// Of statuses of Partitions.
    allowance: Allowances,
    /// After trouble.
    rest: Rest,
    unseen: Unseen,
    unborn: Unborn,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// What one look has seen and done.
struct Look<'a> {
    cluster: &'a Cluster,
    hands: Hands<'a>,
    observed: Observed,
    /// By table.
    held: BTreeMap<TableId, Held>,
    newest: BTreeMap<TableId, Newest>,
    now: Time,
    /// The first thing that could not be done.
    failure: Option<String>,
    hindered: usize,
    rollout: observe::Rollout,
    /// What is told of Tables after everything else.
    minor: Vec<(Arc<Table>, TableStatus)>,
    metrics: &'a Metrics,
    /// Of statuses of Partitions.
    allowance: Allowances,
}

/// What is planned for a cluster's nodes.
struct Planned<'a> {
    seen: &'a Seen,
    steps: &'a [Step],
    removals: Vec<Removal>,
}

impl Running {
    pub fn start(around: &Surroundings, cluster: &Cluster) -> Running {
        let tenure = around.tenure.clone();
        let nodes = Arc::new(Nodes::nobody().only_while(Arc::new(move || tenure.is_held())));
        let wake = Arc::new(Notify::new());
        let settings = settings(around, cluster);
        let resources = Arc::new(around.access.shelf.of(&cluster.name_any()));
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
            service,
            wake,
            blocked: blocked_now,
            driver: tokio::spawn(driver.run()),
            sealing: Sealing::new(around.access.store.clone(), cluster),
            leaving: Leaving::default(),
            allowance: Allowances::new(Instant::now()),
            rest: Rest::default(),
            unseen: Unseen::default(),
            unborn: Unborn::default(),
        }
    }

    /// Returns when nothing of it goes on any more.
    pub async fn end(mut self) {
        self.driver.abort();
        std::mem::take(&mut self.leaving).end().await;
        // Ended is ended, however it was.
        drop((&mut self.driver).await);
    }

    /// One look, with all that follows from it.
    pub async fn look(&mut self, cluster: &Cluster) {
        if !self.rest.is_over(Instant::now()) {
            return;
        }
        let now = Timestamp::now();
        self.sealing.tend(cluster, &self.around.watched, now).await;
        let seen = observe::nodes(cluster, &self.around.watched, &mut self.leaving.troubles, now.as_second());
        let own = &self.sealing.own;
        let address_failure = name_everybody(&self.nodes, &self.around, own, cluster, &seen).err();
        let (reached, observed) = control::observe::everything(&self.nodes).await;
        let seen = observe::complete(seen, &reached, &observed);
        let mut look = Look {
            cluster,
            hands: Hands {
                writer: &self.around.access.writer,
                cluster,
                nodes: &self.nodes,
                watched: &self.around.watched,
            },
            held: status::held(&observed),
            newest: diverged::newest(&observed),
            observed,
            now: Time(now),
            failure: address_failure.map(|error| error.to_string()),
            hindered: 0,
            rollout: observe::Rollout::default(),
            minor: Vec::new(),
            metrics: &self.around.metrics,
            allowance: self.allowance,
        };
        let valid = validate::nodes(&seen);
        let mut steps = self.unseen.hold_back(&seen, plan::plan(&valid, draw), Instant::now());
        let next = self.leaving.next(&seen, &look.observed);
        steps.extend(next.stuck.iter().map(|stuck| Step::Blocked { reason: "NoRoom", message: stuck.message.clone() }));
        let removals = self.leaving.told(cluster, &seen, &next, &look.now);
        self.tell_of_certificates(&look, &mut steps).await;
        // Of everything that blocks this is told first: what else is said may be but its consequence.
        steps.splice(0..0, self.around.definitions.blocked());
        if !cluster.spec.paused {
            self.act(&mut look, &seen, &steps).await;
            if !plan::stops(&steps) {
                self.leaving.go_on(&next, &seen, &self.nodes, &self.around.changed);
            }
        }
        self.tend_tables(&mut look).await;
        self.unborn.are_forgotten(&self.nodes).await;
        if !cluster.spec.paused {
            self.remove_orphans(&mut look).await;
        }
        self.tell_partitions(&mut look).await;
        self.tell_minor(&mut look).await;
        self.tell_cluster(&mut look, Planned { seen: &seen, steps: &steps, removals }).await;
        self.around.metrics.looked(&cluster.name_any(), counts(&look, &seen));
        self.allowance = look.allowance;
        self.rest.begin(look.failure.is_some(), self.around.pace.look, Instant::now());
        self.wake.notify_one();
    }

    async fn act(&self, look: &mut Look<'_>, seen: &Seen, steps: &[Step]) {
        for step in steps.iter().filter(|step| self.sealing.lets(step)) {
            let done = look.hands.step(step).await;
            look.note(done);
        }
        let build::Around { deployments, services, budget } = build::around(look.cluster, eviction(seen));
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
        look.rollout = settled.rollout(&deployments);
        let done = look.hands.ensure(&budget, &self.around.watched.budgets).await;
        look.note(done);
    }

    async fn tell_of_certificates(&self, look: &Look<'_>, steps: &mut Vec<Step>) {
        let (kept, now) = (&self.sealing.kept, look.now.0);
        self.around.metrics.certified(&look.cluster.name_any(), &kept.days_left(now));
        if let Some(step) = kept.turned {
            let note = format!("the CA is being replaced: {step}");
            look.hands.tell(EventType::Normal, "AuthorityReplaced", step, note).await;
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
        let valid = match validate::table(table) {
            Ok(valid) => valid,
            Err(hindrance) => return self.tell_table(look, table, None, Some(&hindrance)).await,
        };
        let newest = valid.given().and_then(|given| look.newest.get(&given.id));
        let decided = tables::decide(&valid, tables::Seen { observed: &look.observed, newest });
        let hindrance = match decided {
            Err(hindrance) => Some(hindrance),
            Ok(Some(deed)) if !look.cluster.spec.paused => match self.carry_out(look, table, deed).await {
                // It is not any more what was seen: the next look tells of it.
                Ok(()) => return,
                Err(hindrance) => Some(hindrance),
            },
            Ok(_) => self.driver_is_blocked(&table.spec.table_name),
        };
        self.tell_table(look, table, valid.given(), hindrance.as_ref()).await;
    }

    fn driver_is_blocked(&self, name: &str) -> Option<Hindrance> {
        let blocked = self.blocked.borrow();
        let text = blocked.get(name)?;
        let words = ["DataMissing", "Failed", "NameTaken", "Retained"];
        let reason = words.into_iter().find(|word| text.starts_with(word)).unwrap_or("Diverged");
        Some(Hindrance { reason, message: text.clone() })
    }

    async fn carry_out(&self, look: &Look<'_>, table: &Arc<Table>, deed: Deed) -> Result<(), Hindrance> {
        let seen = version(table);
        let on = Decided { name: &table.spec.table_name, version: &seen };
        let failed = |reason: &'static str, message: String| Hindrance { reason, message };
        match deed {
            Deed::Hold => look.hands.hold(table).await.map_err(|error| failed("Failed", error.to_string())),
            Deed::GiveBirth(wish) => {
                let born = self.service.give_birth(on, *wish).await;
                born.map_err(|status| failed("NoPlaces", status.message().to_owned()))
            }
            Deed::Follow => {
                let follow = |given: &TableDescriptor| wish::followed(given, &table.spec);
                let followed = self.service.follow(on, follow).await;
                followed.map_err(|status| failed("Failed", status.message().to_owned()))
            }
            Deed::Delete => {
                let deleted = self.service.delete(on).await;
                deleted.map_err(|status| failed("Failed", status.message().to_owned()))
            }
            Deed::Retain => {
                let goes = self.service.resources.definition_goes().await;
                if goes.map_err(|error| failed("Failed", error.to_string()))? {
                    return self.release(table).await;
                }
                let retained = self.service.retain(on).await;
                retained.map_err(|status| failed("Failed", status.message().to_owned()))
            }
            Deed::Release => {
                self.release(table).await?;
                // Of a birth that was cut short MemDS may know, and no group.
                if let Ok(Some(given)) = descriptor(table) {
                    self.unborn.add(given.id);
                }
                Ok(())
            }
            Deed::ForgetConfirmation => {
                let forgotten = self.service.resources.forget_confirmation(table).await;
                forgotten.map_err(|error| failed("Failed", error.to_string()))
            }
        }
    }

    async fn release(&self, table: &Table) -> Result<(), Hindrance> {
        let released = self.service.resources.release(table).await;
        released.map_err(|error| Hindrance { reason: "Failed", message: error.to_string() })
    }

    async fn tell_table(
        &self,
        look: &mut Look<'_>,
        table: &Arc<Table>,
        given: Option<&TableDescriptor>,
        hindrance: Option<&Hindrance>,
    ) {
        look.hindered += usize::from(hindrance.is_some());
        let mode = look.cluster.spec.zone_mode;
        let told = Told { held: &look.held, hindrance, mode, now: &look.now };
        let next = status::table(table, given, &told);
        if table.status.as_ref() == Some(&next) {
            return;
        }
        if status::is_minor(table, &next) {
            look.minor.push((Arc::clone(table), next));
            return;
        }
        self.write_table(look, table, &next).await;
    }

    /// After Partitions, and with what these have left of what may be written: the loss of a zone changes all Tables at once.
    async fn tell_minor(&self, look: &mut Look<'_>) {
        let mut minor = std::mem::take(&mut look.minor);
        minor.truncate(look.allowance.states.take(minor.len(), Instant::now()));
        for (table, next) in minor {
            self.write_table(look, &table, &next).await;
        }
    }

    async fn write_table(&self, look: &mut Look<'_>, table: &Table, next: &TableStatus) {
        // What the table's resource is read from has its own writer, and is left out here.
        let figures = ["items", "sizeBytes", "readUnits", "writeUnits", "sizedAt"];
        let fields = [&["observedGeneration", "tableStatus", "partitions", "conditions"][..], &figures].concat();
        let metadata = json!({ "name": table.name_any(), "resourceVersion": table.resource_version() });
        let done = look.hands.write_status::<Table>(&metadata, only(next, &fields)).await;
        if matches!(done, Ok(true)) {
            look.hands.writer.tell_of_table(table, next).await;
        }
        look.note(done);
    }

    fn partitions(&self, look: &Look<'_>) -> Vec<Arc<Known>> {
        let name = look.cluster.name_any();
        self.around.watched.partitions.state_filter(|partition| partition.is_of_cluster(&name))
    }

    async fn remove_orphans(&self, look: &mut Look<'_>) {
        let tables = self.around.watched.tables.state();
        for partition in orphans::orphans(self.partitions(look), &tables, &look.observed) {
            let done = self.service.resources.remove_orphan(&partition.object()).await;
            look.note(done);
        }
    }

    /// As many as are due; the others are seen to differ by the next look, too.
    async fn tell_partitions(&self, look: &mut Look<'_>) {
        let next = |look: &Look<'_>, partition: &Partition| {
            status::partition(partition, &look.observed, look.cluster.spec.zone_mode, &look.now)
        };
        let changed = |partition: Arc<Known>| {
            let object = partition.object();
            let next = next(look, &object)?;
            let worth = status::worth(object.status.as_ref().unwrap_or(&PartitionStatus::default()), &next);
            // What is written is made when it is: there may be thousands that differ.
            (object.status.as_ref() != Some(&next)).then_some((worth, partition))
        };
        let changed = self.partitions(look).into_iter().filter_map(changed);
        let (figures, mut states): (Vec<_>, Vec<_>) = changed.partition(|(worth, _)| *worth == Worth::Figures);
        states.sort_by_key(|(worth, _)| *worth);
        let now = Instant::now();
        states.truncate(look.allowance.states.take(states.len(), now));
        let due = look.allowance.figures.take(figures.len(), now);
        for (_, partition) in states.into_iter().chain(figures.into_iter().take(due)) {
            let object = partition.object();
            let metadata = json!({ "name": object.name_any() });
            let done = look.hands.write_status::<Partition>(&metadata, json!(next(look, &object))).await;
            look.note(done);
        }
    }

    async fn tell_cluster(&self, look: &mut Look<'_>, planned: Planned<'_>) {
        let Planned { seen, steps, removals } = planned;
        let name = look.cluster.name_any();
        let routers = self.around.watched.deployments.state_filter(|deployment| {
            let labels = deployment.labels();
            labels.get(CLUSTER_LABEL) == Some(&name)
                && labels.get("app.kubernetes.io/component").is_some_and(|component| component == build::ROUTERS)
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
            removals,
            routers: usize::try_from(routers).unwrap_or(0),
            rollout: look.rollout,
            tables: tables.len(),
            failure: look.failure.as_deref(),
            certificates: self.sealing.told(),
            now: &look.now,
        };
        let next = status::cluster(look.cluster, &told);
        if look.cluster.status.as_ref() != Some(&next) {
            let done = look.hands.write_status::<Cluster>(&json!({ "name": name }), json!(next)).await;
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

fn eviction(seen: &Seen) -> build::Eviction {
    let nodes = seen.claims.iter().filter(|claim| claim.store.is_some() && !claim.lost).count();
    build::Eviction { nodes, whole: seen.whole }
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
