//! Opening a node's disk: its log, its items, and every replica that lives on it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use model::{KeyRange, NodeId, PartitionId};
use replica::state::BIRTH_INDEX;
use replica::{AppliedMark, GroupState, LogStart, Options, Replica, Start};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::config::Config;
use crate::context::Context;
use crate::directory::{self, Directory, DirectoryEntry};
use crate::disk::{Disk, Identity, RESERVE_STEP_BYTES};
use crate::items::{GroupRecords, ItemsOptions};
use crate::log::{Done, Job, LogGroup, LogListener, LogOptions, Work};
use crate::metrics::Metrics;
use crate::neighbours::{Neighbours, NeighboursOptions, Rhythm};
use crate::pool::{Pool, PoolOptions};
use crate::registry::Registry;
use crate::room::{CALM, Room, RoomOptions};
use crate::server::salvage;
use crate::snapshot::{Budget, SnapshotError};
use crate::tally::Tally;
use crate::transport::links::{LinksOptions, Sender};
use crate::transport::{Connector, Links};
use crate::worker::children::BIRTH_TICKS;
use crate::worker::group::Group;
use crate::worker::inbox::{Inboxes, Mail};
use crate::worker::stand_ins::StandIns;
use crate::worker::{birth, lifecycle};
use wire::error::describe;

/// Snapshots sent at once: each takes the disk's bandwidth from the foreground.
const SENDING_AT_ONCE: usize = 2;
/// Jobs that wait for a read thread; more are refused.
const READ_QUEUE: usize = 1024;
/// Snapshots, births, clearing and flushes at once.
const BACKGROUND_THREADS: usize = 2;
const BACKGROUND_QUEUE: usize = 256;

/// What is opened for whom.
pub struct Opening<'a> {
    pub config: &'a Config,
    /// Has an identity.
    pub disk: Arc<Disk>,
    pub metrics: Arc<Metrics>,
    pub address: &'a str,
    pub connector: &'a Connector,
    pub runtimes: &'a [Handle],
}

/// An open node whose workers have not begun.
pub struct Opened {
    pub context: Arc<Context>,
    /// By worker.
    pub groups: Vec<WorkerGroups>,
}

#[derive(Default)]
pub struct WorkerGroups {
    pub groups: Vec<Group>,
    /// Their log cannot be trusted.
    pub corrupt: BTreeSet<PartitionId>,
}

/// The log tells the workers.
struct Listener {
    inboxes: Inboxes,
    room: Arc<Room>,
}

impl LogListener for Listener {
    fn durable(&self, worker: usize, done: Vec<Done>) {
        self.inboxes.push(worker, Mail::Durable(done));
    }

    fn holds_old_files(&self, _groups: Vec<PartitionId>) {
        self.inboxes.push(0, Mail::FlushWanted);
    }

    fn await_room(&self) -> bool {
        self.room.refused();
        self.room.pause()
    }
}

