//! The house in one process: nodes, MemDS and the router as parts of it, stopped in the order of `processes`.
//!
//! Nodes and the router reach each other in memory, by the same frames; everything rare goes over loopback. The parts are
//! told what the child processes are told, so that there is one list of flags.

use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use memds::metrics::Metrics;
use memds::server::Handle;
use node::server::Node;
use node::transport::Connector;
use node::transport::memory::{Frameway, Memory};
use router::routing::connector::TonicConnector;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::config::Config;
use super::house::House;
use super::memory::InMemory;
use super::until;
use crate::process::{MemDsArguments, NodeArguments, Reach, RouterArguments};

/// A subcommand's arguments without the subcommand.
#[derive(Parser)]
struct Flags<T: clap::Args> {
    #[command(flatten)]
    arguments: T,
}

/// Runs everything until told to stop.
pub async fn serve(house: Arc<House>, config: Config, stopped: watch::Receiver<bool>) -> anyhow::Result<()> {
    let (stop_memds, memds_stopped) = watch::channel(false);
    let address = parse::<MemDsArguments>(house.memds_arguments())?.config.listen;
    let listener = TcpListener::bind(address).await.context("listen for MemDS")?;
    let handle = Handle::new(Metrics::new(&prometheus::Registry::new()).context("register metrics")?);
    let memds = tokio::spawn(memds::server::serve(handle.clone(), listener, None, until(memds_stopped)));
    let memory = Memory::new(Frameway::AsIs);
    let nodes = start_nodes(&house, &memory)?;
    let connector = InMemory { nodes: memory, memds: handle, control: TonicConnector::default() };
    run_router(&house, &config, connector, stopped).await.context("run the router")?;
    for node in nodes {
        node.stop().await.context("stop a node")?;
    }
    // The last: nodes announce to it while they stop.
    stop_memds.send_replace(true);
    memds.await.context("stop MemDS")?.context("run MemDS")
}

fn start_nodes(house: &House, memory: &Arc<Memory>) -> anyhow::Result<Vec<Node>> {
    let mut nodes = Vec::new();
    for place in &house.nodes {
        let config = parse::<NodeArguments>(house.node_arguments(place))?.config;
        let node = Node::start(config, Connector::Memory(Arc::clone(memory)));
        nodes.push(node.with_context(|| format!("start {}", place.name))?);
    }
    Ok(nodes)
}

async fn run_router(
    house: &House,
    config: &Config,
    connector: InMemory,
    stopped: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let mut arguments = house.router_arguments(config);
    if !config.no_auth {
        let keys = [("--access-key", &config.access_key), ("--secret-key", &config.secret_key)];
        arguments.extend(keys.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value.clone()]));
    }
    let RouterArguments { config, routing, .. } = parse(arguments)?;
    let reach = Reach { connector: Arc::new(connector), seal: None };
    crate::process::serve_router(config, routing, reach, until(stopped)).await
}

fn parse<T: clap::Args>(arguments: Vec<String>) -> anyhow::Result<T> {
    let flags = Flags::<T>::try_parse_from(arguments).context("parse our own arguments")?;
    Ok(flags.arguments)
}
