//! Chaos: clients that record every operation, faults at random, and what must be true of the record.
//!
//! - [`workload`] has the clients, [`record`] what they write down; [`probe`] sees how long writes stand still;
//! - [`fault`] is the list of what goes wrong, [`plague`] does it and undoes it;
//! - [`census`] counts what repair has brought meanwhile;
//! - [`check`] judges a record by itself; `e2e/porcupine` judges the same record, independently; [`summary`] tells.

pub mod census;
pub mod check;
pub mod fault;
pub mod plague;
pub mod probe;
pub mod record;
pub mod summary;
pub mod workload;
