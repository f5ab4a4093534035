//! What lasts of a handshake: the certificate by which the counterpart was believed, and what becomes of that belief.
//!
//! With every new content each standing connection is judged again, by the new authorities. Whose certificate no longer counts keeps the
//! connection for a grace, in which its client is told to connect anew: in a rotation the counterpart has another certificate by
//! then, and nothing that is under way is lost. After the grace the connection fails. A bound on every connection's age was the other
//! way: it would break streams for ever so that trust can be withdrawn once in years, and withdraw it late. A client whose
//! own certificate is new connects anew for the same reason: the old one counts for little longer.
//!
//! A certificate that merely expires ends no connection: that would make an operator that is away for long an outage at one moment.

use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use tokio::sync::watch;

use super::Content;
use super::identity::Identity;
use super::material::Chain;
use super::trust::Side;

/// How long who is no longer trusted keeps a connection: longer than any request, and than clients take to connect anew.
const GRACE: Duration = Duration::from_secs(30);

/// One connection that stands.
pub(crate) struct Tie {
    counterpart: Identity,
    chain: Chain,
    side: Side,
    /// The content of the handshake.
    version: u64,
    own: CertificateDer<'static>,
    /// Set once the counterpart is not trusted any more.
    cut_at: OnceLock<Instant>,
    loose: watch::Sender<bool>,
}

#[derive(Default)]
pub(super) struct Ties(Mutex<Vec<Weak<Tie>>>);

/// Who is at the other end, and by which content that was found.
pub(super) struct Known<'a> {
    pub counterpart: Identity,
    pub chain: Chain,
    pub side: Side,
    pub content: &'a Content,
}

impl Tie {
    fn new(known: Known<'_>) -> Tie {
        let Known { counterpart, chain, side, content } = known;
        Tie {
            counterpart,
            chain,
            side,
            version: content.version,
            own: content.chain.leaf().clone(),
            cut_at: OnceLock::new(),
            loose: watch::Sender::new(false),
        }
    }

    pub(crate) fn counterpart(&self) -> &Identity {
        &self.counterpart
    }

    /// Fails once the counterpart has not been trusted for too long. Asked with every read, and pings see to it that there are some:
    /// no connection is silent for longer than ten seconds.
    pub(crate) fn holds(&self) -> io::Result<()> {
        self.holds_at(Instant::now)
    }

    fn holds_at(&self, now: impl FnOnce() -> Instant) -> io::Result<()> {
        match self.cut_at.get() {
            Some(at) if now() >= *at => Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("{} is not trusted any more", self.counterpart),
            )),
            Some(_) | None => Ok(()),
        }
    }

    /// Resolves when it is better to connect anew.
    pub(crate) fn loosened(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut loose = self.loose.subscribe();
        async move {
            // Without a sender the connection has ended.
            loose.wait_for(|loose| *loose).await.map(|_| ()).unwrap_or_default();
        }
    }

    /// Whether this ends the belief in it.
    fn review(&self, content: &Content) -> bool {
        let trusted = content.trust.judge(self.side, &self.chain);
        if trusted.is_err() || self.own != *content.chain.leaf() {
            self.loose.send_replace(true);
        }
        let Err(error) = trusted else { return false };
        let ends = self.cut_at.set(Instant::now() + GRACE).is_ok();
        if ends {
            let (who, why) = (&self.counterpart, super::words::plainly(&error));
            tracing::debug!(%who, why, "a connection is to end: its counterpart is not trusted any more");
        }
        ends
    }
}

impl Ties {
    /// A connection stands. If the content has changed during its handshake, that is made up for.
    pub fn tie(&self, known: Known<'_>, now: impl FnOnce() -> Arc<Content>) -> Arc<Tie> {
        let tie = Arc::new(Tie::new(known));
        let mut ties = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if ties.len() == ties.capacity() {
            ties.retain(|tie| tie.strong_count() > 0);
        }
        ties.push(Arc::downgrade(&tie));
        let now = now();
        if now.version != tie.version {
            tie.review(&now);
        }
        tie
    }

    /// Every connection by the new content; how many it ends the belief in.
    pub fn review(&self, content: &Content) -> u64 {
        let mut ties = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ties.retain(|tie| tie.strong_count() > 0);
        let standing = ties.iter().filter_map(Weak::upgrade);
        standing.map(|tie| u64::from(tie.review(content))).sum()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;
    use crate::seal::authority::{Authority, Files};
    use crate::seal::{Pem, Refusal, Seal};

    const ROUTER: &str = "spiffe://trivet/shop/music/router";
    const NODE: &str = "spiffe://trivet/shop/music/node/0000000000000007";

    impl Files {
        fn trusting(self, authorities: &[&Authority]) -> Files {
            Files { ca: authorities.iter().map(|authority| authority.pem.as_str()).collect(), ..self }
        }

        fn pem(self) -> Pem {
            let Files { ca, certificate, key } = self;
            Pem { ca: ca.into(), certificate: certificate.into(), key: key.into() }
        }
    }

    /// A node's tie to a router of the old authority.
    fn tied(node: &Seal, old: &Authority) -> Arc<Tie> {
        let router = Seal::from_pem(old.files(ROUTER).pem()).unwrap();
        let content = node.content();
        let (counterpart, chain) = (router.identity().clone(), router.content().chain.clone());
        node.inner.ties.tie(Known { counterpart, chain, side: Side::Client, content: &content }, || node.content())
    }

    fn is_loose(tie: &Tie) -> bool {
        tie.loosened().now_or_never().is_some()
    }

    #[test]
    fn a_connection_outlives_its_trust_by_a_grace() {
        let (old, new) = (Authority::new("old"), Authority::new("new"));
        let node = Seal::from_pem(old.files(NODE).pem()).unwrap();
        let tie = tied(&node, &old);
        node.replace(old.files(NODE).trusting(&[&old, &new]).pem()).unwrap();
        assert!(is_loose(&tie), "its own certificate is new");
        let after = || Instant::now() + GRACE;
        assert!(tie.holds_at(after).is_ok(), "both are trusted");
        node.replace(new.files(NODE).pem()).unwrap();
        assert!(tie.holds().is_ok());
        let error = tie.holds_at(after).unwrap_err();
        assert_eq!(error.to_string(), "spiffe://trivet/shop/music/router is not trusted any more");
        assert_eq!(node.refused(Refusal::Distrusted), 1);
        node.replace(new.files(NODE).pem()).unwrap();
        assert_eq!(node.refused(Refusal::Distrusted), 1, "counted once");
    }

    #[test]
    fn nothing_is_loosened_by_a_bundle_that_trusts_more() {
        let (old, new) = (Authority::new("old"), Authority::new("new"));
        let files = old.files(NODE);
        let node = Seal::from_pem(files.clone().pem()).unwrap();
        let tie = tied(&node, &old);
        node.replace(files.trusting(&[&old, &new]).pem()).unwrap();
        assert!(!is_loose(&tie));
    }

    #[test]
    fn a_change_during_the_handshake_counts_too() {
        let (old, new) = (Authority::new("old"), Authority::new("new"));
        let node = Seal::from_pem(old.files(NODE).pem()).unwrap();
        let before = node.content();
        node.replace(new.files(NODE).pem()).unwrap();
        let router = Seal::from_pem(old.files(ROUTER).pem()).unwrap();
        let (counterpart, chain) = (router.identity().clone(), router.content().chain.clone());
        let known = Known { counterpart, chain, side: Side::Client, content: &before };
        let tie = node.inner.ties.tie(known, || node.content());
        assert!(is_loose(&tie) && tie.holds_at(|| Instant::now() + GRACE).is_err());
    }
}
