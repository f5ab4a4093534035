//! `control`'s resources as objects of Kubernetes: a table is a Table object and its Partition objects.
//!
//! Read from what is watched, written with the version that was read: who was slower is refused, and decides again. Slower than somebody who
//! has written what is read here, that is: what the looks tell of a table is theirs, and holds no change of it up. The
//! descriptor that a table's groups are to hold stands in the Table's status; the spec is what people wish, and is changed here only
//! where an SDK has (UpdateTable). A birth is written in three steps, and groups are born only after the last:
//!
//! ```text
//! Table (spec) → its status: id, descriptor, Placing → every Partition object → its status: Placed
//! ```
//! Whoever finds a birth half done goes on with it, also while another still is at it: an SDK's Table has its id from the start (an
//! annotation), and the ids of its partitions follow from that, so that both make the same.
//! Must not touch nodes. Nothing here removes a group because an object is missing.
#![expect(clippy::disallowed_types, reason = "it reads and writes what control wishes")]

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use control::diverged::Confirmed;
use control::resources::{ResourceError, Resources, Snapshot, TableResource};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, CustomResourceExt as _, Resource as _, ResourceExt};
use model::{
    KeyRange, NodeId, PartitionDescriptor, PartitionId, TableDescriptor, TableId, TableStatus as Status, Zone,
};
use serde_json::json;

use crate::apply::{Writer, applied, sentence};
use crate::crd::partition::{Range, ReplicaWish};
use crate::crd::table::Birth;
use crate::crd::{Partition, PartitionSpec, Table};
use crate::known::Known;
use crate::names::{self, API_MANAGER, CLUSTER_LABEL, CONFIRM, DRIVER_MANAGER, OPERATOR_MANAGER, TABLE_LABEL};
use crate::watch::Watched;
use crate::{orphans, wish};

/// Keeps a Table object until its groups are gone, or are known to stay.
pub const FINALIZER: &str = "trivet.dev/table";

/// What an SDK's table was given when it was made, until its status says it.
pub const GIVEN: &str = "trivet.dev/given";

/// How often a table is written that somebody else tells something of at the same moment.
const ATTEMPTS: u32 = 10;

/// The resources of every Cluster of a namespace.
#[derive(Clone)]
pub struct Shelf {
    client: Client,
    writer: Writer,
    namespace: String,
    watched: Watched,
}

impl Shelf {
    pub fn new(client: Client, writer: Writer, namespace: &str, watched: &Watched) -> Shelf {
        Shelf { client, writer, namespace: namespace.to_owned(), watched: watched.clone() }
    }

    pub fn of(&self, cluster: &str) -> KubeResources {
        KubeResources { shelf: self.clone(), cluster: cluster.to_owned() }
    }
}

/// The resources of one Cluster.
pub struct KubeResources {
    shelf: Shelf,
    cluster: String,
}

impl Resources for KubeResources {
    async fn read(&self) -> Result<Snapshot, ResourceError> {
        if !self.shelf.watched.is_whole() {
            return Err(ResourceError::Unavailable("not everything is listed yet".to_owned()));
        }
        let mut snapshot = Snapshot::default();
        // An object under another's name is nobody's resource: what it says must not pass for what the right one says.
        let tables =
            self.shelf.watched.tables.state_filter(|table| table.name_any() == names::table(&table.spec.table_name));
        let (tables, others): (Vec<_>, Vec<_>) =
            tables.into_iter().partition(|table| table.spec.cluster_ref == self.cluster);
        let owner = |table: &Table| format!("Cluster {} of the same namespace", table.spec.cluster_ref);
        snapshot.taken = others.iter().map(|table| (table.spec.table_name.clone(), owner(table))).collect();
        // After the tables: a table that is placed has its Partitions.
        let objects = self.shelf.watched.partitions.state();
        let mut of_table: BTreeMap<&str, Vec<&Known>> = BTreeMap::new();
        for object in &objects {
            of_table.entry(object.table_id()).or_default().push(object);
        }
        for table in tables {
            let name = table.spec.table_name.clone();
            snapshot.versions.insert(name.clone(), version(&table));
            if table.spec.paused {
                snapshot.paused.insert(name.clone());
            }
            if let Some(confirmed) = confirmed(&table) {
                snapshot.confirmed.insert(name.clone(), confirmed);
            }
            if is_placed(&table)
                && let Some(descriptor) = descriptor(&table)?
            {
                let objects = of_table.get(descriptor.id.to_string().as_str()).map_or(&[][..], Vec::as_slice);
                let partitions = in_key_order(&descriptor, objects);
                snapshot.tables.insert(name, TableResource { table: descriptor, partitions });
            } else if let Some(wish) = unborn(&table) {
                snapshot.unborn.insert(name, wish.schema);
            }
        }
        Ok(snapshot)
    }

