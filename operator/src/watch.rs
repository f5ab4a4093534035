//! What Kubernetes has, as far as it concerns us: watched, listed whole before anybody looks, and never acted upon while it is not.

use std::fmt::Debug;
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Event, Node, PersistentVolume, PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::crd::{Cluster, Partition, Table};
use crate::names::CLUSTER_LABEL;
use crate::observe::ground;

/// Everything that is watched, in one namespace, and what Kubernetes itself stands on. Cheap to clone.
#[derive(Clone)]
pub struct Watched {
    pub clusters: Store<Cluster>,
    pub tables: Store<Table>,
    pub partitions: Store<Partition>,
    pub pods: Store<Pod>,
    pub claims: Store<PersistentVolumeClaim>,
    pub deployments: Store<Deployment>,
    pub services: Store<Service>,
    pub budgets: Store<PodDisruptionBudget>,
    /// Kubernetes' nodes.
    pub machines: Store<Node>,
    pub volumes: Store<PersistentVolume>,
    pub classes: Store<StorageClass>,
    /// What kubelets say of volumes that they cannot mount.
    pub unmounted: Store<Event>,
    /// The same of volumes that cannot be attached.
    pub unattached: Store<Event>,
}

/// The watches themselves; they end when this is dropped.
pub struct Watches {
    tasks: JoinSet<()>,
}

/// A watch has ended, which it never does by itself.
#[derive(Debug, thiserror::Error)]
#[error("a watch of the API server has ended")]
pub struct Ended;

/// Begins to watch; `changed` is notified of whatever changes.
pub fn start(client: &Client, namespace: &str, changed: &Arc<Notify>) -> (Watched, Watches) {
    let mut tasks = JoinSet::new();
    let labelled = watcher::Config::default().labels(CLUSTER_LABEL);
    let mut own = Start { client, namespace, changed, tasks: &mut tasks };
    let watched = Watched {
        clusters: own.watch(watcher::Config::default()),
        tables: own.watch(watcher::Config::default()),
        partitions: own.watch(watcher::Config::default()),
        pods: own.watch(labelled.clone()),
        claims: own.watch(labelled.clone()),
        deployments: own.watch(labelled.clone()),
        services: own.watch(labelled.clone()),
        budgets: own.watch(labelled),
        machines: own.watch_all(ground::trim_machine),
        volumes: own.watch_all(ground::trim_volume),
        classes: own.watch_all(ground::trim_class),
        unmounted: own.watch_events("FailedMount"),
        unattached: own.watch_events("FailedAttachVolume"),
    };
    (watched, Watches { tasks })
}

impl Watched {
    /// Until everything has been listed whole.
    pub async fn ready(&self) -> Result<(), Ended> {
        let Watched { clusters, tables, partitions, pods, claims, deployments, services, budgets, .. } = self;
        let Watched { machines, volumes, classes, unmounted, unattached, .. } = self;
        clusters.wait_until_ready().await.map_err(|_ended| Ended)?;
        tables.wait_until_ready().await.map_err(|_ended| Ended)?;
        partitions.wait_until_ready().await.map_err(|_ended| Ended)?;
        pods.wait_until_ready().await.map_err(|_ended| Ended)?;
        claims.wait_until_ready().await.map_err(|_ended| Ended)?;
        deployments.wait_until_ready().await.map_err(|_ended| Ended)?;
        services.wait_until_ready().await.map_err(|_ended| Ended)?;
        budgets.wait_until_ready().await.map_err(|_ended| Ended)?;
        machines.wait_until_ready().await.map_err(|_ended| Ended)?;
        volumes.wait_until_ready().await.map_err(|_ended| Ended)?;
        classes.wait_until_ready().await.map_err(|_ended| Ended)?;
        unmounted.wait_until_ready().await.map_err(|_ended| Ended)?;
        unattached.wait_until_ready().await.map_err(|_ended| Ended)
    }
}

impl Watches {
    /// Returns when one of them has ended.
    pub async fn ended(&mut self) -> Ended {
        // How it ended makes no difference: nothing may be decided without it.
        drop(self.tasks.join_next().await);
        Ended
    }
}

struct Start<'a> {
    client: &'a Client,
    namespace: &'a str,
    changed: &'a Arc<Notify>,
    tasks: &'a mut JoinSet<()>,
}

impl Start<'_> {
    fn watch<K>(&mut self, config: watcher::Config) -> Store<K>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + Debug
            + Send
            + Sync
            + 'static,
        K::DynamicType: Default + Eq + std::hash::Hash + Clone,
    {
        let changed = Arc::clone(self.changed);
        self.follow(Api::namespaced(self.client.clone(), self.namespace), config, |_| (), move || changed.notify_one())
    }

    /// What stands in no namespace. It changes often, and seldom in what concerns us: it wakes nobody, and the next look sees it.
    fn watch_all<K>(&mut self, trim: fn(&mut K)) -> Store<K>
    where
        K: Resource<Scope = kube::core::ClusterResourceScope>
            + Clone
            + DeserializeOwned
            + Debug
            + Send
            + Sync
            + 'static,
        K::DynamicType: Default + Eq + std::hash::Hash + Clone,
    {
        self.follow(Api::all(self.client.clone()), watcher::Config::default(), trim, || ())
    }

    fn watch_events(&mut self, reason: &str) -> Store<Event> {
        let config = watcher::Config::default().fields(&format!("reason={reason}"));
        self.follow(Api::namespaced(self.client.clone(), self.namespace), config, ground::trim_event, || ())
    }

    fn follow<K>(
        &mut self,
        api: Api<K>,
        config: watcher::Config,
        trim: fn(&mut K),
        tell: impl Fn() + Send + 'static,
    ) -> Store<K>
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
        K::DynamicType: Default + Eq + std::hash::Hash + Clone,
    {
        let (store, writer) = reflector::store();
        // Who wrote which field is as large as the object itself, and nobody here asks.
        let events = watcher(api, config).modify(move |object| {
            object.managed_fields_mut().clear();
            trim(object);
        });
        let events = events.default_backoff().reflect(writer).touched_objects();
        self.tasks.spawn(async move {
            let mut events = std::pin::pin!(events);
            while let Some(event) = events.next().await {
                if let Err(error) = event {
                    tracing::warn!(%error, "a watch was interrupted; it goes on");
                }
                tell();
            }
        });
        store
    }
}
