//! Nodes that are killed and stay dead: how long until every group of theirs has three voters again.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use model::{NodeId, PartitionId};

use super::house::{House, Plan, WELL_WITHIN};
use super::row::{AtMost, Kept, Row, quantile, time};
use super::{Bench, stock};
use crate::bench::scenario::TABLE;
use crate::groups::{Admin, Look};

/// A node's `--suspect-after`.
const SUSPECTED_AFTER: Duration = Duration::from_secs(2);
/// After it is suspected.
const PROMISE: Duration = Duration::from_secs(3);
/// From the kill, where a thousand groups lose one node.
const PROMISE_OF_MANY: Duration = Duration::from_secs(15);
/// A large partition takes no longer than a small one, but for so many of a hundred.
const ALIKE_PERCENT: u32 = 20;
/// How long a node stays dead where several are lost, one after the other.
const DEAD: Duration = Duration::from_secs(15);
/// Long enough that it never comes back.
const FOR_EVER: Duration = Duration::from_secs(3_600);
/// As many as one table is cut into.
const PARTITIONS: usize = 1_000;

/// Which node of a group is lost.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lost {
    Leader,
    Follower,
}

/// For each size, and for nodes that lead or follow.
pub async fn one_group(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut medians = Vec::new();
    for megabytes in bench.settings.sizes() {
        let Losses { leaders, followers } = lose_often(bench, megabytes).await?;
        for (who, times) in [("it led", &leaders), ("it followed", &followers)] {
            let what = format!("node lost, {who} a group of {megabytes} MB: three voters again, from `kill -9`");
            rows.push(Row::of_times(what, times, AtMost::Open));
            let suspected: Vec<Duration> = times.iter().map(|time| time.saturating_sub(SUSPECTED_AFTER)).collect();
            let what = format!("the same, less the {} after which it is suspected", time(SUSPECTED_AFTER));
            rows.push(Row::of_times(what, &suspected, AtMost::Always(PROMISE)));
        }
        // Where a leader is lost, the chance of its election hides what size may do.
        let mut sorted = followers;
        sorted.sort_unstable();
        medians.push((megabytes, sorted.len(), quantile(&sorted, 50)));
    }
    if let [(small, times, shorter), .., (large, _, longer)] = medians[..] {
        rows.push(alike((small, shorter), (large, longer), times));
    }
    Ok(rows)
}

fn alike((small, shorter): (u64, Duration), (large, longer): (u64, Duration), times: usize) -> Row {
    let limit = shorter + shorter * ALIKE_PERCENT / 100;
    Row {
        what: format!("as fast for {large} MB as for {small} MB, where it followed"),
        promise: format!("within {ALIKE_PERCENT} %"),
        measured: format!("medians {} and {}", time(longer), time(shorter)),
        times,
        kept: Kept::from(longer <= limit),
    }
}

struct Losses {
    leaders: Vec<Duration>,
    followers: Vec<Duration>,
}

async fn lose_often(bench: &Bench, megabytes: u64) -> anyhow::Result<Losses> {
    let plan = Plan { name: format!("lost-{megabytes}"), restart_after: DEAD, replace_after: None };
    let house = House::start(bench, plan).await?;
    house.create_table(TABLE, 1).await?;
    stock::fill(house.address(), TABLE, megabytes).await?;
    let mut losses = Losses { leaders: Vec::new(), followers: Vec::new() };
    for _ in 0..bench.settings.losses {
        for (lost, times) in [(Lost::Leader, &mut losses.leaders), (Lost::Follower, &mut losses.followers)] {
            let (_, look) = house.admin.wait_whole(1, WELL_WITHIN).await?;
            let node = choose(&look, lost)?;
            let victim = house.find(&look, node)?;
            let took = lose(&house, &look, node, DEAD).await?;
            let role = if lost == Lost::Leader { "the leader" } else { "a follower" };
            (bench.say)(&format!("{megabytes} MB, {role} lost: three voters after {}", time(took)));
            times.push(took);
            house.wait_back(victim, 2 * DEAD).await?;
        }
    }
    let (took, _) = house.admin.wait_whole(1, WELL_WITHIN).await?;
    (bench.say)(&format!("{megabytes} MB: the last one back, and whole {} later", time(took)));
    house.end().await?;
    Ok(losses)
}

