//! What is asked again, what is not, and of whom.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use model::TableStatus;
use router::routing::{Failure, WriteOutcome};
use wire::data::Refused;
use wire::data::refused::Reason;
use wire::data::request::Operation;
use wire::data::response::Result as Answer;

use crate::world::{Act, FakeNode, World, applied, deadline, got, partition, put, refuse, soon, table};

#[tokio::test]
async fn a_strong_read_goes_to_the_leader_with_epoch_and_version() {
    let world = World::with_one_partition().await;
    world.node(1).acts(|_| got("warm"));
    assert_eq!(world.get("k").await, Ok(Some(Bytes::from_static(b"warm"))));
    let seen = world.node(1).seen();
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].partition, seen[0].epoch, seen[0].table_version), (20, 7, 2));
    assert!(seen[0].deadline_ms > 0);
    assert!(world.node(2).seen().is_empty() && world.node(3).seen().is_empty());
}

#[tokio::test]
async fn an_eventually_consistent_read_stays_in_its_zone() {
    let world = World::with_one_partition().await;
    world.node(2).acts(|_| got("near"));
    let read = world.routing.get(&world.table().await, Bytes::from_static(b"k"), false, deadline()).await;
    assert_eq!(read, Ok(Some(Bytes::from_static(b"near"))));
    assert!(world.node(1).seen().is_empty());
}

#[tokio::test]
async fn an_eventually_consistent_read_goes_elsewhere_when_the_near_replica_is_not_ready() {
    let world = World::with_one_partition().await;
    world.node(2).acts(|_| refuse(Reason::NotReady, 0));
    world.node(1).acts(|_| got("far"));
    let read = world.routing.get(&world.table().await, Bytes::from_static(b"k"), false, deadline()).await;
    assert_eq!(read, Ok(Some(Bytes::from_static(b"far"))));
}

#[tokio::test]
async fn a_write_follows_the_hint_to_the_leader_and_remembers_it() {
    let world = World::with_one_partition().await;
    world.node(1).acts(|_| refuse(Reason::NotLeader, 3));
    world.node(3).acts(|_| applied());
    let expected =
        WriteOutcome::Applied { old: None, new: Some(Bytes::from_static(b"after")), old_size: 0, new_size: 17 };
    assert_eq!(world.routing.write(&world.table().await, put("k"), deadline()).await, Ok(expected.clone()));
    assert_eq!(world.routing.write(&world.table().await, put("k"), deadline()).await, Ok(expected));
    assert_eq!((world.node(1).seen().len(), world.node(3).seen().len()), (1, 2));
}

#[tokio::test]
async fn a_partition_without_a_leader_is_asked_until_it_has_one() {
    let world = World::with_one_partition().await;
    for n in 1..=3 {
        let mut left = 2;
        world.node(n).acts(move |_| {
            left -= 1;
            if left > 0 { refuse(Reason::NotLeader, 0) } else { applied() }
        });
    }
    assert!(world.routing.write(&world.table().await, put("k"), deadline()).await.is_ok());
}

#[tokio::test]
async fn a_dead_leader_is_left_for_the_one_that_the_others_elect() {
    let nodes = vec![FakeNode::dead(1).await, FakeNode::start(2).await, FakeNode::start(3).await];
    let world = World::with(nodes).await;
    world.announce(TableStatus::Active, &[(partition(20, "", None, 7), 1, 4)]);
    let mut tries = 0;
    world.node(2).acts(move |_| {
        tries += 1;
        refuse(Reason::NotLeader, if tries < 3 { 1 } else { 3 })
    });
    let mut tries = 0;
    world.node(3).acts(move |_| {
        tries += 1;
        if tries < 3 { refuse(Reason::NotLeader, 1) } else { applied() }
    });
    assert!(world.routing.write(&world.table().await, put("k"), deadline()).await.is_ok());
}

#[tokio::test]
async fn a_node_that_refuses_the_stream_has_read_nothing() {
    let world = World::with_one_partition().await;
    world.node(1).refuses();
    world.node(2).acts(|_| refuse(Reason::NotLeader, 3));
    world.node(3).acts(|_| applied());
    assert!(world.routing.write(&world.table().await, put("k"), deadline()).await.is_ok());
}

