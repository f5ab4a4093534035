//! Who may call what, and in whose name a caller may speak.
//!
//! The table is the whole of it: what it does not name nobody may call. It holds at every sealed port, before a service sees the
//! call; at plain ones everybody may do everything.

use std::task::{Context, Poll};

use futures::future::{Either, Ready, ready};
use model::NodeId;
use tonic::codegen::http;
use tonic::{Request, Status};
use tower::{Layer, Service};

use super::identity::{Identity, Role};
use super::{Refusal, Seal};
use crate::door::{Caller, Visitor};

/// Roles without which node it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Router,
    MemDs,
    Operator,
    Admin,
    Node,
}

use Kind::{Admin, Node, Operator, Router};

/// Service, methods, and whose roles may call them.
pub const CALLERS: [(&str, &[&str], &[Kind]); 11] = [
    ("trivet.data.v1.Data", &["Exchange"], &[Router]),
    ("trivet.raft.v1.Raft", &["Exchange", "SendSnapshot"], &[Node]),
    ("trivet.admin.v1.Admin", &["Status", "ListGroups"], &[Operator, Admin]),
    ("trivet.admin.v1.Admin", &["ChangeReplicas", "TransferLeader", "SplitGroup"], &[Operator, Admin]),
    ("trivet.admin.v1.Admin", &["Format", "CreateGroup", "SetTable", "DestroyGroup"], &[Operator]),
    // People alone: no program can tell lost from cut off.
    ("trivet.admin.v1.Admin", &["RecoverGroup"], &[Admin]),
    ("trivet.admin.v1.Admin", &["ExchangeDirectory"], &[Node]),
    ("trivet.memds.v1.MemDs", &["Announce"], &[Node]),
    ("trivet.memds.v1.MemDs", &["PutTable", "RemoveTable"], &[Operator]),
    ("trivet.memds.v1.MemDs", &["Lookup", "ListTables", "ListPartitions"], &[Router]),
    // In their clients' names.
    ("trivet.control.v1.Control", &["CreateTable", "UpdateTable", "DeleteTable"], &[Router]),
];

impl Role {
    pub fn kind(self) -> Kind {
        match self {
            Role::Router => Kind::Router,
            Role::MemDs => Kind::MemDs,
            Role::Operator => Kind::Operator,
            Role::Admin => Kind::Admin,
            Role::Node(_) => Kind::Node,
        }
    }
}

/// By the path of a call: `/SERVICE/METHOD`.
pub fn may_call(role: Role, path: &str) -> bool {
    let Some((service, method)) = path.strip_prefix('/').and_then(|path| path.split_once('/')) else { return false };
    CALLERS
        .iter()
        .any(|(of, methods, kinds)| *of == service && methods.contains(&method) && kinds.contains(&role.kind()))
}

/// In whose name a call may speak.
#[derive(Clone)]
pub enum Voice {
    /// At a plain port nobody is known.
    Anybodys,
    Nobodys,
    Of(Identity, Seal),
}

impl Voice {
    pub fn of<T>(request: &Request<T>) -> Voice {
        match request.extensions().get::<Visitor>().map(Visitor::caller) {
            Some(Caller::Known(identity, seal)) => Voice::Of(identity, seal),
            Some(Caller::Unknown) => Voice::Nobodys,
            Some(Caller::Plain) | None => Voice::Anybodys,
        }
    }

    /// Whether what it says of this node is the node's own word.
    pub fn speaks_for(&self, node: NodeId) -> Result<(), Status> {
        match self {
            Voice::Anybodys => Ok(()),
            Voice::Nobodys => Err(unknown()),
            Voice::Of(identity, _) if identity.role == Role::Node(node) => Ok(()),
            Voice::Of(identity, seal) => {
                seal.refuse(
                    Refusal::Call,
                    || tracing::warn!(%identity, %node, "refused what was said in another's name"),
                );
                Err(Status::permission_denied(format!("{identity} does not speak for node {node}")))
            }
        }
    }
}

/// Refuses what the table does not allow.
#[derive(Clone, Copy, Debug, Default)]
pub struct Guard {}

#[derive(Clone, Debug)]
pub struct Guarded<S> {
    inner: S,
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { inner }
    }
}

impl<S, A, B> Service<http::Request<A>> for Guarded<S>
where
    S: Service<http::Request<A>, Response = http::Response<B>>,
    B: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<S::Response, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<A>) -> Self::Future {
        match check(&request) {
            Ok(()) => Either::Left(self.inner.call(request)),
            Err(status) => Either::Right(ready(Ok(status.into_http()))),
        }
    }
}

