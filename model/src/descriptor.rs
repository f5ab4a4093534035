//! What a table and a partition are: the descriptors that nodes own, MemDS holds and routers cache.
//!
//! Encoded by this crate (format 1) wherever they travel or rest: in administrative log entries, group records,
//! snapshots, protocol messages and resources. Every one carries a version or an epoch: older never replaces newer.
//!
//! ```text
//! descriptor := format u8 (1) ‖ its fields in their order here
//! ```
//! Ids, seeds, versions and epochs are u64, other numbers varints, texts and range ends length-prefixed bytes, enums and
//! options one byte (options 0 or 1, then what they hold).

use bytes::Bytes;

use crate::codec::{DecodeError, Reader, Writer};
use crate::id::{NodeId, PartitionId, ReplicaId, TableId, Zone};
use crate::key::KeyRange;
use crate::limits::TAGS;

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

impl KeySchema {
    /// A partition key alone.
    pub fn simple(name: &str, key_type: KeyType) -> KeySchema {
        KeySchema { partition: KeyAttribute { name: name.to_owned(), key_type }, sort: None }
    }

    pub fn with_sort(self, name: &str, key_type: KeyType) -> KeySchema {
        KeySchema { sort: Some(KeyAttribute { name: name.to_owned(), key_type }), ..self }
    }
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
    /// Its items stay, and nobody reads or writes them until somebody wishes for the table again. DynamoDB has no such status: to its clients
    /// there is no such table.
    Retained,
}

impl TableStatus {
    /// Whether its groups refuse every operation on items.
    pub fn is_out_of_service(self) -> bool {
        match self {
            TableStatus::Creating | TableStatus::Active | TableStatus::Updating => false,
            TableStatus::Deleting | TableStatus::Retained => true,
        }
    }
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
    /// As a partition is born: a storage voter in each place, with ids from 1 in their order.
    pub fn birth(
        id: PartitionId,
        table: TableId,
        range: KeyRange,
        places: impl IntoIterator<Item = (NodeId, Zone)>,
    ) -> PartitionDescriptor {
        let voter = |(id, (node, zone))| ReplicaDescriptor {
            id: ReplicaId(id),
            node,
            zone,
            role: ReplicaRole::Voter,
            kind: ReplicaKind::Storage,
        };
        let replicas: Vec<_> = (1..).zip(places).map(voter).collect();
        let next_replica = ReplicaId(replicas.len() as u64 + 1);
        PartitionDescriptor { id, table, range, epoch: 1, replicas, next_replica }
    }

    pub fn replica(&self, id: ReplicaId) -> Option<&ReplicaDescriptor> {
        self.replicas.iter().find(|r| r.id == id)
    }

    pub fn on_node(&self, node: NodeId) -> Option<&ReplicaDescriptor> {
        self.replicas.iter().find(|r| r.node == node)
    }

    pub fn encode(&self) -> Bytes {
        let PartitionDescriptor { id, table, range, epoch, replicas, next_replica } = self;
        let mut bytes = Vec::with_capacity(128);
        let mut out = Writer(&mut bytes);
        out.u8(FORMAT);
        out.u64(id.0);
        out.u64(table.0);
        out.bytes(&range.start);
        write_option(range.end.as_ref(), &mut out, |end, out| out.bytes(end));
        out.u64(*epoch);
        let mut sorted: Vec<&ReplicaDescriptor> = replicas.iter().collect();
        sorted.sort_by_key(|replica| replica.id);
        out.varint(sorted.len() as u64);
        for ReplicaDescriptor { id, node, zone, role, kind } in sorted {
            out.varint(id.0);
            out.u64(node.0);
            out.str(&zone.0);
            out.u8(match role {
                ReplicaRole::Voter => 0,
                ReplicaRole::Learner => 1,
            });
            out.u8(match kind {
                ReplicaKind::Storage => 0,
                ReplicaKind::Log => 1,
            });
        }
        out.varint(next_replica.0);
        bytes.into()
    }

    pub fn decode(bytes: Bytes) -> Result<PartitionDescriptor, DecodeError> {
        let mut input = Reader::new(bytes);
        read_format(&mut input)?;
        let descriptor = PartitionDescriptor {
            id: PartitionId(input.u64()?),
            table: TableId(input.u64()?),
            range: KeyRange { start: input.bytes()?, end: read_option(&mut input, Reader::bytes)? },
            epoch: input.u64()?,
            replicas: read_replicas(&mut input)?,
            next_replica: ReplicaId(input.varint()?),
        };
        input.finish()?;
        Ok(descriptor)
    }
}