#[tokio::test]
async fn a_node_that_stops_is_sent_nothing_more() {
    let world = World::with_one_partition().await;
    let mut asked = 0;
    world.node(1).acts(move |_| {
        asked += 1;
        match applied() {
            Act::Answer(answer) if asked == 2 => Act::Last(answer),
            other => other,
        }
    });
    world.node(2).acts(|_| refuse(Reason::NotLeader, 3));
    world.node(3).acts(|_| applied());
    let write = async || world.routing.write(&world.table().await, put("k"), deadline()).await;
    assert!(write().await.is_ok());
    world.node(1).refuses();
    for _ in 0..3 {
        assert!(write().await.is_ok());
    }
    assert_eq!((world.node(1).seen().len(), world.node(3).seen().len()), (2, 2));
}

#[tokio::test]
async fn a_stale_epoch_replaces_what_was_cached() {
    let world = World::with_one_partition().await;
    world.node(1).acts(|request| match request.epoch {
        9 => got("fresh"),
        _ => Act::Answer(Answer::Refused(Refused {
            reason: Reason::StaleEpoch.into(),
            leader: 0,
            descriptor: Some(partition(20, "", None, 9).encode()),
            table: Some(table(TableStatus::Active, 30).encode()),
        })),
    });
    assert_eq!(world.get("k").await, Ok(Some(Bytes::from_static(b"fresh"))));
    assert_eq!(world.get("k").await, Ok(Some(Bytes::from_static(b"fresh"))));
    let seen: Vec<_> = world.node(1).seen().iter().map(|request| (request.epoch, request.table_version)).collect();
    assert_eq!(seen, vec![(7, 2), (9, 30), (9, 30)]);
}

#[tokio::test]
async fn a_near_replica_that_is_behind_is_left_for_another() {
    let world = World::with_one_partition().await;
    world.node(2).acts(|_| {
        Act::Answer(Answer::Refused(Refused {
            reason: Reason::StaleEpoch.into(),
            leader: 0,
            descriptor: Some(partition(20, "", None, 5).encode()),
            table: None,
        }))
    });
    world.node(1).acts(|_| got("current"));
    let read = world.routing.get(&world.table().await, Bytes::from_static(b"k"), false, deadline()).await;
    assert_eq!(read, Ok(Some(Bytes::from_static(b"current"))));
    assert_eq!(world.node(2).seen().len(), 1);
}

#[tokio::test]
async fn after_a_split_a_key_of_the_right_half_finds_its_new_partition() {
    let world = World::with_one_partition().await;
    world.node(1).acts(|_| got("before"));
    assert!(world.get("z").await.is_ok());
    let (left, right) = (partition(20, "", Some("m"), 8), partition(21, "m", None, 8));
    world.announce(TableStatus::Active, &[(left.clone(), 1, 4), (right, 2, 1)]);
    world.node(1).acts(move |_| {
        Act::Answer(Answer::Refused(Refused {
            reason: Reason::StaleEpoch.into(),
            leader: 0,
            descriptor: Some(left.encode()),
            table: None,
        }))
    });
    world
        .node(2)
        .acts(|request| if request.partition == 21 { got("right") } else { refuse(Reason::UnknownPartition, 0) });
    assert_eq!(world.get("z").await, Ok(Some(Bytes::from_static(b"right"))));
}

#[tokio::test]
async fn an_unknown_partition_is_looked_for_elsewhere() {
    let world = World::with_one_partition().await;
    world.node(1).acts(|_| refuse(Reason::UnknownPartition, 0));
    world.node(2).acts(|_| refuse(Reason::NotLeader, 3));
    world.node(3).acts(|_| applied());
    assert!(world.routing.write(&world.table().await, put("k"), deadline()).await.is_ok());
}

