//! Groups, items and requests for this crate's tests.

use bytes::Bytes;
use model::{
    BillingMode, Item, KeyAttribute, KeyRange, KeySchema, KeyType, NodeId, PartitionDescriptor, PartitionId,
    ReplicaDescriptor, ReplicaId, ReplicaKind, ReplicaRole, TableDescriptor, TableId, TableStatus, Throughput, Value,
    Zone, item,
};

use crate::{Action, WriteRequest};

/// One voter in each of the zones, with ids from 1.
pub(crate) fn descriptor(zones: &[&str]) -> PartitionDescriptor {
    let replica = |(zone, id): (&&str, u64)| ReplicaDescriptor {
        id: ReplicaId(id),
        node: NodeId(100 + id),
        zone: Zone((*zone).to_owned()),
        role: ReplicaRole::Voter,
        kind: ReplicaKind::Storage,
    };
    PartitionDescriptor {
        id: PartitionId(77),
        table: TableId(8),
        range: KeyRange::ALL,
        epoch: 3,
        replicas: zones.iter().zip(1..).map(replica).collect(),
        next_replica: ReplicaId(zones.len() as u64 + 1),
    }
}

pub(crate) fn table() -> TableDescriptor {
    let partition = KeyAttribute { name: "pk".to_owned(), key_type: KeyType::S };
    TableDescriptor {
        id: TableId(8),
        name: "things".to_owned(),
        version: 4,
        status: TableStatus::Active,
        schema: KeySchema { partition, sort: None },
        hash_seed: 5,
        billing: BillingMode::PayPerRequest,
        throughput: Throughput::default(),
        last_increase_ms: 0,
        last_decrease_ms: 0,
        decreases_today: 0,
        last_on_demand_ms: 0,
        created_ms: 1,
        initial_partitions: 1,
        deletion_protection: false,
        table_class: "STANDARD".to_owned(),
        tags: Vec::new(),
    }
}

pub(crate) fn item_of(attributes: &[(&str, &str)]) -> Bytes {
    let value = |(name, text): &(&str, &str)| ((*name).to_owned(), Value::S((*text).to_owned()));
    Bytes::from(item::encode_attributes(&attributes.iter().map(value).collect::<Item>()))
}

pub(crate) fn write_request(key: &str, action: Action) -> WriteRequest {
    WriteRequest {
        key: Bytes::from(key.to_owned()),
        action,
        condition: None,
        return_old: false,
        return_new: false,
        return_old_on_failure: false,
        request_id: Bytes::from_static(b"request"),
    }
}

pub(crate) fn put(key: &str, value: &str) -> WriteRequest {
    write_request(key, Action::Put(item_of(&[("pk", key), ("v", value)])))
}
