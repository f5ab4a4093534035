//! Keeps one Cluster's certificates: reads Secrets, decides, writes. One look does all that is due, at most one step of a rotation.
//!
//! Nothing is listed or watched: every Secret is read by its name, once, and again in turns, so that what somebody changed or deleted is
//! noticed while an idle operator asks little. Whatever is written carries the version that was read: who was slower reads anew. So it may end
//! at any point, and whoever begins again goes on from what is written.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use model::NodeId;
use serde_json::{Value, json};

use super::authority::{Authority, Next, Report, Seen, Step};
use super::bearer::{Bearer, Place, ROLES, authority_secret};
use super::leaf::{self, Deed, Leaf, Wished};
use super::mint::{self, MintError};
use super::secret::{self, Files, SecretError};
use super::store::{Found, Store, StoreError};
use super::told::{Kept, Rotating};
use super::trust::{self, Process};
use super::{managed, store};
use crate::build::{labels, owner};
use crate::crd::Cluster;
use crate::crd::cluster::{IssuerReference, TlsMode};
use crate::names::NODE_LABEL;

/// Whoever writes another value here wishes the CA to be replaced.
pub const ROTATE: &str = "trivet.dev/rotate-ca";
/// One Secret is read again so often.
const READ_AGAIN_EVERY_S: i64 = 15;

/// What is known of a Cluster at one look.
#[derive(Clone, Copy)]
pub struct Look<'a> {
    pub cluster: &'a Cluster,
    pub nodes: &'a [Resident],
    pub processes: &'a [Process],
    pub now: Timestamp,
}

/// A node, and the claim with which its certificate goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resident {
    pub node: NodeId,
    pub claim: String,
    pub claim_uid: String,
}

#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    Mint(#[from] MintError),
    #[error("Secret {name}: {source}")]
    Malformed {
        name: String,
        #[source]
        source: SecretError,
    },
    #[error("the Secret with the CA's key was lost: nothing is signed before every process trusts the next CA")]
    KeyLost,
    #[error("{ROTATE} is for a CA of the operator's own: this one is replaced where its issuer is")]
    NotOurs,
    #[error("cert-manager has not made Secret {0} yet")]
    NotMade(String),
    #[error(
        "Secret {0} has no ca.crt, or no certificate of its bearer: its issuer must be one with a CA that keeps URIs"
    )]
    NotUsable(String),
}

/// What was read of a bearer's Secret.
struct Known {
    version: String,
    /// None where it holds something else.
    leaf: Option<Leaf>,
    /// It needs nothing under this bundle until then.
    fine: Option<(String, Timestamp)>,
}

pub struct Keeper {
    store: Store,
    place: Place,
    authority: Option<(String, Authority)>,
    leaves: BTreeMap<Bearer, Known>,
    /// Certificates of cert-manager that were written as they are wished.
    applied: BTreeMap<Bearer, u64>,
    read_again: Timestamp,
    /// Who is read again next.
    turn: usize,
}

impl Keeper {
    pub fn new(store: Store, cluster: &Cluster) -> Keeper {
        let place = Place { namespace: cluster.namespace().unwrap_or_default(), cluster: cluster.name_any() };
        Keeper {
            store,
            place,
            authority: None,
            leaves: BTreeMap::new(),
            applied: BTreeMap::new(),
            read_again: Timestamp::UNIX_EPOCH,
            turn: 0,
        }
    }

    /// The operator's own certificate.
    pub fn own(&self) -> Option<&Leaf> {
        self.leaf(Bearer::Operator)
    }

    /// Whether the Secret is there that its bearer's Pod mounts: without it the Pod would wait for minutes.
    pub fn has(&self, bearer: Bearer) -> bool {
        self.leaf(bearer).is_some()
    }

    fn leaf(&self, bearer: Bearer) -> Option<&Leaf> {
        self.leaves.get(&bearer)?.leaf.as_ref()
    }

    /// Does what is due, and tells how things are.
    pub async fn tend(&mut self, look: &Look<'_>) -> Kept {
        let mut kept = Kept::default();
        let bearers = bearers(look);
        self.leaves.retain(|bearer, _| bearers.contains(bearer));
        self.applied.retain(|bearer, _| bearers.contains(bearer));
        let spec = &look.cluster.spec.tls;
        let done = match (spec.mode, &spec.issuer_ref) {
            (TlsMode::None, _) => return kept,
            (TlsMode::CertManager, Some(issuer)) => self.tend_managed(look, issuer, &bearers, &mut kept).await,
            // A CertManager without an issuer is refused by the API server.
            (TlsMode::Own | TlsMode::CertManager, _) => self.tend_own(look, &bearers, &mut kept).await,
        };
        if let Err(error) = done {
            self.note(&mut kept, error);
        }
        self.tell(&mut kept);
        kept
    }

