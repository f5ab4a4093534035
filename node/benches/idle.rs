//! What groups that sleep cost: three nodes in this process, so many groups with a replica on each, nothing to do.
//!
//! `cargo bench -p node --bench idle -- [groups]` prints bytes of memory by replica, and the part of a processor that a node
//! takes, once all groups sleep. Ticks are 50 ms here, half of the default.

#![expect(clippy::print_stdout, reason = "what is measured is printed")]
#![expect(clippy::unwrap_used, reason = "a measurement that fails has no result")]

#[path = "../tests/nodes/world.rs"]
#[expect(dead_code, reason = "only a part of it is needed here")]
mod world;

use std::time::{Duration, Instant};

use futures::StreamExt;
use model::{KeyRange, PartitionDescriptor, PartitionId, TableStatus};
use tonic::Request;
use wire::admin::CreateGroupRequest;
use wire::admin::admin_server::Admin;

use world::{Way, World};

const WORKERS: usize = 1;
const GROUPS: u32 = 1000;
const NODES: u32 = 3;
/// Births at once.
const AT_ONCE: usize = 64;
const MEASURED: Duration = Duration::from_secs(30);

fn main() {
    let asked = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(measure(asked.unwrap_or(GROUPS)));
}

async fn measure(groups: u32) {
    let world = World::start(Way::Tonic, 3);
    let empty_bytes = resident_bytes();
    create(&world, groups).await;
    let begun = Instant::now();
    while asleep(&world) < i64::from(NODES * groups) {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    println!("{groups} groups asleep {:.1} s after their birth", begun.elapsed().as_secs_f64());
    let bytes = resident_bytes().saturating_sub(empty_bytes);
    println!("{} bytes by replica", bytes / u64::from(NODES * groups));
    let (ticks, turns) = (sum(&world, |m| m.group_ticks.get()), sum(&world, |m| m.turns.get()));
    let cpu = cpu_time();
    tokio::time::sleep(MEASURED).await;
    let used = (cpu_time() - cpu).as_secs_f64() / MEASURED.as_secs_f64() / f64::from(NODES);
    println!("{:.2} % of a processor by node", 100.0 * used);
    let (ticks, turns) = (sum(&world, |m| m.group_ticks.get()) - ticks, sum(&world, |m| m.turns.get()) - turns);
    println!("{ticks} ticks to groups, {turns} turns in {} s", MEASURED.as_secs());
}

async fn create(world: &World, groups: u32) {
    let nodes = [world.node(0).id(), world.node(1).id(), world.node(2).id()];
    let partition = |(number, range): (u64, KeyRange)| PartitionDescriptor {
        id: PartitionId(0x1000 + number),
        range,
        ..world::descriptor(&nodes)
    };
    let descriptors = (0..).zip(KeyRange::even(groups)).map(partition);
    let births = descriptors.flat_map(|descriptor| (0..3).map(move |number| (number, descriptor.encode())));
    let table = world::table(TableStatus::Active).encode();
    let born = futures::stream::iter(births).map(async |(number, descriptor)| {
        let request = CreateGroupRequest { descriptor, table: table.clone() };
        world.node(number).services().admin.create_group(Request::new(request)).await.unwrap();
    });
    born.buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
}

fn asleep(world: &World) -> i64 {
    (0..3).map(|number| world.node(number).metrics().asleep.get()).sum()
}

fn sum(world: &World, count: impl Fn(&node::metrics::Metrics) -> u64) -> u64 {
    (0..3).map(|number| count(world.node(number).metrics())).sum()
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// Of this process, all its threads, in hundredths of a second as Linux counts them.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    // User and system time are the 14th and the 15th field; the third is the first after the name.
    let hundredths: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(10 * hundredths)
}
