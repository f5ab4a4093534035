//! A node that was away while others wrote: it gets what it lacks from the logs, and nobody copies anything.

use anyhow::{Context, ensure};

use super::Bench;
use super::foreground::{self, Foreground};
use super::house::{House, Plan, WELL_WITHIN, sent_since};
use super::row::{AtMost, Kept, Row, time};
use crate::bench::scenario::TABLE;

/// So that the node leads some, and follows in others.
const PARTITIONS: u32 = 6;

pub async fn measure(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let away = bench.settings.away();
    let house = House::start(bench, Plan { name: "away".to_owned(), restart_after: away, replace_after: None }).await?;
    house.create_table(TABLE, PARTITIONS).await?;
    let groups = usize::try_from(PARTITIONS)?;
    let foreground = Foreground::prepare(house.address(), bench.settings.load).await?;
    let (_, look) = house.admin.wait_whole(groups, WELL_WITHIN).await?;
    let running = foreground.start()?;
    running.open_window();
    let nodes = look.nodes.iter().flatten();
    let node = *nodes.max_by_key(|node| look.groups_on(**node).len()).context("no node answers")?;
    let lost = look.groups_on(node).len();
    let before = house.snapshots_sent().await?;
    let victim = house.find(&look, node)?;
    house.kill(victim);
    let back = house.wait_back(victim, away + WELL_WITHIN).await?;
    house.admin.wait_whole(groups, WELL_WITHIN).await?;
    let whole = back.elapsed();
    running.close_window();
    let used = foreground::stop(running).await?;
    let sent = sent_since(&before, &house.snapshots_sent().await?, victim);
    ensure!(used.counts.ok > 0, "nothing was written meanwhile");
    house.end().await?;
    (bench.say)(&format!("back after {}: whole {} later, {sent} snapshots sent", time(away), time(whole)));
    let what = format!(
        "node of {lost} groups away for {} under {} requests/s: all whole after it came back",
        time(away),
        bench.settings.load
    );
    let counts = used.counts;
    let note = format!("{} requests answered meanwhile, {} failed", counts.ok, counts.errors() + counts.unsent);
    let snapshots = Row {
        what: "the same: snapshots sent".to_owned(),
        promise: "none".to_owned(),
        measured: sent.to_string(),
        times: 1,
        kept: Kept::from(sent == 0),
    };
    Ok(vec![Row::of_times(what, &[whole], AtMost::Open).noting(&note), snapshots])
}