    async fn tend_own(&mut self, look: &Look<'_>, bearers: &[Bearer], kept: &mut Kept) -> Result<(), KeepError> {
        self.read_one_again(look, bearers, true).await?;
        let authority = self.authority(look).await?;
        self.tend_leaves(look, &authority, bearers, kept).await;
        let turned = self.turn(look, &authority, bearers, kept).await?;
        if turned != authority {
            self.tend_leaves(look, &turned, bearers, kept).await;
        }
        kept.trust = trust::hash(&turned.bundle());
        kept.ca_ends = mint::earliest_end(&turned.bundle()).ok();
        let waits = kept.rotating.take().and_then(|rotating| rotating.waits);
        kept.rotating = Some(Rotating { step: turned.step.name(), since: turned.since, waits });
        Ok(())
    }

    /// The CA as it is written; the first one, where there is none.
    async fn authority(&mut self, look: &Look<'_>) -> Result<Authority, KeepError> {
        if let Some((_, authority)) = &self.authority {
            return Ok(authority.clone());
        }
        let name = authority_secret(&self.place.cluster);
        let found = match self.store.get(&name).await? {
            Some(found) => found,
            None => {
                let made = self.first_authority(look).await?;
                let files = secret::authority_files(&made).map_err(malformed(&name))?;
                self.write(look, None, None, &files).await?
            }
        };
        let authority = secret::authority(&found.data).map_err(malformed(&name))?;
        self.authority = Some((found.version, authority.clone()));
        Ok(authority)
    }

    /// Certificates that are there without their CA are trusted on until it is replaced.
    async fn first_authority(&mut self, look: &Look<'_>) -> Result<Authority, KeepError> {
        let pair = mint::authority(look.now)?;
        self.read_unknown(Bearer::Operator).await?;
        Ok(match self.own() {
            None => Authority::first(pair, wish(look.cluster), look.now),
            Some(leaf) => {
                tracing::warn!(cluster = self.place.cluster, "the CA's Secret is gone; another takes its place");
                Authority::after_loss(leaf.bundle.clone(), pair, wish(look.cluster), look.now)
            }
        })
    }

    /// At most one step further.
    async fn turn(
        &mut self,
        look: &Look<'_>,
        authority: &Authority,
        bearers: &[Bearer],
        kept: &mut Kept,
    ) -> Result<Authority, KeepError> {
        let bundle = authority.bundle();
        let written = |bearer: &Bearer| self.leaf(*bearer).is_some_and(|leaf| leaf.bundle == bundle);
        let unwritten = bearers.iter().filter(|bearer| !written(bearer));
        let unwritten: Vec<String> = unwritten.map(|bearer| bearer.secret(&self.place.cluster)).collect();
        let reports: Vec<Report> = match authority.step {
            Step::Settled => Vec::new(),
            Step::Distribute { .. } | Step::Sign { .. } | Step::Drop => trust::ask(look.processes).await,
        };
        let next = authority.next(&Seen {
            now: look.now,
            wish: wish(look.cluster),
            began: mint::read(&authority.certificate)?.begins,
            bundle: &trust::hash(&bundle),
            unwritten: &unwritten,
            reports: &reports,
        });
        let next = match next {
            Next::Rest => return Ok(authority.clone()),
            Next::Wait(waits) => {
                kept.rotating = Some(Rotating { step: "", since: look.now, waits: Some(waits) });
                return Ok(authority.clone());
            }
            Next::Begin => authority.clone().begin(mint::authority(look.now)?, wish(look.cluster), look.now),
            Next::Advance => authority.clone().advance(look.now),
        };
        if look.cluster.spec.paused {
            return Ok(authority.clone());
        }
        let name = authority_secret(&self.place.cluster);
        let files = secret::authority_files(&next).map_err(malformed(&name))?;
        let version = self.authority.as_ref().map(|(version, _)| version.clone());
        let found = self.write(look, None, version.as_deref(), &files).await?;
        kept.turned = Some(next.step.name());
        self.authority = Some((found.version, next.clone()));
        Ok(next)
    }

