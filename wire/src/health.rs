//! Metrics and health of a process over HTTP, for Prometheus and probes; one request per connection.
//!
//! `GET /metrics`; `GET /healthz`: the process lives; `GET /readyz`: it serves, else 503 with the reason; `GET /trust`: which
//! authorities a sealed process trusts (`seal::Seal::trust`), else 404. It has a thread of its own and answers from the first moment on: a process that waits for others, or opens a large disk, is well.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::seal::Seal;

/// A request's head is a few hundred bytes.
const HEAD_BYTES: usize = 8 << 10;
const PATIENCE: Duration = Duration::from_secs(5);
/// After a failed accept (no file descriptors left) the next try waits, or it would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a process says of itself.
pub trait Health: Send + Sync + 'static {
    /// In Prometheus' text format.
    fn metrics(&self) -> Result<Vec<u8>, String>;

    /// Why it does not serve, where it does not.
    fn ready(&self) -> Result<(), String>;

    /// Its metrics and its trust are told with the process's.
    fn seal(&self) -> Option<&Seal> {
        None
    }
}

/// The thread that answers; it ends when this is dropped.
pub struct Answering {
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    pub address: SocketAddr,
}

impl Answering {
    pub fn start(address: SocketAddr, health: Arc<dyn Health>) -> io::Result<Answering> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _here = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let (end, ended) = oneshot::channel();
        let run = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serve(listener, health) => (),
                    _ = ended => (),
                }
            });
        };
        let thread = std::thread::Builder::new().name("metrics".to_owned()).spawn(run)?;
        Ok(Answering { end: Some(end), thread: Some(thread), address })
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.end = None;
        // A panic in it has ended the process.
        drop(self.thread.take().map(JoinHandle::join));
    }
}

async fn serve(listener: TcpListener, health: Arc<dyn Health>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let health = Arc::clone(&health);
                drop(tokio::spawn(async move {
                    // A scraper that leaves or dawdles is its own problem.
                    drop(timeout(PATIENCE, answer(stream, &*health)).await);
                }));
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn answer(mut stream: TcpStream, health: &dyn Health) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD_BYTES {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let (status, body) = match head.split(|byte| *byte == b' ').nth(1) {
        Some(b"/metrics") => match health.metrics() {
            Ok(mut text) => {
                text.extend(health.seal().map(Seal::metrics).unwrap_or_default().bytes());
                ("200 OK", text)
            }
            Err(error) => ("500 Internal Server Error", line(&error)),
        },
        Some(b"/healthz") => ("200 OK", line("ok")),
        Some(b"/readyz") => match health.ready() {
            Ok(()) => ("200 OK", line("ready")),
            Err(why) => ("503 Service Unavailable", line(&why)),
        },
        Some(b"/trust") if let Some(seal) = health.seal() => ("200 OK", line(&seal.trust())),
        Some(_) | None => ("404 Not Found", line("not found")),
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&body).await
}

fn line(text: &str) -> Vec<u8> {
    format!("{text}\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    struct Unready;

    impl Health for Unready {
        fn metrics(&self) -> Result<Vec<u8>, String> {
            Ok(b"things 3\n".to_vec())
        }

        fn ready(&self) -> Result<(), String> {
            Err("it waits".to_owned())
        }
    }

    fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: here\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        format!("{} {body}", head.split(' ').nth(1).unwrap())
    }

    #[test]
    fn each_path_has_its_answer_until_the_end() {
        let answering = Answering::start("127.0.0.1:0".parse().unwrap(), Arc::new(Unready)).unwrap();
        let address = answering.address;
        assert_eq!(get(address, "/metrics"), "200 things 3\n");
        assert_eq!(get(address, "/healthz"), "200 ok\n");
        assert_eq!(get(address, "/readyz"), "503 it waits\n");
        assert_eq!(get(address, "/health"), "404 not found\n");
        assert_eq!(get(address, "/trust"), "404 not found\n", "it has no seal");
        drop(answering);
        assert!(std::net::TcpStream::connect(address).is_err());
    }
}
