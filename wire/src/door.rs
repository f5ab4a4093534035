//! The door of a port: so many connections at once, and none that does not say what it speaks.
//!
//! tonic itself takes in everybody, waits for ever for the first word, and lets each open streams without end.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tonic::transport::Server;
use tonic::transport::server::{Connected, TcpConnectInfo};

/// Most connections of one port: every process of a cluster has a few to each other, and there are hundreds of them.
const CONNECTIONS: usize = 2048;
/// Most streams of one connection at once; ours have a handful.
const STREAMS: u32 = 128;
/// What a client of HTTP/2 says first has this length.
const PREFACE_BYTES: usize = 24;
/// How long it may take for that.
const PATIENCE: Duration = Duration::from_secs(10);
/// Clients are asked so often whether they are still there, and closed if they do not answer.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// After a failed accept (no file descriptors left) the next try waits, or it would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A server that bounds what each connection may do.
pub fn server() -> Server {
    Server::builder().max_concurrent_streams(STREAMS).http2_keepalive_interval(Some(KEEP_ALIVE))
}

/// Those who come, as long as there is room; others are closed at once.
pub fn guests(listener: TcpListener) -> impl Stream<Item = io::Result<Guest>> {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    futures::stream::unfold((listener, room), |(listener, room)| async move {
        let guest = guest(&listener, &room).await;
        Some((Ok(guest), (listener, room)))
    })
}

async fn guest(listener: &TcpListener, room: &Arc<Semaphore>) -> Guest {
    loop {
        match (listener.accept().await, Arc::clone(room).try_acquire_owned()) {
            (Ok((stream, _)), Ok(permit)) if stream.set_nodelay(true).is_ok() => {
                let silent = Some(Silent { heard: 0, until: Box::pin(tokio::time::sleep(PATIENCE)) });
                return Guest { stream, silent, _permit: permit };
            }
            // No room, or already gone.
            (Ok(_), _) => {}
            (Err(_), _) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// A connection that was let in.
pub struct Guest {
    stream: TcpStream,
    silent: Option<Silent>,
    _permit: OwnedSemaphorePermit,
}

/// A guest that has not said yet what it speaks.
struct Silent {
    heard: usize,
    until: Pin<Box<Sleep>>,
}

impl Connected for Guest {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Guest {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(silent) = &mut self.silent
            && silent.until.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let heard = buffer.filled().len() - before;
        if let Some(silent) = &mut self.silent {
            silent.heard += heard;
            if silent.heard >= PREFACE_BYTES {
                self.silent = None;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Guest {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
