//! Clients' requests: from the queue to inputs or reads, and from the replica's answers to responses.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use model::codec::DecodeError;
use model::expression::{Condition, Projection, Update};
use model::{KeyRange, item};
use replica::{Action, Answer, Input, Refusal, Token, WriteRequest};
use wire::data::refused::Reason;
use wire::data::request::Operation;
use wire::data::response::Result as Outcome;
use wire::data::written::Outcome as WriteOutcome;
use wire::data::{self, Got, Refused, Written};

use crate::items::{Lookup, ScanRequest};
use crate::room::RoomState;
use crate::service::data::{Answered, Call, REFUSAL_BYTES};
use crate::worker::corrupt;
use crate::worker::desk::{Asked, Desk, Waiter};
use crate::worker::group::{Group, Phase, Queued};
use crate::worker::reads::{self, Metered, Place};
use wire::error::describe;

/// What one group may take of a turn before the next one's turn comes.
const TURN_REQUESTS: usize = 64;
const TURN_BYTES: usize = 256 << 10;

/// Requests of the group that wait become inputs or reads, as many as fairness allows.
pub fn admit(desk: &mut Desk, group: &mut Group) {
    let mut bytes = 0;
    for _ in 0..TURN_REQUESTS {
        if bytes >= TURN_BYTES || desk.stalled() {
            break;
        }
        let Some(queued) = group.dequeue() else { break };
        bytes += queued.bytes;
        admit_one(desk, group, queued);
    }
}

fn admit_one(desk: &mut Desk, group: &mut Group, queued: Queued) {
    let Queued { connection, received, request, bytes: _ } = queued;
    let call = Call::of(&request);
    let deadline = Duration::from_millis(u64::from(request.deadline_ms));
    if request.deadline_ms != 0 && received.elapsed() > deadline {
        desk.refuse(&connection, call, Reason::Expired);
        return;
    }
    if let Err(refused) = check(group, &request) {
        desk.answer(&connection, call.answer(Outcome::Refused(*refused)), REFUSAL_BYTES);
        return;
    }
    desk.context.metrics.requests.inc();
    let epoch = request.epoch;
    match request.operation {
        Some(Operation::Write(write)) => {
            if !takes_writes(desk, group) {
                desk.refuse(&connection, call, Reason::DiskFull);
                return;
            }
            let Ok(request) = write_request(write) else {
                desk.refuse(&connection, call, Reason::Malformed);
                return;
            };
            let waiter = Waiter::Client { connection, call, asked: Asked::Write };
            let token = desk.wait(group.partition, waiter);
            group.inputs.push(Input::Write { token, epoch, request: Box::new(request) });
        }
        Some(Operation::Get(get)) => {
            let asked = Asked::Get { key: get.key };
            read(desk, group, Waiter::Client { connection, call, asked }, Consistency::of(get.consistent, epoch));
        }
        Some(Operation::Scan(scan)) => {
            let consistency = Consistency::of(scan.consistent, epoch);
            let Some(request) = scan_request(group, scan) else {
                desk.refuse(&connection, call, Reason::Malformed);
                return;
            };
            let asked = Asked::Scan(Box::new(request));
            read(desk, group, Waiter::Client { connection, call, asked }, consistency);
        }
        None => desk.refuse(&connection, call, Reason::Malformed),
    }
}

/// Where there is room: here, and where a quorum would need it. Who does not lead says who does.
fn takes_writes(desk: &Desk, group: &Group) -> bool {
    let quorum = |descriptor| desk.context.neighbours.leave_a_quorum(descriptor);
    let room = || !desk.lacks_room() && desk.context.room.get() < RoomState::Full;
    !group.leads() || (room() && group.summary.descriptor.as_deref().is_none_or(quorum))
}

enum Consistency {
    Strong { epoch: u64 },
    Eventual,
}

impl Consistency {
    fn of(consistent: bool, epoch: u64) -> Consistency {
        if consistent { Consistency::Strong { epoch } } else { Consistency::Eventual }
    }
}

fn read(desk: &mut Desk, group: &mut Group, waiter: Waiter, consistency: Consistency) {
    match consistency {
        Consistency::Strong { epoch } => {
            let token = desk.wait(group.partition, waiter);
            group.inputs.push(Input::Confirm { token, epoch });
        }
        Consistency::Eventual => read_applied(desk, group, waiter, false),
    }
}

