//! The listening side: connections with their limits, and a stop that lets requests end.

mod answer;
mod connections;
mod socket;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use prometheus::Registry;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use wire::seal::Seal;

use crate::audit::ClientAddress;
use crate::backend::Backend;
use crate::config::Config;
use crate::health::Health;
use crate::http::{self, Front};
use crate::keyring::Keyring;
use crate::metrics::Metrics;
use answer::Answer;
use connections::{Connections, Entry, Work};
use socket::Socket;

/// Most bytes of a request's head: DynamoDB's own need about 1 KiB; signatures and tracing headers fit many times.
const HEAD_BYTES: usize = 32 * 1024;
const HEADERS: usize = 100;
/// How often it is looked who owes a head, or does not take an answer: about how exact those times are.
const SWEEP: Duration = Duration::from_secs(1);
/// How long requests may go on after the stop was asked for.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// After a failed accept (no file descriptors left) the next try waits, or it would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The API as a service, for whoever has connections of his own.
pub fn app<B: Backend>(front: Arc<Front<B>>) -> Router {
    Router::new().fallback(http::handle::<B>).with_state(front)
}

/// Serves until `shutdown`, then lets what is under way end. Of the seal it tells; the backend goes by it.
pub async fn serve<B: Backend>(
    config: &Config,
    backend: B,
    registry: &Registry,
    listener: TcpListener,
    seal: Option<Seal>,
    shutdown: impl Future<Output = ()> + Send,
) -> anyhow::Result<()> {
    let keyring = Keyring::open(config)?;
    let metrics = Metrics::new(registry).context("register metrics")?;
    let health = Health::start(config, &backend, registry, seal)?;
    let watching = keyring.clone().map(|keyring| tokio::spawn(keyring.watch(metrics.clone())));
    let front = Front::new(backend, config, keyring, metrics.clone())?;
    let app = app(Arc::new(front));
    let mut acceptor = Acceptor {
        listener,
        app,
        room: Arc::new(Semaphore::new(usize::try_from(config.max_connections).unwrap_or(usize::MAX))),
        connections: Connections::new(config.max_answer_memory_bytes, metrics),
        tasks: JoinSet::new(),
        newcomer: None,
    };
    let (stop, stopping) = watch::channel(());
    tokio::pin!(shutdown);
    let mut sweep = tokio::time::interval(SWEEP);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            _ = sweep.tick() => acceptor.sweep(),
            () = acceptor.turn(&stopping) => {}
        }
    }
    health.stops();
    drop(stop);
    acceptor.end().await;
    if let Some(watching) = watching {
        watching.abort();
    }
    Ok(())
}

/// Who takes connections in.
struct Acceptor {
    listener: TcpListener,
    app: Router,
    room: Arc<Semaphore>,
    connections: Arc<Connections>,
    tasks: JoinSet<()>,
    /// Accepted, and there is no room yet.
    newcomer: Option<(TcpStream, SocketAddr)>,
}

impl Acceptor {
    fn sweep(&mut self) {
        self.connections.sweep(Instant::now());
        if self.newcomer.is_some() {
            self.connections.make_room();
        }
    }

    /// Takes in one connection. Whatever came is kept if this is given up.
    async fn turn(&mut self, stopping: &watch::Receiver<()>) {
        if self.newcomer.is_none() {
            match self.listener.accept().await {
                Ok(newcomer) => self.newcomer = Some(newcomer),
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    self.connections.make_room();
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    return;
                }
            }
            if self.room.available_permits() == 0 {
                self.connections.make_room();
            }
        }
        let Ok(permit) = Arc::clone(&self.room).acquire_owned().await else { return };
        while self.tasks.try_join_next().is_some() {}
        let Some(newcomer) = self.newcomer.take() else { return };
        if let Err(error) = newcomer.0.set_nodelay(true) {
            tracing::debug!(%error, "a client is gone before it was served");
        }
        self.tasks.spawn(connection(newcomer, self.app.clone(), stopping.clone(), self.connections.enter(), permit));
    }

    /// Lets what is under way end.
    async fn end(mut self) {
        drop(self.listener);
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_GRACE, ended).await.is_err() {
            tracing::warn!(left = self.tasks.len(), "connections were cut at the stop");
        }
    }
}

/// One connection, until it ends or is cut or, once `stopping` is closed, its request has been answered.
async fn connection(
    (stream, client): (TcpStream, SocketAddr),
    app: Router,
    mut stopping: watch::Receiver<()>,
    entry: Entry,
    _permit: OwnedSemaphorePermit,
) {
    let app = TowerToHyperService::new(app);
    let service = service_fn(|mut request: Request<Incoming>| {
        let work = entry.begin();
        request.extensions_mut().insert(ClientAddress(client));
        let answering = app.call(request);
        async move { answering.await.map(|response| carry(response, work)) }
    });
    let serving = http1::Builder::new()
        .header_read_timeout(None)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(Socket::new(stream, Arc::clone(&entry.connection))), service);
    tokio::pin!(serving);
    let cut = entry.connection.cut();
    tokio::pin!(cut);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = cut.as_mut() => return,
        _ = stopping.changed() => {
            serving.as_mut().graceful_shutdown();
            tokio::select! {
                ended = serving => ended,
                () = cut => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

/// The answer with the work that it ends.
fn carry(response: Response<Body>, work: Work) -> Response<Answer> {
    Answer::carry(response, work, http::no_memory)
}
