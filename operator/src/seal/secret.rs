//! How CA and certificates rest: Secrets, with the file names that processes read (and cert-manager writes): `ca.crt`, `tls.crt`,
//! `tls.key`. Pure.
//!
//! The CA's Secret has more: `next.crt` and `next.key`, or `previous.crt`, while it is replaced, and `rotation.json` that says how far
//! that has come:
//!
//! ```json
//! { "format": 1, "step": "Distribute", "since": "2026-11-29T17:12:14Z", "answered": "what the annotation said" }
//! ```
//! A format that is not known is refused: nobody signs with a CA whose state it does not understand.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use k8s_openapi::ByteString;
use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::authority::{Authority, Step};
use super::leaf::Leaf;
use super::mint::Pair;

pub const BUNDLE: &str = "ca.crt";
pub const CERTIFICATE: &str = "tls.crt";
pub const KEY: &str = "tls.key";
const NEXT_CERTIFICATE: &str = "next.crt";
const NEXT_KEY: &str = "next.key";
const PREVIOUS: &str = "previous.crt";
const ROTATION: &str = "rotation.json";
const FORMAT: u32 = 1;

type Data = BTreeMap<String, ByteString>;

/// The files of a Secret as they are to be, by name.
pub struct Files(Vec<(&'static str, Option<String>)>);

impl Files {
    /// `data` of a Secret that is made.
    pub fn whole(&self) -> Value {
        self.data(false)
    }

    /// `data` of a merge that leaves nothing of what was there before.
    pub fn merged(&self) -> Value {
        self.data(true)
    }

    fn data(&self, with_removed: bool) -> Value {
        let Files(files) = self;
        let kept = files.iter().filter(|(_, text)| text.is_some() || with_removed);
        let encoded =
            kept.map(|(name, text)| ((*name).to_owned(), json!(text.as_ref().map(|text| BASE64.encode(text)))));
        Value::Object(encoded.collect())
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("{0} is missing, or no text")]
    Missing(&'static str),
    #[error("{ROTATION} cannot be read: {0}")]
    Rotation(#[from] serde_json::Error),
    #[error("{ROTATION} has format {0}, which this version does not know")]
    Format(u32),
    #[error("{ROTATION} names no step of a rotation: {0:?}")]
    Step(String),
}

#[derive(Serialize, Deserialize)]
struct Rotation {
    format: u32,
    step: String,
    since: Timestamp,
    answered: String,
}

/// Every file that the CA's Secret has in some state: without text in those where it is not there.
pub fn authority_files(authority: &Authority) -> Result<Files, SecretError> {
    let Authority { certificate, key, step, since, answered } = authority;
    let rotation = Rotation { format: FORMAT, step: step.name().to_owned(), since: *since, answered: answered.clone() };
    let (next, previous) = match step {
        Step::Settled | Step::Drop => (None, None),
        Step::Distribute { next } => (Some(next.clone()), None),
        Step::Sign { previous } => (None, Some(previous.clone())),
    };
    let (next_certificate, next_key) = next.map(|Pair { certificate, key }| (certificate, key)).unzip();
    Ok(Files(vec![
        (BUNDLE, Some(authority.bundle())),
        (CERTIFICATE, Some(certificate.clone())),
        (KEY, key.clone()),
        (NEXT_CERTIFICATE, next_certificate),
        (NEXT_KEY, next_key),
        (PREVIOUS, previous),
        (ROTATION, Some(serde_json::to_string(&rotation)?)),
    ]))
}

pub fn authority(data: &Data) -> Result<Authority, SecretError> {
    let Rotation { format, step, since, answered } = serde_json::from_str(&text(data, ROTATION)?)?;
    if format != FORMAT {
        return Err(SecretError::Format(format));
    }
    let next = || {
        let pair = Pair { certificate: text(data, NEXT_CERTIFICATE)?, key: text(data, NEXT_KEY)? };
        Ok::<_, SecretError>(pair)
    };
    let step = match step.as_str() {
        "Settled" => Step::Settled,
        "Distribute" => Step::Distribute { next: next()? },
        "Sign" => Step::Sign { previous: text(data, PREVIOUS)? },
        "Drop" => Step::Drop,
        _ => return Err(SecretError::Step(step)),
    };
    let key = if data.contains_key(KEY) { Some(text(data, KEY)?) } else { None };
    Ok(Authority { certificate: text(data, CERTIFICATE)?, key, step, since, answered })
}

pub fn leaf_files(leaf: &Leaf) -> Files {
    let Leaf { bundle, pair: Pair { certificate, key } } = leaf.clone();
    Files(vec![(BUNDLE, Some(bundle)), (CERTIFICATE, Some(certificate)), (KEY, Some(key))])
}

pub fn leaf(data: &Data) -> Result<Leaf, SecretError> {
    let pair = Pair { certificate: text(data, CERTIFICATE)?, key: text(data, KEY)? };
    Ok(Leaf { bundle: text(data, BUNDLE)?, pair })
}

fn text(data: &Data, key: &'static str) -> Result<String, SecretError> {
    let found = data.get(key).and_then(|bytes| String::from_utf8(bytes.0.clone()).ok());
    found.filter(|text| !text.is_empty()).ok_or(SecretError::Missing(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str) -> Pair {
        Pair { certificate: format!("{name}\n"), key: format!("key of {name}") }
    }

    fn kept(files: &Files) -> Data {
        serde_json::from_value(files.whole()).unwrap()
    }

    #[test]
    fn an_authority_is_read_as_it_was_written_in_every_step() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let mut authority = Authority::first(pair("old"), "", now).begin(pair("new"), "to\"day", now);
        for _ in 0..4 {
            let files = authority_files(&authority).unwrap();
            assert_eq!(super::authority(&kept(&files)).unwrap(), authority);
            // Nothing of another step stays beside it.
            assert_eq!(files.merged().as_object().unwrap().len(), 7);
            authority = authority.advance(now);
        }
        let lost = Authority::after_loss("gone\n".to_owned(), pair("new"), "", now);
        assert_eq!(super::authority(&kept(&authority_files(&lost).unwrap())).unwrap(), lost);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let settled = Authority::first(pair("old"), "", now);
        let with = |rotation: &str| {
            let mut data = kept(&authority_files(&settled).unwrap());
            data.insert(ROTATION.to_owned(), ByteString(rotation.as_bytes().to_vec()));
            super::authority(&data).unwrap_err().to_string()
        };
        let rotation = |format: u32, step: &str| {
            json!({ "format": format, "step": step, "since": now, "answered": "" }).to_string()
        };
        assert_eq!(with(&rotation(2, "Settled")), "rotation.json has format 2, which this version does not know");
        assert_eq!(with(&rotation(1, "Later")), "rotation.json names no step of a rotation: \"Later\"");
        assert_eq!(with(&rotation(1, "Distribute")), "next.crt is missing, or no text");
        assert!(with("{").starts_with("rotation.json cannot be read"));
    }

    #[test]
    fn a_leaf_is_read_as_it_was_written() {
        let leaf = Leaf { bundle: "ca".to_owned(), pair: pair("leaf") };
        assert_eq!(super::leaf(&kept(&leaf_files(&leaf))).unwrap(), leaf);
        let mut half = kept(&leaf_files(&leaf));
        half.insert(KEY.to_owned(), ByteString(Vec::new()));
        assert!(super::leaf(&half).is_err());
    }
}
