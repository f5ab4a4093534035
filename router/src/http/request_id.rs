//! Request ids: 52 characters of A-Z and 0-9, as DynamoDB's are; unlike any other, and not secret.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

const LENGTH: usize = 52;
/// 36^12 is below 2^64: a 64-bit number has twelve even characters, near enough.
const FROM_ONE: usize = 12;
const CHARACTERS: &[u8; 36] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/// A counter behind a mixing function, from a start that differs from process to process.
pub struct RequestIds {
    seeds: [u64; LENGTH.div_ceil(FROM_ONE)],
    next: AtomicU64,
}

impl RequestIds {
    pub fn new() -> RequestIds {
        let random = RandomState::new();
        let mut at = 0u64;
        let seeds = [(); LENGTH.div_ceil(FROM_ONE)].map(|()| {
            at += 1;
            random.hash_one(at)
        });
        RequestIds { seeds, next: AtomicU64::new(0) }
    }

    pub fn next(&self) -> Bytes {
        let count = self.next.fetch_add(1, Ordering::Relaxed);
        let mut id = Vec::with_capacity(LENGTH);
        for seed in self.seeds {
            let mut bits = mix(seed ^ count);
            for _ in 0..FROM_ONE.min(LENGTH - id.len()) {
                id.push(CHARACTERS[usize::try_from(bits % 36).unwrap_or(0)]);
                bits /= 36;
            }
        }
        Bytes::from(id)
    }
}

/// SplitMix64's finisher.
fn mix(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
