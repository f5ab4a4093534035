//! Signatures: what the SDK signs is let in; everything else is refused in AWS's order with AWS's texts.

use std::time::{Duration, Instant};

use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use router::sigv4::time::Timestamp;

use crate::harness::{Answer, Server};
use crate::signature::{ACCESS_KEY, REGION, SECRET_KEY, payload_hash, signature};

/// One request's signature-relevant parts; a test changes what it is about.
struct Signed {
    path: String,
    date: String,
    authorization: Option<String>,
    headers: String,
}

impl Signed {
    /// A well-signed `ListTables` with the body `{}` and `payload` as the hash that is signed.
    fn list_tables_with_payload(payload: &str) -> Signed {
        let date = Timestamp::now().to_string();
        let day = &date[..8];
        let target = "DynamoDB_20120810.ListTables";
        let canonical = format!(
            "POST\n/\n\nhost:here\nx-amz-date:{date}\nx-amz-target:{target}\n\nhost;x-amz-date;x-amz-target\n{payload}"
        );
        let signature = signature(&date, &canonical);
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/{day}/{REGION}/dynamodb/aws4_request, \
             SignedHeaders=host;x-amz-date;x-amz-target, Signature={signature}"
        );
        Signed { path: "/".to_owned(), date, authorization: Some(authorization), headers: String::new() }
    }

    fn list_tables() -> Signed {
        Signed::list_tables_with_payload(&payload_hash(b"{}"))
    }

    async fn send(&self, server: &Server) -> Answer {
        let Signed { path, date, authorization, headers } = self;
        let authorization =
            authorization.as_ref().map(|value| format!("authorization: {value}\r\n")).unwrap_or_default();
        let date = if date.is_empty() { String::new() } else { format!("x-amz-date: {date}\r\n") };
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: here\r\nconnection: close\r\n{date}{authorization}{headers}\
             x-amz-target: DynamoDB_20120810.ListTables\r\ncontent-type: application/x-amz-json-1.0\r\n\
             content-length: 2\r\n\r\n{{}}"
        );
        server.raw(request.as_bytes()).await
    }

    async fn expect_refused(&self, server: &Server, kind: &str, sentence: &str) {
        let answer = self.send(server).await;
        assert_eq!(answer.status, 400);
        let expected = format!(r#"{{"__type":"com.amazon.coral.service#{kind}","message":"{sentence}"}}"#);
        assert_eq!(answer.body, expected);
    }

    fn replaced(mut self, from: &str, to: &str) -> Signed {
        self.authorization = self.authorization.map(|authorization| authorization.replace(from, to));
        self
    }
}

#[tokio::test]
async fn a_well_signed_request_is_let_in() {
    let server = Server::signed().await;
    let answer = Signed::list_tables().send(&server).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"TableNames":[]}"#));
}

/// As Kubernetes changes a mounted Secret: the name becomes a link to another file.
fn link(folder: &std::path::Path, number: u32, text: &str) {
    let file = folder.join(format!("secret-{number}"));
    std::fs::write(&file, text).unwrap();
    std::os::unix::fs::symlink(&file, folder.join("new")).unwrap();
    std::fs::rename(folder.join("new"), folder.join("credentials")).unwrap();
}

async fn lets_in(server: &Server, access_key: &str, secret_key: &str) -> bool {
    server.client_with(access_key, secret_key).list_tables().send().await.is_ok()
}

