//! Hostile bytes: request bodies of every operation, whole HTTP requests, signatures.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Request, Uri};
use bytes::Bytes;
use clap::Parser;
use fuzz::{Fuzz, Random};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use router::config::{Config, Settings};
use router::http::Front;
use router::json::write::Writer;
use router::metrics::Metrics;
use router::operation::{Call, Operation};
use router::sigv4::Verifier;
use router::sigv4::credentials::FixedCredentials;
use router::sigv4::time::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;

use crate::memory::Memory;

fn corpus(target: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "hostile", "__fuzz__", target, "corpus"].iter().collect()
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Pieces of requests, good ones and such as are mistaken for them.
const PIECES: [&str; 44] = [
    "{}",
    "[]",
    "null",
    "true",
    "-1",
    "1e400",
    "0.5",
    "99999999999999999999",
    "\"\"",
    "\u{0}",
    "\\ud800",
    "\\u0000",
    "}",
    "]",
    ":",
    ",",
    "{\"S\":\"a\"}",
    "{\"N\":\"1e125\"}",
    "{\"N\":\"\"}",
    "{\"B\":\"AA==\"}",
    "{\"B\":\"A\"}",
    "{\"SS\":[\"\",\"\"]}",
    "{\"NS\":[\"1\",\"1\"]}",
    "{\"BS\":[\"\",\"\"]}",
    "{\"L\":[{\"L\":[",
    "{\"M\":{\"a\":",
    "{\"NULL\":false}",
    "\"Limit\":0,",
    "\"ReturnValues\":\"ALL_NEW\",",
    "\"ReturnConsumedCapacity\":\"INDEXES\",",
    "\"ProjectionExpression\":\"a,a.b\",",
    "\"ConditionExpression\":\"a = :a\",",
    "\"FilterExpression\":\"size(x)>:n\",",
    "\"ExclusiveStartKey\":{},",
    "\"ExpressionAttributeNames\":{\"#a\":\"a\"},",
    "\"ExpressionAttributeValues\":{\":a\":{\"N\":\"1\"}},",
    "\"Segment\":7,",
    "\"TotalSegments\":1000001,",
    "\"ConsistentRead\":true,",
    "\"Select\":\"COUNT\",",
    "\"IndexName\":\"i\",",
    "\"Expected\":{},",
    "\"TableName\":\"Music\",",
    "Transfer-Encoding: chunked\r\n",
];