/// The applied state may be read for this token.
pub fn confirmed(desk: &mut Desk, group: &mut Group, token: Token) {
    if let Some(waiter) = desk.waiter(token) {
        read_applied(desk, group, waiter, true);
    }
}

fn read_applied(desk: &mut Desk, group: &mut Group, waiter: Waiter, consistent: bool) {
    let Waiter::Client { connection, call, asked } = waiter else { return };
    let (Some(table), Some(admitted)) = (group.table_id(), group.admitted()) else {
        desk.refuse(&connection, call, Reason::NotReady);
        return;
    };
    match asked {
        Asked::Get { key } => match desk.context.items.lookup(table, &key) {
            Ok(Lookup::Found(stored)) => {
                let size = REFUSAL_BYTES + stored.attributes.len();
                reads::meter_item(group.meter(), Some(&stored.attributes), consistent);
                desk.answer(&connection, got(call, Some(stored.attributes)), size);
            }
            Ok(Lookup::Missing) => {
                reads::meter_item(group.meter(), None, consistent);
                desk.answer(&connection, got(call, None), REFUSAL_BYTES);
            }
            Ok(Lookup::NotCached) => {
                let metered = Metered { meter: Arc::clone(group.meter()), consistent };
                reads::get(desk, connection, call, Place { admitted, table }, metered, key);
            }
            Err(error) => {
                tracing::error!(partition = %group.partition, error = describe(&error), "failed to read an item");
                corrupt::note_unreadable(&desk.context.inboxes, group.partition, &error);
                desk.refuse(&connection, call, Reason::NotReady);
            }
        },
        Asked::Scan(request) => {
            let metered = Metered { meter: Arc::clone(group.meter()), consistent };
            reads::scan(desk, connection, call, admitted, metered, *request);
        }
        Asked::Write => (),
    }
}

pub fn got(call: Call, item: Option<Bytes>) -> Answered {
    call.answer(Outcome::Got(Got { item }))
}

/// What every request must fit: the group is here and running, the epoch is the group's, the table lives, keys are in range.
fn check(group: &Group, request: &data::Request) -> Result<(), Box<Refused>> {
    let plain = |reason: Reason| Box::new(Refused { reason: reason.into(), ..Default::default() });
    let summary = &group.summary;
    let (Some(descriptor), Some(table)) = (&summary.descriptor, &summary.table) else {
        return Err(plain(Reason::NotReady));
    };
    match group.phase {
        Phase::Running => (),
        Phase::Installing => return Err(plain(Reason::NotReady)),
        Phase::Retiring => return Err(plain(Reason::UnknownPartition)),
    }
    if table.status.is_out_of_service() {
        return Err(plain(Reason::TableGone));
    }
    let newer_table = request.table_version < table.version;
    if request.epoch != descriptor.epoch || newer_table {
        return Err(Box::new(Refused {
            reason: Reason::StaleEpoch.into(),
            leader: summary.leader_node().map_or(0, |node| node.0),
            descriptor: Some(descriptor.encode()),
            table: newer_table.then(|| table.encode()),
        }));
    }
    let key = match &request.operation {
        Some(Operation::Get(get)) => Some(&get.key),
        Some(Operation::Write(write)) => Some(&write.key),
        Some(Operation::Scan(_)) | None => None,
    };
    if key.is_some_and(|key| !descriptor.range.contains(key)) {
        return Err(plain(Reason::Malformed));
    }
    Ok(())
}

fn write_request(write: data::Write) -> Result<WriteRequest, DecodeError> {
    let action = match write.action {
        Some(data::write::Action::Put(attributes)) => Action::Put(attributes),
        Some(data::write::Action::Delete(_)) => Action::Delete,
        Some(data::write::Action::Update(update)) => Action::Update {
            key_attributes: item::decode_attributes(&update.key_attributes)?,
            update: update.update.map(Update::decode).transpose()?,
        },
        None => return Err(DecodeError::Malformed("write")),
    };
    Ok(WriteRequest {
        key: write.key,
        action,
        condition: write.condition.map(Condition::decode).transpose()?,
        return_old: write.return_old,
        return_new: write.return_new,
        return_old_on_failure: write.return_old_on_failure,
        request_id: write.request_id,
    })
}

