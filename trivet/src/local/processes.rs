//! `--processes`: each node, the router and MemDS as a child process, started again when it dies.
//!
//! A child stops when its standard input ends: with the parent gone, however it went, no child stays behind.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::config::Config;
use super::house::House;
use super::until;

/// How long a child may take to stop before it is killed.
const STOP_WITHIN: Duration = Duration::from_secs(15);

/// One child.
struct Program {
    name: String,
    /// Its command line, asked for at each start: a node is told to take an identity only once.
    arguments: Box<dyn Fn() -> Vec<String> + Send + Sync>,
    /// Not on the command line, where every user of the machine could read them.
    secrets: Vec<(&'static str, String)>,
}

/// Runs all children until told to stop; routers stop first, then nodes, then MemDS.
pub async fn supervise(house: Arc<House>, config: Config, stopped: watch::Receiver<bool>) -> anyhow::Result<()> {
    let restart_after = Duration::from_millis(config.restart_after_ms);
    let (stop_nodes, nodes_stopped) = watch::channel(false);
    let (stop_memds, memds_stopped) = watch::channel(false);
    let mut routers = JoinSet::new();
    let mut nodes = JoinSet::new();
    let mut memds = JoinSet::new();
    let arguments = house.memds_arguments();
    memds.spawn(keep_running(program("memds", move || arguments.clone()), restart_after, memds_stopped));
    for place in &house.nodes {
        let (house, own) = (Arc::clone(&house), place.clone());
        let node = program(&place.name, move || house.node_arguments(&own));
        nodes.spawn(keep_running(node, restart_after, nodes_stopped.clone()));
    }
    let arguments = house.router_arguments(&config);
    let mut router = program("router", move || arguments.clone());
    if !config.no_auth {
        router.secrets.push(("TRIVET_ACCESS_KEY", config.access_key.clone()));
        router.secrets.push(("TRIVET_SECRET_KEY", config.secret_key.clone()));
    }
    routers.spawn(keep_running(router, restart_after, stopped));
    finish(routers).await?;
    stop_nodes.send_replace(true);
    finish(nodes).await?;
    stop_memds.send_replace(true);
    finish(memds).await
}

async fn finish(mut children: JoinSet<anyhow::Result<()>>) -> anyhow::Result<()> {
    while let Some(ended) = children.join_next().await {
        ended.context("watch a child")??;
    }
    Ok(())
}

async fn keep_running(program: Program, restart_after: Duration, stopped: watch::Receiver<bool>) -> anyhow::Result<()> {
    loop {
        let mut child = start(&program)?;
        // Waiting for a child would close its standard input, which tells it to stop.
        let input = child.stdin.take();
        let status = tokio::select! {
            biased;
            () = until(stopped.clone()) => return stop(child).await,
            status = child.wait() => status.context("wait for a child")?,
        };
        drop(input);
        tracing::warn!(child = program.name, %status, "a child ended and is started again");
        tokio::select! {
            biased;
            () = until(stopped.clone()) => return Ok(()),
            () = tokio::time::sleep(restart_after) => {}
        }
    }
}

fn start(program: &Program) -> anyhow::Result<Child> {
    let binary = std::env::current_exe().context("find our own binary")?;
    Command::new(binary)
        .args((program.arguments)())
        .arg("--stop-with-stdin")
        .envs(program.secrets.iter().map(|(name, value)| (*name, value.as_str())))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        // Of its own group: a ctrl-C at the terminal is for the parent, which stops its children in order.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("start {}", program.name))
}

async fn stop(mut child: Child) -> anyhow::Result<()> {
    if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
        // Fails only where the child is gone already.
        kill_process(pid, Signal::TERM).unwrap_or_default();
    }
    match tokio::time::timeout(STOP_WITHIN, child.wait()).await {
        Ok(status) => status.map(|_| ()).context("wait for a child"),
        Err(_) => child.kill().await.context("kill a child"),
    }
}

fn program(name: &str, arguments: impl Fn() -> Vec<String> + Send + Sync + 'static) -> Program {
    Program { name: name.to_owned(), arguments: Box::new(arguments), secrets: Vec::new() }
}
