//! Groups, items and requests for this crate's tests.

use bytes::Bytes;
use model::{
    Item, KeyRange, KeySchema, KeyType, NodeId, PartitionDescriptor, PartitionId, TableDescriptor, TableId,
    TableStatus, Value, Zone, item,
};

use crate::{Action, WriteRequest};

/// One voter in each of the zones, with ids from 1.
pub(crate) fn descriptor(zones: &[&str]) -> PartitionDescriptor {
    let places = (101..).zip(zones).map(|(node, zone)| (NodeId(node), Zone((*zone).to_owned())));
    PartitionDescriptor { epoch: 3, ..PartitionDescriptor::birth(PartitionId(77), TableId(8), KeyRange::ALL, places) }
}

pub(crate) fn table() -> TableDescriptor {
    let wish = TableDescriptor::wish("things", KeySchema::simple("pk", KeyType::S));
    TableDescriptor { id: TableId(8), version: 4, status: TableStatus::Active, hash_seed: 5, ..wish }
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
