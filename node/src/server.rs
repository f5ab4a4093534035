//! A node from its start to its end: waits for an identity where its disk is blank, opens the disk, starts workers, serves, stops.
//!
//! `trivet node` calls [`run`]; `trivet local` starts several [`Node`]s in one process.

pub mod blank;
pub mod ground;
pub mod health;
pub mod open;
pub mod salvage;
pub mod seeds;

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, bail};
use model::{NodeId, PartitionId};
use tokio::runtime::Handle;
use tokio::sync::watch;
use wire::door::Manner;

use crate::config::Config;
use crate::context::Context;
use crate::directory;
use crate::registry::Registry;
use crate::service::Services;
use crate::service::admin::AdminService;
use crate::service::data::DataService;
use crate::service::raft::{RaftOptions, RaftService};
use crate::transport::{CONNECTION_WINDOW_BYTES, Connector, STREAM_WINDOW_BYTES};
use crate::worker::command::Command;
use crate::worker::inbox::Mail;
use crate::worker::{Beginning, Worker, corrupt};
use blank::Waited;
use ground::Ground;
use health::{Health, Stage};
use wire::error::describe;

/// How often a stopping node asks its leaders to hand over.
const RESIGN_EVERY: Duration = Duration::from_millis(200);
/// Leaders asked at once: elections of thousands would hold everybody up.
const RESIGN_AT_ONCE: usize = 256;
/// How long a stopping node waits until the others have heard of it.
const STOP_HEARD_WITHIN: Duration = Duration::from_millis(500);
/// How long it waits until routers have taken their answers. Writes whose leader has just changed hear of it within an election.
const ANSWERED_WITHIN: Duration = Duration::from_secs(3);
/// How long its last flushes may take: the log has what they would write, and on a full disk RocksDB waits for room for ever.
const FLUSHED_WITHIN: Duration = Duration::from_secs(5);
/// Turns of a worker's tasks after its own last one: what they have to write leaves.
const LAST_TURNS: usize = 64;
/// How long a worker's runtime may take to end its tasks.
const END_TASKS: Duration = Duration::from_secs(1);

/// Until `shutdown` resolves; then hands leaders over and stops cleanly. A blank disk waits for its identity first.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    let ground = Ground::take(config)?;
    let mut shutdown = std::pin::pin!(shutdown);
    if ground.disk.identity().is_none() {
        match blank::wait(&ground, shutdown.as_mut()).await? {
            Waited::Formatted => (),
            Waited::Stopped => return Ok(()),
        }
    }
    let node = Node::on(ground, Connector::Tonic)?;
    shutdown.await;
    node.stop().await
}

/// A running node. Dropped without [`Node::stop`], it ends as if it had been killed, but for what its threads hold.
pub struct Node {
    context: Arc<Context>,
    services: Services,
    connector: Connector,
    address: String,
    stop_timeout: Duration,
    health: Health,
    threads: Vec<JoinHandle<()>>,
    /// Dropped when the servers are to end.
    serving: Option<watch::Sender<()>>,
}

/// A worker's thread before it begins.
struct Thread {
    handle: Handle,
    begin: Sender<Beginning>,
    join: JoinHandle<()>,
}

impl Node {
    /// Takes a folder that has an identity, or may be given one. Ready when it returns; blocks until then.
    pub fn start(config: Config, connector: Connector) -> anyhow::Result<Node> {
        Node::on(Ground::take(config)?, connector)
    }