    async fn is_newest(&self, read: &Snapshot, name: &str) -> Result<bool, ResourceError> {
        let now = self.tables().get_opt(&names::table(name)).await.map_err(|error| failed(name, error))?;
        Ok(now.as_ref().map(version).as_ref() == read.versions.get(name))
    }

    async fn write(&self, read: &Snapshot, name: &str, resource: Option<TableResource>) -> Result<(), ResourceError> {
        let object = names::table(name);
        let mut known = self.shelf.watched.tables.get(&object);
        for _ in 0..ATTEMPTS {
            if known.as_deref().map(version).as_ref() != read.versions.get(name) {
                break;
            }
            match self.write_over(known.as_ref(), resource.clone()).await {
                // Somebody was faster, though perhaps with something else than what was read.
                Err(ResourceError::Conflict(_)) => {}
                done => return done,
            }
            known = self.tables().get_opt(&object).await.map_err(|error| failed(name, error))?.map(Arc::new);
        }
        Err(ResourceError::Conflict(name.to_owned()))
    }
}

impl KubeResources {
    /// What it reads from.
    pub fn watched(&self) -> &Watched {
        &self.shelf.watched
    }

    fn tables(&self) -> Api<Table> {
        Api::namespaced(self.shelf.client.clone(), &self.shelf.namespace)
    }

    fn partition_objects(&self) -> Api<Partition> {
        Api::namespaced(self.shelf.client.clone(), &self.shelf.namespace)
    }

    async fn write_over(
        &self,
        known: Option<&Arc<Table>>,
        resource: Option<TableResource>,
    ) -> Result<(), ResourceError> {
        match (known, resource) {
            (Some(table), Some(resource)) => self.change(table, &resource).await,
            (Some(table), None) => self.remove(table).await,
            (None, Some(resource)) => {
                let table = self.create(&resource.table).await?;
                match self.place(table, &resource).await {
                    // The look at Tables was faster, and goes on with the same.
                    Err(ResourceError::Conflict(_)) => Ok(()),
                    placed => placed,
                }
            }
            (None, None) => Ok(()),
        }
    }

    async fn create(&self, table: &TableDescriptor) -> Result<Table, ResourceError> {
        let mut object = Table::new(&names::table(&table.name), wish::spec(&self.cluster, table));
        object.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
        object.annotations_mut().insert(GIVEN.to_owned(), BASE64.encode(table.encode()));
        let parameters = PostParams { field_manager: Some(API_MANAGER.to_owned()), ..PostParams::default() };
        self.tables().create(&parameters, &object).await.map_err(|error| failed(&table.name, error))
    }

    /// From an object without groups to one whose groups may be born.
    async fn place(&self, table: Table, resource: &TableResource) -> Result<(), ResourceError> {
        let table = self.write_status(table, resource, Birth::Placing).await?;
        self.create_partitions(&table, resource).await?;
        self.write_status(table, resource, Birth::Placed).await.map(drop)
    }

    async fn change(&self, known: &Arc<Table>, resource: &TableResource) -> Result<(), ResourceError> {
        let mut table = Table::clone(known);
        let before = descriptor(known)?;
        if !is_placed(known) && resource.table.status == Status::Creating {
            return self.place(table, resource).await;
        }
        let wished = |descriptor: &TableDescriptor| wish::changed(&table.spec, descriptor);
        let asked = before.as_ref().is_some_and(|before| wished(before) == table.spec);
        // Whatever is wished: else the wish would be followed next, over what nodes hold.
        let taken = confirmed(known) == Some(Confirmed::Nodes)
            && before.as_ref().is_none_or(|before| wished(before) != wished(&resource.table));
        if (asked || taken) && wish::changed(&table.spec, &resource.table) != table.spec {
            table.spec = wish::changed(&table.spec, &resource.table);
            let parameters = PostParams { field_manager: Some(API_MANAGER.to_owned()), ..PostParams::default() };
            let name = table.name_any();
            table = self.tables().replace(&name, &parameters, &table).await.map_err(|error| failed(&name, error))?;
        }
        self.create_partitions(&table, resource).await?;
        self.write_status(table, resource, Birth::Placed).await.map(drop)
    }

