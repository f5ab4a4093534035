//! How whole this worker's groups are, counted for the node's metrics.

use std::collections::BTreeMap;

use replica::Health;

use crate::worker::Worker;

/// Between two counts.
const COUNT_TICKS: u64 = 10;

/// The counts that the gauges hold of this worker.
#[derive(Default)]
pub struct Counted(BTreeMap<&'static str, i64>);

fn name(health: &Health) -> &'static str {
    match health {
        Health::Whole => "whole",
        Health::Missing { .. } => "missing",
        Health::StoodIn { .. } => "stood_in",
        Health::ShortOfZone { .. } => "short_of_zone",
        Health::Rebuilding { .. } => "rebuilding",
        Health::Short { .. } => "short",
        Health::NeedsArchive => "needs_archive",
        Health::Leaderless => "leaderless",
    }
}

impl Worker {
    /// Several workers share a gauge: each adds what has changed since its last count.
    pub fn count_health(&mut self) {
        if !self.ticks.is_multiple_of(COUNT_TICKS) {
            return;
        }
        let mut counts: BTreeMap<&'static str, i64> = self.counted.0.keys().map(|name| (*name, 0)).collect();
        for (health, _) in self.groups.values().filter_map(|group| group.replica.health()) {
            *counts.entry(name(&health)).or_default() += 1;
        }
        let gauges = &self.desk.context.metrics.groups_by_health;
        for (name, count) in &counts {
            let before = self.counted.0.get(name).copied().unwrap_or(0);
            gauges.with_label_values(&[name]).add(count - before);
        }
        self.counted = Counted(counts);
    }
}