    /// Opens the disk, starts every replica, then serves.
    pub fn on(ground: Ground, connector: Connector) -> anyhow::Result<Node> {
        let Ground { config, listener, address, disk, seal, metrics, health } = ground;
        let connector = connector.sealed(seal.as_ref());
        if disk.identity().is_none() {
            bail!(
                "the data folder {} has no identity, and an empty disk takes none by itself (--format)",
                config.data.display()
            );
        }
        health.is(Stage::Opening);
        let threads = (0..config.workers).map(thread).collect::<Result<Vec<Thread>, _>>()?;
        let runtimes: Vec<Handle> = threads.iter().map(|thread| thread.handle.clone()).collect();
        let opening = open::Opening {
            config: &config,
            disk,
            metrics,
            address: &address,
            connector: &connector,
            runtimes: &runtimes,
        };
        let opened = match open::open(&opening) {
            Ok(opened) => opened,
            Err(error) => {
                end(threads);
                return Err(error);
            }
        };
        let context = opened.context;
        let inboxes = context.inboxes.clone();
        let failed = move |partition, error: &_| corrupt::note_unreadable(&inboxes, partition, error);
        context.tally.start(context.items.clone(), failed).context("start the counting thread")?;
        let tick = config.tick.duration();
        let mut joins = Vec::new();
        for (worker, (thread, groups)) in threads.into_iter().zip(opened.groups).enumerate() {
            let open::WorkerGroups { groups, corrupt } = groups;
            let beginning = Beginning { worker, context: Arc::clone(&context), groups, corrupt, tick };
            thread.begin.send(beginning).ok().context("begin a worker")?;
            joins.push(thread.join);
        }
        let services = services(&context);
        let serving = watch::Sender::new(());
        for runtime in &runtimes {
            let listener = listener.try_clone().context("share the listener")?;
            let manner = Manner::from(seal.clone());
            drop(runtime.spawn(serve(listener, manner, services.clone(), serving.subscribe())));
        }
        let stop_timeout = config.stop_timeout.duration();
        health.is(Stage::Serving(context.log.clone()));
        let threads = joins;
        let node =
            Node { context, services, connector, address, stop_timeout, health, threads, serving: Some(serving) };
        background(&node.context, &config, &runtimes[0]);
        if let Connector::Memory(memory) = &node.connector {
            memory.join(&node.address, node.services.clone());
        }
        tracing::info!(node = %node.id(), zone = %node.context.zone, address = node.address, "serves");
        Ok(node)
    }

    pub fn id(&self) -> NodeId {
        self.context.node
    }

    /// host:port under which others reach it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// For callers in the same process.
    pub fn services(&self) -> &Services {
        &self.services
    }

    /// What it knows of the others.
    pub fn neighbours(&self) -> &crate::neighbours::Neighbours {
        &self.context.neighbours
    }

    pub fn metrics(&self) -> &crate::metrics::Metrics {
        &self.context.metrics
    }

    /// What the log has counted since the start.
    pub fn log_counters(&self) -> crate::log::LogCounters {
        self.context.log.counters()
    }

    /// Tells the others, hands leaders over, answers who has asked, flushes, closes.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        tracing::info!(node = %self.context.node, "stops");
        self.health.is(Stage::Stopping(self.context.log.clone()));
        let Context { neighbours, links, registry, .. } = &*self.context;
        neighbours.stop(links, registry, STOP_HEARD_WITHIN).await;
        self.hand_over().await;
        self.services.data.stop(ANSWERED_WITHIN).await;
        let (flushed_in_time, bound) = self.bound_flushes()?;
        self.end_threads();
        if let Err(error) = directory::file::save(&self.context.disk, self.context.links.directory()) {
            tracing::warn!(error = describe(&error), "failed to keep the directory");
        }
        let flushed = self.context.items.flush();
        drop(flushed_in_time);
        join(bound);
        self.context.log.close();
        match flushed {
            // The log has it.
            Err(error) if error.is_no_room() => {
                tracing::warn!(error = describe(&error), "stops without flushing the items");
                Ok(())
            }
            Err(error) => {
                self.context.note_damage(&error);
                Err(error).context("flush the items")
            }
            Ok(()) => Ok(()),
        }
    }

    /// Waits until every group that is led here has another leader, or for the time-out: a group without another voter keeps
    /// its leader. Each is handed over once: what others hand to this node while they stop, too, stays.
    async fn hand_over(&self) {
        let registry = &self.context.registry;
        let mut changes = registry.listen().changes;
        let mut owed = Vec::from_iter(registry.led());
        let waited = tokio::time::timeout(self.stop_timeout, async {
            while !owed.is_empty() {
                let first = owed.len().saturating_sub(RESIGN_AT_ONCE);
                let mut asked = owed.split_off(first);
                self.resign(&asked);
                let changes = &mut changes;
                drop(tokio::time::timeout(RESIGN_EVERY, none_leads(registry, &mut asked, changes)).await);
                // The others first: one that finds no heir holds nobody up.
                owed.splice(0..0, asked);
            }
        });
        if waited.await.is_err() {
            tracing::warn!(leaders = registry.counts().leaders, "stops without handing all leaders over");
        }
    }

    fn resign(&self, led: &[(PartitionId, u64)]) {
        let partitions: Arc<[PartitionId]> = led.iter().map(|(partition, _)| *partition).collect();
        for worker in self.context.inboxes.workers() {
            let command = Command::Resign { partitions: Arc::clone(&partitions) };
            self.context.inboxes.push(worker, Mail::Command(command));
        }
    }

    /// Until the sender is dropped the items have so long to flush, and give up then.
    fn bound_flushes(&self) -> anyhow::Result<(Sender<()>, JoinHandle<()>)> {
        let items = self.context.items.clone();
        let (flushed, receiver) = mpsc::channel();
        let wait = move || {
            if receiver.recv_timeout(FLUSHED_WITHIN) == Err(RecvTimeoutError::Timeout) {
                tracing::warn!("the items have waited for room for too long");
                items.give_up_waiting();
            }
        };
        let thread = std::thread::Builder::new().name("last-flush".to_owned()).spawn(wait);
        Ok((flushed, thread.context("start the thread that bounds the last flushes")?))
    }

    /// Nothing is received, stepped or answered after this.
    fn end_threads(&mut self) {
        if let Connector::Memory(memory) = &self.connector {
            memory.leave(&self.address, self.context.node);
        }
        self.serving = None;
        self.context.budget.cancel();
        self.context.room.close();
        self.context.inboxes.exit();
        self.threads.drain(..).for_each(join);
        self.context.reads.close();
        self.context.background.close();
        self.context.births.close();
        self.context.tally.close();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if !self.threads.is_empty() {
            self.end_threads();
            self.context.log.close();
        }
    }
}

