//! What a person is told by an operator that runs: of a Table without a Cluster, of old definitions, of Pods that hang; and that what was
//! wrongly wished is taken back. What was told in an event is not told again by an operator that begins anew.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource, ResourceExt as _};
use operator::config::Config;
use operator::crd::condition::BLOCKED;
use operator::crd::revision::REVISION;
use operator::crd::{Cluster, Condition, Table};
use operator::outside::{Outside, Pace};
use operator::{definitions, server};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::happened::{events, reasons};

const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(50);
const NAMESPACE: &str = "told";
const NAME: &str = "trv";

struct House {
    client: Client,
}

impl House {
    fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    async fn create<K>(&self, object: Value)
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope> + Clone + Serialize + DeserializeOwned + Debug,
        K::DynamicType: Default,
    {
        self.api::<K>().create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    }

    /// All of the kind, as soon as the condition holds.
    async fn until<K>(&self, what: &str, is: impl Fn(&[K]) -> bool) -> Vec<K>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
        K::DynamicType: Default,
    {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.api::<K>().list(&ListParams::default()).await.unwrap().items;
            if is(&found) {
                return found;
            }
            assert!(Instant::now() < deadline, "{what}: {found:#?}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Until this blocks the Cluster, in a sentence with these parts: at first it may tell of less.
    async fn blocked(&self, reason: &str, parts: &[&str]) {
        let says = |block: &Condition| block.reason == reason && parts.iter().all(|part| block.message.contains(part));
        self.until(&format!("{reason}: {parts:?}"), |found: &[Cluster]| {
            block(&found[0]).is_some_and(|block| says(&block))
        })
        .await;
    }

    /// Until these are told of the Table, and no others.
    async fn events(&self, table: &str, wanted: &[&str]) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let events = events(&self.client, NAMESPACE, table).await;
            if reasons(&events) == wanted {
                return;
            }
            assert!(Instant::now() < deadline, "{wanted:?}: {events:#?}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn wish(&self, spec: Value) -> Result<(), kube::Error> {
        let patch = Patch::Merge(json!({ "spec": spec }));
        self.api::<Cluster>().patch(NAME, &PatchParams::default(), &patch).await.map(drop)
    }

    async fn pod_says(&self, name: &str, status: Value) {
        let patch = Patch::Merge(json!({ "status": status }));
        self.api::<Pod>().patch_status(name, &PatchParams::default(), &patch).await.unwrap();
    }
}

fn blocked(conditions: &[Condition]) -> Option<Condition> {
    conditions.iter().find(|condition| condition.kind == BLOCKED && condition.status == "True").cloned()
}

fn block(cluster: &Cluster) -> Option<Condition> {
    blocked(&cluster.status.as_ref()?.conditions)
}

fn cluster() -> Value {
    json!({
        "apiVersion": "trivet.dev/v1alpha1", "kind": "Cluster", "metadata": { "name": NAME },
        "spec": {
            "image": "typo:1", "zones": [{ "name": "zone-a" }, { "name": "zone-b" }, { "name": "zone-c" }],
            "zoneMode": "Simulated", "storage": { "size": "10Gi", "class": "fats" },
            "credentialsSecret": { "name": "keys" }, "tls": { "mode": "None" },
        },
    })
}

pub async fn a_person_is_told_what_is_wrong_and_can_take_it_back(client: &Client) {
    let namespace: Namespace = serde_json::from_value(json!({ "metadata": { "name": NAMESPACE } })).unwrap();
    Api::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
    definitions_are_of_before(client).await;
    let house = House { client: client.clone() };
    under_an_operator(client, story(&house)).await;
    under_an_operator(client, what_was_told_is_not_told_again(&house)).await;
}

/// Until the story ends; then the operator is asked to end, and does.
async fn under_an_operator(client: &Client, story: impl Future<Output = ()>) {
    let outside = Outside { client: client.clone(), locate: Arc::new(str::to_owned), pace: Pace::default() };
    let listen = "127.0.0.1:0".parse().unwrap();
    let config = Config { namespace: NAMESPACE.to_owned(), listen, identity: None, metrics_listen: None };
    let (end, ends) = oneshot::channel::<()>();
    let mut runs = Box::pin(server::run_in(outside, config, async { drop(ends.await) }));
    tokio::select! {
        ended = &mut runs => panic!("the operator has ended: {ended:?}"),
        () = Box::pin(story) => {}
    }
    drop(end);
    runs.await.unwrap();
}

async fn definitions_are_of_before(client: &Client) {
    let older = Patch::Merge(json!({ "metadata": { "annotations": { REVISION: null } } }));
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    definitions.patch("tables.trivet.dev", &PatchParams::default(), &older).await.unwrap();
}

async fn story(house: &House) {
    a_table_without_a_cluster_is_told_so(house).await;
    house.blocked("DefinitionsOld", &["the definitions tables.trivet.dev are older", "crds --apply"]).await;
    definitions::apply(house.client.clone()).await.unwrap();
    a_wrong_class_is_told_and_taken_back(house).await;
    a_wrong_image_is_told_and_taken_back(house).await;
}

fn table(name: &str, cluster: &str) -> Value {
    json!({
        "apiVersion": "trivet.dev/v1alpha1", "kind": "Table", "metadata": { "name": name },
        "spec": {
            "tableName": name, "clusterRef": cluster,
            "attributeDefinitions": [{ "attributeName": "artist", "attributeType": "S" }],
            "keySchema": [{ "attributeName": "artist", "keyType": "HASH" }],
        },
    })
}

async fn a_table_without_a_cluster_is_told_so(house: &House) {
    house.create::<Table>(table("music", NAME)).await;
    let block = |tables: &[Table]| blocked(&tables[0].status.as_ref()?.conditions);
    let is_stray = |tables: &[Table]| block(tables).is_some_and(|block| block.reason == "NoSuchCluster");
    let told = house.until("nobody tells it", is_stray).await;
    let said = block(&told).unwrap().message;
    assert!(said.contains("spec.clusterRef") && said.contains("there is none; apply Cluster trv"), "{said}");
    house.create::<Cluster>(cluster()).await;
    house.until("its Cluster is there", |tables: &[Table]| !is_stray(tables)).await;
    // Its nodes have yet to come.
    house.events("music", &["NoSuchCluster", "NodesSilent"]).await;
    let events = events(&house.client, NAMESPACE, "music").await;
    assert_eq!((events[0].type_.as_deref(), events[0].note.as_ref()), (Some("Warning"), Some(&said)));
    let silent = "no node answers yet: whether one of them has table music is not known";
    assert_eq!(events[1].note.as_deref(), Some(silent));
}

/// Each Cluster is looked at before the Tables that have none.
async fn what_was_told_is_not_told_again(house: &House) {
    let before = events(&house.client, NAMESPACE, "music").await;
    house.create::<Table>(table("stray", "nobody")).await;
    house.events("stray", &["NoSuchCluster"]).await;
    assert_eq!(events(&house.client, NAMESPACE, "music").await, before);
}

/// The Pods of the nodes, when each has been made.
async fn pods(house: &House, is: impl Fn(&Pod) -> bool) -> Vec<Pod> {
    house.until("three Pods", |pods: &[Pod]| pods.iter().filter(|pod| is(pod)).count() == 3).await
}

async fn a_wrong_class_is_told_and_taken_back(house: &House) {
    let full = json!([{ "type": "PodScheduled", "status": "False", "message": "storageclass \"fats\" not found" }]);
    for pod in pods(house, |_| true).await {
        house.pod_says(&pod.name_any(), json!({ "conditions": full })).await;
    }
    house.blocked("UnknownStorageClass", &["no StorageClass fats", "set spec.storage.class"]).await;
    house.wish(json!({ "storage": { "class": "fast" } })).await.unwrap();
    let class = |claim: &PersistentVolumeClaim| claim.spec.as_ref().and_then(|spec| spec.storage_class_name.clone());
    let good = |claims: &[PersistentVolumeClaim]| {
        claims.iter().filter(|claim| class(claim).as_deref() == Some("fast")).count() == 3
    };
    let claims = house.until("claims of the other class", good).await;
    // With a volume it never changes any more.
    let bound = claims.iter().find(|claim| class(claim).as_deref() == Some("fast")).unwrap().name_any();
    let patch = Patch::Merge(json!({ "status": { "phase": "Bound" } }));
    house.api::<PersistentVolumeClaim>().patch_status(&bound, &PatchParams::default(), &patch).await.unwrap();
    let has_one = |found: &[Cluster]| found[0].status.as_ref().is_some_and(|status| status.volumes == Some(1));
    house.until("it has a volume", has_one).await;
    match house.wish(json!({ "storage": { "class": "slow" } })).await {
        Err(kube::Error::Api(status)) => {
            assert!(status.message.contains("spec.storage.class never changes once"), "{}", status.message);
        }
        other => panic!("{other:?}"),
    }
}

async fn a_wrong_image_is_told_and_taken_back(house: &House) {
    let image = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.containers[0].image.clone()).unwrap();
    for pod in pods(house, |pod| image(pod) == "typo:1").await {
        let waits =
            json!({ "waiting": { "reason": "ImagePullBackOff", "message": "Back-off pulling image \"typo:1\"" } });
        let container =
            json!({ "name": "node", "ready": false, "restartCount": 0, "image": "", "imageID": "", "state": waits });
        house.pod_says(&pod.name_any(), json!({ "phase": "Pending", "containerStatuses": [container] })).await;
    }
    let parts = ["Pod trv-node-", "ImagePullBackOff: Back-off pulling image", "set spec.image", "2 more Pods hang"];
    house.blocked("ImageMissing", &parts).await;
    house.wish(json!({ "image": "trivet:2" })).await.unwrap();
    pods(house, |pod| image(pod) == "trivet:2").await;
    let is_quiet = |found: &[Cluster]| block(&found[0]).is_none_or(|block| block.reason != "ImageMissing");
    house.until("nothing hangs", is_quiet).await;
}
