//! What every call of the API server has in common: it is counted, it ends, and one that changes something is made by who may.
#![expect(clippy::disallowed_types, reason = "it wraps the client")]

use std::time::Duration;

use kube::Client;
use kube::client::Body;
use tonic::codegen::http::{Method, Request};

use crate::lease::Tenure;
use crate::metrics::Metrics;

/// How long a call may take that changes something: no longer than between a holder's end and its successor's beginning (`lease`).
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Lists are long: ten thousand partitions on a busy machine.
const LIST_PATIENCE: Duration = Duration::from_secs(60);

/// Why a call was not made, or has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    #[error("another process of the operator acts, or none does yet")]
    NotHeld,
    #[error("the API server does not answer")]
    Silent,
}

/// What a call does to what, in Kubernetes' words; of bounded sets, as labels of metrics must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    pub verb: &'static str,
    /// With its subresource: `tables/status`.
    pub resource: String,
}

/// `/apis/GROUP/VERSION/namespaces/NAMESPACE/RESOURCE/NAME/SUBRESOURCE`; `/api/v1/…` for the oldest ones.
pub fn described<B>(request: &Request<B>) -> Described {
    let path: Vec<&str> = request.uri().path().split('/').filter(|part| !part.is_empty()).collect();
    let versioned = match path.first() {
        Some(&"apis") => path.get(3..),
        Some(&"api") => path.get(2..),
        _ => None,
    };
    let inside = match versioned.unwrap_or_default() {
        ["namespaces", _namespace, inside @ ..] if !inside.is_empty() => inside,
        other => other,
    };
    let (resource, named) = match inside {
        [] => ("none".to_owned(), false),
        [resource] => ((*resource).to_owned(), false),
        [resource, _name] => ((*resource).to_owned(), true),
        [resource, _name, under, ..] => (format!("{resource}/{under}"), true),
    };
    let watches = request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair == "watch=true"));
    let verb = match (request.method(), named) {
        (&Method::GET, _) if watches => "watch",
        (&Method::GET, true) => "get",
        (&Method::GET, false) => "list",
        (&Method::POST, _) => "create",
        (&Method::PUT, _) => "update",
        (&Method::PATCH, _) => "patch",
        (&Method::DELETE, true) => "delete",
        (&Method::DELETE, false) => "deletecollection",
        _ => "other",
    };
    Described { verb, resource }
}

/// The same client; every call of it is counted, and ends.
pub fn counted(client: &Client, metrics: &Metrics) -> Client {
    let (client, metrics) = (client.clone(), metrics.clone());
    let namespace = client.default_namespace().to_owned();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, metrics) = (client.clone(), metrics.clone());
        async move {
            let call = described(&request);
            metrics.called(&call);
            let patience = if request.method() == Method::GET { LIST_PATIENCE } else { PATIENCE };
            match tokio::time::timeout(patience, client.send(request)).await {
                Ok(answer) => answer,
                Err(_) => Err(kube::Error::Service(CallError::Silent.into())),
            }
        }
    });
    Client::new(service, namespace)
}

/// The same client; it changes something only while this process is the one that acts.
pub fn held(client: &Client, tenure: &Tenure) -> Client {
    let (client, tenure) = (client.clone(), tenure.clone());
    let namespace = client.default_namespace().to_owned();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, tenure) = (client.clone(), tenure.clone());
        async move {
            if request.method() != Method::GET && !tenure.is_held() {
                return Err(kube::Error::Service(CallError::NotHeld.into()));
            }
            client.send(request).await
        }
    });
    Client::new(service, namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_described_in_kubernetes_words() {
        let described = |method: Method, uri: &str| {
            let request = Request::builder().method(method).uri(uri).body(()).unwrap();
            let Described { verb, resource } = described(&request);
            format!("{verb} {resource}")
        };
        let tables = "/apis/trivet.dev/v1alpha1/namespaces/default/tables";
        assert_eq!(described(Method::GET, &format!("{tables}?limit=500")), "list tables");
        assert_eq!(described(Method::GET, &format!("{tables}?watch=true&resourceVersion=5")), "watch tables");
        assert_eq!(described(Method::PUT, &format!("{tables}/music/status")), "update tables/status");
        assert_eq!(described(Method::DELETE, &format!("{tables}?labelSelector=a")), "deletecollection tables");
        assert_eq!(described(Method::POST, "/api/v1/namespaces/default/pods"), "create pods");
        assert_eq!(described(Method::DELETE, "/api/v1/namespaces/default/pods/namespaces"), "delete pods");
        assert_eq!(described(Method::GET, "/api/v1/namespaces/default"), "get namespaces");
        assert_eq!(described(Method::GET, "/api/v1/nodes"), "list nodes");
        assert_eq!(described(Method::GET, "/version"), "list none");
    }
}
