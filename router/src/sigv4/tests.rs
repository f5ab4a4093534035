//! Canonical forms and signatures of AWS's own test suite for Signature Version 4.

use axum::http::Request;
use axum::http::request::Parts;
use sha2::{Digest, Sha256};

use super::authorization::Authorization;
use super::signing::{SigningKey, hex};
use super::time::Timestamp;
use super::{ALGORITHM, canonical};

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const EMPTY_HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn parts(method: &str, uri: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn authorization(signed_headers: &str) -> Authorization {
    Authorization {
        algorithm: ALGORITHM.to_owned(),
        credential: "AKIDEXAMPLE/20150830/us-east-1/service/aws4_request".to_owned(),
        signed_headers: signed_headers.to_owned(),
        signature: String::new(),
        date: "20150830T123600Z".to_owned(),
        expires: None,
        security_token: false,
        in_query: false,
    }
}

/// Signs as the suite does; answers the canonical request and the signature.
fn sign(parts: &Parts, signed_headers: &str, body: &[u8]) -> (String, String) {
    let authorization = authorization(signed_headers);
    let timestamp = Timestamp::parse(&authorization.date).unwrap();
    let canonical = canonical::request(parts, &authorization, &Sha256::digest(body).into());
    let to_sign = canonical::string_to_sign(&canonical, &authorization, &timestamp);
    let key = SigningKey::derive(SECRET, "20150830", "us-east-1", "service");
    let signature = String::from_utf8(hex(&key.sign(&to_sign)).to_vec()).unwrap();
    (String::from_utf8(canonical).unwrap(), signature)
}

fn get(uri: &str) -> Parts {
    parts("GET", uri, &[("Host", "example.amazonaws.com"), ("X-Amz-Date", "20150830T123600Z")])
}

#[test]
fn vanilla_requests_are_signed_as_in_the_suite() {
    let (canonical, signature) = sign(&get("/"), "host;x-amz-date", b"");
    assert_eq!(
        canonical,
        format!("GET\n/\n\nhost:example.amazonaws.com\nx-amz-date:20150830T123600Z\n\nhost;x-amz-date\n{EMPTY_HASH}")
    );
    assert_eq!(signature, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
}

#[test]
fn bodies_and_more_headers_are_signed_as_in_the_suite() {
    let hash = "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e";
    let post = parts(
        "POST",
        "/",
        &[
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("Host", "example.amazonaws.com"),
            ("Content-Length", "13"),
            ("X-Amz-Content-Sha256", hash),
            ("X-Amz-Date", "20150830T123600Z"),
        ],
    );
    let (_, signature) =
        sign(&post, "content-length;content-type;host;x-amz-content-sha256;x-amz-date", b"Param1=value1");
    assert_eq!(signature, "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b");
}

#[test]
fn header_values_are_trimmed_and_joined() {
    let mut headers = vec![("Host", "example.amazonaws.com"), ("X-Amz-Date", "20150830T123600Z")];
    headers.extend([("My-Header1", " value1"), ("My-Header2", "\"a   b   c\" ")]);
    let (_, signature) = sign(&parts("GET", "/", &headers), "host;my-header1;my-header2;x-amz-date", b"");
    assert_eq!(signature, "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736");

    let mut headers = vec![("Host", "example.amazonaws.com"), ("X-Amz-Date", "20150830T123600Z")];
    headers.extend([("My-Header1", "value2"), ("My-Header1", "value2"), ("My-Header1", "value1")]);
    let (_, signature) = sign(&parts("GET", "/", &headers), "host;my-header1;x-amz-date", b"");
    assert_eq!(signature, "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea");
}

#[test]
fn queries_are_encoded_and_sorted() {
    for (uri, expected) in [
        (
            "/?Param-3=Value3&Param=Value2&%E1%88%B4=Value1",
            "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac",
        ),
        ("/?Param1=value1", "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"),
        ("/?%E1%88%B4=bar", "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"),
    ] {
        assert_eq!(sign(&get(uri), "host;x-amz-date", b"").1, expected, "{uri}");
    }
}

#[test]
fn paths_are_resolved_and_encoded_twice() {
    let path = |uri: &str| sign(&get(uri), "host;x-amz-date", b"").0.lines().nth(1).unwrap().to_owned();
    for (uri, expected) in [
        ("/example/..", "/"),
        ("/./example", "/example"),
        ("//example//", "/example/"),
        ("/example1/example2/../..", "/"),
        ("/a.", "/a."),
        ("/test/@connections/JBDvjfGEIAMCERw%3D", "/test/%40connections/JBDvjfGEIAMCERw%253D"),
    ] {
        assert_eq!(path(uri), expected, "{uri}");
    }
}

#[test]
fn times_are_read_and_written_as_aws_does() {
    for (text, seconds) in [
        ("19700101T000000Z", 0),
        ("20130609T100015Z", 1_370_772_015),
        ("20240229T235959Z", 1_709_251_199),
        ("Sun, 09 Jun 2013 10:00:15 GMT", 1_370_772_015),
    ] {
        assert_eq!(Timestamp::parse(text), Some(Timestamp(seconds)), "{text}");
    }
    assert_eq!(Timestamp(1_709_251_199).to_string(), "20240229T235959Z");
    for text in ["", "201", "20130609T100015", "20131309T100015Z", "2013+609T100015Z", "yesterday, at noon"] {
        assert_eq!(Timestamp::parse(text), None, "{text}");
    }
}
