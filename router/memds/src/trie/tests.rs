//! The trie against `BTreeMap`.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::{Digest, Trie};

impl Digest for u32 {
    fn digest(&self) -> u64 {
        u64::from(*self)
    }
}

/// Few letters, so that keys share prefixes and are prefixes of each other.
fn key() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![Just(0u8), Just(1), Just(2), Just(254), Just(255)], 0..7)
}

fn contents() -> impl Strategy<Value = BTreeMap<Vec<u8>, u32>> {
    btree_map(key(), 0u32..4, 0..40)
}

fn trie(contents: &BTreeMap<Vec<u8>, u32>) -> Trie<u32> {
    let mut trie = Trie::default();
    for (key, value) in contents {
        trie.insert(key, *value);
    }
    trie
}

fn owned(found: Option<(Vec<u8>, &u32)>) -> Option<(Vec<u8>, u32)> {
    found.map(|(key, value)| (key, *value))
}

proptest! {
    #[test]
    fn it_answers_like_an_ordered_map(map in contents(), asked in key(), end in key()) {
        let trie = trie(&map);
        let copy = |(key, value): (&Vec<u8>, &u32)| (key.clone(), *value);
        prop_assert_eq!(trie.len(), map.len());
        prop_assert_eq!(trie.get(&asked), map.get(&asked));
        prop_assert_eq!(owned(trie.floor(&asked)), map.range(..=asked.clone()).next_back().map(copy));
        prop_assert_eq!(owned(trie.ceiling(&asked)), map.range(asked.clone()..).next().map(copy));
        let between: Vec<_> = trie.between(&asked, Some(&end)).map(|(key, value)| (key, *value)).collect();
        let expected: Vec<_> = if asked <= end {
            map.range(asked.clone()..end).map(copy).collect()
        } else {
            Vec::new()
        };
        prop_assert_eq!(between, expected);
        let prefix: Vec<_> = trie.prefix(&asked).map(|(key, value)| (key, *value)).collect();
        let expected: Vec<_> = map.iter().filter(|(key, _)| key.starts_with(&asked)).map(copy).collect();
        prop_assert_eq!(prefix, expected);
        let all: Vec<_> = trie.iter().map(|(key, value)| (key, *value)).collect();
        prop_assert_eq!(all, map.iter().map(copy).collect::<Vec<_>>());
    }

    #[test]
    fn equal_contents_have_equal_hashes_whatever_their_history(
        changes in vec((key(), proptest::option::of(0u32..4)), 0..80),
    ) {
        let mut map = BTreeMap::new();
        let mut lived = Trie::default();
        for (key, value) in changes {
            match value {
                Some(value) => prop_assert_eq!(lived.insert(&key, value), map.insert(key, value)),
                None => prop_assert_eq!(lived.remove(&key), map.remove(&key)),
            }
            prop_assert_eq!(lived.len(), map.len());
        }
        let fresh = trie(&map);
        prop_assert_eq!(lived.hash(), fresh.hash());
        prop_assert!(lived.differences(&fresh).is_empty());
    }

    #[test]
    fn differences_are_exactly_what_differs(left in contents(), right in contents()) {
        let (here, there) = (trie(&left), trie(&right));
        let found: Vec<_> = here
            .differences(&there)
            .into_iter()
            .map(|d| (d.key, d.here.copied(), d.there.copied()))
            .collect();
        let mut keys: Vec<_> = left.keys().chain(right.keys()).cloned().collect();
        keys.sort();
        keys.dedup();
        let expected: Vec<_> = keys
            .into_iter()
            .map(|key| (left.get(&key).copied(), right.get(&key).copied(), key))
            .filter(|(a, b, _)| a != b)
            .map(|(a, b, key)| (key, a, b))
            .collect();
        prop_assert_eq!(here.hash() == there.hash(), expected.is_empty());
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn one_change_among_thousands_is_found_without_a_walk_through_all() {
    let mut here = Trie::default();
    for n in 0..20_000u32 {
        here.insert(&n.wrapping_mul(2_654_435_761).to_be_bytes(), Counted(n));
    }
    let mut there = here.clone();
    there.insert(&7u32.wrapping_mul(2_654_435_761).to_be_bytes(), Counted(1_000_000));
    DIGESTS.with(|digests| digests.set(0));
    assert_eq!(here.differences(&there).len(), 1);
    let digests = DIGESTS.with(std::cell::Cell::get);
    assert!(digests <= 16, "{digests} values looked at");
}

thread_local! {
    static DIGESTS: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

#[derive(Clone)]
struct Counted(u32);

impl Digest for Counted {
    fn digest(&self) -> u64 {
        DIGESTS.with(|digests| digests.set(digests.get() + 1));
        u64::from(self.0)
    }
}
