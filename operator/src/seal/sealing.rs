//! A Cluster's certificates beside its looks: tended first, since whoever starts needs them, and whoever is dialled asks for them.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;

use super::bearer::Bearer;
use super::keeper::{Keeper, Look, Resident};
use super::own::Own;
use super::store::Store;
use super::told::Kept;
use super::trust;
use crate::crd::Cluster;
use crate::crd::cluster::TlsMode;
use crate::names::CLUSTER_LABEL;
use crate::observe::node_id;
use crate::plan::Step;
use crate::watch::Watched;

pub struct Sealing {
    keeper: Keeper,
    mode: TlsMode,
    pub own: Own,
    /// As the last look has left it.
    pub kept: Kept,
}

impl Sealing {
    pub fn new(store: Store, cluster: &Cluster) -> Sealing {
        Sealing {
            keeper: Keeper::new(store, cluster),
            mode: cluster.spec.tls.mode,
            own: Own::new(cluster),
            kept: Kept::default(),
        }
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
        if let Some(Err(error)) = self.keeper.own().map(|leaf| self.own.take(leaf)) {
            self.kept.failure.get_or_insert_with(|| format!("use the operator's own certificate: {error}"));
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
