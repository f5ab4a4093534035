//! What an operator of the router may choose: flags, environment, defaults.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Most partitions that a table may be created with: each is a Raft group, and a typing error should not make a million.
pub const MOST_INITIAL_PARTITIONS: u32 = 1024;

/// The router's public face.
#[derive(Clone, Debug, clap::Args)]
pub struct Config {
    /// Where to serve DynamoDB's HTTP API.
    #[arg(long, env = "TRIVET_LISTEN", default_value = "127.0.0.1:8000")]
    pub listen: SocketAddr,
    /// A folder with ca.crt, tls.crt and tls.key: with it nodes, MemDS and the control service are reached by mutual TLS alone. Read
    /// again when it changes.
    #[arg(long, env = "TRIVET_TLS")]
    pub tls: Option<PathBuf>,
    /// Where metrics and health are served over HTTP; nowhere by default.
    #[arg(long, env = "TRIVET_METRICS_LISTEN")]
    pub metrics_listen: Option<SocketAddr>,
    /// The access key of the one client, with its secret; more of them go into a credentials file.
    #[arg(long, env = "TRIVET_ACCESS_KEY", requires = "secret_key")]
    pub access_key: Option<String>,
    /// The secret of the access key.
    #[arg(long, env = "TRIVET_SECRET_KEY", requires = "access_key", hide_env_values = true)]
    pub secret_key: Option<String>,
    /// A file of access keys and secrets in the format of `~/.aws/credentials`; read again when it changes.
    #[arg(long, env = "TRIVET_CREDENTIALS_FILE")]
    pub credentials_file: Option<PathBuf>,
    /// Serve everybody, signed or not.
    #[arg(long, env = "TRIVET_NO_AUTH")]
    pub no_auth: bool,
    /// A file to which a line of JSON is appended for every call about tables and for every client that is not let in; `-` for the
    /// standard output. None by default.
    #[arg(long, env = "TRIVET_AUDIT")]
    pub audit: Option<PathBuf>,
    /// The region that ARNs name and that clients sign for.
    #[arg(long, env = "TRIVET_REGION", default_value = "us-east-1")]
    pub region: String,
    /// Accept signatures for any region.
    #[arg(long, env = "TRIVET_ANY_REGION")]
    pub any_region: bool,
    /// How long one operation may take, in milliseconds, before it is answered with a retryable error.
    #[arg(long, env = "TRIVET_OPERATION_DEADLINE_MS", default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub operation_deadline_ms: u64,
    /// How many partitions a table gets whose creator does not say (tag `trivet.dev/partitions`); the control service's
    /// default if not given.
    #[arg(long, env = "TRIVET_DEFAULT_PARTITIONS", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub default_partitions: Option<u32>,
    /// Most connections at once. For a new one those are closed that have waited longest for a request; while all are at
    /// work, it waits.
    #[arg(long, env = "TRIVET_MAX_CONNECTIONS", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections: u32,
    /// Most bytes of request bodies in memory at once; others wait to be read.
    #[arg(long, env = "TRIVET_MAX_BODY_MEMORY_BYTES", default_value_t = 128 * 1024 * 1024)]
    pub max_body_memory_bytes: usize,
    /// Most bytes of answers that clients have not taken yet. Who does not read is closed for others' answers.
    #[arg(long, env = "TRIVET_MAX_ANSWER_MEMORY_BYTES", default_value_t = 256 * 1024 * 1024)]
    pub max_answer_memory_bytes: usize,
}

/// What operations need to know of the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    pub region: String,
    pub deadline: Duration,
    pub default_partitions: Option<u32>,
}

impl Config {
    pub fn settings(&self) -> Settings {
        Settings {
            region: self.region.clone(),
            deadline: Duration::from_millis(self.operation_deadline_ms),
            default_partitions: self.default_partitions,
        }
    }
}
