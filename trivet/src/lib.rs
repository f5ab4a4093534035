//! The processes of Trivet, each a subcommand of the one binary: `local` is the whole house on one machine.

pub mod admin;
pub mod local;
pub mod process;