/// Cut to the partition's range; none if it cannot be decoded.
fn scan_request(group: &Group, scan: data::Scan) -> Option<ScanRequest> {
    let descriptor = group.summary.descriptor.as_ref()?;
    let asked = KeyRange { start: scan.start, end: scan.end };
    // A range beside the partition's is an empty page, not an error: its start is its end.
    let empty = KeyRange { start: descriptor.range.start.clone(), end: Some(descriptor.range.start.clone()) };
    Some(ScanRequest {
        table: descriptor.table,
        range: descriptor.range.intersect(&asked).unwrap_or(empty),
        backward: scan.backward,
        limit: scan.limit,
        limit_bytes: scan.limit_bytes,
        filter: scan.filter.map(Condition::decode).transpose().ok()?,
        projection: scan.projection.map(Projection::decode).transpose().ok()?,
        count_only: scan.count_only,
    })
}

/// The replica's answer, to whoever waits for it.
pub fn answered(desk: &mut Desk, group: &mut Group, token: Token, answer: Answer) {
    match desk.waiter(token) {
        Some(Waiter::Client { connection, call, .. }) => {
            meter_write(group, &answer);
            let result = outcome(group, answer);
            let size = REFUSAL_BYTES + outcome_size(&result);
            desk.answer(&connection, call.answer(result), size);
        }
        Some(Waiter::Command(reply)) => super::admin::answered(group, reply, answer),
        None => (),
    }
}

/// A write whose condition was false costs what it would have (Developer Guide, "Read and write operations").
fn meter_write(group: &mut Group, answer: &Answer) {
    let bytes = |bytes: u32| usize::try_from(bytes).unwrap_or(usize::MAX);
    match answer {
        Answer::Written { old_size, new_size, .. } => group.meter().write(bytes(*old_size), bytes(*new_size)),
        Answer::ConditionFailed { old_size, .. } => group.meter().write(bytes(*old_size), 0),
        Answer::Invalid { .. } | Answer::Done | Answer::Refused(_) => (),
    }
}

fn outcome(group: &Group, answer: Answer) -> Outcome {
    match answer {
        Answer::Written { old, new, old_size, new_size } => Outcome::Written(Written {
            outcome: WriteOutcome::Applied.into(),
            message: String::new(),
            old,
            new,
            old_size,
            new_size,
        }),
        Answer::ConditionFailed { old, old_size } => Outcome::Written(Written {
            outcome: WriteOutcome::ConditionFailed.into(),
            old,
            old_size,
            ..Default::default()
        }),
        Answer::Invalid { message } => {
            Outcome::Written(Written { outcome: WriteOutcome::Invalid.into(), message, ..Default::default() })
        }
        // Only commands are answered so.
        Answer::Done => Outcome::Written(Written { outcome: WriteOutcome::Applied.into(), ..Default::default() }),
        Answer::Refused(refusal) => Outcome::Refused(refused(group, refusal)),
    }
}

fn refused(group: &Group, refusal: Refusal) -> Refused {
    let plain = |reason: Reason| Refused { reason: reason.into(), ..Default::default() };
    match refusal {
        Refusal::NotLeader { leader } => {
            let leader = leader.and_then(|leader| group.node_of(leader)).map_or(0, |node| node.0);
            Refused { leader, ..plain(Reason::NotLeader) }
        }
        Refusal::StaleEpoch { descriptor } => {
            Refused { descriptor: Some(descriptor.encode()), ..plain(Reason::StaleEpoch) }
        }
        Refusal::Overloaded => plain(Reason::Overloaded),
        Refusal::Unknown => plain(Reason::Unknown),
        Refusal::TableGone => plain(Reason::TableGone),
        Refusal::NotReady | Refusal::Impossible { .. } => plain(Reason::NotReady),
        // The old item could not be read now: the pool was full, or the disk failed.
        Refusal::ReadFailed => plain(Reason::Overloaded),
    }
}

fn outcome_size(outcome: &Outcome) -> usize {
    let field = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
    match outcome {
        Outcome::Got(got) => field(&got.item),
        Outcome::Written(written) => field(&written.old) + field(&written.new) + written.message.len(),
        Outcome::Scanned(scanned) => scanned.items.iter().map(Bytes::len).sum(),
        Outcome::Refused(refused) => field(&refused.descriptor) + field(&refused.table),
    }
}
