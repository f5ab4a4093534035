//! Hostile bytes against what a replica reads from its log, its engine and snapshots.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use fuzz::{Fuzz, Random};
use model::{
    KeyRange, KeySchema, KeyType, NodeId, PartitionDescriptor, PartitionId, ReplicaDescriptor, ReplicaId, ReplicaKind,
    ReplicaRole, TableDescriptor, TableId, Zone,
};
use replica::entry::{Body, Cause, LogEntry, Write, WriteKind};
use replica::{AppliedMark, GroupState, SnapshotContent};

fn corpus(target: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "__fuzz__", target, "corpus"].iter().collect()
}

/// A list takes three times what it will while it grows.
const GROWING: usize = 3 * fuzz::FACTOR;

fn maybe(random: &mut Random) -> Option<Bytes> {
    random.one_of(2).then(|| random.bytes(40).into())
}

fn write(random: &mut Random) -> Write {
    Write {
        space: random.byte(),
        kind: *random.pick(&[WriteKind::Put, WriteKind::Delete, WriteKind::Touch]),
        cause: *random.pick(&[Cause::User, Cause::Expiry]),
        version_timestamp_us: random.number(),
        key: random.bytes(20).into(),
        request_id: random.bytes(20).into(),
        after: maybe(random),
        old: maybe(random),
        transaction: maybe(random),
    }
}

fn entry(random: &mut Random) -> Vec<u8> {
    let body = match random.below(4) {
        0 => Body::Table(random.bytes(50).into()),
        1 => Body::Membership(random.bytes(50).into()),
        _ => Body::Writes((0..random.below(6)).map(|_| write(random)).collect()),
    };
    LogEntry { evaluation_term: random.number(), commit_time_us: random.number(), body }.encode().to_vec()
}

#[test]
fn hostile_log_entries_are_refused_or_read() {
    let fuzz = Fuzz::with_corpus(corpus("log_entry")).with_factor(GROWING);
    let target = |input: &[u8]| {
        if let Ok(entry) = LogEntry::decode(Bytes::copy_from_slice(input)) {
            assert_eq!(*entry.encode(), *input);
        }
    };
    let check = bolero::check!(name = "log_entry").with_shrink_time(Duration::ZERO);
    check.for_each(|noise: &[u8]| fuzz.feed(noise, entry, target));
}

fn table(random: &mut Random) -> TableDescriptor {
    let schema = KeySchema::simple("Artist", KeyType::S);
    let schema = if random.one_of(2) { schema.with_sort("Song", KeyType::N) } else { schema };
    TableDescriptor {
        id: TableId(random.bits()),
        version: random.number(),
        hash_seed: random.bits(),
        last_on_demand_ms: random.number(),
        created_ms: random.number(),
        table_class: "STANDARD".to_owned(),
        ..TableDescriptor::wish("Music", schema)
    }
}

fn partition(random: &mut Random) -> PartitionDescriptor {
    let replica = |id, zone: &str, role| ReplicaDescriptor {
        id: ReplicaId(id),
        node: NodeId(100 + id),
        zone: Zone(zone.to_owned()),
        role,
        kind: ReplicaKind::Storage,
    };
    PartitionDescriptor {
        id: PartitionId(random.bits()),
        table: TableId(random.bits()),
        range: KeyRange { start: random.bytes(9).into(), end: maybe(random) },
        epoch: random.number(),
        replicas: vec![replica(1, "a", ReplicaRole::Voter), replica(2, "b", ReplicaRole::Learner)],
        next_replica: ReplicaId(3),
    }
}

#[test]
fn hostile_group_records_are_refused_or_read() {
    let fuzz = Fuzz::with_corpus(corpus("group_record")).with_factor(GROWING);
    let make = |random: &mut Random| {
        let state = GroupState::birth(ReplicaId(1), partition(random), table(random));
        let mark = AppliedMark { index: random.number(), term: random.number(), commit_time_us: random.number() };
        let record = match random.below(3) {
            0 => state.encode(),
            1 => mark.encode(),
            _ => SnapshotContent { state, mark }.encode(),
        };
        record.to_vec()
    };
    let target = |input: &[u8]| {
        let bytes = Bytes::copy_from_slice(input);
        if let Ok(mark) = AppliedMark::decode(bytes.clone()) {
            assert_eq!(*mark.encode(), *input);
        }
        if let Ok(state) = GroupState::decode(bytes.clone()) {
            assert_eq!(GroupState::decode(state.encode()), Ok(state));
        }
        if let Ok(content) = SnapshotContent::decode(bytes) {
            assert_eq!(SnapshotContent::decode(content.encode()).unwrap(), content);
        }
    };
    let check = bolero::check!(name = "group_record").with_shrink_time(Duration::ZERO);
    check.for_each(|noise: &[u8]| fuzz.feed(noise, make, target));
}
