//! A client that ends whoever uses it, right after one of its writes: between two of them the API server knows the same, so that these are all
//! the moments that make a difference.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kube::Client;
use kube::client::Body;
use tokio::sync::Notify;
use tonic::codegen::http::{Method, Request};

/// Counts writes, and burns through after one of them.
pub struct Fuse {
    writes: AtomicUsize,
    last: usize,
    burnt: Notify,
}

impl Fuse {
    pub fn never() -> Arc<Fuse> {
        Fuse::after(usize::MAX)
    }

    pub fn after(last: usize) -> Arc<Fuse> {
        Arc::new(Fuse { writes: AtomicUsize::new(0), last, burnt: Notify::new() })
    }

    pub fn writes(&self) -> usize {
        self.writes.load(Ordering::SeqCst)
    }

    pub async fn burnt(&self) {
        self.burnt.notified().await;
    }
}

/// Who waits for its last answer waits until he is dropped.
pub fn client(client: &Client, fuse: &Arc<Fuse>) -> Client {
    let (client, fuse) = (client.clone(), Arc::clone(fuse));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, fuse) = (client.clone(), Arc::clone(&fuse));
        async move {
            let writes = request.method() != Method::GET;
            let answer = client.send(request).await;
            if writes && fuse.writes.fetch_add(1, Ordering::SeqCst) + 1 == fuse.last {
                fuse.burnt.notify_one();
                std::future::pending::<()>().await;
            }
            answer
        }
    });
    Client::new(service, "default")
}
