//! Tables in requests and answers: their names and ARNs, and the description that several operations answer.

use model::limits::{TABLE_NAME_CHARS, TABLE_NAME_MIN_CHARS};
use model::{BillingMode, KeyAttribute, KeySchema, KeyType, TableDescriptor, TableStatus};

use super::violations::{Violations, is_name};
use crate::config::Settings;
use crate::error::Error;
use crate::json::field::Text;
use crate::json::write::Writer;
use crate::routing::TableSize;

/// Trivet has one account; ARNs need twelve digits.
const ACCOUNT: &str = "000000000000";
/// The table's name in a text that may be its ARN.
pub fn name_of(text: &str) -> &str {
    arn_table(text).unwrap_or(text)
}

/// `arn:aws:dynamodb:region:account:table/Name` → `Name`
fn arn_table(text: &str) -> Option<&str> {
    let mut parts = text.splitn(6, ':');
    let head = (parts.next()?, parts.next()?, parts.next()?);
    let (_region, _account, resource) = (parts.next()?, parts.next()?, parts.next()?);
    let arn = head.0 == "arn" && head.1.starts_with("aws") && head.2 == "dynamodb";
    resource.strip_prefix("table/").filter(|name| arn && !name.contains(['/', ':']))
}

pub fn arn(settings: &Settings, name: &str) -> String {
    format!("arn:aws:dynamodb:{}:{ACCOUNT}:table/{name}", settings.region)
}

/// Checks the `TableName` of an operation on items; it may be an ARN.
pub fn check(violations: &mut Violations, name: Option<&Text>) {
    violations.not_null("tableName", name.is_some());
    check_name(violations, name, 1);
}

fn check_name(violations: &mut Violations, name: Option<&Text>, least_chars: usize) {
    if let Some(Text(text)) = name {
        if !text.is_empty() && arn_table(text).is_none() {
            violations.name_pattern("tableName", text);
        }
        violations.length("tableName", text, name_of(text).chars().count(), least_chars, TABLE_NAME_CHARS);
    }
}

/// Checks the `TableName` of an operation on tables, which is told in other words where it is missing.
pub fn check_required(name: Option<&Text>) -> Result<(), Error> {
    require(name)?;
    let mut violations = Violations::new();
    check_name(&mut violations, name, 1);
    violations.finish()
}

/// Checks the name of a table that is to be, once it is [`require`]d.
pub fn check_new(violations: &mut Violations, name: Option<&Text>) {
    check_name(violations, name, TABLE_NAME_MIN_CHARS);
}

/// Checks the tables that a batch names, each of which may be an ARN.
pub fn check_map_keys<'a>(violations: &mut Violations, names: impl Iterator<Item = &'a String>) {
    let fits = |name: &&String| (1..=TABLE_NAME_CHARS).contains(&name_of(name).len()) && is_name(name_of(name));
    let broken: Vec<&str> = names.filter(|name| !fits(name)).map(String::as_str).collect();
    if !broken.is_empty() {
        violations.add(
            "requestItems",
            &format!("{{{}}}", broken.join(", ")),
            &format!(
                "Map keys must satisfy constraint: [Member must have length less than or equal to {TABLE_NAME_CHARS}, Member \
                 must have length greater than or equal to 1, Member must satisfy regular expression pattern: \
                 [a-zA-Z0-9_.-]+]"
            ),
        );
    }
}

pub fn require(name: Option<&Text>) -> Result<(), Error> {
    match name {
        Some(_) => Ok(()),
        None => Err(Error::validation("The parameter 'TableName' is required but was not present in the request")),
    }
}

/// The name, once it has been checked to be there.
pub fn checked_name(name: Option<&Text>) -> &str {
    name.map_or("", |Text(text)| name_of(text))
}

pub fn key_type_name(key_type: KeyType) -> &'static str {
    match key_type {
        KeyType::S => "S",
        KeyType::N => "N",
        KeyType::B => "B",
    }
}

