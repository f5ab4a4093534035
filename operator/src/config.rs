//! What the operator is told at its start.

use std::net::SocketAddr;

/// The operator of every Cluster in one namespace.
#[derive(Clone, Debug, clap::Args)]
pub struct Config {
    /// The namespace whose Clusters, Tables and Partitions are looked after.
    #[arg(long, env = "TRIVET_OPERATOR_NAMESPACE", default_value = "default")]
    pub namespace: String,
    /// Where routers reach the control service: CreateTable, UpdateTable, DeleteTable.
    #[arg(long, env = "TRIVET_OPERATOR_LISTEN", default_value = "127.0.0.1:7200")]
    pub listen: SocketAddr,
    /// Who this process is among the operators of the namespace, of which one acts: the name of its Pod, so that its successor there need
    /// not wait for the lease's end. Drawn at random where it is not given.
    #[arg(long, env = "TRIVET_OPERATOR_IDENTITY")]
    pub identity: Option<String>,
    /// Where metrics and health are served over HTTP; nowhere by default.
    #[arg(long, env = "TRIVET_METRICS_LISTEN")]
    pub metrics_listen: Option<SocketAddr>,
}
