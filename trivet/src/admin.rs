//! `trivet admin`: what people ask of running nodes, through the same admin service that control uses.

mod recover;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Subcommand;
use control::cluster::Cluster;
use control::moves::{self, Move};
use control::splits::{self, Halves, Split};
use model::{NodeId, PartitionDescriptor, PartitionId, TableDescriptor};
use router::json::{self, attribute::Attributes};
use router::operation::keys;
use wire::admin::Health;
use wire::admin::health::State;
use wire::seal::Role;

/// What people ask of running nodes.
#[derive(clap::Args)]
pub struct Arguments {
    /// host:port of every node, separated by commas; a name stands for all addresses that it leads to.
    #[arg(long, env = "TRIVET_ADMIN_NODES", value_delimiter = ',', global = true)]
    nodes: Vec<String>,
    /// Instead of addresses: the data folder of a running `trivet local`.
    #[arg(long, default_value = "./trivet-data", global = true)]
    data: PathBuf,
    /// A folder with ca.crt, tls.crt and tls.key of an admin of the cluster, where its nodes speak mutual TLS alone.
    #[arg(long, env = "TRIVET_ADMIN_TLS", global = true)]
    tls: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    #[command(flatten)]
    OfNodes(OfNodes),
    /// Kubernetes: collect objects, events, logs and metrics of a namespace in one file, for another person to look at. No secrets, no items.
    Dump(operator::bundle::Arguments),
    /// Kubernetes: remove a Cluster with all of its data, for good.
    Teardown(operator::teardown::Arguments),
}

/// What nodes are asked themselves.
#[derive(Subcommand)]
enum OfNodes {
    /// The nodes: id, zone, free disk, groups, leaders.
    Nodes,
    /// The groups: range, epoch, leader, replicas and how far each has applied; how much each holds, as its leader last counted.
    Groups,
    /// Unsafe recovery: bring a group back whose majority is gone for good.
    Recover(recover::Arguments),
    /// Move one replica of a partition to another node of its zone, and wait until it is done.
    Move {
        /// The partition's id, as `groups` prints it.
        #[arg(long, value_parser = parse_id)]
        partition: u64,
        /// The node that gives the replica up.
        #[arg(long, value_parser = parse_id)]
        from: u64,
        /// The node that gets it; chosen by placement if not given.
        #[arg(long, value_parser = parse_id)]
        to: Option<u64>,
        /// How long it may take, in seconds.
        #[arg(long, default_value_t = 600)]
        deadline_s: u64,
    },
    /// Cut a partition in two at a key, and wait until both halves serve. No data is moved.
    Split {
        /// The partition's id, as `groups` prints it.
        #[arg(long, value_parser = parse_id)]
        partition: u64,
        #[command(flatten)]
        cut: Cut,
        /// How long it may take, in seconds.
        #[arg(long, default_value_t = 60)]
        deadline_s: u64,
    },
}

/// Where a partition is cut: one of both.
#[derive(clap::Args)]
#[group(multiple = false)]
struct Cut {
    /// The key of the item with which the new partition begins, as DynamoDB writes it: {"artist": {"S": "Nina"}}.
    #[arg(long, value_name = "JSON")]
    at_key: Option<String>,
    /// The same as an encoded key, in hexadecimal digits.
    #[arg(long, value_name = "HEX", value_parser = parse_hex)]
    at: Option<Bytes>,
}

pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    crate::process::runtime()?.block_on(answer(arguments))
}

async fn answer(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { nodes, data, tls, command } = arguments;
    match command {
        Command::Dump(wish) => operator::bundle::run(&wish, say).await,
        Command::Teardown(wish) => operator::teardown::run(&wish, say).await,
        Command::OfNodes(command) => {
            let nodes = if nodes.is_empty() { read_addresses(&data)? } else { addresses(&nodes).await? };
            let cluster = Cluster::sealed(crate::process::seal(tls.as_deref(), "admin", Role::Admin)?);
            cluster.set_nodes(&nodes, 0).context("name the nodes")?;
            ask_nodes(&cluster, &nodes, command).await
        }
    }
}

