//! Hostile bytes against every message that travels.
#![expect(clippy::unwrap_used, reason = "a test says by panicking")]

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use fuzz::{Fuzz, Random};
use prost::Message;
use wire::frugal::{Shaped, is_frugal};
use wire::{admin, control, data, memds, raft};

fn corpus(target: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "__fuzz__", target, "corpus"].iter().collect()
}

/// What is read can be written, and is then read as the same.
fn read<M: Message + Default + PartialEq + Shaped>(input: &[u8]) {
    if !is_frugal::<M>(input) {
        return;
    }
    if let Ok(message) = M::decode(Bytes::copy_from_slice(input)) {
        let again = M::decode(Bytes::from(message.encode_to_vec())).unwrap();
        assert!(again == message, "what is written again is read as something else");
    }
}

/// While a list grows, it takes three times what it will; and it is read twice here.
const FACTOR: usize = 6 * 20;
const CONSTANT: usize = 6 * (8 << 20);

fn some<T>(random: &mut Random, make: impl Fn(&mut Random) -> T) -> Vec<T> {
    (0..random.below(6)).map(|_| make(random)).collect()
}

fn bytes(random: &mut Random) -> Bytes {
    random.bytes(30).into()
}

fn maybe(random: &mut Random) -> Option<Bytes> {
    random.one_of(2).then(|| bytes(random))
}

fn request(random: &mut Random) -> data::Request {
    use data::request::Operation;
    let operation = match random.below(4) {
        0 => None,
        1 => Some(Operation::Get(data::Get { key: bytes(random), consistent: random.one_of(2) })),
        2 => {
            let update = data::UpdateAction { key_attributes: bytes(random), update: maybe(random) };
            let action = match random.below(3) {
                0 => data::write::Action::Put(bytes(random)),
                1 => data::write::Action::Delete(data::Delete {}),
                _ => data::write::Action::Update(update),
            };
            Some(Operation::Write(data::Write {
                key: bytes(random),
                request_id: bytes(random),
                condition: maybe(random),
                action: Some(action),
                ..Default::default()
            }))
        }
        _ => Some(Operation::Scan(data::Scan {
            start: bytes(random),
            end: maybe(random),
            filter: maybe(random),
            limit_bytes: 7,
            ..Default::default()
        })),
    };
    data::Request {
        id: random.number(),
        partition: random.bits(),
        epoch: random.number(),
        operation,
        ..Default::default()
    }
}

fn response(random: &mut Random) -> data::Response {
    use data::response::Result;
    let result = match random.below(4) {
        0 => Result::Got(data::Got { item: maybe(random) }),
        1 => Result::Written(data::Written { message: random.text(9), old: maybe(random), ..Default::default() }),
        2 => {
            Result::Scanned(data::Scanned { items: some(random, bytes), last_key: maybe(random), ..Default::default() })
        }
        _ => Result::Refused(data::Refused { descriptor: maybe(random), leader: random.bits(), ..Default::default() }),
    };
    data::Response { id: random.number(), result: Some(result) }
}

#[test]
fn hostile_frames_of_data_are_refused_or_read() {
    let fuzz = Fuzz::with_corpus(corpus("data")).with_factor(FACTOR).with_constant(CONSTANT);
    let make = |random: &mut Random| match random.below(2) {
        0 => data::RequestFrame { requests: some(random, request) }.encode_to_vec(),
        _ => data::ResponseFrame { responses: some(random, response), stopping: false }.encode_to_vec(),
    };
    let target = |input: &[u8]| {
        read::<data::RequestFrame>(input);
        read::<data::ResponseFrame>(input);
    };
    let check = bolero::check!(name = "data").with_shrink_time(Duration::ZERO);
    check.for_each(|noise: &[u8]| fuzz.feed(noise, make, target));
}

fn message(random: &mut Random) -> raft::Message {
    let entry = |random: &mut Random| raft::Entry {
        kind: 0,
        term: random.number(),
        index: random.number(),
        data: bytes(random),
        context: bytes(random),
        crc32c: 7,
    };
    let snapshot =
        raft::SnapshotMetadata { voters: some(random, Random::number), data: bytes(random), ..Default::default() };
    raft::Message {
        partition: random.bits(),
        kind: 3,
        term: random.number(),
        entries: some(random, entry),
        snapshot: random.one_of(3).then_some(snapshot),
        context: bytes(random),
        priority: -3,
        ..Default::default()
    }
}

