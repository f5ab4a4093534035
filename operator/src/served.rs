//! What every operator process does for a Cluster, whether it is the one that acts or not: it serves the control service.

use std::sync::Arc;
use std::time::Instant;

use control::cluster::{Cluster as Nodes, ClusterError};
use control::config::Settings;
use control::service::Service;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use model::Zone;

use crate::access::Access;
use crate::crd::Cluster;
use crate::observe::Troubles;
use crate::outside::Pace;
use crate::plan::Seen;
use crate::reconcile::Surroundings;
use crate::resources::KubeResources;
use crate::seal::own::Own;
use crate::seal::store::Store;
use crate::{build, observe};

/// One Cluster's control service.
pub struct Served {
    nodes: Arc<Nodes>,
    store: Store,
    pub own: Own,
    pub service: Arc<Service<KubeResources>>,
}

impl Served {
    /// `access` is one that may write whether this process acts or not: two who write at once are told apart by the versions of what they
    /// write.
    pub fn start(around: &Surroundings, access: &Access, cluster: &Cluster) -> Served {
        let nodes = Arc::new(Nodes::nobody());
        let service = Service {
            settings: settings(around, cluster),
            resources: Arc::new(access.shelf.of(&cluster.name_any())),
            cluster: Arc::clone(&nodes),
            wake: Arc::clone(&around.changed),
        };
        Served { nodes, store: access.store.clone(), own: Own::new(cluster), service: Arc::new(service) }
    }

    /// The certificate, the nodes and the MemDS servers of the moment.
    pub async fn refresh(&mut self, around: &Surroundings, cluster: &Cluster) -> Result<(), ClusterError> {
        if let Err(error) = self.own.read(&self.store, cluster, Instant::now()).await {
            tracing::warn!(cluster = cluster.name_any(), error, "the control service has no new certificate");
        }
        // How long volumes have had trouble is for the one to know that acts.
        let (mut troubles, now) = (Troubles::default(), Timestamp::now().as_second());
        let seen = observe::nodes(cluster, &around.watched, &mut troubles, now);
        name_everybody(&self.nodes, around, &self.own, cluster, &seen)
    }
}

pub fn settings(around: &Surroundings, cluster: &Cluster) -> Settings {
    let Pace { busy, idle, .. } = around.pace;
    Settings { default_partitions: cluster.spec.default_partitions, busy_interval: busy, idle_interval: idle }
}

/// The driver and the control service reach the same nodes that Kubernetes has.
pub fn name_everybody(
    nodes: &Nodes,
    around: &Surroundings,
    own: &Own,
    cluster: &Cluster,
    seen: &Seen,
) -> Result<(), ClusterError> {
    // It changes by itself from then on.
    if let Some(seal) = own.seal().filter(|_| !nodes.is_sealed()) {
        nodes.set_seal(seal.clone());
    }
    if !own.can_dial() {
        return nodes.set_nodes(&[], seen.claims.len());
    }
    let addresses: Vec<String> = seen.pods.iter().filter_map(|pod| pod.address.clone()).collect();
    // Who was never given an identity has nothing to tell: a Pod that no Kubernetes node takes holds nobody up.
    let known = || seen.claims.iter().filter(|claim| !claim.lost && claim.store.is_some());
    nodes.set_homes(known().map(|claim| (claim.node, Zone(claim.zone.clone()))).collect());
    let unreachable = known().filter(|claim| seen.pod(claim.node).is_none_or(|pod| pod.address.is_none()));
    nodes.set_nodes(&addresses, unreachable.count())?;
    nodes.set_closed(seen.leaving());
    let mem_ds = build::mem_ds_addresses(cluster, "");
    nodes.set_memds(&mem_ds.iter().map(|name| (around.locate)(name)).collect::<Vec<_>>())
}
