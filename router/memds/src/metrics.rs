//! What a MemDS server counts.

use prometheus::{Encoder, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};
use wire::error::outcome;
use wire::memds::LookupAnswer;

use crate::map::Counts;

#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    /// Look-ups answered.
    pub lookups: IntCounter,
    /// Frames of look-ups answered.
    pub lookup_frames: IntCounter,
    /// Announcements taken in.
    pub announcements: IntCounter,
    /// Descriptors that could not be decoded.
    pub malformed: IntCounter,
    /// Tables known.
    pub tables: IntGauge,
    /// Partitions known.
    pub partitions: IntGauge,
    /// Partitions of which nobody says who leads. Brought up to date when metrics are read.
    pub leaderless: IntGauge,
    /// Partitions that fewer than three voters with items have. Brought up to date when metrics are read.
    pub under_replicated: IntGauge,
    /// Nodes known.
    pub nodes: IntGauge,
    pub answers: Answers,
}

/// Calls by what became of them.
#[derive(Clone, Debug)]
pub struct Answers {
    all: IntCounterVec,
    /// Look-ups are as many as operations: theirs are at hand.
    found: IntCounter,
    unknown: IntCounter,
    early: IntCounter,
}

impl Answers {
    fn new(registry: &Registry) -> Result<Answers, prometheus::Error> {
        let help = "Answers by call and outcome: ok; unknown, for what nobody has; early, for what may be told of yet; else gRPC's word.";
        let all = IntCounterVec::new(Opts::new("trivet_memds_answers_total", help), &["call", "outcome"])?;
        registry.register(Box::new(all.clone()))?;
        let [found, unknown, early] = ["ok", "unknown", "early"].map(|word| all.with_label_values(&["lookup", word]));
        Ok(Answers { all, found, unknown, early })
    }

    pub fn looked_up(&self, answers: &[LookupAnswer]) {
        for answer in answers {
            let counter = match (answer.table.is_some() || answer.partition.is_some(), answer.complete) {
                (true, _) => &self.found,
                (false, true) => &self.unknown,
                (false, false) => &self.early,
            };
            counter.inc();
        }
    }

    pub fn answered<T>(&self, call: &str, answer: &Result<T, tonic::Status>) {
        self.all.with_label_values(&[call, &outcome(answer)]).inc();
    }
}

impl Metrics {
    pub fn new(registry: &Registry) -> Result<Metrics, prometheus::Error> {
        let counter = |name: &str, help: &str| -> Result<IntCounter, prometheus::Error> {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let gauge = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        Ok(Metrics {
            registry: registry.clone(),
            lookups: counter("trivet_memds_lookups_total", "Look-ups answered.")?,
            lookup_frames: counter("trivet_memds_lookup_frames_total", "Frames of look-ups answered.")?,
            announcements: counter("trivet_memds_announcements_total", "Announcements taken in.")?,
            malformed: counter("trivet_memds_malformed_descriptors_total", "Descriptors that could not be decoded.")?,
            tables: gauge("trivet_memds_tables", "Tables known.")?,
            partitions: gauge("trivet_memds_partitions", "Partitions known.")?,
            leaderless: gauge("trivet_memds_leaderless_partitions", "Partitions without a known leader.")?,
            under_replicated: gauge(
                "trivet_memds_under_replicated_partitions",
                "Partitions that fewer than three voters with items have.",
            )?,
            answers: Answers::new(registry)?,
            nodes: gauge("trivet_memds_nodes", "Nodes known.")?,
        })
    }

    /// In Prometheus' text format.
    pub fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    pub(crate) fn holds(&self, counts: Counts) {
        let Counts { tables, partitions, nodes } = counts;
        for (gauge, count) in [(&self.tables, tables), (&self.partitions, partitions), (&self.nodes, nodes)] {
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}
