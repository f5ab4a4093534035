//! Bad luck: every so many calls something goes wrong between the operator and the API server, each time something else.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use kube::Client;
use kube::client::Body;
use kube::client::retry::RetryPolicy;
use serde_json::json;
use tonic::codegen::http::{Method, Request, Response};
use tower::BoxError;
use tower::retry::Retry;

/// Longer than a look of the tests.
const SLOW: Duration = Duration::from_millis(300);
/// What is heard of a watch before it is cut.
const FRAMES: usize = 2;

/// One process's luck, while it is bad.
pub struct Luck {
    /// Which calls: every so many.
    every: usize,
    calls: AtomicUsize,
    /// How often it was bad.
    pub mishaps: AtomicUsize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mishap {
    /// 409
    Conflict,
    /// 429, with the server's own word on when to come back.
    TooMany,
    /// 500
    Broken,
    /// It is done, and the answer is lost.
    Unheard,
    /// The connection is gone before it is done.
    Unreached,
    Slow,
}

const MISHAPS: [Mishap; 6] =
    [Mishap::Conflict, Mishap::Broken, Mishap::Unheard, Mishap::TooMany, Mishap::Unreached, Mishap::Slow];

impl Luck {
    pub fn bad(every: usize) -> Arc<Luck> {
        Arc::new(Luck { every, calls: AtomicUsize::new(0), mishaps: AtomicUsize::new(0) })
    }

    fn next(&self) -> Option<Mishap> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        call.is_multiple_of(self.every).then(|| MISHAPS[self.mishaps.fetch_add(1, Ordering::Relaxed) % MISHAPS.len()])
    }
}

/// The client as it is by default, with bad luck below what it tries again by itself.
pub fn unlucky(config: &kube::Config, luck: &Arc<Luck>) -> Client {
    let mut below = config.clone();
    below.default_retry = false;
    let (client, luck) = (Client::try_from(below).unwrap(), Arc::clone(luck));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, mishap) = (client.clone(), luck.next());
        async move { meet(&client, request, mishap).await }
    });
    Client::new(Retry::new(RetryPolicy::server_retry(), service), config.default_namespace.clone())
}

type Answer = Response<UnsyncBoxBody<Bytes, BoxError>>;

async fn meet(client: &Client, request: Request<Body>, mishap: Option<Mishap>) -> Result<Answer, BoxError> {
    let watches = request.uri().query().is_some_and(|query| query.contains("watch=true"));
    let reads = request.method() == Method::GET;
    match mishap {
        None => Ok(whole(client.send(request).await?)),
        Some(Mishap::Slow) => {
            tokio::time::sleep(SLOW).await;
            Ok(whole(client.send(request).await?))
        }
        Some(_) if watches => Ok(cut(client.send(request).await?)),
        Some(Mishap::Conflict) if !reads => Ok(refusal(409, "Conflict", None)),
        Some(Mishap::TooMany) => Ok(refusal(429, "TooManyRequests", Some("1"))),
        Some(Mishap::Conflict | Mishap::Broken) => Ok(refusal(500, "InternalError", None)),
        Some(Mishap::Unheard) => {
            client.send(request).await?;
            Err(io::Error::from(io::ErrorKind::ConnectionReset).into())
        }
        Some(Mishap::Unreached) => Err(io::Error::from(io::ErrorKind::ConnectionRefused).into()),
    }
}

fn refusal(code: u16, reason: &str, retry_after: Option<&str>) -> Answer {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "bad luck",
        "reason": reason, "code": code,
    });
    let mut response = Response::builder().status(code).header("content-type", "application/json");
    if let Some(seconds) = retry_after {
        response = response.header("Retry-After", seconds);
    }
    whole(response.body(Body::from(status.to_string().into_bytes())).unwrap())
}

fn whole(response: Response<Body>) -> Answer {
    response.map(|body| body.map_err(BoxError::from).boxed_unsync())
}

/// A watch that breaks off in the middle.
fn cut(response: Response<Body>) -> Answer {
    response.map(|body| {
        let heard = body.into_data_stream().take(FRAMES).map(|data| data.map(Frame::data).map_err(BoxError::from));
        let end = futures::stream::once(async { Err(BoxError::from(io::Error::from(io::ErrorKind::ConnectionReset))) });
        StreamBody::new(heard.chain(end)).boxed_unsync()
    })
}
