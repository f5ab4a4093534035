//! A message that was long under way makes a replica that its group has removed meanwhile.

use super::sleep::{LEADERS_NODE, TERM, from_leader, partition, turns};
use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_replica_that_nobody_speaks_to_asks_who_made_it_and_goes() {
    let mut fixture = Fixture::start().await;
    let late = Message { msg_type: MessageType::MsgHeartbeat, from: 2, to: 1, term: TERM, ..Default::default() };
    let parcel = Parcel::ForReplica(from_leader(MessageBody::Raft(late)));
    fixture.worker.receive(Mail::Messages { from: LEADERS_NODE, messages: vec![(partition(1), parcel)] });
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
