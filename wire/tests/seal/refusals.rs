//! Everyone who is refused, with what its error says.

use std::time::{Duration, SystemTime};

use model::NodeId;
use rcgen::{ExtendedKeyUsagePurpose, SanType};
use rustls::version::{TLS12, TLS13};
use wire::door::Manner;
use wire::seal::connect::Whom;
use wire::seal::{Refusal, Role, Seal, SealError};

use crate::authority::{Authority, Files};
use crate::stranger::knock;
use crate::world::{OPERATOR, ROUTER, World, call, eventually, seal};

#[tokio::test]
async fn each_end_knows_the_other() {
    let authority = Authority::new("a");
    let world = World::start(Manner::Sealed(seal(&authority, OPERATOR))).await;
    let line = world.call(Some(&seal(&authority, ROUTER)), Whom::Control).await.unwrap();
    assert_eq!(line.counterpart().unwrap().to_string(), OPERATOR);
    assert_eq!(*world.service.callers.lock().unwrap(), [ROUTER]);
}

#[tokio::test]
async fn a_plain_client_is_told_that_the_port_is_sealed() {
    let door = seal(&Authority::new("a"), OPERATOR);
    let world = World::start(Manner::Sealed(door.clone())).await;
    // The word may come before there is a call to carry it.
    let told = "this port is sealed: mutual TLS 1.3 alone (--tls)";
    eventually(async || world.call(None, Whom::Control).await.err().unwrap().contains(told).then_some(())).await;
    assert!(door.refused(Refusal::Connection) >= 1);
}

#[tokio::test]
async fn a_sealed_client_says_that_the_port_is_plain() {
    let world = World::start(Manner::Plain).await;
    let error = world.call(Some(&seal(&Authority::new("a"), ROUTER)), Whom::Control).await.err().unwrap();
    assert!(error.contains("its port") && error.contains("plain"), "{error}");
}

#[tokio::test]
async fn an_unknown_authority_is_refused_by_both_ends() {
    let (ours, theirs) = (Authority::new("a"), Authority::new("a"));
    let door = seal(&ours, OPERATOR);
    let world = World::start(Manner::Sealed(door.clone())).await;
    let stranger = seal(&theirs, ROUTER);
    let error = world.call(Some(&stranger), Whom::Control).await.err().unwrap();
    assert!(error.contains("signed by no authority that is trusted here"), "{error}");
    assert_eq!(stranger.refused(Refusal::Connection), 1);
    // It would believe us; we do not believe it.
    let stranger = Seal::from_pem(theirs.files(ROUTER).trusting(&[&ours, &theirs]).pem()).unwrap();
    let error = world.call(Some(&stranger), Whom::Control).await.err().unwrap();
    assert!(error.contains("refuses this process's certificate: it is signed by no authority"), "{error}");
    assert!(door.refused(Refusal::Connection) >= 1);
    assert!(world.service.callers.lock().unwrap().is_empty());
}

#[tokio::test]
async fn another_cluster_is_refused_though_one_authority_has_signed_both() {
    let authority = Authority::new("a");
    for other in ["spiffe://trivet/shop/books/router", "spiffe://trivet/office/music/router"] {
        let door = seal(&authority, OPERATOR);
        let world = World::start(Manner::Sealed(door.clone())).await;
        let error = world.call(Some(&seal(&authority, other)), Whom::Control).await.err().unwrap();
        assert!(error.contains(&format!("{OPERATOR} is of another cluster than {other}")), "{error}");
    }
}

#[tokio::test]
async fn who_answers_is_who_was_meant() {
    let authority = Authority::new("a");
    let node = "spiffe://trivet/shop/music/node/0000000000000007";
    let world = World::start(Manner::Sealed(seal(&authority, node))).await;
    let router = seal(&authority, ROUTER);
    let line = world.call(Some(&router), Whom::Node(NodeId(7))).await.unwrap();
    assert!(line.may_be(NodeId(7)) && !line.may_be(NodeId(8)));
    assert!(world.call(Some(&router), Whom::AnyNode).await.is_ok());
    for (whom, name) in [
        (Whom::Node(NodeId(8)), "node 0000000000000008"),
        (Whom::MemDs, "MemDS"),
        (Whom::Control, "the control service"),
    ] {
        let error = world.call(Some(&router), whom).await.err().unwrap();
        assert!(error.contains(&format!("{node} answers, and {name} is meant")), "{error}");
    }
}

