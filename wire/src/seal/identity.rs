//! Who a certificate speaks for: `spiffe://trivet/NAMESPACE/CLUSTER/ROLE`, its one URI name.
//!
//! ROLE is `router`, `memds`, `operator`, `admin`, or `node/ID`: a node's certificate speaks for that node alone. There is one way to
//! write each identity, and no other is read.

use std::fmt;
use std::str::FromStr;

use model::NodeId;

const SCHEME: &str = "spiffe://trivet/";

/// One process of one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub namespace: String,
    pub cluster: String,
    pub role: Role,
}

/// What a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Router,
    MemDs,
    /// The operator, or a control service without Kubernetes.
    Operator,
    /// People.
    Admin,
    Node(NodeId),
}

/// Why a URI is nobody's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no identity: expected spiffe://trivet/NAMESPACE/CLUSTER/ROLE")]
pub struct NoIdentity(String);

impl Identity {
    /// Whether both are processes of one cluster.
    pub fn is_kin_of(&self, other: &Identity) -> bool {
        self.namespace == other.namespace && self.cluster == other.cluster
    }
}

impl Role {
    /// The node, where it is one.
    pub fn node(self) -> Option<NodeId> {
        match self {
            Role::Node(node) => Some(node),
            Role::Router | Role::MemDs | Role::Operator | Role::Admin => None,
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Identity { namespace, cluster, role } = self;
        write!(f, "{SCHEME}{namespace}/{cluster}/{role}")
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Role::Router => f.write_str("router"),
            Role::MemDs => f.write_str("memds"),
            Role::Operator => f.write_str("operator"),
            Role::Admin => f.write_str("admin"),
            Role::Node(node) => write!(f, "node/{node}"),
        }
    }
}

impl FromStr for Identity {
    type Err = NoIdentity;

    fn from_str(text: &str) -> Result<Identity, NoIdentity> {
        read(text).ok_or_else(|| NoIdentity(text.to_owned()))
    }
}

fn read(text: &str) -> Option<Identity> {
    let mut parts = text.strip_prefix(SCHEME)?.splitn(3, '/');
    let namespace = name(parts.next()?)?;
    let cluster = name(parts.next()?)?;
    let role = match parts.next()? {
        "router" => Role::Router,
        "memds" => Role::MemDs,
        "operator" => Role::Operator,
        "admin" => Role::Admin,
        other => Role::Node(node(other.strip_prefix("node/")?)?),
    };
    Some(Identity { namespace, cluster, role })
}

/// As Kubernetes names things.
fn name(text: &str) -> Option<String> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
    (!text.is_empty() && text.bytes().all(fits)).then(|| text.to_owned())
}

/// Never 0, which stands for no node.
fn node(text: &str) -> Option<NodeId> {
    let node = u64::from_str_radix(text, 16).ok().filter(|id| *id != 0).map(NodeId)?;
    (node.to_string() == text).then_some(node)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof, proptest};

    use super::*;

    fn identities() -> impl Strategy<Value = Identity> {
        let roles = prop_oneof![
            Just(Role::Router),
            Just(Role::MemDs),
            Just(Role::Operator),
            Just(Role::Admin),
            any::<u64>().prop_filter("0 is no node", |id| *id != 0).prop_map(|id| Role::Node(NodeId(id))),
        ];
        let identity = |(namespace, cluster, role)| Identity { namespace, cluster, role };
        ("[a-z0-9.-]{1,12}", "[a-z0-9.-]{1,12}", roles).prop_map(identity)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(identity in identities()) {
            prop_assert_eq!(identity.to_string().parse(), Ok(identity));
        }
    }

    #[test]
    fn an_identity_is_written_in_one_way() {
        let node = Identity { namespace: "shop".into(), cluster: "music".into(), role: Role::Node(NodeId(0xab)) };
        assert_eq!(node.to_string(), "spiffe://trivet/shop/music/node/00000000000000ab");
        for other in [
            "spiffe://trivet/shop/music/node/ab",
            "spiffe://trivet/shop/music/node/00000000000000AB",
            "spiffe://trivet/shop/music/node/0000000000000000",
            "spiffe://trivet/shop/music/node/+0000000000000ab",
            "spiffe://trivet/shop/music/node",
            "spiffe://trivet/shop/music/router/",
            "spiffe://trivet/shop/music/canary",
            "spiffe://trivet/shop//router",
            "spiffe://trivet//music/router",
            "spiffe://trivet/Shop/music/router",
            "spiffe://trivet/shop/mu%73ic/router",
            "spiffe://other/shop/music/router",
            "https://trivet/shop/music/router",
        ] {
            assert_eq!(other.parse::<Identity>(), Err(NoIdentity(other.to_owned())));
        }
    }
}
