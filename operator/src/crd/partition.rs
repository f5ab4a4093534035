//! `Partition`: one part of a table. Its spec is a wish, its status what nodes say.

#![expect(clippy::duplicated_attributes, reason = "columns are alike in their types")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::condition::Condition;

/// One partition of a table: made by the operator, for people to see. Its spec says where its replicas were wished to be when it was made;
/// its status says what nodes have.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "trivet.dev",
    version = "v1alpha1",
    kind = "Partition",
    namespaced,
    shortname = "part",
    status = "PartitionStatus",
    derive = "PartialEq",
    doc = "One partition of a table: made by the operator, for people to see.",
    printcolumn(name = "Table", type_ = "string", json_path = ".spec.tableRef"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Leader", type_ = "string", json_path = ".status.leader"),
    printcolumn(name = "Zones", type_ = "string", json_path = ".status.zones"),
    printcolumn(name = "Epoch", type_ = "integer", json_path = ".status.epoch"),
    printcolumn(name = "Items", type_ = "integer", json_path = ".status.items"),
    printcolumn(name = "Bytes", type_ = "integer", json_path = ".status.sizeBytes"),
    printcolumn(name = "Read units/s", type_ = "integer", json_path = ".status.readUnits", priority = 1),
    printcolumn(name = "Write units/s", type_ = "integer", json_path = ".status.writeUnits", priority = 1),
    printcolumn(name = "From", type_ = "string", json_path = ".status.range.start", priority = 1),
    printcolumn(name = "To", type_ = "string", json_path = ".status.range.end", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PartitionSpec {
    /// The Table object.
    #[x_kube(validation = Rule::new("self == oldSelf").message("tableRef never changes"))]
    pub table_ref: String,
    /// The table's id, 16 hexadecimal digits: a Table that was made anew under the old name has another.
    #[x_kube(validation = Rule::new("self == oldSelf").message("tableId never changes"))]
    pub table_id: String,
    /// The partition's id, 16 hexadecimal digits.
    #[x_kube(validation = Rule::new("self == oldSelf").message("partitionId never changes"))]
    pub partition_id: String,
    /// The range that it was made with. A split leaves the left half; the status says what it has now.
    #[x_kube(validation = Rule::new("self == oldSelf").message("a partition's range is cut by its leader: trivet admin split"))]
    pub range: Range,
    /// Where its first replicas are born.
    #[x_kube(validation = Rule::new("self == oldSelf").message("replicas are moved by nodes and the operator: trivet admin move"))]
    #[schemars(length(min = 3, max = 5))]
    pub replicas: Vec<ReplicaWish>,
}

/// A half-open range of encoded keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Range {
    /// The first key, in hexadecimal; empty for the table's beginning.
    #[serde(default)]
    pub start: String,
    /// The first key that is not in it, in hexadecimal; absent for the table's end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
}

/// Where one replica is wished to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReplicaWish {
    /// Its zone.
    pub zone: String,
    /// Its node's id, 16 hexadecimal digits.
    pub node: String,
}

/// What the nodes say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PartitionStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default)]
    pub observed_generation: i64,
    /// Whole; Moving, while a replica comes to another node; or what is missing: Missing, StoodIn, ShortOfZone, Rebuilding, Short,
    /// NeedsArchive, Leaderless, Unknown. The conditions say what that means.
    #[serde(default)]
    pub state: String,
    /// What hinders its leader from making it whole; empty where nothing does.
    #[serde(default)]
    pub why: String,
    /// The leader's node, 16 hexadecimal digits; empty if there is none.
    #[serde(default)]
    pub leader: String,
    /// The voters' zones.
    #[serde(default)]
    pub zones: String,
    /// It rises with every change of range or replicas.
    #[serde(default)]
    pub epoch: u64,
    /// The keys that it has now.
    #[serde(default)]
    pub range: Range,
    /// Its replicas, by their ids.
    #[serde(default)]
    pub replicas: Vec<ReplicaStatus>,
    /// Items, rounded to two digits, as leaders have last counted them. Written at most every five minutes.
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
    /// Ready: a leader serves. Progressing: its nodes do something about it. Degraded: it could not lose a node. Blocked: nothing goes on
    /// before somebody acts. Safe: no two voters in one zone.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// One replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaStatus {
    /// Given once, never again.
    pub id: u64,
    /// Its node's id, 16 hexadecimal digits.
    pub node: String,
    /// Its zone.
    pub zone: String,
    /// Voter or Learner.
    pub role: String,
    /// Storage: log and items. Log: the log alone.
    pub kind: String,
    /// As the leader sees it: Leading, Following, Joining, Rebuilding or Away; Unknown where none leads.
    #[serde(default)]
    pub state: String,
}
