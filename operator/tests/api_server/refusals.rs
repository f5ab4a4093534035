//! Objects as people write them, and the API server's answers.

use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use operator::crd::cluster::{TlsMode, TlsSpec, ZoneMode};
use operator::crd::{Cluster, Partition, Table};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub fn cluster() -> Value {
    json!({
        "apiVersion": "trivet.dev/v1alpha1", "kind": "Cluster", "metadata": { "name": "trv", "namespace": "default" },
        "spec": {
            "image": "trivet:1",
            "zones": [{ "name": "zone-a" }, { "name": "zone-b", "nodes": 2 }, { "name": "zone-c" }],
            "storage": { "size": "10Gi" },
            "credentialsSecret": { "name": "keys" },
        },
    })
}

fn table() -> Value {
    json!({
        "apiVersion": "trivet.dev/v1alpha1", "kind": "Table", "metadata": { "name": "music", "namespace": "default" },
        "spec": {
            "tableName": "music", "clusterRef": "trv",
            "attributeDefinitions": [
                { "attributeName": "artist", "attributeType": "S" }, { "attributeName": "year", "attributeType": "N" },
            ],
            "keySchema": [{ "attributeName": "artist", "keyType": "HASH" }, { "attributeName": "year", "keyType": "RANGE" }],
        },
    })
}

/// The object with one of its fields set to something else, or taken away.
fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = object.pointer_mut(parent).unwrap_or_else(|| panic!("no {pointer}"));
    match (parent, value) {
        (Value::Object(fields), Value::Null) => drop(fields.remove(key)),
        (Value::Object(fields), value) => drop(fields.insert(key.to_owned(), value)),
        (Value::Array(members), value) => members[key.parse::<usize>().unwrap()] = value,
        (other, _) => panic!("{pointer} goes into {other}"),
    }
    object
}

async fn create(client: &Client, object: &Value) -> Result<kube::api::DynamicObject, kube::Error> {
    let resource = kube::core::ApiResource::erase::<Cluster>(&());
    let resource = match object["kind"].as_str().unwrap() {
        "Cluster" => resource,
        _ => kube::core::ApiResource::erase::<Table>(&()),
    };
    let api: Api<kube::api::DynamicObject> = Api::default_namespaced_with(client.clone(), &resource);
    api.create(&PostParams::default(), &serde_json::from_value(object.clone()).unwrap()).await
}

async fn typed<K>(client: &Client, object: &Value) -> K
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
    K::DynamicType: Default,
{
    create(client, object).await.unwrap();
    Api::<K>::default_namespaced(client.clone()).get(object["metadata"]["name"].as_str().unwrap()).await.unwrap()
}

pub async fn good_objects_are_taken_with_their_defaults(client: &Client) {
    let taken: Cluster = typed(client, &cluster()).await;
    assert_eq!(taken.spec.zones.iter().map(|zone| zone.nodes).collect::<Vec<_>>(), [1, 2, 1]);
    assert_eq!((taken.spec.region.as_str(), taken.spec.node.replace_after_seconds), ("us-east-1", 600));
    assert_eq!((taken.spec.zone_mode, taken.spec.storage.lost_after_seconds), (ZoneMode::Labelled, 900));
    assert_eq!(taken.spec.tls, TlsSpec { mode: TlsMode::Own, issuer_ref: None });
    let taken: Table = typed(client, &table()).await;
    assert_eq!(taken.spec.billing_mode, operator::crd::table::BillingMode::PayPerRequest);
    assert_eq!(taken.spec.deletion_policy, operator::crd::table::DeletionPolicy::Retain);
}

