//! What people ask of a whole Cluster: its removal, and a bundle of what there is of it.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::Mutex;
use std::time::Duration;

use control::resources::Resources as _;
use flate2::read::GzDecoder;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret};
use kube::api::{ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use model::NodeId;
use operator::crd::{Cluster, Partition, Table};
use operator::names::CLUSTER_LABEL;
use operator::{build, bundle, teardown};
use serde_json::json;

use crate::refusals::cluster;
use crate::tables::{eventually, resource, resources_of};

/// A Cluster with a node, its claim, and a Secret of its own.
async fn inhabited(client: &Client, name: &str) {
    let mut object: Cluster = serde_json::from_value(cluster()).unwrap();
    object.metadata.name = Some(name.to_owned());
    let post = PostParams::default();
    let object = Api::default_namespaced(client.clone()).create(&post, &object).await.unwrap();
    let node = NodeId(1);
    let claim = build::node::claim(&object, "zone-a", node);
    Api::<PersistentVolumeClaim>::default_namespaced(client.clone()).create(&post, &claim).await.unwrap();
    let mut pod = build::node::pod(&object, "zone-a", node);
    pod.spec.as_mut().unwrap().priority_class_name = None;
    Api::<Pod>::default_namespaced(client.clone()).create(&post, &pod).await.unwrap();
    let labels = BTreeMap::from([(CLUSTER_LABEL.to_owned(), name.to_owned())]);
    let metadata = ObjectMeta { name: Some(format!("{name}-ca")), labels: Some(labels), ..ObjectMeta::default() };
    let secret = Secret {
        metadata,
        string_data: Some([("key".to_owned(), "never to be shown".to_owned())].into()),
        ..Secret::default()
    };
    Api::<Secret>::default_namespaced(client.clone()).create(&post, &secret).await.unwrap();
}

/// As the chart makes it: it carries the Cluster's name, and is not the Cluster's.
async fn toolbox(client: &Client, cluster: &str) {
    // Its Deployment has none of the operator's labels, in the chart; whoever adds them to one must lose nothing by it.
    let labels = json!({ CLUSTER_LABEL: cluster, "app.kubernetes.io/component": "admin" });
    let container = json!({ "name": "toolbox", "image": "trivet:1" });
    let (name, namespace) = (format!("{cluster}-toolbox"), "default");
    let deployment: Deployment = serde_json::from_value(json!({
        "metadata": { "name": name, "namespace": namespace, "labels": labels },
        "spec": {
            "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": { "containers": [container] } },
        },
    }))
    .unwrap();
    let pod: Pod = serde_json::from_value(json!({
        "metadata": { "name": format!("{name}-0"), "namespace": namespace, "labels": labels },
        "spec": { "containers": [container] },
    }))
    .unwrap();
    let post = PostParams::default();
    Api::default_namespaced(client.clone()).create(&post, &deployment).await.unwrap();
    Api::default_namespaced(client.clone()).create(&post, &pod).await.unwrap();
}

async fn names<K>(client: &Client, cluster: &str) -> Vec<String>
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope>
        + Clone
        + serde::de::DeserializeOwned
        + std::fmt::Debug,
    K::DynamicType: Default,
{
    let ours = ListParams::default().labels(&format!("{CLUSTER_LABEL}={cluster}"));
    let found = Api::<K>::default_namespaced(client.clone()).list(&ours).await.unwrap();
    found.items.iter().map(|object| object.name_any()).collect()
}

