//! Pages that cross partitions.

use std::collections::BTreeMap;

use bytes::Bytes;
use model::{KeyRange, TableStatus};
use router::routing::{Failure, ScanPage, ScanRequest};
use wire::data::Refused;
use wire::data::refused::Reason;
use wire::data::response::Result as Answer;

use crate::world::{Act, World, as_scan, deadline, partition, refuse, scan};

const KEYS: [&str; 7] = ["b", "d", "g", "h", "q", "t", "y"];

fn items() -> BTreeMap<Bytes, Bytes> {
    KEYS.into_iter().map(|key| (Bytes::from(key), Bytes::from(format!("item {key}")))).collect()
}

/// Four partitions, the third of them empty, each led by another node.
async fn world() -> World {
    let world = World::start().await;
    world.announce(
        TableStatus::Active,
        &[
            (partition(20, "", Some("e"), 2), 1, 4),
            (partition(21, "e", Some("k"), 3), 2, 4),
            (partition(22, "k", Some("p"), 4), 3, 4),
            (partition(23, "p", None, 5), 1, 4),
        ],
    );
    for n in 1..=3 {
        world.node(n).acts(|request| {
            let asked = as_scan(request);
            let range = match request.partition {
                20 => ("", Some("e")),
                21 => ("e", Some("k")),
                22 => ("k", Some("p")),
                24 => ("h", Some("k")),
                _ => ("p", None),
            };
            assert!(asked.start >= range.0.as_bytes(), "{asked:?} begins before {range:?}");
            if let Some(end) = range.1 {
                assert!(asked.end.as_ref().is_some_and(|asked| asked <= end.as_bytes()), "{asked:?} beyond {range:?}");
            }
            scan(&items(), asked)
        });
    }
    world
}

fn request(start: &'static str, end: Option<&'static str>) -> ScanRequest {
    ScanRequest {
        range: KeyRange { start: Bytes::from(start), end: end.map(Bytes::from) },
        backward: false,
        limit: 0,
        limit_bytes: 1_000_000,
        consistent: true,
        filter: None,
        projection: None,
        count_only: false,
    }
}

async fn page(world: &World, request: ScanRequest) -> ScanPage {
    world.routing.scan(&world.table().await, request, deadline()).await.unwrap()
}

fn keys(page: &ScanPage) -> Vec<String> {
    let name = |item: &Bytes| String::from_utf8(item.to_vec()).unwrap().replace("item ", "");
    page.items.iter().map(name).collect()
}

fn last(page: &ScanPage) -> Option<&str> {
    page.last_key.as_ref().map(|key| std::str::from_utf8(key).unwrap())
}

#[tokio::test]
async fn a_page_goes_through_all_partitions_in_order() {
    let world = world().await;
    let all = page(&world, request("", None)).await;
    assert_eq!(keys(&all), KEYS);
    assert_eq!((all.count, all.scanned_count, all.scanned_bytes, last(&all)), (7, 7, 70, None));
    assert_eq!((world.node(1).seen().len(), world.node(2).seen().len(), world.node(3).seen().len()), (2, 1, 1));
}

#[tokio::test]
async fn a_page_goes_backwards_too() {
    let world = world().await;
    let mut asked = request("", None);
    asked.backward = true;
    let mut expected = KEYS;
    expected.reverse();
    let all = page(&world, asked).await;
    assert_eq!(keys(&all), expected);
    assert_eq!(last(&all), None);
}

#[tokio::test]
async fn a_range_is_evaluated_and_nothing_beside_it() {
    let world = world().await;
    assert_eq!(keys(&page(&world, request("d", Some("t"))).await), ["d", "g", "h", "q"]);
    assert_eq!(keys(&page(&world, request("e", Some("k"))).await), ["g", "h"]);
    let mut backward = request("d", Some("k"));
    backward.backward = true;
    assert_eq!(keys(&page(&world, backward).await), ["h", "g", "d"]);
    assert_eq!(page(&world, request("l", Some("l"))).await, ScanPage::default());
    assert_eq!(page(&world, request("l", Some("n"))).await, ScanPage::default());
}

/// Page after page, each beginning where the last one ended.
async fn all_pages(world: &World, mut asked: ScanRequest) -> Vec<String> {
    let mut found = Vec::new();
    loop {
        let part = page(world, asked.clone()).await;
        assert!(part.scanned_count <= asked.limit);
        found.extend(keys(&part));
        let Some(key) = part.last_key else { return found };
        assert_eq!(part.scanned_count, asked.limit);
        if asked.backward {
            asked.range.end = Some(key);
        } else {
            // The least key above it.
            asked.range.start = Bytes::from([key.as_ref(), b"\0"].concat());
        }
    }
}

#[tokio::test]
async fn pages_of_every_limit_meet_without_a_gap() {
    let world = world().await;
    for limit in 1..=8 {
        let mut asked = request("", None);
        asked.limit = limit;
        assert_eq!(all_pages(&world, asked.clone()).await, KEYS, "limit {limit}");
        asked.backward = true;
        let mut backward = all_pages(&world, asked).await;
        backward.reverse();
        assert_eq!(backward, KEYS, "limit {limit}, backward");
    }
}

#[tokio::test]
async fn a_limit_reached_with_the_last_item_still_names_it() {
    let world = world().await;
    let mut asked = request("", None);
    asked.limit = 7;
    let all = page(&world, asked).await;
    assert_eq!((keys(&all).len(), last(&all)), (7, Some("y")));
}

#[tokio::test]
async fn bytes_end_a_page_with_the_item_that_crosses_them() {
    let world = world().await;
    let mut asked = request("", None);
    asked.limit_bytes = 31;
    let part = page(&world, asked).await;
    assert_eq!((keys(&part).len(), last(&part)), (4, Some("h")));
}

#[tokio::test]
async fn a_split_between_two_parts_loses_nothing() {
    let world = world().await;
    assert_eq!(keys(&page(&world, request("", None)).await), KEYS);
    let (left, right) = (partition(21, "e", Some("h"), 6), partition(24, "h", Some("k"), 6));
    world.announce(
        TableStatus::Active,
        &[
            (partition(20, "", Some("e"), 2), 1, 4),
            (left.clone(), 2, 4),
            (right, 3, 1),
            (partition(22, "k", Some("p"), 4), 3, 4),
            (partition(23, "p", None, 5), 1, 4),
        ],
    );
    world.node(2).acts(move |request| match request.epoch {
        6 => scan(&items(), as_scan(request)),
        _ => Act::Answer(Answer::Refused(Refused {
            reason: Reason::StaleEpoch.into(),
            leader: 0,
            descriptor: Some(left.encode()),
            table: None,
        })),
    });
    for backward in [false, true] {
        let mut asked = request("", None);
        asked.backward = backward;
        let mut expected = KEYS;
        if backward {
            expected.reverse();
        }
        assert_eq!(keys(&page(&world, asked).await), expected);
    }
    let asked_of_right: Vec<_> = world.node(3).seen().into_iter().filter(|request| request.partition == 24).collect();
    assert_eq!(asked_of_right.len(), 2);
}

#[tokio::test]
async fn a_partition_that_does_not_answer_ends_the_page_where_it_was() {
    let world = world().await;
    world.node(2).acts(|_| refuse(Reason::DiskFull, 0));
    let part = page(&world, request("", None)).await;
    assert_eq!((keys(&part), last(&part)), (vec!["b".to_owned(), "d".to_owned()], Some("d")));
    let refused = world.routing.scan(&world.table().await, request("e", None), deadline()).await;
    assert!(matches!(refused, Err(Failure::Overloaded(_))), "{refused:?}");
}
