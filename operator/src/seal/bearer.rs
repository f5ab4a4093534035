//! Who has a certificate, what it says of its bearer, and in which Secret it rests. Pure.

use model::NodeId;
use wire::seal::{Identity, Role};

/// The Cluster whose certificates these are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub namespace: String,
    pub cluster: String,
}

/// Processes of one role share a certificate; but each node has its own, since its word counts for that node alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bearer {
    Operator,
    /// A person at `trivet admin`.
    Admin,
    Router,
    MemDs,
    Node(NodeId),
}

/// All but the nodes, who come and go.
pub const ROLES: [Bearer; 4] = [Bearer::Operator, Bearer::Admin, Bearer::Router, Bearer::MemDs];

impl Bearer {
    /// The role as metrics and labels have it; all nodes are one.
    pub fn role(self) -> &'static str {
        match self {
            Bearer::Operator => "operator",
            Bearer::Admin => "admin",
            Bearer::Router => "router",
            Bearer::MemDs => "memds",
            Bearer::Node(_) => "node",
        }
    }

    /// The name of the Secret, and of cert-manager's Certificate.
    pub fn secret(self, cluster: &str) -> String {
        match self {
            Bearer::Node(node) => format!("{cluster}-tls-node-{node}"),
            Bearer::Operator | Bearer::Admin | Bearer::Router | Bearer::MemDs => {
                format!("{cluster}-tls-{}", self.role())
            }
        }
    }

    /// What the certificate says, as its one URI.
    pub fn identity(self, place: &Place) -> String {
        let Place { namespace, cluster } = place.clone();
        let role = match self {
            Bearer::Operator => Role::Operator,
            Bearer::Admin => Role::Admin,
            Bearer::Router => Role::Router,
            Bearer::MemDs => Role::MemDs,
            Bearer::Node(node) => Role::Node(node),
        };
        Identity { namespace, cluster, role }.to_string()
    }
}

/// The Secret with the CA, which no process but the operator sees.
pub fn authority_secret(cluster: &str) -> String {
    format!("{cluster}-ca")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bearer_has_a_secret_and_an_identity_of_its_own() {
        let place = Place { namespace: "shop".to_owned(), cluster: "trv".to_owned() };
        let node = Bearer::Node(NodeId(0x1f));
        assert_eq!(node.secret("trv"), "trv-tls-node-000000000000001f");
        assert_eq!(node.identity(&place), "spiffe://trivet/shop/trv/node/000000000000001f");
        assert_eq!(Bearer::MemDs.secret("trv"), "trv-tls-memds");
        assert_eq!(Bearer::MemDs.identity(&place), "spiffe://trivet/shop/trv/memds");
        let mut secrets: Vec<String> = ROLES.iter().map(|bearer| bearer.secret("trv")).collect();
        secrets.push(authority_secret("trv"));
        secrets.sort();
        secrets.dedup();
        assert_eq!(secrets.len(), ROLES.len() + 1);
    }
}
