//! A replica whose log is corrupt says so and nothing else, and makes room for the one that takes its place.

use super::*;
use crate::transport::convert;

/// As its group's leader sends it to that replica.
fn heartbeat(to: u64) -> Mail {
    let message = Message { msg_type: MessageType::MsgHeartbeat, from: 2, to, term: 9, ..Default::default() };
    let envelope = Envelope { from: ReplicaId(2), to: ReplicaId(to), body: MessageBody::Raft(message) };
    Mail::Messages { from: model::NodeId(2), messages: vec![(PARTITION, Parcel::ForReplica(envelope))] }
}

async fn corrupt() -> Fixture {
    let mut fixture = Fixture::start().await;
    fixture.worker.receive(Mail::Corrupt(PARTITION));
    let marked = |worker: &Worker| worker.desk.context.log.groups().iter().any(|group| group.corrupt);
    fixture.until(marked).await;
    fixture.worker.desk.send_messages();
    fixture
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_speaks_to_it_is_answered_and_nothing_lives() {
    let mut fixture = corrupt().await;
    fixture.worker.receive(heartbeat(1));
    let said = fixture.worker.desk.posted(model::NodeId(2));
    let (_, said) = convert::from_wire(said.into_iter().next().unwrap()).unwrap();
    let Parcel::ForReplica(Envelope { from: ReplicaId(1), to: ReplicaId(2), body: MessageBody::Unfit }) = said else {
        panic!("something else is said: {said:?}")
    };
    assert!(fixture.worker.corrupt.contains(&PARTITION) && !fixture.worker.groups.contains_key(&PARTITION));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_replica_takes_its_place_once_it_is_gone() {
    let mut fixture = corrupt().await;
    fixture.worker.receive(heartbeat(5));
    fixture.until(|worker| !worker.corrupt.contains(&PARTITION)).await;
    let context = Arc::clone(&fixture.worker.desk.context);
    assert_eq!(context.log.accept_from(PARTITION), ReplicaId(5));
    assert_eq!(context.items.group(PARTITION).unwrap().state, None);
    fixture.worker.receive(heartbeat(1));
    assert!(!fixture.worker.groups.contains_key(&PARTITION), "the corrupt one never comes back");
    fixture.worker.receive(heartbeat(5));
    assert_eq!(fixture.worker.groups[&PARTITION].summary.replica, ReplicaId(5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_asks_whether_it_is_still_a_member_and_leaves_when_it_is_not() {
    let mut fixture = corrupt().await;
    fixture.worker.ask_for_corrupt();
    for other in [2, 3] {
        let asked = fixture.worker.desk.posted(model::NodeId(other));
        let (_, asked) = convert::from_wire(asked.into_iter().next().unwrap()).unwrap();
        assert!(matches!(asked, Parcel::MemberAsked { from: ReplicaId(1), to } if to == ReplicaId(other)), "{asked:?}");
    }
    let gone = vec![(PARTITION, Parcel::MemberGone { to: ReplicaId(1) })];
    fixture.worker.receive(Mail::Messages { from: model::NodeId(2), messages: gone });
    fixture.until(|worker| !worker.corrupt.contains(&PARTITION)).await;
    assert_eq!(fixture.worker.desk.context.log.accept_from(PARTITION), ReplicaId(2));
}

/// It is behind a split whose child has come here from elsewhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_group_has_by_now_is_not_discarded_with_it() {
    let mut fixture = corrupt().await;
    let context = Arc::clone(&fixture.worker.desk.context);
    let key = bytes::Bytes::from_static(b"m");
    let write = replica::AppliedWrite {
        index: 12,
        space: replica::entry::SPACE_ITEMS,
        key: key.clone(),
        kind: replica::entry::WriteKind::Put,
        attributes: model::item::encode_attributes(&model::Item::new()).into(),
        version_timestamp_us: 1,
    };
    let mark = AppliedMark::birth().encode();
    let batch = replica::ApplyBatch { index: 12, writes: vec![write], mark, state: None, children: Vec::new() };
    let mut turn = crate::items::TurnBatch::default();
    turn.add(PartitionId(0x78), table().id, batch);
    context.items.write(&turn).unwrap();
    let range = KeyRange { start: key.clone(), end: None };
    let child = PartitionDescriptor { id: PartitionId(0x78), range, ..fixture.descriptor() };
    let summary = Summary { descriptor: Some(Arc::new(child)), ..Summary::default() };
    context.registry.put(PartitionId(0x78), summary);
    fixture.worker.receive(heartbeat(5));
    fixture.until(|worker| !worker.corrupt.contains(&PARTITION)).await;
    assert!(context.items.get(table().id, &key).unwrap().is_some());
}
