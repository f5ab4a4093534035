//! `Table`: what CreateTable says, in its own words, and what became of it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::condition::Condition;

/// A DynamoDB table. `kubectl apply` of one is the same act as CreateTable: both meet at the object of the table's name.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "trivet.dev",
    version = "v1alpha1",
    kind = "Table",
    namespaced,
    shortname = "tbl",
    status = "TableStatus",
    derive = "PartialEq",
    doc = "A DynamoDB table. `kubectl apply` of one is the same act as CreateTable.",
    printcolumn(name = "Table", type_ = "string", json_path = ".spec.tableName"),
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.clusterRef"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.tableStatus"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "Partitions", type_ = "integer", json_path = ".status.partitions"),
    printcolumn(name = "Items", type_ = "integer", json_path = ".status.items"),
    printcolumn(name = "Bytes", type_ = "integer", json_path = ".status.sizeBytes"),
    printcolumn(name = "Read units/s", type_ = "integer", json_path = ".status.readUnits", priority = 1),
    printcolumn(name = "Write units/s", type_ = "integer", json_path = ".status.writeUnits", priority = 1),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name == self.spec.tableName || self.metadata.name.matches('-[0-9a-f]{8}$')").message("metadata.name must be spec.tableName, or, where Kubernetes does not allow that name, the slug of it that ends in 8 hexadecimal digits of its hash")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("self.keySchema.all(key, self.attributeDefinitions.exists(defined, defined.attributeName == key.attributeName))").message("every key of keySchema needs its type in attributeDefinitions"),
    validation = Rule::new("size(self.keySchema) == size(self.attributeDefinitions)").message("attributeDefinitions define the attributes of keySchema, and no others"),
    validation = Rule::new("self.billingMode == 'PROVISIONED' || !has(self.provisionedThroughput)").message("provisionedThroughput goes with billingMode PROVISIONED"),
    validation = Rule::new("self.billingMode == 'PAY_PER_REQUEST' || has(self.provisionedThroughput)").message("billingMode PROVISIONED needs provisionedThroughput"),
)]
pub struct TableSpec {
    /// DynamoDB's name of the table: 3 to 255 of a-z, A-Z, 0-9, `_`, `-` and `.`. It never changes.
    #[x_kube(
        validation = Rule::new("self.matches('^[a-zA-Z0-9_.-]{3,255}$')").message("a table's name has 3 to 255 characters of a-z, A-Z, 0-9, _, - and ."),
        validation = Rule::new("self == oldSelf").message("tableName never changes"),
    )]
    #[schemars(length(min = 3, max = 255))]
    pub table_name: String,
    /// The Cluster, in the same namespace, that has the table. It never changes.
    #[x_kube(validation = Rule::new("self == oldSelf").message("clusterRef never changes"))]
    #[schemars(length(min = 1, max = 30))]
    pub cluster_ref: String,
    /// The types of the key attributes.
    #[x_kube(validation = Rule::new("self == oldSelf").message("attributeDefinitions never change"))]
    #[schemars(length(min = 1, max = 2))]
    pub attribute_definitions: Vec<AttributeDefinition>,
    /// The partition key (HASH), and the sort key (RANGE) if there is one. It never changes.
    #[x_kube(
        validation = Rule::new("self == oldSelf").message("keySchema never changes"),
        validation = Rule::new("self[0].keyType == 'HASH' && (size(self) == 1 || self[1].keyType == 'RANGE')").message("keySchema has a HASH key, and after it at most a RANGE key"),
        validation = Rule::new("size(self) == 1 || self[0].attributeName != self[1].attributeName").message("the HASH key and the RANGE key are two attributes"),
    )]
    #[schemars(length(min = 1, max = 2))]
    pub key_schema: Vec<KeySchemaElement>,
    /// PAY_PER_REQUEST or PROVISIONED. Default: PAY_PER_REQUEST.
    #[serde(default)]
    pub billing_mode: BillingMode,
    /// Of a PROVISIONED table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisioned_throughput: Option<ProvisionedThroughput>,
    /// Whether the table refuses to be deleted. Default: false.
    #[serde(default)]
    pub deletion_protection_enabled: bool,
    /// STANDARD or STANDARD_INFREQUENT_ACCESS; recorded only. Default: STANDARD.
    #[serde(default)]
    pub table_class: TableClass,
    /// DynamoDB's tags of the table, at most 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub tags: Vec<Tag>,
    /// How many partitions the table begins with, 1 to 1024; the Cluster's defaultPartitions if not given. Read once, when the table is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub initial_partitions: Option<u32>,
    /// What the deletion of this object means. Retain: the table is out of service, and its items stay until a Table of its name and key is
    /// applied again. Delete: the table is deleted with its items, as DeleteTable does. Default: Retain.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// Whether the operator changes nothing of this table; it goes on to report. Default: false.
    #[serde(default)]
    pub paused: bool,
}