#[tokio::test]
async fn a_certificate_that_has_expired_opens_nothing() {
    let authority = Authority::new("a");
    let world = World::start(Manner::Sealed(seal(&authority, OPERATOR))).await;
    let soon = SystemTime::now() + Duration::from_secs(10);
    let files = authority.sign(&[ROUTER], |params| params.not_after = soon.into());
    let router = Seal::from_pem(files.pem()).unwrap();
    let standing = world.call(Some(&router), Whom::Control).await.unwrap();
    let error = eventually(async || world.call(Some(&router), Whom::Control).await.err()).await;
    assert!(error.contains("refuses this process's certificate: it has expired"), "{error}");
    assert!(router.days_left() < 0);
    let unusable = Seal::from_pem(files.pem()).unwrap_err();
    assert!(matches!(&unusable, SealError::Untrusted(why) if why.contains("expired")), "{unusable}");
    call(&standing).await.unwrap();
}

#[tokio::test]
async fn a_door_believes_nobody_because_of_an_authority_alone() {
    let authority = Authority::new("a");
    let door = seal(&authority, OPERATOR);
    let world = World::start(Manner::Sealed(door.clone())).await;
    let knock = async |shown: Option<&Files>| knock(world.address, &TLS13, shown).await;
    assert_eq!(knock(Some(&authority.files(ROUTER))).await, "let in");
    let strangers = [
        authority.files("spiffe://trivet/shop/books/router"),
        authority.files("https://trivet/shop/music/router"),
        authority.sign(&[], |_| ()),
        authority.sign(&[ROUTER, OPERATOR], |_| ()),
    ];
    for stranger in &strangers {
        let error = knock(Some(stranger)).await;
        assert!(error.contains("CertificateUnknown"), "{error}");
    }
    let error = knock(Some(&Authority::new("b").files(ROUTER))).await;
    assert!(error.contains("UnknownCA"), "{error}");
    let error = knock(None).await;
    assert!(error.contains("CertificateRequired"), "{error}");
    let error = super::stranger::knock(world.address, &TLS12, Some(&authority.files(ROUTER))).await;
    assert!(error.contains("ProtocolVersion"), "{error}");
    eventually(async || (door.refused(Refusal::Connection) == 7).then_some(())).await;
}

#[tokio::test]
async fn names_beside_the_identity_are_nobodys_business() {
    let authority = Authority::new("a");
    let named = |params: &mut rcgen::CertificateParams| {
        params.subject_alt_names.push(SanType::DnsName("door".try_into().unwrap()));
    };
    let door = Seal::from_pem(authority.sign(&[OPERATOR], named).pem()).unwrap();
    let world = World::start(Manner::Sealed(door)).await;
    world.call(Some(&seal(&authority, ROUTER)), Whom::Control).await.unwrap();
}

#[test]
fn what_cannot_be_used_says_why() {
    let authority = Authority::new("a");
    let good = authority.files(ROUTER);
    let error = |files: &Files| {
        let error = Seal::from_pem(files.pem()).unwrap_err();
        let source = std::error::Error::source(&error).map_or_else(String::new, |source| format!(": {source}"));
        format!("{error}{source}")
    };
    let mut files = good.clone();
    files.ca = "no certificate".to_owned();
    assert_eq!(error(&files), "ca.crt holds no certificate in PEM");
    files = good.clone();
    files.key = good.certificate.clone();
    assert_eq!(error(&files), "tls.key holds no private key in PEM");
    files = good.clone();
    files.key = authority.files(ROUTER).key;
    assert!(error(&files).starts_with("the certificate and the key cannot be used: "), "{}", error(&files));
    files = good;
    files.ca = Authority::new("b").pem;
    let why = "the certificate is signed by no authority that is trusted here";
    assert_eq!(error(&files), format!("tls.crt would be refused by everyone who trusts ca.crt: {why}"));
    let nobody = "tls.crt speaks for nobody: ";
    assert_eq!(
        error(&authority.sign(&[], |_| ())),
        format!("{nobody}a certificate names 0 URIs, and an identity is one")
    );
    let twice = authority.sign(&[ROUTER, OPERATOR], |_| ());
    assert_eq!(error(&twice), format!("{nobody}a certificate names 2 URIs, and an identity is one"));
    let other = authority.files("spiffe://elsewhere/router");
    let expected = r#""spiffe://elsewhere/router" is no identity: expected spiffe://trivet/NAMESPACE/CLUSTER/ROLE"#;
    assert_eq!(error(&other), format!("{nobody}{expected}"));
    let one_way =
        authority.sign(&[ROUTER], |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    assert!(error(&one_way).starts_with("tls.crt would be refused by everyone"), "{}", error(&one_way));
}

#[test]
fn a_process_demands_a_certificate_of_its_role() {
    let router = seal(&Authority::new("a"), ROUTER);
    assert!(router.clone().demand("router", |role| role == Role::Router).is_ok());
    let error = router.demand("node", |role| role.node().is_some()).unwrap_err();
    assert_eq!(error.to_string(), format!("the certificate speaks for {ROUTER}, which is no node"));
}
