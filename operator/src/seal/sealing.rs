//! A Cluster's certificates beside its looks: tended first, since whoever starts needs them, and whoever is dialled asks for them.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::jiff::Timestamp;
use kube::{Client, ResourceExt as _};
use wire::seal::{Pem, Seal};

use super::bearer::Bearer;
use super::keeper::{Keeper, Look, Resident};
use super::leaf::Leaf;
use super::mint::Pair;
use super::told::Kept;
use super::trust;
use crate::crd::Cluster;
use crate::crd::cluster::TlsMode;
use crate::front::Admits;
use crate::names::CLUSTER_LABEL;
use crate::observe::node_id;
use crate::plan::Step;
use crate::watch::Watched;

pub struct Sealing {
    keeper: Keeper,
    mode: TlsMode,
    /// The operator's own, and what it was made of.
    seal: Option<(Seal, Pem)>,
    /// As the last look has left it.
    pub kept: Kept,
}

impl Sealing {
    pub fn new(client: Client, cluster: &Cluster) -> Sealing {
        Sealing { keeper: Keeper::new(client, cluster), mode: cluster.spec.tls.mode, seal: None, kept: Kept::default() }
    }

    pub async fn tend(&mut self, cluster: &Cluster, watched: &Watched, now: Timestamp) {
        let name = cluster.name_any();
        let claims = watched.claims.state_filter(|claim| claim.labels().get(CLUSTER_LABEL) == Some(&name));
        let mut nodes: Vec<Resident> = claims.iter().filter_map(|claim| resident(claim)).collect();
        nodes.sort_by_key(|resident| resident.node);
        let pods = watched.pods.state_filter(|pod| pod.labels().get(CLUSTER_LABEL) == Some(&name));
        let processes = trust::processes(&pods);
        self.mode = cluster.spec.tls.mode;
        let kept = self.keeper.tend(&Look { cluster, nodes: &nodes, processes: &processes, now }).await;
        self.kept = kept.after(&self.kept);
        if let Err(error) = self.seal_anew() {
            self.kept.failure.get_or_insert_with(|| format!("use the operator's own certificate: {error}"));
        }
    }

    /// The operator's own files rest in a Secret and in no folder.
    fn seal_anew(&mut self) -> Result<(), wire::seal::SealError> {
        let Some(Leaf { bundle, pair: Pair { certificate, key } }) = self.keeper.own().cloned() else { return Ok(()) };
        let pem = Pem { ca: bundle.into_bytes(), certificate: certificate.into_bytes(), key: key.into_bytes() };
        let seal = match self.seal.take() {
            Some((seal, same)) if same == pem => seal,
            Some((seal, other)) => {
                if let Err(error) = seal.replace(pem.clone()) {
                    self.seal = Some((seal, other));
                    return Err(error);
                }
                seal
            }
            None => Seal::from_pem(pem.clone())?,
        };
        self.seal = Some((seal, pem));
        Ok(())
    }

    /// What the operator dials by; none where it dials plainly, or cannot yet.
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

    /// A Pod is not made before the Secret that it mounts: kubelet would try again after minutes only.
    pub fn lets(&self, step: &Step) -> bool {
        if let Step::CreatePod { node, .. } = step { self.has(Bearer::Node(*node)) } else { true }
    }

    /// The same for routers and MemDS servers.
    pub fn lets_fleet(&self) -> bool {
        self.has(Bearer::Router) && self.has(Bearer::MemDs)
    }

    fn has(&self, bearer: Bearer) -> bool {
        self.mode == TlsMode::None || self.keeper.has(bearer)
    }

    /// None where there are no certificates.
    pub fn told(&self) -> Option<&Kept> {
        (self.mode != TlsMode::None).then_some(&self.kept)
    }
}

fn resident(claim: &PersistentVolumeClaim) -> Option<Resident> {
    let node = node_id(claim.labels())?;
    Some(Resident { node, claim: claim.name_any(), claim_uid: claim.uid()? })
}
