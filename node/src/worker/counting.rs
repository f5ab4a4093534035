//! When the range of a group is counted: while it leads, and after it was written to.

use std::sync::Arc;

use model::PartitionDescriptor;
use replica::ApplyBatch;

use crate::tally::Scope;
use crate::worker::desk::Desk;
use crate::worker::group::{Group, Phase};

/// With each tick: what sleeps was marked before it fell asleep.
pub fn tick(desk: &Desk, group: &mut Group) {
    let counts = group.uncounted && group.phase == Phase::Running && group.summary.serving && group.summary.has_items();
    // What is applied and not written yet would be missed.
    if !counts || !desk.has_written_all() {
        return;
    }
    let (Some(descriptor), Some(table)) = (&group.summary.descriptor, &group.summary.table) else { return };
    let scope = Scope { table: Arc::clone(table), range: descriptor.range.clone() };
    desk.context.tally.mark(group.partition, scope);
    group.uncounted = false;
}

pub fn applies(group: &mut Group, batch: &ApplyBatch) {
    group.uncounted |= !batch.writes.is_empty();
}

/// A split was applied.
pub fn has_other_range(before: Option<&PartitionDescriptor>, after: Option<&PartitionDescriptor>) -> bool {
    before.map(|descriptor| &descriptor.range) != after.map(|descriptor| &descriptor.range)
}

/// It leads no more, or is no more.
pub fn forget(desk: &Desk, group: &mut Group) {
    desk.context.tally.forget(group.partition);
    group.uncounted = true;
}
