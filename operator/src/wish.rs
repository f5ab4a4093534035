//! What a Table object wishes, as the descriptor that nodes understand, and back. Pure.

use model::{BillingMode, KeyAttribute, KeySchema, KeyType, TableDescriptor, Throughput};

use crate::crd::TableSpec;
use crate::crd::table::{
    AttributeDefinition, AttributeType, BillingMode as Billing, DeletionPolicy, KeyRole, KeySchemaElement,
    ProvisionedThroughput, TableClass, Tag,
};

const INFREQUENT: &str = "STANDARD_INFREQUENT_ACCESS";

/// The wish of a new table. None where the key has no type, which the API server has refused.
pub fn descriptor(spec: &TableSpec) -> Option<TableDescriptor> {
    let wish = TableDescriptor::wish(&spec.table_name, schema(spec)?);
    let wish = TableDescriptor { initial_partitions: spec.initial_partitions.unwrap_or(0), ..wish };
    Some(followed(&wish, spec))
}

/// The descriptor with what may change taken from the spec. Destructured, so that a new field of the spec is not forgotten.
pub fn followed(table: &TableDescriptor, spec: &TableSpec) -> TableDescriptor {
    let TableSpec {
        table_name: _,
        cluster_ref: _,
        attribute_definitions: _,
        key_schema: _,
        billing_mode,
        provisioned_throughput,
        deletion_protection_enabled,
        table_class,
        tags,
        initial_partitions: _,
        deletion_policy: _,
        paused: _,
    } = spec;
    let units = |units: i64| u64::try_from(units).unwrap_or(0);
    let throughput = provisioned_throughput.map_or_else(Throughput::default, |wished| Throughput {
        read_units: units(wished.read_capacity_units),
        write_units: units(wished.write_capacity_units),
    });
    let table_class = match table_class {
        // As CreateTable leaves it where none is named.
        TableClass::Standard if table.table_class.is_empty() => String::new(),
        TableClass::Standard => "STANDARD".to_owned(),
        TableClass::StandardInfrequentAccess => INFREQUENT.to_owned(),
    };
    TableDescriptor {
        billing: match billing_mode {
            Billing::PayPerRequest => BillingMode::PayPerRequest,
            Billing::Provisioned => BillingMode::Provisioned,
        },
        throughput,
        deletion_protection: *deletion_protection_enabled,
        table_class,
        tags: tags.iter().map(|tag| (tag.key.clone(), tag.value.clone())).collect(),
        ..table.clone()
    }
}

/// The spec of a table that an SDK has made, or that was found on nodes.
pub fn spec(cluster: &str, table: &TableDescriptor) -> TableSpec {
    let KeySchema { partition, sort } = &table.schema;
    let keys = std::iter::once((partition, KeyRole::Hash)).chain(sort.iter().map(|key| (key, KeyRole::Range)));
    let (mut definitions, mut elements) = (Vec::new(), Vec::new());
    for (key, key_type) in keys {
        definitions.push(AttributeDefinition {
            attribute_name: key.name.clone(),
            attribute_type: match key.key_type {
                KeyType::S => AttributeType::S,
                KeyType::N => AttributeType::N,
                KeyType::B => AttributeType::B,
            },
        });
        elements.push(KeySchemaElement { attribute_name: key.name.clone(), key_type });
    }
    let spec = TableSpec {
        table_name: table.name.clone(),
        cluster_ref: cluster.to_owned(),
        attribute_definitions: definitions,
        key_schema: elements,
        billing_mode: Billing::default(),
        provisioned_throughput: None,
        deletion_protection_enabled: false,
        table_class: TableClass::default(),
        tags: Vec::new(),
        initial_partitions: (table.initial_partitions > 0).then_some(table.initial_partitions),
        deletion_policy: DeletionPolicy::default(),
        paused: false,
    };
    changed(&spec, table)
}

/// The spec with what may change taken from the descriptor.
pub fn changed(spec: &TableSpec, table: &TableDescriptor) -> TableSpec {
    let (billing_mode, provisioned_throughput) = match table.billing {
        BillingMode::PayPerRequest => (Billing::PayPerRequest, None),
        BillingMode::Provisioned => {
            let units = |units: u64| i64::try_from(units).unwrap_or(i64::MAX);
            let throughput = ProvisionedThroughput {
                read_capacity_units: units(table.throughput.read_units),
                write_capacity_units: units(table.throughput.write_units),
            };
            (Billing::Provisioned, Some(throughput))
        }
    };
    TableSpec {
        billing_mode,
        provisioned_throughput,
        deletion_protection_enabled: table.deletion_protection,
        table_class: if table.table_class == INFREQUENT {
            TableClass::StandardInfrequentAccess
        } else {
            TableClass::Standard
        },
        tags: table.tags.iter().map(|(key, value)| Tag { key: key.clone(), value: value.clone() }).collect(),
        ..spec.clone()
    }
}

fn schema(spec: &TableSpec) -> Option<KeySchema> {
    let key = |role: KeyRole| {
        let element = spec.key_schema.iter().find(|element| element.key_type == role)?;
        let defined = spec.attribute_definitions.iter().find(|found| found.attribute_name == element.attribute_name)?;
        let key_type = match defined.attribute_type {
            AttributeType::S => KeyType::S,
            AttributeType::N => KeyType::N,
            AttributeType::B => KeyType::B,
        };
        Some(KeyAttribute { name: element.attribute_name.clone(), key_type })
    };
    Some(KeySchema { partition: key(KeyRole::Hash)?, sort: key(KeyRole::Range) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> TableDescriptor {
        let schema = KeySchema::simple("artist", KeyType::S).with_sort("year", KeyType::N);
        TableDescriptor {
            billing: BillingMode::Provisioned,
            throughput: Throughput { read_units: 5, write_units: 7 },
            deletion_protection: true,
            table_class: INFREQUENT.to_owned(),
            tags: vec![("team".to_owned(), "blue".to_owned())],
            initial_partitions: 12,
            ..TableDescriptor::wish("Music", schema)
        }
    }

    #[test]
    fn a_descriptor_becomes_a_spec_and_the_same_descriptor_again() {
        let there = spec("trv", &table());
        assert_eq!(descriptor(&there), Some(table()));
        let plain = TableDescriptor::wish("plain", KeySchema::simple("id", KeyType::B));
        assert_eq!(descriptor(&spec("trv", &plain)), Some(plain));
    }

    #[test]
    fn what_may_change_follows_the_spec_and_nothing_else() {
        let mut edited = spec("trv", &table());
        edited.billing_mode = Billing::PayPerRequest;
        edited.provisioned_throughput = None;
        edited.deletion_protection_enabled = false;
        let before = TableDescriptor { version: 4, hash_seed: 9, ..table() };
        let after = followed(&before, &edited);
        assert_eq!((after.billing, after.throughput), (BillingMode::PayPerRequest, Throughput::default()));
        assert!(!after.deletion_protection);
        assert_eq!((after.version, after.hash_seed, after.initial_partitions), (4, 9, 12));
        assert_eq!(changed(&edited, &after), edited);
    }
}
