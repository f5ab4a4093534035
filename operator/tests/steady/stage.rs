//! One namespace with its machines and its nodes, and what people and SDKs do there.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Namespace, Node, PersistentVolumeClaim};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use model::{KeySchema, KeyType, TableDescriptor};
use operator::crd::{Cluster, Table};
use serde_json::json;
use tonic::Code;
use wire::control::control_client::ControlClient;
use wire::control::{CreateTableRequest, DeleteTableRequest};

use crate::fleet::{Fleet, free_address};
use crate::machines::Machines;
use crate::picture::Picture;
use crate::process::Told;

pub const CLUSTER: &str = "trv";
const ZONES: [&str; 3] = ["a", "b", "c"];
/// How long a busy machine may take.
pub const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(15);
/// A picture is many lists.
const PICTURE_PAUSE: Duration = Duration::from_millis(80);

/// In a minute: one every two seconds.
pub const LOOKS: usize = 30;
/// Of a Cluster as it is applied.
pub const NODES: usize = 3;

static NEXT: AtomicUsize = AtomicUsize::new(0);

/// Kubernetes' nodes, which stand in no namespace: one for each storage node that is ever wished.
async fn machines_of_all_zones(client: &Client) {
    for (zone, number) in ZONES.iter().flat_map(|zone| [(zone, 1), (zone, 2)]) {
        let name = format!("machine-{zone}{number}");
        let labels = json!({ operator::names::ZONE_TOPOLOGY: zone, "kubernetes.io/hostname": name });
        let object: Node = serde_json::from_value(json!({ "metadata": { "name": name, "labels": labels } })).unwrap();
        match Api::all(client.clone()).create(&PostParams::default(), &object).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            Err(error) => panic!("{name}: {error}"),
        }
    }
}

pub struct Stage {
    pub client: Client,
    pub namespace: String,
    pub fleet: Fleet,
    pub told: Told,
    pub cluster: &'static str,
    /// None where the stage that this one is beside has them.
    machines: Option<Machines>,
}

/// What an operator reaches for one Cluster's MemDS.
fn memds_of(cluster: &str, server: SocketAddr) -> BTreeMap<String, SocketAddr> {
    let named = |zone: &str| (format!("{cluster}-memds-{zone}:{}", operator::build::MEMDS_PORT), server);
    ZONES.map(named).into()
}

