//! What the operator costs at the size that is promised for (`make bench-operator`): the real binary beside a real API server with its etcd,
//! and nodes in memory that speak the real protocols and tell of ten thousand partitions.
//!
//! ```text
//!  stock ──Tables, Partitions──► API server ◄──calls── trivet operator ──asks──► nodes in memory ◄──changes── phases
//!                                    └───────counts───────┐   └─counts, memory, CPU─┐
//!                                                         └──► report ◄─────────────┘
//! ```
//! Calls are counted twice, by the operator and by the API server: each checks the other.
#![expect(clippy::disallowed_types, reason = "what stands beside the operator has a client of its own")]
#![expect(clippy::unwrap_used, reason = "a bench says by panicking, as a test does")]
#![expect(clippy::print_stdout, reason = "it is started by people, who wait for it")]
#![expect(dead_code, reason = "what stands in for the rest of the world is shared with the tests, which use all of it")]

use std::path::PathBuf;

use clap::Parser;

mod counts;
mod metrics;
mod phases;
mod report;
mod stock;
mod subject;

#[path = "../../tests/api_server/server.rs"]
mod server;
#[path = "../../tests/steady"]
mod steady {
    pub mod changes;
    pub mod fleet;
    pub mod luck;
    pub mod machines;
    pub mod picture;
    pub mod process;
    pub mod stage;
    pub mod toll;
}

// They name each other so.
use steady::{changes, fleet, luck, machines, picture, process, stage, toll};

#[derive(Parser)]
pub struct Arguments {
    /// The binary whose operator is measured; else this program is one.
    #[arg(long)]
    trivet: Option<PathBuf>,
    /// Partition objects in all.
    #[arg(long, default_value_t = 10_000)]
    partitions: u32,
    /// Table objects that they are shared among.
    #[arg(long, default_value_t = 200)]
    tables: u32,
    /// Partitions whose leader changes.
    #[arg(long, default_value_t = 1_000)]
    changes: u32,
    /// How long nothing happens, and how long a zone is looked at that is lost.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// cargo says so of every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

/// As `trivet operator` is started.
#[derive(Parser)]
struct Operator {
    #[command(flatten)]
    config: operator::config::Config,
}

fn main() {
    if std::env::args().nth(1).as_deref() == Some("operator") {
        let Operator { config } = Operator::parse_from(std::env::args_os().skip(1));
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        return runtime.block_on(operator::server::run(config, std::future::pending())).unwrap();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(measure(&Arguments::parse()));
}

async fn measure(arguments: &Arguments) {
    let rows = phases::all(arguments).await;
    let promises = report::promises(&rows, arguments);
    println!("{}", report::table(&rows));
    println!("{}", report::verdicts(&promises));
    assert!(promises.iter().all(report::Promise::is_held), "a promise is broken");
}
