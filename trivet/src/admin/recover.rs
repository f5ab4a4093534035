//! `trivet admin recover`: shows what is left of a group that lost its majority; with the code that it prints, recovers it.

use anyhow::Context as _;
use control::cluster::Cluster;
use control::recovery::{self, Decision};
use model::PartitionId;

use super::say;

/// Brings a group back that has lost a majority of its replicas for good, from one of those that are left. What only the lost ones had
/// is lost. Without --confirm it shows what is left and what may be lost, and changes nothing.
#[derive(clap::Args)]
pub struct Arguments {
    /// The partition's id, as `groups` prints it.
    #[arg(long, value_parser = super::parse_id)]
    partition: u64,
    /// The code that was printed: recovers exactly what was shown.
    #[arg(long, requires = "reason")]
    confirm: Option<String>,
    /// Why, for the audit record of the node.
    #[arg(long, requires = "confirm")]
    reason: Option<String>,
}

pub async fn run(cluster: &Cluster, arguments: Arguments) -> anyhow::Result<()> {
    let partition = PartitionId(arguments.partition);
    let (Some(code), Some(reason)) = (arguments.confirm, arguments.reason) else {
        let picture = recovery::look(cluster, partition).await.context("look at the group")?;
        picture.lines().iter().for_each(|line| say(line));
        say(&format!(
            "to do it: trivet admin recover --partition {partition} --confirm {} --reason \"…\"",
            picture.code()
        ));
        return Ok(());
    };
    let decision = Decision { partition, code, reason };
    let picture = recovery::carry_out(cluster, &decision).await.context("recover the group")?;
    let (replica, node) = (picture.chosen.replica, picture.chosen.node);
    say(&format!(
        "partition {partition}: goes on from replica {replica} on node {node}; `trivet admin groups` shows how"
    ));
    Ok(())
}
