//! What `trivet local` may be told.

use std::net::SocketAddr;
use std::path::PathBuf;

/// The whole of Trivet on loopback.
#[derive(Clone, Debug, clap::Args)]
pub struct Config {
    /// Where DynamoDB's HTTP API is served.
    #[arg(long, env = "TRIVET_LOCAL_LISTEN", default_value = "127.0.0.1:8000")]
    pub listen: SocketAddr,
    /// The folder that holds everything; created if it is not there.
    #[arg(long, env = "TRIVET_LOCAL_DATA", default_value = "./trivet-data")]
    pub data: PathBuf,
    /// Failure domains; three at least, since every partition has a replica in each of three.
    #[arg(long, env = "TRIVET_LOCAL_ZONES", default_value_t = 3, value_parser = clap::value_parser!(u32).range(3..=26))]
    pub zones: u32,
    /// Storage nodes in each zone.
    #[arg(long, env = "TRIVET_LOCAL_NODES_PER_ZONE", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=32))]
    pub nodes_per_zone: u32,
    /// Initial partitions of a table that does not say (tag `trivet.dev/partitions`).
    #[arg(long, env = "TRIVET_LOCAL_PARTITIONS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub partitions: u32,
    /// One child process per node, router and MemDS, started again when it dies.
    #[arg(long, env = "TRIVET_LOCAL_PROCESSES")]
    pub processes: bool,
    /// How long a child that died stays dead, in milliseconds.
    #[arg(long, env = "TRIVET_LOCAL_RESTART_AFTER_MS", default_value_t = 200)]
    pub restart_after_ms: u64,
    /// The access key that clients sign with.
    #[arg(long, env = "TRIVET_LOCAL_ACCESS_KEY", default_value = "local")]
    pub access_key: String,
    /// Its secret.
    #[arg(long, env = "TRIVET_LOCAL_SECRET_KEY", default_value = "local", hide_env_values = true)]
    pub secret_key: String,
    /// Serve everybody, signed or not.
    #[arg(long, env = "TRIVET_LOCAL_NO_AUTH")]
    pub no_auth: bool,
}
