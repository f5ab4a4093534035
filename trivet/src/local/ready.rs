//! When the house is ready, and what it says then.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wire::admin::admin_client::AdminClient;
use wire::admin::{ListGroupsRequest, StatusRequest};
use wire::memds::ListTablesRequest;
use wire::memds::mem_ds_client::MemDsClient;

use super::config::Config;
use super::house::House;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// After this long, what is missing is said.
const SAY_AFTER: Duration = Duration::from_secs(10);

/// Waits until everything serves, then says so in one line.
pub async fn greet(house: Arc<House>, config: Config) {
    let started = Instant::now();
    let mut said = started;
    while let Err(missing) = look(&house, &config).await {
        if said.elapsed() > SAY_AFTER {
            said = Instant::now();
            tracing::warn!(missing = format!("{missing:#}"), "not ready yet");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    if let Err(error) = house.mark_made() {
        tracing::error!(%error, "it cannot be kept that the nodes have their identities");
    }
    say(&house, &config, started.elapsed());
}

/// Nodes serve, every partition has a leader, MemDS has heard everyone, the router answers.
async fn look(house: &House, config: &Config) -> anyhow::Result<()> {
    let mut groups = std::collections::BTreeMap::new();
    for place in &house.nodes {
        let url = format!("http://{}", place.port.address());
        let mut node = AdminClient::connect(url).await.with_context(|| format!("reach {}", place.name))?;
        let status = node.status(StatusRequest {}).await.context("ask a node")?.into_inner();
        anyhow::ensure!(status.ready, "{} is starting", place.name);
        for group in node.list_groups(ListGroupsRequest { table: 0 }).await.context("list groups")?.into_inner().groups
        {
            *groups.entry(group.partition).or_insert(false) |= group.serving;
        }
    }
    let leaderless = groups.values().filter(|serving| !**serving).count();
    anyhow::ensure!(leaderless == 0, "{leaderless} partitions have no leader yet");
    let mut memds = MemDsClient::connect(format!("http://{}", house.memds.address())).await.context("reach MemDS")?;
    let request = ListTablesRequest { exclusive_start: String::new(), limit: 1 };
    let tables = memds.list_tables(request).await.context("ask MemDS")?.into_inner();
    anyhow::ensure!(tables.complete, "MemDS has not heard every node yet");
    ask_router(config).await
}

async fn ask_router(config: &Config) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(config.listen).await.context("reach the router")?;
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await
        .context("ask the router")?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.context("hear the router")?;
    anyhow::ensure!(&answer == b"HTTP/1.1 200", "the router is not healthy");
    Ok(())
}

#[expect(clippy::print_stdout, reason = "what the user waits for")]
fn say(house: &House, config: &Config, took: Duration) {
    let (zones, nodes) = (config.zones, house.nodes.len());
    let keys = if config.no_auth {
        "requests are not authenticated".to_owned()
    } else {
        format!("access key {}, secret key {}", config.access_key, config.secret_key)
    };
    println!(
        "Trivet is ready on http://{} after {:.1} s: {zones} zones, {nodes} nodes; {keys}; data in {}",
        config.listen,
        took.as_secs_f64(),
        config.data.display(),
    );
}
