//! Which of several operator processes acts: the one that holds the Lease of the namespace. Every process serves the control service.
//!
//! ```text
//!          nobody holds it, or its holder was not seen to renew it for `term`
//!   waits ───────────────────────────────────────────────────────────────────► acts
//!         ◄───────────────────────────────────────────────────────────────────
//!          the last renewal that succeeded was begun `renew_within` ago
//! ```
//! Two machines' clocks are never compared: each measures on its own how long ago it renewed, or saw another renew. As `renew_within` is
//! shorter than `term`, a holder has stopped before another may begin, and its last call has ended in the time between
//! ([`crate::calls::PATIENCE`]). It asks itself
//! before every call that changes something ([`Tenure::is_held`]): a process that was asleep past its time wakes up and does nothing.
#![expect(clippy::disallowed_types, reason = "it holds the lease")]

use std::convert::Infallible;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::watch;

/// One for each namespace: so many Clusters have one operator.
pub const NAME: &str = "trivet-operator";

/// Twice client-go's: a holder then asks twelve times a minute.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// How long others wait for a holder that is silent.
    pub term: Duration,
    /// How long a holder acts without a renewal that has succeeded.
    pub renew_within: Duration,
    /// Between two renewals, or two looks at another's.
    pub pace: Duration,
}

impl Default for Terms {
    fn default() -> Terms {
        Terms { term: Duration::from_secs(30), renew_within: Duration::from_secs(20), pace: Duration::from_secs(5) }
    }
}

/// Until when this process acts. Clones share it.
#[derive(Clone, Debug)]
pub struct Tenure {
    until: watch::Sender<Option<Instant>>,
}

impl Default for Tenure {
    fn default() -> Tenure {
        Tenure { until: watch::Sender::new(None) }
    }
}

impl Tenure {
    pub fn is_held(&self) -> bool {
        self.until.borrow().is_some_and(|until| Instant::now() < until)
    }

    /// Returns when it is held by this process, or no longer.
    pub async fn turns(&self, held: bool) {
        let mut changes = self.until.subscribe();
        while self.is_held() != held {
            let left = self.until.borrow().map(|until| until.saturating_duration_since(Instant::now()));
            let runs_out = async {
                match left.filter(|_| self.is_held()) {
                    Some(left) => tokio::time::sleep(left).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                // The sender is in `self`: there is always one.
                _ = changes.changed() => {}
                () = runs_out => {}
            }
        }
    }

    fn hold(&self, until: Instant) {
        self.until.send_replace(Some(until));
    }

    /// From now on this process does nothing.
    pub fn end(&self) {
        self.until.send_replace(None);
    }
}

/// Less than a Pod that ends is given (`terminationGracePeriodSeconds` of the chart).
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(5);

/// What a look at the Lease asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// It is another's, who has renewed it lately.
    Wait,
    /// It is nobody's any more.
    Take,
    /// It is this process's, or was one's before it in the same Pod.
    Renew,
}

/// `silent`: how long it has been seen as it is now.
fn next(spec: &LeaseSpec, identity: &str, silent: Duration) -> Next {
    let term = Duration::from_secs(u64::try_from(spec.lease_duration_seconds.unwrap_or(0)).unwrap_or(0));
    match spec.holder_identity.as_deref() {
        Some(holder) if holder == identity => Next::Renew,
        Some(holder) if !holder.is_empty() && silent < term => Next::Wait,
        Some(_) | None => Next::Take,
    }
}

/// The Lease as this process makes it.
fn written(before: &LeaseSpec, identity: &str, terms: &Terms, now: Timestamp) -> LeaseSpec {
    let same = before.holder_identity.as_deref() == Some(identity);
    let now = MicroTime(now);
    let changes = before.lease_transitions.unwrap_or(0);
    LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        // In whole seconds, and never less than it is.
        lease_duration_seconds: i32::try_from(terms.term.as_millis().div_ceil(1000)).ok(),
        acquire_time: if same { before.acquire_time.clone() } else { Some(now.clone()) },
        renew_time: Some(now),
        lease_transitions: Some(if same { changes } else { changes.saturating_add(1) }),
        ..before.clone()
    }
}

/// Keeps the Lease, or waits for it.
pub struct Keeper {
    api: Api<Lease>,
    identity: String,
    terms: Terms,
    tenure: Tenure,
    /// As this process has last written it.
    ours: Option<Lease>,
    /// The version that was last seen, and since when.
    seen: Option<(String, Instant)>,
}

impl Keeper {
    pub fn new(client: Client, namespace: &str, identity: String, terms: Terms, tenure: Tenure) -> Keeper {
        Keeper { api: Api::namespaced(client, namespace), identity, terms, tenure, ours: None, seen: None }
    }

    /// Runs for ever.
    pub async fn keep(&mut self) -> Infallible {
        loop {
            let begun = Instant::now();
            let acted = self.tenure.is_held();
            // A renewal that is slow is given up, and tried anew.
            match tokio::time::timeout(self.terms.pace, self.round()).await {
                Ok(Ok(true)) => self.tenure.hold(begun + self.terms.renew_within),
                Ok(Ok(false)) => self.tenure.end(),
                Ok(Err(error)) => tracing::warn!(%error, "the lease is neither renewed nor seen"),
                Err(_slow) => tracing::warn!("the API server does not answer about the lease"),
            }
            match (acted, self.tenure.is_held()) {
                (false, true) => tracing::info!(identity = self.identity, "this process acts"),
                (true, false) => tracing::info!(identity = self.identity, "this process acts no more"),
                (true, true) | (false, false) => {}
            }
            tokio::time::sleep(self.terms.pace).await;
        }
    }

