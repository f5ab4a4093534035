//! What has been planned, done: every call that changes something in Kubernetes or gives a node its identity.
//!
//! Each can be done twice: an object that is there already, or gone already, is as good as made or removed. What is deleted or marked is what
//! was seen: another of that name, or one that has changed since, is left alone.

use std::fmt::Debug;

use control::cluster::{Cluster as Nodes, ClusterError};
use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolumeClaim};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::events::{Event, EventType, Recorder};
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

/// The hands of one cluster's operator.
pub struct Hands<'a> {
    pub client: &'a Client,
    pub recorder: &'a Recorder,
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

impl Hands<'_> {
    fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.cluster.namespace().unwrap_or_default())
    }

    pub async fn step(&self, step: &Step) -> Result<(), ApplyError> {
        match step {
            Step::CreateClaim { zone, node } => self.create(&build::node::claim(self.cluster, zone, *node)).await,
            Step::CreatePod { zone, node } => self.create(&build::node::pod(self.cluster, zone, *node)).await,
            Step::DeletePod { name, why } => {
                self.delete(name, &self.watched.pods).await?;
                self.tell(EventType::Normal, "PodReplaced", format!("Pod {name}: {why}")).await;
                Ok(())
            }
            Step::RecordStore { node, store } => {
                self.annotate_claim(*node, STORE, json!(format!("{store:016x}"))).await
            }
            Step::Format { address, node, store } => {
                self.format(address, *node, *store).await?;
                self.tell(EventType::Normal, "NodeFormatted", format!("disk {store:016x} is node {node} from now on"))
                    .await;
                Ok(())
            }
            Step::MarkLost { node, why } => {
                self.annotate_claim(*node, LOST, json!(why)).await?;
                let note = format!(
                    "node {node} is lost, since {why}: another node takes its place, groups rebuild its replicas"
                );
                self.tell(EventType::Warning, "VolumeLost", note).await;
                Ok(())
            }
            Step::Leave { node } => {
                self.annotate_claim(*node, SURPLUS, json!("true")).await?;
                self.tell(
                    EventType::Normal,
                    "NodeLeaves",
                    format!("node {node} is not wished any more: its replicas move first"),
                )
                .await;
                Ok(())
            }
            Step::Stay { node } => self.annotate_claim(*node, SURPLUS, Value::Null).await,
            Step::DeleteClaim { node } => self.delete(&self.node_name(*node), &self.watched.claims).await,
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
    /// own is left.
    pub async fn write_status<K>(&self, name: &str, status: serde_json::Value) -> Result<(), ApplyError>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
        K::DynamicType: Default,
    {
        let applied = applied::<K>(&json!({ "name": name }), &status);
        let parameters = PatchParams::apply(OPERATOR_MANAGER).force();
        match self.api::<K>().patch_status(name, &parameters, &applied).await {
            Ok(_) => Ok(()),
            // It has been removed meanwhile, and nobody needs to be told.
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(failed(format!("write the status of {name}"), error)),
        }
    }

    /// Something has happened to the cluster.
    pub async fn tell(&self, kind: EventType, reason: &str, note: String) {
        tracing::info!(cluster = self.cluster.name_any(), reason, note, "event");
        let event = Event {
            type_: kind,
            reason: reason.to_owned(),
            note: Some(note),
            action: reason.to_owned(),
            secondary: None,
        };
        publish(self.recorder, &self.cluster.object_ref(&()), &event).await;
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

    /// Gracefully: what runs is asked to stop, and is waited for.
    async fn delete<K>(&self, name: &str, there: &Objects<K>) -> Result<(), ApplyError>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope> + Clone + Debug + DeserializeOwned + 'static,
        K::DynamicType: Default + Eq + std::hash::Hash + Clone,
    {
        let uid = there.get(name).and_then(|found| found.uid());
        let preconditions = Some(Preconditions { uid, resource_version: None });
        match self.api::<K>().delete(name, &DeleteParams { preconditions, ..DeleteParams::default() }).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(failed(format!("delete {} {name}", K::kind(&K::DynamicType::default())), error)),
        }
    }

    async fn annotate_claim(&self, node: NodeId, key: &str, value: Value) -> Result<(), ApplyError> {
        let name = self.node_name(node);
        let seen = self.watched.claims.get(&name);
        let version = seen.and_then(|found| found.resource_version());
        // What it says decides whose disk it is: nothing is written over what was not seen.
        let patch = Patch::Merge(
            json!({ "metadata": { "resourceVersion": version.unwrap_or_default(), "annotations": { key: value } } }),
        );
        let annotated = self.api::<PersistentVolumeClaim>().patch(&name, &parameters(), &patch).await;
        annotated.map(drop).map_err(|error| failed(format!("annotate claim {name}"), error))
    }

    async fn grow_claim(&self, node: NodeId, size: &str) -> Result<(), ApplyError> {
        let name = self.node_name(node);
        let patch = Patch::Merge(json!({ "spec": { "resources": { "requests": { "storage": size } } } }));
        let grown = self.api::<PersistentVolumeClaim>().patch(&name, &parameters(), &patch).await;
        grown.map_err(|error| failed(format!("grow claim {name}"), error))?;
        self.tell(EventType::Normal, "VolumeGrows", format!("the volume of node {node} grows to {size}")).await;
        Ok(())
    }

    /// Whoever serves there is asked to stop; the name goes last, so that what is left half done is found again.
    async fn remove_fleet(&self, zone: &str) -> Result<(), ApplyError> {
        for part in [build::ROUTERS, build::MEMDS] {
            self.delete(&build::zone_name(self.cluster, part, zone), &self.watched.deployments).await?;
        }
        self.delete(&build::zone_name(self.cluster, build::MEMDS, zone), &self.watched.services).await?;
        self.tell(EventType::Normal, "ZoneRemoved", format!("zone {zone} has no nodes, routers or MemDS any more"))
            .await;
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

/// Whatever has happened to the Table when `next` took the place of its status.
pub async fn tell_of_table(recorder: &Recorder, table: &Table, next: &TableStatus) {
    let before = table.status.clone().unwrap_or_default();
    for Happening { kind, reason, mut note, action } in happened(&before, next) {
        tracing::info!(table = table.name_any(), reason, note, "event");
        note.truncate(note.floor_char_boundary(LONGEST_NOTE));
        let event = Event { type_: kind, reason, note: Some(note), action, secondary: None };
        publish(recorder, &table.object_ref(&()), &event).await;
    }
}

/// An event that is not written is no reason to stop.
async fn publish(recorder: &Recorder, about: &ObjectReference, event: &Event) {
    if let Err(error) = recorder.publish(event, about).await {
        tracing::debug!(%error, "an event was not written");
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