impl TableDescriptor {
    /// What is asked for by a name and a key alone: on demand, and no table yet. Whoever creates it gives the id, the seed,
    /// the version and the dates, and a number of partitions where none is asked for.
    pub fn wish(name: &str, schema: KeySchema) -> TableDescriptor {
        TableDescriptor {
            id: TableId(0),
            name: name.to_owned(),
            version: 0,
            status: TableStatus::Creating,
            schema,
            hash_seed: 0,
            billing: BillingMode::PayPerRequest,
            throughput: Throughput::default(),
            last_increase_ms: 0,
            last_decrease_ms: 0,
            decreases_today: 0,
            last_on_demand_ms: 0,
            created_ms: 0,
            initial_partitions: 0,
            deletion_protection: false,
            table_class: String::new(),
            tags: Vec::new(),
        }
    }

    pub fn encode(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(256);
        self.write(&mut Writer(&mut bytes));
        bytes.into()
    }

    fn write(&self, out: &mut Writer<'_>) {
        let TableDescriptor {
            id,
            name,
            version,
            status,
            schema: KeySchema { partition, sort },
            hash_seed,
            billing,
            throughput: Throughput { read_units, write_units },
            last_increase_ms,
            last_decrease_ms,
            decreases_today,
            last_on_demand_ms,
            created_ms,
            initial_partitions,
            deletion_protection,
            table_class,
            tags,
        } = self;
        out.u8(FORMAT);
        out.u64(id.0);
        out.str(name);
        out.u64(*version);
        out.u8(match status {
            TableStatus::Creating => 0,
            TableStatus::Active => 1,
            TableStatus::Updating => 2,
            TableStatus::Deleting => 3,
            TableStatus::Retained => 4,
        });
        write_key_attribute(partition, out);
        write_option(sort.as_ref(), out, write_key_attribute);
        out.u64(*hash_seed);
        out.u8(match billing {
            BillingMode::Provisioned => 0,
            BillingMode::PayPerRequest => 1,
        });
        out.varint(*read_units);
        out.varint(*write_units);
        out.varint(*last_increase_ms);
        out.varint(*last_decrease_ms);
        out.varint(*decreases_today);
        out.varint(*last_on_demand_ms);
        out.varint(*created_ms);
        out.varint((*initial_partitions).into());
        out.u8((*deletion_protection).into());
        out.str(table_class);
        out.varint(tags.len() as u64);
        for (key, value) in tags {
            out.str(key);
            out.str(value);
        }
    }

    pub fn decode(bytes: Bytes) -> Result<TableDescriptor, DecodeError> {
        let mut input = Reader::new(bytes);
        read_format(&mut input)?;
        let descriptor = TableDescriptor {
            id: TableId(input.u64()?),
            name: input.string()?,
            version: input.u64()?,
            status: match input.u8()? {
                0 => TableStatus::Creating,
                1 => TableStatus::Active,
                2 => TableStatus::Updating,
                3 => TableStatus::Deleting,
                4 => TableStatus::Retained,
                tag => return Err(DecodeError::UnknownTag { what: "table status", tag }),
            },
            schema: KeySchema {
                partition: read_key_attribute(&mut input)?,
                sort: read_option(&mut input, read_key_attribute)?,
            },
            hash_seed: input.u64()?,
            billing: match input.u8()? {
                0 => BillingMode::Provisioned,
                1 => BillingMode::PayPerRequest,
                tag => return Err(DecodeError::UnknownTag { what: "billing mode", tag }),
            },
            throughput: Throughput { read_units: input.varint()?, write_units: input.varint()? },
            last_increase_ms: input.varint()?,
            last_decrease_ms: input.varint()?,
            decreases_today: input.varint()?,
            last_on_demand_ms: input.varint()?,
            created_ms: input.varint()?,
            initial_partitions: u32::try_from(input.varint()?)
                .map_err(|_too_many| DecodeError::Malformed("initial partitions"))?,
            deletion_protection: read_flag(&mut input)?,
            table_class: input.string()?,
            tags: read_tags(&mut input)?,
        };
        input.finish()?;
        Ok(descriptor)
    }
}

const FORMAT: u8 = 1;