pub fn open(opening: &Opening<'_>) -> anyhow::Result<Opened> {
    let Opening { config, disk, metrics, address, connector, runtimes } = opening;
    let (disk, metrics) = (Arc::clone(disk), Arc::clone(metrics));
    let Identity { node, zone } = disk.identity().cloned().context("read the node's identity")?;
    let start_number = disk.start_number();
    let inboxes = Inboxes::new(config.workers, Arc::clone(&metrics));
    let disk_bytes = disk.space().context("ask how large the disk is")?.total_bytes / config.sharers;
    let items_options = items_options(config, &disk, Part { node, disk_bytes });
    let room_options = room_options(config, &items_options);
    let room = Arc::new(Room::new(Arc::clone(&disk), room_options, Arc::clone(&metrics)));
    let log_options = LogOptions { fail_sync: config.fail_sync, ..LogOptions::for_disk(disk.log_dir(), disk_bytes) };
    let log_bytes = log_options.purge_bytes;
    let listener = Listener { inboxes: inboxes.clone(), room: Arc::clone(&room) };
    let log = salvage::open_log(&disk, log_options, Arc::new(listener), &items_options)?;
    let items = salvage::open_items(&disk, &log, items_options)?;
    metrics.set_aside.set(i64::try_from(disk.set_aside()).unwrap_or(i64::MAX));
    let unfinished = crate::snapshot::recover(&disk.outgoing_dir(), &disk.incoming_dir(), &items, &log)
        .context("finish the snapshots that were being installed")?;
    let own = DirectoryEntry { node, zone: zone.clone(), address: (*address).to_owned(), start_number };
    let directory = Arc::new(Directory::new(own));
    directory.learn(directory::file::load(&disk).context("read the directory that was kept")?);
    let neighbours = Arc::new(Neighbours::new(NeighboursOptions {
        node,
        directory: Arc::clone(&directory),
        inboxes: inboxes.clone(),
        rhythm: rhythm(config),
    }));
    let unreachable = inboxes.clone();
    let links = Links::new(LinksOptions {
        sender: Sender { node, start_number },
        directory,
        connector: (*connector).clone(),
        metrics: Arc::clone(&metrics),
        room: Arc::clone(&room),
        runtimes: runtimes.to_vec(),
        on_unreachable: Arc::new(move |node| {
            for worker in unreachable.workers() {
                unreachable.push(worker, Mail::Unreachable(node));
            }
        }),
    });
    let reads = PoolOptions { name: "reads", threads: config.read_threads, queue: READ_QUEUE };
    let background = PoolOptions { name: "background", threads: BACKGROUND_THREADS, queue: BACKGROUND_QUEUE };
    let births = PoolOptions { name: "births", threads: 1, queue: BACKGROUND_QUEUE };
    let context = Arc::new(Context {
        node,
        zone,
        disk,
        log,
        items,
        tally: Tally::new(Arc::clone(&metrics)),
        metrics,
        registry: Registry::default(),
        inboxes,
        links,
        reads: Pool::start(reads).context("start the read threads")?,
        background: Pool::start(background).context("start the background threads")?,
        births: Pool::start(births).context("start the thread for births")?,
        stand_ins: StandIns::default(),
        sending: Semaphore::new(SENDING_AT_ONCE),
        flushing: Semaphore::new(1),
        budget: Arc::new(Budget::new(config.snapshot_budget.0)),
        replica_options: replica_options(config, log_bytes),
        room,
        neighbours,
    });
    let groups = start_groups(&context, &unfinished)?;
    context.room.watch(context.log.clone(), context.items.clone());
    context.room.measure();
    Ok(Opened { context, groups })
}

fn rhythm(config: &Config) -> Rhythm {
    let ticks = |ticks: usize| u64::try_from(ticks).unwrap_or(u64::MAX);
    Rhythm {
        tick: config.tick.duration(),
        heartbeat_ticks: ticks(config.heartbeat_ticks),
        election_ticks: ticks(config.election_ticks),
    }
}

fn room_options(config: &Config, items: &ItemsOptions) -> RoomOptions {
    RoomOptions {
        scarce_below_bytes: config.reserve.0,
        // A memtable's worth must be free for RocksDB to go on after it was refused, and what the log and RocksDB's own words
        // take meanwhile; the last step is for a start.
        reserve_bytes: items.flush_bytes() + 2 * RESERVE_STEP_BYTES,
        sharers: config.sharers,
        calm: CALM,
    }
}

/// A node, and how much of the disk is its.
struct Part {
    node: NodeId,
    disk_bytes: u64,
}

fn items_options(config: &Config, disk: &Disk, Part { node, disk_bytes }: Part) -> ItemsOptions {
    ItemsOptions {
        dir: disk.items_dir(),
        memory_bytes: usize::try_from(config.cache.0).unwrap_or(usize::MAX),
        disk_bytes,
        seed: node.0,
        background_bytes_per_s: 0,
        concurrent_writers: config.workers > 1,
    }
}

