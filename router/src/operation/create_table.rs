//! CreateTable: a table that is to be; the control service makes it.
//!
//! The tag `trivet.dev/partitions` says how many partitions it begins with.

use model::limits::{TAG_KEY_CHARS, TAG_VALUE_CHARS, TAGS};
use model::{BillingMode, KeyAttribute, KeySchema, KeyType, TableDescriptor, Throughput};
use serde::Deserialize;

use super::violations::Violations;
use super::{Call, table};
use crate::backend::Backend;
use crate::config::{MOST_INITIAL_PARTITIONS, Settings};
use crate::error::Error;
use crate::json;
use crate::json::field::{Field, Flag, List, Long, Member, Named, Present, Text};
use crate::json::write::Writer;
use crate::routing::TableSize;

/// The tag that says how many partitions a table begins with.
const PARTITIONS_TAG: &str = "trivet.dev/partitions";
/// Most units of throughput that DynamoDB takes for a number at all.
pub const MOST_UNITS: i64 = 1_000_000_000_000;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Request {
    table_name: Option<Text>,
    attribute_definitions: Option<List<Member<AttributeDefinition>>>,
    key_schema: Option<List<Member<KeySchemaElement>>>,
    billing_mode: Option<Text>,
    provisioned_throughput: Option<Field<ProvisionedThroughput>>,
    tags: Option<List<Member<Tag>>>,
    deletion_protection_enabled: Option<Flag>,
    table_class: Option<Text>,
    stream_specification: Option<Field<StreamSpecification>>,
    #[serde(rename = "SSESpecification")]
    sse_specification: Option<Field<SseSpecification>>,
    local_secondary_indexes: Option<List<Present>>,
    global_secondary_indexes: Option<List<Present>>,
    on_demand_throughput: Option<Present>,
    warm_throughput: Option<Present>,
    resource_policy: Option<Present>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AttributeDefinition {
    attribute_name: Option<Text>,
    attribute_type: Option<Text>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct KeySchemaElement {
    attribute_name: Option<Text>,
    key_type: Option<Text>,
}

/// Of a table, in requests.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ProvisionedThroughput {
    pub read_capacity_units: Option<Long>,
    pub write_capacity_units: Option<Long>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    key: Option<Text>,
    value: Option<Text>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StreamSpecification {
    pub stream_enabled: Option<Flag>,
    stream_view_type: Option<Text>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SseSpecification {
    pub enabled: Option<Flag>,
}

impl Named for AttributeDefinition {
    const NAME: &'static str = "AttributeDefinition";
}
impl Named for KeySchemaElement {
    const NAME: &'static str = "KeySchemaElement";
}
impl Named for ProvisionedThroughput {
    const NAME: &'static str = "ProvisionedThroughput";
}
impl Named for Tag {
    const NAME: &'static str = "Tag";
}
impl Named for StreamSpecification {
    const NAME: &'static str = "StreamSpecification";
}
impl Named for SseSpecification {
    const NAME: &'static str = "SSESpecification";
}

pub async fn run<B: Backend>(call: &mut Call<'_, B>, body: &[u8]) -> Result<Vec<u8>, Error> {
    let request: Request = json::parse(body)?;
    table::require(request.table_name.as_ref())?;
    request.check_shape()?;
    let wish = request.wish(call.settings)?;
    let table = call.backend.create_table(wish, call.deadline).await?;
    Ok(answer(call.settings, &table))
}

/// The answer of the operations that change a table; a table that was just made has no size yet.
fn answer(settings: &Settings, table: &TableDescriptor) -> Vec<u8> {
    let mut json = Writer::new();
    json.object(|json| {
        json.key("TableDescription");
        table::describe(json, settings, table, TableSize::default());
    });
    json.finish()
}

impl Request {
    fn check_shape(&self) -> Result<(), Error> {
        let mut violations = Violations::new();
        violations.not_null("attributeDefinitions", self.attribute_definitions.is_some());
        for (number, Member(definition)) in (1..).zip(self.attribute_definitions.iter().flat_map(|list| &list.0)) {
            let path = |field: &str| format!("attributeDefinitions.{number}.member.{field}");
            violations.not_null(&path("attributeName"), definition.attribute_name.is_some());
            key_name_length(&mut violations, &path("attributeName"), definition.attribute_name.as_ref());
            violations.not_null(&path("attributeType"), definition.attribute_type.is_some());
            violations.one_of(&path("attributeType"), definition.attribute_type.as_ref(), &["B", "N", "S"]);
        }
        table::check_new(&mut violations, self.table_name.as_ref());
        violations.one_of("billingMode", self.billing_mode.as_ref(), &["PROVISIONED", "PAY_PER_REQUEST"]);
        check_throughput_shape(&mut violations, self.provisioned_throughput.as_ref());
        check_table_class(&mut violations, self.table_class.as_ref());
        violations.not_null("keySchema", self.key_schema.is_some());
        if let Some(List(elements)) = &self.key_schema {
            violations.length("keySchema", "[]", elements.len(), 1, 2);
            for (number, Member(element)) in (1..).zip(elements) {
                let path = |field: &str| format!("keySchema.{number}.member.{field}");
                violations.not_null(&path("attributeName"), element.attribute_name.is_some());
                key_name_length(&mut violations, &path("attributeName"), element.attribute_name.as_ref());
                violations.not_null(&path("keyType"), element.key_type.is_some());
                violations.one_of(&path("keyType"), element.key_type.as_ref(), &["HASH", "RANGE"]);
            }
        }
        for (number, Member(tag)) in (1..).zip(self.tags.iter().flat_map(|list| &list.0)) {
            violations.not_null(&format!("tags.{number}.member.key"), tag.key.is_some());
            violations.not_null(&format!("tags.{number}.member.value"), tag.value.is_some());
        }
        violations.finish()
    }

    /// The table as the client wants it.
    fn wish(self, settings: &Settings) -> Result<TableDescriptor, Error> {
        let billing = match &self.billing_mode {
            Some(Text(mode)) if mode == "PAY_PER_REQUEST" => BillingMode::PayPerRequest,
            Some(_) | None => BillingMode::Provisioned,
        };
        let throughput = throughput(billing, self.provisioned_throughput.as_ref())?;
        let schema = self.schema()?;
        self.refuse_what_is_not_there()?;
        let tags = checked_tags(self.tags)?;
        let initial_partitions = match tags.iter().find(|(key, _)| key == PARTITIONS_TAG) {
            Some((_, count)) => partitions(count)?,
            // None asks the control service for its own default.
            None => settings.default_partitions.unwrap_or(0),
        };
        Ok(TableDescriptor {
            billing,
            throughput,
            initial_partitions,
            deletion_protection: self.deletion_protection_enabled.is_some_and(|flag| flag.0),
            table_class: self.table_class.map(|Text(class)| class).unwrap_or_default(),
            tags,
            ..TableDescriptor::wish(table::checked_name(self.table_name.as_ref()), schema)
        })
    }

    fn schema(&self) -> Result<KeySchema, Error> {
        let text = |text: &Option<Text>| text.as_ref().map_or("", |Text(text)| text.as_str()).to_owned();
        let definitions: Vec<(String, KeyType)> = self
            .attribute_definitions
            .iter()
            .flat_map(|list| &list.0)
            .map(|Member(found)| {
                (text(&found.attribute_name), table::key_type(&text(&found.attribute_type)).unwrap_or(KeyType::S))
            })
            .collect();
        let elements: Vec<(String, String)> = self
            .key_schema
            .iter()
            .flat_map(|list| &list.0)
            .map(|Member(element)| (text(&element.attribute_name), text(&element.key_type)))
            .collect();
        check_schema(&definitions, &elements)?;
        let attribute = |(name, _): &(String, String)| {
            let key_type = definitions.iter().find(|(defined, _)| defined == name).map_or(KeyType::S, |found| found.1);
            KeyAttribute { name: name.clone(), key_type }
        };
        Ok(KeySchema { partition: attribute(&elements[0]), sort: elements.get(1).map(attribute) })
    }

    fn refuse_what_is_not_there(&self) -> Result<(), Error> {
        let has_members = |list: &Option<List<Present>>| list.as_ref().is_some_and(|List(members)| !members.is_empty());
        if self.local_secondary_indexes.is_some() && !has_members(&self.local_secondary_indexes) {
            return Err(Error::invalid_parameter("List of LocalSecondaryIndexes is empty"));
        }
        if self.global_secondary_indexes.is_some() && !has_members(&self.global_secondary_indexes) {
            return Err(Error::invalid_parameter("List of GlobalSecondaryIndexes is empty"));
        }
        if let Some(Field(stream)) = &self.stream_specification
            && stream.stream_enabled == Some(Flag(false))
            && stream.stream_view_type.is_some()
        {
            return Err(Error::invalid_parameter(
                "Table is being created with a stream disabled, UpdateViewType should not be specified",
            ));
        }
        let streams = self.stream_specification.as_ref().and_then(|Field(stream)| stream.stream_enabled);
        let encryption = self.sse_specification.as_ref().and_then(|Field(sse)| sse.enabled);
        let refused = [
            ("LocalSecondaryIndexes", self.local_secondary_indexes.is_some()),
            ("GlobalSecondaryIndexes", self.global_secondary_indexes.is_some()),
            ("StreamSpecification", streams == Some(Flag(true))),
            ("SSESpecification", encryption == Some(Flag(true))),
            ("OnDemandThroughput", self.on_demand_throughput.is_some()),
            ("WarmThroughput", self.warm_throughput.is_some()),
            ("ResourcePolicy", self.resource_policy.is_some()),
        ];
        refuse(&refused)
    }
}

/// Refuses the first of the parameters that is there.
pub fn refuse(parameters: &[(&str, bool)]) -> Result<(), Error> {
    match parameters.iter().find(|(_, present)| *present) {
        Some((name, _)) => Err(Error::not_supported(name)),
        None => Ok(()),
    }
}

fn key_name_length(violations: &mut Violations, path: &str, name: Option<&Text>) {
    if let Some(Text(name)) = name {
        violations.length(path, name, name.len(), 1, model::limits::KEY_ATTRIBUTE_NAME_BYTES);
    }
}

pub fn check_table_class(violations: &mut Violations, class: Option<&Text>) {
    violations.one_of("tableClass", class, &["STANDARD", "STANDARD_INFREQUENT_ACCESS"]);
}

pub fn check_throughput_shape(violations: &mut Violations, throughput: Option<&Field<ProvisionedThroughput>>) {
    let Some(Field(throughput)) = throughput else {
        return;
    };
    let units = [
        ("provisionedThroughput.writeCapacityUnits", throughput.write_capacity_units),
        ("provisionedThroughput.readCapacityUnits", throughput.read_capacity_units),
    ];
    for (path, units) in units {
        violations.not_null(path, units.is_some());
        violations.at_least(path, units.map(|Long(units)| units), 1);
    }
}

/// Both units within what DynamoDB takes; the shape has been checked.
pub fn checked_throughput(throughput: &ProvisionedThroughput) -> Result<Throughput, Error> {
    let units = |name: &str, units: Option<Long>| {
        let units = units.map_or(0, |Long(units)| units);
        if units > MOST_UNITS {
            return Err(Error::validation(format!("Given value {units} for {name} is out of bounds")));
        }
        Ok(u64::try_from(units).unwrap_or(0))
    };
    Ok(Throughput {
        read_units: units("ReadCapacityUnits", throughput.read_capacity_units)?,
        write_units: units("WriteCapacityUnits", throughput.write_capacity_units)?,
    })
}

fn throughput(billing: BillingMode, throughput: Option<&Field<ProvisionedThroughput>>) -> Result<Throughput, Error> {
    match (billing, throughput) {
        (BillingMode::PayPerRequest, None) => Ok(Throughput::default()),
        (BillingMode::PayPerRequest, Some(_)) => Err(Error::invalid_parameter(
            "Neither ReadCapacityUnits nor WriteCapacityUnits can be specified when BillingMode is PAY_PER_REQUEST",
        )),
        (BillingMode::Provisioned, Some(Field(throughput))) => checked_throughput(throughput),
        (BillingMode::Provisioned, None) => Err(Error::invalid_parameter(
            "ReadCapacityUnits and WriteCapacityUnits must both be specified when BillingMode is PROVISIONED",
        )),
    }
}

fn check_schema(definitions: &[(String, KeyType)], elements: &[(String, String)]) -> Result<(), Error> {
    let names = |names: Vec<&str>| names.join(", ");
    if elements.len() > definitions.len() {
        return Err(Error::validation("Invalid KeySchema: Some index key attribute have no definition"));
    }
    if elements.iter().any(|(name, _)| !definitions.iter().any(|(defined, _)| defined == name)) {
        let keys = names(elements.iter().map(|(name, _)| name.as_str()).collect());
        let defined = names(definitions.iter().map(|(name, _)| name.as_str()).collect());
        return Err(Error::invalid_parameter(&format!(
            "Some index key attributes are not defined in AttributeDefinitions. Keys: [{keys}], AttributeDefinitions: \
             [{defined}]"
        )));
    }
    if elements.len() == 2 && elements[0].0 == elements[1].0 {
        return Err(Error::validation(
            "Both the Hash Key and the Range Key element in the KeySchema have the same name",
        ));
    }
    if elements[0].1 != "HASH" {
        return Err(Error::validation("Invalid KeySchema: The first KeySchemaElement is not a HASH key type"));
    }
    if elements.get(1).is_some_and(|(_, role)| role != "RANGE") {
        return Err(Error::validation("Invalid KeySchema: The second KeySchemaElement is not a RANGE key type"));
    }
    if elements.len() != definitions.len() {
        return Err(Error::invalid_parameter(
            "Number of attributes in KeySchema does not exactly match number of attributes defined in AttributeDefinitions",
        ));
    }
    Ok(())
}

fn checked_tags(tags: Option<List<Member<Tag>>>) -> Result<Vec<(String, String)>, Error> {
    let text = |text: Option<Text>| text.map(|Text(text)| text).unwrap_or_default();
    let tags: Vec<(String, String)> = tags
        .map(|List(tags)| tags)
        .unwrap_or_default()
        .into_iter()
        .map(|Member(tag)| (text(tag.key), text(tag.value)))
        .collect();
    if tags.len() > TAGS {
        return Err(Error::validation(format!("Too many tags: a table has at most {TAGS}")));
    }
    for (at, (key, value)) in tags.iter().enumerate() {
        if key.is_empty() || key.chars().count() > TAG_KEY_CHARS || value.chars().count() > TAG_VALUE_CHARS {
            return Err(Error::validation(format!(
                "Invalid tag '{key}': a key has 1 to {TAG_KEY_CHARS} characters, a value at most {TAG_VALUE_CHARS}"
            )));
        }
        if tags[..at].iter().any(|(other, _)| other == key) {
            return Err(Error::validation(format!("Duplicate tag key: {key}")));
        }
    }
    Ok(tags)
}

fn partitions(count: &str) -> Result<u32, Error> {
    count.parse().ok().filter(|count| (1..=MOST_INITIAL_PARTITIONS).contains(count)).ok_or_else(|| {
        Error::validation(format!(
            "The tag {PARTITIONS_TAG} must be a whole number from 1 to {MOST_INITIAL_PARTITIONS}, not '{count}'"
        ))
    })
}
