//! One HTTP request: the checks in DynamoDB's order, the operation, the answer with its headers.
//!
//! ```text
//! GET → healthy;  not POST, or not JSON → 404
//! Content-Length over the limit → 413, unread
//! X-Amz-Target → signature without its body → body → signature → types → shape → sense
//! ```

mod body;
mod body_memory;
mod request_id;

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use bytes::Bytes;
use model::limits::REQUEST_BYTES;
use tokio::sync::SemaphorePermit;

use crate::audit::{self, Answered, Audit};
use crate::backend::Backend;
use crate::config::{Config, Settings};
use crate::error::Error;
use crate::keyring::Keyring;
use crate::metrics::Metrics;
use crate::operation::{Call, Operation};
use crate::sigv4::time::Timestamp;
use body::NoBody;
use body_memory::BodyMemory;
use request_id::RequestIds;

const JSON: HeaderValue = HeaderValue::from_static("application/x-amz-json-1.0");
const OTHER_JSON: HeaderValue = HeaderValue::from_static("application/json");
const TARGET_PREFIX: &str = "DynamoDB_20120810.";

/// Everything that requests share.
pub struct Front<B> {
    backend: B,
    settings: Settings,
    /// None: everybody is served.
    keyring: Option<Arc<Keyring>>,
    metrics: Metrics,
    audit: Option<Audit>,
    request_ids: RequestIds,
    body_memory: BodyMemory,
}

impl<B: Backend> Front<B> {
    pub fn new(
        backend: B,
        config: &Config,
        keyring: Option<Arc<Keyring>>,
        metrics: Metrics,
    ) -> anyhow::Result<Front<B>> {
        Ok(Front {
            backend,
            settings: config.settings(),
            keyring,
            audit: config.audit.as_deref().map(|path| Audit::open(path, metrics.clone())).transpose()?,
            metrics,
            request_ids: RequestIds::new(),
            body_memory: BodyMemory::new(config.max_body_memory_bytes),
        })
    }

    async fn answer(&self, request: Request) -> Response<Body> {
        let began = Instant::now();
        let (parts, body) = request.into_parts();
        let request_id = self.request_ids.next();
        if parts.method == Method::GET {
            return healthy(&parts.headers, &request_id);
        }
        if parts.method != Method::POST || !is_json(&parts.headers) {
            return not_found(&request_id);
        }
        let mut about = About::default();
        let (operation, answer) = self.operate(&parts, body, &request_id, began, &mut about).await;
        let (response, error) = match answer {
            Ok(json) => (respond(StatusCode::OK, json, &parts.headers, &request_id), None),
            Err(Refusal::Error(error)) => {
                let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                (respond(status, error.body(), &parts.headers, &request_id), Some(error))
            }
            Err(Refusal::TooLarge) => (too_large(&request_id), None),
        };
        let status = response.status().as_u16();
        if let Some(audit) = &self.audit {
            let (table, error) = (about.named.as_deref(), error.as_ref());
            audit.answered(&Answered { parts: &parts, operation, table, status, error, request_id: &request_id });
        }
        let table = about.table.as_ref().map_or("", |table| table.name.as_str());
        let operation = operation.map_or("", Operation::name);
        self.metrics.answered(operation, table, status, began.elapsed());
        tracing::debug!(operation, table, status, request_id = ?request_id, "answered");
        response
    }

    async fn operate(
        &self,
        parts: &Parts,
        body: Body,
        request_id: &Bytes,
        began: Instant,
        about: &mut About,
    ) -> (Option<Operation>, Result<Vec<u8>, Refusal>) {
        let operation = target(&parts.headers);
        let body = match self.admit(parts, body, operation.is_some(), began).await {
            Ok(body) => body,
            Err(refusal) => return (operation, Err(refusal)),
        };
        let Some(operation) = operation else {
            return (None, Err(Error::UnknownOperation.into()));
        };
        let mut call = Call {
            backend: &self.backend,
            settings: &self.settings,
            // Counted from here: how long the body was on its way is the client's affair.
            deadline: Instant::now() + self.settings.deadline,
            request_id: request_id.clone(),
            host: parts.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default(),
            table: None,
        };
        if self.audit.is_some() && operation.is_about_tables() {
            about.named = audit::named_table(&body.bytes);
        }
        let answer = operation.run(&mut call, &body.bytes).await;
        about.table = call.table;
        (Some(operation), answer.map_err(Refusal::Error))
    }

