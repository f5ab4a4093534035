//! Unsafe recovery on this node: a replica whose group has lost its majority goes on as the only member ([`replica::recovered`]).
//!
//! While the replica stands still, on the pool and each durable before the next: the audit record, the group's state, the lowest id that
//! is accepted here. A crash before the second leaves the replica as it was, one after it as it will be; the third is made good
//! at the next start (`server/open`). Then the replica is seated anew from the disk, whatever became of it.
//!
//! The audit record is a line of JSON in the file `recoveries` of the node's folder (format 1), all fields in `record` below. It says what was
//! begun: that it was done shows in the group's epoch.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use model::{PartitionId, ReplicaDescriptor, ReplicaId};
use replica::GroupState;

use crate::context::Context;
use crate::items::GroupRecords;
use crate::log::{LogGroup, Work};
use crate::server::open::start_group;
use crate::worker::Worker;
use crate::worker::command::{CommandError, Reply};
use crate::worker::group::{Group, Phase};
use crate::worker::inbox::Mail;
use crate::worker::lifecycle::{refuse_queue, refuse_waiters};
use wire::error::describe;

const RECORD_FORMAT: u32 = 1;

/// What people decided, and on what.
pub struct Order {
    pub partition: PartitionId,
    pub seen: Seen,
    /// The replicas that answered, this one among them.
    pub answered: Vec<ReplicaId>,
    pub reason: String,
    pub code: String,
}

/// The replica as they saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub replica: ReplicaId,
    pub epoch: u64,
    pub last_term: u64,
    pub last_index: u64,
}

/// What became of an order.
pub struct Recovery {
    partition: PartitionId,
    result: Result<(), CommandError>,
    seated: Result<Group, String>,
    reply: Reply,
}

impl Worker {
    pub fn recover(&mut self, order: Order, reply: Reply) {
        let partition = order.partition;
        if let Err(error) = self.may_recover(&order) {
            drop(reply.send(Err(error)));
            return;
        }
        let Some(mut group) = self.groups.remove(&partition) else { return };
        // Nothing is made anew of the group meanwhile.
        self.births.insert(partition, group.summary.clone());
        refuse_queue(&mut self.desk, &mut group);
        refuse_waiters(&mut self.desk, partition);
        drop(group);
        self.desk.send_jobs();
        let context = Arc::clone(&self.desk.context);
        let worker = self.desk.worker;
        self.desk.context.background.submit_always(move || {
            let result = carry_out(&context, &order);
            if matches!(result, Err(CommandError::Busy(_))) {
                // The node is stopping: what stands on the disk is found at its next start.
                drop(reply.send(result));
                return;
            }
            let seated = seat(&context, partition);
            context.inboxes.push(worker, Mail::Recovered(Box::new(Recovery { partition, result, seated, reply })));
        });
    }

    fn may_recover(&self, order: &Order) -> Result<(), CommandError> {
        if self.births.contains_key(&order.partition) {
            return Err(CommandError::Busy("its records are being written"));
        }
        let group = self.groups.get(&order.partition).ok_or(CommandError::UnknownPartition(order.partition))?;
        if group.phase != Phase::Running {
            return Err(CommandError::Busy("its replica here is being replaced"));
        }
        group.replica.may_be_recovered().map_err(|error| CommandError::NotRecoverable(error.to_string()))?;
        let now = seen(group);
        if now != order.seen {
            let Seen { replica, epoch, last_term, last_index } = now;
            return Err(CommandError::NotRecoverable(format!(
                "it is replica {replica} of epoch {epoch} by now, with entry {last_index} of term {last_term} as its last"
            )));
        }
        Ok(())
    }

    pub fn recovered(&mut self, recovery: Recovery) {
        let Recovery { partition, result, seated, reply } = recovery;
        self.births.remove(&partition);
        match seated {
            Ok(group) => {
                self.desk.context.registry.put(partition, group.summary.clone());
                self.groups.insert(partition, group);
            }
            Err(error) => {
                tracing::error!(%partition, error, "failed to start a replica; it stays out");
                self.corrupt.insert(partition);
                self.desk.context.registry.remove(partition);
            }
        }
        // Whoever asked may have gone.
        drop(reply.send(result));
    }
}

pub fn seen(group: &Group) -> Seen {
    let status = group.replica.status();
    Seen {
        replica: status.replica,
        epoch: group.replica.descriptor().map_or(0, |descriptor| descriptor.epoch),
        last_term: group.replica.standing().last_term,
        last_index: status.last_index,
    }
}

