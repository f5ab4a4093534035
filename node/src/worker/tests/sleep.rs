//! Groups that sleep on a worker: they get no ticks, and another node's loss wakes some of them with every tick.

use replica::{LogStart, Now, Options, Replica, Start};

use super::*;
use crate::neighbours::{Heard, Told};
use crate::worker::neighbour::WAKES_PER_TICK;

const SLEEPERS: u64 = 1000;
/// Of the leader that they believe in.
pub const TERM: u64 = 6;
const LEADER: ReplicaId = ReplicaId(2);
pub const LEADERS_NODE: model::NodeId = model::NodeId(2);

pub fn partition(number: u64) -> PartitionId {
    PartitionId(0x1_0000 + number)
}

/// A follower that its leader, on node 2, may ask to sleep.
pub fn follower(fixture: &Fixture, partition: PartitionId) -> Replica {
    let descriptor = PartitionDescriptor { id: partition, ..fixture.descriptor() };
    let mut replica = Replica::start(Start {
        partition,
        node: fixture.worker.desk.context.node,
        replica: ReplicaId(1),
        options: Options { seed: partition.0, sleep_ticks: 50, ..Options::default() },
        log: LogStart::default(),
        state: Some(GroupState::birth(ReplicaId(1), descriptor, table())),
        mark: Some(AppliedMark::birth()),
    })
    .unwrap();
    let heartbeat = Message {
        msg_type: MessageType::MsgHeartbeat,
        from: LEADER.0,
        to: 1,
        term: TERM,
        commit: AppliedMark::birth().index,
        ..Default::default()
    };
    step(&mut replica, Input::Message(from_leader(MessageBody::Raft(heartbeat))));
    replica
}

pub fn from_leader(body: MessageBody) -> Envelope {
    Envelope { from: LEADER, to: ReplicaId(1), body }
}

fn sleep_asked() -> Envelope {
    from_leader(MessageBody::SleepAsked { term: TERM, index: AppliedMark::birth().index })
}

/// On a disk that is done at once.
fn step(replica: &mut Replica, input: Input) {
    let mut inputs = vec![input];
    while !inputs.is_empty() {
        let effects = replica.step(Now(1), &mut inputs);
        inputs.extend(effects.append.map(|append| Input::Persisted { number: append.number }));
    }
}

fn sleeper(fixture: &Fixture, partition: PartitionId) -> Group {
    let mut replica = follower(fixture, partition);
    step(&mut replica, Input::Message(sleep_asked()));
    assert!(replica.is_asleep());
    Group::new(partition, replica)
}

/// Turns until nobody has anything to do.
pub fn turns(worker: &mut Worker) {
    worker.turn();
    while !worker.active.is_empty() {
        worker.turn();
    }
}

fn awake(fixture: &Fixture) -> u64 {
    let awake = |number: &u64| !fixture.worker.groups[&partition(*number)].replica.is_asleep();
    u64::try_from((0..SLEEPERS).filter(awake).count()).unwrap()
}

async fn with_sleepers() -> Fixture {
    let mut fixture = Fixture::start().await;
    for number in 0..SLEEPERS {
        let group = sleeper(&fixture, partition(number));
        fixture.worker.groups.insert_resting(partition(number), group);
    }
    fixture
}

