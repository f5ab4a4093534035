//! The canonical form of a request, and the string that is signed (AWS: "Create a canonical request").

use axum::http::request::Parts;
use sha2::{Digest, Sha256};

use super::authorization::Authorization;
use super::signing::hex;
use super::time::Timestamp;

/// The canonical request, with the body as its hash.
pub fn request(parts: &Parts, authorization: &Authorization, body_hash: &[u8; 32]) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(parts.method.as_str().as_bytes());
    out.push(b'\n');
    path(parts.uri.path(), &mut out);
    out.push(b'\n');
    query(parts.uri.query().unwrap_or_default(), authorization.in_query, &mut out);
    out.push(b'\n');
    for name in authorization.signed_headers() {
        header(parts, name, &mut out);
    }
    out.push(b'\n');
    out.extend_from_slice(authorization.signed_headers.as_bytes());
    out.push(b'\n');
    out.extend_from_slice(&hex(body_hash));
    out
}

/// What the signing key signs.
pub fn string_to_sign(canonical: &[u8], authorization: &Authorization, timestamp: &Timestamp) -> Vec<u8> {
    let scope = authorization.credential.trim_end_matches('/').split_once('/').map_or("", |(_, scope)| scope);
    let algorithm = &authorization.algorithm;
    let mut out = format!("{algorithm}\n{timestamp}\n{scope}\n").into_bytes();
    out.extend_from_slice(&hex(&Sha256::digest(canonical).into()));
    out
}

/// `name:value` with the values of all headers of that name, spaces at the ends cut and inner ones made one.
fn header(parts: &Parts, name: &str, out: &mut Vec<u8>) {
    out.extend(name.bytes().map(|byte| byte.to_ascii_lowercase()));
    out.push(b':');
    for (at, value) in parts.headers.get_all(name).iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        let mut words = value.as_bytes().split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        out.extend_from_slice(words.next().unwrap_or_default());
        for word in words {
            out.push(b' ');
            out.extend_from_slice(word);
        }
    }
    out.push(b'\n');
}

/// The path with its dots resolved and encoded once more, as every service but S3 wants it.
fn path(path: &str, out: &mut Vec<u8>) {
    if path.is_empty() || path == "/" {
        return out.push(b'/');
    }
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    for segment in &segments {
        out.push(b'/');
        encode(segment.as_bytes(), out);
    }
    if segments.is_empty() || matches!(path.rsplit('/').next(), Some("" | "." | "..")) {
        out.push(b'/');
    }
}

/// The query's pairs, encoded and sorted; the signature itself is no part of what is signed.
fn query(query: &str, signed_in_query: bool, out: &mut Vec<u8>) {
    if query.is_empty() {
        return;
    }
    let pairs = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .filter(|(name, _)| !(signed_in_query && *name == "X-Amz-Signature"));
    // All in one buffer: a hostile query has thousands of pairs.
    let mut encoded = Vec::with_capacity(query.len());
    let mut places = Vec::with_capacity(pairs.clone().count());
    for (name, value) in pairs {
        let start = encoded.len();
        encode(&decode_percent(name), &mut encoded);
        let middle = encoded.len();
        encode(&decode_percent(value), &mut encoded);
        places.push((start, middle, encoded.len()));
    }
    let pair = |&(start, middle, end): &(usize, usize, usize)| (&encoded[start..middle], &encoded[middle..end]);
    places.sort_unstable_by(|a, b| pair(a).cmp(&pair(b)));
    for (at, place) in places.iter().enumerate() {
        let (name, value) = pair(place);
        if at > 0 {
            out.push(b'&');
        }
        out.extend_from_slice(name);
        out.push(b'=');
        out.extend_from_slice(value);
    }
}

/// Percent-encodes all but RFC 3986's unreserved characters.
fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(byte);
        } else {
            out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
}

/// Decodes `%xx`; a percent sign that begins no such thing stands for itself.
pub fn decode_percent(text: &str) -> Vec<u8> {
    let digit =
        |byte: Option<&u8>| byte.and_then(|&byte| char::from(byte).to_digit(16)).and_then(|d| u8::try_from(d).ok());
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte == b'%'
            && let (Some(high), Some(low)) = (digit(bytes.get(at + 1)), digit(bytes.get(at + 2)))
        {
            out.push(high << 4 | low);
            at += 3;
        } else {
            out.push(byte);
            at += 1;
        }
    }
    out
}
