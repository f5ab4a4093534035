//! Hostile announcements and look-ups against the map.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use fuzz::{Fuzz, Random};
use memds::{Handle, Metrics};
use model::{
    KeyRange, KeySchema, KeyType, NodeId, PartitionDescriptor, PartitionId, TableDescriptor, TableId, TableStatus, Zone,
};
use prost::Message;
use wire::frugal::is_frugal;
use wire::memds::{
    Announcement, DirectoryEntry, ListPartitionsRequest, ListTablesRequest, Lookup, LookupFrame, PartitionReport,
};

fn corpus(target: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "__fuzz__", target, "corpus"].iter().collect()
}

fn table(random: &mut Random) -> Bytes {
    let wish = TableDescriptor::wish(["Music", "Books", ""][random.below(3)], KeySchema::simple("p", KeyType::S));
    let table = TableDescriptor {
        id: TableId(random.bits() % 3),
        version: random.number(),
        status: *random.pick(&[TableStatus::Active, TableStatus::Deleting]),
        ..wish
    };
    table.encode()
}

fn report(random: &mut Random) -> PartitionReport {
    let (id, table) = (PartitionId(random.bits() % 4), TableId(random.bits() % 3));
    let range = KeyRange { start: random.bytes(3).into(), end: random.one_of(2).then(|| random.bytes(3).into()) };
    let place = (NodeId(random.bits() % 4), Zone(random.text(3)));
    let born = PartitionDescriptor::birth(id, table, range, [place]);
    let descriptor = PartitionDescriptor { epoch: random.number(), ..born };
    let (descriptor, leader, term) = (descriptor.encode(), random.bits() % 4, random.number());
    PartitionReport { descriptor, leader, term, items: Some(random.bits()), bytes: Some(random.bits()) }
}

fn node(random: &mut Random) -> DirectoryEntry {
    let (node, start_number) = (random.bits() % 4, random.bits() % 4);
    DirectoryEntry { node, zone: random.text(3), address: random.text(9), start_number }
}

fn announcement(random: &mut Random) -> Vec<u8> {
    let some = |random: &mut Random| 0..random.below(4);
    let announcement = Announcement {
        node: (!random.one_of(4)).then(|| node(random)),
        partitions: some(random).map(|_| report(random)).collect(),
        tables: some(random).map(|_| table(random)).collect(),
        gone: some(random).map(|_| random.bits() % 4).collect(),
        full_begins: random.one_of(2),
        full_ends: random.one_of(2),
        directory: some(random).map(|_| node(random)).collect(),
    };
    announcement.encode_to_vec()
}

#[test]
fn hostile_announcements_break_no_map() {
    // What is announced is kept: the descriptors as they came, decoded, and their places in the trie, twice here.
    let fuzz = Fuzz::with_corpus(corpus("announcement")).with_factor(6 * fuzz::FACTOR).with_constant(6 * (8 << 20));
    let target = |input: &[u8]| {
        if !is_frugal::<Announcement>(input) {
            return;
        }
        let handle = Handle::new(Metrics::new(&prometheus::Registry::new()).unwrap());
        // As it comes, and once more in another map: what two servers are told in one order they know alike.
        let other = Handle::new(Metrics::new(&prometheus::Registry::new()).unwrap());
        let Ok(announcement) = Announcement::decode(Bytes::copy_from_slice(input)) else { return };
        for told in [&handle, &other] {
            told.announce(announcement.clone());
            told.announce(announcement.clone());
        }
        assert_eq!(handle.hashes(), other.hashes());
        let lookups =
            ["Music", "Books", "", "\u{0}"].into_iter().flat_map(|table| {
                [None, Some(Bytes::new()), Some(Bytes::copy_from_slice(&input[..input.len().min(9)]))]
                    .map(|key| Lookup { id: 1, table: table.to_owned(), key })
            });
        drop(handle.lookup(LookupFrame { lookups: lookups.collect() }));
        drop(handle.list_tables(&ListTablesRequest { exclusive_start: "B".to_owned(), limit: 0 }));
        for table in 0..3 {
            drop(handle.list_partitions(&ListPartitionsRequest { table }));
        }
    };
    let check = bolero::check!(name = "announcement").with_shrink_time(Duration::ZERO);
    check.for_each(|noise: &[u8]| fuzz.feed(noise, announcement, target));
}