#[tokio::test]
async fn a_replica_that_is_not_ready_is_asked_until_the_deadline() {
    let world = World::with_one_partition().await;
    let mut tries = 0;
    world.node(1).acts(move |_| {
        tries += 1;
        if tries < 4 { refuse(Reason::NotReady, 0) } else { applied() }
    });
    assert!(world.routing.write(&world.table().await, put("k"), deadline()).await.is_ok());
    for n in 1..=3 {
        world.node(n).acts(|_| refuse(Reason::NotReady, 0));
    }
    let refused = world.routing.write(&world.table().await, put("k"), soon()).await;
    assert_eq!(refused, Err(Failure::Unavailable("the replica is not ready".to_owned())));
}

#[tokio::test]
async fn an_overloaded_node_is_asked_a_few_times_only() {
    let world = World::with_one_partition().await;
    world.node(1).acts(|_| refuse(Reason::Overloaded, 0));
    let refused = world.routing.write(&world.table().await, put("k"), deadline()).await;
    assert!(matches!(refused, Err(Failure::Overloaded(_))), "{refused:?}");
    assert_eq!(world.node(1).seen().len(), 4);
    // For the table, and for the partition; none for what was asked again.
    assert_eq!(world.metrics.lookups.get(), 2);
}

#[tokio::test]
async fn a_full_disk_is_told_at_once() {
    let world = World::with_one_partition().await;
    world.node(1).acts(|_| refuse(Reason::DiskFull, 0));
    let refused = world.routing.write(&world.table().await, put("k"), deadline()).await;
    assert!(matches!(refused, Err(Failure::Overloaded(_))), "{refused:?}");
    assert_eq!(world.node(1).seen().len(), 1);
}

#[tokio::test]
async fn what_cannot_be_decoded_or_comes_too_late_is_not_asked_again() {
    for reason in [Reason::Malformed, Reason::Expired] {
        let world = World::with_one_partition().await;
        world.node(1).acts(move |_| refuse(reason, 0));
        let refused = world.routing.write(&world.table().await, put("k"), deadline()).await;
        assert!(matches!(refused, Err(Failure::Unavailable(_))), "{refused:?}");
        assert_eq!(world.node(1).seen().len(), 1);
    }
}

#[tokio::test]
async fn a_write_whose_outcome_is_unknown_is_never_sent_again() {
    for act in [|| refuse(Reason::Unknown, 0), || refuse(Reason::Unspecified, 0), || Act::Break] {
        let world = World::with_one_partition().await;
        for n in 1..=3 {
            world.node(n).acts(move |_| act());
        }
        let written = world.routing.write(&world.table().await, put("k"), deadline()).await;
        assert_eq!(written, Err(Failure::Unknown));
        let sent: usize = world.nodes.iter().map(|node| node.seen().len()).sum();
        assert_eq!(sent, 1);
    }
}

#[tokio::test]
async fn a_write_without_an_answer_until_the_deadline_is_unknown() {
    let world = World::with_one_partition().await;
    world.node(1).acts(|_| Act::Hold);
    assert_eq!(world.routing.write(&world.table().await, put("k"), soon()).await, Err(Failure::Unknown));
    assert_eq!(world.node(1).seen().len(), 1);
}

/// A Kubernetes node without power closes no connection.
#[tokio::test]
async fn a_write_is_not_waited_for_when_another_leads() {
    let world = World::with_one_partition().await;
    world.node(1).acts(|_| Act::Hold);
    let table = world.table().await;
    let far = Instant::now() + Duration::from_secs(600);
    let written = async { world.routing.write(&table, put("k"), far).await };
    let elected = async {
        while world.node(1).seen().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        world.announce(TableStatus::Active, &[(partition(20, "", None, 7), 2, 5)]);
    };
    let both = async { tokio::join!(written, elected).0 };
    let given_up = tokio::time::timeout(Duration::from_secs(60), both).await;
    assert_eq!(given_up, Ok(Err(Failure::Unknown)), "it may have been applied, and is not sent again");
    assert!(world.node(2).seen().is_empty());
}