impl Stage {
    pub async fn new(client: &Client, server: &kube::Config) -> Stage {
        let namespace = format!("stage-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let object: Namespace = serde_json::from_value(json!({ "metadata": { "name": namespace } })).unwrap();
        Api::all(client.clone()).create(&PostParams::default(), &object).await.unwrap();
        machines_of_all_zones(client).await;
        let fleet = Fleet::new();
        let memds = fleet.start_memds().await;
        let told = Told {
            server: server.clone(),
            namespace: namespace.clone(),
            identity: "operator-0".to_owned(),
            luck: None,
            listen: free_address().await,
            metrics: None,
            memds: memds_of(CLUSTER, memds),
            fleet: fleet.clone(),
        };
        let machines = Some(Machines::start(client, &namespace, &fleet));
        Stage { client: client.clone(), namespace, fleet, told, cluster: CLUSTER, machines }
    }

    /// What people do with another Cluster of the same namespace, which has MemDS of its own. The operators that start later serve it, too.
    pub async fn beside(&mut self, cluster: &'static str) -> Stage {
        self.told.memds.extend(memds_of(cluster, Fleet::new().start_memds().await));
        let (client, namespace, fleet) = (self.client.clone(), self.namespace.clone(), self.fleet.clone());
        Stage { client, namespace, fleet, told: self.told.clone(), cluster, machines: None }
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub async fn apply_cluster(&self) {
        let zones: Vec<_> = ZONES.iter().map(|zone| json!({ "name": zone, "nodes": 1 })).collect();
        let object = json!({
            "apiVersion": "trivet.dev/v1alpha1", "kind": "Cluster", "metadata": { "name": self.cluster },
            "spec": {
                "image": "trivet:1", "zones": zones, "storage": { "size": "10Gi" }, "defaultPartitions": 3,
                // Certificates have tests of their own; the fleet here speaks plainly.
                "credentialsSecret": { "name": "keys" }, "tls": { "mode": "None" },
            },
        });
        let object: Cluster = serde_json::from_value(object).unwrap();
        self.api::<Cluster>().create(&PostParams::default(), &object).await.unwrap();
    }

    pub async fn scale(&self, nodes: u32) {
        let zones: Vec<_> = ZONES.iter().map(|zone| json!({ "name": zone, "nodes": nodes })).collect();
        let patch = Patch::Merge(json!({ "spec": { "zones": zones } }));
        self.api::<Cluster>().patch(self.cluster, &PatchParams::default(), &patch).await.unwrap();
    }

    pub async fn pause(&self, paused: bool) {
        let patch = Patch::Merge(json!({ "spec": { "paused": paused } }));
        self.api::<Cluster>().patch(self.cluster, &PatchParams::default(), &patch).await.unwrap();
    }

    pub async fn apply_table(&self, name: &str) {
        let object = json!({
            "apiVersion": "trivet.dev/v1alpha1", "kind": "Table", "metadata": { "name": name },
            "spec": {
                "tableName": name, "clusterRef": self.cluster, "initialPartitions": 3,
                "attributeDefinitions": [{ "attributeName": "artist", "attributeType": "S" }],
                "keySchema": [{ "attributeName": "artist", "keyType": "HASH" }],
            },
        });
        let object: Table = serde_json::from_value(object).unwrap();
        self.api::<Table>().create(&PostParams::default(), &object).await.unwrap();
    }

    pub async fn control(&self) -> Option<ControlClient<tonic::transport::Channel>> {
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", self.told.listen)).unwrap();
        let endpoint = endpoint.origin(format!("http://{}-control:7200", self.cluster).parse().unwrap());
        Some(ControlClient::new(endpoint.timeout(PATIENCE).connect().await.ok()?))
    }

    /// As an SDK does it: again and again, until it is there.
    pub async fn create_table(&self, name: &str) {
        let wish = TableDescriptor::wish(name, KeySchema::simple("song", KeyType::S));
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(mut control) = self.control().await {
                match control.create_table(CreateTableRequest { wish: wish.encode() }).await {
                    Ok(_) => return,
                    Err(refused) if refused.code() == Code::AlreadyExists => return,
                    Err(_) => {}
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("CreateTable is never answered");
    }

    pub async fn delete_table(&self, name: &str) {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(mut control) = self.control().await {
                match control.delete_table(DeleteTableRequest { name: name.to_owned() }).await {
                    Ok(_) => return,
                    Err(refused) if refused.message().contains("being deleted") => return,
                    Err(refused) if refused.code() == Code::NotFound => return,
                    Err(_) => {}
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("DeleteTable is never answered");
    }

    /// The disk of the zone's node is blank all at once, as after a machine that came back with an empty folder: the Pod begins anew.
    pub async fn lose_disk(&self, zone: &str) {
        let claims = self.api::<PersistentVolumeClaim>().list(&ListParams::default()).await.unwrap();
        let lost = |claim: &&PersistentVolumeClaim| claim.labels()[operator::names::ZONE_LABEL] == zone;
        let name = claims.items.iter().find(lost).unwrap().name_any();
        self.fleet.wipe(&name);
        let pods = self.api::<k8s_openapi::api::core::v1::Pod>();
        pods.delete(&name, &DeleteParams::default()).await.unwrap();
    }

    /// The rest of Kubernetes begins to watch anew.
    pub fn restart_machines(&mut self) {
        self.machines = Some(Machines::start(&self.client, &self.namespace, &self.fleet));
    }

    pub async fn eventually(&self, what: &str, is: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is() {
            assert!(Instant::now() < deadline, "{}: not so: {what}", self.namespace);
            tokio::time::sleep(PAUSE).await;
        }
    }

    pub async fn until(&self, what: &str, is: impl Fn(&Picture) -> bool) -> Picture {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let picture = Picture::of(self).await;
            if is(&picture) {
                return picture;
            }
            assert!(Instant::now() < deadline, "{}: not so: {what}:\n{picture}", self.namespace);
            tokio::time::sleep(PICTURE_PAUSE).await;
        }
    }

    /// Sooner or later; else what is there instead.
    pub async fn ends_as(&self, wanted: &Picture) -> Result<(), Picture> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let picture = Picture::of(self).await;
            if picture == *wanted {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(picture);
            }
            tokio::time::sleep(PICTURE_PAUSE).await;
        }
    }

    /// What is there when nothing changes any more: as long as every node is asked again and again.
    pub async fn settled(&self, what: &str, is: impl Fn(&Picture) -> bool) -> Picture {
        const LOOKS: usize = 40;
        let mut before = self.until(what, &is).await;
        let mut since = self.fleet.world().asked;
        loop {
            let now = self.until(what, &is).await;
            if now != before {
                (before, since) = (now, self.fleet.world().asked);
            } else if self.fleet.world().asked > since + LOOKS * 3 {
                return before;
            }
        }
    }

    pub fn nothing_is_broken(&self) {
        let broken = self.fleet.world().broken.clone();
        assert!(broken.is_empty(), "{}: {broken:#?}", self.namespace);
    }
}