pub async fn bad_objects_are_refused_with_a_sentence(client: &Client) {
    let (cluster, table) = (with(cluster(), "/metadata/name", json!("other")), table());
    let zone = |name: &str| json!({ "name": name });
    let named =
        |name: &str| with(with(table.clone(), "/spec/tableName", json!(name)), "/metadata/name", json!("x-0a1b2c3d"));
    let cases = [
        (with(cluster.clone(), "/spec/zones", json!([zone("a"), zone("b")])), "name three zones or more"),
        (with(cluster.clone(), "/spec/zones", json!([zone("a"), zone("b"), zone("a")])), "no two zones have one name"),
        (with(cluster.clone(), "/spec/zones/0", zone("A")), "lower case letters"),
        (with(cluster.clone(), "/spec/zones/0", json!({ "name": "a", "nodes": 0 })), "greater than or equal to 1"),
        (with(cluster.clone(), "/spec/storage/size", json!("1Gi")), "at least 2Gi"),
        (with(cluster.clone(), "/spec/storage/lostAfterSeconds", json!(5)), "greater than or equal to 30"),
        (with(cluster.clone(), "/spec/zoneMode", json!("Imagined")), "Unsupported value"),
        (with(cluster.clone(), "/spec/image", json!("")), "name an image"),
        (with(cluster.clone(), "/spec/defaultPartitions", json!(2000)), "less than or equal to 1024"),
        (with(cluster.clone(), "/spec/credentialsSecret", Value::Null), "credentialsSecret: Required"),
        (
            with(cluster.clone(), "/spec/routers", json!({ "service": { "nodePort": 30000 } })),
            "nodePort goes with type NodePort",
        ),
        (with(cluster.clone(), "/spec/tls", json!({ "mode": "Vault" })), "Unsupported value"),
        (with(cluster.clone(), "/spec/tls", json!({ "mode": "CertManager" })), "goes with mode CertManager"),
        (with(cluster.clone(), "/spec/tls", json!({ "issuerRef": { "name": "house" } })), "goes with mode CertManager"),
        (
            with(cluster.clone(), "/spec/tls", json!({ "mode": "CertManager", "issuerRef": { "name": "" } })),
            "name the issuer",
        ),
        (with(cluster, "/metadata/name", json!("a".repeat(31))), "at most 30 characters"),
        (named("ab"), "3 to 255 characters"),
        (named("mu sic"), "3 to 255 characters"),
        (with(table.clone(), "/metadata/name", json!("films")), "metadata.name must be spec.tableName"),
        (with(table.clone(), "/spec/keySchema/0/keyType", json!("RANGE")), "has a HASH key"),
        (
            with(table.clone(), "/spec/keySchema/1/attributeName", json!("song")),
            "needs its type in attributeDefinitions",
        ),
        (
            with(table.clone(), "/spec/keySchema", json!([{ "attributeName": "artist", "keyType": "HASH" }])),
            "and no others",
        ),
        (with(table.clone(), "/spec/billingMode", json!("PROVISIONED")), "needs provisionedThroughput"),
        (
            with(
                table.clone(),
                "/spec/provisionedThroughput",
                json!({ "readCapacityUnits": 1, "writeCapacityUnits": 1 }),
            ),
            "goes with billingMode PROVISIONED",
        ),
        (with(table.clone(), "/spec/attributeDefinitions/0/attributeType", json!("M")), "Unsupported value"),
        (with(table, "/spec/initialPartitions", json!(0)), "greater than or equal to 1"),
    ];
    for (object, sentence) in cases {
        match create(client, &object).await {
            Err(kube::Error::Api(status)) => {
                assert!(status.message.contains(sentence), "expected {sentence:?} in: {}", status.message);
            }
            other => panic!("expected {sentence:?} for {object}, found {other:?}"),
        }
    }
}

