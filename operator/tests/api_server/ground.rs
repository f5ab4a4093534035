//! What the operator sees of Kubernetes' own nodes, volumes and events, by its watches.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Event, Node, PersistentVolume, PersistentVolumeClaim, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use model::NodeId;
use operator::crd::Cluster;
use operator::observe::{self, Troubles};
use operator::plan::{Claim, Seen, Trouble};
use operator::watch::{self, Watched};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Notify;

const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);
const NAME: &str = "ground-node-0000000000000007";
const VOLUME: &str = "pvc-7";

struct Ground {
    client: Client,
    cluster: Cluster,
    watched: Watched,
    troubles: Troubles,
}

impl Ground {
    async fn create<K>(&self, api: &Api<K>, object: Value) -> K
    where
        K: Resource + Clone + Serialize + DeserializeOwned + std::fmt::Debug,
    {
        api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap()
    }

    fn of_namespace<K>(&self) -> Api<K>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::default_namespaced(self.client.clone())
    }

    /// The look that fulfils the condition, since watches take a moment.
    async fn until(&mut self, what: &str, is: impl Fn(&Seen, &Claim) -> bool) -> Seen {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = observe::nodes(&self.cluster, &self.watched, &mut self.troubles, 1_000);
            if seen.claims.first().is_some_and(|claim| is(&seen, claim)) {
                return seen;
            }
            assert!(Instant::now() < deadline, "{what}: {seen:?}");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn trouble(claim: &Claim) -> Option<&Trouble> {
    claim.missing.as_ref().map(|missing| &missing.what)
}

/// A claim on a volume of Kubernetes node `m1`, and its Pod there, which hangs.
async fn on_one_machine(ground: &Ground) {
    let nodes: Api<Node> = Api::all(ground.client.clone());
    let labels = json!({ "topology.kubernetes.io/zone": "zone-a", "kubernetes.io/hostname": "m1" });
    ground.create(&nodes, json!({ "metadata": { "name": "m1", "labels": labels } })).await;
    let ready = json!({ "status": { "conditions": [{ "type": "Ready", "status": "True" }] } });
    nodes.patch_status("m1", &PatchParams::default(), &Patch::Merge(ready)).await.unwrap();
    let host = json!({ "key": "kubernetes.io/hostname", "operator": "In", "values": ["m1"] });
    let volumes: Api<PersistentVolume> = Api::all(ground.client.clone());
    let volume = json!({
        "metadata": { "name": VOLUME },
        "spec": {
            "capacity": { "storage": "10Gi" }, "accessModes": ["ReadWriteOncePod"], "local": { "path": "/x" },
            "nodeAffinity": { "required": { "nodeSelectorTerms": [{ "matchExpressions": [host] }] } },
        },
    });
    ground.create(&volumes, volume).await;
    let labels =
        json!({ "trivet.dev/cluster": "ground", "trivet.dev/zone": "zone-a", "trivet.dev/node": "0000000000000007" });
    let claim = json!({
        "metadata": { "name": NAME, "labels": labels },
        "spec": {
            "accessModes": ["ReadWriteOncePod"], "volumeName": VOLUME, "storageClassName": "fast",
            "resources": { "requests": { "storage": "10Gi" } },
        },
    });
    ground.create(&ground.of_namespace::<PersistentVolumeClaim>(), claim).await;
    let container = json!({ "name": "node", "image": "trivet:1" });
    let pod = json!({ "metadata": { "name": NAME, "labels": labels }, "spec": { "nodeName": "m1", "containers": [container] } });
    ground.create(&ground.of_namespace::<Pod>(), pod).await;
    let hangs = json!({ "status": {
        "phase": "Pending",
        "conditions": [{ "type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T00:01:00Z" }],
        "containerStatuses": [{
            "name": "node", "ready": false, "restartCount": 0, "image": "", "imageID": "",
            "state": { "waiting": { "reason": "ContainerCreating" } },
        }],
    } });
    let pods = ground.of_namespace::<Pod>();
    pods.patch_status(NAME, &PatchParams::default(), &Patch::Merge(hangs)).await.unwrap();
}

async fn kubelet_says(ground: &Ground) {
    let uid = ground.of_namespace::<Pod>().get(NAME).await.unwrap().metadata.uid;
    let event = json!({
        "metadata": { "name": "said" }, "reason": "FailedMount", "type": "Warning", "lastTimestamp": "2026-01-01T00:02:00Z",
        "message": format!("MountVolume failed for volume \"{VOLUME}\" : path does not exist"),
        "involvedObject": { "kind": "Pod", "namespace": "default", "name": NAME, "uid": uid },
    });
    ground.create(&ground.of_namespace::<Event>(), event).await;
}

pub async fn what_volumes_and_kubernetes_nodes_are_in_is_seen(client: &Client) {
    let (watched, _watches) = watch::start(client, "default", &Arc::new(Notify::new()));
    watched.ready().await;
    let spec = json!({
        "image": "trivet:1", "zones": [{ "name": "zone-a" }, { "name": "zone-b" }, { "name": "zone-c" }],
        "storage": { "size": "10Gi" }, "credentialsSecret": { "name": "keys" },
    });
    let cluster = Cluster::new("ground", serde_json::from_value(spec).unwrap());
    let mut ground = Ground { client: client.clone(), cluster, watched, troubles: Troubles::default() };
    on_one_machine(&ground).await;
    let is_all_there = |seen: &Seen, claim: &Claim| {
        let machine = seen.machine("m1").is_some_and(|machine| machine.ready && machine.zone.is_some());
        machine && claim.node == NodeId(7) && seen.pods.first().is_some_and(|pod| pod.machine.is_some())
    };
    let seen = ground.until("all is seen", is_all_there).await;
    assert_eq!(trouble(&seen.claims[0]), None, "nobody has said yet why it hangs");
    kubelet_says(&ground).await;
    ground.until("it cannot be mounted", |_, claim| matches!(trouble(claim), Some(Trouble::Unmountable(_)))).await;

    let nodes: Api<Node> = Api::all(client.clone());
    let drain =
        json!({ "metadata": { "annotations": { "trivet.dev/drain": "true" } }, "spec": { "unschedulable": true } });
    nodes.patch("m1", &PatchParams::default(), &Patch::Merge(drain)).await.unwrap();
    ground.until("it is drained", |_, claim| claim.drained.as_deref() == Some("m1")).await;
    let taken_back = json!({ "metadata": { "annotations": { "trivet.dev/drain": null } } });
    nodes.patch("m1", &PatchParams::default(), &Patch::Merge(taken_back)).await.unwrap();
    ground.until("it is drained no more", |_, claim| claim.drained.is_none()).await;

    nodes.delete("m1", &DeleteParams::default()).await.unwrap();
    let gone = Trouble::MachineGone("m1".to_owned());
    ground.until("its Kubernetes node is gone", |_, claim| trouble(claim) == Some(&gone)).await;
    let lost = Patch::Merge(json!({ "status": { "phase": "Lost" } }));
    let claims = ground.of_namespace::<PersistentVolumeClaim>();
    claims.patch_status(NAME, &PatchParams::default(), &lost).await.unwrap();
    ground.until("its claim is lost", |_, claim| trouble(claim) == Some(&Trouble::ClaimLost)).await;
}
