//! Hostile frames from other nodes, from the wire to the replica's own messages.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use fuzz::{Fuzz, Random};
use node::transport::convert::{Parcel, from_wire, to_wire, wire_size};
use prost::Message;
use wire::frugal::is_frugal;
use wire::raft;

fn corpus(target: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "__fuzz__", target, "corpus"].iter().collect()
}

fn frame(random: &mut Random) -> Vec<u8> {
    let entry = |random: &mut Random| {
        let data: Bytes = random.bytes(30).into();
        let crc32c = if random.one_of(5) { 7 } else { crc32c::crc32c(&data) };
        let kind = u32::from(random.byte() % 4);
        raft::Entry { kind, term: random.number(), index: random.number(), data, context: Bytes::new(), crc32c }
    };
    let message = |random: &mut Random| raft::Message {
        partition: random.bits(),
        from: random.number(),
        to: random.number(),
        kind: *random.pick(&[3, 4, 5, 7, 8, 9, 2, 19, 100, 101, 102, 103, 77]),
        term: random.number(),
        entries: (0..random.below(4)).map(|_| entry(random)).collect(),
        snapshot: random.one_of(2).then(|| raft::SnapshotMetadata {
            voters: vec![random.number()],
            data: random.bytes(30).into(),
            ..Default::default()
        }),
        reject_hint: random.number(),
        ..Default::default()
    };
    raft::Frame { messages: (0..random.below(5)).map(|_| message(random)).collect(), ..Default::default() }
        .encode_to_vec()
}

#[test]
fn hostile_frames_become_messages_or_garbage() {
    // What `wire::frugal` lets in, three times over while lists grow.
    let fuzz = Fuzz::with_corpus(corpus("frame")).with_factor(3 * fuzz::FACTOR).with_constant(3 * (8 << 20));
    let target = |input: &[u8]| {
        if !is_frugal::<raft::Frame>(input) {
            return;
        }
        let Ok(frame) = raft::Frame::decode(Bytes::copy_from_slice(input)) else { return };
        for message in frame.messages {
            assert!(wire_size(&message) > 0);
            let Ok((partition, Parcel::ForReplica(envelope))) = from_wire(message) else { continue };
            // What was taken in could be sent on, and would be taken in again.
            let again = to_wire(partition, envelope).unwrap();
            assert!(from_wire(again).is_ok());
        }
    };
    let check = bolero::check!(name = "frame").with_shrink_time(Duration::ZERO);
    check.for_each(|noise: &[u8]| fuzz.feed(noise, frame, target));
}
