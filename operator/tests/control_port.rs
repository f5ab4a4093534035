//! The port of the control service, by which several Clusters are called: each by its own certificates, and one without any plainly.
#![expect(clippy::disallowed_types, reason = "what stands beside the operator has a client of its own")]
#![expect(clippy::unwrap_used, reason = "a test says by panicking")]

use std::net::SocketAddr;
use std::sync::Arc;

use control::cluster::Cluster as Nodes;
use control::config::Settings;
use control::service::Service;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::client::Body;
use operator::apply::Writer;
use operator::front::{Admits, Front, remember_host};
use operator::metrics::Metrics;
use operator::resources::{KubeResources, Shelf};
use operator::seal::bearer::{Bearer, Place};
use operator::seal::mint::{self, Pair};
use operator::watch::{self, Watches};
use prometheus::{Registry, TextEncoder};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tonic::Code;
use tonic::codegen::http::{Request, Response, Uri};
use tonic::transport::{Channel, Endpoint};
use tower::util::MapRequestLayer;
use wire::control::DeleteTableRequest;
use wire::control::control_client::ControlClient;
use wire::control::control_server::ControlServer;
use wire::door::Manner;
use wire::seal::connect::{self, Whom};
use wire::seal::{Pem, Seal};

/// The one name that every machine has for itself: who calls it sends it along.
const SEALED: &str = "localhost";
const OTHER: &str = "other";
const PLAIN: &str = "plain";

fn seal(authority: &Pair, cluster: &str, bearer: Bearer) -> Seal {
    let place = Place { namespace: "shop".to_owned(), cluster: cluster.to_owned() };
    let leaf = mint::leaf(authority, &bearer.identity(&place), Timestamp::now()).unwrap();
    let ca = authority.certificate.clone().into_bytes();
    Seal::from_pem(Pem { ca, certificate: leaf.certificate.into_bytes(), key: leaf.key.into_bytes() }).unwrap()
}

/// A cluster that has nothing: whoever is let in hears that there is no such table.
async fn nothing(cluster: &str) -> (Arc<Service<KubeResources>>, Watches) {
    let empty = r#"{"apiVersion":"v1","kind":"List","metadata":{"resourceVersion":"1"},"items":[]}"#;
    let answer = move |_: Request<Body>| async move {
        Ok::<_, std::io::Error>(Response::new(Body::from(empty.as_bytes().to_vec())))
    };
    let client = Client::new(tower::service_fn(answer), "shop");
    let (watched, watches) = watch::start(&client, "shop", &Arc::default());
    watched.ready().await;
    let resources = Shelf::new(client.clone(), Writer::new(client), "shop", &watched).of(cluster);
    let service = Service {
        settings: Settings::new(1),
        resources: Arc::new(resources),
        cluster: Arc::new(Nodes::nobody()),
        wake: Arc::new(Notify::new()),
    };
    (Arc::new(service), watches)
}

async fn serve(front: Front) -> SocketAddr {
    let listener = TcpListener::bind((SEALED, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = wire::door::server()
        .layer(MapRequestLayer::new(remember_host))
        .add_service(ControlServer::new(front.clone()))
        .serve_with_incoming(wire::door::guests(listener, Manner::ByName(front.seals())));
    tokio::spawn(served);
    address
}

/// What a caller hears who connects to `localhost` and names `host`.
async fn hears(port: u16, host: &str, seal: Option<&Seal>) -> (Code, String) {
    let origin: Uri = format!("http://{host}-control:{port}").parse().unwrap();
    let endpoint = Endpoint::from_shared(format!("http://{SEALED}:{port}")).unwrap().origin(origin);
    let channel: Channel = match connect::connect(endpoint, seal, Whom::Control).await {
        Ok(line) => line.channel,
        Err(error) => return (Code::Unavailable, format!("{error:?}")),
    };
    let request = DeleteTableRequest { name: "music".to_owned() };
    let status = ControlClient::new(channel).delete_table(request).await.unwrap_err();
    (status.code(), status.message().to_owned())
}

#[tokio::test]
async fn each_cluster_is_called_by_its_own_processes_alone() {
    let now = Timestamp::now();
    let (ours, theirs) = (mint::authority(now).unwrap(), mint::authority(now).unwrap());
    let registry = Registry::new();
    let front = Front::new(Metrics::new(&registry).unwrap());
    let ((one, _one), (other, _other), (plain, _plain)) = tokio::join!(nothing(SEALED), nothing(OTHER), nothing(PLAIN));
    front.add(SEALED, &one, Admits::Kin(seal(&ours, SEALED, Bearer::Operator)));
    front.add(OTHER, &other, Admits::Kin(seal(&theirs, OTHER, Bearer::Operator)));
    front.add(PLAIN, &plain, Admits::Everybody);
    let port = serve(front.clone()).await.port();

    let router = seal(&ours, SEALED, Bearer::Router);
    assert_eq!(hears(port, SEALED, Some(&router)).await.0, Code::NotFound);
    assert_eq!(hears(port, PLAIN, None).await.0, Code::NotFound);
    // Plainly, as another role, in another cluster's name, with another's certificate, before there are any.
    assert_eq!(hears(port, SEALED, None).await.0, Code::PermissionDenied);
    let mem_ds = seal(&ours, SEALED, Bearer::MemDs);
    assert_eq!(hears(port, SEALED, Some(&mem_ds)).await.0, Code::PermissionDenied);
    assert_eq!(hears(port, OTHER, Some(&router)).await.0, Code::PermissionDenied);
    assert_eq!(hears(port, PLAIN, Some(&router)).await.0, Code::PermissionDenied);
    let stranger = seal(&theirs, OTHER, Bearer::Router);
    assert_eq!(hears(port, SEALED, Some(&stranger)).await.0, Code::Unavailable);
    front.add(PLAIN, &plain, Admits::Nobody);
    assert_eq!(hears(port, PLAIN, None).await.0, Code::PermissionDenied);
    let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    // Who has not come through the door has asked nothing.
    for (outcome, times) in [("NotFound", 2), ("PermissionDenied", 4)] {
        let line = format!(r#"trivet_control_answers_total{{operation="DeleteTable",outcome="{outcome}"}} {times}"#);
        assert!(text.contains(&line), "{line} is not in {text}");
    }
}
