//! The control service of every cluster on one port: which one a router means is told by the name that it calls
//! (`CLUSTER-control:7200`), as in HTTP.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use control::service::Service;
use tonic::codegen::http;
use tonic::{Request, Response, Status};
use wire::control::control_server::Control;
use wire::control::{CreateTableRequest, DeleteTableRequest, TableAnswer, UpdateTableRequest};

use crate::resources::KubeResources;

type Services = BTreeMap<String, Arc<Service<KubeResources>>>;

/// A handle; clones share the clusters.
#[derive(Clone, Default)]
pub struct Front {
    services: Arc<Mutex<Services>>,
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
    pub fn add(&self, cluster: &str, service: Arc<Service<KubeResources>>) {
        self.services.lock().unwrap_or_else(PoisonError::into_inner).insert(cluster.to_owned(), service);
    }

    pub fn remove(&self, cluster: &str) {
        self.services.lock().unwrap_or_else(PoisonError::into_inner).remove(cluster);
    }

    fn called<T>(&self, request: &Request<T>) -> Result<Arc<Service<KubeResources>>, Status> {
        let host = request.extensions().get::<Called>().map_or("", |Called(host)| host.as_str());
        let cluster = cluster_of(host);
        let services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        services
            .get(cluster)
            .cloned()
            .ok_or_else(|| Status::unavailable(format!("there is no cluster {cluster:?} here")))
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
        self.called(&request)?.create_table(request).await
    }

    async fn update_table(&self, request: Request<UpdateTableRequest>) -> Result<Response<TableAnswer>, Status> {
        self.called(&request)?.update_table(request).await
    }

    async fn delete_table(&self, request: Request<DeleteTableRequest>) -> Result<Response<TableAnswer>, Status> {
        self.called(&request)?.delete_table(request).await
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