fn replica_options(config: &Config, log_bytes: u64) -> Options {
    Options {
        election_ticks: config.election_ticks,
        heartbeat_ticks: config.heartbeat_ticks,
        suspect_ticks: config.ticks(config.suspect_after),
        sleep_ticks: config.sleep_ticks,
        planned_stop_ticks: config.ticks(config.planned_stop),
        replace_after_ticks: config.ticks(config.replace_after),
        log_bytes: Options::default().log_bytes.min(log_bytes / 2),
        ..Options::default()
    }
}

fn start_groups(context: &Context, unfinished: &[(PartitionId, SnapshotError)]) -> anyhow::Result<Vec<WorkerGroups>> {
    let mut records: BTreeMap<PartitionId, GroupRecords> =
        context.items.groups().context("read the groups' records")?.into_iter().map(|r| (r.partition, r)).collect();
    let mut workers: Vec<WorkerGroups> = context.inboxes.workers().map(|_| WorkerGroups::default()).collect();
    let mut gone = Vec::new();
    let mut newborn = Vec::new();
    for found in context.log.groups() {
        let partition = found.partition;
        let records = records.remove(&partition);
        if !found.exists {
            newborn.extend(records.map(|records| (found, records)));
            continue;
        }
        let worker = &mut workers[context.inboxes.of(partition)];
        if let Some((_, error)) = unfinished.iter().find(|(other, _)| *other == partition) {
            tracing::error!(%partition, error = describe(error), "failed to finish a snapshot; the replica stays out");
            worker.corrupt.insert(partition);
            continue;
        }
        if found.corrupt {
            tracing::error!(%partition, "the group's log is corrupt; the replica stays out");
            worker.corrupt.insert(partition);
            continue;
        }
        let started = match retired_child(context, &found, records.as_ref()) {
            Ok(false) => start_group(context, &found, records),
            Ok(true) => {
                gone.extend(records.map(|records| (found.clone(), records)));
                start_empty(context, &found)
            }
            Err(error) => Err(error),
        };
        worker.take(context, partition, started);
    }
    let unknown = |records: GroupRecords| (LogGroup::unknown(records.partition), records);
    newborn.extend(records.into_values().map(unknown));
    for (found, records) in newborn {
        let partition = found.partition;
        match is_retired(&found, &records) {
            Ok(true) => gone.push((found, records)),
            Ok(false) => workers[context.inboxes.of(partition)].take(context, partition, begin(context, &records)),
            Err(error) => workers[context.inboxes.of(partition)].take(context, partition, Err(error)),
        }
    }
    for (found, records) in gone {
        finish_retirement(context, &found, &records)?;
    }
    Ok(workers)
}

impl WorkerGroups {
    fn take(&mut self, context: &Context, partition: PartitionId, started: anyhow::Result<Group>) {
        match started {
            Ok(group) => {
                context.registry.put(partition, group.summary.clone());
                self.groups.push(group);
            }
            Err(error) => {
                tracing::error!(%partition, error = format!("{error:#}"), "failed to start a replica; it stays out");
                self.corrupt.insert(partition);
            }
        }
    }
}

/// Whether the records are those of a replica that is not accepted here any more.
fn is_retired(found: &LogGroup, records: &GroupRecords) -> anyhow::Result<bool> {
    let Some(state) = records.state.clone() else { return Ok(false) };
    let state = GroupState::decode(state).context("decode the group's state")?;
    Ok(state.replica < found.accept_from)
}

/// A split's child that came here too late, and a crash before its records were taken away: they are not those of the replica
/// that has a log here, which is empty.
fn retired_child(context: &Context, found: &LogGroup, records: Option<&GroupRecords>) -> anyhow::Result<bool> {
    let Some(records) = records else { return Ok(false) };
    Ok(is_retired(found, records)?
        && context.log.start_of(found.partition, 0).context("read the group's log")?.last_index == 0)
}

