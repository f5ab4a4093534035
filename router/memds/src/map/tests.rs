//! What the map believes, whom, and for how long.

use bytes::Bytes;
use model::{
    KeyRange, KeySchema, KeyType, NodeId, PartitionDescriptor, PartitionId, TableDescriptor, TableId, TableStatus, Zone,
};
use wire::memds::{Announcement, DirectoryEntry, Lookup, LookupAnswer, LookupFrame, PartitionReport};

use super::{Map, Patience};

const ORDERS: TableId = TableId(0x7ab1e);

fn table(id: TableId, name: &str, version: u64) -> TableDescriptor {
    let wish = TableDescriptor::wish(name, KeySchema::simple("customer", KeyType::S));
    TableDescriptor { id, version, status: TableStatus::Active, hash_seed: 11, created_ms: 1_000, ..wish }
}

fn partition(id: u64, start: &'static str, end: Option<&'static str>, epoch: u64) -> PartitionDescriptor {
    let range = KeyRange { start: Bytes::from(start), end: end.map(Bytes::from) };
    let places = (1..=3).map(|number| (NodeId(number), Zone(format!("zone-{number}"))));
    PartitionDescriptor { epoch, ..PartitionDescriptor::birth(PartitionId(id), ORDERS, range, places) }
}

fn node(id: u64, start_number: u64) -> DirectoryEntry {
    DirectoryEntry { node: id, zone: format!("zone-{id}"), address: format!("node-{id}:7200"), start_number }
}

fn report(descriptor: &PartitionDescriptor, leader: u64, term: u64) -> PartitionReport {
    let (items, bytes) = (Some(40 * leader), Some(900 * leader));
    PartitionReport { descriptor: descriptor.encode(), leader, term, items, bytes }
}

/// A whole announcement of a node in one frame.
fn full(from: u64, partitions: Vec<PartitionReport>) -> Announcement {
    Announcement {
        node: Some(node(from, 5)),
        partitions,
        tables: vec![table(ORDERS, "orders", 3).encode()],
        full_begins: true,
        full_ends: true,
        directory: vec![node(1, 5), node(2, 5), node(3, 5)],
        ..Announcement::default()
    }
}

fn told(announcements: Vec<Announcement>) -> Map {
    let mut map = Map::default();
    for announcement in announcements {
        assert_eq!(map.announce(announcement), Vec::new());
    }
    map
}

fn look_up(map: &Map, table: &str, key: &'static str) -> LookupAnswer {
    let lookup = Lookup { id: 9, table: table.to_owned(), key: Some(Bytes::from(key)) };
    let mut answers = map.lookup(LookupFrame { lookups: vec![lookup] }, Patience::Left).answers;
    assert_eq!(answers.len(), 1);
    answers.remove(0)
}

/// Id, leader, term.
fn found(map: &Map, key: &'static str) -> Option<(u64, u64, u64)> {
    let answer = look_up(map, "orders", key);
    let descriptor = PartitionDescriptor::decode(answer.partition?).unwrap();
    Some((descriptor.id.0, answer.leader, answer.term))
}

#[test]
fn a_key_is_answered_by_the_partition_that_holds_it() {
    let map = told(vec![full(
        1,
        vec![report(&partition(20, "", Some("m"), 1), 1, 4), report(&partition(21, "m", None, 1), 2, 6)],
    )]);
    assert_eq!(found(&map, ""), Some((20, 1, 4)));
    assert_eq!(found(&map, "lzzz"), Some((20, 1, 4)));
    assert_eq!(found(&map, "m"), Some((21, 2, 6)));
    assert_eq!(look_up(&map, "invoices", "m").table, None);
}

#[test]
fn an_answer_names_the_nodes_of_its_replicas_once() {
    let map = told(vec![full(1, vec![report(&partition(20, "", None, 1), 1, 4)])]);
    let lookup = |id| Lookup { id, table: "orders".to_owned(), key: Some(Bytes::from("k")) };
    let answer = map.lookup(LookupFrame { lookups: vec![lookup(1), lookup(2)] }, Patience::Left);
    assert_eq!(answer.answers.len(), 2);
    assert_eq!(answer.nodes, vec![node(1, 5), node(2, 5), node(3, 5)]);
}

