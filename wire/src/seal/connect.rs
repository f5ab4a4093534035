//! The client's connections: to an address, and to nobody but who is meant.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures::future::{BoxFuture, FutureExt as _};
use hyper_util::rt::TokioIo;
use model::NodeId;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint, Error};
use tower::service_fn;

use super::identity::{Identity, Role};
use super::material::{Chain, identity_of};
use super::tie::{Known, Tie};
use super::trust::Side;
use super::words::{explained, of_handshake};
use super::{Refusal, Seal, lock};
use crate::error::describe;

/// Who is meant to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    Node(NodeId),
    /// Where only an address is known; what it says of itself is compared with [`Line::counterpart`].
    AnyNode,
    MemDs,
    Control,
}

/// A channel, and what is known of its other end.
#[derive(Clone)]
pub struct Line {
    pub channel: Channel,
    /// Of the last handshake; none on plain connections.
    tie: Arc<Mutex<Option<Arc<Tie>>>>,
}

/// Connects at once.
pub async fn connect(endpoint: Endpoint, seal: Option<&Seal>, whom: Whom) -> Result<Line, Error> {
    let tie = Arc::default();
    let channel = match seal {
        None => endpoint.connect().await?,
        Some(seal) => {
            let dialler = Dialler { seal: seal.clone(), whom, tie: Arc::clone(&tie) };
            endpoint.connect_with_connector(service_fn(move |uri: Uri| dialler.dial(uri))).await?
        }
    };
    Ok(Line { channel, tie })
}

/// Connects when something is asked.
pub fn connect_lazy(endpoint: &Endpoint, seal: Option<&Seal>, whom: Whom) -> Line {
    let tie = Arc::default();
    let channel = match seal {
        None => endpoint.connect_lazy(),
        Some(seal) => {
            let dialler = Dialler { seal: seal.clone(), whom, tie: Arc::clone(&tie) };
            endpoint.connect_with_connector_lazy(service_fn(move |uri: Uri| dialler.dial(uri)))
        }
    };
    Line { channel, tie }
}

impl Line {
    /// Who answered the last handshake; nobody is known on plain connections.
    pub fn counterpart(&self) -> Option<Identity> {
        lock(&self.tie).as_ref().map(|tie| tie.counterpart().clone())
    }

    /// Whether what the other end says of itself is not belied by its certificate.
    pub fn may_be(&self, node: NodeId) -> bool {
        self.counterpart().is_none_or(|known| known.role == Role::Node(node))
    }

    /// Resolves when it is better to connect anew: the certificate of one end has changed, or is trusted no more.
    pub fn loosened(&self) -> BoxFuture<'static, ()> {
        match &*lock(&self.tie) {
            Some(tie) => tie.loosened().boxed(),
            None => std::future::pending().boxed(),
        }
    }
}

impl Whom {
    fn is(self, role: Role) -> bool {
        match self {
            Whom::Node(node) => role == Role::Node(node),
            Whom::AnyNode => role.node().is_some(),
            Whom::MemDs => role == Role::MemDs,
            Whom::Control => role == Role::Operator,
        }
    }
}

impl fmt::Display for Whom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Whom::Node(node) => write!(f, "node {node}"),
            Whom::AnyNode => f.write_str("a node"),
            Whom::MemDs => f.write_str("MemDS"),
            Whom::Control => f.write_str("the control service"),
        }
    }
}

#[derive(Clone)]
struct Dialler {
    seal: Seal,
    whom: Whom,
    tie: Arc<Mutex<Option<Arc<Tie>>>>,
}

impl Dialler {
    fn dial(&self, uri: Uri) -> BoxFuture<'static, io::Result<TokioIo<Sealed>>> {
        let dialler = self.clone();
        async move {
            let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
            let port = uri
                .port_u16()
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "an address without a port"))?;
            let stream = TcpStream::connect((host.as_str(), port)).await?;
            stream.set_nodelay(true)?;
            let sealed = dialler.seal(stream, host).await;
            if let Err(error) = &sealed {
                let say =
                    || tracing::warn!(address = %uri, whom = %dialler.whom, error = describe(error), "refused to connect");
                dialler.seal.refuse(Refusal::Connection, say);
            }
            sealed.map(TokioIo::new)
        }
        .boxed()
    }

    async fn seal(&self, stream: TcpStream, host: String) -> io::Result<Sealed> {
        let content = self.seal.content();
        // No host name is verified: this is what a port of several clusters is called by.
        let name = ServerName::try_from(host).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let connector = TlsConnector::from(Arc::clone(&content.client));
        let mut stream = connector.connect(name, stream).await.map_err(of_handshake)?;
        // With TLS 1.3 a client has shaken hands before the server has seen its certificate. Servers of HTTP/2 speak first: whoever does
        // so has taken it, and who does not says why.
        if stream.fill_buf().await.map_err(explained)?.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the other side ended the connection at once"));
        }
        let chain = stream.get_ref().1.peer_certificates().and_then(Chain::of);
        let chain = chain.ok_or_else(|| io::Error::other("a handshake without a certificate"))?;
        let counterpart = identity_of(chain.leaf()).map_err(io::Error::other)?;
        if !self.whom.is(counterpart.role) {
            let text = format!("{counterpart} answers, and {} is meant", self.whom);
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        let known = Known { counterpart, chain, side: Side::Server, content: &content };
        let tie = self.seal.inner.ties.tie(known, || self.seal.content());
        *lock(&self.tie) = Some(Arc::clone(&tie));
        Ok(Sealed { stream, tie })
    }
}

/// A client's bytes, as long as the other end is trusted.
struct Sealed {
    stream: TlsStream<TcpStream>,
    tie: Arc<Tie>,
}

impl AsyncRead for Sealed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.tie.holds()?;
        Pin::new(&mut self.stream).poll_read(cx, buffer).map_err(explained)
    }
}

impl AsyncWrite for Sealed {
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
