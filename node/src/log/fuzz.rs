//! Hostile bytes against the log's own records.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use fuzz::{Fuzz, Random};
use replica::eraftpb::Entry;

use super::format::{Mark, MarkKey, Tail, decode_u64, encode_u64, parse_node_key, seal, unseal};

const KEY: MarkKey = MarkKey(*b"trivet-log-mark\x01");

fn record(random: &mut Random) -> Vec<u8> {
    match random.below(3) {
        0 => Mark { number: random.number(), durable: random.number() }.encode(KEY),
        1 => [random.bytes(20), Mark { number: 2, durable: 1 }.encode(KEY), random.bytes(20)].concat(),
        _ => {
            let runs = (0..random.below(9)).map(|_| (random.number(), random.number())).collect();
            Tail { truncated_index: random.number(), truncated_term: random.number(), runs, last_index: 0 }.encode()
        }
    }
}

#[test]
fn hostile_log_records_are_refused_or_read() {
    let corpus: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "src", "log", "__fuzz__", "log_record", "corpus"].iter().collect();
    let fuzz = Fuzz::with_corpus(corpus);
    let target = |input: &[u8]| {
        if let Some(mark) = Mark::decode(input, KEY) {
            assert!(input.starts_with(&mark.encode(KEY)));
            assert!(Mark::highest_durable(input, KEY) >= mark.durable);
        }
        _ = Mark::highest_durable(input, KEY);
        if let Ok(tail) = Tail::decode(input.to_vec(), None) {
            assert_eq!(tail.encode(), input);
            for index in [0, 1, tail.truncated_index, u64::MAX] {
                _ = tail.term_at(index);
            }
        }
        _ = parse_node_key(input);
        if let Some(number) = decode_u64(input) {
            assert_eq!(encode_u64(number), input);
        }
        let mut entry = Entry { context: Bytes::copy_from_slice(input), index: 7, ..Default::default() };
        assert!(!unseal(&mut entry) || input.len() >= 4);
        let mut entry = Entry { data: Bytes::copy_from_slice(input), ..Default::default() };
        seal(&mut entry);
        assert!(unseal(&mut entry));
    };
    let check = bolero::check!(name = "log_record").with_shrink_time(Duration::ZERO);
    check.for_each(|noise: &[u8]| fuzz.feed(noise, record, target));
}
