//! What is the case with a resource: in the form that `kubectl wait --for=condition=…` reads.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Everything works as wished.
pub const READY: &str = "Ready";
/// Something is on its way to what is wished.
pub const PROGRESSING: &str = "Progressing";
/// It works, and would not survive as much as it should.
pub const DEGRADED: &str = "Degraded";
/// Nothing goes on before somebody acts; the message says what to do.
pub const BLOCKED: &str = "Blocked";
/// One failure takes no more than one copy.
pub const SAFE: &str = "Safe";
/// Certificates are in their time, and nobody is being brought others.
pub const CERTIFICATES: &str = "CertificatesCurrent";

/// One statement about a resource, with its reason, since when it holds and what would change it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Ready, Progressing, Degraded, Blocked, Safe, or CertificatesCurrent.
    #[serde(rename = "type")]
    pub kind: String,
    /// True, False or Unknown.
    pub status: String,
    /// One word for programs.
    pub reason: String,
    /// One sentence for people: what is the case, and the next step.
    pub message: String,
    /// Since when `status` is what it is.
    pub last_transition_time: Time,
    /// The generation of the spec that it speaks of.
    #[serde(default)]
    pub observed_generation: i64,
}

/// One statement before it is written down: when it began is known only beside the last ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    pub kind: &'static str,
    pub holds: bool,
    pub reason: String,
    pub message: String,
}

/// The statements as conditions. Those that held before keep their time.
pub fn conditions(before: &[Condition], said: Vec<Statement>, generation: i64, now: &Time) -> Vec<Condition> {
    said.into_iter().map(|statement| condition(before, statement, generation, now)).collect()
}

fn condition(before: &[Condition], said: Statement, generation: i64, now: &Time) -> Condition {
    let Statement { kind, holds, reason, message } = said;
    let status = if holds { "True" } else { "False" };
    let same = before.iter().find(|condition| condition.kind == kind && condition.status == status);
    Condition {
        kind: kind.to_owned(),
        status: status.to_owned(),
        reason,
        message,
        last_transition_time: same.map_or_else(|| now.clone(), |condition| condition.last_transition_time.clone()),
        observed_generation: generation,
    }
}