/// The type of one key attribute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AttributeDefinition {
    /// 1 to 255 bytes.
    #[schemars(length(min = 1, max = 255))]
    pub attribute_name: String,
    /// S (text), N (number) or B (bytes).
    pub attribute_type: AttributeType,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AttributeType {
    S,
    N,
    B,
}

/// One key attribute and its part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeySchemaElement {
    /// 1 to 255 bytes.
    #[schemars(length(min = 1, max = 255))]
    pub attribute_name: String,
    /// HASH: the partition key. RANGE: the sort key.
    pub key_type: KeyRole,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum KeyRole {
    Hash,
    Range,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum BillingMode {
    #[default]
    PayPerRequest,
    Provisioned,
}

/// Units a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProvisionedThroughput {
    /// Read capacity units a second, 1 or more.
    #[schemars(range(min = 1, max = 1_000_000_000_000_i64))]
    pub read_capacity_units: i64,
    /// Write capacity units a second, 1 or more.
    #[schemars(range(min = 1, max = 1_000_000_000_000_i64))]
    pub write_capacity_units: i64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TableClass {
    #[default]
    Standard,
    StandardInfrequentAccess,
}

/// One of DynamoDB's tags.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tag {
    /// 1 to 128 characters.
    #[schemars(length(min = 1, max = 128))]
    pub key: String,
    /// At most 256 characters.
    #[serde(default)]
    #[schemars(length(max = 256))]
    pub value: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    #[default]
    Retain,
    Delete,
}

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TableStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default)]
    pub observed_generation: i64,
    /// As DescribeTable shows it: CREATING, ACTIVE, UPDATING or DELETING.
    #[serde(default)]
    pub table_status: String,
    /// The table's id, 16 hexadecimal digits, drawn when it was made.
    #[serde(default)]
    pub table_id: String,
    /// Partitions of the table.
    #[serde(default)]
    pub partitions: u32,
    /// Items, rounded to two digits, of all partitions, as leaders have last counted them. Written at most every five minutes.
    #[serde(default)]
    pub items: u64,
    /// Their size as DynamoDB measures it, in bytes: names and values of all attributes. Rounded and written like `items`.
    #[serde(default)]
    pub size_bytes: u64,
    /// Read capacity units that clients consume in a second, on the average of the last five minutes or so. Rounded and written like
    /// `items`.
    #[serde(default)]
    pub read_units: u64,
    /// The same of write capacity units.
    #[serde(default)]
    pub write_units: u64,
    /// When `items`, `sizeBytes`, `readUnits` and `writeUnits` were last written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sized_at: Option<Time>,
    /// How far its birth has come: Placing while the Partition objects are written, Placed from then on. Groups are born only of a table
    /// that is placed, and a Partition object of such a table that is missing is never made from nothing.
    #[serde(default)]
    pub birth: Birth,
    /// The descriptor that the table's groups are to hold, in Trivet's own encoding (base64): the spec with what was given when
    /// the table was made, and its version.
    #[serde(default)]
    pub descriptor: String,
    /// Ready: all its partitions are served, as the resource says. Progressing: something is on its way to what is wished. Degraded: one of
    /// its partitions could not lose a node. Blocked: nothing goes on before somebody acts; the message says what to do. Safe: no failure of
    /// one zone takes two copies.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Birth {
    #[default]
    Placing,
    Placed,
}
