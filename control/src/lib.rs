//! From tables to partitions to placed replicas: the driver and the control service.
//!
//! The driver reads and writes resources through the [`resources::Resources`] trait and never knows what stands behind it:
//! a file (`trivet local`), later Kubernetes. It asks nodes by their admin service and is never in the way of a read or a
//! write: with this room gone, everything but the table operations goes on.
//!
//! ```text
//!  router ──CreateTable──► service ──► resources ◄── driver: observe → plan → apply → status ──► nodes (admin)
//!                             └──── the CREATING descriptor ──► MemDS ◄── descriptors ── nodes
//! ```
//! `plan` is pure: what is wished and what was observed go in, steps with reasons come out.

pub mod cluster;
pub mod config;
pub mod diverged;
pub mod driver;
#[cfg(test)]
mod fake;
pub mod moves;
pub mod observe;
pub mod plan;
pub mod recovery;
pub mod resources;
pub mod server;
pub mod service;
pub mod splits;
mod troubles;
