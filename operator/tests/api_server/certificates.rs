//! Certificates as the keeper writes them, under processes that read them late and an operator that is killed at any of its calls.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::runtime::conditions::is_crd_established;
use kube::runtime::wait::await_condition;
use kube::{Api, Client, ResourceExt as _};
use model::NodeId;
use operator::crd::Cluster;
use operator::seal::bearer::{Bearer, Place, ROLES, authority_secret};
use operator::seal::keeper::{Keeper, Look, ROTATE, Resident};
use operator::seal::leaf::Leaf;
use operator::seal::store::Store;
use operator::seal::told::Kept;
use operator::seal::trust::{self, Process};
use operator::seal::{managed, mint, secret};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::mortal::{self, Fuse};

const NODES: [u64; 2] = [0x1f, 0x2f];
/// Longer than what a step lasts at least, and than a Secret is not read again.
const BETWEEN_LOOKS_S: i64 = 31;
/// How long the API server may take to serve a definition.
const PATIENCE: Duration = Duration::from_secs(60);
/// A rotation of five Secrets that are brought one at a time is done long before.
const LOOKS: usize = 200;

/// A Cluster with its processes, each with what it has read.
struct World {
    client: Client,
    cluster: Cluster,
    now: i64,
    read: BTreeMap<Bearer, Leaf>,
    told: BTreeMap<Bearer, watch::Sender<String>>,
    processes: Vec<Process>,
    /// Every bundle that some process has had.
    bundles: BTreeSet<String>,
    turn: usize,
    serving: JoinSet<()>,
}

fn store(client: Client) -> Store {
    Store::new(client, "default")
}

impl World {
    async fn new(client: &Client, name: &str, tls: serde_json::Value) -> World {
        let cluster = json!({
            "apiVersion": "trivet.dev/v1alpha1", "kind": "Cluster",
            "metadata": { "name": name, "namespace": "default", "uid": format!("uid-of-{name}") },
            "spec": {
                "image": "trivet:1", "zones": [], "storage": { "size": "10Gi" }, "credentialsSecret": { "name": "keys" },
                "tls": tls,
            },
        });
        let mut world = World {
            client: client.clone(),
            cluster: serde_json::from_value(cluster).unwrap(),
            now: 1_800_000_000,
            read: BTreeMap::new(),
            told: BTreeMap::new(),
            processes: Vec::new(),
            bundles: BTreeSet::new(),
            turn: 0,
            serving: JoinSet::new(),
        };
        for bearer in everybody().filter(|bearer| !matches!(bearer, Bearer::Operator | Bearer::Admin)) {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = Some(listener.local_addr().unwrap().to_string());
            let (told, telling) = watch::channel(String::new());
            world.serving.spawn(serve(listener, telling));
            world.told.insert(bearer, told);
            world.processes.push(Process { name: format!("Pod {}", bearer.role()), address });
        }
        world
    }

    fn secrets(&self) -> Api<Secret> {
        Api::default_namespaced(self.client.clone())
    }

    fn name(&self) -> String {
        self.cluster.name_any()
    }

    fn wish(&mut self, wish: &str) {
        self.cluster.annotations_mut().insert(ROTATE.to_owned(), wish.to_owned());
    }

    async fn look(&mut self, keeper: &mut Keeper) -> Kept {
        let resident = |id: u64| Resident {
            node: NodeId(id),
            claim: format!("claim-{id}"),
            claim_uid: format!("uid-of-claim-{id}"),
        };
        let nodes = NODES.map(resident);
        let now = Timestamp::from_second(self.now).unwrap();
        let look = Look { cluster: &self.cluster, nodes: &nodes, processes: &self.processes, now };
        keeper.tend(&look).await
    }

    /// kubelet brings the next process what its Secret holds.
    async fn bring_one(&mut self) {
        let bearers: Vec<Bearer> = self.told.keys().copied().collect();
        self.turn += 1;
        let bearer = bearers[self.turn % bearers.len()];
        let Some(found) = self.secrets().get_opt(&bearer.secret(&self.name())).await.unwrap() else { return };
        let leaf = secret::leaf(&found.data.unwrap()).unwrap();
        self.told[&bearer].send_replace(trust::hash(&leaf.bundle));
        self.bundles.insert(leaf.bundle.clone());
        self.read.insert(bearer, leaf);
    }