fn read_format(input: &mut Reader) -> Result<(), DecodeError> {
    match input.u8()? {
        FORMAT => Ok(()),
        format => Err(DecodeError::UnknownFormat(format)),
    }
}

fn read_flag(input: &mut Reader) -> Result<bool, DecodeError> {
    match input.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        tag => Err(DecodeError::UnknownTag { what: "flag", tag }),
    }
}

fn write_option<T>(value: Option<&T>, out: &mut Writer<'_>, write: impl Fn(&T, &mut Writer<'_>)) {
    out.u8(value.is_some().into());
    if let Some(value) = value {
        write(value, out);
    }
}

fn read_option<T>(
    input: &mut Reader,
    read: impl Fn(&mut Reader) -> Result<T, DecodeError>,
) -> Result<Option<T>, DecodeError> {
    if read_flag(input)? { read(input).map(Some) } else { Ok(None) }
}

fn write_key_attribute(attribute: &KeyAttribute, out: &mut Writer<'_>) {
    let KeyAttribute { name, key_type } = attribute;
    out.str(name);
    out.u8(match key_type {
        KeyType::S => 1,
        KeyType::N => 2,
        KeyType::B => 3,
    });
}

fn read_key_attribute(input: &mut Reader) -> Result<KeyAttribute, DecodeError> {
    let name = input.string()?;
    let key_type = match input.u8()? {
        1 => KeyType::S,
        2 => KeyType::N,
        3 => KeyType::B,
        tag => return Err(DecodeError::UnknownTag { what: "key type", tag }),
    };
    Ok(KeyAttribute { name, key_type })
}

fn read_tags(input: &mut Reader) -> Result<Vec<(String, String)>, DecodeError> {
    let count = input.varint()?;
    if usize::try_from(count).map_or(true, |count| count > TAGS) {
        return Err(DecodeError::Malformed("tags: more than there may be"));
    }
    // No room ahead of what is read: a count may lie.
    let mut tags = Vec::new();
    for _ in 0..count {
        tags.push((input.string()?, input.string()?));
    }
    Ok(tags)
}

