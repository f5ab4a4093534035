//! The server's handshake: who comes in, and what those are told who do not.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rustls::server::Acceptor;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::material::{Chain, identity_of};
use super::tie::{Known, Tie};
use super::trust::Side;
use super::words::explained;
use super::{Refusal, Seal};
use crate::door::Seals;
use crate::error::describe;

/// The first byte of a connection that speaks TLS: a handshake's record.
const HANDSHAKE: u8 = 22;
/// How long who speaks plainly may take to read why it is refused, and how much it may say meanwhile.
const FAREWELL: Duration = Duration::from_secs(1);
const FAREWELL_BYTES: u64 = 64 << 10;
/// What a plain client of HTTP/2 is told, so that its error says what is wrong: empty settings, then that the connection goes away
/// (frame 7) after stream 0 for want of security (12).
const GOES_AWAY: &[u8] = b"this port is sealed: mutual TLS 1.3 alone (--tls)";
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
const INADEQUATE_SECURITY: u32 = 12;

pub(crate) type Entering = Pin<Box<dyn Future<Output = io::Result<Entered>> + Send>>;

pub(crate) enum Entered {
    Plain(TcpStream),
    Sealed(SealedGuest),
}

pub(crate) struct SealedGuest {
    pub stream: Box<TlsStream<TcpStream>>,
    pub tie: Arc<Tie>,
    pub seal: Seal,
}

/// At a port where everybody is sealed.
pub(crate) fn enter(stream: TcpStream, address: SocketAddr, seal: Seal) -> Entering {
    Box::pin(async move {
        if !speaks_tls(&stream).await? {
            seal.refuse(
                Refusal::Connection,
                || tracing::warn!(%address, "refused a plain connection: this port is sealed"),
            );
            drop(timeout(FAREWELL, send_away(stream)).await);
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "a plain connection to a sealed port"));
        }
        let greeting = LazyConfigAcceptor::new(Acceptor::default(), stream);
        let shaken = shake_hands(greeting, address, move |_| Some(seal)).await;
        shaken.map(Entered::Sealed)
    })
}

/// At a port of several clusters: the name that is called says whose it is. Who speaks plainly comes in as such, and the service sees that.
pub(crate) fn enter_by_name(stream: TcpStream, address: SocketAddr, seals: Seals) -> Entering {
    Box::pin(async move {
        if !speaks_tls(&stream).await? {
            return Ok(Entered::Plain(stream));
        }
        let greeting = LazyConfigAcceptor::new(Acceptor::default(), stream);
        let shaken = shake_hands(greeting, address, move |name| seals(name)).await;
        shaken.map(Entered::Sealed)
    })
}

async fn speaks_tls(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    match stream.peek(&mut first).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(first == [HANDSHAKE]),
    }
}

async fn shake_hands(
    greeting: LazyConfigAcceptor<TcpStream>,
    address: SocketAddr,
    whose: impl FnOnce(Option<&str>) -> Option<Seal> + Send,
) -> io::Result<SealedGuest> {
    let start = greeting.await.map_err(explained)?;
    let Some(seal) = whose(start.client_hello().server_name()) else {
        tracing::debug!(%address, "nobody is served here by the name that is called");
        return Err(io::Error::new(io::ErrorKind::NotFound, "nobody of that name is served here"));
    };
    let content = seal.content();
    let shaken = start.into_stream(Arc::clone(&content.server)).await.map_err(explained);
    let known = shaken.and_then(|stream| {
        let chain = stream.get_ref().1.peer_certificates().and_then(Chain::of);
        let chain = chain.ok_or_else(|| io::Error::other("a handshake without a certificate"))?;
        let counterpart = identity_of(chain.leaf()).map_err(io::Error::other)?;
        Ok((stream, Known { counterpart, chain, side: Side::Client, content: &content }))
    });
    match known {
        Ok((stream, known)) => {
            let tie = seal.inner.ties.tie(known, || seal.content());
            Ok(SealedGuest { stream: Box::new(stream), tie, seal })
        }
        Err(error) => {
            let why = || tracing::warn!(%address, error = describe(&error), "refused a connection");
            seal.refuse(Refusal::Connection, why);
            Err(error)
        }
    }
}

/// What it says is read: a close over unread bytes would take back what it is told.
async fn send_away(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(&farewell()).await?;
    stream.shutdown().await?;
    let mut rest = stream.take(FAREWELL_BYTES);
    let mut scrap = [0; 512];
    while rest.read(&mut scrap).await? > 0 {}
    Ok(())
}

fn farewell() -> Vec<u8> {
    let mut bytes = SETTINGS.to_vec();
    let [.., length] = (8 + GOES_AWAY.len()).to_be_bytes();
    bytes.extend([0, 0, length, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend(INADEQUATE_SECURITY.to_be_bytes());
    bytes.extend(GOES_AWAY);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_farewell_is_two_frames_of_http_2() {
        let bytes = farewell();
        let (settings, away) = bytes.split_at(9);
        assert_eq!((settings[3], &settings[..3]), (4, &[0, 0, 0][..]));
        let length = usize::from(away[2]);
        assert_eq!((away[3], away.len()), (7, 9 + length));
        assert_eq!(&away[17..], GOES_AWAY);
    }
}