/// A node of the only group.
fn choose(look: &Look, lost: Lost) -> anyhow::Result<NodeId> {
    let nodes = look.groups.values().flat_map(|group| {
        let leader = group.leader.as_ref().map(|leader| leader.node);
        let members = group.descriptor.replicas.iter().map(|member| member.node);
        members.filter(move |node| (leader == Some(*node)) == (lost == Lost::Leader))
    });
    let nodes: Vec<NodeId> = nodes.collect();
    ensure!(!nodes.is_empty(), "the group has nobody to lose");
    Ok(nodes[0])
}

/// Kills a node and waits until each of its groups has three voters elsewhere.
async fn lose(house: &House, look: &Look, node: NodeId, within: Duration) -> anyhow::Result<Duration> {
    let groups = look.groups_on(node);
    let victim = house.find(look, node)?;
    let killed = Instant::now();
    house.kill(victim);
    wait_for_three_voters(&house.admin, &groups, node, within).await?;
    Ok(killed.elapsed())
}

async fn wait_for_three_voters(
    admin: &Admin,
    groups: &[PartitionId],
    lost: NodeId,
    within: Duration,
) -> anyhow::Result<()> {
    let flaws = |look: &Look| {
        let has = |id: &PartitionId| look.groups.get(id).is_some_and(|group| group.has_three_voters_without(lost));
        let say = |id: &PartitionId| {
            let flaw = look.groups.get(id).and_then(|group| group.flaw());
            format!("partition {id} has no three voters: {}", flaw.unwrap_or_else(|| "they are not level".to_owned()))
        };
        groups.iter().filter(|id| !has(id)).map(say).collect()
    };
    admin.wait(within, flaws).await.map(|_| ())
}

/// So many groups lose one node at once.
pub async fn many_groups(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let plan = Plan { name: "many".to_owned(), restart_after: FOR_EVER, replace_after: None };
    let house = House::start(bench, plan).await?;
    // Each zone has two nodes, so that a node has a replica of every second group.
    let wanted = 2 * bench.settings.groups;
    for begin in (0..wanted).step_by(PARTITIONS) {
        let partitions = u32::try_from(PARTITIONS.min(wanted - begin))?;
        house.create_table(&format!("{TABLE}-{begin}"), partitions).await?;
    }
    let (_, look) = house.admin.wait_whole(wanted, WELL_WITHIN).await?;
    let nodes = look.nodes.iter().flatten();
    let node = *nodes.max_by_key(|node| look.groups_on(**node).len()).context("no node answers")?;
    let groups = look.groups_on(node).len();
    (bench.say)(&format!("{wanted} groups are whole; a node with {groups} of them is lost"));
    let took = lose(&house, &look, node, WELL_WITHIN).await?;
    (bench.say)(&format!("{groups} groups: three voters after {}", time(took)));
    house.end().await?;
    let what = format!("{groups} groups lose one node at once: all have three voters again, from `kill -9`");
    Ok(vec![Row::of_times(what, &[took], AtMost::Always(PROMISE_OF_MANY))])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_partition_may_take_a_fifth_longer() {
        let row = |longer| alike((10, Duration::from_millis(4_000)), (1_000, Duration::from_millis(longer)), 4);
        assert_eq!((row(4_800).kept, row(4_801).kept, row(3_000).kept), (Kept::Yes, Kept::No, Kept::Yes));
        assert_eq!(row(4_500).measured, "medians 4.50 s and 4 s");
    }
}
