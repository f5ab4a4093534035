//! A node that does not come back: its replica is rebuilt from a snapshot, while others use the table.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use model::{NodeId, ReplicaId, ReplicaKind};

use super::foreground::{self, Foreground};
use super::house::{House, Plan, WELL_WITHIN, sent_since};
use super::row::{AtMost, Kept, Row, time};
use super::{Bench, stock};
use crate::bench::driver::Part;
use crate::bench::scenario::TABLE;
use crate::groups::{Group, Look};

const PROMISE: Duration = Duration::from_secs(30);
/// Times its normal that p99 may be meanwhile.
const SLOWER: u32 = 2;
/// A node's `--replace-after`: long after a log replica stands in.
const REPLACED_AFTER: Duration = Duration::from_secs(8);
const FOR_EVER: Duration = Duration::from_secs(3_600);
/// How long the table is used while nothing is wrong.
const WARM_UP: Duration = Duration::from_secs(2);
const BEFORE: Duration = Duration::from_secs(10);

pub async fn measure(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let megabytes = bench.settings.rebuilt_megabytes;
    let plan = Plan { name: "rebuilt".to_owned(), restart_after: FOR_EVER, replace_after: Some(REPLACED_AFTER) };
    let house = House::start(bench, plan).await?;
    house.create_table(TABLE, 1).await?;
    stock::fill(house.address(), TABLE, megabytes).await?;
    let foreground = Foreground::prepare(house.address(), bench.settings.load).await?;
    let (_, look) = house.admin.wait_whole(1, WELL_WITHIN).await?;
    let before = foreground.measure(WARM_UP, BEFORE).await?;
    let (took, during) = rebuild(&house, &look, &foreground).await?;
    house.end().await?;
    (bench.say)(&format!("{megabytes} MB rebuilt in {}", time(took)));
    let what = format!(
        "replica of {megabytes} MB rebuilt under {} requests/s, from its place given to whole",
        bench.settings.load
    );
    let rebuilt = Row::of_times(what, &[took], AtMost::Always(PROMISE));
    Ok(vec![rebuilt, beside(&before, &during)])
}

/// Kills a follower's node; from when another is told to take its place, until that one is level and votes.
async fn rebuild(house: &House, look: &Look, foreground: &Foreground) -> anyhow::Result<(Duration, Part)> {
    let group = look.groups.values().next().context("there is no group")?;
    let leader = group.leader.as_ref().map(|leader| leader.node);
    let followers = group.descriptor.replicas.iter().filter(|member| Some(member.node) != leader);
    let lost = followers.map(|member| member.node).next().context("the group has no follower")?;
    let sent = house.snapshots_sent().await?;
    let victim = house.find(look, lost)?;
    house.kill(victim);
    let running = foreground.start()?;
    let newest = group.descriptor.next_replica;
    house.admin.wait(WELL_WITHIN, |look| awaited(look, |group| comes(group, newest))).await?;
    let given = Instant::now();
    running.open_window();
    house.admin.wait_whole(1, WELL_WITHIN).await?;
    let took = given.elapsed();
    running.close_window();
    let part = foreground::stop(running).await?;
    ensure!(part.counts.ok > 0, "nothing was answered while the replica was rebuilt");
    demand_elsewhere(&house.admin.look().await?, lost)?;
    // Or it would mean nothing that none is counted for a node that was away.
    ensure!(
        sent_since(&sent, &house.snapshots_sent().await?, victim) > 0,
        "no snapshot is counted for a replica rebuilt"
    );
    Ok((took, part))
}

/// A replica with items that was not there before.
fn comes(group: &Group, newest: ReplicaId) -> bool {
    let is_new = |id: ReplicaId, kind| id >= newest && kind == ReplicaKind::Storage;
    group.descriptor.replicas.iter().any(|member| is_new(member.id, member.kind))
}

fn awaited(look: &Look, is_so: impl Fn(&Group) -> bool) -> Vec<String> {
    let not_so = look.groups.iter().filter(|(_, group)| !is_so(group));
    let mut flaws: Vec<String> = not_so.map(|(id, _)| format!("partition {id} gets no new replica")).collect();
    if look.groups.is_empty() {
        flaws.push("no group is known to the nodes that answer".to_owned());
    }
    flaws
}

fn demand_elsewhere(look: &Look, lost: NodeId) -> anyhow::Result<()> {
    ensure!(look.groups_on(lost).is_empty(), "the lost node is still a member");
    Ok(())
}

fn beside(before: &Part, during: &Part) -> Row {
    let p99 = |part: &Part| part.latencies.quantile(990);
    let (normal, slow) = (p99(before), p99(during));
    let failed = during.counts.errors() + during.counts.unsent;
    Row {
        what: "the same: p99 of those requests meanwhile".to_owned(),
        promise: format!("≤ {SLOWER} × normal"),
        measured: format!("{} instead of {}; {} answered, {failed} failed", time(slow), time(normal), during.counts.ok),
        times: 1,
        kept: Kept::from(slow <= normal * SLOWER && failed == 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(millis: u64) -> Part {
        let mut part = Part::default();
        part.latencies.record(Duration::from_millis(millis));
        part.counts.ok = 1;
        part
    }

    #[test]
    fn foreground_may_be_twice_as_slow_and_nothing_may_fail() {
        assert_eq!(beside(&part(10), &part(19)).kept, Kept::Yes);
        assert_eq!(beside(&part(10), &part(21)).kept, Kept::No);
        let mut failed = part(10);
        failed.counts.failed_5xx = 1;
        assert_eq!(beside(&part(10), &failed).kept, Kept::No);
        assert!(beside(&part(10), &failed).measured.ends_with("1 answered, 1 failed"));
    }

    #[test]
    fn a_look_that_shows_no_group_has_not_shown_what_is_awaited() {
        assert_eq!(awaited(&Look::default(), |_| true).len(), 1);
    }
}