/// Each once, whatever it was called.
async fn addresses(named: &[String]) -> anyhow::Result<Vec<String>> {
    let mut found = BTreeSet::new();
    for name in named {
        let led_to = tokio::net::lookup_host(name).await.with_context(|| format!("look up {name}"))?;
        found.extend(led_to.map(|address| address.to_string()));
    }
    Ok(found.into_iter().collect())
}

async fn ask_nodes(cluster: &Cluster, nodes: &[String], command: OfNodes) -> anyhow::Result<()> {
    match command {
        OfNodes::Nodes => print_nodes(cluster, nodes).await,
        OfNodes::Groups => print_groups(cluster).await?,
        OfNodes::Recover(arguments) => recover::run(cluster, arguments).await?,
        OfNodes::Move { partition, from, to, deadline_s } => {
            let wish = Move { partition: PartitionId(partition), from: NodeId(from), to: to.map(NodeId) };
            let deadline = Duration::from_secs(deadline_s);
            let after = moves::carry_out(cluster, wish, deadline, say).await.context("move the replica")?;
            say(&format!("partition {}: moved, epoch {}", after.id, after.epoch));
        }
        OfNodes::Split { partition, cut, deadline_s } => {
            let partition = PartitionId(partition);
            let at = cut.encoded(cluster, partition).await?;
            let split = Split { partition, at };
            let done = splits::carry_out(cluster, &split, Duration::from_secs(deadline_s)).await;
            let Halves { left, right } = done.context("split the partition")?;
            say(&format!("partition {}: up to {}, epoch {}", left.id, hex(&split.at), left.epoch));
            say(&format!("partition {}: from {}, epoch {}", right.id, hex(&split.at), right.epoch));
        }
    }
    Ok(())
}

impl Cut {
    async fn encoded(self, cluster: &Cluster, partition: PartitionId) -> anyhow::Result<Bytes> {
        if let Some(at) = self.at {
            return Ok(at);
        }
        let json = self.at_key.context("say where to split: --at-key or --at")?;
        let table = splits::table_of(cluster, partition).await.context("find the partition's table")?;
        let key = json::parse::<Attributes>(json.as_bytes()).and_then(Attributes::checked).context("read the key")?;
        keys::of_key(&table, &key).context("encode the key")
    }
}

fn read_addresses(data: &std::path::Path) -> anyhow::Result<Vec<String>> {
    let path = data.join("addresses");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {} (or give --nodes)", path.display()))?;
    let addresses: Vec<String> =
        text.lines().filter_map(|line| line.split_whitespace().nth(1)).map(str::to_owned).collect();
    if addresses.is_empty() {
        bail!("{} names no node", path.display());
    }
    Ok(addresses)
}

async fn print_nodes(cluster: &Cluster, addresses: &[String]) {
    for (address, reached) in addresses.iter().zip(cluster.ask_all(false).await) {
        let Some(reached) = reached else {
            say(&format!("{address}  does not answer"));
            continue;
        };
        let status = reached.status;
        let (id, zone, groups, leaders) = (NodeId(status.node), &status.zone, status.groups, status.leaders);
        let (free, total) = (status.free_bytes >> 20, status.total_bytes >> 20);
        let ready = if status.ready { "ready" } else { "starting" };
        say(&format!(
            "{address}  node {id}  {zone}  {ready}  {groups} groups, {leaders} led  {free} of {total} MiB free"
        ));
    }
}