    /// The body, once the signature holds. A request that is refused by its head alone still has its body read, or the
    /// client would see a broken connection instead of the answer.
    async fn admit(
        &self,
        parts: &Parts,
        body: Body,
        target_known: bool,
        began: Instant,
    ) -> Result<Admitted<'_>, Refusal> {
        let length = content_length(&parts.headers);
        if length.is_some_and(|length| length > REQUEST_BYTES) {
            return Err(Refusal::TooLarge);
        }
        // The same one for head and body, whatever changes meanwhile.
        let verifier = self.keyring.as_ref().map(|keyring| keyring.verifier());
        let claim = match &verifier {
            Some(verifier) if target_known => Some(verifier.examine(parts, Timestamp::now())),
            Some(_) | None => None,
        };
        let refused = !target_known || claim.as_ref().is_some_and(Result::is_err);
        // A body that is thrown away as it comes takes no memory: strangers must not keep clients waiting.
        let kept = if refused { Some(0) } else { length };
        let arrived = self.arrive(body, length, kept, began).await;
        let (permit, bytes) = match arrived {
            Ok(arrived) => arrived,
            Err(NoBody::TooLarge) => return Err(Refusal::TooLarge),
            Err(NoBody::Broken) => return Err(Error::Serialization(None).into()),
            Err(NoBody::Late) => {
                return Err(Error::ServiceUnavailable(
                    "Service is unavailable: the body did not arrive in time".into(),
                )
                .into());
            }
        };
        if !target_known {
            return Err(Error::UnknownOperation.into());
        }
        if let (Some(verifier), Some(claim)) = (&verifier, claim) {
            verifier.verify(&claim?, parts, &bytes)?;
        }
        Ok(Admitted { bytes, _permit: permit })
    }

    /// Memory for a body of which `kept` bytes are kept, and then the body.
    async fn arrive(
        &self,
        body: Body,
        length: Option<usize>,
        kept: Option<usize>,
        began: Instant,
    ) -> Result<(SemaphorePermit<'_>, Bytes), NoBody> {
        let first_by = began + self.settings.deadline;
        let permit = tokio::time::timeout_at(first_by.into(), self.body_memory.acquire(kept))
            .await
            .map_err(|_elapsed| NoBody::Late)?
            .map_err(|_closed| NoBody::Broken)?;
        let bytes = body::read(body, length, kept != Some(0), first_by).await?;
        Ok((permit, bytes))
    }
}

/// What a request turned out to be about.
#[derive(Default)]
struct About {
    table: Option<Arc<model::TableDescriptor>>,
    /// As the request names it; for the audit log.
    named: Option<String>,
}

/// A body that may be worked on, and the memory it was given.
struct Admitted<'a> {
    bytes: Bytes,
    _permit: SemaphorePermit<'a>,
}

enum Refusal {
    Error(Error),
    TooLarge,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        Refusal::Error(error)
    }
}

/// The handler of every path and method.
pub async fn handle<B: Backend>(State(front): State<Arc<Front<B>>>, request: Request) -> Response<Body> {
    front.answer(request).await
}

fn content_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn target(headers: &HeaderMap) -> Option<Operation> {
    Operation::named(headers.get("x-amz-target")?.to_str().ok()?.strip_prefix(TARGET_PREFIX)?)
}

/// Whether the content type is one that DynamoDB takes. A request without a body needs none.
fn is_json(headers: &HeaderMap) -> bool {
    match content_type(headers) {
        Some(content_type) => content_type == JSON || content_type == OTHER_JSON,
        None => content_length(headers) == Some(0) || !headers.contains_key(CONTENT_LENGTH),
    }
}

fn content_type(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or_default().trim())
}

fn respond(status: StatusCode, body: Vec<u8>, request: &HeaderMap, request_id: &Bytes) -> Response<Body> {
    let content_type = if content_type(request).is_some_and(|asked| asked == OTHER_JSON) { OTHER_JSON } else { JSON };
    let mut response = plain(status, body, request_id);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

fn plain(status: StatusCode, body: Vec<u8>, request_id: &Bytes) -> Response<Body> {
    let crc = crc32fast::hash(&body);
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.reserve(4);
    headers.insert("x-amz-crc32", HeaderValue::from(crc));
    if let Ok(id) = HeaderValue::from_maybe_shared(request_id.clone()) {
        headers.insert("x-amzn-requestid", id);
    }
    response
}

fn healthy(headers: &HeaderMap, request_id: &Bytes) -> Response<Body> {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("trivet");
    // The space at the end is DynamoDB's.
    plain(StatusCode::OK, format!("healthy: {host} ").into_bytes(), request_id)
}

fn not_found(request_id: &Bytes) -> Response<Body> {
    plain(StatusCode::NOT_FOUND, b"<UnknownOperationException/>\n".to_vec(), request_id)
}

/// An answer that there was no memory for: what was asked may have been done.
pub fn no_memory(answer: Response<Body>) -> Response<Body> {
    let error = Error::Internal("Internal server error: too many answers have not been read".into());
    let body = error.body();
    let mut response = answer.map(|_| Body::empty());
    *response.status_mut() = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert("x-amz-crc32", HeaderValue::from(crc32fast::hash(&body)));
    response.map(|_| Body::from(body))
}

/// The body was not read, so the connection cannot be used again.
fn too_large(request_id: &Bytes) -> Response<Body> {
    let mut response = plain(StatusCode::PAYLOAD_TOO_LARGE, Vec::new(), request_id);
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
