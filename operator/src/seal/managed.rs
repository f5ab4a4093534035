//! The same certificates by cert-manager: a Certificate object for each bearer, which cert-manager fulfils with a Secret of the same name.
//! Pure.
//!
//! Its issuer's CA is not ours to replace: whoever changes it has to have both trusted meanwhile.

use kube::ResourceExt as _;
use kube::api::DynamicObject;
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::json;

use super::bearer::{Bearer, Place};
use crate::build::parsed;
use crate::crd::Cluster;
use crate::crd::cluster::IssuerReference;

pub fn resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("cert-manager.io", "v1", "Certificate"))
}

/// As long-lived as those of our own CA, and renewed as early.
pub fn certificate(
    cluster: &Cluster,
    issuer: &IssuerReference,
    bearer: Bearer,
    metadata: &serde_json::Value,
) -> DynamicObject {
    let place = Place { namespace: cluster.namespace().unwrap_or_default(), cluster: cluster.name_any() };
    parsed(json!({
        "apiVersion": "cert-manager.io/v1",
        "kind": "Certificate",
        "metadata": metadata,
        "spec": {
            "secretName": bearer.secret(&place.cluster),
            "secretTemplate": { "labels": metadata["labels"] },
            "duration": "2160h0m0s",
            "renewBefore": "1440h0m0s",
            "privateKey": { "algorithm": "ECDSA", "size": 256, "encoding": "PKCS8", "rotationPolicy": "Always" },
            "usages": ["digital signature", "server auth", "client auth"],
            "uris": [bearer.identity(&place)],
            "issuerRef": { "name": issuer.name, "kind": format!("{:?}", issuer.kind), "group": issuer.group },
        },
    }))
}

#[cfg(test)]
mod tests {
    use model::NodeId;

    use super::*;

    #[test]
    fn a_certificate_of_cert_manager_says_the_same_as_one_of_ours() {
        let cluster = json!({
            "metadata": { "name": "trv", "namespace": "shop" },
            "spec": {
                "image": "trivet:1", "zones": [], "storage": { "size": "10Gi" }, "credentialsSecret": { "name": "keys" },
                "tls": { "mode": "CertManager", "issuerRef": { "name": "house" } },
            },
        });
        let cluster: Cluster = serde_json::from_value(cluster).unwrap();
        let issuer = cluster.spec.tls.issuer_ref.clone().unwrap();
        let metadata = json!({ "name": "trv-tls-node-000000000000001f", "labels": { "trivet.dev/cluster": "trv" } });
        let made = certificate(&cluster, &issuer, Bearer::Node(NodeId(0x1f)), &metadata);
        assert_eq!(made.name_any(), "trv-tls-node-000000000000001f");
        assert_eq!(
            made.data["spec"],
            json!({
                "secretName": "trv-tls-node-000000000000001f",
                "secretTemplate": { "labels": { "trivet.dev/cluster": "trv" } },
                "duration": "2160h0m0s",
                "renewBefore": "1440h0m0s",
                "privateKey": { "algorithm": "ECDSA", "size": 256, "encoding": "PKCS8", "rotationPolicy": "Always" },
                "usages": ["digital signature", "server auth", "client auth"],
                "uris": ["spiffe://trivet/shop/trv/node/000000000000001f"],
                "issuerRef": { "name": "house", "kind": "Issuer", "group": "cert-manager.io" },
            })
        );
    }
}
