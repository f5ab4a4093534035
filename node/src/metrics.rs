//! What a node counts. Handles are resolved at the start and counted per turn or frame, never per request by name.

pub mod answers;

use prometheus::{Encoder, IntCounter, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};

use crate::log::LogCounters;
use crate::metrics::answers::Answers;

/// The node's counters; methods elsewhere add to the fields.
pub struct Metrics {
    registry: Registry,
    /// Turns that workers took.
    pub turns: IntCounter,
    /// Pushes that had to wake a worker.
    pub wakes: IntCounter,
    /// Clients' requests admitted to a replica or read.
    pub requests: IntCounter,
    /// Answers that have left, by operation and outcome.
    pub answers: Answers,
    /// Clients' requests refused because a queue was full.
    pub shed: IntCounter,
    /// Frames of clients' requests received.
    pub request_frames: IntCounter,
    /// Frames of answers sent.
    pub response_frames: IntCounter,
    /// Frames of replication sent.
    pub raft_frames_sent: IntCounter,
    /// Frames of replication received.
    pub raft_frames_received: IntCounter,
    /// Messages of replication handed to the transport.
    pub raft_messages: IntCounter,
    /// Messages of replication dropped: no connection, or its queue was full.
    pub raft_dropped: IntCounter,
    /// Messages of replication refused because the disk is full.
    pub disk_full_dropped: IntCounter,
    /// Writes of log and items for which the disk had no room.
    pub disk_refusals: IntCounter,
    /// Messages or frames from the network that were refused as garbage.
    pub garbage: IntCounter,
    /// Entries handed to the log.
    pub entries: IntCounter,
    /// Jobs handed to the log.
    pub log_jobs: IntCounter,
    /// Syncs of the log. Brought up to date when metrics are read.
    pub log_syncs: IntCounter,
    /// Bytes written to the log. Brought up to date when metrics are read.
    pub log_bytes: IntCounter,
    /// Times that a replica of this node began to lead.
    pub leaderships: IntCounter,
    /// Batches written to the items.
    pub apply_batches: IntCounter,
    /// Writes to the items that would have stalled and were kept for later.
    pub stalls: IntCounter,
    /// Old items and reads that were not in memory.
    pub read_misses: IntCounter,
    /// Reads of the log that the disk refused, and that are tried again.
    pub read_failures: IntCounter,
    /// Replicas that stay out since what this node had of them could not be read any more.
    pub corrupted: IntCounter,
    /// Replicas of this node that stay out for it, until their groups have rebuilt them.
    pub corrupt: IntGauge,
    /// Damaged things that starts of this node have set aside, and that people may look at and remove.
    pub set_aside: IntGauge,
    /// Snapshots sent in full.
    pub snapshots_sent: IntCounter,
    /// Snapshots received in full.
    pub snapshots_received: IntCounter,
    /// Replicas on this node.
    pub groups: IntGauge,
    /// Ticks given to replicas that are awake.
    pub group_ticks: IntCounter,
    /// Replicas that got their first tick, or were woken because another node was lost: some with every tick.
    pub woken: IntCounter,
    /// Replicas on this node that are given no ticks, since they sleep.
    pub asleep: IntGauge,
    /// Replicas on this node that lead.
    pub leaders: IntGauge,
    /// Groups by how whole they are: as this node's leaders see them, and those here that miss a leader.
    pub groups_by_health: IntGaugeVec,
    /// Items of the partitions that this node leads, by table, as last counted.
    pub table_items: IntGaugeVec,
    /// Their sizes as DynamoDB measures them, by table.
    pub table_bytes: IntGaugeVec,
    /// Free bytes of the node's disk.
    pub free_bytes: IntGauge,
}

