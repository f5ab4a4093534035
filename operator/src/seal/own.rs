//! The operator's own certificate of one Cluster, as the process that acts and those that wait have it: it rests in a Secret and in no
//! folder.

use std::time::{Duration, Instant};

use kube::ResourceExt as _;
use wire::seal::{Pem, Seal, SealError};

use super::bearer::Bearer;
use super::leaf::Leaf;
use super::mint::Pair;
use super::secret;
use super::store::Store;
use crate::crd::Cluster;
use crate::crd::cluster::TlsMode;
use crate::front::Admits;

/// A process that does not act reads it anew so often: a renewal is no haste, and while a CA is replaced both are trusted.
const READ_EVERY: Duration = Duration::from_secs(60);

pub struct Own {
    mode: TlsMode,
    /// And what it was made of.
    seal: Option<(Seal, Pem)>,
    read: Option<Instant>,
}

impl Own {
    pub fn new(cluster: &Cluster) -> Own {
        Own { mode: cluster.spec.tls.mode, seal: None, read: None }
    }

    /// The newest that is known.
    pub fn take(&mut self, leaf: &Leaf) -> Result<(), SealError> {
        let Leaf { bundle, pair: Pair { certificate, key } } = leaf.clone();
        let pem = Pem { ca: bundle.into_bytes(), certificate: certificate.into_bytes(), key: key.into_bytes() };
        match &mut self.seal {
            Some((_, same)) if *same == pem => {}
            Some((seal, other)) => {
                seal.replace(pem.clone())?;
                *other = pem;
            }
            None => self.seal = Some((Seal::from_pem(pem.clone())?, pem)),
        }
        Ok(())
    }

    /// As `take`, of what the process that acts has written; why not, where it could not be read.
    pub async fn read(&mut self, store: &Store, cluster: &Cluster, now: Instant) -> Result<(), String> {
        let is_fresh = self.read.is_some_and(|read| now.duration_since(read) < READ_EVERY);
        if self.mode == TlsMode::None || self.seal.is_some() && is_fresh {
            return Ok(());
        }
        let name = Bearer::Operator.secret(&cluster.name_any());
        let found = store.get(&name).await.map_err(|error| error.to_string())?;
        // It is not made yet.
        let Some(found) = found else { return Ok(()) };
        self.read = Some(now);
        let leaf = secret::leaf(&found.data).map_err(|error| format!("Secret {name}: {error}"))?;
        self.take(&leaf).map_err(|error| format!("Secret {name}: {error}"))
    }

    /// What is dialled by; none where it is dialled plainly, or cannot be yet.
    pub fn seal(&self) -> Option<&Seal> {
        self.seal.as_ref().map(|(seal, _)| seal)
    }

    /// Whether nodes can be asked at all: not before there are certificates, where there are to be some.
    pub fn can_dial(&self) -> bool {
        self.mode == TlsMode::None || self.seal.is_some()
    }

    /// Who may call the control service.
    pub fn admits(&self) -> Admits {
        match (self.mode, self.seal()) {
            (TlsMode::None, _) => Admits::Everybody,
            (TlsMode::Own | TlsMode::CertManager, Some(seal)) => Admits::Kin(seal.clone()),
            (TlsMode::Own | TlsMode::CertManager, None) => Admits::Nobody,
        }
    }
}