    /// Each process would let each other in.
    fn check(&self) {
        for (shows, shown) in &self.read {
            for (trusts, trusting) in &self.read {
                assert!(mint::is_sound(&shown.pair, &trusting.bundle), "{trusts:?} refuses {shows:?}");
            }
        }
    }

    /// Looks until the CA rests and everything is brought; the last look. The keeper ends when its fuse is burnt, and another begins.
    async fn until_settled(&mut self, fuse: &mut Option<Arc<Fuse>>) -> Kept {
        let mut keeper = self.keeper(fuse.as_ref());
        for _ in 0..LOOKS {
            self.now += BETWEEN_LOOKS_S;
            let burning = fuse.clone();
            let burnt = async {
                match &burning {
                    Some(fuse) => fuse.burnt().await,
                    None => std::future::pending().await,
                }
            };
            let looked = tokio::select! {
                kept = self.look(&mut keeper) => Some(kept),
                () = burnt => None,
            };
            let Some(kept) = looked else {
                *fuse = None;
                keeper = self.keeper(None);
                continue;
            };
            self.bring_one().await;
            self.check();
            assert_eq!(kept.failure, None);
            let brought = self.read.values().filter(|leaf| trust::hash(&leaf.bundle) == kept.trust).count();
            if kept.rotating.as_ref().unwrap().step == "Settled" && brought == self.told.len() {
                return kept;
            }
        }
        panic!("it never settles");
    }

    fn keeper(&self, fuse: Option<&Arc<Fuse>>) -> Keeper {
        let client = fuse.map_or_else(|| self.client.clone(), |fuse| mortal::client(&self.client, fuse));
        Keeper::new(store(client), &self.cluster)
    }

    async fn data(&self, name: &str) -> BTreeMap<String, String> {
        let data = self.secrets().get(name).await.unwrap().data.unwrap();
        data.into_iter().map(|(key, value)| (key, String::from_utf8(value.0).unwrap())).collect()
    }
}

fn everybody() -> impl Iterator<Item = Bearer> {
    ROLES.into_iter().chain(NODES.map(|id| Bearer::Node(NodeId(id))))
}

/// `GET /trust` as a process answers it.
async fn serve(listener: TcpListener, telling: watch::Receiver<String>) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 512];
        if stream.read(&mut request).await.is_ok() {
            let hash = telling.borrow().clone();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{hash}\n", hash.len() + 1);
            drop(stream.write_all(answer.as_bytes()).await);
        }
    }
}

fn own() -> serde_json::Value {
    json!({ "mode": "Own" })
}

pub async fn every_bearer_gets_a_certificate_that_goes_with_its_owner(client: &Client) {
    let mut world = World::new(client, "first", own()).await;
    let kept = world.until_settled(&mut None).await;
    let authority = world.data(&authority_secret("first")).await;
    assert_eq!(authority.keys().collect::<Vec<_>>(), ["ca.crt", "rotation.json", "tls.crt", "tls.key"]);
    for bearer in everybody() {
        let found = world.secrets().get(&bearer.secret("first")).await.unwrap();
        let leaf = secret::leaf(found.data.as_ref().unwrap()).unwrap();
        let said = mint::read(&leaf.pair.certificate).unwrap().identity;
        let place = Place { namespace: "default".to_owned(), cluster: "first".to_owned() };
        assert_eq!(said, Some(bearer.identity(&place)));
        assert!(mint::is_sound(&leaf.pair, &authority["ca.crt"]));
        // The CA's key is in no Secret that a process mounts.
        assert_eq!(found.data.as_ref().unwrap().len(), 3);
        let owner = &found.owner_references()[0];
        let claim = matches!(bearer, Bearer::Node(_));
        assert_eq!(owner.kind, if claim { "PersistentVolumeClaim" } else { "Cluster" });
    }
    assert_eq!(kept.leaves.len(), 5);
    // What is settled stays as it is.
    let before = world.data(&Bearer::Router.secret("first")).await;
    world.until_settled(&mut None).await;
    assert_eq!(world.data(&Bearer::Router.secret("first")).await, before);
}

