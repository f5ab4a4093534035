//! A disk without room: what a follower takes of its leader all the same, and who leads.

use bytes::Bytes;
use replica::eraftpb::{Entry, EntryType};

use super::sleep::{LEADERS_NODE, TERM, follower, from_leader, partition, turns};
use super::*;

/// Twice as much is taken, and not three times.
const BYTES: usize = 3 << 20;

/// The entry behind the first so many. It is not committed: nobody reads what it says.
fn append(behind: u64) -> Message {
    let birth = AppliedMark::birth();
    let index = birth.index + behind;
    let entry = Entry {
        entry_type: EntryType::EntryNormal,
        index: index + 1,
        term: TERM,
        data: Bytes::from(vec![7; BYTES]),
        ..Default::default()
    };
    Message {
        msg_type: MessageType::MsgAppend,
        from: 2,
        to: 1,
        term: TERM,
        index,
        log_term: if behind == 0 { birth.term } else { TERM },
        commit: birth.index,
        entries: vec![entry].into(),
        ..Default::default()
    }
}

fn receive(fixture: &mut Fixture, message: Message) -> u64 {
    let parcel = Parcel::ForReplica(from_leader(MessageBody::Raft(message)));
    fixture.worker.receive(Mail::Messages { from: LEADERS_NODE, messages: vec![(partition(1), parcel)] });
    turns(&mut fixture.worker);
    fixture.worker.groups[&partition(1)].replica.status().last_index - AppliedMark::birth().index
}

/// A leader sends again what is not acknowledged, and a log without room acknowledges late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exhausted_disk_counts_what_its_log_has_once() {
    let mut fixture = Fixture::start().await;
    let group = Group::new(partition(1), follower(&fixture, partition(1)));
    fixture.worker.groups.insert(partition(1), group);
    fixture.worker.desk.context.room.refused();
    for _ in 0..10 {
        assert_eq!(receive(&mut fixture, append(0)), 1);
    }
    assert_eq!(receive(&mut fixture, append(1)), 2);
    let dropped = fixture.worker.desk.context.metrics.disk_full_dropped.clone();
    assert_eq!(dropped.get(), 0);
    assert_eq!(receive(&mut fixture, append(2)), 2, "more than an exhausted disk takes");
    assert_eq!(dropped.get(), 1);
}

/// Neither does a leader stay where nothing can be applied, nor does it come there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_leads_where_the_items_take_nothing() {
    let mut fixture = Fixture::start().await;
    let mut group = Group::new(partition(1), follower(&fixture, partition(1)));
    group.summary.leader = Some(group.summary.replica);
    fixture.worker.groups.insert(partition(1), group);
    fixture.worker.groups.insert(partition(2), Group::new(partition(2), follower(&fixture, partition(2))));
    fixture.worker.desk.refuse_items();
    for _ in 0..20 {
        fixture.worker.tick();
    }
    let resigns = |number| fixture.worker.groups[&partition(number)].inputs.iter().any(|i| matches!(i, Input::Resign));
    assert!(resigns(1) && !resigns(2));

    let call = Message { msg_type: MessageType::MsgTimeoutNow, from: 2, to: 1, term: TERM, ..Default::default() };
    let parcel = Parcel::ForReplica(from_leader(MessageBody::Raft(call)));
    fixture.worker.receive(Mail::Messages { from: LEADERS_NODE, messages: vec![(partition(2), parcel)] });
    turns(&mut fixture.worker);
    assert_eq!(fixture.worker.groups[&partition(2)].replica.status().term, TERM, "it does not stand for election");
    assert_eq!(fixture.worker.desk.context.metrics.disk_full_dropped.get(), 1);
}