pub fn key_type(name: &str) -> Option<KeyType> {
    match name {
        "S" => Some(KeyType::S),
        "N" => Some(KeyType::N),
        "B" => Some(KeyType::B),
        _ => None,
    }
}

fn status_name(status: TableStatus) -> &'static str {
    match status {
        TableStatus::Creating => "CREATING",
        TableStatus::Active => "ACTIVE",
        TableStatus::Updating => "UPDATING",
        TableStatus::Deleting => "DELETING",
        // Shown to nobody: such a table is not found.
        TableStatus::Retained => "ARCHIVED",
    }
}

/// The table's id in the shape of a UUID: the 64 bits it has, then zeros.
fn uuid(table: &TableDescriptor) -> String {
    let id = table.id.to_string();
    let (first, rest) = id.split_at(8);
    let (second, third) = rest.split_at(4);
    format!("{first}-{second}-{third}-0000-000000000000")
}

/// A `TableDescription`.
pub fn describe(json: &mut Writer, settings: &Settings, table: &TableDescriptor, size: TableSize) {
    let KeySchema { partition, sort } = &table.schema;
    let keys = || [Some((partition, "HASH")), sort.as_ref().map(|sort| (sort, "RANGE"))].into_iter().flatten();
    json.object(|json| {
        json.key("AttributeDefinitions");
        json.array(|json| keys().for_each(|(key, _)| attribute_definition(json, key)));
        json.key("TableName");
        json.text(&table.name);
        json.key("KeySchema");
        json.array(|json| {
            for (key, role) in keys() {
                json.object(|json| {
                    json.key("AttributeName");
                    json.text(&key.name);
                    json.key("KeyType");
                    json.text(role);
                });
            }
        });
        json.key("TableStatus");
        json.text(status_name(table.status));
        json.key("CreationDateTime");
        json.seconds(table.created_ms);
        json.key("ProvisionedThroughput");
        throughput(json, table);
        json.key("TableSizeBytes");
        json.raw(size.bytes);
        json.key("ItemCount");
        json.raw(size.items);
        json.key("TableArn");
        json.text(&arn(settings, &table.name));
        json.key("TableId");
        json.text(&uuid(table));
        billing(json, table);
        if !table.table_class.is_empty() {
            json.key("TableClassSummary");
            json.object(|json| {
                json.key("TableClass");
                json.text(&table.table_class);
            });
        }
        json.key("DeletionProtectionEnabled");
        json.boolean(table.deletion_protection);
    });
}

fn attribute_definition(json: &mut Writer, key: &KeyAttribute) {
    json.object(|json| {
        json.key("AttributeName");
        json.text(&key.name);
        json.key("AttributeType");
        json.text(key_type_name(key.key_type));
    });
}

fn throughput(json: &mut Writer, table: &TableDescriptor) {
    json.object(|json| {
        if table.last_increase_ms > 0 {
            json.key("LastIncreaseDateTime");
            json.seconds(table.last_increase_ms);
        }
        if table.last_decrease_ms > 0 {
            json.key("LastDecreaseDateTime");
            json.seconds(table.last_decrease_ms);
        }
        json.key("NumberOfDecreasesToday");
        json.raw(table.decreases_today);
        json.key("ReadCapacityUnits");
        json.raw(table.throughput.read_units);
        json.key("WriteCapacityUnits");
        json.raw(table.throughput.write_units);
    });
}

/// DynamoDB shows it for tables that are, or once were, on demand.
fn billing(json: &mut Writer, table: &TableDescriptor) {
    let mode = match table.billing {
        BillingMode::PayPerRequest => "PAY_PER_REQUEST",
        BillingMode::Provisioned if table.last_on_demand_ms > 0 => "PROVISIONED",
        BillingMode::Provisioned => return,
    };
    json.key("BillingModeSummary");
    json.object(|json| {
        json.key("BillingMode");
        json.text(mode);
        if table.last_on_demand_ms > 0 {
            json.key("LastUpdateToPayPerRequestDateTime");
            json.seconds(table.last_on_demand_ms);
        }
    });
}
