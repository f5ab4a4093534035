//! What has been planned, done: every call that changes something in Kubernetes or gives a node its identity.
//!
//! Each can be done twice: an object that is there already, or gone already, is as good as made or removed. What is deleted or marked is what
//! was seen: another of that name, or one that has changed since, is left alone.
#![expect(clippy::disallowed_types, reason = "it writes")]

use std::fmt::Debug;

use control::cluster::{Cluster as Nodes, ClusterError};
use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolumeClaim};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client, Resource, ResourceExt};
use model::NodeId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use wire::admin::FormatRequest;

use crate::build::{self, CONTENT};
use crate::crd::{Cluster, Table, TableStatus};
use crate::happened::{Happening, happened};
use crate::names::{self, OPERATOR_MANAGER};
use crate::objects::Objects;
use crate::observe::{LOST, STORE, SURPLUS};
use crate::plan::Step;
use crate::resources::FINALIZER;
use crate::watch::Watched;

/// In bytes, as Kubernetes takes it.
const LONGEST_NOTE: usize = 1024;

/// Why a step was not done; the next look plans again.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("{what}: {}", sentence(.source))]
    Kubernetes {
        what: String,
        #[source]
        source: Box<kube::Error>,
    },
    #[error("format node {node}: {source}")]
    Format {
        node: NodeId,
        #[source]
        source: ClusterError,
    },
}

/// Writes what is planned, and tells what has happened.
#[derive(Clone)]
pub struct Writer {
    client: Client,
    recorder: Recorder,
}

impl Writer {
    pub fn new(client: Client) -> Writer {
        let recorder = Recorder::new(client.clone(), Reporter::from(OPERATOR_MANAGER.to_owned()));
        Writer { client, recorder }
    }

    /// Whatever has happened to the Table when `next` took the place of its status.
    pub async fn tell_of_table(&self, table: &Table, next: &TableStatus) {
        let before = table.status.clone().unwrap_or_default();
        for happening in happened(&before, next) {
            tracing::info!(table = table.name_any(), reason = happening.reason, note = happening.note, "event");
            self.publish(&table.object_ref(&()), happening).await;
        }
    }

    /// An event that is not written is no reason to stop.
    async fn publish(&self, about: &ObjectReference, happening: Happening) {
        let Happening { kind, reason, mut note, action } = happening;
        note.truncate(note.floor_char_boundary(LONGEST_NOTE));
        let event = Event { type_: kind, reason, note: Some(note), action, secondary: None };
        if let Err(error) = self.recorder.publish(&event, about).await {
            tracing::debug!(%error, "an event was not written");
        }
    }
}

/// The hands of one cluster's operator.
pub struct Hands<'a> {
    pub writer: &'a Writer,
    pub cluster: &'a Cluster,
    pub nodes: &'a Nodes,
    pub watched: &'a Watched,
}

/// A status for server-side apply, of the object that the metadata name.
pub fn applied<K>(metadata: &serde_json::Value, status: &serde_json::Value) -> Patch<serde_json::Value>
where
    K: Resource,
    K::DynamicType: Default,
{
    let kind = K::DynamicType::default();
    let (api_version, kind) = (K::api_version(&kind), K::kind(&kind));
    Patch::Apply(json!({ "apiVersion": api_version, "kind": kind, "metadata": metadata, "status": status }))
}

/// What became of the wish that an object goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deletion {
    Begun,
    /// It goes already, or is another one than was seen.
    Awaited,
    Gone,
}