fn join(thread: JoinHandle<()>) {
    let name = thread.thread().name().unwrap_or_default().to_owned();
    if thread.join().is_err() {
        tracing::error!(name, "a thread panicked");
    }
}

/// A thread with its runtime, which waits to be told what to begin with.
fn thread(number: usize) -> anyhow::Result<Thread> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("build a worker's runtime")?;
    let handle = runtime.handle().clone();
    let (begin, beginning) = mpsc::channel::<Beginning>();
    let run = move || {
        if let Ok(beginning) = beginning.recv() {
            runtime.block_on(async move {
                Worker::new(beginning).run().await;
                for _ in 0..LAST_TURNS {
                    tokio::task::yield_now().await;
                }
            });
        }
        runtime.shutdown_timeout(END_TASKS);
    };
    let join =
        std::thread::Builder::new().name(format!("worker-{number}")).spawn(run).context("start a worker's thread")?;
    Ok(Thread { handle, begin, join })
}

/// Threads that never began.
fn end(threads: Vec<Thread>) {
    for Thread { begin, join, handle: _ } in threads {
        drop(begin);
        self::join(join);
    }
}

fn services(context: &Arc<Context>) -> Services {
    let raft = RaftOptions {
        node: context.node,
        inboxes: context.inboxes.clone(),
        directory: Arc::clone(context.links.directory()),
        metrics: Arc::clone(&context.metrics),
        incoming: context.disk.incoming_dir(),
        budget: Arc::clone(&context.budget),
        room: Arc::clone(&context.room),
        neighbours: Arc::clone(&context.neighbours),
    };
    Services {
        data: DataService::new(context.inboxes.clone(), Arc::clone(&context.metrics)),
        raft: RaftService::new(raft),
        admin: AdminService::new(Arc::clone(context)),
    }
}

async fn serve(listener: TcpListener, manner: Manner, services: Services, mut serving: watch::Receiver<()>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "failed to listen");
            return;
        }
    };
    let ended = async move { while serving.changed().await.is_ok() {} };
    let server = wire::door::server()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .add_routes(services.routes())
        .serve_with_incoming_shutdown(wire::door::guests(listener, manner), ended);
    if let Err(error) = server.await {
        tracing::error!(%error, "failed to serve");
    }
}

/// What runs beside the workers' turns, on the first worker's thread.
fn background(context: &Arc<Context>, config: &Config, runtime: &Handle) {
    for name in &config.memds {
        drop(runtime.spawn(crate::announce::announce_to(Arc::clone(context), name.clone())));
    }
    for name in &config.seeds {
        drop(runtime.spawn(seeds::ask(Arc::clone(context), name.clone())));
    }
    drop(runtime.spawn(directory::file::keep(Arc::clone(context))));
}

/// Until none of these groups is led here in its term any more; at any time those that still are.
async fn none_leads(registry: &Registry, asked: &mut Vec<(PartitionId, u64)>, changes: &mut watch::Receiver<u64>) {
    loop {
        asked.retain(|(partition, term)| registry.leads(*partition, *term));
        if asked.is_empty() || changes.changed().await.is_err() {
            return;
        }
    }
}