#[test]
fn the_highest_term_names_the_leader() {
    let whole = partition(20, "", None, 1);
    let mut map = told(vec![full(1, vec![report(&whole, 1, 4)]), full(2, vec![report(&whole, 2, 7)])]);
    map.announce(full(3, vec![report(&whole, 1, 4)]));
    assert_eq!(found(&map, "k"), Some((20, 2, 7)));
}

#[test]
fn a_term_without_a_leader_yet_is_completed_by_the_one_who_knows() {
    let whole = partition(20, "", None, 1);
    let map = told(vec![full(1, vec![report(&whole, 0, 7)]), full(2, vec![report(&whole, 2, 7)])]);
    assert_eq!(found(&map, "k"), Some((20, 2, 7)));
}

#[test]
fn a_split_displaces_its_parent_whatever_the_order() {
    let before = partition(20, "", None, 3);
    let left = partition(20, "", Some("m"), 4);
    let right = partition(21, "m", None, 4);
    let mut reports = [before, left, right];
    for _ in 0..reports.len() {
        reports.rotate_left(1);
        let map = told(vec![full(1, reports.iter().map(|descriptor| report(descriptor, 1, 4)).collect())]);
        assert_eq!(found(&map, "a"), Some((20, 1, 4)));
        assert_eq!(found(&map, "q"), Some((21, 1, 4)));
        assert_eq!(map.counts().partitions, 2);
    }
}

#[test]
fn a_node_that_is_behind_does_not_bring_the_range_before_a_split_back() {
    let before = partition(20, "", None, 3);
    let (left, right) = (partition(20, "", Some("m"), 4), partition(21, "m", None, 4));
    let (rest, third) = (partition(21, "m", Some("t"), 5), partition(22, "t", None, 5));
    let told_late = [vec![&before], vec![&before, &right], vec![&left, &right]];
    for late in told_late {
        let late = full(2, late.into_iter().map(|descriptor| report(descriptor, 2, 3)).collect());
        // Only who applied the last split leads the newest of them.
        let mut map = told(vec![late.clone()]);
        map.announce(full(1, [&left, &rest, &third].map(|descriptor| report(descriptor, 1, 4)).into()));
        map.announce(late);
        for (key, id) in [("a", 20), ("q", 21), ("z", 22)] {
            assert_eq!(found(&map, key), Some((id, 1, 4)), "{key}");
        }
        assert_eq!(map.counts().partitions, 3);
    }
}

#[test]
fn a_partition_is_forgotten_when_its_last_node_lets_it_go() {
    let whole = partition(20, "", None, 1);
    let mut map = told(vec![full(1, vec![report(&whole, 1, 4)]), full(2, vec![report(&whole, 1, 4)])]);
    map.announce(Announcement { node: Some(node(1, 5)), gone: vec![20], ..Announcement::default() });
    assert_eq!(found(&map, "k"), Some((20, 1, 4)));
    map.announce(full(2, Vec::new()));
    assert_eq!(found(&map, "k"), None);
    assert!(look_up(&map, "orders", "k").table.is_some(), "an active table does not go with its last partition");
}

#[test]
fn a_full_announcement_in_several_frames_withdraws_only_at_its_end() {
    let (left, right) = (partition(20, "", Some("m"), 1), partition(21, "m", None, 1));
    let mut map = told(vec![full(1, vec![report(&left, 1, 4), report(&right, 1, 4)])]);
    map.announce(Announcement { node: Some(node(1, 5)), full_begins: true, ..Announcement::default() });
    assert_eq!(map.counts().partitions, 2);
    let last = Announcement {
        node: Some(node(1, 5)),
        partitions: vec![report(&right, 1, 4)],
        full_ends: true,
        ..Announcement::default()
    };
    map.announce(last);
    assert_eq!(found(&map, "a"), None);
    assert_eq!(found(&map, "q"), Some((21, 1, 4)));
}

