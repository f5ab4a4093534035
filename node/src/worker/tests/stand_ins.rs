//! Many log replicas that come at once: what they take of the disk does not grow with their number.

use replica::eraftpb::ConfState;

use super::*;

const MANY: u64 = 100;
/// What all of them take together: their ids, their marks, their logs, and what they have said since.
const STEPS: u64 = 4;
const LOG: ReplicaId = ReplicaId(4);
const LOST: ReplicaId = ReplicaId(3);

/// As it is once a log replica on that node has taken the place of a silent one.
fn stood_in(fixture: &Fixture, id: PartitionId) -> PartitionDescriptor {
    let mut descriptor = PartitionDescriptor { id, ..fixture.descriptor() };
    for (number, replica) in (10..).zip(&mut descriptor.replicas) {
        replica.node = model::NodeId(number);
        if replica.id == LOST {
            replica.role = model::ReplicaRole::Learner;
        }
    }
    let stand_in = model::ReplicaDescriptor {
        id: LOG,
        node: fixture.worker.desk.context.node,
        role: model::ReplicaRole::Voter,
        kind: model::ReplicaKind::Log,
        zone: Zone("zone-3".to_owned()),
    };
    descriptor.replicas.push(stand_in);
    descriptor.next_replica = ReplicaId(LOG.0 + 1);
    descriptor
}

fn snapshot_for(fixture: &Fixture, id: PartitionId) -> Envelope {
    let mut state = GroupState::birth(ReplicaId(1), stood_in(fixture, id), table());
    state.configuration = ConfState { voters: vec![1, 2, LOG.0], learners: vec![LOST.0], ..Default::default() };
    let mark = AppliedMark { index: 20, term: 6, commit_time_us: 9 };
    let mut message = Message { msg_type: MessageType::MsgSnapshot, from: 2, to: LOG.0, term: 6, ..Default::default() };
    message.mut_snapshot().mut_metadata().index = mark.index;
    message.mut_snapshot().mut_metadata().term = mark.term;
    *message.mut_snapshot().mut_metadata().mut_conf_state() = state.configuration.clone();
    message.mut_snapshot().data = SnapshotContent { state, mark }.encode();
    Envelope { from: ReplicaId(2), to: LOG, body: MessageBody::Raft(message) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_replicas_that_come_together_are_put_in_place_together() {
    let mut fixture = Fixture::start().await;
    let context = Arc::clone(&fixture.worker.desk.context);
    let (syncs, version) = (context.log.counters().syncs, context.items.version().unwrap());
    let ids = || (1..=MANY).map(|number| PartitionId(0x1000 + number));
    let (release, released) = std::sync::mpsc::channel::<()>();
    // The pool is busy while they come, with as many jobs as it may have threads.
    let released = Arc::new(std::sync::Mutex::new(released));
    for _ in 0..2 {
        let released = Arc::clone(&released);
        context.background.submit(move || _ = released.lock().unwrap().recv()).unwrap();
    }
    for id in ids() {
        let messages = vec![(id, Parcel::ForReplica(snapshot_for(&fixture, id)))];
        fixture.worker.receive(Mail::Messages { from: model::NodeId(11), messages });
    }
    // Turns that ended before everybody had one: on a busy machine they have no time.
    let mut cut_short = 0;
    let mut phases = |worker: &Worker, phase: Phase| {
        cut_short += u64::from(!worker.active.is_empty());
        ids().all(|id| worker.groups[&id].phase == phase)
    };
    fixture.until(|worker| phases(worker, Phase::Installing)).await;
    drop(release);
    let knows = |worker: &Worker, id: PartitionId| worker.groups[&id].summary.descriptor.is_some();
    fixture.until(|worker| phases(worker, Phase::Running) && ids().all(|id| knows(worker, id))).await;
    for id in ids() {
        let group = &fixture.worker.groups[&id];
        let expected = stood_in(&fixture, id);
        assert_eq!(group.summary.descriptor.as_deref(), Some(&expected));
        assert_eq!((group.summary.replica, group.replica.status().applied), (LOG, 20));
        assert_eq!(context.items.persisted_index(id).unwrap(), Some(20));
    }
    // Each step once for all of them, or a few times: once more for those who came too late for a turn.
    let bound = (10 + STEPS * cut_short).min(MANY / 2);
    let (synced, flushed) = (context.log.counters().syncs - syncs, context.items.version().unwrap() - version);
    assert!(
        synced <= bound && flushed <= bound,
        "{synced} syncs of the log, {flushed} changes of RocksDB's version, {bound} allowed"
    );
}
