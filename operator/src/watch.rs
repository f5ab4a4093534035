//! What Kubernetes has, as far as it concerns us: watched, listed whole before anybody looks, and never acted upon while it is not.
//!
//! A watch that is cut goes on from the version that it has seen. Where etcd was set back to an older state, that version lies in the
//! future, and the API server says nothing before it comes: so it is asked which version there is (`Horizon`), and everything is
//! listed anew where that is an older one.
#![expect(clippy::disallowed_types, reason = "it observes")]

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Event, Node, PersistentVolume, PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::ListParams;
use kube::client::Body;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::DefaultBackoff;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tonic::codegen::http::Request;

use crate::crd::{Cluster, Partition, Table};
use crate::known::{Known, Words};
use crate::names::CLUSTER_LABEL;
use crate::objects::{Objects, Writer};
use crate::observe::ground;

/// Between two questions which version there is; whenever a watch begins it is asked besides.
pub const ASKED_EVERY: Duration = Duration::from_secs(60);
/// How many kinds are watched, and after how long each watch is begun anew, as kube has it.
pub const KINDS: u64 = 13;
pub const LONGEST_SECONDS: u64 = 290;
/// Watches begin in bursts.
const BURST: Duration = Duration::from_millis(200);

/// Everything that is watched, in one namespace, and what Kubernetes itself stands on. Cheap to clone.
#[derive(Clone)]
pub struct Watched {
    pub clusters: Objects<Cluster>,
    pub tables: Objects<Table>,
    pub partitions: Objects<Known>,
    pub pods: Objects<Pod>,
    pub claims: Objects<PersistentVolumeClaim>,
    pub deployments: Objects<Deployment>,
    pub services: Objects<Service>,
    pub budgets: Objects<PodDisruptionBudget>,
    /// Kubernetes' nodes.
    pub machines: Objects<Node>,
    pub volumes: Objects<PersistentVolume>,
    pub classes: Objects<StorageClass>,
    /// What kubelets say of volumes that they cannot mount.
    pub unmounted: Objects<Event>,
    /// The same of volumes that cannot be attached.
    pub unattached: Objects<Event>,
    listing: Listing,
}

/// What is yet to be listed whole, since the beginning or since everything has to be listed anew.
#[derive(Clone, Debug, Default)]
struct Listing {
    state: watch::Sender<Unlisted>,
}

#[derive(Clone, Debug, Default)]
struct Unlisted {
    kinds: BTreeSet<String>,
    left: BTreeSet<String>,
    /// Raised whenever everything has to be listed anew.
    round: u64,
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
    let (horizon, listing) = (Arc::new(Horizon::default()), Listing::default());
    let client = &watching(client, &horizon);
    let mut own = Start { client, namespace, changed, listing: &listing, tasks: &mut tasks };
    let watched = Watched {
        clusters: own.watch(watcher::Config::default()),
        tables: own.watch(watcher::Config::default()),
        partitions: own.watch_partitions(),
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
        listing: listing.clone(),
    };
    let clusters: Api<Cluster> = Api::namespaced(client.clone(), namespace);
    let changed = Arc::clone(changed);
    tasks.spawn(async move {
        loop {
            horizon.is_asked_for().await;
            if horizon.has_gone_back(&clusters).await {
                tracing::warn!("etcd was set back to an older state: everything is listed anew");
                listing.begin_anew();
                changed.notify_one();
            }
        }
    });
    (watched, Watches { tasks })
}

impl Watched {
    /// Until everything has been listed whole.
    pub async fn ready(&self) {
        // The sender is in `self`: there is always one.
        drop(self.listing.state.subscribe().wait_for(|listing| listing.left.is_empty()).await);
    }

    /// Whether everything has been listed whole: nothing may be decided before.
    pub fn is_whole(&self) -> bool {
        self.listing.state.borrow().left.is_empty()
    }
}

impl Listing {
    fn add(&self, kind: &str) {
        self.state.send_modify(|listing| {
            listing.kinds.insert(kind.to_owned());
            listing.left.insert(kind.to_owned());
        });
    }

    fn listed(&self, kind: &str, round: u64) {
        self.state.send_if_modified(|listing| listing.round == round && listing.left.remove(kind));
    }