    /// One that cannot be written is no reason to leave the others.
    async fn tend_leaves(&mut self, look: &Look<'_>, authority: &Authority, bearers: &[Bearer], kept: &mut Kept) {
        for bearer in bearers {
            if let Err(error) = self.tend_leaf(look, authority, *bearer).await {
                self.note(kept, error);
            }
        }
    }

    async fn tend_leaf(&mut self, look: &Look<'_>, authority: &Authority, bearer: Bearer) -> Result<(), KeepError> {
        let bundle = authority.bundle();
        self.read_unknown(bearer).await?;
        let known = self.leaves.get(&bearer);
        let fine = known.and_then(|known| known.fine.as_ref());
        if fine.is_some_and(|(under, until)| *under == bundle && look.now < *until) {
            return Ok(());
        }
        let identity = bearer.identity(&self.place);
        let wished = Wished { identity: &identity, bundle: &bundle, authorities: &authority.certificate };
        let there = known.and_then(|known| known.leaf.clone());
        let due = leaf::due(there.as_ref(), wished, look.now);
        let version = known.map(|known| known.version.clone());
        let leaf = match (due, there) {
            (Deed::Nothing, Some(leaf)) => {
                let until = leaf::renewed_at(&leaf)?;
                if let Some(known) = self.leaves.get_mut(&bearer) {
                    known.fine = Some((bundle, until));
                }
                return Ok(());
            }
            (Deed::Rebundle, Some(leaf)) => Leaf { bundle, ..leaf },
            (Deed::Make(why), _) => {
                tracing::info!(cluster = self.place.cluster, ?bearer, why, "a certificate is made");
                let signer = authority.signer().ok_or(KeepError::KeyLost)?;
                Leaf { pair: mint::leaf(&signer, &identity, look.now)?, bundle }
            }
            // Without a certificate nothing else is ever due.
            (Deed::Nothing | Deed::Rebundle, None) => return Ok(()),
        };
        let found = self.write(look, Some(bearer), version.as_deref(), &secret::leaf_files(&leaf)).await?;
        self.leaves.insert(bearer, Known { version: found.version, leaf: Some(leaf), fine: None });
        Ok(())
    }

    async fn read_unknown(&mut self, bearer: Bearer) -> Result<(), KeepError> {
        if !self.leaves.contains_key(&bearer)
            && let Some(found) = self.store.get(&bearer.secret(&self.place.cluster)).await?
        {
            self.leaves.insert(bearer, known(found));
        }
        Ok(())
    }

    /// In turns: what is gone is forgotten, and what has changed is judged anew.
    async fn read_one_again(&mut self, look: &Look<'_>, bearers: &[Bearer], own: bool) -> Result<(), KeepError> {
        if look.now.as_second() - self.read_again.as_second() < READ_AGAIN_EVERY_S {
            return Ok(());
        }
        self.read_again = look.now;
        self.turn = (self.turn + 1) % (bearers.len() + 1);
        match bearers.get(self.turn) {
            // Read again where it is needed, in this very look.
            None if own => self.authority = None,
            None => {}
            Some(bearer) => {
                self.applied.remove(bearer);
                let found = self.store.get(&bearer.secret(&self.place.cluster)).await?;
                let version = self.leaves.get(bearer).map(|known| &known.version);
                match found {
                    Some(found) if Some(&found.version) != version => drop(self.leaves.insert(*bearer, known(found))),
                    Some(_) => {}
                    None => drop(self.leaves.remove(bearer)),
                }
            }
        }
        Ok(())
    }

    async fn tend_managed(
        &mut self,
        look: &Look<'_>,
        issuer: &IssuerReference,
        bearers: &[Bearer],
        kept: &mut Kept,
    ) -> Result<(), KeepError> {
        self.read_one_again(look, bearers, false).await?;
        if !wish(look.cluster).is_empty() {
            self.note(kept, KeepError::NotOurs);
        }
        for bearer in bearers {
            if let Err(error) = self.tend_certificate(look, issuer, *bearer, kept).await {
                self.note(kept, error);
            }
        }
        Ok(())
    }

