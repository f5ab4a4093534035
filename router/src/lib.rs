//! DynamoDB's face: HTTP, JSON, SigV4, one file per operation; and the way from an operation to the node that answers it.
//!
//! Only this room knows JSON. Arrows: `operation` → `routing` → MemDS, nodes, the control service.

pub mod audit;
pub mod backend;
pub mod config;
pub mod error;
pub mod health;
pub mod http;
pub mod json;
pub mod keyring;
pub mod metrics;
pub mod operation;
pub mod routing;
pub mod server;
pub mod sigv4;
