//! What the words mean: values, items, keys, expressions, tables, partitions, limits.
//!
//! Everything here is pure: values in, values out. No I/O, no clock, no randomness, no hash-map iteration,
//! no logging. Every byte format that is stored or sent and that is not a protobuf message is defined here
//! (items, keys, expressions, descriptors) and opens with a format number.

pub mod codec;
pub mod descriptor;
pub mod expression;
pub mod id;
pub mod item;
pub mod key;
pub mod limits;
pub mod number;
pub mod size;
pub mod units;
pub mod value;

pub use descriptor::{
    AttributeDefinition, BillingMode, KeyAttribute, KeySchema, KeyType, PartitionDescriptor, ReplicaDescriptor,
    ReplicaKind, ReplicaRole, TableDescriptor, TableStatus, Throughput,
};
pub use id::{NodeId, PartitionId, ReplicaId, TableId, Zone};
pub use key::{ItemKey, KeyRange};
pub use number::Number;
pub use size::Size;
pub use value::{Item, Value};