impl Metrics {
    pub fn new() -> Result<Metrics, prometheus::Error> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str| -> Result<IntCounter, prometheus::Error> {
            let counter = IntCounter::new(format!("trivet_node_{name}_total"), help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let gauge = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            let gauge = IntGauge::new(format!("trivet_node_{name}"), help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let gauges = |name: &str, label: &str, help: &str| -> Result<IntGaugeVec, prometheus::Error> {
            let gauges = IntGaugeVec::new(Opts::new(format!("trivet_node_{name}"), help), &[label])?;
            registry.register(Box::new(gauges.clone()))?;
            Ok(gauges)
        };
        let by_health = "Groups that this node leads by how whole they are, and those here that miss a leader";
        Ok(Metrics {
            turns: counter("turns", "Turns that workers took")?,
            wakes: counter("wakes", "Pushes that had to wake a worker")?,
            requests: counter("requests", "Requests admitted")?,
            answers: Answers::new(&registry)?,
            shed: counter("requests_shed", "Requests refused because a queue was full")?,
            request_frames: counter("request_frames", "Frames of requests received")?,
            response_frames: counter("response_frames", "Frames of answers sent")?,
            raft_frames_sent: counter("raft_frames_sent", "Frames of replication sent")?,
            raft_frames_received: counter("raft_frames_received", "Frames of replication received")?,
            raft_messages: counter("raft_messages", "Messages of replication sent")?,
            raft_dropped: counter("raft_messages_dropped", "Messages of replication dropped")?,
            disk_full_dropped: counter("disk_full_dropped", "Messages of replication refused for want of disk")?,
            disk_refusals: counter("disk_refusals", "Writes of log and items for which the disk had no room")?,
            garbage: counter("garbage", "Messages and frames refused as garbage")?,
            entries: counter("log_entries", "Entries handed to the log")?,
            log_jobs: counter("log_jobs", "Jobs handed to the log")?,
            log_syncs: counter("log_syncs", "Syncs of the log")?,
            log_bytes: counter("log_bytes", "Bytes written to the log")?,
            leaderships: counter("leaderships", "Times that a replica began to lead")?,
            apply_batches: counter("apply_batches", "Batches written to the items")?,
            stalls: counter("apply_stalls", "Batches kept because the items would have stalled")?,
            read_misses: counter("read_misses", "Reads that were not in memory")?,
            read_failures: counter("log_read_failures", "Reads of the log that failed and are tried again")?,
            corrupted: counter("replicas_corrupted", "Replicas whose log or items could not be read any more")?,
            corrupt: gauge("replicas_corrupt", "Replicas that stay out for that until they are rebuilt")?,
            set_aside: gauge(
                "damage_set_aside",
                "Damaged files and folders that were set aside, for people to remove",
            )?,
            snapshots_sent: counter("snapshots_sent", "Snapshots sent in full")?,
            snapshots_received: counter("snapshots_received", "Snapshots received in full")?,
            group_ticks: counter("group_ticks", "Ticks given to replicas that are awake")?,
            woken: counter("groups_woken", "Replicas woken for want of another node, or at the start")?,
            asleep: gauge("groups_asleep", "Replicas on this node that sleep")?,
            groups: gauge("groups", "Replicas on this node")?,
            leaders: gauge("leaders", "Replicas on this node that lead")?,
            groups_by_health: gauges("groups_by_health", "health", by_health)?,
            table_items: gauges("table_items", "table", "Items of the partitions that this node leads")?,
            table_bytes: gauges("table_bytes", "table", "Sizes of those items as DynamoDB measures them")?,
            free_bytes: gauge("disk_free_bytes", "Free bytes of the node's disk")?,
            registry,
        })
    }

    /// The log counts for itself; told by the one task that answers scrapers, so that nobody adds the same twice.
    pub fn log_has_counted(&self, counters: LogCounters) {
        let LogCounters { syncs, bytes, jobs: _, batches: _ } = counters;
        for (counter, now) in [(&self.log_syncs, syncs), (&self.log_bytes, bytes)] {
            counter.inc_by(now.saturating_sub(counter.get()));
        }
    }

    /// In Prometheus' text format.
    pub fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

/// A count for a counter: saturating, since usize may be wider than what is counted.
pub fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_rendered_with_their_help() {
        let metrics = Metrics::new().unwrap();
        metrics.turns.inc();
        for syncs in [3, 5] {
            metrics.log_has_counted(LogCounters { syncs, bytes: 100, ..LogCounters::default() });
        }
        let text = String::from_utf8(metrics.render().unwrap()).unwrap();
        assert!(
            text.contains("trivet_node_log_syncs_total 5\n") && text.contains("trivet_node_log_bytes_total 100\n"),
            "{text}"
        );
        assert!(text.contains("# HELP trivet_node_turns_total Turns that workers took\n"), "{text}");
        assert!(text.contains("trivet_node_turns_total 1\n"), "{text}");
    }
}