/// As a controller of Kubernetes does it, which does not run here.
async fn unused_claims_go(client: &Client) {
    let claims = Api::<PersistentVolumeClaim>::default_namespaced(client.clone());
    let let_go = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    loop {
        for claim in claims.list(&ListParams::default()).await.unwrap() {
            if claim.metadata.deletion_timestamp.is_some() {
                claims.patch(&claim.name_any(), &PatchParams::default(), &let_go).await.unwrap();
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn wish(confirm: Option<&str>) -> teardown::Arguments {
    teardown::Arguments {
        namespace: "default".to_owned(),
        cluster: "leaver".to_owned(),
        confirm: confirm.map(str::to_owned),
        deadline_s: 60,
    }
}

/// Nothing goes before it was said twice, or while a table is protected; then everything goes, and no more than that.
pub async fn a_cluster_is_removed_with_its_data(client: &Client) {
    let (resources, _watches) = resources_of(client, "leaver").await;
    let empty = resources.read().await.unwrap();
    let mut protected = resource("kept", 21);
    protected.table.deletion_protection = true;
    resources.write(&empty, "kept", Some(protected.clone())).await.unwrap();
    inhabited(client, "leaver").await;
    inhabited(client, "other").await;
    toolbox(client, "leaver").await;

    let said = Mutex::new(Vec::new());
    let say = |line: &str| said.lock().unwrap().push(line.to_owned());
    let refused = teardown::remove(client.clone(), &wish(Some("leaver")), say).await.unwrap_err().to_string();
    assert!(refused.contains("kept refuse to be deleted"), "{refused}");
    let read = eventually(&resources, "it is there", |read| read.tables.contains_key("kept")).await;
    protected.table.deletion_protection = false;
    protected.table.version += 1;
    resources.write(&read, "kept", Some(protected)).await.unwrap();
    for confirm in [None, Some("other")] {
        let refused = teardown::remove(client.clone(), &wish(confirm), say).await.unwrap_err().to_string();
        assert!(refused.contains("--confirm leaver"), "{refused}");
    }
    assert_eq!(names::<Partition>(client, "leaver").await.len(), 2);
    assert!(said.lock().unwrap().contains(&"1 tables in 2 partitions: kept".to_owned()), "{said:?}");

    let confirmed = wish(Some("leaver"));
    tokio::select! {
        removed = teardown::remove(client.clone(), &confirmed, say) => removed.unwrap(),
        () = unused_claims_go(client) => {}
    }
    assert!(Api::<Cluster>::default_namespaced(client.clone()).get_opt("leaver").await.unwrap().is_none());
    assert!(Api::<Table>::default_namespaced(client.clone()).get_opt("kept").await.unwrap().is_none());
    assert!(names::<Partition>(client, "leaver").await.is_empty());
    assert!(names::<PersistentVolumeClaim>(client, "leaver").await.is_empty());
    assert!(names::<Secret>(client, "leaver").await.is_empty());
    assert_eq!(names::<Deployment>(client, "leaver").await, ["leaver-toolbox"]);
    assert_eq!(names::<Pod>(client, "leaver").await, ["leaver-toolbox-0"]);
    // Nothing is left to do, which is no failure.
    teardown::remove(client.clone(), &wish(Some("leaver")), say).await.unwrap();

    assert!(Api::<Cluster>::default_namespaced(client.clone()).get_opt("other").await.unwrap().is_some());
    assert_eq!(names::<PersistentVolumeClaim>(client, "other").await.len(), 1);
    assert_eq!(names::<Secret>(client, "other").await, ["other-ca"]);
}

/// What cannot be read is named; what is secret is not in it.
pub async fn a_bundle_tells_everything_but_secrets(client: &Client) {
    let folder = tempfile::tempdir().unwrap();
    let arguments = bundle::Arguments { namespace: "default".to_owned(), out: folder.path().join("dump.tar.gz") };
    bundle::collect(client.clone(), &arguments, |_line| {}).await.unwrap();
    let mut archive = tar::Archive::new(GzDecoder::new(std::fs::File::open(&arguments.out).unwrap()));
    let mut files = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        files.insert(entry.path().unwrap().display().to_string(), text);
    }
    assert!(files["trivet-dump/clusters.yaml"].contains("name: other"));
    assert!(files["trivet-dump/persistentvolumeclaims.yaml"].contains("other-node-0000000000000001"));
    // No kubelet runs the Pod: its log is empty, and nobody serves its metrics.
    assert_eq!(files["trivet-dump/logs/other-node-0000000000000001/node.log"], "");
    let missing = &files["trivet-dump/missing.txt"];
    assert!(missing.contains("metrics/other-node-0000000000000001.txt: "), "{missing}");
    for (file, text) in &files {
        assert!(!text.contains("never to be shown") && !text.contains("kind: Secret"), "{file}");
    }
    let again = bundle::collect(client.clone(), &arguments, |_line| {}).await;
    assert!(again.is_err(), "an older bundle is overwritten");
}