/// One that has handed over tells what became of what it had begun, which may take as long as an election.
#[tokio::test]
async fn a_node_that_speaks_still_is_waited_for_when_another_leads() {
    const GETS: usize = 12;
    // It is near as well: eventually consistent reads go there.
    let world = World::start().await;
    world.announce(TableStatus::Active, &[(partition(20, "", None, 7), 2, 4)]);
    let mut gets = 0;
    world.node(2).acts(move |request| {
        let is_get = matches!(request.operation, Some(Operation::Get(_)));
        gets += usize::from(is_get);
        if gets == GETS {
            return Act::Break;
        }
        if is_get { got("said") } else { Act::Hold }
    });
    world.node(3).acts(|_| got("said"));
    let table = world.table().await;
    let far = Instant::now() + Duration::from_secs(600);
    let written = async {
        let written = world.routing.write(&table, put("k"), far).await;
        (written, world.node(2).seen().len())
    };
    let spoken = async {
        while world.node(2).seen().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        for _ in 0..GETS {
            world.routing.get(&table, Bytes::from_static(b"k"), false, far).await.unwrap();
            world.announce(TableStatus::Active, &[(partition(20, "", None, 7), 3, 5)]);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let ((written, seen), ()) = tokio::join!(written, spoken);
    assert_eq!((written, seen), (Err(Failure::Unknown), 1 + GETS));
}

#[tokio::test]
async fn a_write_that_finds_no_connection_is_surely_not_applied() {
    let world = World::with(vec![FakeNode::dead(1).await, FakeNode::dead(2).await, FakeNode::dead(3).await]).await;
    world.announce(TableStatus::Active, &[(partition(20, "", None, 7), 1, 4)]);
    let written = world.routing.write(&world.table().await, put("k"), soon()).await;
    assert_eq!(written, Err(Failure::Unavailable("no connection to the node".to_owned())));
}

#[tokio::test]
async fn a_read_whose_stream_breaks_is_asked_again() {
    let world = World::with_one_partition().await;
    let mut tries = 0;
    world.node(1).acts(move |_| {
        tries += 1;
        if tries == 1 { Act::Break } else { got("again") }
    });
    world.node(2).acts(|_| refuse(Reason::NotLeader, 1));
    world.node(3).acts(|_| refuse(Reason::NotLeader, 1));
    assert_eq!(world.get("k").await, Ok(Some(Bytes::from_static(b"again"))));
}

#[tokio::test]
async fn a_read_that_a_node_keeps_is_asked_elsewhere() {
    let world = World::with_one_partition().await;
    world.node(2).acts(|_| Act::Hold);
    world.node(1).acts(|_| got("elsewhere"));
    let read = world.routing.get(&world.table().await, Bytes::from_static(b"k"), false, deadline()).await;
    assert_eq!(read, Ok(Some(Bytes::from_static(b"elsewhere"))));
}

#[tokio::test]
async fn a_table_that_is_going_is_not_active_and_then_not_there() {
    let world = World::with_one_partition().await;
    let known = world.table().await;
    world.node(1).acts(|_| refuse(Reason::TableGone, 0));
    assert_eq!(world.routing.write(&known, put("k"), deadline()).await, Err(Failure::TableNotActive));
    world.memds.remove_table(&wire::memds::RemoveTableRequest { table: known.id.0 });
    assert_eq!(world.routing.write(&known, put("k"), deadline()).await, Err(Failure::TableNotFound));
}

#[tokio::test]
async fn many_requests_at_once_find_their_own_answers() {
    let world = World::with_one_partition().await;
    world.node(1).acts(|request| match &request.operation {
        Some(wire::data::request::Operation::Get(get)) => {
            Act::Answer(Answer::Got(wire::data::Got { item: Some(get.key.clone()) }))
        }
        other => panic!("expected a get, got {other:?}"),
    });
    let known = world.table().await;
    let reads = (0..500u32).map(|n| {
        let (routing, known) = (world.routing.clone(), Arc::clone(&known));
        async move {
            let key = Bytes::from(format!("key-{n}"));
            assert_eq!(routing.get(&known, key.clone(), true, deadline()).await, Ok(Some(key)));
        }
    });
    futures::future::join_all(reads).await;
    assert_eq!(world.node(1).seen().len(), 500);
}