fn carry_out(context: &Context, order: &Order) -> Result<(), CommandError> {
    let storage = |error: &dyn std::error::Error| CommandError::Storage(describe(error));
    let partition = order.partition;
    let state = context.items.group(partition).map_err(|error| storage(&error))?.state;
    let state = state.ok_or_else(|| CommandError::NotRecoverable("it has no items".to_owned()))?;
    let before = GroupState::decode(state).map_err(|error| storage(&error))?;
    let after = replica::recovered(&before).map_err(|error| CommandError::NotRecoverable(error.to_string()))?;
    context.disk.record_recovery(&record(order, &before, &after)).map_err(|error| storage(&error))?;
    tracing::warn!(
        %partition,
        replica = %before.replica,
        becomes = %after.replica,
        epoch = after.descriptor.epoch,
        last_index = order.seen.last_index,
        reason = order.reason,
        code = order.code,
        "unsafe recovery: the group goes on from this replica alone"
    );
    let records = GroupRecords { partition, mark: None, state: Some(after.encode()) };
    // Once it has begun nobody can tell any more which of the two stands there after a crash: it is ended here.
    while let Err(error) = context.items.put_groups(std::slice::from_ref(&records)) {
        if !error.is_no_room() {
            context.give_up("write the state of a recovered group", &error);
        }
        context.room.refused();
        if !context.room.pause() {
            return Err(CommandError::Busy("the node is stopping"));
        }
    }
    if !context.log.run(partition, Work::AcceptFrom { replica: after.replica }) {
        return Err(CommandError::Busy("the node is stopping"));
    }
    Ok(())
}

/// From what rests on the disk, as at a start of the node.
fn seat(context: &Context, partition: PartitionId) -> Result<Group, String> {
    let records = context.items.group(partition).map_err(|error| describe(&error))?;
    let accept_from = context.log.accept_from(partition);
    let found = LogGroup { partition, accept_from, exists: true, receiving: None, corrupt: false };
    start_group(context, &found, Some(records)).map_err(|error| format!("{error:#}"))
}

fn record(order: &Order, before: &GroupState, after: &GroupState) -> String {
    let Order { partition, seen, answered, reason, code } = order;
    let given_up = before.descriptor.replicas.iter().filter(|other| other.id != before.replica);
    let given_up: Vec<String> = given_up.map(|other| given_up_record(other, answered.contains(&other.id))).collect();
    format!(
        r#"{{"format":{RECORD_FORMAT},"time_ms":{},"partition":"{partition}","table":"{}","replica":{},"epoch":{},"last_index":{},"last_term":{},"becomes":{},"epoch_after":{},"given_up":[{}],"reason":{},"code":{}}}"#,
        now_ms(),
        before.table.id,
        before.replica,
        before.descriptor.epoch,
        seen.last_index,
        seen.last_term,
        after.replica,
        after.descriptor.epoch,
        given_up.join(","),
        json_text(reason),
        json_text(code),
    )
}

fn given_up_record(replica: &ReplicaDescriptor, answered: bool) -> String {
    let ReplicaDescriptor { id, node, zone, role, kind } = replica;
    let (zone, role, kind) = (json_text(&zone.0), json_text(&format!("{role:?}")), json_text(&format!("{kind:?}")));
    format!(r#"{{"replica":{id},"node":"{node}","zone":{zone},"role":{role},"kind":{kind},"answered":{answered}}}"#)
}

fn json_text(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if u32::from(control) < 0x20 => quoted.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// For people who read the record.
fn now_ms() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()
}

#[cfg(test)]
mod tests {
    use model::{
        KeyRange, KeySchema, KeyType, NodeId, PartitionDescriptor, TableDescriptor, TableId, TableStatus, Zone,
    };

    use super::*;

    #[test]
    fn a_record_is_one_line_that_says_who_was_given_up_and_why() {
        let places =
            [(NodeId(0xa), Zone("a".into())), (NodeId(0xb), Zone("b".into())), (NodeId(0xc), Zone("c".into()))];
        let descriptor = PartitionDescriptor::birth(PartitionId(7), TableId(8), KeyRange::ALL, places);
        let wish = TableDescriptor::wish("things", KeySchema::simple("pk", KeyType::S));
        let table = TableDescriptor { id: TableId(8), status: TableStatus::Active, ..wish };
        let before = GroupState::birth(ReplicaId(2), descriptor, table);
        let after = replica::recovered(&before).unwrap();
        let order = Order {
            partition: PartitionId(7),
            seen: Seen { replica: ReplicaId(2), epoch: 1, last_term: 6, last_index: 57 },
            answered: vec![ReplicaId(2), ReplicaId(3)],
            reason: "a \"fire\"\nin C:\\".into(),
            code: "0a1b2c3d".into(),
        };
        let record = record(&order, &before, &after);
        assert!(!record.contains('\n'), "{record}");
        let (_, told) = record.split_once(r#","partition":"#).unwrap();
        let expected = concat!(
            r#""0000000000000007","table":"0000000000000008","replica":2,"epoch":1,"last_index":57,"last_term":6,"#,
            r#""becomes":1048580,"epoch_after":1048577,"given_up":["#,
            r#"{"replica":1,"node":"000000000000000a","zone":"a","role":"Voter","kind":"Storage","answered":false},"#,
            r#"{"replica":3,"node":"000000000000000c","zone":"c","role":"Voter","kind":"Storage","answered":true}],"#,
            r#""reason":"a \"fire\"\u000ain C:\\","code":"0a1b2c3d"}"#,
        );
        assert_eq!(told, expected);
    }
}
