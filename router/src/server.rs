//! The listening side: connections with their limits, and a stop that lets requests end.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prometheus::Registry;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use crate::backend::Backend;
use crate::config::Config;
use crate::http::{self, Front};
use crate::metrics::Metrics;

/// Most bytes of a request's head: DynamoDB's own need about 1 KiB; signatures and tracing headers fit many times.
const HEAD_BYTES: usize = 32 * 1024;
const HEADERS: usize = 100;
/// How long a head may take to arrive, and an idle connection to stay: longer than SDKs keep theirs in the pool.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// How long requests may go on after the stop was asked for.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// After a failed accept (no file descriptors left) the next try waits, or it would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The API as a service, for whoever has connections of his own.
pub fn app<B: Backend>(front: Arc<Front<B>>) -> Router {
    Router::new().fallback(http::handle::<B>).with_state(front)
}

/// Serves until `shutdown`, then lets what is under way end.
pub async fn serve<B: Backend>(
    config: &Config,
    backend: B,
    registry: &Registry,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send,
) -> anyhow::Result<()> {
    let verifier = config.verifier()?;
    let metrics = Metrics::new(registry).context("register metrics")?;
    let front = Front::new(backend, config, verifier, metrics);
    let app = app(Arc::new(front));
    let room = Arc::new(Semaphore::new(usize::try_from(config.max_connections).unwrap_or(usize::MAX)));
    let (stop, stopping) = watch::channel(());
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept(&listener, &room) => accepted,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, permit)) => {
                connections.spawn(connection(stream, app.clone(), stopping.clone(), permit));
            }
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    drop(stop);
    let ended = tokio::time::timeout(STOP_GRACE, async { while connections.join_next().await.is_some() {} }).await;
    if ended.is_err() {
        tracing::warn!(left = connections.len(), "connections were cut at the stop");
    }
    Ok(())
}

async fn accept(listener: &TcpListener, room: &Arc<Semaphore>) -> std::io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a client is gone before it was served");
    }
    Ok((stream, permit))
}

/// One connection, until it ends or, once `stopping` is closed, its request has been answered.
async fn connection(stream: TcpStream, app: Router, mut stopping: watch::Receiver<()>, _permit: OwnedSemaphorePermit) {
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        _ = stopping.changed() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}