    /// Others need not wait. Only when everything that this process does has ended.
    pub async fn release(&mut self) {
        self.tenure.end();
        match tokio::time::timeout(GIVEN_BACK_WITHIN, self.give_back()).await {
            Ok(Ok(true)) => tracing::info!("the lease is given back"),
            Ok(Ok(false)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the lease is not given back: others wait for its end"),
            Err(_slow) => tracing::warn!("the lease is not given back: the API server does not answer"),
        }
    }

    /// Whether it was this process's. Read first: a renewal may have been cut short by the end.
    async fn give_back(&self) -> Result<bool, kube::Error> {
        loop {
            let Some(lease) = self.api.get_opt(NAME).await? else { return Ok(false) };
            let spec = lease.spec.clone().unwrap_or_default();
            if spec.holder_identity.as_deref() != Some(&self.identity) {
                return Ok(false);
            }
            let nobody = LeaseSpec { holder_identity: Some(String::new()), ..spec };
            let lease = Lease { spec: Some(nobody), ..lease };
            match self.api.replace(NAME, &PostParams::default(), &lease).await {
                Ok(_) => return Ok(true),
                // That renewal has arrived.
                Err(kube::Error::Api(status)) if status.is_conflict() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether it is this process's. What it could not find out changes nothing: its time runs out by itself.
    async fn round(&mut self) -> Result<bool, kube::Error> {
        // Written with the version that it was read with: of two who take it one is refused.
        let lease = match self.ours.take() {
            Some(lease) => lease,
            None => match self.api.get_opt(NAME).await? {
                Some(lease) => lease,
                None => {
                    self.ours = Some(self.api.create(&PostParams::default(), &self.first()).await?);
                    return Ok(true);
                }
            },
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let silent = self.silent(&lease);
        if next(&spec, &self.identity, silent) == Next::Wait {
            return Ok(false);
        }
        let spec = Some(written(&spec, &self.identity, &self.terms, Timestamp::now()));
        self.ours = Some(self.api.replace(NAME, &PostParams::default(), &Lease { spec, ..lease }).await?);
        Ok(true)
    }

    fn first(&self) -> Lease {
        let spec = written(&LeaseSpec::default(), &self.identity, &self.terms, Timestamp::now());
        Lease { metadata: ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() }, spec: Some(spec) }
    }

    /// How long it has been seen as it is now.
    fn silent(&mut self, lease: &Lease) -> Duration {
        let version = lease.resource_version().unwrap_or_default();
        match &self.seen {
            Some((seen, since)) if *seen == version => since.elapsed(),
            Some(_) | None => {
                self.seen = Some((version, Instant::now()));
                Duration::ZERO
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms =
        Terms { term: Duration::from_secs(30), renew_within: Duration::from_secs(20), pace: Duration::from_secs(5) };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_lease_is_taken_only_when_its_holder_was_silent_for_its_term() {
        let held = written(&LeaseSpec::default(), "one", &TERMS, at(1));
        assert_eq!(next(&held, "one", Duration::ZERO), Next::Renew);
        assert_eq!(next(&held, "two", Duration::from_secs(29)), Next::Wait);
        assert_eq!(next(&held, "two", Duration::from_secs(30)), Next::Take);
        let released = LeaseSpec { holder_identity: Some(String::new()), ..held };
        assert_eq!(next(&released, "two", Duration::ZERO), Next::Take);
        assert_eq!(next(&LeaseSpec::default(), "two", Duration::ZERO), Next::Take);
    }

    #[test]
    fn a_renewal_keeps_what_a_change_of_holders_counts() {
        let first = written(&LeaseSpec::default(), "one", &TERMS, at(1));
        let renewed = written(&first, "one", &TERMS, at(6));
        assert_eq!((renewed.acquire_time, renewed.lease_transitions), (Some(MicroTime(at(1))), Some(1)));
        assert_eq!((renewed.renew_time, renewed.lease_duration_seconds), (Some(MicroTime(at(6))), Some(30)));
        let taken = written(&first, "two", &TERMS, at(40));
        assert_eq!((taken.acquire_time, taken.lease_transitions), (Some(MicroTime(at(40))), Some(2)));
    }

    #[tokio::test]
    async fn a_tenure_runs_out_by_itself() {
        let tenure = Tenure::default();
        assert!(!tenure.is_held());
        tenure.hold(Instant::now() + Duration::from_secs(600));
        tenure.turns(true).await;
        assert!(tenure.is_held());
        tenure.hold(Instant::now() + Duration::from_millis(1));
        tenure.turns(false).await;
        tenure.hold(Instant::now() + Duration::from_secs(600));
        tenure.end();
        assert!(!tenure.is_held());
    }

    #[test]
    fn a_holder_stops_well_before_another_may_begin() {
        let Terms { term, renew_within, pace } = Terms::default();
        assert!(renew_within + crate::calls::PATIENCE <= term);
        assert!(pace * 3 < renew_within);
    }
}
