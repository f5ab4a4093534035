//! AWS Signature Version 4, verified: who signed this request, and did anybody change it on its way.
//!
//! Checks come in AWS's order with AWS's texts. Everything that needs no body is [`Verifier::examine`]d before the body is
//! read; the signature covers the body and is held against it by [`Verifier::verify`].

pub mod authorization;
pub mod canonical;
pub mod credentials;
pub mod signing;
#[cfg(test)]
mod tests;
pub mod time;

use std::collections::BTreeSet;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::request::Parts;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::error::Error;
use authorization::Authorization;
use credentials::Credentials;
use signing::{SigningKey, SigningKeys};
use time::Timestamp;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const SERVICE: &str = "dynamodb";
const TERMINATOR: &str = "aws4_request";
/// How far the client's clock may be from ours, either way (AWS's number).
const WINDOW: Duration = Duration::from_secs(15 * 60);

/// Holds requests against known credentials.
pub struct Verifier {
    credentials: Box<dyn Credentials>,
    /// The region that requests must be scoped to; none for whatever the client signs for.
    region: Option<String>,
    keys: SigningKeys,
}

/// What a request claims, well formed and by a known key: all but the signature has been checked.
pub struct Claim {
    authorization: Authorization,
    timestamp: Timestamp,
    key: SigningKey,
}

impl Verifier {
    pub fn new(credentials: Box<dyn Credentials>, region: Option<String>) -> Verifier {
        Verifier { credentials, region, keys: SigningKeys::default() }
    }

    /// Everything that can be told without the body.
    pub fn examine(&self, parts: &Parts, now: Timestamp) -> Result<Claim, Error> {
        let authorization = authorization::find(parts)?;
        let timestamp = check_time(&authorization, now)?;
        if !authorization.signed_headers().any(|name| name.eq_ignore_ascii_case("host")) {
            return Err(Error::InvalidSignature("'Host' must be a 'SignedHeader' in the AWS Authorization.".into()));
        }
        // Each of them stands in what is signed with its values, so that many times one long header would be very much.
        let names: BTreeSet<&str> = authorization.signed_headers().collect();
        if names.len() != authorization.signed_headers().count() {
            return Err(Error::InvalidSignature("A header is named twice in the 'SignedHeaders'.".into()));
        }
        if authorization.algorithm != ALGORITHM {
            let found = &authorization.algorithm;
            return Err(Error::IncompleteSignature(
                format!("Unsupported AWS 'algorithm': '{found}' (only {ALGORITHM} for now). ").into(),
            ));
        }
        let scope = authorization.scope()?;
        let faults = scope.faults(self.region.as_deref(), &timestamp);
        if !faults.is_empty() {
            return Err(Error::InvalidSignature(faults.into()));
        }
        let secret = self.credentials.secret(scope.access_key).ok_or(Error::UnrecognizedClient)?;
        let key = self.keys.get(&scope, secret);
        Ok(Claim { authorization, timestamp, key })
    }

    /// Holds the signature against the whole request.
    pub fn verify(&self, claim: &Claim, parts: &Parts, body: &[u8]) -> Result<(), Error> {
        let canonical = canonical::request(parts, &claim.authorization, &Sha256::digest(body).into());
        let to_sign = canonical::string_to_sign(&canonical, &claim.authorization, &claim.timestamp);
        let expected = signing::hex(&claim.key.sign(&to_sign));
        if !bool::from(expected.as_slice().ct_eq(claim.authorization.signature.as_bytes())) {
            return Err(mismatch(&canonical, &to_sign));
        }
        // No credential here is a temporary one.
        if has_security_token(&parts.headers, &claim.authorization) {
            return Err(Error::UnrecognizedClient);
        }
        Ok(())
    }
}

fn has_security_token(headers: &HeaderMap, authorization: &Authorization) -> bool {
    headers.contains_key("x-amz-security-token") || authorization.security_token
}

fn check_time(authorization: &Authorization, now: Timestamp) -> Result<Timestamp, Error> {
    let text = &authorization.date;
    let Some(timestamp) = Timestamp::parse(text) else {
        return Err(Error::IncompleteSignature(
            format!("Date must be in ISO-8601 'basic format'. Got '{text}'. See http://en.wikipedia.org/wiki/ISO_8601")
                .into(),
        ));
    };
    let valid_for = authorization.expires.unwrap_or(WINDOW);
    let oldest = now.minus(valid_for);
    if timestamp < oldest {
        let minutes = valid_for.as_secs() / 60;
        return Err(Error::InvalidSignature(
            format!("Signature expired: {timestamp} is now earlier than {oldest} ({now} - {minutes} min.)").into(),
        ));
    }
    let newest = now.plus(WINDOW);
    if timestamp > newest {
        return Err(Error::InvalidSignature(
            format!("Signature not yet current: {timestamp} is still later than {newest} ({now} + 15 min.)").into(),
        ));
    }
    Ok(timestamp)
}

fn mismatch(canonical: &[u8], to_sign: &[u8]) -> Error {
    let canonical = String::from_utf8_lossy(canonical);
    let to_sign = String::from_utf8_lossy(to_sign);
    Error::InvalidSignature(
        format!(
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access \
             Key and signing method. Consult the service documentation for details.\n\nThe Canonical String for this \
             request should have been\n'{canonical}'\n\nThe String-to-Sign should have been\n'{to_sign}'\n"
        )
        .into(),
    )
}