#[tokio::test]
async fn a_changed_credentials_file_counts_and_a_broken_one_changes_nothing() {
    let folder = std::env::temp_dir().join(format!("trivet-credentials-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let both = "aws_access_key_id=A1\naws_secret_access_key=s1\naws_access_key_id=A2\naws_secret_access_key=s2\n";
    link(&folder, 1, both);
    let file = folder.join("credentials");
    let server = Server::start(&["--credentials-file", file.to_str().unwrap(), "--region", REGION]).await;
    assert!(lets_in(&server, "A1", "s1").await && lets_in(&server, "A2", "s2").await);
    // One has gone, one has another secret.
    link(&folder, 2, "aws_access_key_id=A2\naws_secret_access_key=other\n");
    let deadline = Instant::now() + Duration::from_secs(30);
    while !lets_in(&server, "A2", "other").await {
        assert!(Instant::now() < deadline, "the change does not count");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!lets_in(&server, "A1", "s1").await && !lets_in(&server, "A2", "s2").await);
    for (number, broken) in [(3, "hello"), (4, "")] {
        link(&folder, number, broken);
        let before = server.refused_credentials();
        while server.refused_credentials() < before + 1.0 {
            assert!(Instant::now() < deadline, "a broken file is not counted");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(lets_in(&server, "A2", "other").await, "{broken:?}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn the_sdk_is_told_what_is_wrong_with_its_keys() {
    let server = Server::signed().await;
    let unknown = server.client_with("AKIANOBODY", SECRET_KEY).list_tables().send().await.unwrap_err();
    assert_eq!(unknown.code(), Some("UnrecognizedClientException"));
    assert_eq!(unknown.message(), Some("The security token included in the request is invalid."));
    let wrong = server.client_with(ACCESS_KEY, "another secret").list_tables().send().await.unwrap_err();
    assert_eq!(wrong.code(), Some("InvalidSignatureException"));
    assert!(wrong.message().unwrap().starts_with(
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key \
         and signing method. Consult the service documentation for details.\n\nThe Canonical String for this request \
         should have been\n'POST\n/\n\n"
    ));
    server.client().list_tables().send().await.unwrap();
}

#[tokio::test]
async fn a_payload_that_is_not_signed_is_refused() {
    let server = Server::signed().await;
    for payload in ["UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"] {
        let mut signed = Signed::list_tables_with_payload(payload);
        signed.headers = format!("x-amz-content-sha256: {payload}\r\n");
        let answer = signed.send(&server).await;
        assert!(answer.body.contains("#InvalidSignatureException"), "{payload}: {}", answer.body);
    }
}

#[tokio::test]
async fn missing_parts_are_named() {
    let server = Server::signed().await;
    let missing = "MissingAuthenticationTokenException";
    let none = Signed { authorization: None, ..Signed::list_tables() };
    none.expect_refused(&server, missing, "Request is missing Authentication Token").await;
    let basic = Signed { authorization: Some("Basic abc".to_owned()), ..Signed::list_tables() };
    basic.expect_refused(&server, missing, "Request is missing Authentication Token").await;

    let both = Signed { path: "/?X-Amz-Algorithm=a".to_owned(), ..Signed::list_tables() };
    let sentence = "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header.";
    both.expect_refused(&server, "InvalidSignatureException", sentence).await;

    let incomplete = "IncompleteSignatureException";
    let header = "AWS4-HMAC-SHA256 Credential=a";
    let parts = Signed { authorization: Some(header.to_owned()), date: String::new(), ..Signed::list_tables() };
    let sentence = "Authorization header requires 'Signature' parameter. Authorization header requires 'SignedHeaders' \
                    parameter. Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. \
                    Authorization=AWS4-HMAC-SHA256 Credential=a";
    parts.expect_refused(&server, incomplete, sentence).await;
    let query =
        Signed { path: "/?X-Amz-Algorithm=AWS4-HMAC-SHA256".to_owned(), authorization: None, ..Signed::list_tables() };
    let sentence = "AWS query-string parameters must include 'X-Amz-Credential'. AWS query-string parameters must include \
                    'X-Amz-Signature'. AWS query-string parameters must include 'X-Amz-SignedHeaders'. AWS query-string \
                    parameters must include 'X-Amz-Date'. Re-examine the query-string parameters.";
    query.expect_refused(&server, incomplete, sentence).await;
    let word = Signed { authorization: Some("AWS4-HMAC-SHA256 Credential".to_owned()), ..Signed::list_tables() };
    let sentence = "'Credential' not a valid key=value pair (missing equal-sign) in Authorization header: \
                    'AWS4-HMAC-SHA256 Credential'.";
    word.expect_refused(&server, incomplete, sentence).await;
}

#[tokio::test]
async fn times_out_of_the_window_are_refused() {
    let server = Server::signed().await;
    let garbled = Signed { date: "201".to_owned(), ..Signed::list_tables() };
    let sentence = "Date must be in ISO-8601 'basic format'. Got '201'. See http://en.wikipedia.org/wiki/ISO_8601";
    garbled.expect_refused(&server, "IncompleteSignatureException", sentence).await;
    let old = Signed { date: "20130301T000000Z".to_owned(), ..Signed::list_tables() }.send(&server).await;
    let begins = r#"{"__type":"com.amazon.coral.service#InvalidSignatureException","message":"Signature expired: 20130301T000000Z is now earlier than 20"#;
    assert!(old.body.starts_with(begins) && old.body.ends_with(r#" - 15 min.)"}"#), "{}", old.body);
    let early = Signed { date: "21130301T000000Z".to_owned(), ..Signed::list_tables() }.send(&server).await;
    let begins = r#"{"__type":"com.amazon.coral.service#InvalidSignatureException","message":"Signature not yet current: 21130301T000000Z is still later than 20"#;
    assert!(early.body.starts_with(begins) && early.body.ends_with(r#" + 15 min.)"}"#), "{}", early.body);
}

#[tokio::test]
async fn scopes_and_algorithms_are_checked() {
    let server = Server::signed().await;
    let invalid = "InvalidSignatureException";
    let no_host = Signed::list_tables().replaced("SignedHeaders=host;", "SignedHeaders=");
    no_host.expect_refused(&server, invalid, "'Host' must be a 'SignedHeader' in the AWS Authorization.").await;
    let algorithm = Signed::list_tables().replaced("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA25");
    let sentence = "Unsupported AWS 'algorithm': 'AWS4-HMAC-SHA25' (only AWS4-HMAC-SHA256 for now). ";
    algorithm.expect_refused(&server, "IncompleteSignatureException", sentence).await;
    let short = Signed::list_tables().replaced("/dynamodb/aws4_request", "/");
    let day = &short.date[..8];
    let sentence = format!(
        "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got \
         '{ACCESS_KEY}/{day}/{REGION}/'"
    );
    short.expect_refused(&server, "IncompleteSignatureException", &sentence).await;
    let wrong = Signed::list_tables();
    let (day, date) = (wrong.date[..8].to_owned(), wrong.date.clone());
    let wrong = wrong.replaced(&format!("{day}/{REGION}/dynamodb/aws4_request"), "b/c/d/e");
    let sentence = format!(
        "Credential should be scoped to a valid region, not 'c'. Credential should be scoped to correct service: \
         'dynamodb'. Credential should be scoped with a valid terminator: 'aws4_request', not 'e'. Date in Credential \
         scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: 'b' != '{day}', from '{date}'."
    );
    wrong.expect_refused(&server, invalid, &sentence).await;
}

#[tokio::test]
async fn a_session_token_is_not_known() {
    let server = Server::signed().await;
    let token = Signed { headers: "x-amz-security-token: t\r\n".to_owned(), ..Signed::list_tables() };
    let sentence = "The security token included in the request is invalid.";
    token.expect_refused(&server, "UnrecognizedClientException", sentence).await;
}

#[tokio::test]
async fn a_request_signed_in_its_query_is_let_in() {
    let server = Server::signed().await;
    let date = Timestamp::now().to_string();
    let day = &date[..8];
    let query = format!(
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={ACCESS_KEY}%2F{day}%2F{REGION}%2Fdynamodb%2Faws4_request\
         &X-Amz-Date={date}&X-Amz-Expires=60&X-Amz-SignedHeaders=host"
    );
    let payload = payload_hash(b"{}");
    let signature = signature(&date, &format!("POST\n/\n{query}\nhost:here\n\nhost\n{payload}"));
    let signed = Signed {
        path: format!("/?{query}&X-Amz-Signature={signature}"),
        date: String::new(),
        authorization: None,
        headers: String::new(),
    };
    let answer = signed.send(&server).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"TableNames":[]}"#));
}

#[tokio::test]
async fn a_server_for_any_region_takes_any_region() {
    let flags = ["--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY, "--region", "elsewhere", "--any-region"];
    let server = Server::start(&flags).await;
    server.client().list_tables().send().await.unwrap();
    let strict = Server::start(&flags[..6]).await;
    let error = strict.client().list_tables().send().await.unwrap_err();
    assert_eq!(error.code(), Some("InvalidSignatureException"));
    let sentence = format!("Credential should be scoped to a valid region, not '{REGION}'. ");
    assert_eq!(error.message(), Some(sentence.as_str()));
}
