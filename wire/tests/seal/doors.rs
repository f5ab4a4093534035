//! A port of several clusters, and connections that outlast a certificate.

use std::sync::Arc;

use futures::FutureExt as _;
use tonic::transport::Endpoint;
use wire::door::Manner;
use wire::seal::Seal;
use wire::seal::connect::{self, Whom};

use crate::authority::Authority;
use crate::world::{OPERATOR, ROUTER, World, call, eventually, seal};

#[tokio::test]
async fn the_name_that_is_called_says_whose_door_it_is() {
    let (music, books) = (Authority::new("music"), Authority::new("books"));
    let (ours, theirs) = (seal(&music, OPERATOR), seal(&books, "spiffe://trivet/shop/books/operator"));
    let seals = Arc::new(move |name: Option<&str>| match name {
        Some("localhost") => Some(ours.clone()),
        Some("localhost.localdomain") => Some(theirs.clone()),
        _ => None,
    });
    let world = World::start(Manner::ByName(seals)).await;
    let router = seal(&music, ROUTER);
    let port = world.address.port();
    let called = async |seal: Option<&Seal>, name: &str| {
        let endpoint = Endpoint::from_shared(format!("http://{name}:{port}")).unwrap();
        let line = connect::connect(endpoint, seal, Whom::Control).await.map_err(|error| format!("{error:?}"))?;
        call(&line).await.map(|()| line.counterpart())
    };
    let counterpart = called(Some(&router), "localhost").await.unwrap().unwrap();
    assert_eq!(counterpart.cluster, "music");
    // By its address nobody is called.
    let error = called(Some(&router), "127.0.0.1").await.unwrap_err();
    assert!(error.contains("without a word"), "{error}");
    // A cluster may be plain; the service sees that nobody is known.
    called(None, "127.0.0.1").await.unwrap();
    assert_eq!(*world.service.callers.lock().unwrap(), [ROUTER, "anybody"]);
}

#[tokio::test]
async fn authorities_and_certificates_change_under_standing_connections() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let (door, router) = (seal(&old, OPERATOR), seal(&old, ROUTER));
    let world = World::start(Manner::Sealed(door.clone())).await;
    let first = world.call(Some(&router), Whom::Control).await.unwrap();
    let trust = door.trust();
    // Both are trusted.
    door.replace(old.files(OPERATOR).trusting(&[&old, &new]).pem()).unwrap();
    assert_ne!(door.trust(), trust);
    world.call(Some(&router), Whom::Control).await.unwrap();
    // The router's side trusts both, too, by the same certificate: nothing is to be done.
    let files = old.files(ROUTER);
    router.replace(files.clone().trusting(&[&old, &new]).pem()).unwrap();
    assert_eq!(router.trust(), door.trust());
    first.loosened().now_or_never().expect("the router's certificate is another one");
    let second = world.call(Some(&router), Whom::Control).await.unwrap();
    router.replace(files.trusting(&[&old, &new]).pem()).unwrap();
    assert!(second.loosened().now_or_never().is_none());
    // New certificates, in any order.
    door.replace(new.files(OPERATOR).trusting(&[&old, &new]).pem()).unwrap();
    world.call(Some(&router), Whom::Control).await.unwrap();
    router.replace(new.files(ROUTER).trusting(&[&old, &new]).pem()).unwrap();
    second.loosened().now_or_never().expect("its certificate counts for little longer");
    call(&second).await.unwrap();
    let third = world.call(Some(&router), Whom::Control).await.unwrap();
    // The old one is trusted no more: who has not connected anew has a grace.
    door.replace(new.files(OPERATOR).pem()).unwrap();
    router.replace(new.files(ROUTER).pem()).unwrap();
    call(&second).await.unwrap();
    call(&third).await.unwrap();
    world.call(Some(&router), Whom::Control).await.unwrap();
    assert!(world.call(Some(&seal(&old, ROUTER)), Whom::Control).await.is_err());
    eventually(async || (door.refused(wire::seal::Refusal::Distrusted) >= 2).then_some(())).await;
}
