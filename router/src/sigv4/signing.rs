//! Signing keys, derived once per access key, day and region, and kept.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::authorization::Scope;
use super::{SERVICE, TERMINATOR};

/// Keys kept per access key: two days meet at midnight, in a few regions.
const KEPT: usize = 8;

/// A key, ready to sign.
#[derive(Clone)]
pub struct SigningKey(Hmac<Sha256>);

impl SigningKey {
    pub fn sign(&self, message: &[u8]) -> [u8; 32] {
        let mut mac = self.0.clone();
        mac.update(message);
        mac.finalize().into_bytes().into()
    }

    fn new(key: &[u8]) -> SigningKey {
        SigningKey(Hmac::new_from_slice(key).expect("an HMAC takes keys of any length"))
    }

    pub(super) fn derive(secret: &str, date: &str, region: &str, service: &str) -> SigningKey {
        let mut key = SigningKey::new(format!("AWS4{secret}").as_bytes());
        for part in [date, region, service, TERMINATOR] {
            key = SigningKey::new(&key.sign(part.as_bytes()));
        }
        key
    }
}

struct Kept {
    date: String,
    region: String,
    key: SigningKey,
}

/// The keys derived so far. Only known access keys have any, so there is a bound.
#[derive(Default)]
pub struct SigningKeys(RwLock<HashMap<String, Vec<Kept>>>);

impl SigningKeys {
    pub fn get(&self, scope: &Scope<'_>, secret: &str) -> SigningKey {
        let found = |kept: &&Kept| kept.date == scope.date && kept.region == scope.region;
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = keys.get(scope.access_key).and_then(|kept| kept.iter().find(found)) {
            return kept.key.clone();
        }
        drop(keys);
        let key = SigningKey::derive(secret, scope.date, scope.region, SERVICE);
        let mut keys = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let kept = keys.entry(scope.access_key.to_owned()).or_default();
        if kept.len() == KEPT {
            kept.remove(0);
        }
        kept.push(Kept { date: scope.date.to_owned(), region: scope.region.to_owned(), key: key.clone() });
        key
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8; 32]) -> [u8; 64] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = [0; 64];
    for (pair, byte) in out.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    out
}
