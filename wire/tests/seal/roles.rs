//! Who may call what, at a real port.

use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request};
use tonic_prost::ProstCodec;
use wire::control::{DeleteTableRequest, TableAnswer};
use wire::door::Manner;
use wire::seal::callers::{CALLERS, may_call};
use wire::seal::connect::{Line, Whom};
use wire::seal::{Refusal, Seal};

use crate::authority::Authority;
use crate::world::{OPERATOR, World, seal};

const ROLES: [&str; 5] = ["router", "memds", "operator", "admin", "node/0000000000000007"];

async fn code(line: &Line, path: &str) -> Code {
    let mut client = Grpc::new(line.channel.clone());
    client.ready().await.unwrap();
    let path = PathAndQuery::try_from(path).unwrap();
    let codec = ProstCodec::<DeleteTableRequest, TableAnswer>::default();
    let answer = client.unary(Request::new(DeleteTableRequest::default()), path, codec).await;
    answer.err().map_or(Code::Ok, |status| status.code())
}

#[tokio::test]
async fn every_call_that_is_not_a_roles_own_is_denied_and_counted() {
    let authority = Authority::new("a");
    let door = seal(&authority, OPERATOR);
    let world = World::start(Manner::Sealed(door.clone())).await;
    let mut denied = 0;
    for role in ROLES {
        let caller: Seal = seal(&authority, &format!("spiffe://trivet/shop/music/{role}"));
        let line = world.line(Some(&caller), Whom::Control).await.unwrap();
        for (service, methods, _) in CALLERS {
            for method in methods {
                let path = format!("/{service}/{method}");
                let may = may_call(caller.identity().role, &path);
                let code = code(&line, &path).await;
                // What may be called is not there, or finds no table.
                assert_eq!(code == Code::PermissionDenied, !may, "{role} {path}: {code}");
                denied += u64::from(!may);
            }
        }
    }
    assert_eq!(door.refused(Refusal::Call), denied);
    assert!(denied > 60, "{denied}");
}

#[tokio::test]
async fn at_a_plain_port_everybody_may_do_everything() {
    let world = World::start(Manner::Plain).await;
    let line = world.line(None, Whom::Control).await.unwrap();
    assert_eq!(code(&line, "/trivet.control.v1.Control/DeleteTable").await, Code::NotFound);
}