    async fn tend_certificate(
        &mut self,
        look: &Look<'_>,
        issuer: &IssuerReference,
        bearer: Bearer,
        kept: &mut Kept,
    ) -> Result<(), KeepError> {
        let name = bearer.secret(&self.place.cluster);
        let wished = managed::certificate(look.cluster, issuer, bearer, &metadata(look, &name, Some(bearer)));
        let content = store::content(&wished);
        if self.applied.get(&bearer) != Some(&content) && !look.cluster.spec.paused {
            self.store.apply_certificate(&wished).await?;
            self.applied.insert(bearer, content);
        }
        self.read_unknown(bearer).await?;
        let Some(known) = self.leaves.get(&bearer) else { return Err(KeepError::NotMade(name)) };
        let says = |leaf: &Leaf| mint::read(&leaf.pair.certificate).ok().and_then(|said| said.identity);
        let identity = Some(bearer.identity(&self.place));
        let usable = known.leaf.as_ref().filter(|leaf| says(leaf) == identity);
        let Some(leaf) = usable else {
            // Looked at again at the next look: cert-manager may be about to write it.
            self.leaves.remove(&bearer);
            return Err(KeepError::NotUsable(name));
        };
        let ends = mint::earliest_end(&leaf.bundle)?;
        kept.ca_ends = Some(kept.ca_ends.map_or(ends, |other| other.min(ends)));
        Ok(())
    }

    /// `bearer`: none for the CA.
    async fn write(
        &self,
        look: &Look<'_>,
        bearer: Option<Bearer>,
        version: Option<&str>,
        files: &Files,
    ) -> Result<Found, KeepError> {
        if look.cluster.spec.paused {
            return Err(StoreError::Paused.into());
        }
        let cluster = &self.place.cluster;
        let name = bearer.map_or_else(|| authority_secret(cluster), |bearer| bearer.secret(cluster));
        let metadata = metadata(look, &name, bearer);
        Ok(self.store.write(&name, metadata, version, files).await?)
    }

    /// Whoever was slower knows nothing any more, and reads everything anew.
    fn note(&mut self, kept: &mut Kept, error: KeepError) {
        if let KeepError::Store(StoreError::Conflict(name)) = &error {
            tracing::debug!(name, "somebody else has written it");
            (self.authority, self.leaves) = (None, BTreeMap::new());
            return;
        }
        match error {
            KeepError::Store(StoreError::Paused) => {}
            KeepError::NotMade(_) | KeepError::NotOurs => drop(kept.pending.get_or_insert_with(|| error.to_string())),
            error => drop(kept.failure.get_or_insert_with(|| error.to_string())),
        }
    }

    fn tell(&self, kept: &mut Kept) {
        for (bearer, known) in &self.leaves {
            let Some(leaf) = &known.leaf else { continue };
            let Ok(said) = mint::read(&leaf.pair.certificate) else { continue };
            let first = kept.leaves.entry(bearer.role()).or_insert(said.ends);
            *first = said.ends.min(*first);
        }
    }
}

/// In one order, so that turns pass everybody.
fn bearers(look: &Look<'_>) -> Vec<Bearer> {
    let nodes = look.nodes.iter().map(|resident| Bearer::Node(resident.node));
    ROLES.into_iter().chain(nodes).collect()
}

fn wish(cluster: &Cluster) -> &str {
    cluster.annotations().get(ROTATE).map_or("", String::as_str)
}

fn known(found: Found) -> Known {
    Known { version: found.version, leaf: secret::leaf(&found.data).ok(), fine: None }
}

fn malformed(name: &str) -> impl FnOnce(SecretError) -> KeepError {
    let name = name.to_owned();
    move |source| KeepError::Malformed { name, source }
}

/// A node's Secret goes with its claim, all others with the Cluster: Kubernetes sees to it.
fn metadata(look: &Look<'_>, name: &str, bearer: Option<Bearer>) -> Value {
    let mut labels = labels(look.cluster, bearer.map_or("ca", Bearer::role), None);
    let mut owner = json!(owner(look.cluster));
    if let Some(Bearer::Node(node)) = bearer {
        labels.insert(NODE_LABEL.to_owned(), node.to_string());
        if let Some(resident) = look.nodes.iter().find(|resident| resident.node == node) {
            owner = json!({
                "apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": resident.claim, "uid": resident.claim_uid,
            });
        }
    }
    json!({ "name": name, "namespace": look.cluster.namespace(), "labels": labels, "ownerReferences": [owner] })
}