fn read_replicas(input: &mut Reader) -> Result<Vec<ReplicaDescriptor>, DecodeError> {
    let mut replicas: Vec<ReplicaDescriptor> = Vec::new();
    for _ in 0..input.varint()? {
        let replica = ReplicaDescriptor {
            id: ReplicaId(input.varint()?),
            node: NodeId(input.u64()?),
            zone: Zone(input.string()?),
            role: match input.u8()? {
                0 => ReplicaRole::Voter,
                1 => ReplicaRole::Learner,
                tag => return Err(DecodeError::UnknownTag { what: "replica role", tag }),
            },
            kind: match input.u8()? {
                0 => ReplicaKind::Storage,
                1 => ReplicaKind::Log,
                tag => return Err(DecodeError::UnknownTag { what: "replica kind", tag }),
            },
        };
        if replicas.last().is_some_and(|last| last.id >= replica.id) {
            return Err(DecodeError::Malformed("replicas: ids do not ascend"));
        }
        replicas.push(replica);
    }
    Ok(replicas)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_key_attribute() -> impl Strategy<Value = KeyAttribute> {
        let key_type = prop_oneof![Just(KeyType::S), Just(KeyType::N), Just(KeyType::B)];
        (any::<String>(), key_type).prop_map(|(name, key_type)| KeyAttribute { name, key_type })
    }

    fn any_table() -> impl Strategy<Value = TableDescriptor> {
        let status = prop::sample::select(vec![
            TableStatus::Creating,
            TableStatus::Active,
            TableStatus::Updating,
            TableStatus::Deleting,
            TableStatus::Retained,
        ]);
        let billing = prop::sample::select(vec![BillingMode::Provisioned, BillingMode::PayPerRequest]);
        let schema = (any_key_attribute(), prop::option::of(any_key_attribute()));
        let tags = prop::collection::vec(any::<(String, String)>(), 0..4);
        let what = (any::<String>(), status, schema, billing, any::<bool>(), any::<String>(), tags);
        (what, any::<[u64; 10]>(), any::<u32>()).prop_map(|(what, numbers, initial_partitions)| {
            let (name, status, (partition, sort), billing, deletion_protection, table_class, tags) = what;
            TableDescriptor {
                id: TableId(numbers[0]),
                name,
                version: numbers[1],
                status,
                schema: KeySchema { partition, sort },
                hash_seed: numbers[2],
                billing,
                throughput: Throughput { read_units: numbers[3], write_units: numbers[4] },
                last_increase_ms: numbers[5],
                last_decrease_ms: numbers[6],
                decreases_today: numbers[7],
                last_on_demand_ms: numbers[8],
                created_ms: numbers[9],
                initial_partitions,
                deletion_protection,
                table_class,
                tags,
            }
        })
    }

    fn any_partition() -> impl Strategy<Value = PartitionDescriptor> {
        let role = prop::sample::select(vec![ReplicaRole::Voter, ReplicaRole::Learner]);
        let kind = prop::sample::select(vec![ReplicaKind::Storage, ReplicaKind::Log]);
        let replicas = prop::collection::btree_map(any::<u64>(), (any::<u64>(), any::<String>(), role, kind), 0..5);
        let range = (any::<Vec<u8>>(), any::<Option<Vec<u8>>>());
        (any::<[u64; 4]>(), range, replicas).prop_map(|(numbers, (start, end), replicas)| PartitionDescriptor {
            id: PartitionId(numbers[0]),
            table: TableId(numbers[1]),
            range: KeyRange { start: start.into(), end: end.map(Bytes::from) },
            epoch: numbers[2],
            replicas: replicas
                .into_iter()
                .map(|(id, (node, zone, role, kind))| ReplicaDescriptor {
                    id: ReplicaId(id),
                    node: NodeId(node),
                    zone: Zone(zone),
                    role,
                    kind,
                })
                .collect(),
            next_replica: ReplicaId(numbers[3]),
        })
    }

    #[test]
    fn replicas_are_stored_sorted_by_id() {
        let places = [1, 2].map(|node| (NodeId(node), Zone("east".to_owned())));
        let mut partition = PartitionDescriptor::birth(PartitionId(1), TableId(2), KeyRange::ALL, places);
        partition.replicas.reverse();
        let bytes = partition.encode();
        partition.replicas.reverse();
        assert_eq!(PartitionDescriptor::decode(bytes), Ok(partition));
    }

    #[test]
    fn another_format_is_refused() {
        assert_eq!(TableDescriptor::decode(Bytes::from_static(&[2, 0])), Err(DecodeError::UnknownFormat(2)));
        assert_eq!(PartitionDescriptor::decode(Bytes::from_static(&[2, 0])), Err(DecodeError::UnknownFormat(2)));
        assert_eq!(TableDescriptor::decode(Bytes::new()), Err(DecodeError::Truncated));
    }

    proptest! {
        #[test]
        fn a_table_is_read_back(table in any_table(), length: prop::sample::Index) {
            let bytes = table.encode();
            let cut = bytes.slice(..length.index(bytes.len()));
            prop_assert!(TableDescriptor::decode(cut).is_err());
            prop_assert_eq!(TableDescriptor::decode(bytes), Ok(table));
        }

        #[test]
        fn a_partition_is_read_back(partition in any_partition(), length: prop::sample::Index) {
            let bytes = partition.encode();
            let cut = bytes.slice(..length.index(bytes.len()));
            prop_assert!(PartitionDescriptor::decode(cut).is_err());
            prop_assert_eq!(PartitionDescriptor::decode(bytes), Ok(partition));
        }

        #[test]
        fn changed_bytes_are_one_descriptor_or_refused(
            table in any_table(), partition in any_partition(), at: prop::sample::Index, byte: u8,
        ) {
            let mut bytes = table.encode().to_vec();
            *at.get_mut(&mut bytes[..]) = byte;
            if let Ok(table) = TableDescriptor::decode(bytes.clone().into()) {
                prop_assert_eq!(table.encode(), bytes);
            }
            let mut bytes = partition.encode().to_vec();
            *at.get_mut(&mut bytes[..]) = byte;
            if let Ok(partition) = PartitionDescriptor::decode(bytes.clone().into()) {
                prop_assert_eq!(partition.encode(), bytes);
            }
        }

        #[test]
        fn random_bytes_never_panic(mut bytes in prop::collection::vec(prop_oneof![0..4u8, any::<u8>()], 1..200)) {
            bytes[0] = FORMAT;
            let _read_or_refused = TableDescriptor::decode(bytes.clone().into()).is_ok();
            let _read_or_refused = PartitionDescriptor::decode(bytes.into()).is_ok();
        }
    }
}