#[test]
fn an_older_start_of_a_node_is_not_listened_to() {
    let whole = partition(20, "", None, 1);
    let mut map = told(vec![full(1, vec![report(&whole, 1, 4)])]);
    map.announce(Announcement { node: Some(node(1, 4)), gone: vec![20], ..Announcement::default() });
    assert_eq!(found(&map, "k"), Some((20, 1, 4)));
    map.announce(Announcement { node: Some(node(1, 6)), gone: vec![20], ..Announcement::default() });
    assert_eq!(found(&map, "k"), None);
}

#[test]
fn a_server_is_complete_when_at_most_one_zone_has_not_announced() {
    let whole = partition(20, "", None, 1);
    let mut map = Map::default();
    assert!(!map.is_complete(Patience::Over));
    map.announce(full(1, vec![report(&whole, 1, 4)]));
    assert!(!map.is_complete(Patience::Over));
    map.announce(full(2, vec![report(&whole, 1, 4)]));
    assert!(map.is_complete(Patience::Left));
    map.announce(Announcement { directory: vec![node(7, 1), node(8, 1)], ..Announcement::default() });
    assert!(map.is_complete(Patience::Left), "who joins later takes nothing back");
}

#[test]
fn nodes_known_by_hearsay_only_are_not_waited_for_for_ever() {
    let whole = partition(20, "", None, 1);
    let mut map = Map::default();
    map.announce(Announcement { directory: vec![node(7, 1), node(8, 1)], ..Announcement::default() });
    map.announce(full(1, vec![report(&whole, 1, 4)]));
    map.announce(full(2, vec![report(&whole, 1, 4)]));
    assert!(!map.is_complete(Patience::Left));
    assert!(map.is_complete(Patience::Over));
}

#[test]
fn a_lone_node_is_everyone() {
    let mut map = Map::default();
    map.announce(Announcement {
        node: Some(node(1, 5)),
        full_begins: true,
        full_ends: true,
        ..Announcement::default()
    });
    assert!(map.is_complete(Patience::Left));
}

#[test]
fn the_newest_version_of_a_table_wins_from_whoever() {
    let mut map = Map::default();
    map.put_table(table(ORDERS, "orders", 8).encode()).unwrap();
    map.announce(full(1, Vec::new()));
    let answer = TableDescriptor::decode(look_up(&map, "orders", "k").table.unwrap()).unwrap();
    assert_eq!(answer.version, 8);
}

#[test]
fn a_removed_table_is_not_brought_back_by_a_late_announcement() {
    let whole = partition(20, "", None, 1);
    let mut map = told(vec![full(1, vec![report(&whole, 1, 4)])]);
    map.remove_table(ORDERS);
    map.announce(full(2, vec![report(&whole, 1, 4)]));
    assert_eq!(look_up(&map, "orders", "k").table, None);
    assert_eq!(map.counts().partitions, 0);
}

#[test]
fn a_table_made_again_under_its_name_stands_before_the_one_being_deleted() {
    let mut old = table(ORDERS, "orders", 9);
    old.status = TableStatus::Deleting;
    old.created_ms = 5_000;
    let new = table(TableId(0xbe), "orders", 1);
    let mut map = Map::default();
    map.put_table(new.encode()).unwrap();
    map.put_table(old.encode()).unwrap();
    let answer = |map: &Map| TableDescriptor::decode(look_up(map, "orders", "k").table.unwrap()).unwrap();
    assert_eq!(answer(&map), new);
    map.remove_table(new.id);
    assert_eq!(answer(&map), old);
}

#[test]
fn a_retained_table_is_found_by_nobody_until_it_returns() {
    let mut map = told(vec![full(1, vec![report(&partition(20, "", None, 1), 1, 4)])]);
    let mut retained = table(ORDERS, "orders", 9);
    retained.status = TableStatus::Retained;
    map.put_table(retained.encode()).unwrap();
    assert_eq!(look_up(&map, "orders", "k").table, None);
    assert!(map.list_tables("", 10, Patience::Left).names.is_empty());
    (retained.status, retained.version) = (TableStatus::Updating, 10);
    map.put_table(retained.encode()).unwrap();
    assert!(look_up(&map, "orders", "k").table.is_some());
}

