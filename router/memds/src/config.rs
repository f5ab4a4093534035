//! What a MemDS server is started with.

use std::net::SocketAddr;

#[derive(Clone, Debug, clap::Args)]
pub struct Config {
    /// Where nodes, routers and the control service reach this server.
    #[arg(long, env = "TRIVET_LISTEN", default_value = "127.0.0.1:7300")]
    pub listen: SocketAddr,
    /// Where metrics and health are served over HTTP; nowhere by default.
    #[arg(long, env = "TRIVET_METRICS_LISTEN")]
    pub metrics_listen: Option<SocketAddr>,
}