async fn print_groups(cluster: &Cluster) -> anyhow::Result<()> {
    let mut lines: BTreeMap<(String, Vec<u8>, u64), Vec<String>> = BTreeMap::new();
    for reached in cluster.ask_all(true).await.into_iter().flatten() {
        for group in reached.groups.into_iter().flatten() {
            let (mut place, mut range) = ((String::from("(empty)"), Vec::new()), String::from("no descriptor yet"));
            if !group.descriptor.is_empty() {
                let descriptor = PartitionDescriptor::decode(group.descriptor).context("read a descriptor")?;
                let table = TableDescriptor::decode(group.table).context("read a table's descriptor")?;
                place = (table.name, descriptor.range.start.to_vec());
                range = format!("from {}, epoch {}", hex(&descriptor.range.start), descriptor.epoch);
            }
            let role = if group.serving { "leads" } else { "follows" };
            let line = format!(
                "    replica {} on node {} in {} {role}, term {}, applied {} of {}; {range}",
                group.replica,
                NodeId(reached.status.node),
                reached.status.zone,
                group.term,
                group.applied,
                group.last_index,
            );
            let lines = lines.entry((place.0, place.1, group.partition)).or_default();
            lines.push(line);
            let size = group.items.zip(group.bytes);
            lines.extend(size.map(|(items, bytes)| format!("    holds {items} items, {bytes} bytes")));
            let units = group.read_milliunits.zip(group.write_milliunits);
            lines.extend(units.map(|(read, write)| consumed(read, write)));
            lines.extend(group.health.map(|health| format!("    {}", describe(&health))));
        }
    }
    for ((table, _, partition), replicas) in lines {
        say(&format!("{table}  partition {}", PartitionId(partition)));
        replicas.iter().for_each(|line| say(line));
    }
    Ok(())
}

fn consumed(read_milliunits: u64, write_milliunits: u64) -> String {
    let units = |milliunits: u64| format!("{}.{}", milliunits / 1000, milliunits % 1000 / 100);
    format!("    answers {} read and {} write units a second", units(read_milliunits), units(write_milliunits))
}

/// How a group is, since when, and why.
fn describe(health: &Health) -> String {
    let Health { state: _, replica, stand_in, why, for_ms, percent } = health;
    let state = match health.state() {
        State::Unspecified => "in an unknown state".to_owned(),
        State::Whole => "whole".to_owned(),
        State::Missing => format!("replica {replica} is missing"),
        State::StoodIn if *replica == 0 => format!("log replica {stand_in} stands in"),
        State::StoodIn => format!("log replica {stand_in} stands in for replica {replica}"),
        State::ShortOfZone => format!("short of a zone: log replica {stand_in} stands in where another voter is"),
        State::Rebuilding => format!("replica {replica} is rebuilt: {percent} %"),
        State::Short => "short of a replica".to_owned(),
        State::NeedsArchive => "needs the archive: no replica with items can reach the log".to_owned(),
        State::Leaderless => "without a leader: its quorum is lost or cut off".to_owned(),
    };
    let hindrance = if why.is_empty() { String::new() } else { format!("; {why}") };
    format!("{state}, for {}.{} s{hindrance}", for_ms / 1000, for_ms % 1000 / 100)
}

fn hex(bytes: &[u8]) -> String {
    if bytes.is_empty() { "the first key".to_owned() } else { bytes.iter().map(|byte| format!("{byte:02x}")).collect() }
}

fn parse_id(text: &str) -> Result<u64, String> {
    u64::from_str_radix(text, 16)
        .map_err(|error| format!("{text} is no id ({error}): 16 hexadecimal digits, as `groups` prints them"))
}

fn parse_hex(text: &str) -> Result<Bytes, String> {
    let pair = |at: usize| text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let bytes = (0..text.len()).step_by(2).map(pair).collect::<Option<Vec<u8>>>();
    bytes.map(Bytes::from).ok_or_else(|| format!("{text} is no encoded key: pairs of hexadecimal digits"))
}

/// Whoever reads the answer may stop reading before its end: then the command has done what was asked of it.
fn say(line: &str) {
    if writeln!(std::io::stdout(), "{line}").is_err() {
        std::process::exit(0);
    }
}
