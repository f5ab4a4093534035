//! Kubernetes' face of Trivet: Clusters, Tables and Partitions as resources, and the operator that makes them agree with what
//! nodes have.
//!
//! ```text
//!             ┌─ watch ──► observe ─► validate ─► plan ──► apply ──► status ─┐   one look at one Cluster (`reconcile`)
//!  API server ┤              ▲                               │               ├─► API server
//!             └─ resources ─ driver (control) ◄──────────────┼── front ◄── routers: CreateTable, UpdateTable, DeleteTable
//!                              │                             ▼
//!                              └────────────────────────► nodes: birth, table descriptors, identities of blank disks
//! ```
//! `validate`, `plan`, `tables`, `orphans`, `allowance`, `figures`, `happened`, `rest`, `unseen`, `status`, `build`, `wish`, `known` and `names`
//! are pure. `outside` makes a client, `calls` wraps it, `access` divides it; beside them only `watch`, `apply`, `resources`, `lease`,
//! `definitions`, `strays`, `seal::store`, and the commands `teardown` and `bundle` hold one, and none of these gives it away. Of several processes one acts (`lease`), and each serves the control service (`served`). It is
//! never in the way of a read or a write: the data plane does not know that there is an API server.

pub mod access;
pub mod allowance;
pub mod apply;
pub mod build;
pub mod bundle;
pub mod calls;
pub mod config;
pub mod crd;
pub mod definitions;
pub mod figures;
pub mod front;
pub mod happened;
pub mod known;
pub mod lease;
pub mod leaving;
pub mod metrics;
pub mod moves;
pub mod names;
pub mod objects;
pub mod observe;
pub mod orphans;
pub mod outside;
pub mod plan;
pub mod reconcile;
pub mod removals;
pub mod resources;
pub mod rest;
pub mod seal;
pub mod served;
pub mod server;
pub mod status;
pub mod strays;
pub mod tables;
pub mod teardown;
pub mod unborn;
pub mod unseen;
pub mod validate;
pub mod watch;
pub mod wish;
