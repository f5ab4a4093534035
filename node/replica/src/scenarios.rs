//! Stories of small clusters: one rule of replication each.

mod chaos;
mod elections;
mod handovers;
mod log_replicas;
mod logs;
mod membership;
mod reads;
mod recovery;
mod repair;
mod resigning;
mod sleep;
mod splits;
mod writes;

const ZONES: [&str; 3] = ["a", "b", "c"];
