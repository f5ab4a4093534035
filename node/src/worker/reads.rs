//! Reads that may wait for the disk, on the bounded pool. Clients' reads are answered from there; old items for writes come
//! back to the worker. A read may wait long for its thread: its answer counts only if the replica that admitted it is still
//! here, untouched.

use std::sync::Arc;

use bytes::Bytes;
use model::{PartitionId, TableId, item};
use replica::{Input, ReadItem};
use wire::data::refused::Reason;
use wire::data::response::Result as Outcome;

use crate::context::Context;
use crate::items::{ItemsError, Lookup, ScanRequest};
use crate::meter::Meter;
use crate::registry::Admitted;
use crate::service::data::{Answered, Call, Connection, REFUSAL_BYTES};
use crate::worker::clients::got;
use crate::worker::corrupt;
use crate::worker::desk::Desk;
use crate::worker::group::Group;
use crate::worker::inbox::{Mail, ReadFailed};
use wire::error::describe;

/// Where an item is read, and by whose leave.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub admitted: Admitted,
    pub table: TableId,
}

/// Who counts what is read.
pub struct Metered {
    pub meter: Arc<Meter>,
    pub consistent: bool,
}

/// One item was read, or none was there.
pub fn meter_item(meter: &Meter, attributes: Option<&Bytes>, consistent: bool) {
    // What cannot be read is told to the client; here it costs its bytes.
    let size = |bytes: &Bytes| item::attributes_size(bytes).unwrap_or(bytes.len());
    meter.read(attributes.map_or(0, size), consistent);
}

/// A client's read of one item.
pub fn get(desk: &mut Desk, connection: Arc<Connection>, call: Call, place: Place, metered: Metered, key: Bytes) {
    let Place { admitted, table } = place;
    let context = Arc::clone(&desk.context);
    context.metrics.read_misses.inc();
    let answered = Arc::clone(&connection);
    let read = move || {
        let answer = match context.items.get(table, &key) {
            Ok(_) if !context.registry.still_admits(admitted) => call.refuse(Reason::NotReady),
            Ok(stored) => {
                let attributes = stored.map(|stored| stored.attributes);
                meter_item(&metered.meter, attributes.as_ref(), metered.consistent);
                got(call, attributes)
            }
            Err(error) => {
                failed_to_read(&context, admitted, &error);
                call.refuse(Reason::NotReady)
            }
        };
        let size = REFUSAL_BYTES + response_bytes(&answer);
        answered.answer(&mut vec![(answer, size)]);
    };
    if desk.context.reads.submit(read).is_err() {
        desk.context.metrics.shed.inc();
        desk.refuse(&connection, call, Reason::Overloaded);
    }
}

/// A client's page.
pub fn scan(
    desk: &mut Desk,
    connection: Arc<Connection>,
    call: Call,
    admitted: Admitted,
    metered: Metered,
    request: ScanRequest,
) {
    let context = Arc::clone(&desk.context);
    let answered = Arc::clone(&connection);
    let read = move || {
        let answer = match context.items.scan(&request) {
            // The page may end where the range was being cleared.
            Ok(_) if !context.registry.still_admits(admitted) => call.refuse(Reason::NotReady),
            Ok(scanned) => {
                let bytes = usize::try_from(scanned.scanned_bytes).unwrap_or(usize::MAX);
                metered.meter.read(bytes, metered.consistent);
                call.answer(Outcome::Scanned(scanned))
            }
            Err(error) => {
                failed_to_read(&context, admitted, &error);
                call.refuse(Reason::NotReady)
            }
        };
        let size = REFUSAL_BYTES + response_bytes(&answer);
        answered.answer(&mut vec![(answer, size)]);
    };
    if desk.context.reads.submit(read).is_err() {
        desk.context.metrics.shed.inc();
        desk.refuse(&connection, call, Reason::Overloaded);
    }
}

/// The client asks again, elsewhere; the replica may be another one by now.
fn failed_to_read(context: &Context, admitted: Admitted, error: &ItemsError) {
    let partition = admitted.partition;
    tracing::error!(%partition, error = describe(error), "failed to read items for a client");
    if context.registry.still_admits(admitted) {
        corrupt::note_unreadable(&context.inboxes, partition, error);
    }
}

fn response_bytes(answered: &Answered) -> usize {
    match &answered.response.result {
        Some(Outcome::Got(got)) => got.item.as_ref().map_or(0, Bytes::len),
        Some(Outcome::Scanned(scanned)) => scanned.items.iter().map(|item| item.len() + 8).sum(),
        Some(Outcome::Written(_) | Outcome::Refused(_)) | None => 0,
    }
}

/// Old items for writes: from memory at once, from the disk by the pool.
pub fn old_items(desk: &Desk, group: &mut Group, reads: Vec<ReadItem>) {
    let Some(table) = group.table_id() else { return };
    for ReadItem { ticket, key } in reads {
        match desk.context.items.lookup(table, &key) {
            Ok(Lookup::Found(stored)) => {
                group.inputs.push(Input::ItemRead { ticket, attributes: Some(stored.attributes) });
            }
            Ok(Lookup::Missing) => group.inputs.push(Input::ItemRead { ticket, attributes: None }),
            Ok(Lookup::NotCached) => {
                if !old_item_from_disk(desk, group.partition, table, ReadItem { ticket, key }) {
                    group.inputs.push(Input::ItemReadFailed { ticket });
                }
            }
            Err(error) => {
                tracing::error!(partition = %group.partition, error = describe(&error), "failed to read an old item");
                corrupt::note_unreadable(&desk.context.inboxes, group.partition, &error);
                group.inputs.push(Input::ItemReadFailed { ticket });
            }
        }
    }
}

/// Whether the pool took it.
fn old_item_from_disk(desk: &Desk, partition: PartitionId, table: TableId, read: ReadItem) -> bool {
    let context = Arc::clone(&desk.context);
    context.metrics.read_misses.inc();
    let worker = desk.worker;
    let read = move || {
        let ReadItem { ticket, key } = read;
        let attributes = match context.items.get(table, &key) {
            Ok(stored) => Ok(stored.map(|stored| stored.attributes)),
            Err(error) => {
                tracing::error!(%partition, error = describe(&error), "failed to read an old item");
                corrupt::note_unreadable(&context.inboxes, partition, &error);
                Err(ReadFailed)
            }
        };
        context.inboxes.push(worker, Mail::ItemRead { partition, ticket, attributes });
    };
    desk.context.reads.submit(read).is_ok()
}