#[test]
fn hostile_frames_between_nodes_are_refused_or_read() {
    let fuzz = Fuzz::with_corpus(corpus("raft")).with_factor(FACTOR).with_constant(CONSTANT);
    let entry = |random: &mut Random| raft::DirectoryEntry {
        zone: random.text(4),
        address: random.text(9),
        ..Default::default()
    };
    let make = |random: &mut Random| {
        let (messages, directory) = (some(random, message), some(random, entry));
        let (from_node, disk_full) = (random.bits(), random.below(2) == 1);
        let beat = |random: &mut Random| raft::Heartbeat { free_bytes: random.number(), ..Default::default() };
        let heartbeat = (random.below(2) == 1).then(|| beat(random));
        raft::Frame { from_node, to_node: 7, start_number: 3, messages, directory, disk_full, heartbeat }
            .encode_to_vec()
    };
    let target = |input: &[u8]| {
        read::<raft::Frame>(input);
        read::<raft::FrameAnswer>(input);
        read::<raft::SnapshotChunk>(input);
        read::<raft::SnapshotAnswer>(input);
    };
    let check = bolero::check!(name = "raft").with_shrink_time(Duration::ZERO);
    check.for_each(|noise: &[u8]| fuzz.feed(noise, make, target));
}

#[test]
fn hostile_commands_to_nodes_are_refused_or_read() {
    let fuzz = Fuzz::with_corpus(corpus("admin")).with_factor(FACTOR).with_constant(CONSTANT);
    let make = |random: &mut Random| {
        let change =
            admin::change_replicas_request::Change::AddLearner(admin::AddLearner { node: 7, zone: random.text(5) });
        match random.below(3) {
            0 => admin::CreateGroupRequest { descriptor: bytes(random), table: bytes(random) }.encode_to_vec(),
            1 => admin::ChangeReplicasRequest { partition: 7, epoch: 3, change: Some(change) }.encode_to_vec(),
            _ => admin::GroupStatus { descriptor: bytes(random), table: bytes(random), ..Default::default() }
                .encode_to_vec(),
        }
    };
    let target = |input: &[u8]| {
        read::<admin::NodeStatus>(input);
        read::<admin::FormatRequest>(input);
        read::<admin::ListGroupsAnswer>(input);
        read::<admin::CreateGroupRequest>(input);
        read::<admin::SetTableRequest>(input);
        read::<admin::ChangeReplicasRequest>(input);
        read::<admin::TransferLeaderRequest>(input);
        read::<admin::DestroyGroupRequest>(input);
        read::<admin::RecoverGroupRequest>(input);
        read::<admin::Directory>(input);
        read::<control::CreateTableRequest>(input);
        read::<control::UpdateTableRequest>(input);
        read::<control::TableAnswer>(input);
    };
    let check = bolero::check!(name = "admin").with_shrink_time(Duration::ZERO);
    check.for_each(|noise: &[u8]| fuzz.feed(noise, make, target));
}

#[test]
fn hostile_frames_to_memds_are_refused_or_read() {
    let fuzz = Fuzz::with_corpus(corpus("memds")).with_factor(FACTOR).with_constant(CONSTANT);
    let report =
        |random: &mut Random| memds::PartitionReport { descriptor: bytes(random), leader: 7, ..Default::default() };
    let lookup = |random: &mut Random| memds::Lookup { id: random.number(), table: random.text(9), key: maybe(random) };
    let make = |random: &mut Random| match random.below(2) {
        0 => {
            let (partitions, tables, gone) = (some(random, report), some(random, bytes), some(random, Random::bits));
            memds::Announcement { partitions, tables, gone, full_begins: true, ..Default::default() }.encode_to_vec()
        }
        _ => memds::LookupFrame { lookups: some(random, lookup) }.encode_to_vec(),
    };
    let target = |input: &[u8]| {
        read::<memds::Announcement>(input);
        read::<memds::AnnouncementAnswer>(input);
        read::<memds::LookupFrame>(input);
        read::<memds::LookupAnswerFrame>(input);
        read::<memds::ListTablesAnswer>(input);
        read::<memds::ListPartitionsAnswer>(input);
    };
    let check = bolero::check!(name = "memds").with_shrink_time(Duration::ZERO);
    check.for_each(|noise: &[u8]| fuzz.feed(noise, make, target));
}

#[test]
fn large_frames_of_next_to_nothing_take_no_more_than_they_may() {
    let fuzz = Fuzz::with_corpus(corpus("data")).with_factor(FACTOR).with_constant(CONSTANT);
    for seed in [
        "\x0a\x00",
        "\x12\x00",
        "\x1a\x00",
        "\x22\x00",
        "\x2a\x00",
        "\x3a\x00",
        "\x22\x02\x42\x00",
        "\x0a\x04\x62\x02\x0a\x00",
    ] {
        let frame = seed.repeat((4 << 20) / seed.len());
        fuzz.hold(frame.as_bytes(), |input| {
            read::<data::RequestFrame>(input);
            read::<data::ResponseFrame>(input);
            read::<raft::Frame>(input);
            read::<memds::Announcement>(input);
            read::<memds::LookupFrame>(input);
            read::<memds::LookupAnswerFrame>(input);
        });
    }
}
