//! What the rest of Kubernetes would do in one namespace: claims are bound, Pods run and end, Deployments are ready. The API server of
//! these tests has neither controllers nor kubelets.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::fleet::Fleet;

/// They end when this is dropped.
pub struct Machines {
    _tasks: JoinSet<()>,
}

struct House {
    client: Client,
    namespace: String,
    fleet: Fleet,
    pods: Store<Pod>,
    claims: Store<PersistentVolumeClaim>,
    deployments: Store<Deployment>,
    /// What each Pod that runs was last said to be, by uid.
    told: BTreeMap<String, Value>,
}

impl Machines {
    pub fn start(client: &Client, namespace: &str, fleet: &Fleet) -> Machines {
        let (mut tasks, changed) = (JoinSet::new(), Arc::clone(&fleet.formatted));
        let mut house = House {
            client: client.clone(),
            namespace: namespace.to_owned(),
            fleet: fleet.clone(),
            pods: watched(client, namespace, &changed, &mut tasks),
            claims: watched(client, namespace, &changed, &mut tasks),
            deployments: watched(client, namespace, &changed, &mut tasks),
            told: BTreeMap::new(),
        };
        tasks.spawn(async move {
            loop {
                changed.notified().await;
                house.keep().await;
            }
        });
        Machines { _tasks: tasks }
    }
}

fn watched<K>(client: &Client, namespace: &str, changed: &Arc<Notify>, tasks: &mut JoinSet<()>) -> Store<K>
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
    K::DynamicType: Default + Eq + std::hash::Hash + Clone,
{
    let (store, writer) = reflector::store();
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let events = watcher(api, watcher::Config::default()).default_backoff().reflect(writer).touched_objects();
    let changed = Arc::clone(changed);
    tasks.spawn(async move {
        let mut events = std::pin::pin!(events);
        while events.next().await.is_some() {
            changed.notify_one();
        }
    });
    store
}

/// Gone meanwhile, or changed meanwhile: the next look sees it.
fn settled<T>(done: Result<T, kube::Error>) {
    match done {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => {}
        // The API server is away.
        Err(kube::Error::HyperError(_) | kube::Error::Service(_)) => {}
        Err(kube::Error::Api(status)) if status.code >= 500 => {}
        Err(error) => panic!("{error:?}"),
    }
}

impl House {
    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn keep(&mut self) {
        for pod in self.pods.state() {
            self.keep_pod(&pod).await;
        }
        for claim in self.claims.state() {
            self.keep_claim(&claim).await;
        }
        for deployment in self.deployments.state() {
            self.keep_deployment(&deployment).await;
        }
    }

    async fn keep_pod(&mut self, pod: &Pod) {
        let (name, uid) = (pod.name_any(), pod.uid().unwrap());
        let claim = claim_of(pod).unwrap();
        if pod.metadata.deletion_timestamp.is_some() {
            self.fleet.stop(&claim);
            let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
            return settled(self.api::<Pod>().delete(&name, &now).await);
        }
        let spec = pod.spec.as_ref().unwrap();
        if spec.node_name.is_none() {
            let zone = spec.node_selector.as_ref().unwrap().values().next().unwrap().clone();
            let binding = json!({ "apiVersion": "v1", "kind": "Binding", "metadata": { "name": name }, "target": { "kind": "Node", "name": format!("machine-{zone}") } });
            let bound: Result<Value, _> =
                self.api::<Pod>().create_subresource("binding", &name, &PostParams::default(), &binding).await;
            return settled(bound);
        }
        let ip = match pod.status.as_ref().and_then(|status| status.pod_ip.clone()) {
            Some(ip) => ip,
            None if self.told.contains_key(&uid) => return,
            None => {
                let zone = pod.labels()[operator::names::ZONE_LABEL].clone();
                self.fleet.start(&claim, &zone).await.to_string()
            }
        };
        let ready = if self.fleet.is_ready(&claim) { "True" } else { "False" };
        let condition = |kind: &str, status: &str| json!({ "type": kind, "status": status });
        let status = json!({ "status": {
            "phase": "Running", "podIP": ip, "podIPs": [{ "ip": ip }],
            "conditions": [condition("PodScheduled", "True"), condition("Ready", ready)],
        } });
        if self.told.get(&uid) != Some(&status) {
            settled(self.api::<Pod>().patch_status(&name, &PatchParams::default(), &Patch::Merge(&status)).await);
            self.told.insert(uid, status);
        }
    }

    async fn keep_claim(&self, claim: &PersistentVolumeClaim) {
        let name = claim.name_any();
        let used = self.pods.state().iter().any(|pod| claim_of(pod).as_ref() == Some(&name));
        if claim.metadata.deletion_timestamp.is_some() && !used {
            self.fleet.forget(&name);
            let patch = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
            return settled(self.api::<PersistentVolumeClaim>().patch(&name, &PatchParams::default(), &patch).await);
        }
        if claim.status.as_ref().and_then(|status| status.phase.as_deref()) != Some("Bound") {
            let patch = Patch::Merge(json!({ "status": { "phase": "Bound" } }));
            settled(self.api::<PersistentVolumeClaim>().patch_status(&name, &PatchParams::default(), &patch).await);
        }
    }

    async fn keep_deployment(&self, deployment: &Deployment) {
        let wished = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        let seen = deployment.status.as_ref().and_then(|status| status.observed_generation);
        if seen == deployment.metadata.generation {
            return;
        }
        let patch = Patch::Merge(json!({ "status": {
            "observedGeneration": deployment.metadata.generation, "replicas": wished, "updatedReplicas": wished,
            "readyReplicas": wished, "availableReplicas": wished,
        } }));
        let api = self.api::<Deployment>();
        settled(api.patch_status(&deployment.name_any(), &PatchParams::default(), &patch).await);
    }
}

fn claim_of(pod: &Pod) -> Option<String> {
    let volumes = pod.spec.as_ref()?.volumes.as_ref()?;
    volumes.iter().find_map(|volume| Some(volume.persistent_volume_claim.as_ref()?.claim_name.clone()))
}
