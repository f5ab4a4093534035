//! What a MemDS server is started with.

use std::net::SocketAddr;
use std::path::PathBuf;

#[derive(Clone, Debug, clap::Args)]
pub struct Config {
    /// Where nodes, routers and the control service reach this server.
    #[arg(long, env = "TRIVET_LISTEN", default_value = "127.0.0.1:7300")]
    pub listen: SocketAddr,
    /// A folder with ca.crt, tls.crt and tls.key: with it the server speaks mutual TLS alone. Read again when it changes.
    #[arg(long, env = "TRIVET_TLS")]
    pub tls: Option<PathBuf>,
    /// Where metrics and health are served over HTTP; nowhere by default.
    #[arg(long, env = "TRIVET_METRICS_LISTEN")]
    pub metrics_listen: Option<SocketAddr>,
}
