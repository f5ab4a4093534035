//! The one binary: each subcommand starts one process of Trivet, `local` the whole house on one machine.

use clap::{Parser, Subcommand};
use trivet::{admin, local, process};

/// DynamoDB's architecture on your own machines: three synced replicas of every partition in three zones.
#[derive(Parser)]
#[command(name = "trivet", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The whole of Trivet on loopback: three zones, DynamoDB's API on one address.
    Local(Box<local::config::Config>),
    /// One storage node.
    Node(Box<process::NodeArguments>),
    /// One router: DynamoDB's HTTP API.
    Router(Box<process::RouterArguments>),
    /// One MemDS server: the partition map.
    #[command(name = "memds")]
    MemDs(Box<process::MemDsArguments>),
    /// One control service: creates and deletes tables.
    Control(Box<process::ControlArguments>),
    /// The operator of every Cluster in one namespace of Kubernetes.
    Operator(Box<process::OperatorArguments>),
    /// What people ask of running nodes.
    Admin(admin::Arguments),
}

fn main() -> anyhow::Result<()> {
    process::prepare();
    match Arguments::parse().command {
        Command::Local(config) => local::run(*config),
        Command::Node(arguments) => process::run_node(*arguments),
        Command::Router(arguments) => process::run_router(*arguments),
        Command::MemDs(arguments) => process::run_memds(*arguments),
        Command::Control(arguments) => process::run_control(*arguments),
        Command::Operator(arguments) => process::run_operator(*arguments),
        Command::Admin(arguments) => admin::run(arguments),
    }
}