    /// Nobody decides anything from now on until everything is listed again.
    fn begin_anew(&self) {
        self.state.send_modify(|listing| {
            listing.left.clone_from(&listing.kinds);
            listing.round += 1;
        });
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

/// The newest version that a watch has asked to go on from.
#[derive(Debug, Default)]
struct Horizon {
    newest: AtomicU64,
    /// A watch begins.
    begun: Notify,
}

impl Horizon {
    /// `?watch=true&…&resourceVersion=17`
    fn hear(&self, query: &str) {
        let value = |key: &str| query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
        if value("watch") == Some("true")
            && let Some(version) = value("resourceVersion").and_then(|version| version.parse().ok())
        {
            self.newest.fetch_max(version, Ordering::Relaxed);
            self.begun.notify_one();
        }
    }

    async fn is_asked_for(&self) {
        let begun = async {
            self.begun.notified().await;
            tokio::time::sleep(BURST).await;
        };
        // Either way it is time.
        drop(tokio::time::timeout(ASKED_EVERY, begun).await);
    }

    /// Whether the API server has less than it had.
    async fn has_gone_back(&self, clusters: &Api<Cluster>) -> bool {
        let known = self.newest.load(Ordering::Relaxed);
        let listed = match clusters.list(&ListParams::default().limit(1)).await {
            Ok(listed) => listed.metadata.resource_version,
            Err(error) => {
                tracing::debug!(%error, "which version there is was not heard");
                return false;
            }
        };
        let Some(now) = listed.and_then(|version| version.parse::<u64>().ok()) else { return false };
        if now >= known {
            self.newest.fetch_max(now, Ordering::Relaxed);
            return false;
        }
        self.newest.store(now, Ordering::Relaxed);
        true
    }
}

/// The same client, heard by the horizon.
fn watching(client: &Client, horizon: &Arc<Horizon>) -> Client {
    let (client, horizon) = (client.clone(), Arc::clone(horizon));
    let namespace = client.default_namespace().to_owned();
    let service = tower::service_fn(move |request: Request<Body>| {
        // Events may stand in an etcd of their own, with versions of its own.
        if !request.uri().path().ends_with("/events") {
            horizon.hear(request.uri().query().unwrap_or_default());
        }
        let client = client.clone();
        async move { client.send(request).await }
    });
    Client::new(service, namespace)
}

struct Start<'a> {
    client: &'a Client,
    namespace: &'a str,
    changed: &'a Arc<Notify>,
    listing: &'a Listing,
    tasks: &'a mut JoinSet<()>,
}

impl Start<'_> {
    fn watch<K>(&mut self, config: watcher::Config) -> Objects<K>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + Debug
            + PartialEq
            + Send
            + Sync
            + 'static,
        K::DynamicType: Default,
    {
        let api = Api::namespaced(self.client.clone(), self.namespace);
        self.follow(api, config, |object| object, Some(Arc::clone(self.changed)))
    }

    fn watch_partitions(&mut self) -> Objects<Known> {
        let api = Api::namespaced(self.client.clone(), self.namespace);
        let mut words = Words::default();
        let hold = move |object: Partition| Known::new(&object, &mut words);
        self.follow(api, watcher::Config::default(), hold, Some(Arc::clone(self.changed)))
    }

    /// What stands in no namespace. It changes often, and seldom in what concerns us: it wakes nobody, and the next look sees it.
    fn watch_all<K>(&mut self, trim: fn(&mut K)) -> Objects<K>
    where
        K: Resource<Scope = kube::core::ClusterResourceScope>
            + Clone
            + DeserializeOwned
            + Debug
            + PartialEq
            + Send
            + Sync
            + 'static,
        K::DynamicType: Default,
    {
        self.follow(Api::all(self.client.clone()), watcher::Config::default(), trimmed(trim), None)
    }

    fn watch_events(&mut self, reason: &str) -> Objects<Event> {
        let config = watcher::Config::default().fields(&format!("reason={reason}"));
        self.follow(Api::namespaced(self.client.clone(), self.namespace), config, trimmed(ground::trim_event), None)
    }

