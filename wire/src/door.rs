//! The door of a port: so many connections at once, none that does not say what it speaks, and where there is a seal, none
//! of a stranger.
//!
//! tonic itself takes in everybody, waits for ever for the first word, and lets each open streams without end. A handshake is a part of
//! its connection's first reads and writes, so that it holds up nobody else.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tower::layer::util::{Identity as Nothing, Stack};

use crate::seal::callers::Guard;
use crate::seal::{self, Entered, Entering, Identity, Seal, SealedGuest, Tie};

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

/// A server that bounds what each connection may do, and at sealed doors what each caller may.
pub fn server() -> Server<Stack<Guard, Nothing>> {
    let server = Server::builder().max_concurrent_streams(STREAMS).http2_keepalive_interval(Some(KEEP_ALIVE));
    server.layer(Guard {})
}

/// The seal of a cluster by the name that is called; none where no such cluster is sealed.
pub type Seals = Arc<dyn Fn(Option<&str>) -> Option<Seal> + Send + Sync>;

/// How those who come are taken in.
#[derive(Clone)]
pub enum Manner {
    Plain,
    /// By this seal alone.
    Sealed(Seal),
    /// At a port of several clusters, sealed ones and plain ones: by the seal of whom they call. Who speaks plainly is taken in, and
    /// [`crate::seal::callers::Voice`] tells the service so: what it may do is the service's to say.
    ByName(Seals),
}

impl From<Option<Seal>> for Manner {
    fn from(seal: Option<Seal>) -> Manner {
        seal.map_or(Manner::Plain, Manner::Sealed)
    }
}

/// Those who come, as long as there is room; others are closed at once.
pub fn guests(listener: TcpListener, manner: Manner) -> impl Stream<Item = io::Result<Guest>> {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    futures::stream::unfold((listener, room, manner), |(listener, room, manner)| async move {
        let guest = guest(&listener, &room, &manner).await;
        Some((Ok(guest), (listener, room, manner)))
    })
}

async fn guest(listener: &TcpListener, room: &Arc<Semaphore>, manner: &Manner) -> Guest {
    loop {
        match (listener.accept().await, Arc::clone(room).try_acquire_owned()) {
            (Ok((stream, address)), Ok(permit)) if stream.set_nodelay(true).is_ok() => {
                let silent = Some(Silent { heard: 0, until: Box::pin(tokio::time::sleep(PATIENCE)) });
                let way = match manner {
                    Manner::Plain => Way::Open(Wire::Plain(stream)),
                    Manner::Sealed(seal) => Way::Entering(seal::enter(stream, address, seal.clone())),
                    Manner::ByName(seals) => Way::Entering(seal::enter_by_name(stream, address, Arc::clone(seals))),
                };
                let caller = Arc::new(match manner {
                    Manner::Plain => OnceLock::from(Caller::Plain),
                    Manner::Sealed(_) | Manner::ByName(_) => OnceLock::new(),
                });
                return Guest { way, silent, visitor: Visitor { address, caller }, _permit: permit };
            }
            // No room, or already gone.
            (Ok(_), _) => {}
            (Err(_), _) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// A connection that was let in.
pub struct Guest {
    way: Way,
    silent: Option<Silent>,
    visitor: Visitor,
    _permit: OwnedSemaphorePermit,
}

enum Way {
    /// Hands are shaken still.
    Entering(Entering),
    Open(Wire),
}

enum Wire {
    Plain(TcpStream),
    Sealed(Box<TlsStream<TcpStream>>, Arc<Tie>),
}

/// A guest that has not said yet what it speaks.
struct Silent {
    heard: usize,
    until: Pin<Box<Sleep>>,
}

/// Whose connection a call came by: services find it among a request's extensions.
#[derive(Clone, Debug)]
pub struct Visitor {
    pub address: SocketAddr,
    /// Known once it is in, and so before its first call.
    caller: Arc<OnceLock<Caller>>,
}

#[derive(Clone, Debug)]
pub(crate) enum Caller {
    /// At a sealed door, before hands are shaken. Nothing is called by then, and nothing would be answered.
    Unknown,
    Plain,
    /// Who it is, by which seal.
    Known(Identity, Seal),
}

impl Visitor {
    pub(crate) fn caller(&self) -> Caller {
        self.caller.get().cloned().unwrap_or(Caller::Unknown)
    }
}

impl Connected for Guest {
    type ConnectInfo = Visitor;

    fn connect_info(&self) -> Visitor {
        self.visitor.clone()
    }
}

impl Guest {
    /// The connection, once hands are shaken: within the patience that there is, whether it is read or written first.
    fn poll_wire(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&mut Wire>> {
        if let Some(silent) = &mut self.silent
            && silent.until.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if let Way::Entering(entering) = &mut self.way {
            let (wire, caller) = match ready!(entering.as_mut().poll(cx))? {
                Entered::Plain(stream) => (Wire::Plain(stream), Caller::Plain),
                Entered::Sealed(SealedGuest { stream, tie, seal }) => {
                    let identity = tie.counterpart().clone();
                    (Wire::Sealed(stream, tie), Caller::Known(identity, seal))
                }
            };
            self.visitor.caller.get_or_init(|| caller);
            self.way = Way::Open(wire);
        }
        match &mut self.way {
            Way::Open(wire) => Poll::Ready(Ok(wire)),
            Way::Entering(_) => Poll::Pending,
        }
    }
}

impl AsyncRead for Guest {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match ready!(self.poll_wire(cx))? {
            Wire::Plain(stream) => ready!(Pin::new(stream).poll_read(cx, buffer))?,
            Wire::Sealed(stream, tie) => {
                tie.holds()?;
                ready!(Pin::new(stream).poll_read(cx, buffer))?;
            }
        }
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
        match ready!(self.poll_wire(cx))? {
            Wire::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Wire::Sealed(stream, _) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match ready!(self.poll_wire(cx))? {
            Wire::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            Wire::Sealed(stream, _) => Pin::new(stream).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        // Both kinds are.
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(self.poll_wire(cx))? {
            Wire::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Wire::Sealed(stream, _) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.way {
            // Nothing was said that had to be brought to an end.
            Way::Entering(_) => Poll::Ready(Ok(())),
            Way::Open(Wire::Plain(stream)) => Pin::new(stream).poll_shutdown(cx),
            Way::Open(Wire::Sealed(stream, _)) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
