//! The seal of a process: mutual TLS 1.3 on every internal connection, by a certificate that says who it is.
//!
//! ```text
//! folder or Secret ─► Pem ─► Seal ─┬─► door (`wire::door`): who comes ─► callers: who may call what
//!                                  ├─► connect: who answers ─► line: when to connect anew
//!                                  └─► health: `/trust`, days left
//! ```
//! The chain to an authority of `ca.crt` counts, and the identity in the certificate; host names do not. What is read anew is used
//! by every handshake from then on, at both ends, without a restart; whom a new bundle no longer trusts loses the connections that
//! stand, too (`tie`). Sessions are never resumed: that would believe a certificate which nobody has looked at since.
//!
//! Only this room knows TLS. A process without a seal speaks plainly everywhere, as `trivet local` does.

pub mod callers;
pub mod connect;
mod counts;
mod enter;
mod folder;
mod identity;
mod material;
mod tie;
mod trust;
mod words;

#[cfg(test)]
#[path = "../tests/seal/authority.rs"]
mod authority;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::client::Resumption;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::NoServerSessionStorage;
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig};

pub use counts::Refusal;
pub(crate) use enter::{Entered, Entering, SealedGuest, enter, enter_by_name};
pub use identity::{Identity, NoIdentity, Role};
pub use material::{Nobody, Pem, SealError, bundle};
pub(crate) use tie::Tie;

use counts::{Counts, Outcome};
use material::{Chain, Material};
use tie::Ties;
use trust::{Trust, provider};

/// What both ends say they speak inside.
const PROTOCOL: &[u8] = b"h2";
const DAY_S: i64 = 86_400;

/// A handle; clones share what is read anew.
#[derive(Clone)]
pub struct Seal {
    inner: Arc<Inner>,
}

struct Inner {
    identity: Identity,
    content: RwLock<Arc<Content>>,
    /// Every connection that stands.
    ties: Ties,
    counts: Counts,
    /// One change at a time.
    changing: Mutex<()>,
    /// Ends with the last handle.
    following: Mutex<Option<folder::Following>>,
}

/// What handshakes use.
struct Content {
    /// Rises with every change.
    version: u64,
    chain: Chain,
    not_after: i64,
    trust: Arc<Trust>,
    bundle: String,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Seal {
    /// What stands in the folder, now and whenever it changes: a new content that cannot be used leaves the old one as it is.
    pub fn from_folder(folder: &Path) -> Result<Seal, SealError> {
        let pem = folder::read(folder)?;
        let seal = Seal::from_pem(pem.clone())?;
        let following = folder::Following::start(&seal, folder, pem).map_err(SealError::Watch)?;
        *lock(&seal.inner.following) = Some(following);
        Ok(seal)
    }

    pub fn from_pem(pem: Pem) -> Result<Seal, SealError> {
        let material = pem.read()?;
        let identity = material.identity.clone();
        let content = Content::new(material, 1)?;
        let inner = Inner {
            identity,
            content: RwLock::new(Arc::new(content)),
            ties: Ties::default(),
            counts: Counts::default(),
            changing: Mutex::default(),
            following: Mutex::default(),
        };
        Ok(Seal { inner: Arc::new(inner) })
    }

    /// From now on this one counts, unless it cannot be used. Who it speaks for never changes.
    pub fn replace(&self, pem: Pem) -> Result<(), SealError> {
        let changed = self.change(pem);
        let outcome = if changed.is_ok() { Outcome::Changed } else { Outcome::Refused };
        self.inner.counts.reloaded(outcome);
        changed
    }

    fn change(&self, pem: Pem) -> Result<(), SealError> {
        let _one = lock(&self.inner.changing);
        let material = pem.read()?;
        if material.identity != self.inner.identity {
            let (was, now) = (Box::new(self.inner.identity.clone()), Box::new(material.identity));
            return Err(SealError::OtherIdentity { was, now });
        }
        let content = Arc::new(Content::new(material, self.version() + 1)?);
        *self.inner.content.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&content);
        let distrusted = self.inner.ties.review(&content);
        self.inner.counts.distrust(distrusted);
        if distrusted > 0 {
            tracing::info!(connections = distrusted, "connections are to end: who is at their ends is trusted no more");
        }
        Ok(())
    }

    /// For whom the certificate speaks.
    pub fn identity(&self) -> &Identity {
        &self.inner.identity
    }

    /// The same handle, if the certificate is for such a process: `what` names it in the refusal.
    pub fn demand(self, what: &'static str, fits: impl FnOnce(Role) -> bool) -> Result<Seal, SealError> {
        if !fits(self.identity().role) {
            return Err(SealError::OtherRole(self.inner.identity.clone(), what));
        }
        Ok(self)
    }

    /// Which authorities are trusted: lowercase hexadecimal SHA-256 of `ca.crt`.
    pub fn trust(&self) -> String {
        self.content().bundle.clone()
    }

    /// Until the certificate expires, rounded down; negative once it has.
    pub fn days_left(&self) -> i64 {
        (self.content().not_after - now_s()).div_euclid(DAY_S)
    }

    /// Rises with every change: connections made before are made with what was.
    pub fn version(&self) -> u64 {
        self.content().version
    }

    /// Calls and connections refused so far.
    pub fn refused(&self, refusal: Refusal) -> u64 {
        self.inner.counts.refused(refusal)
    }

    /// In Prometheus' text format.
    pub fn metrics(&self) -> String {
        self.inner.counts.render(self.days_left())
    }

    /// Something was refused; said aloud once in a while.
    fn refuse(&self, refusal: Refusal, say: impl FnOnce()) {
        self.inner.counts.refuse(refusal);
        if self.inner.counts.log.may_log() {
            say();
        }
    }

    fn content(&self) -> Arc<Content> {
        Arc::clone(&self.inner.content.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seal({})", self.inner.identity)
    }
}

impl Content {
    fn new(material: Material, version: u64) -> Result<Content, SealError> {
        let Material { chain, key, identity: _, not_after, trust, bundle } = material;
        let server = server(&trust, &chain, key.clone_key()).map_err(unusable)?;
        let client = client(&trust, &chain, key).map_err(unusable)?;
        Ok(Content { version, chain, not_after, trust, bundle, server: Arc::new(server), client: Arc::new(client) })
    }
}

fn unusable(error: rustls::Error) -> SealError {
    SealError::Unusable(error.to_string())
}

fn server(trust: &Arc<Trust>, chain: &Chain, key: PrivateKeyDer<'static>) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::<Trust>::clone(trust))
        .with_single_cert(chain.to_vec(), key)?;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn client(trust: &Arc<Trust>, chain: &Chain, key: PrivateKeyDer<'static>) -> Result<ClientConfig, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::<Trust>::clone(trust))
        .with_client_auth_cert(chain.to_vec(), key)?;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// A panic aborts the process, so a poisoned lock is met in tests alone.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
