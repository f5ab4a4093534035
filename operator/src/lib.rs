//! Kubernetes' face of Trivet: Clusters, Tables and Partitions as resources, and the operator that makes them agree with what
//! nodes have.
//!
//! ```text
//!             ┌─ watch ──► observe ─► plan ──► apply ──► status ─┐         one look at one Cluster (`reconcile`)
//!  API server ┤              ▲                   │               ├─► API server
//!             └─ resources ─ driver (control) ◄──┼── front ◄── routers: CreateTable, UpdateTable, DeleteTable
//!                              │                 ▼
//!                              └────────────► nodes: birth, table descriptors, identities of blank disks
//! ```
//! `plan`, `tables`, `status`, `build`, `wish` and `names` are pure. Only `watch`, `apply`, `resources` and `definitions` hold a client. It is
//! never in the way of a read or a write: the data plane does not know that there is an API server.

pub mod apply;
pub mod build;
pub mod config;
pub mod crd;
pub mod definitions;
pub mod front;
pub mod metrics;
pub mod moves;
pub mod names;
pub mod observe;
pub mod plan;
pub mod reconcile;
pub mod resources;
pub mod seal;
pub mod server;
pub mod status;
pub mod tables;
pub mod watch;
pub mod wish;
