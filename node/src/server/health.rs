//! Metrics and health over HTTP, for Prometheus and probes; one request per connection.
//!
//! `GET /metrics`; `GET /healthz`: the process lives; `GET /readyz`: it serves, else 503 with the reason. It has a thread of its
//! own and answers from the first moment on: a node that waits to be formatted, or opens a large disk, is well.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

use super::ground::listen;
use crate::log::Log;
use crate::metrics::Metrics;

/// A request's head is a few hundred bytes.
const HEAD_BYTES: usize = 8 << 10;
const PATIENCE: Duration = Duration::from_secs(5);
/// After a failed accept (no file descriptors left) the next try waits, or it would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Why a blank disk serves nothing.
pub const BLANK: &str = "the disk is blank and waits to be formatted";

/// How far the process has come.
#[derive(Clone)]
pub enum Stage {
    Blank,
    /// The disk is opened, every replica started.
    Opening,
    /// The log counts for itself, and is asked.
    Serving(Log),
    Stopping(Log),
}

/// Ends when it is dropped.
pub struct Health {
    stage: Option<watch::Sender<Stage>>,
    thread: Option<JoinHandle<()>>,
}

impl Health {
    /// On a thread of its own; without an address nothing is served.
    pub fn start(address: Option<SocketAddr>, metrics: Arc<Metrics>) -> anyhow::Result<Health> {
        let (stage, stages) = watch::channel(Stage::Opening);
        let thread = match address {
            None => None,
            Some(address) => {
                let listener = listen(address).with_context(|| format!("listen on {address} for metrics"))?;
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let runtime = runtime.context("build the runtime for metrics")?;
                let run = move || {
                    if let Err(error) = runtime.block_on(serve(listener, stages, metrics)) {
                        tracing::error!(%error, "failed to serve metrics");
                    }
                };
                let thread = std::thread::Builder::new().name("metrics".to_owned()).spawn(run);
                Some(thread.context("start the thread for metrics")?)
            }
        };
        Ok(Health { stage: Some(stage), thread })
    }

    pub fn is(&self, now: Stage) {
        if let Some(stage) = &self.stage {
            stage.send_replace(now);
        }
    }
}

impl Drop for Health {
    fn drop(&mut self) {
        self.stage = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread for metrics panicked");
        }
    }
}

async fn serve(
    listener: std::net::TcpListener,
    mut stages: watch::Receiver<Stage>,
    metrics: Arc<Metrics>,
) -> std::io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            changed = stages.changed() => match changed {
                Ok(()) => continue,
                Err(_dropped) => return Ok(()),
            },
        };
        match accepted {
            Ok((stream, _)) => {
                let (stages, metrics) = (stages.clone(), Arc::clone(&metrics));
                drop(tokio::spawn(async move {
                    // A scraper that leaves or dawdles is its own problem.
                    drop(timeout(PATIENCE, answer(stream, &stages, &metrics)).await);
                }));
            }
            Err(error) => {
                tracing::warn!(%error, "failed to accept a scraper");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn answer(mut stream: TcpStream, stages: &watch::Receiver<Stage>, metrics: &Metrics) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD_BYTES {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let stage = stages.borrow().clone();
    let (status, body) = match head.split(|byte| *byte == b' ').nth(1) {
        Some(b"/metrics") => rendered(&stage, metrics),
        Some(b"/healthz") => ("200 OK", b"ok\n".to_vec()),
        Some(b"/readyz") => ready(&stage),
        Some(_) | None => ("404 Not Found", b"not found\n".to_vec()),
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&body).await
}

fn rendered(stage: &Stage, metrics: &Metrics) -> (&'static str, Vec<u8>) {
    if let Stage::Serving(log) | Stage::Stopping(log) = stage {
        metrics.log_has_counted(log.counters());
    }
    match metrics.render() {
        Ok(text) => ("200 OK", text),
        Err(error) => ("500 Internal Server Error", error.to_string().into_bytes()),
    }
}

fn ready(stage: &Stage) -> (&'static str, Vec<u8>) {
    let not = |why: &str| ("503 Service Unavailable", format!("{why}\n").into_bytes());
    match stage {
        Stage::Blank => not(BLANK),
        Stage::Opening => not("the node opens its disk"),
        Stage::Serving(_) => ("200 OK", b"ready\n".to_vec()),
        Stage::Stopping(_) => not("the node stops"),
    }
}