#[test]
fn a_table_being_deleted_goes_with_its_last_partition() {
    let whole = partition(20, "", None, 1);
    let mut map = told(vec![full(1, vec![report(&whole, 1, 4)])]);
    let mut deleting = table(ORDERS, "orders", 9);
    deleting.status = TableStatus::Deleting;
    map.put_table(deleting.encode()).unwrap();
    map.announce(Announcement { node: Some(node(1, 5)), gone: vec![20], ..Announcement::default() });
    assert_eq!(look_up(&map, "orders", "k").table, None);
}

#[test]
fn names_are_listed_in_pages() {
    let mut map = Map::default();
    for (n, name) in ["beta", "alpha", "gamma"].into_iter().enumerate() {
        map.put_table(table(TableId(n as u64 + 50), name, 1).encode()).unwrap();
    }
    let page = map.list_tables("", 2, Patience::Left);
    assert_eq!((page.names, page.more), (vec!["alpha".to_owned(), "beta".to_owned()], true));
    let page = map.list_tables("beta", 2, Patience::Left);
    assert_eq!((page.names, page.more), (vec!["gamma".to_owned()], false));
}

#[test]
fn sizes_are_the_leaders() {
    let whole = partition(20, "", None, 1);
    let map = told(vec![full(2, vec![report(&whole, 2, 7)]), full(1, vec![report(&whole, 2, 7)])]);
    let listed = map.list_partitions(ORDERS, Patience::Left);
    assert_eq!(listed.partitions.len(), 1);
    assert_eq!((listed.partitions[0].items, listed.partitions[0].bytes), (Some(80), Some(1_800)));
}

#[test]
fn what_a_leader_has_counted_stands_until_the_next_one_has() {
    let uncounted = |descriptor: &PartitionDescriptor, leader, term| PartitionReport {
        items: None,
        bytes: None,
        ..report(descriptor, leader, term)
    };
    let sizes = |map: &Map| {
        let listed = map.list_partitions(ORDERS, Patience::Left).partitions;
        listed.iter().map(|report| report.items.zip(report.bytes)).collect::<Vec<_>>()
    };
    let whole = partition(20, "", None, 1);
    let mut map = told(vec![full(1, vec![uncounted(&whole, 1, 3)])]);
    assert_eq!(sizes(&map), [None]);
    map.announce(full(1, vec![report(&whole, 1, 3)]));
    map.announce(full(2, vec![uncounted(&whole, 2, 4)]));
    assert_eq!(sizes(&map), [Some((40, 900))]);
    // Halves of a split: what is known of the whole is the left one's until both have been counted.
    let (left, right) = (partition(20, "", Some("m"), 2), partition(21, "m", None, 2));
    map.announce(full(2, vec![uncounted(&left, 2, 4), uncounted(&right, 2, 1)]));
    assert_eq!(sizes(&map), [Some((40, 900)), None]);
    map.announce(full(2, vec![report(&left, 2, 4), report(&right, 2, 1)]));
    assert_eq!(sizes(&map), [Some((80, 1_800)), Some((80, 1_800))]);
}

#[test]
fn a_malformed_descriptor_costs_only_itself() {
    let whole = partition(20, "", None, 1);
    let mut map = Map::default();
    let mut announcement = full(1, vec![report(&whole, 1, 4)]);
    announcement.tables.insert(0, Bytes::from_static(&[250, 3]));
    assert_eq!(map.announce(announcement).len(), 1);
    assert_eq!(found(&map, "k"), Some((20, 1, 4)));
}

#[test]
fn maps_told_the_same_in_different_order_have_the_same_hashes() {
    let (left, right) = (partition(20, "", Some("m"), 1), partition(21, "m", None, 1));
    let one = full(1, vec![report(&left, 1, 4), report(&right, 1, 4)]);
    let two = full(2, vec![report(&right, 2, 9), report(&left, 1, 4)]);
    assert_eq!(told(vec![one.clone(), two.clone()]).hashes(), told(vec![two, one]).hashes());
}
