//! What was long under way: a message that makes a replica of one that its group has removed, and news of a replica before this one.

use super::sleep::{LEADERS_NODE, TERM, from_leader, partition, turns};
use super::*;

/// A leader's message has made an empty replica.
async fn called() -> Fixture {
    let mut fixture = Fixture::start().await;
    let call = Message { msg_type: MessageType::MsgHeartbeat, from: 2, to: 1, term: TERM, ..Default::default() };
    let parcel = Parcel::ForReplica(from_leader(MessageBody::Raft(call)));
    fixture.worker.receive(Mail::Messages { from: LEADERS_NODE, messages: vec![(partition(1), parcel)] });
    fixture
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_replica_that_nobody_speaks_to_asks_who_made_it_and_goes() {
    let mut fixture = called().await;
    turns(&mut fixture.worker);
    assert!(fixture.worker.groups[&partition(1)].summary.descriptor.is_none());
    let asked = |worker: &Worker| {
        let question = crate::transport::convert::member_asked(partition(1), ReplicaId(1), ReplicaId(2));
        worker.desk.posted(LEADERS_NODE).contains(&question)
    };
    let mut ticks = 0;
    while !asked(&fixture.worker) {
        assert!(ticks < 60, "it asks nobody");
        ticks += 1;
        fixture.worker.tick();
    }
    let gone = Parcel::MemberGone { to: ReplicaId(1) };
    fixture.worker.receive(Mail::Messages { from: LEADERS_NODE, messages: vec![(partition(1), gone)] });
    fixture.until(|worker| !worker.groups.contains_key(&partition(1))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_replica_before_it_had_flushed_is_not_its_own() {
    let mut fixture = called().await;
    let flushed = |worker: &Worker| worker.groups[&partition(1)].flushed;
    fixture.worker.receive(Mail::Flushed(vec![(partition(1), ReplicaId(7), 19)]));
    assert_eq!(flushed(&fixture.worker), 0, "another's log would be cut behind items that this one has not kept");
    fixture.worker.receive(Mail::Flushed(vec![(partition(1), ReplicaId(1), 13)]));
    assert_eq!(flushed(&fixture.worker), 13);
}
