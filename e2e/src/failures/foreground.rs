//! Who uses a house while it is hurt: a steady load, whose requests come whether or not the last ones are answered.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, ensure};

use crate::bench::driver::Part;
use crate::bench::keys::Keys;
use crate::bench::load::{self, Kind, Load, Pace, Running};
use crate::bench::request::Signer;
use crate::bench::scenario::{Items, Scenario, TABLE};

const ITEMS: Items = Items { bytes: 1_024, wished: 2_000 };
const CONNECTIONS: u64 = 64;
const SEED: u64 = 11;

/// Requests for the items of the table `bench`, which are there.
pub struct Foreground {
    load: Load,
}

impl Foreground {
    pub async fn prepare(address: &str, per_second: f64) -> anyhow::Result<Foreground> {
        let signer = Signer { address: address.to_owned(), time: SystemTime::now() };
        load::every_once(address, ITEMS.puts(&signer, TABLE)?).await.context("put what is asked for")?;
        let mut kinds = Scenario::Put.kinds(&signer, ITEMS)?;
        kinds.extend(Scenario::StrongGet.kinds(&signer, ITEMS)?);
        let kinds: Arc<[Kind]> = kinds.into();
        let pace = Pace::Poisson { per_second };
        let address = address.to_owned();
        let (connections, threads, seed) = (CONNECTIONS, 1, SEED);
        Ok(Foreground { load: Load { address, kinds, keys: Keys::Uniform, pace, connections, threads, seed } })
    }

    /// Its window is not open yet.
    pub fn start(&self) -> anyhow::Result<Running> {
        Running::start(std::slice::from_ref(&self.load))
    }

    /// What a span of nothing else shows.
    pub async fn measure(&self, warm_up: Duration, span: Duration) -> anyhow::Result<Part> {
        let running = self.start()?;
        tokio::time::sleep(warm_up).await;
        running.open_window();
        tokio::time::sleep(span).await;
        running.close_window();
        let part = stop(running).await?;
        ensure!(part.counts.ok > 0, "nothing was answered");
        Ok(part)
    }
}

/// What was seen in its window.
pub async fn stop(running: Running) -> anyhow::Result<Part> {
    let parts = tokio::task::spawn_blocking(move || running.stop()).await.context("wait for the load")??;
    parts.into_iter().next().context("no load ran")
}