impl Hands<'_> {
    fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.writer.client.clone(), &self.cluster.namespace().unwrap_or_default())
    }

    pub async fn step(&self, step: &Step) -> Result<(), ApplyError> {
        match step {
            Step::CreateClaim { zone, node } => self.create(&build::node::claim(self.cluster, zone, *node)).await,
            Step::CreatePod { zone, node } => self.create(&build::node::pod(self.cluster, zone, *node)).await,
            Step::DeletePod { name, why } => {
                if self.delete(name, &self.watched.pods).await? == Deletion::Begun {
                    self.tell(EventType::Normal, "PodReplaced", name, format!("Pod {name}: {why}")).await;
                }
                Ok(())
            }
            Step::RecordStore { node, store } => {
                self.annotate_claim(*node, STORE, json!(format!("{store:016x}"))).await.map(drop)
            }
            Step::Format { address, node, store } => {
                self.format(address, *node, *store).await?;
                let note = format!("disk {store:016x} is node {node} from now on");
                self.tell(EventType::Normal, "NodeFormatted", &node.to_string(), note).await;
                Ok(())
            }
            Step::MarkLost { node, why } => {
                if !self.annotate_claim(*node, LOST, json!(why)).await? {
                    return Ok(());
                }
                let note = format!(
                    "node {node} is lost, since {why}: another node takes its place, groups rebuild its replicas"
                );
                self.tell(EventType::Warning, "VolumeLost", &node.to_string(), note).await;
                Ok(())
            }
            Step::Leave { node } => {
                if !self.annotate_claim(*node, SURPLUS, json!("true")).await? {
                    return Ok(());
                }
                let note = format!("node {node} is not wished any more: its replicas move first");
                self.tell(EventType::Normal, "NodeLeaves", &node.to_string(), note).await;
                Ok(())
            }
            Step::Stay { node } => self.annotate_claim(*node, SURPLUS, Value::Null).await.map(drop),
            Step::DeleteClaim { node } => self.delete(&self.node_name(*node), &self.watched.claims).await.map(drop),
            Step::GrowClaim { node, size } => self.grow_claim(*node, size).await,
            Step::RemoveFleet { zone } => self.remove_fleet(zone).await,
            Step::Blocked { .. } => Ok(()),
        }
    }

    /// Writes the object where its content is another than that of the one that is there; whether it was.
    pub async fn ensure<K>(&self, wished: &K, there: &Objects<K>) -> Result<bool, ApplyError>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned
            + 'static,
        K::DynamicType: Default + Eq + std::hash::Hash + Clone,
    {
        let name = wished.name_any();
        let content = wished.annotations().get(CONTENT);
        let found = there.get(&name);
        if found.is_some_and(|found| found.annotations().get(CONTENT) == content) {
            return Ok(false);
        }
        let parameters = PatchParams::apply(OPERATOR_MANAGER).force().validation_strict();
        let applied = self.api::<K>().patch(&name, &parameters, &Patch::Apply(wished)).await;
        applied
            .map(|_| true)
            .map_err(|error| failed(format!("write {} {name}", K::kind(&K::DynamicType::default())), error))
    }

    /// So that a Table object that somebody deletes stays until its groups are seen to.
    pub async fn hold(&self, table: &Table) -> Result<(), ApplyError> {
        let name = table.name_any();
        let mut finalizers = table.finalizers().to_vec();
        finalizers.push(FINALIZER.to_owned());
        let patch = json!({ "metadata": { "finalizers": finalizers, "resourceVersion": table.resource_version() } });
        let held = self.api::<Table>().patch(&name, &parameters(), &Patch::Merge(patch)).await;
        held.map(drop).map_err(|error| failed(format!("hold Table {name}"), error))
    }

    /// By server-side apply: these fields are the operator's, what it has said before and does not say now is taken back, and what others
    /// own is left. False where the object is gone, or is not of the version that `metadata` names: the next look decides anew.
    pub async fn write_status<K>(&self, metadata: &Value, status: Value) -> Result<bool, ApplyError>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
        K::DynamicType: Default,
    {
        let name = metadata["name"].as_str().unwrap_or_default();
        let applied = applied::<K>(metadata, &status);
        let parameters = PatchParams::apply(OPERATOR_MANAGER).force();
        match self.api::<K>().patch_status(name, &parameters, &applied).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(false),
            Err(error) => Err(failed(format!("write the status of {name}"), error)),
        }
    }

    /// Something has happened to the cluster: one event for each `about` ([`Happening::action`]).
    pub async fn tell(&self, kind: EventType, reason: &str, about: &str, note: String) {
        tracing::info!(cluster = self.cluster.name_any(), reason, note, "event");
        let action = format!("{reason} {about}");
        let happening = Happening { kind, reason: reason.to_owned(), note, action };
        self.writer.publish(&self.cluster.object_ref(&()), happening).await;
    }

    async fn create<K>(&self, object: &K) -> Result<(), ApplyError>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned,
        K::DynamicType: Default,
    {
        let parameters = PostParams { field_manager: Some(OPERATOR_MANAGER.to_owned()), ..PostParams::default() };
        match self.api::<K>().create(&parameters, object).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
            Err(error) => {
                Err(failed(format!("create {} {}", K::kind(&K::DynamicType::default()), object.name_any()), error))
            }
        }
    }

    /// Gracefully: what runs is asked to stop, and is waited for. By what was last seen: where that has changed, the next look decides anew.
    async fn delete<K>(&self, name: &str, there: &Objects<K>) -> Result<Deletion, ApplyError>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope> + Clone + Debug + DeserializeOwned + 'static,
        K::DynamicType: Default + Eq + std::hash::Hash + Clone,
    {
        let seen = there.get(name);
        let is_ending = seen.as_ref().is_some_and(|found| found.meta().deletion_timestamp.is_some());
        let as_seen = Preconditions {
            uid: seen.as_ref().and_then(|found| found.uid()),
            resource_version: seen.as_ref().and_then(|found| found.resource_version()),
        };
        match self.api::<K>().delete(name, &DeleteParams::default().preconditions(as_seen)).await {
            Ok(_) if is_ending => Ok(Deletion::Awaited),
            Ok(_) => Ok(Deletion::Begun),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(Deletion::Gone),
            Err(kube::Error::Api(status)) if status.is_conflict() => Ok(Deletion::Awaited),
            Err(error) => Err(failed(format!("delete {} {name}", K::kind(&K::DynamicType::default())), error)),
        }
    }

    /// Whether it said something else before.
    async fn annotate_claim(&self, node: NodeId, key: &str, value: Value) -> Result<bool, ApplyError> {
        let seen = self.watched.claims.get(&self.node_name(node));
        if seen.is_some_and(|found| found.annotations().get(key).map(String::as_str) == value.as_str()) {
            return Ok(false);
        }
        self.patch_claim(node, "annotate", json!({ "metadata": { "annotations": { key: value } } })).await
    }

    async fn grow_claim(&self, node: NodeId, size: &str) -> Result<(), ApplyError> {
        let wish = json!({ "spec": { "resources": { "requests": { "storage": size } } } });
        if !self.patch_claim(node, "grow", wish).await? {
            return Ok(());
        }
        let note = format!("the volume of node {node} grows to {size}");
        self.tell(EventType::Normal, "VolumeGrows", &format!("{node} {size}"), note).await;
        Ok(())
    }

    /// What it says decides whose disk it is: nothing is written over what was not seen. False where none is seen.
    async fn patch_claim(&self, node: NodeId, act: &str, mut patch: Value) -> Result<bool, ApplyError> {
        let name = self.node_name(node);
        let Some(seen) = self.watched.claims.get(&name) else { return Ok(false) };
        patch["metadata"]["resourceVersion"] = json!(seen.resource_version());
        let patched = self.api::<PersistentVolumeClaim>().patch(&name, &parameters(), &Patch::Merge(patch)).await;
        patched.map(|_| true).map_err(|error| failed(format!("{act} claim {name}"), error))
    }

    /// Whoever serves there is asked to stop; the name goes last, so that what is left half done is found again.
    async fn remove_fleet(&self, zone: &str) -> Result<(), ApplyError> {
        for part in [build::ROUTERS, build::MEMDS] {
            let name = build::zone_name(self.cluster, part, zone);
            if self.delete(&name, &self.watched.deployments).await? == Deletion::Awaited {
                return Ok(());
            }
        }
        let name = build::zone_name(self.cluster, build::MEMDS, zone);
        if self.delete(&name, &self.watched.services).await? == Deletion::Begun {
            let note = format!("zone {zone} has no nodes, routers or MemDS any more");
            self.tell(EventType::Normal, "ZoneRemoved", zone, note).await;
        }
        Ok(())
    }

    async fn format(&self, address: &str, node: NodeId, store: u64) -> Result<(), ApplyError> {
        let failed = |source| ApplyError::Format { node, source };
        let mut client = self.nodes.node_at(address).ok_or_else(|| failed(ClusterError::UnknownNode(node)))?;
        let request = FormatRequest { node: node.0, store };
        client.format(request).await.map(drop).map_err(|status| failed(ClusterError::from(status)))
    }

    fn node_name(&self, node: NodeId) -> String {
        names::node(&self.cluster.name_any(), node)
    }
}

fn parameters() -> PatchParams {
    PatchParams { field_manager: Some(OPERATOR_MANAGER.to_owned()), ..PatchParams::default() }
}

/// What the API server says, without the rest of its answer.
pub fn sentence(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

fn failed(what: String, source: kube::Error) -> ApplyError {
    ApplyError::Kubernetes { what, source: Box::new(source) }
}