    /// What the driver owns of it, with the version that the object was read with.
    async fn write_status(&self, table: Table, resource: &TableResource, birth: Birth) -> Result<Table, ResourceError> {
        let (name, descriptor) = (table.name_any(), &resource.table);
        let status = json!({
            "tableId": descriptor.id.to_string(),
            "birth": birth,
            "descriptor": BASE64.encode(descriptor.encode()),
        });
        let metadata = json!({ "name": name, "resourceVersion": table.resource_version() });
        let applied = applied::<Table>(&metadata, &status);
        let parameters = PatchParams::apply(DRIVER_MANAGER).force();
        let patched = self.tables().patch_status(&name, &parameters, &applied).await;
        let written = patched.map_err(|error| failed(&name, error))?;
        // Of two who write over the same version one succeeds, and it alone tells.
        if let Some(next) = &written.status {
            self.shelf.writer.tell_of_table(&table, next).await;
        }
        Ok(written)
    }

    /// Those that are not there yet; a range that has changed is written into the status.
    async fn create_partitions(&self, table: &Table, resource: &TableResource) -> Result<(), ResourceError> {
        let parameters = PostParams { field_manager: Some(OPERATOR_MANAGER.to_owned()), ..PostParams::default() };
        for partition in &resource.partitions {
            let object = self.partition_object(table, partition);
            let name = object.name_any();
            // What is there costs no call, and who is tried again goes on where it ended.
            let known = self.shelf.watched.partitions.get(&name);
            if known.is_some_and(|known| partition.epoch <= known.epoch().max(1)) {
                continue;
            }
            match self.partition_objects().create(&parameters, &object).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.is_already_exists() => {}
                Err(error) => return Err(failed(&name, error)),
            }
            if partition.epoch > 1 {
                let status = json!({ "status": { "epoch": partition.epoch, "range": range(&partition.range) } });
                let merge = Patch::Merge(status);
                let parameters =
                    PatchParams { field_manager: Some(OPERATOR_MANAGER.to_owned()), ..PatchParams::default() };
                let patched = self.partition_objects().patch_status(&name, &parameters, &merge).await;
                patched.map_err(|error| failed(&name, error))?;
            }
        }
        Ok(())
    }

    fn partition_object(&self, table: &Table, partition: &PartitionDescriptor) -> Partition {
        let replicas = partition
            .replicas
            .iter()
            .map(|replica| ReplicaWish { zone: replica.zone.0.clone(), node: replica.node.to_string() });
        let spec = PartitionSpec {
            table_ref: table.name_any(),
            table_id: partition.table.to_string(),
            partition_id: partition.id.to_string(),
            range: range(&partition.range),
            replicas: replicas.collect(),
        };
        let mut object = Partition::new(&names::partition(&table.spec.table_name, partition.id), spec);
        let labels = [(TABLE_LABEL, partition.table.to_string()), (CLUSTER_LABEL, self.cluster.clone())];
        object.metadata = ObjectMeta {
            labels: Some(labels.map(|(key, value)| (key.to_owned(), value)).into()),
            ..object.meta().clone()
        };
        object
    }

    async fn remove_partitions(&self, name: &str, table: TableId) -> Result<(), ResourceError> {
        let ours = ListParams::default().labels(&format!("{TABLE_LABEL}={table}"));
        let removed = self.partition_objects().delete_collection(&DeleteParams::default(), &ours).await;
        removed.map(drop).map_err(|error| failed(name, error))
    }

    async fn remove(&self, table: &Table) -> Result<(), ResourceError> {
        let name = table.name_any();
        if let Some(descriptor) = descriptor(table)? {
            self.remove_partitions(&name, descriptor.id).await?;
        }
        self.release(table).await?;
        if table.metadata.deletion_timestamp.is_none() {
            let as_read = Preconditions { uid: table.uid(), resource_version: None };
            match self.tables().delete(&name, &DeleteParams::default().preconditions(as_read)).await {
                Ok(_) => {}
                // Somebody else was faster.
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                Err(error) => return Err(failed(&name, error)),
            }
        }
        Ok(())
    }

    /// Takes away a Partition object of a table that is gone. The Table is asked for once more: its watch and the Partitions' are not in
    /// step, and a birth writes the table's id first.
    pub async fn remove_orphan(&self, partition: &Partition) -> Result<(), ResourceError> {
        let name = partition.name_any();
        let table = self.tables().get_opt(&partition.spec.table_ref).await.map_err(|error| failed(&name, error))?;
        if table.as_ref().and_then(orphans::table_id) == Some(partition.spec.table_id.as_str()) {
            return Ok(());
        }
        let as_read = Preconditions { uid: partition.uid(), resource_version: partition.resource_version() };
        let parameters = DeleteParams::default().preconditions(as_read);
        match self.partition_objects().delete(&name, &parameters).await {
            Ok(_) => tracing::info!(partition = name, "an object without a table and without a group is removed"),
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            Err(error) => return Err(failed(&name, error)),
        }
        Ok(())
    }

    /// Whether Table objects go because their definition does, and not because somebody wishes for one table less.
    pub async fn definition_goes(&self) -> Result<bool, ResourceError> {
        definition_goes(&self.shelf.client).await.map_err(|error| failed(&Table::crd().name_any(), error))
    }

    /// What a person has confirmed is done.
    pub async fn forget_confirmation(&self, table: &Table) -> Result<(), ResourceError> {
        let name = table.name_any();
        let without =
            json!({ "metadata": { "annotations": { CONFIRM: null }, "resourceVersion": table.resource_version() } });
        let parameters = PatchParams { field_manager: Some(OPERATOR_MANAGER.to_owned()), ..PatchParams::default() };
        let patched = self.tables().patch(&name, &parameters, &Patch::Merge(without)).await;
        patched.map(drop).map_err(|error| failed(&name, error))
    }

    /// Lets the object go.
    pub async fn release(&self, table: &Table) -> Result<(), ResourceError> {
        let name = table.name_any();
        let patched = self.tables().patch(&name, &PatchParams::default(), &letting_go(table)).await;
        patched.map(drop).map_err(|error| failed(&name, error))
    }
}

