//! DynamoDB's face: HTTP, JSON, SigV4, one file per operation; and the way from an operation to the node that answers it.
//!
//! Only this room knows JSON. Arrows: `operation` → `routing` → MemDS, nodes, the control service.

pub mod routing;
