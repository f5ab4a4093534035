//! A replica whose two others are gone for good goes on alone.

use replica::STRIDE;

use super::*;
use crate::log::{LogGroup, Work};
use crate::server::open::start_group;
use crate::worker::recovery::{Order, Seen, seen};

const BECOMES: ReplicaId = ReplicaId(4 + STRIDE);

impl Fixture {
    async fn ticks(&mut self, ticks: usize) {
        for _ in 0..ticks {
            self.worker.tick();
            self.until(|_| true).await;
        }
    }

    /// On the replica as it is.
    fn order(&self) -> Order {
        let seen = seen(&self.worker.groups[&PARTITION]);
        let (answered, reason, code) = (vec![seen.replica], "both are burnt".to_owned(), "c0de".to_owned());
        Order { partition: PARTITION, seen, answered, reason, code }
    }

    async fn recover(&mut self, order: Order) -> Result<(), CommandError> {
        let (reply, mut replied) = oneshot::channel();
        self.worker.command(Command::Recover { order: Box::new(order), reply });
        let mut result = None;
        self.until(|_| {
            result = replied.try_recv().ok();
            result.is_some()
        })
        .await;
        result.unwrap()
    }

    fn recorded(&self) -> String {
        std::fs::read_to_string(self._folder.path().join("data/recoveries")).unwrap_or_default()
    }
}

#[tokio::test]
async fn a_replica_goes_on_alone_when_it_is_told_so_and_the_record_says_why() {
    let mut fixture = Fixture::start().await;
    let early = fixture.recover(fixture.order()).await;
    assert!(matches!(&early, Err(CommandError::NotRecoverable(why)) if why.contains("majority")), "{early:?}");
    fixture.ticks(45).await;
    let order = fixture.order();
    let other = Seen { last_index: order.seen.last_index + 1, ..order.seen };
    let refused = fixture.recover(Order { seen: other, ..fixture.order() }).await;
    assert!(matches!(&refused, Err(CommandError::NotRecoverable(why)) if why.contains("by now")), "{refused:?}");
    assert_eq!(fixture.recorded(), "");

    assert_eq!(fixture.recover(order).await, Ok(()));
    let record = fixture.recorded();
    assert_eq!(record.lines().count(), 1, "{record}");
    assert!(record.contains("both are burnt") && record.contains("c0de"), "{record}");
    fixture.ticks(45).await;
    fixture.until(|worker| worker.groups.get(&PARTITION).is_some_and(|group| group.summary.serving)).await;
    let group = &fixture.worker.groups[&PARTITION];
    assert_eq!(group.summary.replica, BECOMES);
    let context = &fixture.worker.desk.context;
    assert_eq!(context.log.accept_from(PARTITION), BECOMES);
    assert_eq!(context.registry.get(PARTITION).unwrap().descriptor.unwrap().epoch, EPOCH + STRIDE);
    // What is sent to its old id makes nothing anew, and reaches nobody.
    let term = group.replica.status().term;
    fixture.worker.receive(Mail::Messages {
        from: model::NodeId(2),
        messages: vec![(PARTITION, Parcel::ForReplica(vote_request(ReplicaId(1), term + 7)))],
    });
    fixture.ticks(1).await;
    assert_eq!(fixture.worker.groups[&PARTITION].replica.status().term, term);
}

fn vote_request(to: ReplicaId, term: u64) -> Envelope {
    let mut message = Message { from: 2, to: to.0, term, log_term: term, index: 99, ..Message::default() };
    message.set_msg_type(MessageType::MsgRequestVote);
    Envelope { from: ReplicaId(2), to, body: MessageBody::Raft(message) }
}

#[tokio::test]
async fn a_recovery_that_a_crash_cut_short_is_made_good_at_the_start() {
    let fixture = Fixture::start().await;
    let context = &fixture.worker.desk.context;
    let before = context.items.group(PARTITION).unwrap();
    let state = replica::recovered(&GroupState::decode(before.state.unwrap()).unwrap()).unwrap();
    let records = crate::items::GroupRecords { partition: PARTITION, mark: None, state: Some(state.encode()) };
    context.items.put_groups(&[records]).unwrap();
    let accept_from = context.log.accept_from(PARTITION);
    assert_eq!(accept_from, ReplicaId(1));
    let found = LogGroup { partition: PARTITION, accept_from, exists: true, receiving: None, corrupt: false };
    let group = start_group(context, &found, Some(context.items.group(PARTITION).unwrap())).unwrap();
    assert_eq!(group.summary.replica, BECOMES);
    // Jobs of the log are done in their order.
    assert!(context.log.run(PARTITION, Work::Truncate { upto: 0 }));
    assert_eq!(context.log.accept_from(PARTITION), BECOMES);
}
