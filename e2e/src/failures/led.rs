//! Leaders that are killed or asked to stop: for how long nothing can be written.

use std::time::Duration;

use anyhow::{Context, ensure};
use model::NodeId;
use tokio::task::JoinHandle;

use super::Bench;
use super::house::{House, Plan, Victim, WELL_WITHIN};
use super::row::{AtMost, Kept, Row, time};
use crate::bench::scenario::TABLE;
use crate::chaos::probe::{Probes, Rate};
use crate::client::{self, Retries};
use crate::groups::Look;

const KILLED_PROMISE: Duration = Duration::from_secs(2);
const DRAINED_PROMISE: Duration = Duration::from_millis(50);
/// Keys that are written all the time, and clients that do it.
const KEYS: usize = 2;
const CLIENTS: usize = 2;
/// A gap of seconds is measured well enough.
const WHERE_KILLED: Rate = Rate { keys: KEYS, every: Duration::from_millis(40) };
const WHERE_DRAINED: Rate = Rate { keys: KEYS, every: Duration::from_millis(5) };
const CLIENT_TIMEOUT: Duration = Duration::from_secs(6);
/// Writes acknowledged after it: more than were under way.
const WRITES: u64 = 20;
/// A node that died comes back before anybody stands in for it.
const RESTART_AFTER: Duration = Duration::from_millis(1_000);
/// How long the house is watched while nothing is wrong.
const QUIET: Duration = Duration::from_secs(5);

/// A house whose only group is written all the time.
struct Watched {
    house: House,
    probes: std::sync::Arc<Probes>,
    tasks: Vec<JoinHandle<()>>,
    /// The longest gap with nothing wrong.
    quiet: Duration,
}

impl Watched {
    async fn start(bench: &Bench, name: &str, rate: Rate) -> anyhow::Result<Watched> {
        let plan = Plan { name: name.to_owned(), restart_after: RESTART_AFTER, replace_after: None };
        let house = House::start(bench, plan).await?;
        house.create_table(TABLE, 1).await?;
        let connect = || client::connect(house.address(), Retries::None, CLIENT_TIMEOUT);
        let (probes, tasks) = Probes::start(TABLE, (0..CLIENTS).map(|_| connect()).collect(), rate);
        ensure!(probes.all_written(WRITES, WELL_WITHIN).await, "writes do not even begin");
        house.admin.wait_whole(1, WELL_WITHIN).await?;
        probes.open_window();
        tokio::time::sleep(QUIET).await;
        let quiet = probes.window().longest;
        Ok(Watched { house, probes, tasks, quiet })
    }

    /// Whole, written, and a window open; who leads.
    async fn ready(&self) -> anyhow::Result<Victim> {
        let (_, look) = self.house.admin.wait_whole(1, WELL_WITHIN).await?;
        let victim = self.house.find(&look, leader(&look)?)?;
        self.demand_writes().await?;
        self.probes.open_window();
        Ok(victim)
    }

    async fn demand_writes(&self) -> anyhow::Result<()> {
        ensure!(self.probes.all_written(WRITES, WELL_WITHIN).await, "some key cannot be written");
        Ok(())
    }

    async fn end(self) -> anyhow::Result<()> {
        self.house.admin.wait_whole(1, WELL_WITHIN).await?;
        self.probes.stop();
        for task in self.tasks {
            task.await.context("a client ended badly")?;
        }
        self.house.end().await
    }
}

fn leader(look: &Look) -> anyhow::Result<NodeId> {
    let mut leaders = look.groups.values().filter_map(|group| Some(group.leader.as_ref()?.node));
    leaders.next().context("nobody leads")
}

pub async fn killed(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let watched = Watched::start(bench, "killed", WHERE_KILLED).await?;
    let mut gaps = Vec::new();
    for _ in 0..bench.settings.kills() {
        let victim = watched.ready().await?;
        watched.house.kill(victim);
        watched.demand_writes().await?;
        gaps.push(watched.probes.window().longest);
        watched.house.wait_back(victim, WELL_WITHIN).await?;
    }
    let quiet = watched.quiet;
    watched.end().await?;
    let row = Row::of_times("leader killed: nothing can be written for", &gaps, AtMost::Mostly(KILLED_PROMISE));
    let row = row.noting(&format!("{} with nothing wrong", time(quiet)));
    (bench.say)(&format!("leader killed: {}", row.measured));
    Ok(vec![row])
}

/// From the signal until it is back and all is whole: an upgrade of one node, as clients see it.
pub async fn drained(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let watched = Watched::start(bench, "drained", WHERE_DRAINED).await?;
    let (mut gaps, mut errors) = (Vec::new(), 0);
    for _ in 0..bench.settings.drains {
        let victim = watched.ready().await?;
        // What failed before is not this one's.
        drop(watched.probes.take_error());
        watched.house.ask_to_stop(victim);
        watched.house.wait_back(victim, WELL_WITHIN).await?;
        watched.house.admin.wait_whole(1, WELL_WITHIN).await?;
        watched.demand_writes().await?;
        let window = watched.probes.window();
        gaps.push(window.longest);
        errors += window.errors;
        if let Some(error) = watched.probes.take_error() {
            let (name, gap) = (watched.house.name(victim), time(window.longest));
            (bench.say)(&format!("{name} drained: {gap}, {} writes failed, the last with: {error}", window.errors));
        }
    }
    let quiet = watched.quiet;
    watched.end().await?;
    let what = "leader's node stops by SIGTERM and comes back: nothing can be written for";
    let gap = Row::of_times(what, &gaps, AtMost::Always(DRAINED_PROMISE));
    let gap = gap.noting(&format!("{} with nothing wrong", time(quiet)));
    (bench.say)(&format!("drained: {}; {errors} errors", gap.measured));
    let errors = Row {
        what: "the same: writes that failed, of clients that try once".to_owned(),
        promise: "none".to_owned(),
        measured: errors.to_string(),
        times: gap.times,
        kept: Kept::from(errors == 0),
    };
    Ok(vec![gap, errors])
}
