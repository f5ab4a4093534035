//! What every process of Trivet shares: its runtime, its log, how it is asked to stop, what a broken invariant does.

use std::future::Future;
use std::io::{IsTerminal, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use router::routing::connector::{Connector, TonicConnector};
use router::routing::{Routing, Settings};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use wire::seal::{Role, Seal};

/// One storage node.
#[derive(clap::Args)]
pub struct NodeArguments {
    #[command(flatten)]
    pub config: node::config::Config,
    #[command(flatten)]
    stop: StopArguments,
}

/// One router.
#[derive(clap::Args)]
pub struct RouterArguments {
    #[command(flatten)]
    pub config: router::config::Config,
    #[command(flatten)]
    pub routing: Settings,
    #[command(flatten)]
    stop: StopArguments,
}

/// One MemDS server.
#[derive(clap::Args)]
pub struct MemDsArguments {
    #[command(flatten)]
    pub config: memds::config::Config,
    #[command(flatten)]
    stop: StopArguments,
}

/// One control service: tables and where their replicas are, kept in a file of resources.
#[derive(clap::Args)]
pub struct ControlArguments {
    /// Where routers reach it.
    #[arg(long, env = "TRIVET_CONTROL_LISTEN", default_value = "127.0.0.1:7200")]
    listen: SocketAddr,
    /// The file with the resources; made if it is not there.
    #[arg(long, env = "TRIVET_CONTROL_RESOURCES")]
    resources: PathBuf,
    /// The host:port of every node.
    #[arg(long, env = "TRIVET_CONTROL_NODES", value_delimiter = ',')]
    nodes: Vec<String>,
    /// The host:port of every MemDS server.
    #[arg(long, env = "TRIVET_CONTROL_MEMDS", value_delimiter = ',')]
    memds: Vec<String>,
    /// Partitions of a table whose creator did not say.
    #[arg(long, env = "TRIVET_CONTROL_PARTITIONS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    partitions: u32,
    /// A folder with ca.crt, tls.crt and tls.key: with it the service speaks mutual TLS alone, both ways. Read again when it changes.
    #[arg(long, env = "TRIVET_CONTROL_TLS")]
    tls: Option<PathBuf>,
    #[command(flatten)]
    stop: StopArguments,
}

/// The operator, or the resource definitions that it works with.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct OperatorArguments {
    #[command(subcommand)]
    task: Option<OperatorTask>,
    #[command(flatten)]
    pub config: operator::config::Config,
    #[command(flatten)]
    stop: StopArguments,
}

#[derive(clap::Subcommand)]
enum OperatorTask {
    /// The resource definitions, printed or brought to the API server.
    Crds(operator::definitions::Arguments),
}

#[derive(clap::Args)]
struct StopArguments {
    /// Stop when standard input ends: the process that started this one is gone.
    #[arg(long, hide = true)]
    stop_with_stdin: bool,
}

/// Before anything else: the log, and that a panic ends the process. Better no replica than a wrong one.
pub fn prepare() {
    let filter = EnvFilter::try_from_env("TRIVET_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        // It would panic where standard error goes to a disk that is full.
        .log_internal_errors(false)
        .init();
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
}

pub fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")
}

pub fn run_node(arguments: NodeArguments) -> anyhow::Result<()> {
    serve(arguments.stop, |stop| node::server::run(arguments.config, stop))
}

pub fn run_router(arguments: RouterArguments) -> anyhow::Result<()> {
    let seal = seal(arguments.config.tls.as_deref(), "router", Role::Router)?;
    let connector = Arc::new(TonicConnector { seal: seal.clone() });
    let RouterArguments { config, routing, stop } = arguments;
    serve(stop, |stop| serve_router(config, routing, Reach { connector, seal }, stop))
}

pub fn run_memds(arguments: MemDsArguments) -> anyhow::Result<()> {
    serve(arguments.stop, |stop| async move {
        let metrics = memds::metrics::Metrics::new(&prometheus::Registry::new()).context("register metrics")?;
        memds::server::run(arguments.config, metrics, stop).await
    })
}

pub fn run_control(arguments: ControlArguments) -> anyhow::Result<()> {
    let ControlArguments { listen, resources, nodes, memds, partitions, tls, stop } = arguments;
    let seal = seal(tls.as_deref(), "operator or control service", Role::Operator)?;
    let config = control::config::Config { seal, ..control::config::Config::new(resources, nodes, memds, partitions) };
    serve(stop, |stop| async move {
        let listener = TcpListener::bind(listen).await.with_context(|| format!("listen on {listen}"))?;
        control::server::serve(config, listener, stop).await
    })
}

pub fn run_operator(arguments: OperatorArguments) -> anyhow::Result<()> {
    let OperatorArguments { task, config, stop } = arguments;
    if let Some(OperatorTask::Crds(arguments)) = task {
        return runtime()?.block_on(operator::definitions::run(arguments));
    }
    serve(stop, |stop| operator::server::run(config, stop))
}

/// How a router reaches the others.
pub struct Reach {
    pub connector: Arc<dyn Connector>,
    /// By which the connector goes, where it does.
    pub seal: Option<Seal>,
}

/// The seal in a folder, if one is named, for a process of this role.
pub fn seal(folder: Option<&Path>, what: &'static str, role: Role) -> anyhow::Result<Option<Seal>> {
    let Some(folder) = folder else { return Ok(None) };
    let seal = Seal::from_folder(folder).and_then(|seal| seal.demand(what, |found| found == role));
    seal.map(Some).with_context(|| format!("use the certificate in {}", folder.display()))
}

pub async fn serve_router(
    config: router::config::Config,
    settings: Settings,
    reach: Reach,
    stop: impl Future<Output = ()> + Send,
) -> anyhow::Result<()> {
    let Reach { connector, seal } = reach;
    let routing = Routing::start(settings, connector);
    let listener = TcpListener::bind(config.listen).await.with_context(|| format!("listen on {}", config.listen))?;
    router::server::serve(&config, routing, &prometheus::Registry::new(), listener, seal, stop).await
}

fn serve<F, S>(stop: StopArguments, start: S) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
    S: FnOnce(std::pin::Pin<Box<dyn Future<Output = ()> + Send>>) -> F,
{
    let runtime = runtime()?;
    let stdin_ends = stop.stop_with_stdin.then(stdin_ends);
    runtime.block_on(start(Box::pin(until_asked_to_stop(stdin_ends))))
}

async fn until_asked_to_stop(stdin_ends: Option<tokio::sync::oneshot::Receiver<()>>) {
    let parent_gone = async {
        match stdin_ends {
            // The sender is dropped when standard input has ended; both ways mean that.
            Some(ended) => ended.await.unwrap_or_default(),
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        signal = asked_to_stop() => if let Err(error) = signal {
            tracing::error!(%error, "signals cannot be heard");
        },
        () = parent_gone => tracing::warn!("the parent process is gone"),
    }
}

/// Ctrl-C, or SIGTERM.
pub async fn asked_to_stop() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    tokio::select! {
        biased;
        _ = terminate.recv() => Ok(()),
        interrupt = tokio::signal::ctrl_c() => interrupt.context("listen for ctrl-C"),
    }
}

/// A plain thread reads, since a blocked read of a runtime's thread would keep the process from ending.
fn stdin_ends() -> tokio::sync::oneshot::Receiver<()> {
    let (ended, ends) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut scrap = [0; 64];
        while matches!(std::io::stdin().read(&mut scrap), Ok(read) if read > 0) {}
        drop(ended);
    });
    ends
}
