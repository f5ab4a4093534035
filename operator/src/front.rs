//! The control service of every cluster on one port: which one a router means is told by the name that it calls
//! (`CLUSTER-control:7200`), as in HTTP; and in TLS, since each has certificates of its own. A cluster that has them takes calls of its
//! own processes alone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use control::service::Service;
use tonic::codegen::http;
use tonic::{Request, Response, Status};
use wire::control::control_server::Control;
use wire::control::{CreateTableRequest, DeleteTableRequest, TableAnswer, UpdateTableRequest};
use wire::door::Seals;
use wire::seal::Seal;
use wire::seal::callers::Voice;

use crate::metrics::Metrics;
use crate::resources::KubeResources;

type Services = BTreeMap<String, (Arc<Service<KubeResources>>, Admits)>;

/// Who may call a cluster's control service.
#[derive(Clone)]
pub enum Admits {
    /// It has no certificates, and none are wished.
    Everybody,
    /// Its certificates are not there yet.
    Nobody,
    /// Processes of the same cluster, by this seal.
    Kin(Seal),
}

/// A handle; clones share the clusters.
#[derive(Clone)]
pub struct Front {
    services: Arc<Mutex<Services>>,
    metrics: Metrics,
}

/// The host that a caller has named.
#[derive(Clone, Debug)]
struct Called(String);

/// Remembers whom the caller has named, where the service can see it.
pub fn remember_host<B>(mut request: http::Request<B>) -> http::Request<B> {
    if let Some(host) = request.uri().host() {
        let called = Called(host.to_owned());
        request.extensions_mut().insert(called);
    }
    request
}

impl Front {
    pub fn new(metrics: Metrics) -> Front {
        Front { services: Arc::default(), metrics }
    }

    /// Again after every look: the certificates come with time.
    pub fn add(&self, cluster: &str, service: &Arc<Service<KubeResources>>, admits: Admits) {
        let entry = (Arc::clone(service), admits);
        self.services.lock().unwrap_or_else(PoisonError::into_inner).insert(cluster.to_owned(), entry);
    }

    /// By which seal the door speaks with those who call this name.
    pub fn seals(&self) -> Seals {
        let front = self.clone();
        Arc::new(move |host| {
            let services = front.services.lock().unwrap_or_else(PoisonError::into_inner);
            match services.get(cluster_of(host?)) {
                Some((_, Admits::Kin(seal))) => Some(seal.clone()),
                Some((_, Admits::Everybody | Admits::Nobody)) | None => None,
            }
        })
    }

    pub fn remove(&self, cluster: &str) {
        self.services.lock().unwrap_or_else(PoisonError::into_inner).remove(cluster);
    }

    fn counted<T>(&self, operation: &str, answer: Result<T, Status>) -> Result<T, Status> {
        self.metrics.answered(operation, &answer);
        answer
    }

    fn called<T>(&self, request: &Request<T>) -> Result<Arc<Service<KubeResources>>, Status> {
        let host = request.extensions().get::<Called>().map_or("", |Called(host)| host.as_str());
        let cluster = cluster_of(host);
        let services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        let found = services.get(cluster).cloned();
        let (service, admits) =
            found.ok_or_else(|| Status::unavailable(format!("there is no cluster {cluster:?} here")))?;
        let may = match (Voice::of(request), &admits) {
            (Voice::Anybodys, Admits::Everybody) => true,
            (Voice::Of(identity, _), Admits::Kin(seal)) => identity.is_kin_of(seal.identity()),
            (Voice::Anybodys | Voice::Nobodys | Voice::Of(..), _) => false,
        };
        if may {
            return Ok(service);
        }
        Err(Status::permission_denied(format!("the cluster {cluster:?} takes calls of its own processes alone")))
    }
}

/// `music-control`, `music-control.default.svc`: the cluster `music`.
fn cluster_of(host: &str) -> &str {
    let name = host.split('.').next().unwrap_or(host);
    name.strip_suffix("-control").unwrap_or(name)
}

#[tonic::async_trait]
impl Control for Front {
    async fn create_table(&self, request: Request<CreateTableRequest>) -> Result<Response<TableAnswer>, Status> {
        let called = self.called(&request);
        let answer = async { called?.create_table(request).await };
        self.counted("CreateTable", answer.await)
    }

    async fn update_table(&self, request: Request<UpdateTableRequest>) -> Result<Response<TableAnswer>, Status> {
        let called = self.called(&request);
        let answer = async { called?.update_table(request).await };
        self.counted("UpdateTable", answer.await)
    }

    async fn delete_table(&self, request: Request<DeleteTableRequest>) -> Result<Response<TableAnswer>, Status> {
        let called = self.called(&request);
        let answer = async { called?.delete_table(request).await };
        self.counted("DeleteTable", answer.await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_names_the_cluster() {
        assert_eq!(cluster_of("music-control"), "music");
        assert_eq!(cluster_of("music-control.default.svc.cluster.local"), "music");
        assert_eq!(cluster_of("control-control"), "control");
    }
}