/// After each write of an undisturbed run.
pub async fn a_rotation_goes_on_wherever_it_was_killed(client: &Client) {
    let whole = Fuse::never();
    rotate(client, "whole", &whole).await;
    // A CA and six certificates, four times in all, and that it is done.
    assert_eq!(whole.writes(), 4 * 7 + 1);
    for last in 1..=whole.writes() {
        rotate(client, &format!("killed-{last}"), &Fuse::after(last)).await;
    }
}

/// From nothing to the second CA.
async fn rotate(client: &Client, name: &str, fuse: &Arc<Fuse>) {
    let mut fuse = Some(Arc::clone(fuse));
    let mut world = World::new(client, name, own()).await;
    world.until_settled(&mut fuse).await;
    let first = world.data(&authority_secret(name)).await;
    world.wish("today");
    world.until_settled(&mut fuse).await;
    let second = world.data(&authority_secret(name)).await;
    assert_ne!(second["tls.crt"], first["tls.crt"]);
    assert_eq!(second["ca.crt"], second["tls.crt"]);
    assert_eq!(second.keys().collect::<Vec<_>>(), ["ca.crt", "rotation.json", "tls.crt", "tls.key"]);
    for bearer in everybody() {
        let leaf = world.data(&bearer.secret(name)).await;
        assert_eq!(leaf["ca.crt"], second["ca.crt"], "{bearer:?} of {name}");
    }
    // Old; old and new; new and old; new. A second rotation would have shown others.
    assert_eq!(world.bundles.len(), 4, "{name}: {:?}", world.bundles);
}

pub async fn a_process_that_does_not_tell_stops_a_rotation_and_is_named(client: &Client) {
    let mut world = World::new(client, "silent", own()).await;
    world.until_settled(&mut None).await;
    let silent = world.processes.iter_mut().find(|process| process.name == "Pod memds").unwrap();
    silent.address = None;
    world.wish("today");
    let mut keeper = Keeper::new(store(client.clone()), &world.cluster);
    let mut last = Kept::default();
    for _ in 0..15 {
        world.now += BETWEEN_LOOKS_S;
        last = world.look(&mut keeper).await;
        world.bring_one().await;
        world.check();
    }
    assert_eq!(last.rotating.as_ref().unwrap().step, "Distribute");
    let (reason, message) = last.blocked(Timestamp::from_second(world.now).unwrap()).unwrap();
    assert_eq!(reason, "RotationStuck");
    assert!(message.contains("Pod memds does not tell what it trusts: it has no address yet"), "{message}");
    // It is gone, and nothing waits for it any more.
    world.processes.retain(|process| process.name != "Pod memds");
    world.told.remove(&Bearer::MemDs);
    world.read.remove(&Bearer::MemDs);
    world.until_settled(&mut None).await;
}

pub async fn what_somebody_deletes_or_spoils_is_made_again(client: &Client) {
    let mut world = World::new(client, "spoilt", own()).await;
    world.until_settled(&mut None).await;
    let secrets = world.secrets();
    secrets.delete(&Bearer::Router.secret("spoilt"), &DeleteParams::default()).await.unwrap();
    let scrap = Patch::Merge(json!({ "stringData": { "tls.crt": "scrap" } }));
    secrets.patch(&Bearer::MemDs.secret("spoilt"), &PatchParams::default(), &scrap).await.unwrap();
    let mut keeper = Keeper::new(store(client.clone()), &world.cluster);
    for _ in 0..=everybody().count() {
        world.now += BETWEEN_LOOKS_S;
        assert_eq!(world.look(&mut keeper).await.failure, None);
    }
    for bearer in [Bearer::Router, Bearer::MemDs] {
        let data = secrets.get(&bearer.secret("spoilt")).await.unwrap().data.unwrap();
        world.read.insert(bearer, secret::leaf(&data).unwrap());
    }
    world.check();
    // Renewed with 60 days left, by the same CA.
    let before = world.data(&Bearer::Router.secret("spoilt")).await;
    world.now += 30 * 86_400;
    assert_eq!(world.look(&mut keeper).await.failure, None);
    let after = world.data(&Bearer::Router.secret("spoilt")).await;
    assert_ne!(before["tls.crt"], after["tls.crt"]);
    assert_eq!(before["ca.crt"], after["ca.crt"]);
}