/// What a person has said of a table that is diverged; none also where that cannot be understood.
pub fn confirmed(table: &Table) -> Option<Confirmed> {
    table.annotations().get(CONFIRM).and_then(|word| Confirmed::read(word))
}

/// Whether groups may be born of it.
pub fn is_placed(table: &Table) -> bool {
    table.status.as_ref().is_some_and(|status| status.birth == Birth::Placed && !status.descriptor.is_empty())
}

/// Somebody who deletes the object has to wait.
pub fn is_held(table: &Table) -> bool {
    table.finalizers().iter().any(|finalizer| finalizer == FINALIZER)
}

/// Nobody waits for its groups any more: of the object as it was read.
pub fn letting_go(table: &Table) -> Patch<serde_json::Value> {
    let kept: Vec<&String> = table.finalizers().iter().filter(|finalizer| *finalizer != FINALIZER).collect();
    Patch::Merge(json!({ "metadata": { "finalizers": kept, "resourceVersion": table.resource_version() } }))
}

/// What is read here of an object, and by whom it was changed is all the same: two that tell the same of it are one version.
pub fn version(table: &Table) -> String {
    // Not what the looks say of it; a deletion raises the generation.
    let born = table.status.as_ref().map(|status| (status.birth, &status.descriptor));
    let (uid, generation) = (table.uid().unwrap_or_default(), table.metadata.generation.unwrap_or(0));
    format!("{uid} {generation} {born:?} {:?}", table.annotations().get(CONFIRM))
}

/// What is wished of a table that has no id yet.
fn unborn(table: &Table) -> Option<TableDescriptor> {
    let is_unborn = orphans::table_id(table).is_none() && table.metadata.deletion_timestamp.is_none();
    wish::descriptor(&table.spec).filter(|_| is_unborn)
}