pub async fn what_never_changes_is_kept(client: &Client) {
    let clusters: Api<Cluster> = Api::default_namespaced(client.clone());
    let tables: Api<Table> = Api::default_namespaced(client.clone());
    let refused = |answer: Result<(), kube::Error>, sentence: &str| match answer {
        Err(kube::Error::Api(status)) => {
            assert!(status.message.contains(sentence), "expected {sentence:?} in: {}", status.message);
        }
        other => panic!("expected {sentence:?}, found {other:?}"),
    };
    for (spec, sentence) in [
        (json!({ "storage": { "size": "9Gi" } }), "storage never shrinks"),
        (json!({ "zones": [{ "name": "zone-a" }, { "name": "zone-b", "nodes": 2 }] }), "name three zones or more"),
        (json!({ "zoneMode": "Simulated" }), "zoneMode never changes"),
        (json!({ "tls": { "mode": "None" } }), "tls.mode never changes"),
    ] {
        let patch = Patch::Merge(json!({ "spec": spec }));
        refused(clusters.patch("trv", &PatchParams::default(), &patch).await.map(drop), sentence);
    }
    for (spec, sentence) in [
        (json!({ "clusterRef": "other" }), "clusterRef never changes"),
        (
            json!({ "keySchema": [{ "attributeName": "year", "keyType": "HASH" }, { "attributeName": "artist", "keyType": "RANGE" }] }),
            "keySchema never changes",
        ),
    ] {
        let patch = Patch::Merge(json!({ "spec": spec }));
        refused(tables.patch("music", &PatchParams::default(), &patch).await.map(drop), sentence);
    }
    let other_zones =
        [("zone-a", 1), ("zone-b", 2), ("zone-d", 1)].map(|(name, nodes)| json!({ "name": name, "nodes": nodes }));
    for allowed in [json!({ "storage": { "size": "20Gi" } }), json!({ "zones": other_zones })] {
        let patch = Patch::Merge(json!({ "spec": allowed }));
        clusters.patch("trv", &PatchParams::default(), &patch).await.unwrap();
    }
    // Of 20Gi that were wished a claim asks for 12Gi.
    let told = Patch::Merge(json!({ "status": { "largestVolume": "12Gi" } }));
    clusters.patch_status("trv", &PatchParams::default(), &told).await.unwrap();
    let sized = |size: &str| Patch::Merge(json!({ "spec": { "storage": { "size": size } } }));
    let refusal = clusters.patch("trv", &PatchParams::default(), &sized("11Gi")).await.map(drop);
    refused(refusal, "storage never shrinks: a wish for more can be taken back down to status.largestVolume");
    clusters.patch("trv", &PatchParams::default(), &sized("12Gi")).await.unwrap();
}

/// Whoever edits one by hand learns that it moves nothing, and what does.
pub async fn a_partition_is_not_edited_by_hand(client: &Client) {
    let partitions: Api<Partition> = Api::default_namespaced(client.clone());
    let wish = |zone: &str| json!({ "zone": zone, "node": "00000000000003e9" });
    let partition = json!({
        "apiVersion": "trivet.dev/v1alpha1", "kind": "Partition",
        "metadata": { "name": "music-17", "namespace": "default" },
        "spec": {
            "tableRef": "music", "tableId": "0000000000000009", "partitionId": "0000000000000011", "range": { "end": "80" },
            "replicas": [wish("zone-a"), wish("zone-b"), wish("zone-c")],
        },
    });
    let partition: Partition = serde_json::from_value(partition).unwrap();
    partitions.create(&PostParams::default(), &partition).await.unwrap();
    for (spec, sentence) in [
        (json!({ "replicas": [wish("zone-a"), wish("zone-b"), wish("zone-d")] }), "trivet admin move"),
        (json!({ "range": { "end": "40" } }), "trivet admin split"),
        (json!({ "tableRef": "films" }), "tableRef never changes"),
        (json!({ "tableId": "0000000000000008" }), "tableId never changes"),
        (json!({ "partitionId": "0000000000000012" }), "partitionId never changes"),
    ] {
        let patch = Patch::Merge(json!({ "spec": spec }));
        match partitions.patch("music-17", &PatchParams::default(), &patch).await {
            Err(kube::Error::Api(status)) => {
                assert!(status.message.contains(sentence), "expected {sentence:?} in: {}", status.message);
            }
            other => panic!("expected {sentence:?}, found {other:?}"),
        }
    }
    partitions.delete("music-17", &DeleteParams::default()).await.unwrap();
}
