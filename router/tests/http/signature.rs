//! Signatures of version 4, made as AWS's documents say and not as the router checks them. `benches/put_item.rs` signs with
//! them, too.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

pub const ACCESS_KEY: &str = "AKIATESTER";
pub const SECRET_KEY: &str = "a-secret-of-the-tests";
pub const REGION: &str = "eu-central-7";

pub fn payload_hash(payload: &[u8]) -> String {
    hex(&Sha256::digest(payload))
}

pub fn signature(date: &str, canonical: &str) -> String {
    let day = &date[..8];
    let mut key = hmac(format!("AWS4{SECRET_KEY}").as_bytes(), day);
    for part in [REGION, "dynamodb", "aws4_request"] {
        key = hmac(&key, part);
    }
    let canonical = payload_hash(canonical.as_bytes());
    hex(&hmac(&key, &format!("AWS4-HMAC-SHA256\n{date}\n{day}/{REGION}/dynamodb/aws4_request\n{canonical}")))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hmac(key: &[u8], message: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(message.as_bytes());
    mac.finalize().into_bytes().to_vec()
}
