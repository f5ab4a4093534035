//! When a replica campaigns: a function of seed, replica and term, so that a seeded world is the same every time.

/// Between one and two times `base`.
pub(crate) fn election_timeout(seed: u64, replica: u64, term: u64, base: usize) -> usize {
    let mut mixed = mix(seed);
    mixed = mix(mixed ^ replica);
    mixed = mix(mixed ^ term);
    let base_ticks = base.max(1) as u64;
    base + usize::try_from(mixed % base_ticks).expect("less than a usize")
}

/// SplitMix64's finaliser.
pub(crate) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn election_timeouts_differ_between_replicas_and_between_terms_and_stay_in_their_bounds() {
        let of = |replica, term| election_timeout(7, replica, term, 10);
        assert!((1..200).all(|term| (1..4).all(|replica| (10..20).contains(&of(replica, term)))));
        assert!((1..20).any(|term| of(1, term) != of(2, term)));
        assert!((1..20).any(|term| of(1, term) != of(1, term + 1)));
    }
}
