//! What a table and a partition are: the descriptors that nodes own, MemDS holds and routers cache.
//!
//! Encoded by this crate (format 1) wherever they travel or rest: in administrative log entries, group records,
//! snapshots, protocol messages and resources. Every one carries a version or an epoch: older never replaces newer.

use bytes::Bytes;

use crate::codec::DecodeError;
use crate::id::{NodeId, PartitionId, ReplicaId, TableId, Zone};
use crate::key::KeyRange;

/// The type of a key attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyType {
    S,
    N,
    B,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyAttribute {
    pub name: String,
    pub key_type: KeyType,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySchema {
    pub partition: KeyAttribute,
    pub sort: Option<KeyAttribute>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttributeDefinition {
    pub name: String,
    pub key_type: KeyType,
}

/// Units per second; both 0 for an on-demand table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throughput {
    pub read_units: u64,
    pub write_units: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BillingMode {
    Provisioned,
    PayPerRequest,
}

/// As DynamoDB shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableStatus {
    Creating,
    Active,
    Updating,
    Deleting,
}

/// One table. `version` rises with every change; the newest wins everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableDescriptor {
    pub id: TableId,
    pub name: String,
    pub version: u64,
    pub status: TableStatus,
    pub schema: KeySchema,
    /// Seeds the partition-key hash of this table's keys; never changes.
    pub hash_seed: u64,
    pub billing: BillingMode,
    pub throughput: Throughput,
    /// When throughput was last raised and lowered, milliseconds since the epoch; 0 for never.
    pub last_increase_ms: u64,
    pub last_decrease_ms: u64,
    /// How often throughput was lowered today (UTC).
    pub decreases_today: u64,
    /// When the table's billing mode was last set to on-demand, ms since the epoch; 0 for never.
    pub last_on_demand_ms: u64,
    pub created_ms: u64,
    pub initial_partitions: u32,
    pub deletion_protection: bool,
    /// `STANDARD` or `STANDARD_INFREQUENT_ACCESS`, recorded only.
    pub table_class: String,
    pub tags: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReplicaRole {
    Voter,
    /// Receives the log and does not vote.
    Learner,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReplicaKind {
    /// Log and items.
    Storage,
    /// Only the log.
    Log,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaDescriptor {
    pub id: ReplicaId,
    pub node: NodeId,
    pub zone: Zone,
    pub role: ReplicaRole,
    pub kind: ReplicaKind,
}

/// One partition. `epoch` rises with every change of range or replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionDescriptor {
    pub id: PartitionId,
    pub table: TableId,
    pub range: KeyRange,
    pub epoch: u64,
    /// Sorted by id.
    pub replicas: Vec<ReplicaDescriptor>,
    /// The id that the next replica of this group gets.
    pub next_replica: ReplicaId,
}

impl PartitionDescriptor {
    pub fn replica(&self, id: ReplicaId) -> Option<&ReplicaDescriptor> {
        self.replicas.iter().find(|r| r.id == id)
    }

    pub fn on_node(&self, node: NodeId) -> Option<&ReplicaDescriptor> {
        self.replicas.iter().find(|r| r.node == node)
    }

    pub fn encode(&self) -> Bytes {
        unimplemented!()
    }

    pub fn decode(_bytes: Bytes) -> Result<PartitionDescriptor, DecodeError> {
        unimplemented!()
    }
}

impl TableDescriptor {
    pub fn encode(&self) -> Bytes {
        unimplemented!()
    }

    pub fn decode(_bytes: Bytes) -> Result<TableDescriptor, DecodeError> {
        unimplemented!()
    }
}