/// Records without a log: a birth that a crash cut short.
fn begin(context: &Context, records: &GroupRecords) -> anyhow::Result<Group> {
    let partition = records.partition;
    let mark = records.mark.clone().context("find the group's applied mark")?;
    let mark = AppliedMark::decode(mark).context("decode the applied mark")?;
    if mark.index != BIRTH_INDEX {
        bail!("the log is gone, and the items stand at {}", mark.index);
    }
    tracing::info!(%partition, "finishes a birth");
    let start = birth::begin(context, partition).context("begin the group's log")?;
    Ok(Group::new(partition, Replica::start(start).context("start the replica")?))
}

/// One replica, from what rests on the disk.
pub fn start_group(context: &Context, found: &LogGroup, records: Option<GroupRecords>) -> anyhow::Result<Group> {
    let partition = found.partition;
    let state = records.as_ref().and_then(|records| records.state.clone());
    let Some(state) = state else {
        return start_empty(context, found);
    };
    let state = GroupState::decode(state).context("decode the group's state")?;
    let mark = records.and_then(|records| records.mark).context("find the group's applied mark")?;
    let mark = AppliedMark::decode(mark).context("decode the applied mark")?;
    if state.replica < found.accept_from {
        bail!("replica {} is retired, replica {} is accepted", state.replica, found.accept_from);
    }
    if state.replica > found.accept_from {
        // An unsafe recovery that a crash cut short (`worker/recovery`).
        let work = Work::AcceptFrom { replica: state.replica };
        context.log.submit(vec![Job { worker: context.inboxes.of(partition), partition, work }]);
    }
    let log = context.log.start_of(partition, mark.index).context("read the group's log")?;
    let start = Start {
        partition,
        node: context.node,
        replica: state.replica,
        options: lifecycle::options(context, partition),
        log,
        state: Some(state),
        mark: Some(mark),
    };
    Ok(Group::new(partition, Replica::start(start).context("start the replica")?))
}

/// It has voted, perhaps, or was receiving a snapshot: term and vote are kept, entries are nothing to start from.
fn start_empty(context: &Context, found: &LogGroup) -> anyhow::Result<Group> {
    let mut log = context.log.start_of(found.partition, 0).context("read the group's log")?;
    log.hard_state.commit = 0;
    let log = LogStart { hard_state: log.hard_state, tail_uncertain: log.tail_uncertain, ..LogStart::default() };
    let start = lifecycle::empty_start(context, found.partition, found.accept_from, log);
    let mut group = Group::new(found.partition, Replica::start(start).context("start the empty replica")?);
    group.awaits_birth = BIRTH_TICKS;
    Ok(group)
}

/// Records of a replica that is retired: what a crash cut short. The data goes too, unless another group lives there by now.
fn finish_retirement(context: &Context, found: &LogGroup, records: &GroupRecords) -> anyhow::Result<()> {
    let Some(state) = records.state.clone() else { return Ok(()) };
    let state = GroupState::decode(state).context("decode a retired group's state")?;
    let descriptor = &state.descriptor;
    let taken = context.registry.overlapping(found.partition, descriptor.table, &descriptor.range).is_some();
    let nothing = KeyRange { start: descriptor.range.start.clone(), end: Some(descriptor.range.start.clone()) };
    let range = if taken { &nothing } else { &descriptor.range };
    tracing::info!(partition = %found.partition, replica = %state.replica, "finishes a retirement");
    match context.items.clear(found.partition, descriptor.table, range) {
        // What is left is read by nobody; a snapshot of the range or another clearing removes it.
        Err(error) if error.is_no_room() => {
            tracing::warn!(partition = %found.partition, error = describe(&error), "no room to finish a retirement");
            context.room.refused();
            Ok(())
        }
        cleared => cleared.context("clear a retired group"),
    }
}
