//! What a PutItem costs the router beside its network: the request's bytes are parsed, the signature is checked, the item
//! becomes a write, the answer is written. Nodes answer at once.
#![expect(clippy::unwrap_used, reason = "a signature that cannot be made ends the measurement")]

#[path = "../tests/http/signature.rs"]
mod signature;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use bytes::Bytes;
use clap::Parser;
use divan::{AllocProfiler, Bencher};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use model::{KeySchema, KeyType, TableDescriptor, TableId, TableStatus};
use router::backend::Backend;
use router::config::Config;
use router::http::Front;
use router::metrics::Metrics;
use router::routing::{Failure, ScanPage, ScanRequest, TableSize, TableUpdate, WriteOutcome, WriteRequest};
use router::sigv4::time::Timestamp;

use signature::{ACCESS_KEY, REGION, SECRET_KEY, payload_hash, signature};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

const TARGET: &str = "DynamoDB_20120810.PutItem";

fn main() {
    divan::main();
}

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    config: Config,
}

/// Nodes that have applied everything already.
#[derive(Clone)]
struct Applied(Arc<TableDescriptor>);

impl Backend for Applied {
    async fn table(&self, _name: &str, _deadline: Instant) -> Result<Arc<TableDescriptor>, Failure> {
        Ok(Arc::clone(&self.0))
    }

    async fn get(
        &self,
        _table: &Arc<TableDescriptor>,
        _key: Bytes,
        _consistent: bool,
        _deadline: Instant,
    ) -> Result<Option<Bytes>, Failure> {
        Ok(None)
    }

    async fn write(
        &self,
        _table: &Arc<TableDescriptor>,
        _request: WriteRequest,
        _deadline: Instant,
    ) -> Result<WriteOutcome, Failure> {
        Ok(WriteOutcome::Applied { old: None, new: None, old_size: 1000, new_size: 1000 })
    }

    async fn scan(
        &self,
        _table: &Arc<TableDescriptor>,
        _request: ScanRequest,
        _deadline: Instant,
    ) -> Result<ScanPage, Failure> {
        Err(Failure::TableNotFound)
    }

    async fn list_tables(
        &self,
        _exclusive_start: &str,
        _limit: u32,
        _deadline: Instant,
    ) -> Result<(Vec<String>, bool), Failure> {
        Ok((Vec::new(), true))
    }

    async fn table_size(&self, _table: &TableDescriptor, _deadline: Instant) -> Result<TableSize, Failure> {
        Err(Failure::TableNotFound)
    }

    async fn create_table(&self, _wish: TableDescriptor, _deadline: Instant) -> Result<TableDescriptor, Failure> {
        Err(Failure::TableNotFound)
    }

    async fn update_table(
        &self,
        _name: &str,
        _update: TableUpdate,
        _deadline: Instant,
    ) -> Result<TableDescriptor, Failure> {
        Err(Failure::TableNotFound)
    }

    async fn delete_table(&self, _name: &str, _deadline: Instant) -> Result<TableDescriptor, Failure> {
        Err(Failure::TableNotFound)
    }
}

fn table() -> TableDescriptor {
    let wish = TableDescriptor::wish("Things", KeySchema::simple("pk", KeyType::S));
    TableDescriptor { id: TableId(8), version: 4, status: TableStatus::Active, hash_seed: 5, ..wish }
}

fn app(flags: &[&str]) -> Router {
    let Flags { config } = Flags::parse_from(std::iter::once(&"router").chain(flags));
    let keyring = router::keyring::Keyring::open(&config).expect("the credentials are sound");
    let metrics = Metrics::new(&prometheus::Registry::new()).expect("metrics register");
    let front = Front::new(Applied(Arc::new(table())), &config, keyring, metrics).unwrap();
    router::server::app(Arc::new(front))
}

/// About 1.1 KB.
fn body() -> String {
    let text = "x".repeat(960);
    format!(r#"{{"TableName":"Things","Item":{{"pk":{{"S":"key-4711"}},"n":{{"N":"42"}},"text":{{"S":"{text}"}}}}}}"#)
}

/// The headers of a signed request, as an SDK sends them.
fn signed(body: &str) -> Vec<(&'static str, String)> {
    let date = Timestamp::now().to_string();
    let day = &date[..8];
    let names = "content-type;host;x-amz-date;x-amz-target";
    let payload = payload_hash(body.as_bytes());
    let canonical = format!(
        "POST\n/\n\ncontent-type:application/x-amz-json-1.0\nhost:here\nx-amz-date:{date}\nx-amz-target:{TARGET}\n\n\
         {names}\n{payload}"
    );
    let signature = signature(&date, &canonical);
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/{day}/{REGION}/dynamodb/aws4_request, SignedHeaders={names}, \
         Signature={signature}"
    );
    vec![("x-amz-date", date), ("authorization", authorization)]
}

fn answer_all(bencher: Bencher<'_, '_>, app: Router, headers: Vec<(&'static str, String)>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    let (app, body) = (TowerToHyperService::new(app), Bytes::from(body()));
    let request = || {
        let mut request = Request::builder()
            .method("POST")
            .uri("/")
            .header("host", "here")
            .header("content-type", "application/x-amz-json-1.0")
            .header("content-length", body.len())
            .header("x-amz-target", TARGET);
        for (name, value) in &headers {
            request = request.header(*name, value);
        }
        request.body(Body::from(body.clone())).expect("a request")
    };
    bencher.with_inputs(request).bench_local_values(|request| {
        runtime.block_on(async {
            let response = app.call(request).await.expect("the service always answers");
            assert_eq!(response.status(), 200);
            to_bytes(response.into_body(), usize::MAX).await.expect("a body in memory")
        })
    });
}

#[divan::bench]
fn unsigned(bencher: Bencher<'_, '_>) {
    answer_all(bencher, app(&["--no-auth", "--region", REGION]), Vec::new());
}

#[divan::bench]
fn signed_as_sdks_do(bencher: Bencher<'_, '_>) {
    let flags = ["--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY, "--region", REGION];
    answer_all(bencher, app(&flags), signed(&body()));
}
