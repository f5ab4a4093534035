//! Routing against nodes that answer as the script says, and a real MemDS.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "routing/world.rs"]
mod world;

#[path = "routing/control.rs"]
mod control;
#[path = "routing/health.rs"]
mod health;
#[path = "routing/look_ups.rs"]
mod look_ups;
#[path = "routing/pages.rs"]
mod pages;
#[path = "routing/refusals.rs"]
mod refusals;