/// Its key is gone with it: another takes its place, and nobody is refused meanwhile.
pub async fn a_lost_authority_is_replaced_as_by_a_rotation(client: &Client) {
    let mut world = World::new(client, "lost", own()).await;
    world.until_settled(&mut None).await;
    world.secrets().delete(&authority_secret("lost"), &DeleteParams::default()).await.unwrap();
    let old = world.data(&Bearer::Router.secret("lost")).await;
    world.until_settled(&mut None).await;
    let new = world.data(&Bearer::Router.secret("lost")).await;
    assert_ne!(old["ca.crt"], new["ca.crt"]);
    assert_eq!(world.bundles.len(), 4, "{:?}", world.bundles);
}

pub async fn a_paused_cluster_gets_nothing(client: &Client) {
    let mut world = World::new(client, "paused", own()).await;
    world.cluster.spec.paused = true;
    let mut keeper = Keeper::new(store(client.clone()), &world.cluster);
    let kept = world.look(&mut keeper).await;
    assert_eq!((kept.failure, kept.leaves.len()), (None, 0));
    assert!(world.secrets().get_opt(&authority_secret("paused")).await.unwrap().is_none());
}

/// The test is cert-manager: it fulfils what is asked for.
pub async fn cert_manager_is_asked_for_the_same_certificates(client: &Client) {
    let tls = json!({ "mode": "CertManager", "issuerRef": { "name": "house", "kind": "ClusterIssuer" } });
    let mut world = World::new(client, "managed", tls).await;
    let mut keeper = Keeper::new(store(client.clone()), &world.cluster);
    let failure = world.look(&mut keeper).await.failure.unwrap();
    assert!(failure.contains("install cert-manager"), "{failure}");
    define_certificates(client).await;
    let pending = world.look(&mut keeper).await;
    assert_eq!(pending.failure, None);
    assert!(pending.pending.unwrap().contains("managed-tls-operator"));
    let resource = managed::resource();
    let certificates: Api<DynamicObject> = Api::default_namespaced_with(client.clone(), &resource);
    let now = Timestamp::from_second(world.now).unwrap();
    let authority = mint::authority(now).unwrap();
    for bearer in everybody() {
        let name = bearer.secret("managed");
        let spec = certificates.get(&name).await.unwrap().data["spec"].clone();
        assert_eq!(spec["issuerRef"], json!({ "name": "house", "kind": "ClusterIssuer", "group": "cert-manager.io" }));
        assert_eq!(spec["usages"], json!(["digital signature", "server auth", "client auth"]));
        assert!(!keeper.has(bearer));
        let pair = mint::leaf(&authority, spec["uris"][0].as_str().unwrap(), now).unwrap();
        let files = json!({ "ca.crt": authority.certificate, "tls.crt": pair.certificate, "tls.key": pair.key });
        let made =
            json!({ "metadata": { "name": spec["secretName"] }, "type": "kubernetes.io/tls", "stringData": files });
        world.secrets().create(&PostParams::default(), &serde_json::from_value(made).unwrap()).await.unwrap();
    }
    let kept = world.look(&mut keeper).await;
    assert_eq!((kept.failure.as_ref(), kept.pending.as_ref(), kept.leaves.len()), (None, None, 5));
    assert!(everybody().all(|bearer| keeper.has(bearer)));
    world.wish("today");
    let told = world.look(&mut keeper).await.pending.unwrap();
    assert!(told.contains("is replaced where its issuer is"), "{told}");
    // Another's certificate is not taken for its own.
    let foreign = world.data(&Bearer::Router.secret("managed")).await;
    let patch = Patch::Merge(json!({ "stringData": foreign }));
    world.secrets().patch(&Bearer::MemDs.secret("managed"), &PatchParams::default(), &patch).await.unwrap();
    let kept = world.look(&mut Keeper::new(store(client.clone()), &world.cluster)).await;
    assert!(kept.failure.unwrap().contains("managed-tls-memds"));
}

/// As much of cert-manager's definition as the API server needs.
async fn define_certificates(client: &Client) {
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "certificates.cert-manager.io" },
        "spec": {
            "group": "cert-manager.io", "scope": "Namespaced",
            "names": { "kind": "Certificate", "plural": "certificates" },
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } },
            }],
        },
    });
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    definitions.create(&PostParams::default(), &serde_json::from_value(definition).unwrap()).await.unwrap();
    let established = await_condition(definitions, "certificates.cert-manager.io", is_crd_established());
    tokio::time::timeout(PATIENCE, established).await.unwrap().unwrap();
}
