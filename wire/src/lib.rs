//! How the words travel: five protocols, one module each, generated from `proto/`.
//!
//! Between processes everything frequent travels in batches on long-lived streams; unary calls are for what is rare. What
//! rests on disk or travels inside these messages as bytes is encoded by `model` or by `replica`, never here. Beside them is what every
//! port of Trivet has in common: the door of those for processes and their seal, and how each process tells metrics and health.

#![expect(
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::clone_on_ref_ptr,
    clippy::excessive_nesting,
    clippy::too_many_lines,
    reason = "the code below is generated"
)]

pub mod door;
pub mod error;
pub mod frugal;
pub mod health;
pub mod seal;

/// Routers ↔ nodes: clients' operations.
pub mod data {
    tonic::include_proto!("trivet.data.v1");
}

/// Nodes ↔ nodes: replication and snapshots.
pub mod raft {
    tonic::include_proto!("trivet.raft.v1");
}

/// Control and people → nodes.
pub mod admin {
    tonic::include_proto!("trivet.admin.v1");
}

/// Nodes, routers, control → MemDS.
pub mod memds {
    tonic::include_proto!("trivet.memds.v1");
}

/// Routers → the control service.
pub mod control {
    tonic::include_proto!("trivet.control.v1");
}