/// Who has come by no door of ours is none of the seal's business.
fn check<A>(request: &http::Request<A>) -> Result<(), Status> {
    let path = request.uri().path();
    match request.extensions().get::<Visitor>().map(Visitor::caller) {
        Some(Caller::Known(identity, seal)) if !may_call(identity.role, path) => {
            seal.refuse(Refusal::Call, || tracing::warn!(%identity, path, "refused a call"));
            Err(Status::permission_denied(format!("{identity} may not call {path}")))
        }
        Some(Caller::Unknown) => Err(unknown()),
        Some(Caller::Known(..) | Caller::Plain) | None => Ok(()),
    }
}

fn unknown() -> Status {
    Status::permission_denied("nobody knows who calls")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const KINDS: [(Kind, Role); 5] = [
        (Kind::Router, Role::Router),
        (Kind::MemDs, Role::MemDs),
        (Kind::Operator, Role::Operator),
        (Kind::Admin, Role::Admin),
        (Kind::Node, Role::Node(NodeId(7))),
    ];

    /// Every path of the protocol files.
    fn paths() -> BTreeSet<String> {
        let files = [
            include_str!("../../proto/admin.proto"),
            include_str!("../../proto/control.proto"),
            include_str!("../../proto/data.proto"),
            include_str!("../../proto/memds.proto"),
            include_str!("../../proto/raft.proto"),
        ];
        let mut paths = BTreeSet::new();
        for file in files {
            let named =
                |word: &str| file.lines().filter_map(move |line| line.trim().strip_prefix(word)).collect::<Vec<_>>();
            let package = named("package ")[0].trim_end_matches(';');
            let service = named("service ")[0].trim_end_matches(" {");
            for method in named("rpc ") {
                paths.insert(format!("/{package}.{service}/{}", method.split('(').next().unwrap()));
            }
        }
        paths
    }

    #[test]
    fn the_table_names_every_call_once() {
        let named = CALLERS.iter();
        let named: Vec<String> = named
            .flat_map(|(service, methods, _)| methods.iter().map(move |method| format!("/{service}/{method}")))
            .collect();
        assert_eq!(named.iter().cloned().collect::<BTreeSet<_>>(), paths());
        assert_eq!(named.len(), paths().len());
    }

    #[test]
    fn each_role_may_call_what_is_its_own_and_nothing_else() {
        let may = |wanted: Kind| {
            let role = KINDS.iter().find(|(kind, _)| *kind == wanted).unwrap().1;
            let paths: Vec<String> = paths().into_iter().filter(|path| may_call(role, path)).collect();
            paths
                .iter()
                .map(|path| path.rsplit(['/', '.']).take(2).collect::<Vec<_>>().join(" of "))
                .collect::<Vec<_>>()
        };
        let data = "Exchange of Data";
        assert_eq!(may(Kind::MemDs), [""; 0]);
        assert_eq!(
            may(Kind::Router),
            [
                "CreateTable of Control",
                "DeleteTable of Control",
                "UpdateTable of Control",
                data,
                "ListPartitions of MemDs",
                "ListTables of MemDs",
                "Lookup of MemDs"
            ]
        );
        assert_eq!(
            may(Kind::Node),
            ["ExchangeDirectory of Admin", "Announce of MemDs", "Exchange of Raft", "SendSnapshot of Raft"]
        );
        assert_eq!(
            may(Kind::Admin),
            [
                "ChangeReplicas of Admin",
                "ListGroups of Admin",
                "RecoverGroup of Admin",
                "SplitGroup of Admin",
                "Status of Admin",
                "TransferLeader of Admin"
            ]
        );
        assert_eq!(
            may(Kind::Operator),
            [
                "ChangeReplicas of Admin",
                "CreateGroup of Admin",
                "DestroyGroup of Admin",
                "Format of Admin",
                "ListGroups of Admin",
                "SetTable of Admin",
                "SplitGroup of Admin",
                "Status of Admin",
                "TransferLeader of Admin",
                "PutTable of MemDs",
                "RemoveTable of MemDs"
            ]
        );
    }

    #[test]
    fn what_is_not_in_the_table_nobody_may_call() {
        for (_, role) in KINDS {
            for path in
                ["/", "", "/trivet.data.v1.Data", "/trivet.data.v1.Data/", "/trivet.data.v1.Data/Delete", "/x.Y/Z"]
            {
                assert!(!may_call(role, path), "{role} {path}");
            }
        }
    }
}
