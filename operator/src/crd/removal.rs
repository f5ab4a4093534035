//! A node that goes, or is about to: what a Cluster's status says of it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A node that goes: fewer are wished, its zone, its claim, its Kubernetes node or its volume goes. Whatever a person has asked for can be
/// taken back until its claim is deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Removal {
    /// Its id, 16 hexadecimal digits.
    pub node: String,
    /// Its zone.
    pub zone: String,
    /// Why it goes.
    pub why: RemovalReason,
    /// How far it is.
    pub phase: RemovalPhase,
    /// One sentence: what is waited for, and what stops it.
    pub message: String,
    /// Since when it is in this phase.
    pub since: Time,
    /// Replicas that groups have there still.
    #[serde(default)]
    pub replicas_left: u32,
    /// The most that there were.
    #[serde(default)]
    pub replicas: u32,
}

/// Why a node goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RemovalReason {
    /// Fewer nodes are wished in its zone.
    ScaledIn,
    /// Its zone is not wished any more.
    ZoneRemoved,
    /// Somebody has deleted its claim.
    ClaimDeleted,
    /// Its Kubernetes node is cordoned and annotated with trivet.dev/drain.
    Drained,
    /// Its volume cannot be used, or has lost its content.
    VolumeLost,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RemovalPhase {
    /// Its volume cannot be used; it is waited for.
    Missing,
    /// Another one goes first, or something hinders it.
    Waiting,
    /// It gives away the partitions that it leads.
    HandingOver,
    /// Its replicas move, one at a time.
    Moving,
    /// It is lost, and its partitions' leaders rebuild its replicas elsewhere.
    Rebuilding,
    /// It has no replicas any more; its Pod stops.
    Stopping,
    /// Its claim is deleted.
    Deleting,
}