/// `Operation\n{body}`
fn request(random: &mut Random) -> Vec<u8> {
    let operation = *random.pick(&["PutItem", "UpdateItem", "GetItem", "BatchWriteItem"]);
    let key = r#"{"Artist":{"S":"a"},"Song":{"S":"b"}}"#;
    let value = value(random, 5);
    let body = match operation {
        "PutItem" => {
            format!(
                r#"{{"TableName":"Music","Item":{{"Artist":{{"S":"a"}},"Song":{{"S":"b"}},"x":{value}}},"ReturnValues":"ALL_OLD"}}"#
            )
        }
        "UpdateItem" => format!(
            r#"{{"TableName":"Music","Key":{key},"UpdateExpression":"SET x = :x","ExpressionAttributeValues":{{":x":{value}}},"ReturnValues":"ALL_NEW"}}"#
        ),
        "GetItem" => format!(r#"{{"TableName":"Music","Key":{{"Artist":{value},"Song":{{"S":"b"}}}}}}"#),
        _ => format!(
            r#"{{"RequestItems":{{"Music":[{{"PutRequest":{{"Item":{{"Artist":{{"S":"a"}},"Song":{{"S":"b"}},"x":{value}}}}}}}]}}}}"#
        ),
    };
    format!("{operation}\n{body}").into_bytes()
}

fn quoted(text: &str) -> String {
    let mut json = Writer::new();
    json.text(text);
    String::from_utf8(json.finish()).unwrap()
}

/// Now and then many, if they are small.
fn list(random: &mut Random, levels: usize, make: impl Fn(&mut Random) -> String) -> String {
    let many = if levels == 0 && random.one_of(10) { 2000 } else { 4 };
    (0..random.below(many)).map(|_| make(random)).collect::<Vec<_>>().join(",")
}

/// An attribute value as JSON, mostly valid.
fn value(random: &mut Random, levels: usize) -> String {
    match random.below(if levels == 0 { 8 } else { 10 }) {
        0 => format!(r#"{{"S":{}}}"#, quoted(&random.text(20))),
        1 => format!(r#"{{"N":"{}e{}"}}"#, random.number(), random.byte()),
        2 => r#"{"B":"AAEC"}"#.to_owned(),
        3 => r#"{"BOOL":true}"#.to_owned(),
        4 => r#"{"NULL":true}"#.to_owned(),
        5 => format!(r#"{{"SS":[{}]}}"#, list(random, 0, |random| quoted(&random.text(3)))),
        6 => format!(r#"{{"NS":[{}]}}"#, list(random, 0, |random| format!("\"{}\"", random.number()))),
        7 => format!(r#"{{"BS":[{}]}}"#, list(random, 0, |_| "\"\"".to_owned())),
        8 => format!(
            r#"{{"M":{{{}}}}}"#,
            list(random, levels / 2, |random| format!("{}:{}", quoted(&random.text(3)), value(random, levels / 2)))
        ),
        _ => format!(r#"{{"L":[{}]}}"#, list(random, levels / 2, |random| value(random, levels / 2))),
    }
}

/// A backend with the table and one item.
fn backend(runtime: &Runtime, settings: &Settings) -> Memory {
    let backend = Memory::default();
    for line in [
        r#"CreateTable
        {"TableName":"Music","KeySchema":[{"AttributeName":"Artist","KeyType":"HASH"},{"AttributeName":"Song","KeyType":"RANGE"}],
        "AttributeDefinitions":[{"AttributeName":"Artist","AttributeType":"S"},{"AttributeName":"Song","AttributeType":"S"}],
        "BillingMode":"PAY_PER_REQUEST"}"#,
        r#"PutItem
        {"TableName":"Music","Item":{"Artist":{"S":"a"},"Song":{"S":"b"},"n":{"N":"2"},"x":{"L":[{"M":{"y":{"SS":["z"]}}}]}}}"#,
    ] {
        run(runtime, &backend, settings, line.as_bytes()).unwrap().unwrap();
    }
    backend
}

fn settings() -> Settings {
    Settings { region: "eu-central-7".to_owned(), deadline: Duration::from_secs(5), default_partitions: None }
}

/// None where the input names no operation.
fn run(
    runtime: &Runtime,
    backend: &Memory,
    settings: &Settings,
    input: &[u8],
) -> Option<Result<Vec<u8>, router::error::Error>> {
    let line = input.iter().position(|byte| *byte == b'\n')?;
    let operation = Operation::named(std::str::from_utf8(&input[..line]).ok()?)?;
    let mut call = Call {
        backend,
        settings,
        deadline: Instant::now() + settings.deadline,
        request_id: Bytes::new(),
        host: "here",
        table: None,
    };
    Some(runtime.block_on(operation.run(&mut call, &input[line + 1..])))
}

#[test]
fn hostile_bodies_are_answered_or_refused() {
    let fuzz = Fuzz::with_corpus(corpus("operation")).with_pieces(&PIECES);
    let (runtime, settings) = (std::panic::AssertUnwindSafe(runtime()), settings());
    let target = |input: &[u8]| {
        let backend = backend(&runtime, &settings);
        match run(&runtime, &backend, &settings, input) {
            Some(Ok(json)) => drop(serde_json::from_slice::<serde::de::IgnoredAny>(&json).unwrap()),
            Some(Err(error)) => {
                assert_eq!(error.status(), 400, "{error}");
                serde_json::from_slice::<serde::de::IgnoredAny>(&error.body()).unwrap();
            }
            None => {}
        }
    };
    let check = bolero::check!(name = "operation").with_shrink_time(Duration::ZERO);
    check.for_each(|noise: &[u8]| fuzz.feed(noise, request, target));
}

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    config: Config,
}

/// What a client hears that says `input` and nothing more.
async fn converse(app: axum::Router, input: &[u8]) -> Vec<u8> {
    let (client, server) = tokio::io::duplex(64 * 1024);
    let serving = hyper::server::conn::http1::Builder::new()
        .max_buf_size(32 * 1024)
        .serve_connection(TokioIo::new(server), TowerToHyperService::new(app));
    let (mut read, mut write) = tokio::io::split(client);
    let saying = async {
        drop(write.write_all(input).await);
        drop(write.shutdown().await);
    };
    // Its beginning: what the client keeps is none of the server's memory.
    let mut heard = Vec::new();
    let hearing = async {
        let mut part = [0; 1024];
        loop {
            let length = read.read(&mut part).await.unwrap();
            if length == 0 {
                break;
            }
            let kept = length.min(1024_usize.saturating_sub(heard.len()));
            heard.extend_from_slice(&part[..kept]);
        }
    };
    let ((), (), _ended) = tokio::join!(saying, hearing, serving);
    heard
}

#[test]
fn hostile_http_is_answered_or_refused() {
    let fuzz = Fuzz::with_corpus(corpus("http")).with_pieces(&PIECES);
    let runtime = std::panic::AssertUnwindSafe(runtime());
    let Flags { config } = Flags::parse_from(["router", "--no-auth"]);
    let target = |input: &[u8]| {
        let backend = backend(&runtime, &settings());
        let metrics = Metrics::new(&prometheus::Registry::new()).unwrap();
        let app = router::server::app(Arc::new(Front::new(backend, &config, None, metrics).unwrap()));
        let heard = runtime.block_on(converse(app, input));
        assert!(heard.is_empty() || heard.starts_with(b"HTTP/1."), "{}", heard.escape_ascii());
        assert!(!heard.starts_with(b"HTTP/1.1 5"), "{}", heard.escape_ascii());
    };
    let make = |random: &mut Random| {
        let request = request(random);
        let line = request.iter().position(|byte| *byte == b'\n').unwrap();
        let (operation, body) = (String::from_utf8_lossy(&request[..line]), &request[line + 1..]);
        let length = body.len();
        let head = format!(
            "POST / HTTP/1.1\r\nHost: here\r\nX-Amz-Target: DynamoDB_20120810.{operation}\r\n\
             Content-Type: application/x-amz-json-1.0\r\nContent-Length: {length}\r\n\r\n"
        );
        [head.as_bytes(), body].concat()
    };
    let check = bolero::check!(name = "http").with_shrink_time(Duration::ZERO);
    check.for_each(|noise: &[u8]| fuzz.feed(noise, make, target));
}

/// First line: the path; then headers, one a line. `{date}` and `{day}` stand for now.
fn parts(input: &[u8]) -> Option<Parts> {
    let now = Timestamp::now();
    let text = String::from_utf8_lossy(input).replace("{date}", &now.to_string()).replace("{day}", &now.date());
    let mut lines = text.lines();
    let mut request = Request::new(());
    *request.method_mut() = axum::http::Method::POST;
    *request.uri_mut() = lines.next()?.parse::<Uri>().ok()?;
    for line in lines {
        let (name, value) = line.split_once(':')?;
        request.headers_mut().append(name.parse::<HeaderName>().ok()?, HeaderValue::from_str(value.trim()).ok()?);
    }
    Some(request.into_parts().0)
}

/// More of a head is not read.
const HEAD_BYTES: usize = 32 * 1024;

const SIGNATURE_PIECES: [&str; 16] = [
    "{date}",
    "{day}",
    "%",
    "%2",
    "%zz",
    "&",
    "=",
    ";",
    ";host",
    ", ",
    "/",
    "/../",
    "X-Amz-Algorithm=AWS4-HMAC-SHA256",
    "authorization: AWS4-HMAC-SHA256 ",
    "host: b\n",
    "SignedHeaders=host;x;x;x;x;x",
];

#[test]
fn hostile_signatures_are_refused() {
    // A refusal shows the whole canonical request, in which a byte may be three, and JSON makes six of one: all of it of a
    // head, which has 32 KiB at most.
    let fuzz = Fuzz::with_corpus(corpus("signature")).with_pieces(&SIGNATURE_PIECES).with_constant(16 * HEAD_BYTES);
    let mut credentials = FixedCredentials::default();
    credentials.add("AKIATESTER", "a-secret-of-the-tests");
    let verifier = std::panic::AssertUnwindSafe(Verifier::new(Box::new(credentials), None));
    let target = |input: &[u8]| {
        if input.len() > HEAD_BYTES {
            return;
        }
        let Some(parts) = parts(input) else { return };
        let refused = match verifier.examine(&parts, Timestamp::now()) {
            Ok(claim) => verifier.verify(&claim, &parts, b"{}"),
            Err(error) => Err(error),
        };
        let error = refused.unwrap_err();
        assert_eq!(error.status(), 400);
        serde_json::from_slice::<serde::de::IgnoredAny>(&error.body()).unwrap();
    };
    let make = |random: &mut Random| {
        let region = random.text(9).replace(['\0', '/', ',', ' ', '"', '\\'], "r");
        let header = random.text(30).replace('\0', "").replace(|c: char| !c.is_ascii(), "");
        format!(
            "/{}?a={header}\nhost: here\nx: {header}\nx-amz-date: {{date}}\nauthorization: AWS4-HMAC-SHA256 \
             Credential=AKIATESTER/{{day}}/{region}/dynamodb/aws4_request, SignedHeaders=host;x;x-amz-date, Signature=00",
            random.below(9)
        )
        .into_bytes()
    };
    let check = bolero::check!(name = "signature").with_shrink_time(Duration::ZERO);
    check.for_each(|noise: &[u8]| fuzz.feed(noise, make, target));
}