    fn follow<K, H>(
        &mut self,
        api: Api<K>,
        config: watcher::Config,
        hold: impl FnMut(K) -> H + Send + 'static,
        changed: Option<Arc<Notify>>,
    ) -> Objects<H>
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
        K::DynamicType: Default,
        H: PartialEq + Send + Sync + 'static,
    {
        let fields = config.field_selector.as_deref().unwrap_or_default();
        let kind = format!("{} {fields}", K::kind(&K::DynamicType::default())).trim_end().to_owned();
        self.listing.add(&kind);
        let objects = Objects::default();
        let one = One { api, config, kind, hold, listing: self.listing.clone(), changed };
        self.tasks.spawn(one.follow(Writer::new(&objects)));
        objects
    }
}

/// Without what nobody here asks for.
fn trimmed<K>(trim: fn(&mut K)) -> impl FnMut(K) -> K {
    move |mut object| {
        trim(&mut object);
        object
    }
}

/// The watch of one kind.
struct One<K, F> {
    api: Api<K>,
    config: watcher::Config,
    /// With the fields that it is narrowed to.
    kind: String,
    /// What of an object is held.
    hold: F,
    listing: Listing,
    changed: Option<Arc<Notify>>,
}

impl<K, F> One<K, F>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    async fn follow<H>(mut self, mut writer: Writer<H>)
    where
        F: FnMut(K) -> H,
        H: PartialEq,
    {
        let mut rounds = self.listing.state.subscribe();
        loop {
            let round = rounds.borrow_and_update().round;
            let events = watcher(self.api.clone(), self.config.clone()).backoff(Pauses::default());
            let mut events = std::pin::pin!(events);
            while rounds.borrow_and_update().round == round {
                tokio::select! {
                    biased;
                    // The sender is in `self`: there is always one.
                    _ = rounds.changed() => {}
                    event = events.next() => match event {
                        Some(event) => self.take(event, &mut writer, round),
                        None => return,
                    },
                }
            }
        }
    }

    fn take<H>(&mut self, event: watcher::Result<watcher::Event<K>>, writer: &mut Writer<H>, round: u64)
    where
        F: FnMut(K) -> H,
        H: PartialEq,
    {
        match event {
            Ok(event) => {
                let is_whole = matches!(event, watcher::Event::InitDone);
                writer.take(event, |mut object| {
                    // Who wrote which field is as large as the object itself.
                    object.managed_fields_mut().clear();
                    (object.name_any(), (self.hold)(object))
                });
                if is_whole {
                    self.listing.listed(&self.kind, round);
                }
            }
            Err(error) => tracing::warn!(kind = self.kind, %error, "a watch was interrupted; it goes on"),
        }
        if let Some(changed) = &self.changed {
            changed.notify_one();
        }
    }
}

/// Between tries of a watch that cannot be: as kube's own, but for the longest. What it waits for may be there again at any time, and nothing
/// is done for any Cluster before everything is listed.
#[derive(Default)]
struct Pauses(DefaultBackoff);

const LONGEST_PAUSE: Duration = Duration::from_secs(8);

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0.next().map(|pause| pause.min(LONGEST_PAUSE))
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.0.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_is_tried_again_soon_however_often_it_has_failed() {
        let pauses: Vec<Duration> = Pauses::default().take(30).collect();
        assert_eq!((pauses.len(), pauses.iter().max()), (30, Some(&LONGEST_PAUSE)));
        assert!(pauses[0] < LONGEST_PAUSE, "{pauses:?}");
    }

    #[test]
    fn the_newest_version_that_a_watch_goes_on_from_is_remembered() {
        let horizon = Horizon::default();
        for query in [
            "watch=true&timeoutSeconds=290&resourceVersion=17",
            "&watch=true&resourceVersion=9",
            "limit=500&resourceVersion=99",
            "watch=true&resourceVersion=of-another-kind",
        ] {
            horizon.hear(query);
        }
        assert_eq!(horizon.newest.load(Ordering::Relaxed), 17);
    }

    #[test]
    fn a_list_of_an_earlier_round_counts_no_more() {
        let listing = Listing::default();
        listing.add("Pod");
        listing.add("Table");
        listing.listed("Pod", 0);
        listing.begin_anew();
        listing.listed("Table", 0);
        assert_eq!(listing.state.borrow().left.len(), 2);
        listing.listed("Pod", 1);
        listing.listed("Table", 1);
        assert!(listing.state.borrow().left.is_empty());
    }
}
