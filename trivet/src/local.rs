//! `trivet local`: three zones of nodes, MemDS, the control service and a router on loopback, over one data folder.
//!
//! In one process by default; with `--processes` each node, the router and MemDS are child processes that are started again
//! when they die, so that a `kill -9` is a real one. What is kept is the nodes' folders and the resources file; everything
//! else is rebuilt from them.

pub mod config;
mod folder;
mod house;
mod memory;
mod processes;
mod ready;
mod together;

use std::sync::Arc;

use anyhow::Context;
use tokio::sync::watch;

use config::Config;
use folder::Folder;
use house::House;

/// Runs until ctrl-C or SIGTERM.
pub fn run(config: Config) -> anyhow::Result<()> {
    crate::process::runtime()?.block_on(serve(config, crate::process::asked_to_stop()))
}

/// Runs until `stop`, or until a part cannot go on.
pub async fn serve(config: Config, stop: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let folder = Folder::open(&config.data)?;
    let house = Arc::new(House::plan(&config, &folder)?);
    house.write_addresses().context("write the addresses")?;
    serve_house(config, house, stop).await
}

async fn serve_house(
    config: Config,
    house: Arc<House>,
    asked_to_stop: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let (stop, stopped) = watch::channel(false);
    let control = tokio::spawn(serve_control(Arc::clone(&house), stopped.clone()));
    let greet = tokio::spawn(ready::greet(Arc::clone(&house), config.clone()));
    let rest = if config.processes {
        tokio::spawn(processes::supervise(Arc::clone(&house), config, stopped))
    } else {
        tokio::spawn(together::serve(Arc::clone(&house), config, stopped))
    };
    let mut rest = rest;
    // Whichever comes first: the user's word, or a part that cannot go on.
    let ended = tokio::select! {
        biased;
        asked = asked_to_stop => asked.map(|()| None)?,
        ended = &mut rest => Some(ended),
    };
    greet.abort();
    stop.send_replace(true);
    match ended {
        Some(ended) => ended.context("run the house")??,
        None => rest.await.context("stop the house")??,
    }
    control.await.context("stop the control service")?
}

/// Until the house stops. A dropped sender means that it is gone, which is the same.
async fn until(mut stopped: watch::Receiver<bool>) {
    drop(stopped.wait_for(|stop| *stop).await);
}

async fn serve_control(house: Arc<House>, stopped: watch::Receiver<bool>) -> anyhow::Result<()> {
    let listener =
        tokio::net::TcpListener::bind(house.control.address()).await.context("listen for the control service")?;
    control::server::serve(house.control_config(), listener, until(stopped)).await
}
