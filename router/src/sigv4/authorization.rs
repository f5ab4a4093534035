//! What a request says about its signature: in the `Authorization` header, or in the query.

use std::time::Duration;

use axum::http::header::{AUTHORIZATION, DATE};
use axum::http::request::Parts;

use super::canonical::decode_percent;
use super::time::Timestamp;
use super::{SERVICE, TERMINATOR};
use crate::error::Error;

/// The parts of a signature, as they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorization {
    pub algorithm: String,
    pub credential: String,
    pub signed_headers: String,
    pub signature: String,
    /// `X-Amz-Date`, or `Date`.
    pub date: String,
    /// In the query: how long the signature stays valid.
    pub expires: Option<Duration>,
    /// In the query: there is an `X-Amz-Security-Token`.
    pub security_token: bool,
    pub in_query: bool,
}

/// A credential's parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope<'a> {
    pub access_key: &'a str,
    pub date: &'a str,
    pub region: &'a str,
    pub service: &'a str,
    pub terminator: &'a str,
}

impl Authorization {
    pub fn signed_headers(&self) -> impl Iterator<Item = &str> {
        self.signed_headers.split(';')
    }

    /// The credential's five parts; slashes at its end do not count.
    pub fn scope(&self) -> Result<Scope<'_>, Error> {
        let mut parts = self.credential.trim_end_matches('/').split('/');
        let mut part = || parts.next();
        if let (Some(access_key), Some(date), Some(region), Some(service), Some(terminator), None) =
            (part(), part(), part(), part(), part(), part())
        {
            return Ok(Scope { access_key, date, region, service, terminator });
        }
        let credential = &self.credential;
        Err(Error::IncompleteSignature(
            format!(
                "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got \
                 '{credential}'"
            )
            .into(),
        ))
    }
}

impl Scope<'_> {
    /// Everything that is wrong with the scope, in AWS's order; empty if nothing is.
    pub fn faults(&self, expected_region: Option<&str>, timestamp: &Timestamp) -> String {
        let Scope { access_key: _, date, region, service, terminator } = *self;
        let mut faults = Vec::new();
        if region.is_empty() || expected_region.is_some_and(|expected| expected != region) {
            faults.push(format!("Credential should be scoped to a valid region, not '{region}'. "));
        }
        if service != SERVICE {
            faults.push(format!("Credential should be scoped to correct service: '{SERVICE}'. "));
        }
        if terminator != TERMINATOR {
            faults.push(format!(
                "Credential should be scoped with a valid terminator: '{TERMINATOR}', not '{terminator}'. "
            ));
        }
        let expected_date = timestamp.date();
        if date != expected_date {
            faults.push(format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{date}' != \
                 '{expected_date}', from '{timestamp}'."
            ));
        }
        faults.concat()
    }
}

/// The one signature of a request, all its parts there.
pub fn find(parts: &Parts) -> Result<Authorization, Error> {
    let header = parts.headers.get(AUTHORIZATION).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let query = Query(parts.uri.query().unwrap_or_default());
    match (header, query.get("X-Amz-Algorithm").is_some()) {
        (Some(_), true) => Err(Error::InvalidSignature(
            "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header.".into(),
        )),
        (None, true) => from_query(&query),
        (Some(header), false) if header.trim_start().starts_with("AWS4-") => from_header(&header, parts),
        (_, false) => Err(Error::MissingAuthenticationToken),
    }
}

fn from_header(header: &str, parts: &Parts) -> Result<Authorization, Error> {
    let (algorithm, fields) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
    let (mut credential, mut signature, mut signed_headers) = ("", "", "");
    for field in fields.split([',', ' ']).map(str::trim).filter(|field| !field.is_empty()) {
        let Some((name, value)) = field.split_once('=') else {
            return Err(Error::IncompleteSignature(
                format!(
                    "'{field}' not a valid key=value pair (missing equal-sign) in Authorization header: '{header}'."
                )
                .into(),
            ));
        };
        match name {
            "Credential" => credential = value,
            "Signature" => signature = value,
            "SignedHeaders" => signed_headers = value,
            _ => {}
        }
    }
    let date = parts.headers.get("x-amz-date").or_else(|| parts.headers.get(DATE));
    let mut missing = String::new();
    for (name, value) in [("Credential", credential), ("Signature", signature), ("SignedHeaders", signed_headers)] {
        if value.is_empty() {
            missing.push_str(&format!("Authorization header requires '{name}' parameter. "));
        }
    }
    if date.is_none() {
        missing.push_str("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ");
    }
    if !missing.is_empty() {
        return Err(Error::IncompleteSignature(format!("{missing}Authorization={header}").into()));
    }
    Ok(Authorization {
        algorithm: algorithm.to_owned(),
        credential: credential.to_owned(),
        signed_headers: signed_headers.to_owned(),
        signature: signature.to_owned(),
        date: date.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).unwrap_or_default(),
        expires: None,
        security_token: false,
        in_query: false,
    })
}

fn from_query(query: &Query<'_>) -> Result<Authorization, Error> {
    const NAMES: [&str; 5] =
        ["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-SignedHeaders", "X-Amz-Date"];
    let missing: String = NAMES
        .iter()
        .filter(|name| query.get(name).is_none_or(|value| value.is_empty()))
        .map(|name| format!("AWS query-string parameters must include '{name}'. "))
        .collect();
    if !missing.is_empty() {
        return Err(Error::IncompleteSignature(format!("{missing}Re-examine the query-string parameters.").into()));
    }
    let [algorithm, credential, signature, signed_headers, date] =
        NAMES.map(|name| query.get(name).unwrap_or_default());
    // AWS: at most seven days.
    let expires = query.get("X-Amz-Expires").map(|text| text.parse::<u64>().unwrap_or(0).min(7 * 24 * 3600));
    Ok(Authorization {
        algorithm,
        credential,
        signed_headers,
        signature,
        date,
        expires: expires.map(Duration::from_secs),
        security_token: query.get("X-Amz-Security-Token").is_some(),
        in_query: true,
    })
}

/// A query, decoded where it is asked.
struct Query<'a>(&'a str);

impl Query<'_> {
    fn get(&self, name: &str) -> Option<String> {
        let decode = |text: &str| String::from_utf8_lossy(&decode_percent(text)).into_owned();
        let pairs = self.0.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        // A name is longer than what it stands for, if it is not the same.
        let mut found = pairs.filter(|(found, _)| found.len() >= name.len() && decode(found) == name);
        found.next().map(|(_, value)| decode(value))
    }
}