/// What its groups are to hold; none before its birth has begun.
pub fn descriptor(table: &Table) -> Result<Option<TableDescriptor>, ResourceError> {
    let said = table.status.as_ref().map(|status| &status.descriptor).filter(|text| !text.is_empty());
    let Some(text) = said.or_else(|| table.annotations().get(GIVEN)) else { return Ok(None) };
    let malformed = |why: String| ResourceError::Malformed(format!("descriptor of {}: {why}", table.name_any()));
    let bytes = BASE64.decode(text).map_err(|error| malformed(error.to_string()))?;
    TableDescriptor::decode(Bytes::from(bytes)).map(Some).map_err(|error| malformed(error.to_string()))
}

/// The table's Partitions. While the table is being made as they are to be born, later as nodes have last told.
fn in_key_order(table: &TableDescriptor, objects: &[&Known]) -> Vec<PartitionDescriptor> {
    let born = table.status != Status::Creating;
    let mut found: Vec<_> = objects.iter().filter_map(|object| partition_descriptor(&object.object(), born)).collect();
    found.sort_by(|a, b| a.range.cmp(&b.range));
    found
}

/// None where somebody has written what cannot be read.
fn partition_descriptor(object: &Partition, born: bool) -> Option<PartitionDescriptor> {
    let spec = &object.spec;
    let id = |text: &str| u64::from_str_radix(text, 16).ok();
    let places = spec.replicas.iter().map(|wish| Some((NodeId(id(&wish.node)?), Zone(wish.zone.clone()))));
    let places = places.collect::<Option<Vec<_>>>()?;
    let (partition, table) = (PartitionId(id(&spec.partition_id)?), TableId(id(&spec.table_id)?));
    let mut descriptor = PartitionDescriptor::birth(partition, table, key_range(&spec.range)?, places);
    if born
        && let Some(status) = &object.status
        && status.epoch > 0
    {
        descriptor.epoch = status.epoch;
        descriptor.range = key_range(&status.range)?;
    }
    Some(descriptor)
}

pub fn range(range: &KeyRange) -> Range {
    Range { start: to_hex(&range.start), end: range.end.as_ref().map(|end| to_hex(end)) }
}

fn key_range(range: &Range) -> Option<KeyRange> {
    let end = match &range.end {
        Some(end) => Some(from_hex(end)?),
        None => None,
    };
    Some(KeyRange { start: from_hex(&range.start)?, end })
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Bytes> {
    let pairs = text.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?;
        u8::from_str_radix(pair, 16).ok()
    });
    pairs.collect::<Option<Vec<u8>>>().map(Bytes::from)
}

/// In DynamoDB's words.
pub fn shown(status: Status) -> &'static str {
    match status {
        Status::Creating => "CREATING",
        Status::Active => "ACTIVE",
        Status::Updating => "UPDATING",
        Status::Deleting => "DELETING",
        Status::Retained => "RETAINED",
    }
}

pub async fn definition_goes(client: &Client) -> Result<bool, kube::Error> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let definition = definitions.get_metadata_opt(&Table::crd().name_any()).await?;
    Ok(definition.is_none_or(|definition| definition.metadata.deletion_timestamp.is_some()))
}

fn failed(name: &str, error: kube::Error) -> ResourceError {
    match error {
        kube::Error::Api(status) if status.is_conflict() || status.is_already_exists() => {
            ResourceError::Conflict(name.to_owned())
        }
        error => ResourceError::Unavailable(format!("{name}: {}", sentence(&error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_written_in_hexadecimal_and_read_again() {
        let cut = KeyRange { start: Bytes::from_static(&[0, 0xfe]), end: None };
        assert_eq!(range(&cut), Range { start: "00fe".to_owned(), end: None });
        assert_eq!(key_range(&range(&cut)), Some(cut));
        assert_eq!(key_range(&range(&KeyRange::ALL)), Some(KeyRange::ALL));
        assert_eq!(key_range(&Range { start: "0".to_owned(), end: None }), None);
        assert_eq!(key_range(&Range { start: "zz".to_owned(), end: None }), None);
    }
}