/// Of what a sleeping group may cost a node (20 KB): the rest is its log's, its items' and their tables'. Measured: 5.7 KB.
const MOST_BYTES: u64 = 6_500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sleeper_is_small_with_all_that_its_worker_and_its_node_know_of_it() {
    let mut fixture = Fixture::start().await;
    let context = Arc::clone(&fixture.worker.desk.context);
    let made = allocation_counter::measure(|| {
        for number in 0..SLEEPERS {
            let group = sleeper(&fixture, partition(number));
            context.registry.put(partition(number), group.summary.clone());
            fixture.worker.groups.insert_resting(partition(number), group);
        }
    });
    let bytes = u64::try_from(made.bytes_current).unwrap() / SLEEPERS;
    assert!(bytes <= MOST_BYTES, "{bytes} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_messages_come_from_is_kept_of_those_alone_that_the_descriptor_does_not_place() {
    let mut fixture = Fixture::start().await;
    let says = |from: u64, node: u64| {
        let said = Envelope { from: ReplicaId(from), to: ReplicaId(1), body: MessageBody::WakeAsked };
        Mail::Messages { from: model::NodeId(node), messages: vec![(PARTITION, Parcel::ForReplica(said))] }
    };
    fixture.worker.receive(says(2, 2));
    assert!(fixture.worker.groups[&PARTITION].routes.is_empty());
    fixture.worker.receive(says(9, 5));
    let group = &fixture.worker.groups[&PARTITION];
    let nodes = [2, 9].map(|replica| group.node_of(ReplicaId(replica)));
    assert_eq!(nodes, [Some(model::NodeId(2)), Some(model::NodeId(5))]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sleepers_get_no_ticks() {
    let mut fixture = with_sleepers().await;
    let ticks = fixture.worker.desk.context.metrics.group_ticks.clone();
    for _ in 0..20 {
        fixture.worker.tick();
        turns(&mut fixture.worker);
    }
    assert_eq!(ticks.get(), 20, "of the one that is awake");
    assert_eq!((awake(&fixture), fixture.worker.desk.context.metrics.asleep.get()), (0, 1000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_sleepers_wake_some_at_a_time_and_the_foreground_goes_on() {
    let mut fixture = with_sleepers().await;
    let mut client = fixture.client();
    let silent = Mail::Neighbour { node: LEADERS_NODE, news: News::Silent };
    fixture.worker.receive(silent);
    turns(&mut fixture.worker);
    assert_eq!(awake(&fixture), 0);
    let pace = u64::try_from(WAKES_PER_TICK).unwrap();
    for tick in 1..=3 {
        fixture.worker.tick();
        turns(&mut fixture.worker);
        assert_eq!(awake(&fixture), tick * pace);
        client.scan().await;
        fixture.until(|worker| worker.desk.context.metrics.requests.get() == tick).await;
        assert!(matches!(client.answer().await, Outcome::Scanned(page) if page.finished));
    }
    // Whoever is told something wakes at once.
    let asleep = (0..SLEEPERS).rfind(|number| fixture.worker.groups[&partition(*number)].replica.is_asleep()).unwrap();
    let asked = Parcel::ForReplica(from_leader(MessageBody::WakeAsked));
    fixture.worker.receive(Mail::Messages { from: LEADERS_NODE, messages: vec![(partition(asleep), asked)] });
    turns(&mut fixture.worker);
    assert!(!fixture.worker.groups[&partition(asleep)].replica.is_asleep());
    assert_eq!(awake(&fixture), 3 * pace + 1);
    for _ in 3..SLEEPERS / pace {
        fixture.worker.tick();
        turns(&mut fixture.worker);
    }
    assert_eq!(awake(&fixture), SLEEPERS);
    assert_eq!(fixture.worker.desk.context.metrics.woken.get(), SLEEPERS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sleeps_in_anothers_care_sleeps_on() {
    let mut fixture = with_sleepers().await;
    for (node, news) in [(3, News::Silent), (3, News::Restarted), (2, News::Returned), (2, News::Stopping)] {
        fixture.worker.receive(Mail::Neighbour { node: model::NodeId(node), news });
        fixture.worker.tick();
        turns(&mut fixture.worker);
        assert_eq!(awake(&fixture), 0, "{node} {news:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_of_a_start_get_their_first_tick_some_at_a_time() {
    let fixture = Fixture::start().await;
    let context = Arc::clone(&fixture.worker.desk.context);
    let groups = (0..SLEEPERS).map(|number| Group::new(partition(number), follower(&fixture, partition(number))));
    let tick = Duration::from_millis(50);
    let beginning = Beginning { worker: 0, context, groups: groups.collect(), corrupt: BTreeSet::new(), tick };
    let mut worker = Worker::new(beginning);
    let pace = u64::try_from(WAKES_PER_TICK).unwrap();
    for tick in 1..=3 {
        worker.tick();
        turns(&mut worker);
        assert_eq!(worker.groups.resting(), usize::try_from(SLEEPERS - tick * pace).unwrap());
    }
    // Whoever is told something gets ticks at once.
    worker.input(partition(SLEEPERS - 1), Input::Lost(LEADER));
    turns(&mut worker);
    assert_eq!(worker.groups.resting(), usize::try_from(SLEEPERS - 3 * pace - 1).unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_node_is_silent_lets_nobody_sleep() {
    let mut fixture = Fixture::start().await;
    let context = Arc::clone(&fixture.worker.desk.context);
    let group = Group::new(partition(1), follower(&fixture, partition(1)));
    fixture.worker.groups.insert(partition(1), group);
    let ask = |fixture: &mut Fixture| {
        let messages = vec![(partition(1), Parcel::ForReplica(sleep_asked()))];
        fixture.worker.receive(Mail::Messages { from: LEADERS_NODE, messages });
        turns(&mut fixture.worker);
        fixture.worker.groups[&partition(1)].replica.is_asleep()
    };
    let heard = Heard { start_number: 4, disk_full: false, heartbeat: None };
    context.neighbours.heard(LEADERS_NODE, &heard);
    while context.neighbours.is_alive(LEADERS_NODE) {
        context.neighbours.tick(Told::default());
    }
    assert!(!ask(&mut fixture));
    context.neighbours.heard(LEADERS_NODE, &heard);
    assert!(ask(&mut fixture));
}
