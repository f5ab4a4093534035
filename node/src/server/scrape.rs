//! Metrics and health over HTTP, for Prometheus and probes: `GET /metrics`, `GET /health`, one request per connection.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::context::Context;

/// A request's head is a few hundred bytes.
const HEAD_BYTES: usize = 8 << 10;
const PATIENCE: Duration = Duration::from_secs(5);

pub async fn serve(context: Arc<Context>, listener: std::net::TcpListener) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "failed to listen for metrics");
            return;
        }
    };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let context = Arc::clone(&context);
                drop(tokio::spawn(async move {
                    // A scraper that leaves or dawdles is its own problem.
                    drop(timeout(PATIENCE, answer(&context, stream)).await);
                }));
            }
            Err(error) => {
                tracing::warn!(%error, "failed to accept a scraper");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer(context: &Context, mut stream: TcpStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD_BYTES {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let (status, body) = match head.split(|byte| *byte == b' ').nth(1) {
        Some(b"/metrics") => {
            context.metrics.log_has_counted(context.log.counters());
            match context.metrics.render() {
                Ok(text) => ("200 OK", text),
                Err(error) => ("500 Internal Server Error", error.to_string().into_bytes()),
            }
        }
        Some(b"/health") => ("200 OK", b"ok\n".to_vec()),
        Some(_) | None => ("404 Not Found", b"not found\n".to_vec()),
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&body).await
}
